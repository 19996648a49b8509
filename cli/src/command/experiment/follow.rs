//! Following experiments until they are over.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{
        Experiment, GetExperimentRequest, ListExperimentsResponse, MethodParameters,
        experiment_state::Name as State,
    },
};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::{
    args::Format,
    command::interrupt::{INTERRUPTED, Interrupts},
    failure::{Failure, Outcome},
    output::{Course, Output, Progress, text},
    session::Session,
};

/// Exit code when an awaited experiment ended FAILED.
const FAILED: u8 = 3;
/// So many are followed at a time: a server has a limit on streams of one connection. The others follow.
const AT_ONCE: usize = 64;
/// From a lost connection to the next attempt, and how many attempts are made in vain.
const RETRY: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 60;
/// How often bars move.
const TICK: Duration = Duration::from_millis(100);
/// What each attempt at self healing may take beside its interval.
const STEP: Duration = Duration::from_secs(60);
/// How long after its planned end an experiment is waited for.
const GRACE: Duration = Duration::from_secs(300);

/// Follows these experiments until all are over. Ends with exit code 3 if one of them failed; an interruption ends
/// the following alone.
pub(super) async fn follow(session: &Session, out: &Output, experiments: &[Experiment]) -> Outcome {
    Follow::new(session, out).run(experiments).await
}

struct Follow<'a> {
    session: &'a Session,
    out: &'a Output,
    progress: Progress,
    /// As they were last heard of.
    heard: BTreeMap<String, Experiment>,
}

impl<'a> Follow<'a> {
    fn new(session: &'a Session, out: &'a Output) -> Self {
        Self { session, out, progress: out.progress(), heard: BTreeMap::new() }
    }

    async fn run(mut self, experiments: &[Experiment]) -> Outcome {
        let mut interrupts = Interrupts::take_over()?;
        for experiment in experiments {
            self.take_in(experiment.clone())?;
        }
        let longest = experiments.iter().map(longest_life).max().unwrap_or_default();
        let patience = self.session.patience(longest.saturating_add(GRACE));
        let silent = self.session.silent(patience);
        let left = tokio::select! {
            heard = timeout(patience, self.hear()) => match heard {
                Ok(heard) => heard.map(|()| false),
                Err(_) => Err(silent.into()),
            },
            () = interrupts.next() => Ok(true),
        };
        self.progress.end();
        match left {
            Ok(false) => {}
            Ok(true) | Err(_) => self.tell_what_goes_on(),
        }
        self.conclude(left?)
    }

    /// Until the last one is over, through restarts of the server too.
    async fn hear(&mut self) -> Result<(), Failure> {
        let mut in_vain = 0;
        loop {
            match self.hear_on(&mut in_vain).await {
                Err(Failure::Problem(lost)) if lost.code == Code::ConnectionLost && in_vain < ATTEMPTS => {
                    if in_vain == 0 {
                        self.progress.say(&format!("{}; trying again", text::printable(&lost.message)));
                    }
                    in_vain += 1;
                    sleep(RETRY).await;
                }
                ended => return ended,
            }
        }
    }

