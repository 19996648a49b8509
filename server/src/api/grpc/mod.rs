//! The service `Chaos`: each call is translated and handed on, one file per noun.

mod action;
mod admin;
mod attach;
mod event;
mod experiment;
mod fleet;
mod halt;
mod heartbeat;
mod operation;
mod schedule;
mod script;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use chaos_kitty::{
    page::{self, Entry, Page},
    v1::{self, chaos_server::Chaos},
};
use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    action::Actions,
    event::{Bus, notify::Notifier},
    experiment::Experiments,
    fleet::Fleet,
    listen::Listening,
    operation::Operations,
    safety::{Admin, Gate},
    schedule::Scheduler,
    store::Store,
};

/// The counter of entries that could not be shown as they are.
const NOT_SHOWN: &str = "entries_not_shown";

/// What the calls are handed on to.
pub struct Service {
    /// Who is connected, and what can be hit.
    pub fleet: Arc<Fleet>,
    /// The one door to a fault.
    pub gate: Arc<Gate>,
    /// What was ordered, and what became of it.
    pub actions: Arc<Actions>,
    /// Random chaos in the background.
    pub operations: Arc<Operations>,
    /// Methods applied to targets, each seen through.
    pub experiments: Arc<Experiments>,
    /// When automatic experiments start, and on what.
    pub schedule: Arc<Scheduler>,
    /// What the control plane does of its own accord.
    pub admin: Arc<Admin>,
    /// What happens.
    pub bus: Arc<Bus>,
    /// What people are told of.
    pub notifier: Notifier,
    /// What outlives the process.
    pub store: Store,
    /// When the server was started.
    pub started_at: SystemTime,
    /// How long a stream of news may be silent.
    pub heartbeat: Duration,
    /// Where it listens, once it does.
    pub listening: OnceLock<Listening>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Service {
    /// A page as an answer has it. What could not be shown as it is is counted.
    fn page<E: Entry>(&self, page: Page<E>) -> (Vec<E>, String) {
        self.fleet.losses.add(NOT_SHOWN, page.reduced);
        (page.entries, page.next)
    }

    /// The same of one message.
    fn shown<E: Entry>(&self, entry: E) -> E {
        let (entry, is_whole) = page::shown(entry);
        self.fleet.losses.add(NOT_SHOWN, u64::from(!is_whole));
        entry
    }
}

#[tonic::async_trait]
impl Chaos for Service {
    type AttachStream = crate::fleet::AttachStream;
    type WatchEventsStream = BoxStream<'static, Result<v1::Event, Status>>;
    type UnleashStream = BoxStream<'static, Result<v1::ActionStatus, Status>>;
    type HaltStream = BoxStream<'static, Result<v1::HaltProgress, Status>>;
    type WatchExperimentStream = BoxStream<'static, Result<v1::Experiment, Status>>;

    async fn attach(&self, request: Request<Streaming<v1::AgentMessage>>) -> Answer<Self::AttachStream> {
        Ok(Response::new(attach::attach(self, request)))
    }

    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Answer<v1::Status> {
        Ok(Response::new(fleet::status(self)))
    }

    async fn list_agents(&self, request: Request<v1::ListAgentsRequest>) -> Answer<v1::ListAgentsResponse> {
        let v1::ListAgentsRequest { page_size, page_token } = request.into_inner();
        let (agents, next_page_token) = self.page(Page::after(&page_token, self.fleet.agents(), page_size));
        Ok(Response::new(v1::ListAgentsResponse { agents, next_page_token }))
    }

    async fn list_targets(
        &self,
        request: Request<v1::ListTargetsRequest>,
    ) -> Answer<v1::ListTargetsResponse> {
        Ok(Response::new(fleet::targets(self, request.into_inner())?))
    }

    async fn list_platforms(
        &self,
        request: Request<v1::ListPlatformsRequest>,
    ) -> Answer<v1::ListPlatformsResponse> {
        let v1::ListPlatformsRequest { page_size, page_token } = request.into_inner();
        let page = Page::after(&page_token, self.fleet.platforms(), page_size);
        let (platforms, next_page_token) = self.page(page);
        Ok(Response::new(v1::ListPlatformsResponse { platforms, next_page_token }))
    }

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Answer<Self::WatchEventsStream> {
        Ok(Response::new(event::watch(self, &request.into_inner())?))
    }

    async fn unleash(&self, request: Request<v1::UnleashRequest>) -> Answer<Self::UnleashStream> {
        Ok(Response::new(action::unleash(self, request).await?))
    }

    async fn list_actions(
        &self,
        request: Request<v1::ListActionsRequest>,
    ) -> Answer<v1::ListActionsResponse> {
        let (actions, next_page_token) = self.page(self.actions.list(&request.into_inner()).await?);
        Ok(Response::new(v1::ListActionsResponse { actions, next_page_token }))
    }

    async fn get_action(&self, request: Request<v1::GetActionRequest>) -> Answer<v1::ActionStatus> {
        Ok(Response::new(self.shown(self.actions.get(&request.into_inner().id).await?)))
    }

