//! Who is hurt, in words and for lists: by whom, since when, until when.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use chaos_kitty::{
    Problem, Timestamp,
    v1::{Target, target::Standing},
};
use tokio::time::Instant;

use super::{Gate, State, rules, rules::clock};
use crate::fleet::GroupView;

/// Members named in an error.
const NAMED: usize = 5;

impl Gate {
    /// Why each of these targets cannot be hit now. `None`: it can.
    pub(crate) fn standings(&self, targets: &[Arc<Target>]) -> Vec<Option<Standing>> {
        let state = self.state();
        let mut groups: HashMap<(&str, &str), Option<Standing>> = HashMap::new();
        let mut standings = Vec::with_capacity(targets.len());
        for target in targets {
            let own = self.hurt(&state, target);
            let key = (target.platform_type.as_str(), target.aggregation_identifier.as_str());
            let of_group = || groups.entry(key).or_insert_with(|| self.of_group(&state, target)).clone();
            standings.push(own.or_else(of_group));
        }
        standings
    }

    /// Why nobody of the target's group can be hit now.
    fn of_group(&self, state: &State, target: &Target) -> Option<Standing> {
        let group = self.fleet.group_of(target)?;
        if let Err(problem) = self.is_back(state, &group) {
            let until = state.settling().map(|left| Timestamp::from(SystemTime::now() + left));
            let waits_for = self.fleet.absent(&group.agents);
            return Some(Standing { until, waits_for, reason: problem.message, ..Standing::default() });
        }
        let refused = self.limits.admits(&group.key.1, state.crowd(&group), 1).err()?;
        let reason = self.with_hurt(state, refused, &group).message;
        Some(Standing { reason, ..Standing::default() })
    }

    /// Whether all of a group are back after a start of the server.
    ///
    /// # Errors
    /// [`chaos_kitty::Code::Settling`], naming whom it waits for.
    pub(super) fn is_back(&self, state: &State, group: &GroupView) -> Result<(), Problem> {
        let Some(left) = state.settling() else { return Ok(()) };
        rules::is_back(group, left, &self.fleet.absent(&group.agents))
    }

    /// Why a target counts as hurt. `None`: it does not.
    fn hurt(&self, state: &State, target: &Target) -> Option<Standing> {
        if let Some((id, wound)) = state.wounds.of(target).find_map(|id| Some((id, state.wounds.get(id)?))) {
            let until = wound.until.map(|until| format!(" until {}", clock(until))).unwrap_or_default();
            return Some(Standing {
                action_id: id.clone(),
                since: Some(wound.since.into()),
                until: wound.until.map(Timestamp::from),
                reason: format!("action {id} since {}{until}", clock(wound.since)),
                ..Standing::default()
            });
        }
        if let Some(at) = state.killed_at(target) {
            let reason = format!("killed at {}, until another life of it is seen", clock(at));
            return Some(Standing { since: Some(at.into()), reason, ..Standing::default() });
        }
        if let Err(problem) = state.is_clear(target) {
            return Some(Standing { reason: problem.message, ..Standing::default() });
        }
        let engaged = state.engaged.of(target).find_map(|id| Some((id, state.engaged.get(id)?)));
        if let Some((id, wound)) = engaged {
            return Some(Standing {
                experiment_id: id.clone(),
                since: Some(wound.since.into()),
                reason: format!("under experiment {id} since {}, until that is over", clock(wound.since)),
                ..Standing::default()
            });
        }
        if state.is_well(target) {
            return None;
        }
        let since = self.fleet.health_since(&target.id);
        let when = since.map(|since| format!(" since {}", clock(since))).unwrap_or_default();
        let reason = format!("not healthy{when}, by {}, until that says otherwise", judge(target));
        Some(Standing { since: since.map(Timestamp::from), reason, ..Standing::default() })
    }

    /// The same in words.
    pub(super) fn why_hurt(&self, state: &State, target: &Target) -> String {
        self.hurt(state, target).map_or_else(|| "it is not hurt".to_owned(), |standing| standing.reason)
    }

    /// Says who of the group is hurt now, since when and until when.
    pub(super) fn with_hurt(&self, state: &State, mut problem: Problem, group: &GroupView) -> Problem {
        let hurt: Vec<_> = group.members.iter().filter(|member| !state.is_spared(member)).collect();
        let told = |member: &&Arc<Target>| format!("{} ({})", member.name, self.why_hurt(state, member));
        let mut named: Vec<_> = hurt.iter().take(NAMED).map(told).collect();
        let more = hurt.len().saturating_sub(NAMED);
        named.extend((more > 0).then(|| format!("{more} more")));
        let gone = group.peak.saturating_sub(group.members.len());
        named.extend((gone > 0).then(|| self.gone(group, gone)));
        let named = if named.is_empty() { "nobody".to_owned() } else { named.join(", ") };
        problem.message.push_str(&format!("; hurt now: {named}"));
        problem
    }

    /// Those that were of the group within the window, and count until that is over.
    fn gone(&self, group: &GroupView, gone: usize) -> String {
        let names =
            if group.left.is_empty() { String::new() } else { format!(" ({})", group.left.join(", ")) };
        let Some(at) = group.peak_at else { return format!("{gone} gone{names}") };
        let (since, window) =
            (Instant::now().saturating_duration_since(at), self.fleet.settings().survivor_window);
        let now = SystemTime::now();
        let since_when = now.checked_sub(since).unwrap_or(now);
        let until = since_when.checked_add(window).unwrap_or(now);
        format!(
            "{gone} gone{names} since {}, and counted until {} (kittyd --survivor-window)",
            clock(since_when),
            clock(until)
        )
    }
}

/// Who says whether a target is well.
fn judge(target: &Target) -> &'static str {
    match target.platform_type.as_str() {
        "DockerPlatform" => "its container's state and health check",
        "SystemdPlatform" => "its unit's state",
        "KubernetesPlatform" => "its pod's readiness",
        _ => "its process's state",
    }
}