    /// Until the last one is over, on one connection.
    async fn hear_on(&mut self, in_vain: &mut u32) -> Result<(), Failure> {
        let session = self.session;
        let ids: Vec<_> = self.running().map(|experiment| experiment.id.clone()).collect();
        let mut news = stream::iter(ids).map(|id| Box::pin(watch(session, id))).flatten_unordered(AT_ONCE);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                experiment = news.next() => match experiment {
                    Some(experiment) => {
                        self.take_in(experiment?)?;
                        *in_vain = 0;
                    }
                    None => break,
                },
                _ = ticks.tick() => self.progress.tick(),
            }
        }
        match self.running().next() {
            // So ends a server that stops in order.
            Some(_) => {
                Err(Problem::new(Code::ConnectionLost, "the answer ended before the experiment").into())
            }
            None => Ok(()),
        }
    }

    fn running(&self) -> impl Iterator<Item = &Experiment> {
        self.heard.values().filter(|experiment| !experiment.is_over())
    }

    fn take_in(&mut self, experiment: Experiment) -> Result<(), Failure> {
        if self.heard.get(&experiment.id) == Some(&experiment) {
            return Ok(());
        }
        self.progress.update(&experiment);
        self.out.streamed(&experiment)?;
        let id = experiment.id.clone();
        if self.heard.insert(id.clone(), experiment).is_none() && self.out.format() == Format::Name {
            self.out.raw(&format!("{id}\n"))?;
        }
        Ok(())
    }

    /// For those who leave before the end.
    fn tell_what_goes_on(&self) {
        let running: Vec<_> = self.running().collect();
        let told = match running[..] {
            [] => return,
            [one] => format!(
                "the experiment goes on: `kittyctl experiment watch {}` follows it, `kittyctl experiment stop` ends it",
                one.id
            ),
            _ => format!(
                "{} experiments go on: `kittyctl experiment list` shows them, `kittyctl experiment stop` ends one",
                running.len()
            ),
        };
        self.out.say(&told);
    }

    fn conclude(&self, left: bool) -> Outcome {
        let experiments: Vec<_> = self.heard.values().cloned().collect();
        if self.out.format() == Format::Table {
            self.out.list(&ListExperimentsResponse::default(), &experiments)?;
        }
        for problem in experiments.iter().filter_map(|experiment| experiment.problem.clone()) {
            self.out.problem(&problem.into());
        }
        Ok(match (left, experiments.iter().any(has_failed)) {
            (true, _) => ExitCode::from(INTERRUPTED),
            (false, true) => ExitCode::from(FAILED),
            (false, false) => ExitCode::SUCCESS,
        })
    }
}

fn has_failed(experiment: &Experiment) -> bool {
    experiment.experiment_state() == State::Failed
}

/// One experiment as it is, and each change of it until it is over.
fn watch(session: &Session, id: String) -> impl Stream<Item = Result<Experiment, Problem>> {
    let open = async move {
        let request = GetExperimentRequest { id };
        let changes = session.answer(session.client.clone().watch_experiment(request)).await?;
        Ok::<_, Problem>(changes.map_err(Problem::from))
    };
    stream::once(open).try_flatten()
}

/// How long it may take to its end, at the most.
fn longest_life(experiment: &Experiment) -> Duration {
    let parameters = experiment.parameters.clone().unwrap_or_default();
    let MethodParameters { maximum_duration, finalization_duration, self_healing_interval, .. } = parameters;
    let attempts = parameters.self_healing_retries.unwrap_or_default();
    let known =
        |duration: Option<pbjson_types::Duration>| duration.as_ref().map(text::std).unwrap_or_default();
    let attempt = known(self_healing_interval).saturating_add(STEP);
    let healing = attempt.saturating_mul(attempts);
    known(maximum_duration).saturating_add(healing).saturating_add(known(finalization_duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_experiment_is_waited_for_through_all_its_attempts_at_healing() {
        let seconds = |seconds| Some(Duration::from_secs(seconds).into());
        let parameters = MethodParameters {
            maximum_duration: seconds(300),
            finalization_duration: seconds(30),
            self_healing_interval: seconds(240),
            self_healing_retries: Some(10),
            ..Default::default()
        };
        let experiment = Experiment { parameters: Some(parameters), ..Default::default() };
        assert_eq!(longest_life(&experiment), Duration::from_secs(300 + 10 * 300 + 30));
        let endless = MethodParameters {
            self_healing_interval: seconds(u64::from(u32::MAX) << 20),
            self_healing_retries: Some(u32::MAX),
            ..Default::default()
        };
        let endless = Experiment { parameters: Some(endless), ..Default::default() };
        assert_eq!(longest_life(&endless), Duration::MAX);
    }
}
