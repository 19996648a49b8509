use chaos_kitty::{
    Problem,
    v1::{BuildExperimentResponse, StartExperimentRequest},
};

use super::Service;

pub(super) async fn start(
    service: &Service,
    request: StartExperimentRequest,
) -> Result<BuildExperimentResponse, Problem> {
    match request.target.as_str() {
        "" => service.schedule.start_any().await,
        target => service.schedule.start_on(target).await,
    }
}
