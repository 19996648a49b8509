//! Following the actions of one call from their orders to their ends.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use chaos_kitty::v1::{
    ActionStatus, ListActionsResponse, StopActionRequest, UnleashRequest, action_state::Name as State,
};
use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Streaming;

use crate::{
    args::Format,
    command::{
        action::{ended_well, tell_problem},
        interrupt::{INTERRUPTED, Interrupts},
    },
    failure::{Failure, Outcome},
    output::{Output, Progress},
    session::Session,
};

/// How long after its planned end an action is waited for: orders, reverts, and a lost agent's lease take time.
const GRACE: Duration = Duration::from_secs(60);
/// How often bars move.
const TICK: Duration = Duration::from_millis(100);

/// The actions of one call, as far as they were heard of.
pub(super) struct Watch<'a> {
    session: &'a Session,
    out: &'a Output,
    progress: Progress,
    actions: BTreeMap<String, ActionStatus>,
    no_wait: bool,
    stopping: bool,
}

/// What ends the loop.
enum Ended {
    /// All actions are over, or with `--no-wait` on their way.
    Told,
    /// Interrupted twice.
    Left,
}

impl<'a> Watch<'a> {
    pub(super) fn new(session: &'a Session, out: &'a Output, no_wait: bool) -> Self {
        let progress = out.progress();
        Self { session, out, progress, actions: BTreeMap::new(), no_wait, stopping: false }
    }

    /// Sends the request and follows what becomes of it.
    ///
    /// # Errors
    /// The server refused it, or the stream broke off.
    pub(super) async fn run(mut self, request: UnleashRequest) -> Outcome {
        let mut interrupts = Interrupts::take_over()?;
        let patience = self.session.patience(longest_wait(&request));
        let mut client = self.session.client.clone();
        let call = client.unleash(request);
        let mut stream = tokio::select! {
            answer = self.session.answer(call) => answer?,
            () = interrupts.next() => return Ok(ExitCode::from(INTERRUPTED)),
        };
        let ended = self.follow(&mut stream, &mut interrupts, patience).await;
        self.progress.end();
        if ended.is_err() {
            self.tell_what_goes_on();
        }
        let ended = ended?;
        self.conclude(&ended)
    }

    async fn follow(
        &mut self,
        stream: &mut Streaming<ActionStatus>,
        interrupts: &mut Interrupts,
        patience: Duration,
    ) -> Result<Ended, Failure> {
        let deadline = Instant::now() + patience;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                message = stream.message() => match message? {
                    Some(status) => self.heard(status)?,
                    None => return Ok(Ended::Told),
                },
                () = interrupts.next() => {
                    if self.stopping {
                        return Ok(Ended::Left);
                    }
                    self.stopping = true;
                    tokio::select! {
                        () = self.stop_all() => {}
                        () = interrupts.next() => return Ok(Ended::Left),
                    }
                }
                _ = ticks.tick() => self.progress.tick(),
                () = tokio::time::sleep_until(deadline) => return Err(self.session.silent(patience).into()),
            }
            if self.no_wait && !self.actions.is_empty() && self.actions.values().all(is_ordered) {
                return Ok(Ended::Told);
            }
        }
    }

    fn heard(&mut self, status: ActionStatus) -> Result<(), Failure> {
        self.progress.update(&status);
        self.out.streamed(&status)?;
        let id = status.id.clone();
        if self.actions.insert(id.clone(), status).is_none() && self.out.format() == Format::Name {
            self.out.raw(&format!("{id}\n"))?;
        }
        Ok(())
    }

    /// Asks the server to stop all that is not over. Their ends come by the stream.
    async fn stop_all(&self) {
        self.progress.say("stopping; interrupt again to leave at once");
        let stop = async |action: &ActionStatus| {
            let mut client = self.session.client.clone();
            self.session.answer(client.stop_action(StopActionRequest { id: action.id.clone() })).await
        };
        for problem in join_all(self.active().map(stop)).await.into_iter().filter_map(Result::err) {
            self.progress.say(&format!("stopping: {problem}"));
        }
    }

    fn active(&self) -> impl Iterator<Item = &ActionStatus> {
        self.actions.values().filter(|action| !is_over(action))
    }

    /// For those who leave before the end: what is still in force, and how to end it.
    fn tell_what_goes_on(&self) {
        for action in self.active() {
            self.out.say(&format!(
                "{} goes on to its deadline; `kittyctl action stop {}` ends it",
                action.target_id, action.id
            ));
        }
    }

    fn conclude(&self, ended: &Ended) -> Outcome {
        if self.out.format() == Format::Table {
            let actions: Vec<ActionStatus> = self.actions.values().cloned().collect();
            self.out.list(&ListActionsResponse::default(), &actions)?;
        }
        for action in self.actions.values() {
            tell_problem(action, self.out);
        }
        if matches!(ended, Ended::Left) || self.no_wait {
            self.tell_what_goes_on();
        }
        let well =
            self.actions.values().all(|action| ended_well(action) || (self.no_wait && is_under_way(action)));
        Ok(match (self.stopping, well) {
            (true, _) => ExitCode::from(INTERRUPTED),
            (false, true) => ExitCode::SUCCESS,
            (false, false) => ExitCode::FAILURE,
        })
    }
}

/// How long the call may last: as long as its fault, and some time for what stands around it.
fn longest_wait(request: &UnleashRequest) -> Duration {
    let duration = request.action.as_ref().and_then(|action| action.duration);
    let duration: Duration = duration.and_then(|duration| duration.try_into().ok()).unwrap_or_default();
    duration.saturating_add(GRACE)
}

/// The agent has the order, or will never have it.
fn is_ordered(action: &ActionStatus) -> bool {
    !matches!(action.state(), State::Unspecified | State::Admitted)
}

/// Nothing of it is in force, or a person is needed to end it.
fn is_over(action: &ActionStatus) -> bool {
    matches!(action.state(), State::Reverted | State::Done | State::Failed | State::Refused | State::Stuck)
}

/// It is on its way or in force.
fn is_under_way(action: &ActionStatus) -> bool {
    !is_over(action) && action.state() != State::Unknown
}
