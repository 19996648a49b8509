use chaos_kitty::v1::{HaltProgress, HaltRequest};
use futures_util::{StreamExt, stream::BoxStream};
use tonic::Status;

use super::Service;

pub(super) fn halt(
    service: &Service,
    request: &HaltRequest,
) -> BoxStream<'static, Result<HaltProgress, Status>> {
    service.actions.halt(request).map(Ok).boxed()
}
