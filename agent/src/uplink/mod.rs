//! The stream to the server, kept up over outages, and the relay for the nodes behind this one.
//!
//! | file | what it does |
//! |---|---|
//! | `session` | one stream: Hello, Welcome, then orders down, reports and targets up |
//! | `outbound` | the bounded way up, answers first |
//! | `fence` | which server and epoch is obeyed |
//! | `roster`, `reports`, `presence` | what goes up: targets, what became of actions, the Hello |
//! | `relay` | workers and other agents on the local socket |

mod fence;
#[cfg(any(test, fuzzing))]
#[allow(clippy::expect_used, clippy::unwrap_used, reason = "what does not start has nothing to be fed")]
pub(crate) mod fuzz;
mod outbound;
mod presence;
pub(crate) mod relay;
mod reports;
mod roster;
mod session;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use chaos_kitty::{Code, backoff::Backoff, client::TlsFiles, endpoint::Endpoint};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{executor::Executor, platform::Roster, policy::offer::Offer, state::Seen};
pub(crate) use presence::Presence;
use relay::Relay;
pub(crate) use reports::Reports;
use session::Ended;

/// A stream that was welcome for this long proves that the server is well: the next outage begins anew.
const PROVEN: Duration = Duration::from_secs(10);

/// How long to wait after a refusal that another try will hardly change.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// What the uplink works with.
pub(crate) struct Uplink {
    /// Where the server, or another agent, is.
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: TlsFiles,
    pub(crate) presence: Presence,
    pub(crate) executor: Executor,
    pub(crate) rosters: watch::Receiver<Roster>,
    /// What the server is told that can be done to them.
    pub(crate) offer: Arc<Offer>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) relay: Arc<Relay>,
    /// What was seen of the server; changes are kept by the state folder.
    pub(crate) seen: watch::Sender<Seen>,
    /// Cancelled when the agent is to say Goodbye.
    pub(crate) leave: CancellationToken,
}

impl Uplink {
    /// Attaches, and attaches again whenever the stream is lost. Returns once the agent has left.
    pub(crate) async fn run(self) {
        let (mut backoff, mut lease) = (Backoff::default(), None);
        let mut outage: Option<Code> = None;
        loop {
            let Err(ended) = session::run(&self, &mut lease).await else { return };
            if ended.welcome_for.is_some() {
                outage = None;
            }
            log_outage(&mut outage, &ended);
            if ended.welcome_for.is_some_and(|lasted| lasted >= PROVEN) {
                backoff.reset();
            }
            let wait = if ended.permanent { REFUSED_PAUSE } else { backoff.next(&mut rand::rng()) };
            if timeout(wait, self.leave.cancelled()).await.is_ok() {
                return;
            }
        }
    }
}

/// One line when an outage begins and one for each new cause; the tries between are told to those who debug.
fn log_outage(outage: &mut Option<Code>, ended: &Ended) {
    let problem = &ended.problem;
    if *outage == Some(problem.code) {
        tracing::debug!(%problem, "still not attached to the server");
    } else if ended.permanent {
        tracing::error!(%problem, "the server refuses this agent");
    } else {
        tracing::warn!(%problem, "not attached to the server; trying again");
    }
    *outage = Some(problem.code);
}