    async fn stop_action(&self, request: Request<v1::StopActionRequest>) -> Answer<v1::ActionStatus> {
        Ok(Response::new(self.shown(self.actions.stop(&request.into_inner().id).await?)))
    }

    async fn halt(&self, request: Request<v1::HaltRequest>) -> Answer<Self::HaltStream> {
        Ok(Response::new(halt::halt(self, &request.into_inner())))
    }

    async fn resume(&self, request: Request<v1::ResumeRequest>) -> Answer<v1::ResumeResponse> {
        Ok(Response::new(admin::resume(self, request.into_inner()).await?))
    }

    async fn list_operations(
        &self,
        request: Request<v1::ListOperationsRequest>,
    ) -> Answer<v1::ListOperationsResponse> {
        let v1::ListOperationsRequest { page_size, page_token } = request.into_inner();
        let page = Page::after(&page_token, self.operations.list(), page_size);
        let (operations, next_page_token) = self.page(page);
        Ok(Response::new(v1::ListOperationsResponse { operations, next_page_token }))
    }

    async fn put_operation(&self, request: Request<v1::PutOperationRequest>) -> Answer<v1::OperationStatus> {
        Ok(Response::new(operation::put(self, request.into_inner()).await?))
    }

    async fn delete_operation(
        &self,
        request: Request<v1::DeleteOperationRequest>,
    ) -> Answer<v1::DeleteOperationResponse> {
        self.operations.delete(&request.into_inner().name).await?;
        Ok(Response::new(v1::DeleteOperationResponse {}))
    }

    async fn build_experiment(
        &self,
        request: Request<v1::ExperimentSuite>,
    ) -> Answer<v1::BuildExperimentResponse> {
        Ok(Response::new(experiment::built(self.experiments.build(request.into_inner()).await?)))
    }

    async fn get_experiment_history(
        &self,
        request: Request<v1::GetExperimentHistoryRequest>,
    ) -> Answer<v1::ExperimentHistory> {
        let page = self.experiments.history(&request.into_inner()).await?;
        let (suites, next_page_token) = self.page(page);
        Ok(Response::new(v1::ExperimentHistory { suites, next_page_token }))
    }

    async fn get_suite_record(&self, request: Request<v1::GetSuiteRecordRequest>) -> Answer<v1::SuiteRecord> {
        Ok(Response::new(experiment::record(self, request.into_inner()).await?))
    }

    async fn start_experiment(
        &self,
        request: Request<v1::StartExperimentRequest>,
    ) -> Answer<v1::BuildExperimentResponse> {
        Ok(Response::new(experiment::built(schedule::start(self, request.into_inner()).await?)))
    }

    async fn list_experiments(
        &self,
        request: Request<v1::ListExperimentsRequest>,
    ) -> Answer<v1::ListExperimentsResponse> {
        let page = self.experiments.list(&request.into_inner()).await?;
        let (experiments, next_page_token) = self.page(page);
        Ok(Response::new(v1::ListExperimentsResponse { experiments, next_page_token }))
    }

    async fn get_experiment(&self, request: Request<v1::GetExperimentRequest>) -> Answer<v1::Experiment> {
        Ok(Response::new(self.shown(self.experiments.get(&request.into_inner().id).await?)))
    }

    async fn watch_experiment(
        &self,
        request: Request<v1::GetExperimentRequest>,
    ) -> Answer<Self::WatchExperimentStream> {
        Ok(Response::new(experiment::watch(self, &request.into_inner().id).await?))
    }

    async fn stop_experiment(&self, request: Request<v1::StopExperimentRequest>) -> Answer<v1::Experiment> {
        Ok(Response::new(self.shown(self.experiments.stop(&request.into_inner().id).await?)))
    }

    async fn list_experiment_methods(
        &self,
        request: Request<v1::ListExperimentMethodsRequest>,
    ) -> Answer<v1::ListExperimentMethodsResponse> {
        Ok(Response::new(experiment::methods(self, request.into_inner())))
    }

    async fn list_scripts(
        &self,
        request: Request<v1::ListScriptsRequest>,
    ) -> Answer<v1::ListScriptsResponse> {
        Ok(Response::new(self.scripts(request.into_inner())))
    }

    async fn get_script(&self, request: Request<v1::GetScriptRequest>) -> Answer<v1::Script> {
        Ok(Response::new(self.script(&request.into_inner().name)?))
    }

    async fn get_admin_state(&self, _: Request<v1::GetAdminStateRequest>) -> Answer<v1::AdminStateResponse> {
        Ok(Response::new(self.admin.get()))
    }

    async fn set_admin_state(
        &self,
        request: Request<v1::SetAdminStateRequest>,
    ) -> Answer<v1::AdminStateResponse> {
        Ok(Response::new(self.admin.set(request.into_inner()).await?))
    }

    async fn get_schedule(&self, _: Request<v1::GetScheduleRequest>) -> Answer<v1::Schedule> {
        Ok(Response::new(self.schedule.get().await))
    }

    async fn update_schedule(&self, request: Request<v1::UpdateScheduleRequest>) -> Answer<v1::Schedule> {
        Ok(Response::new(self.schedule.update(request.into_inner()).await?))
    }
}
