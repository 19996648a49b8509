use chaos_kitty::{
    Problem,
    v1::{
        Experiment, GetSuiteRecordRequest, ListExperimentMethodsRequest, ListExperimentMethodsResponse,
        SuiteRecord,
    },
};
use futures_util::{StreamExt, stream::BoxStream};
use tonic::Status;

use super::Service;

pub(super) async fn record(
    service: &Service,
    request: GetSuiteRecordRequest,
) -> Result<SuiteRecord, Problem> {
    let at = request.at.ok_or_else(|| {
        Problem::invalid("at", "it is missing").hint("give a suite's time; see `kittyctl experiment history`")
    })?;
    service.experiments.record_of(at).await
}

pub(super) async fn watch(
    service: &Service,
    id: &str,
) -> Result<BoxStream<'static, Result<Experiment, Status>>, Problem> {
    Ok(service.experiments.watch(id).await?.map(Ok).boxed())
}

pub(super) fn methods(
    service: &Service,
    request: &ListExperimentMethodsRequest,
) -> ListExperimentMethodsResponse {
    ListExperimentMethodsResponse { methods: service.experiments.list_methods(&request.platform_type) }
}
