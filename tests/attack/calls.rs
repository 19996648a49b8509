//! A valid request for each call of the service, and calls made of them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chaos_kitty::{
    client::Client,
    v1::{self, action::Kind, admin_state::Name as Admin, operation, unleash_request::Choice},
};
use chaos_kitty_tests::eventually;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use tokio::time::timeout;
use tonic::{Request, Status};

use crate::{bed::Bed, extreme::Extremes, figures::Figures};

/// A call that takes longer is given up, and not counted as accepted.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// Group of the targets of the fake agents.
pub(crate) const GROUP: &str = "ghosts";
pub(crate) const PLATFORM: &str = "ProcessPlatform";

/// What there is to be named by a call.
#[derive(Clone, Default)]
pub(crate) struct Known {
    pub(crate) action: String,
    pub(crate) experiment: String,
    pub(crate) suite: Option<chaos_kitty::Timestamp>,
}

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) tcp: String,
    pub(crate) extremes: Extremes,
    pub(crate) figures: Arc<Figures>,
    known: Mutex<(u64, Known)>,
    /// One that never reads what happens.
    _deaf: tonic::Streaming<v1::Event>,
}

/// How an RPC is called, by its name, with a message of this type.
macro_rules! calls {
    ($($rpc:literal $method:ident $message:ident = $valid:expr;)*) => {
        pub(crate) const CALLS: &[&str] = &[$($rpc),*];

        impl World {
            async fn call(&self, rpc: &str, random: &mut ChaCha8Rng, extreme: bool) -> Result<(), Status> {
                let known = self.known();
                let mut client = self.client.clone();
                match rpc {
                    $($rpc => {
                        let valid: v1::$message = $valid(&known);
                        let request =
                            if extreme { self.extremes.of(stringify!($message), &valid, random) } else { valid };
                        client.$method(Request::new(request)).await.map(drop)
                    })*
                    _ => unreachable!("{rpc}"),
                }
            }
        }
    };
}

calls! {
    "GetStatus" get_status GetStatusRequest = |_: &Known| Default::default();
    "ListAgents" list_agents ListAgentsRequest = |_: &Known| v1::ListAgentsRequest { page_size: 10, ..Default::default() };
    "ListTargets" list_targets ListTargetsRequest = |_: &Known| v1::ListTargetsRequest {
        platform_type: PLATFORM.to_owned(), aggregation_identifier: GROUP.to_owned(), page_size: 10, ..Default::default() };
    "ListPlatforms" list_platforms ListPlatformsRequest = |_: &Known| Default::default();
    "WatchEvents" watch_events WatchEventsRequest = |_: &Known| v1::WatchEventsRequest { kinds: vec!["action".to_owned()], ..Default::default() };
    "Unleash" unleash UnleashRequest = |_: &Known| unleash();
    "ListActions" list_actions ListActionsRequest = |_: &Known| v1::ListActionsRequest { page_size: 10, ..Default::default() };
    "GetAction" get_action GetActionRequest = |known: &Known| v1::GetActionRequest { id: known.action.clone() };
    "StopAction" stop_action StopActionRequest = |known: &Known| v1::StopActionRequest { id: known.action.clone() };
    "Resume" resume ResumeRequest = |_: &Known| v1::ResumeRequest { source: "attack".to_owned() };
    "ListOperations" list_operations ListOperationsRequest = |_: &Known| Default::default();
    "PutOperation" put_operation PutOperationRequest = |_: &Known| v1::PutOperationRequest { operation: Some(hairball()) };
    "DeleteOperation" delete_operation DeleteOperationRequest = |_: &Known| v1::DeleteOperationRequest { name: "attack".to_owned() };
    "BuildExperiment" build_experiment ExperimentSuite = |_: &Known| suite();
    "GetExperimentHistory" get_experiment_history GetExperimentHistoryRequest = |_: &Known| Default::default();
    "GetSuiteRecord" get_suite_record GetSuiteRecordRequest = |known: &Known| v1::GetSuiteRecordRequest { at: known.suite };
    "StartExperiment" start_experiment StartExperimentRequest = |_: &Known| v1::StartExperimentRequest { target: "ghost/1/7".to_owned() };
    "ListExperiments" list_experiments ListExperimentsRequest = |_: &Known| v1::ListExperimentsRequest { all: true, page_size: 10, ..Default::default() };
    "GetExperiment" get_experiment GetExperimentRequest = |known: &Known| v1::GetExperimentRequest { id: known.experiment.clone() };
    "WatchExperiment" watch_experiment GetExperimentRequest = |known: &Known| v1::GetExperimentRequest { id: known.experiment.clone() };
    "StopExperiment" stop_experiment StopExperimentRequest = |known: &Known| v1::StopExperimentRequest { id: known.experiment.clone() };
    "ListExperimentMethods" list_experiment_methods ListExperimentMethodsRequest = |_: &Known| v1::ListExperimentMethodsRequest { platform_type: PLATFORM.to_owned(), ..Default::default() };
    "ListScripts" list_scripts ListScriptsRequest = |_: &Known| Default::default();
    "GetScript" get_script GetScriptRequest = |_: &Known| v1::GetScriptRequest { name: "cpuBurn.sh".to_owned() };
    "GetAdminState" get_admin_state GetAdminStateRequest = |_: &Known| Default::default();
    "SetAdminState" set_admin_state SetAdminStateRequest = |_: &Known| v1::SetAdminStateRequest { state: Admin::Started.into(), source: "attack".to_owned() };
    "GetSchedule" get_schedule GetScheduleRequest = |_: &Known| Default::default();
    "UpdateSchedule" update_schedule UpdateScheduleRequest = |_: &Known| v1::UpdateScheduleRequest { automated: Some(false), ..Default::default() };
}

