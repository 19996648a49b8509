//! A service that answers what each test wants.

use std::{pin::Pin, sync::Mutex};

use chaos_kitty::v1::{action_state::Name as State, experiment_state::Name as Experiment_};
use futures_util::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

use super::*;

type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Reply<T> = Result<Response<T>, Status>;

/// Says what it was asked; calls that need more are answered by what a test put in.
#[derive(Default)]
pub(super) struct Script {
    pub(super) asked: Mutex<Vec<String>>,
    pub(super) updates: Mutex<Vec<Result<v1::ActionStatus, Status>>>,
    /// The stream of updates stays open after the last one.
    pub(super) open: bool,
    pub(super) history: Vec<Result<v1::HistoryEntry, Status>>,
}

impl Script {
    fn note<T: std::fmt::Debug>(&self, request: Request<T>) {
        let trace = request.metadata().get("traceparent").cloned();
        let peer = request.extensions().get::<PeerInfo>().and_then(|peer| peer.tcp);
        let line = format!("{:?} trace={trace:?} peer={peer:?}", request.into_inner());
        self.asked.lock().unwrap().push(line);
    }

    fn items<T: Send + 'static>(items: Vec<Result<T, Status>>, open: bool) -> Items<T> {
        let rest = if open { stream::pending().boxed() } else { stream::empty().boxed() };
        Box::pin(stream::iter(items).chain(rest))
    }
}

#[tonic::async_trait]
impl Chaos for Script {
    type AttachStream = Items<v1::ServerMessage>;
    type WatchEventsStream = Items<v1::Event>;
    type UnleashStream = Items<v1::ActionStatus>;
    type HaltStream = Items<v1::HaltProgress>;
    type WatchExperimentStream = Items<v1::Experiment>;

