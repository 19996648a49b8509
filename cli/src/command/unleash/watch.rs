//! Following the actions of one call from their orders to their ends.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{
        ActionStatus, GetActionRequest, ListActionsResponse, StopActionRequest, UnleashRequest,
        action_state::Name as State,
    },
};
use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, sleep, sleep_until};
use tonic::Streaming;

use crate::{
    args::Format,
    command::{
        action::{STUCK, ended_well, is_stuck, tell_problem, tell_stuck},
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
/// How often actions are asked for once their stream broke off, and how often in vain.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 60;
/// How long the ends of what was stopped are waited for.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The actions of one call, as far as they were heard of.
pub(super) struct Watch<'a> {
    session: &'a Session,
    out: &'a Output,
    progress: Progress,
    actions: BTreeMap<String, ActionStatus>,
    no_wait: bool,
    stopping: bool,
    deadline: Instant,
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
        let deadline = Instant::now();
        Self { session, out, progress, actions: BTreeMap::new(), no_wait, stopping: false, deadline }
    }

    /// Sends the request and follows what becomes of it.
    ///
    /// # Errors
    /// The server refused it, or the stream broke off.
    pub(super) async fn run(mut self, request: UnleashRequest) -> Outcome {
        let mut interrupts = Interrupts::take_over()?;
        let patience = self.session.patience(longest_wait(&request));
        self.deadline = Instant::now() + patience;
        let mut client = self.session.client.clone();
        let call = client.unleash(request);
        let mut stream = tokio::select! {
            answer = self.session.answer(call) => answer?,
            () = interrupts.next() => return Ok(ExitCode::from(INTERRUPTED)),
        };
        let ended = match self.follow(&mut stream, &mut interrupts, patience).await {
            Err(Failure::Problem(lost)) if lost.code == Code::ConnectionLost && !self.actions.is_empty() => {
                self.progress.say(&format!("{}; asking for each action", lost.message));
                self.ask(&mut interrupts, patience).await
            }
            ended => ended,
        };
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
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                message = stream.message() => match message.map_err(Problem::of_stream)? {
                    Some(status) => self.heard(status)?,
                    None => return Ok(Ended::Told),
                },
                () = interrupts.next() => if self.leaves(interrupts).await {
                    return Ok(Ended::Left);
                },
                _ = ticks.tick() => self.progress.tick(),
                () = sleep_until(self.deadline) => return self.too_late(patience),
            }
            if self.is_told() {
                return Ok(Ended::Told);
            }
        }
    }

    /// Follows what is known by its ids, after the stream broke off.
    async fn ask(&mut self, interrupts: &mut Interrupts, patience: Duration) -> Result<Ended, Failure> {
        let mut in_vain = 0;
        while !self.is_told() && self.active().next().is_some() {
            tokio::select! {
                answers = self.answers() => match answers {
                    Ok(heard) => {
                        in_vain = 0;
                        heard.into_iter().try_for_each(|status| self.heard(status))?;
                    }
                    Err(lost) if is_away(&lost) && in_vain < ATTEMPTS => in_vain += 1,
                    Err(problem) => return Err(problem.into()),
                },
                () = interrupts.next() => if self.leaves(interrupts).await {
                    return Ok(Ended::Left);
                },
                () = sleep_until(self.deadline) => return self.too_late(patience),
            }
        }
        Ok(Ended::Told)
    }

    /// What became of those that are not over, after a while.
    async fn answers(&self) -> Result<Vec<ActionStatus>, Problem> {
        sleep(ASK_EVERY).await;
        let ask = async |action: &ActionStatus| {
            let mut client = self.session.client.clone();
            self.session.answer(client.get_action(GetActionRequest { id: action.id.clone() })).await
        };
        join_all(self.active().map(ask)).await.into_iter().collect()
    }

    /// Whether enough is known: all are on their way where nobody waits, or all are over and one of them waits for a
    /// person. A server of the version before goes on then.
    fn is_told(&self) -> bool {
        let all =
            |fits: fn(&ActionStatus) -> bool| !self.actions.is_empty() && self.actions.values().all(fits);
        self.no_wait && all(is_ordered) || all(is_over) && self.actions.values().any(is_stuck)
    }

    /// After an interruption: stops everything, and says whether to leave before its end.
    async fn leaves(&mut self, interrupts: &mut Interrupts) -> bool {
        if self.stopping {
            return true;
        }
        self.stopping = true;
        tokio::select! {
            () = self.stop_all() => {}
            () = interrupts.next() => return true,
        }
        self.deadline = self.deadline.min(Instant::now() + LAST_WORDS);
        false
    }

    /// Nothing more is waited for.
    fn too_late(&self, patience: Duration) -> Result<Ended, Failure> {
        if self.stopping { Ok(Ended::Left) } else { Err(self.session.silent(patience).into()) }
    }

    fn heard(&mut self, status: ActionStatus) -> Result<(), Failure> {
        if self.actions.get(&status.id) == Some(&status) {
            return Ok(());
        }
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
        let stuck: Vec<_> = self.actions.values().filter(|action| is_stuck(action)).collect();
        for action in &stuck {
            tell_stuck(action, self.out);
        }
        if !stuck.is_empty() {
            return Ok(ExitCode::from(STUCK));
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

/// Nobody answers at the moment.
const fn is_away(problem: &Problem) -> bool {
    matches!(problem.code, Code::ConnectionLost | Code::NotReachable | Code::NoAnswer)
}

/// It is on its way or in force.
fn is_under_way(action: &ActionStatus) -> bool {
    !is_over(action) && action.state() != State::Unknown
}
