//! Following experiments until they are over.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{
        Experiment, GetExperimentRequest, GetSuiteRecordRequest, ListExperimentsResponse, MethodParameters,
        experiment_state::Name as State, verdict::Name as Verdict,
    },
};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::{
    args::Format,
    command::interrupt::{INTERRUPTED, Interrupts},
    failure::{Failure, Outcome},
    output::{Course, Output, Progress, text, verdict_told},
    session::Session,
};

/// Exit code when an awaited suite, or one experiment that was watched, ended FAILED.
const FAILED: u8 = 3;
/// Exit code when an awaited suite was ended before its time.
const ABORTED: u8 = 5;
/// Exit code when an awaited suite could not be done.
const ERRORED: u8 = 1;
/// How often one asks for the verdict once the experiments are over, and for how long: the last look at the steady state
/// comes before it.
const ASK: Duration = Duration::from_millis(100);
const JUDGING: Duration = Duration::from_secs(60);
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

/// Follows these experiments until all are over. Ends with the exit code of the verdict on their suite; without a suite,
/// with 3 if one of them failed. An interruption ends the following alone.
pub(super) async fn follow(
    session: &Session,
    out: &Output,
    experiments: &[Experiment],
    suite: Option<Timestamp>,
) -> Outcome {
    Follow::new(session, out, suite).run(experiments).await
}

struct Follow<'a> {
    session: &'a Session,
    out: &'a Output,
    progress: Progress,
    /// As they were last heard of.
    heard: BTreeMap<String, Experiment>,
    /// Whose verdict counts.
    suite: Option<Timestamp>,
    /// What came of it, and why.
    verdict: (Verdict, String),
}

impl<'a> Follow<'a> {
    fn new(session: &'a Session, out: &'a Output, suite: Option<Timestamp>) -> Self {
        let verdict = (Verdict::Unspecified, String::new());
        Self { session, out, progress: out.progress(), heard: BTreeMap::new(), suite, verdict }
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
            let heard = match self.hear_on(&mut in_vain).await {
                Ok(()) => self.hear_verdict().await,
                Err(failure) => Err(failure),
            };
            match heard {
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

    /// The verdict, which the server gives when the last experiment is over.
    async fn hear_verdict(&mut self) -> Result<(), Failure> {
        let asked = Instant::now();
        while let Some(at) = self.suite {
            let request = GetSuiteRecordRequest { at: Some(at) };
            let record = self.session.answer(self.session.client.clone().get_suite_record(request)).await?;
            self.verdict = (record.verdict(), record.verdict_reason);
            if self.verdict.0 != Verdict::Running || asked.elapsed() > JUDGING {
                break;
            }
            sleep(ASK).await;
        }
        Ok(())
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
        if left {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        let (verdict, reason) = &self.verdict;
        let told = verdict_told(*verdict, reason);
        if !told.is_empty() {
            self.out.say(&format!("the suite is {}", text::printable(&told)));
        }
        Ok(exit_code(*verdict, &experiments))
    }
}

/// A verdict that is not known after all this time is none to build on. Without one, of an earlier server or of a single
/// experiment, what came of the experiments counts.
fn exit_code(verdict: Verdict, experiments: &[Experiment]) -> ExitCode {
    match verdict {
        Verdict::Unspecified if experiments.iter().any(has_failed) => ExitCode::from(FAILED),
        Verdict::Unspecified if experiments.iter().any(|it| it.aborted.is_some()) => ExitCode::from(ABORTED),
        Verdict::Unspecified | Verdict::Passed => ExitCode::SUCCESS,
        Verdict::Failed => ExitCode::from(FAILED),
        Verdict::Aborted => ExitCode::from(ABORTED),
        Verdict::Errored | Verdict::Running => ExitCode::from(ERRORED),
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
        Ok::<_, Problem>(changes.map_err(Problem::of_stream))
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

    #[test]
    fn exit_codes_are_those_of_the_verdict_and_of_the_experiments_without() {
        let finished = Experiment { experiment_state: State::Finished.into(), ..Default::default() };
        let failed = Experiment { experiment_state: State::Failed.into(), ..Default::default() };
        let stopped = Experiment { aborted: Some("it was stopped".to_owned()), ..finished.clone() };
        for (verdict, experiment, expected) in [
            (Verdict::Passed, &finished, 0),
            (Verdict::Failed, &finished, 3),
            (Verdict::Aborted, &failed, 5),
            (Verdict::Errored, &failed, 1),
            (Verdict::Running, &finished, 1),
            (Verdict::Unspecified, &finished, 0),
            (Verdict::Unspecified, &failed, 3),
            (Verdict::Unspecified, &stopped, 5),
        ] {
            let code = exit_code(verdict, std::slice::from_ref(experiment));
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(expected)), "{verdict:?}");
        }
    }
}
