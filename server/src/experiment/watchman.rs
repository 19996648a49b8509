//! Looks after a suite's probes: before it begins, while it runs, and when it is over; then it is judged.

use std::sync::Weak;

use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{ExperimentSuite, Probe, SuiteRecord, SuiteVerdict, event, suite_record::ProbeNews},
};
use futures_util::future::join_all;

use super::{Experiments, at, port::Port, probe, verdict};
use crate::task::{self, OnPanic};

/// News of probes kept of one suite.
const NEWS: usize = 1000;

/// A probe, and what was last seen of it.
struct Watched {
    probe: Probe,
    name: String,
    /// The suite ends when it does not hold.
    stops: bool,
    held: Option<bool>,
    /// That it ever did not hold is recorded.
    broke: bool,
}

/// Whether there is anything to look after.
pub(super) fn has_probes(suite: &ExperimentSuite) -> bool {
    !suite.steady_state.is_empty() || !suite.stop_conditions.is_empty()
}

/// A suite whose steady state does not hold is not begun, nor one that would be aborted at once.
///
/// # Errors
/// [`Code::NotSteady`], naming what does not hold.
pub(super) async fn must_be_steady(port: &dyn Port, suite: &ExperimentSuite) -> Result<(), Problem> {
    let mut watched = watched(suite);
    let wrong: Vec<_> = look(port, &mut watched).await.into_iter().filter(|news| !news.holds).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let wrong: Vec<_> = wrong.iter().map(|news| format!("{} ({})", news.name, news.message)).collect();
    Err(Problem::new(
        Code::NotSteady,
        format!("it does not hold before anything is done: {}", wrong.join(", ")),
    )
    .hint("nothing was started; make it hold first, or correct the probe"))
}

/// Looks after the probes of a suite until it is over, and once more then.
pub(super) async fn watch(this: Weak<Experiments>, key: i64, mut record: SuiteRecord) {
    let Some(suite) = record.suite.clone() else { return };
    let mut watched = watched(&suite);
    for one in &mut watched {
        let mut of_it =
            record.probes.iter().filter(|news| news.name == one.name && news.stop_condition == one.stops);
        one.broke = of_it.clone().any(|news| !news.holds);
        one.held = of_it.next_back().map(|news| news.holds);
    }
    loop {
        let Some(experiments) = this.upgrade() else { return };
        let over = !experiments.state().suites.contains_key(&key);
        if over {
            // Nothing is left to be stopped; what is steady has to be so afterwards too.
            watched.retain(|one| !one.stops);
            watched.iter_mut().for_each(|one| one.held = None);
        }
        let news = look(&*experiments.port, &mut watched).await;
        if let Some(broken) = news.iter().find(|news| news.stop_condition && !news.holds) {
            experiments.abort(key, &verdict::stopped_by(broken));
        } else if let Some(broken) = watched.iter().find(|one| one.stops && one.held == Some(false)) {
            // It was so before the server was started anew.
            experiments.abort(key, &format!("the stop condition {:?} does not hold", broken.name));
        }
        let known = record.probes.len();
        for news in news {
            let one =
                watched.iter_mut().find(|one| one.name == news.name && one.stops == news.stop_condition);
            let breaks = one.is_some_and(|one| !news.holds && !std::mem::replace(&mut one.broke, true));
            // That one did not hold decides the verdict, however much there is to tell.
            if breaks || record.probes.len() < NEWS {
                record.probes.push(news);
            }
        }
        if over {
            return experiments.judge(record).await;
        }
        if record.probes.len() > known
            && let Err(problem) = experiments.store.put_suite_record(&record).await
        {
            tracing::error!(suite = key, %problem, "news of probes were not recorded");
        }
        let interval = experiments.settings.probe_interval;
        drop(experiments);
        tokio::time::sleep(interval).await;
    }
}

impl Experiments {
    /// Nobody looks after a suite's probes any more: it ends, and is judged without them.
    pub(super) fn unwatched(&self, key: i64) {
        let is_over = self.state().suites.get_mut(&key).map(|suite| suite.watched = false).is_none();
        if is_over {
            self.judge_soon(key);
        } else {
            self.abort(key, "its probes can not be looked after");
        }
    }

    /// Has a suite judged whose experiments are over and whose probes nobody looks after.
    pub(super) fn judge_soon(&self, key: i64) {
        let this = self.this.clone();
        task::spawn(OnPanic::End, async move {
            let Some(experiments) = this.upgrade() else { return };
            match experiments.store.suite_record(at(key)).await {
                Ok(record) => experiments.judge(record).await,
                Err(problem) => {
                    tracing::error!(suite = key, %problem, "the suite is not judged before the next start")
                }
            }
        });
    }

    /// Writes the verdict on a suite down, and tells it.
    async fn judge(&self, mut record: SuiteRecord) {
        let at = record.at.unwrap_or_default();
        let written = async {
            record.experiments = self.store.experiments_of(at).await?;
            let (verdict, reason) = verdict::judge(&record);
            record.verdict = verdict.into();
            record.verdict_reason = reason;
            // They have lines of their own.
            record.experiments.clear();
            self.store.put_suite_record(&record).await
        };
        if let Err(problem) = written.await {
            return tracing::error!(?at, %problem, "the suite is not judged before the next start");
        }
        let (verdict, reason) = (record.verdict(), record.verdict_reason);
        let name = record.suite.map(|suite| suite.name).unwrap_or_default();
        let shown = humantime::format_rfc3339_micros(
            at.system_time().filter(|_| at.is_sane()).unwrap_or(std::time::UNIX_EPOCH),
        );
        tracing::info!(suite = %shown, verdict = verdict.as_str_name(), reason, "suite");
        let message = format!("suite {shown} {}: {reason}", verdict.as_str_name());
        let told =
            SuiteVerdict { at: Some(at), name, verdict: verdict.into(), reason, automatic: record.automatic };
        self.port.emit(event::Kind::Suite(told), message);
    }

    /// All of a suite goes to self healing.
    fn abort(&self, key: i64, reason: &str) {
        let mut state = self.state();
        let Some(suite) = state.suites.get_mut(&key).filter(|suite| suite.abort.is_none()) else { return };
        tracing::warn!(suite = key, reason, "the suite is aborted");
        suite.abort = Some(reason.to_owned());
        drop(state);
        self.wake_suite(key);
    }
}

fn watched(suite: &ExperimentSuite) -> Vec<Watched> {
    let steady = suite.steady_state.iter().map(|probe| (probe, false));
    let all = steady.chain(suite.stop_conditions.iter().map(|probe| (probe, true)));
    let named = all.enumerate().map(|(number, (probe, stops))| Watched {
        name: probe::name(number, probe),
        probe: probe.clone(),
        stops,
        held: None,
        broke: false,
    });
    named.collect()
}

/// Asks all of them; gives what has changed.
async fn look(port: &dyn Port, watched: &mut [Watched]) -> Vec<ProbeNews> {
    let answers = join_all(watched.iter().map(|one| probe::ask(&one.probe, port))).await;
    let mut news = Vec::new();
    for (one, answer) in watched.iter_mut().zip(answers) {
        let holds = answer.is_ok();
        if one.held != Some(holds) {
            one.held = Some(holds);
            let message = answer.err().unwrap_or_default();
            let (name, at, stop_condition) = (one.name.clone(), Some(Timestamp::now()), one.stops);
            news.push(ProbeNews { name, at, holds, message, stop_condition });
        }
    }
    news
}