    async fn attach(&self, _: Request<Streaming<v1::AgentMessage>>) -> Reply<Self::AttachStream> {
        Err(Status::unimplemented("not by REST"))
    }
    async fn get_status(&self, request: Request<v1::GetStatusRequest>) -> Reply<v1::Status> {
        self.note(request);
        Ok(Response::new(v1::Status { version: "1.2.3".to_owned(), agents: 7, ..Default::default() }))
    }
    async fn list_agents(&self, request: Request<v1::ListAgentsRequest>) -> Reply<v1::ListAgentsResponse> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }
    async fn list_targets(&self, request: Request<v1::ListTargetsRequest>) -> Reply<v1::ListTargetsResponse> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }
    async fn list_platforms(
        &self,
        request: Request<v1::ListPlatformsRequest>,
    ) -> Reply<v1::ListPlatformsResponse> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }
    async fn watch_events(&self, request: Request<v1::WatchEventsRequest>) -> Reply<Self::WatchEventsStream> {
        self.note(request);
        let resumed = v1::event::Resumed { source: "alice".to_owned() };
        let event =
            v1::Event { sequence: 9, kind: Some(v1::event::Kind::Resumed(resumed)), ..Default::default() };
        let behind = Problem::new(Code::FellBehind, "3 events were lost");
        Ok(Response::new(Self::items(vec![Ok(event), Err(behind.into())], false)))
    }
    async fn unleash(&self, request: Request<v1::UnleashRequest>) -> Reply<Self::UnleashStream> {
        self.note(request);
        let updates = std::mem::take(&mut *self.updates.lock().unwrap());
        Ok(Response::new(Self::items(updates, self.open)))
    }
    async fn list_actions(&self, request: Request<v1::ListActionsRequest>) -> Reply<v1::ListActionsResponse> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }
    async fn get_action(&self, request: Request<v1::GetActionRequest>) -> Reply<v1::ActionStatus> {
        let id = request.into_inner().id;
        Err(Problem::new(Code::NoSuchAction, format!("no action {id:?}")).hint("list them").into())
    }
    async fn stop_action(&self, request: Request<v1::StopActionRequest>) -> Reply<v1::ActionStatus> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }
    async fn halt(&self, request: Request<v1::HaltRequest>) -> Reply<Self::HaltStream> {
        self.note(request);
        let summary = v1::halt_progress::Summary { reverted: 2, ..Default::default() };
        let kinds = [
            v1::halt_progress::Kind::Action(status("a", State::Reverted)),
            v1::halt_progress::Kind::Summary(summary),
        ];
        let steps = kinds.into_iter().map(|kind| Ok(v1::HaltProgress { kind: Some(kind) }));
        Ok(Response::new(Self::items(steps.collect(), false)))
    }
    async fn resume(&self, request: Request<v1::ResumeRequest>) -> Reply<v1::ResumeResponse> {
        self.note(request);
        Ok(Response::new(v1::ResumeResponse { was_halted: true }))
    }
    async fn list_operations(
        &self,
        request: Request<v1::ListOperationsRequest>,
    ) -> Reply<v1::ListOperationsResponse> {
        self.note(request);
        let operation = v1::Operation { name: "hairball".to_owned(), ..Default::default() };
        let status = v1::OperationStatus { operation: Some(operation), rounds: 4, ..Default::default() };
        Ok(Response::new(v1::ListOperationsResponse { operations: vec![status], ..Default::default() }))
    }
    async fn put_operation(&self, request: Request<v1::PutOperationRequest>) -> Reply<v1::OperationStatus> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }
    async fn delete_operation(
        &self,
        request: Request<v1::DeleteOperationRequest>,
    ) -> Reply<v1::DeleteOperationResponse> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }

    async fn build_experiment(
        &self,
        request: Request<v1::ExperimentSuite>,
    ) -> Reply<v1::BuildExperimentResponse> {
        self.note(request);
        let experiments = vec![experiment("b", Experiment_::Created)];
        Ok(Response::new(v1::BuildExperimentResponse { experiments, ..Default::default() }))
    }
    /// In pages of two, newest first.
    async fn get_experiment_history(
        &self,
        request: Request<v1::GetExperimentHistoryRequest>,
    ) -> Reply<v1::ExperimentHistory> {
        let from: usize = request.into_inner().page_token.parse().unwrap_or(0);
        let next_page_token =
            if from + 2 < self.history.len() { (from + 2).to_string() } else { String::new() };
        let page = self.history.iter().skip(from).take(2).cloned();
        let suites = page.collect::<Result<_, _>>()?;
        Ok(Response::new(v1::ExperimentHistory { suites, next_page_token }))
    }
    async fn get_suite_record(&self, request: Request<v1::GetSuiteRecordRequest>) -> Reply<v1::SuiteRecord> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }
    async fn start_experiment(
        &self,
        request: Request<v1::StartExperimentRequest>,
    ) -> Reply<v1::BuildExperimentResponse> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }
    /// Two that run, on a page each; with `all` one that is over too.
    async fn list_experiments(
        &self,
        request: Request<v1::ListExperimentsRequest>,
    ) -> Reply<v1::ListExperimentsResponse> {
        let v1::ListExperimentsRequest { all, page_token, .. } = request.into_inner();
        let (shown, next) = match (page_token.as_str(), all) {
            ("", _) => (experiment("b", Experiment_::Started), "2"),
            ("2", false) => (experiment("a", Experiment_::Started), ""),
            ("2", true) => (experiment("a", Experiment_::Started), "3"),
            _ => (experiment("c", Experiment_::Failed), ""),
        };
        let next_page_token = next.to_owned();
        Ok(Response::new(v1::ListExperimentsResponse { experiments: vec![shown], next_page_token }))
    }
    async fn get_experiment(&self, request: Request<v1::GetExperimentRequest>) -> Reply<v1::Experiment> {
        let id = request.into_inner().id;
        Err(Problem::new(Code::NoSuchExperiment, format!("no experiment {id:?}")).into())
    }
    async fn watch_experiment(
        &self,
        _: Request<v1::GetExperimentRequest>,
    ) -> Reply<Self::WatchExperimentStream> {
        Err(Status::unimplemented("not by REST"))
    }
    async fn stop_experiment(&self, request: Request<v1::StopExperimentRequest>) -> Reply<v1::Experiment> {
        self.note(request);
        Ok(Response::new(experiment("b", Experiment_::SelfHealing)))
    }
    async fn list_experiment_methods(
        &self,
        request: Request<v1::ListExperimentMethodsRequest>,
    ) -> Reply<v1::ListExperimentMethodsResponse> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }
    async fn list_scripts(&self, request: Request<v1::ListScriptsRequest>) -> Reply<v1::ListScriptsResponse> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }
    async fn get_script(&self, request: Request<v1::GetScriptRequest>) -> Reply<v1::Script> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }
    async fn get_admin_state(&self, _: Request<v1::GetAdminStateRequest>) -> Reply<v1::AdminStateResponse> {
        let state = v1::admin_state::Name::Drain.into();
        Ok(Response::new(v1::AdminStateResponse { state, ..Default::default() }))
    }
    async fn set_admin_state(
        &self,
        request: Request<v1::SetAdminStateRequest>,
    ) -> Reply<v1::AdminStateResponse> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }
    async fn get_schedule(&self, _: Request<v1::GetScheduleRequest>) -> Reply<v1::Schedule> {
        Ok(Response::new(v1::Schedule { automated: true, ..Default::default() }))
    }
    async fn update_schedule(&self, request: Request<v1::UpdateScheduleRequest>) -> Reply<v1::Schedule> {
        self.note(request);
        Ok(Response::new(Default::default()))
    }
}

fn experiment(id: &str, state: Experiment_) -> v1::Experiment {
    v1::Experiment { id: id.to_owned(), experiment_state: state.into(), ..Default::default() }
}
