//! Looks after a suite's probes: before it begins, while it runs, and when it is over.

use std::sync::Weak;

use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{ExperimentSuite, Probe, SuiteRecord, suite_record::ProbeNews},
};
use futures_util::future::join_all;

use super::{Experiments, port::Port, probe};

/// News of probes kept of one suite.
const NEWS: usize = 1000;

/// A probe, and what was last seen of it.
struct Watched {
    probe: Probe,
    name: String,
    /// The suite ends when it does not hold.
    stops: bool,
    held: Option<bool>,
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
        one.held = record.probes.iter().rev().find(|news| news.name == one.name).map(|news| news.holds);
    }
    loop {
        let Some(experiments) = this.upgrade() else { return };
        let over = !experiments.state().suites.contains_key(&key);
        if over {
            watched.iter_mut().for_each(|one| one.held = None);
        }
        let news = look(&*experiments.port, &mut watched).await;
        let broken = watched.iter().find(|one| one.stops && one.held == Some(false));
        if let Some(broken) = broken.filter(|_| !over) {
            experiments.abort(key, &format!("the stop condition {:?} does not hold", broken.name));
        }
        if !news.is_empty() && record.probes.len() < NEWS {
            record.probes.extend(news);
            if let Err(problem) = experiments.store.put_suite_record(&record).await {
                tracing::error!(suite = key, %problem, "news of probes were not recorded");
            }
        }
        if over {
            return;
        }
        let interval = experiments.settings.probe_interval;
        drop(experiments);
        tokio::time::sleep(interval).await;
    }
}

impl Experiments {
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
            news.push(ProbeNews { name: one.name.clone(), at: Some(Timestamp::now()), holds, message });
        }
    }
    news
}