pub(crate) fn seconds(seconds: u64) -> Option<pbjson_types::Duration> {
    Some(Duration::from_secs(seconds).into())
}

fn delay() -> v1::Action {
    let delay = v1::Delay { mode: v1::delay::Mode::Requests.into(), per_request: seconds(1) };
    v1::Action { duration: seconds(2), kind: Some(Kind::Delay(delay)) }
}

pub(crate) fn unleash() -> v1::UnleashRequest {
    let selector = v1::Selector {
        platform_type: PLATFORM.to_owned(),
        aggregation_identifier: GROUP.to_owned(),
        labels: [("kind".to_owned(), "ghost".to_owned())].into(),
    };
    v1::UnleashRequest {
        action: Some(delay()),
        choice: Some(Choice::Selector(selector)),
        count: Some(1),
        seed: Some(7),
        source: "attack".to_owned(),
        ..Default::default()
    }
}

pub(crate) fn hairball() -> v1::Operation {
    v1::Operation {
        name: "attack".to_owned(),
        selector: Some(v1::Selector { aggregation_identifier: GROUP.to_owned(), ..Default::default() }),
        interval: seconds(3600),
        probability: Some(0.1),
        seed: Some(7),
        kind: Some(operation::Kind::Hairball(v1::Hairball { min_delay: seconds(1), max_delay: seconds(2) })),
    }
}

pub(crate) fn suite() -> v1::ExperimentSuite {
    let criteria = v1::ExperimentCriteria {
        container_identifier: GROUP.to_owned(),
        experiment_methods: vec!["delay".to_owned()],
        specific_container_targets: Vec::new(),
    };
    let parameters = v1::MethodParameters {
        minimum_duration: seconds(1),
        maximum_duration: seconds(3),
        finalization_duration: seconds(1),
        self_healing_interval: seconds(1),
        self_healing_retries: Some(1),
        ..Default::default()
    };
    v1::ExperimentSuite {
        platform_type: PLATFORM.to_owned(),
        experiment_criteria: vec![criteria],
        name: "attack".to_owned(),
        seed: Some(7),
        method_parameters: [("delay".to_owned(), parameters)].into(),
        duration: seconds(3),
        ..Default::default()
    }
}

