use chaos_kitty::{
    Problem,
    v1::{ResumeRequest, ResumeResponse, SetAdminStateRequest, admin_state::Name},
};

use super::Service;

/// The end of a halt is the state STARTED.
pub(super) async fn resume(service: &Service, request: ResumeRequest) -> Result<ResumeResponse, Problem> {
    let was_halted = service.actions.resume(&request.source)?;
    if was_halted {
        let started = SetAdminStateRequest { state: Name::Started.into(), source: request.source };
        service.admin.set(started).await?;
    }
    Ok(ResumeResponse { was_halted })
}
