//! A fleet that is told what to answer, and remembers what it was asked.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use chaos_kitty::{
    Code, Problem,
    v1::{
        self, ActionStatus, Target, UnleashRequest, action_kind::Name, action_state::Name as State, event,
        unleash_request::Choice,
    },
};
use futures_util::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::operation::{Port, RosterChange};

/// How the fleet answers an order.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Admitted, and in the end this.
    Ends(State),
    /// Admitted, and never heard of again.
    Silent,
    Refused(Code),
    /// Not even an admission.
    Hangs,
}

#[derive(Default)]
pub(super) struct Fleet {
    roster: Mutex<Vec<Arc<Target>>>,
    changes: Mutex<Option<mpsc::UnboundedSender<RosterChange>>>,
    under_fault: Mutex<HashSet<String>>,
    /// By target id; a target that is not there ends well.
    answers: Mutex<Vec<(String, Answer)>>,
    asked: Mutex<Vec<UnleashRequest>>,
    events: Mutex<Vec<event::Kind>>,
}

/// A target that takes every action.
pub(super) fn target(name: &str) -> Target {
    let all = [Name::Delay, Name::Kill, Name::Memory, Name::Cpu, Name::Gc, Name::Error, Name::Script]
        .map(|it| it as i32);
    Target {
        id: format!("worker/host/{name}"),
        name: name.to_owned(),
        platform_type: "WorkerPlatform".to_owned(),
        aggregation_identifier: "billing".to_owned(),
        actions: all.to_vec(),
        ..Target::default()
    }
}

impl Fleet {
    pub(super) fn of(names: &[&str]) -> Arc<Self> {
        let fleet = Self::default();
        *fleet.roster.lock().unwrap() = names.iter().map(|name| Arc::new(target(name))).collect();
        Arc::new(fleet)
    }

    pub(super) fn tell(&self, change: RosterChange) {
        self.changes
            .lock()
            .unwrap()
            .as_ref()
            .expect("operations listen")
            .send(change)
            .expect("they still do");
    }

    pub(super) fn answer(&self, name: &str, answer: Answer) {
        self.answers.lock().unwrap().push((target(name).id, answer));
    }

    pub(super) fn put_under_fault(&self, name: &str) {
        self.under_fault.lock().unwrap().insert(target(name).id);
    }

    /// The orders so far, by the names of their targets.
    pub(super) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let choice = |request: &UnleashRequest| match &request.choice {
            Some(Choice::Target(id)) => id.trim_start_matches("worker/host/").to_owned(),
            other => panic!("{other:?}"),
        };
        asked.iter().map(choice).collect()
    }

    pub(super) fn requests(&self) -> Vec<UnleashRequest> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn events(&self) -> Vec<event::Kind> {
        self.events.lock().unwrap().clone()
    }

    pub(super) fn rounds(&self) -> Vec<event::OperationRound> {
        let round = |event| if let event::Kind::OperationRound(round) = event { Some(round) } else { None };
        self.events().into_iter().filter_map(round).collect()
    }
}

impl Port for Fleet {
    fn roster(&self) -> BoxStream<'static, RosterChange> {
        let (sender, receiver) = mpsc::unbounded_channel();
        sender.send(RosterChange::All(self.roster.lock().unwrap().clone())).expect("the receiver is here");
        *self.changes.lock().unwrap() = Some(sender);
        UnboundedReceiverStream::new(receiver).boxed()
    }

    fn under_fault(&self, target_id: &str) -> bool {
        self.under_fault.lock().unwrap().contains(target_id)
    }

    fn longest_fault(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn unleash(
        &self,
        request: UnleashRequest,
    ) -> BoxFuture<'static, Result<BoxStream<'static, ActionStatus>, Problem>> {
        self.asked.lock().unwrap().push(request.clone());
        let Some(Choice::Target(id)) = request.choice else { panic!("{request:?}") };
        let answers = self.answers.lock().unwrap();
        let answer =
            answers.iter().find(|(of, _)| *of == id).map_or(Answer::Ends(State::Reverted), |it| it.1.clone());
        match answer {
            Answer::Hangs => future::pending().boxed(),
            Answer::Refused(code) => future::ready(Err(Problem::new(code, "the fleet refused"))).boxed(),
            Answer::Silent => future::ready(Ok(stream::pending().boxed())).boxed(),
            Answer::Ends(state) => {
                let problem = Problem::new(Code::TargetGone, "the target broke off");
                let status = v1::ActionStatus {
                    state: state as i32,
                    problem: (state != State::Reverted).then(|| problem.into()),
                    ..ActionStatus::default()
                };
                future::ready(Ok(stream::iter([status]).boxed())).boxed()
            }
        }
    }

    fn emit(&self, kind: event::Kind, message: String) {
        assert!(!message.is_empty());
        self.events.lock().unwrap().push(kind);
    }
}