impl World {
    pub(crate) async fn new(bed: &Bed, figures: Arc<Figures>) -> Arc<Self> {
        let client = bed.server.client().await;
        let deaf = client.clone().watch_events(v1::WatchEventsRequest::default()).await.unwrap().into_inner();
        let tcp = bed.server.tcp().await;
        let (extremes, known) = (Extremes::new(), Mutex::default());
        // Fake agents attach, and faults are ended last.
        let made = CALLS.iter().chain(&["Attach", "Halt"]).map(|rpc| (*rpc).to_owned()).collect();
        assert_eq!(extremes.rpcs(), made, "a call of the service is left out");
        Arc::new(Self { client, tcp, extremes, figures, known, _deaf: deaf })
    }

    pub(crate) async fn ghosts_are_there(&self) {
        eventually("the fake agents have targets", async || {
            let all = v1::ListPlatformsRequest::default();
            let platforms = self.client.clone().list_platforms(all).await.ok()?.into_inner().platforms;
            platforms
                .into_iter()
                .find(|platform| platform.platform_type == PLATFORM && platform.targets > 250)
        })
        .await;
    }

    /// Each call as it should be, some times.
    pub(crate) async fn warm_up(&self) {
        let mut random = rand::SeedableRng::seed_from_u64(0);
        for rpc in CALLS.iter().cycle().take(CALLS.len() * 3) {
            let made = timeout(PATIENCE, self.call(rpc, &mut random, false)).await;
            if let Ok(Err(status)) = made {
                println!("{rpc}, as it should be: {status}");
            }
            self.refresh(true).await;
        }
    }

    /// A call of the service with extremes.
    pub(crate) async fn grpc(&self, random: &mut ChaCha8Rng) {
        let rpc = *CALLS.choose(random).unwrap();
        let accepted = matches!(timeout(PATIENCE, self.call(rpc, random, true)).await, Ok(Ok(())));
        self.figures.note("gRPC", rpc, accepted);
        self.refresh(false).await;
    }

    /// Calls that end what is in force, with extremes, and one as it should be.
    pub(crate) async fn halts(&self, calls: u64, random: &mut ChaCha8Rng) {
        for _ in 0..calls {
            let halt = v1::HaltRequest { reason: "attack".to_owned(), source: "attack".to_owned() };
            let halt = self.extremes.of("HaltRequest", &halt, random);
            let made = self.client.clone().halt(halt).await;
            self.figures.note("gRPC", "Halt", made.is_ok());
            let resume = v1::ResumeRequest::default();
            self.client.clone().resume(resume).await.unwrap();
        }
        self.client.clone().halt(v1::HaltRequest::default()).await.unwrap();
    }

    pub(crate) fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Now and then: puts the server back into a state in which calls are taken, and learns what there is.
    pub(crate) async fn refresh(&self, now: bool) {
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.0 += 1;
            if !now && !known.0.is_multiple_of(100) {
                return;
            }
        }
        let mut client = self.client.clone();
        let started = v1::SetAdminStateRequest { state: Admin::Started.into(), ..Default::default() };
        let _ = client.set_admin_state(started).await;
        let _ = client.resume(v1::ResumeRequest::default()).await;
        let off = v1::UpdateScheduleRequest { automated: Some(false), backoff: seconds(60) };
        let _ = client.update_schedule(off).await;
        let listed = client.list_operations(v1::ListOperationsRequest::default()).await;
        for operation in listed.into_iter().flat_map(|listed| listed.into_inner().operations) {
            let name = operation.operation.unwrap_or_default().name;
            let _ = client.delete_operation(v1::DeleteOperationRequest { name }).await;
        }
        let request = v1::ListActionsRequest { page_size: 1, ..Default::default() };
        let action = client.list_actions(request).await.ok().and_then(|page| page.into_inner().actions.pop());
        let request = v1::ListExperimentsRequest { all: true, page_size: 1, ..Default::default() };
        let experiment =
            client.list_experiments(request).await.ok().and_then(|page| page.into_inner().experiments.pop());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Never one that is to stay in force.
        if let Some(action) = action.filter(|action| action.agent_id.starts_with("ghost")) {
            known.1.action = action.id;
        }
        if let Some(experiment) = experiment {
            (known.1.experiment, known.1.suite) = (experiment.id, experiment.suite);
        }
    }
}
