//! How this agent presents itself: what does not change while it runs, and the Hello made of it.

use std::collections::BTreeMap;

use chaos_kitty::{
    limits, peer,
    v1::{ActionReport, Hello, agent_role::Name as Role},
};
use prost::Message;

use super::{reports::Reports, roster};
use crate::{host::boot_id, platform::Roster, state::Seen};

/// Bytes of a Hello's reports; what is over is sent after the Welcome.
const HELD_BYTES: usize = limits::MESSAGE_BYTES / 2;

/// See the module.
pub(crate) struct Presence {
    /// The agent's id.
    pub(crate) agent_id: String,
    /// The host, as its targets name it.
    pub(crate) host: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Types of the platforms that were configured.
    pub(crate) platforms: Vec<String>,
}

impl Presence {
    /// A Hello, and the number of the last report in it.
    pub(super) fn hello(
        &self,
        seen: &Seen,
        held: Vec<ActionReport>,
        reports: &Reports,
        roster: &Roster,
    ) -> (Hello, u64) {
        let pid = std::process::id();
        let mut hello = Hello {
            agent_id: self.agent_id.clone(),
            host: self.host.clone(),
            pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: boot_id(),
            labels: self.labels.clone(),
            held: Vec::new(),
            protocol_versions: vec![limits::PROTOCOL_VERSION],
            role: Role::Agent.into(),
            epoch: seen.epoch,
            server_id: seen.server_id.clone(),
            latched: seen.latched,
            start_time: peer::start_time(pid).unwrap_or_default(),
            platform_problems: roster::problems(roster),
            platforms: self.platforms.clone(),
            ..Hello::default()
        };
        let mut room = HELD_BYTES;
        let mut last = 0;
        // After `held` was looked up: what ended since then has reported it by now.
        reports.catch_up();
        // Ended and unreported first, in their order; then what is in force, whose reports have no number.
        while let Some(batch) = reports.batch_after(last).filter(|batch| batch.encoded_len() <= room) {
            room -= batch.encoded_len();
            last = batch.reports.last().map_or(last, |report| report.sequence);
            hello.held.extend(batch.reports);
        }
        hello.held.extend(held);
        (hello, last)
    }
}
