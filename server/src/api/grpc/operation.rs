use chaos_kitty::{
    Problem,
    v1::{OperationStatus, PutOperationRequest},
};

use super::Service;

pub(super) async fn put(service: &Service, request: PutOperationRequest) -> Result<OperationStatus, Problem> {
    let operation = request.operation.ok_or_else(|| Problem::invalid("operation", "it is missing"))?;
    service.operations.put(operation).await
}
