//! The life cycle of one experiment, as a pure function of what is recorded and what is seen.
//!
//! ```text
//! CREATED → STARTING → STARTED → FINALIZING → FINISHED
//!                         ↓  ↗
//!                     SELF_HEALING ─────────→ FAILED      (also from all before it)
//! ```
//!
//! No experiment is over while its fault is in force: one that is to fail has its problem recorded, is reverted, and
//! fails then.

mod record;
mod seen;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use chaos_kitty::{
    Code, Later, Problem, Timestamp,
    v1::{Experiment, admin_state::Name as Admin, experiment_state::Name as State},
};

use super::method::{Health, Method};
use record::Times;

pub(super) use record::{attempt, enter, is_over, note};
pub(super) use seen::{Effect, Fault, Next, Presence, Remedy, Seen};

/// How long a step that was begun is remembered by agents, with a margin: after that it is not asked for again.
const REMEMBERED: Duration = Duration::from_secs(50 * 60);

/// A target that a fault made unwell may take this long to be seen well once the fault is over; with shorter times, less.
const SETTLE: Duration = Duration::from_secs(10);

/// Notes that an agent is away, or back, are written as long as an experiment has fewer lines than this.
const LINES: usize = 100;
const AWAY: &str =
    "its agent is away, or can not see it: nothing is known of the target, and it is waited for";
const BACK: &str = "something is known of the target again";

/// What was created is not begun any more after this time: nobody expects it.
const STALE: Duration = Duration::from_secs(3600);

/// What comes next for an experiment of this method.
pub(super) fn next(experiment: &Experiment, method: &Method, seen: &Seen) -> Next {
    let life = Life { experiment, method, seen, times: Times::of(experiment) };
    let state = experiment.experiment_state();
    if is_over(state) {
        return Next::Wait(None);
    }
    if let Fault::Stuck(problem) = &seen.fault {
        return Next::Fail(problem.clone());
    }
    if let Some(doom) = &experiment.problem {
        return if seen.fault.is_over() { Next::Fail(doom.clone().into()) } else { life.act(Effect::Revert) };
    }
    if let Some(note) = life.news_of_sight() {
        return Next::Note(note);
    }
    match state {
        State::Created => life.created(),
        State::Starting => life.starting(),
        State::Started => life.started(),
        State::SelfHealing => life.self_healing(),
        _ => life.finalizing(),
    }
}

/// How well the target is, by its method's own measure.
enum Wellbeing {
    Healthy,
    Ill,
    /// It is gone, and nothing recreates it.
    Lost,
}

struct Life<'a> {
    experiment: &'a Experiment,
    method: &'a Method,
    seen: &'a Seen,
    times: Times,
}

impl Life<'_> {
    fn created(&self) -> Next {
        if let Some(problem) = self.not_admitted() {
            return Next::Fail(problem);
        }
        if self.seen.now > self.since().later(STALE) {
            return Next::Fail(not_begun(&format!("nothing let it begin within {STALE:?}")));
        }
        if self.seen.admin != Admin::Started || !self.seen.fresh {
            return Next::Wait(None);
        }
        Next::Become(State::Starting, "its action is dispatched".to_owned())
    }

    fn starting(&self) -> Next {
        match &self.seen.fault {
            Fault::None => self.dispatch(),
            Fault::Coming => Next::Wait(None),
            Fault::InForce => Next::Become(State::Started, "the fault is in force".to_owned()),
            Fault::Over => Next::Become(State::Started, "the action took effect".to_owned()),
            // Its agent may come back and say how it ended.
            Fault::Unseen(_) if self.is_away() => self.wait_for_agent(),
            Fault::Failed(problem) | Fault::Unseen(problem) => Next::Fail(problem.clone()),
            // Its agent may come back with it; within a lease it is settled.
            Fault::Unknown(problem) if problem.code == Code::ConnectionLost => Next::Wait(None),
            Fault::Unknown(problem) | Fault::Stuck(problem) => Next::Doom(problem.clone()),
        }
    }

    fn dispatch(&self) -> Next {
        let name = self.experiment.container.as_ref().map_or("", |target| target.name.as_str());
        let did_not_start = |why: &str| {
            Next::Fail(
                Problem::new(Code::DidNotStart, format!("{name} {why}, so nothing was done to it"))
                    .hint("see `kittyctl target list`, and build the suite again"),
            )
        };
        match &self.seen.refused {
            // Nothing was done: tried again once they are there.
            Some(problem)
                if matches!(problem.code, Code::Settling | Code::Stopping | Code::AgentUnreachable) => {}
            Some(problem) => return Next::Fail(problem.clone()),
            None => {}
        }
        if let Some(problem) = self.not_admitted() {
            return Next::Fail(problem);
        }
        match self.seen.target {
            _ if self.seen.admin != Admin::Started => Next::Wait(None),
            Presence::Away => self.wait_for_agent(),
            Presence::Unwell => did_not_start("is not healthy"),
            Presence::Gone => did_not_start("is gone"),
            Presence::Well => self.act(Effect::Order),
        }
    }

    fn started(&self) -> Next {
        if let Some(reason) = self.abort() {
            return Next::Become(State::SelfHealing, reason);
        }
        if self.seen.admin == Admin::Paused {
            return Next::Wait(None);
        }
        match &self.seen.fault {
            // That is its target's doing, and judged by how the target is.
            Fault::Failed(problem) if problem.code != Code::TargetGone => return Next::Fail(problem.clone()),
            _ => {}
        }
        let since = self.since();
        let (minimum, maximum) = (since.later(self.times.minimum), since.later(self.times.maximum));
        if self.seen.now < minimum {
            return Next::Wait(Some(minimum));
        }
        if self.is_away() {
            return self.wait_for_agent();
        }
        match self.wellbeing() {
            Wellbeing::Healthy => self.recovered(),
            Wellbeing::Lost => Next::Doom(self.lost()),
            Wellbeing::Ill if self.seen.now >= maximum => self.overdue(maximum),
            Wellbeing::Ill => self.check_or_wait(maximum),
        }
    }

    /// Its time is over. The fault ends by itself now, and the target is healed only if it is not well some time after that.
    fn overdue(&self, maximum: SystemTime) -> Next {
        let settle = SETTLE.min(self.times.interval).min(self.times.maximum);
        let ended = self.seen.over_since;
        let due = ended.map_or(maximum + settle, |ended| maximum.max(ended + settle));
        if self.seen.now < due {
            return self.check_or_wait(due);
        }
        let reason = match ended {
            Some(_) => {
                format!("its fault is over, and it is not healthy {:?} after it began", self.times.maximum)
            }
            None => format!("its fault did not end within {:?}", self.times.maximum),
        };
        Next::Become(State::SelfHealing, reason)
    }

    fn self_healing(&self) -> Next {
        if self.seen.admin == Admin::Paused {
            return Next::Wait(None);
        }
        // An attempt would be in vain.
        if self.is_away() {
            return self.wait_for_agent();
        }
        let (counter, retries) = (self.experiment.self_healing_counter, self.times.retries);
        match self.wellbeing() {
            Wellbeing::Healthy if self.seen.fault.is_over() => return self.recovered(),
            Wellbeing::Lost => return Next::Doom(self.lost()),
            Wellbeing::Healthy | Wellbeing::Ill => {}
        }
        let last = self.experiment.last_self_healing_time.and_then(Timestamp::system_time);
        let due = last.map_or(self.seen.now, |last| last.later(self.times.interval));
        if self.seen.now < due {
            return if self.seen.fault.is_over() {
                self.check_or_wait(due)
            } else {
                self.act(Effect::Revert)
            };
        }
        if counter >= retries {
            let message = format!("not healthy after {counter} attempts at self healing");
            return Next::Doom(
                Problem::new(Code::HealingFailed, message)
                    .hint("nothing of the fault is left; look at the target and at what supervises it"),
            );
        }
        Next::Heal(self.remedies())
    }

    fn finalizing(&self) -> Next {
        if self.seen.admin == Admin::Paused {
            return Next::Wait(None);
        }
        if !self.seen.fault.is_over() {
            return self.act(Effect::Revert);
        }
        if !self.method.finalizes() || self.seen.target == Presence::Gone {
            return Next::Become(State::Finished, "healthy, and nothing to finalize".to_owned());
        }
        let due = self.since().later(self.times.finalization);
        let late = self.seen.now > due.later(REMEMBERED);
        match &self.seen.finalized {
            Some(Ok(())) => Next::Become(State::Finished, "healthy and finalized".to_owned()),
            Some(Err(problem)) if late || !is_unheard(problem.code) => Next::Fail(problem.clone()),
            _ if late => Next::Fail(
                Problem::new(Code::OutcomeUnknown, "whether its finalize step was done is not known")
                    .hint("look at the target"),
            ),
            _ if self.seen.now < due && self.abort().is_none() => Next::Wait(Some(due)),
            // Its agent may come back.
            _ if self.seen.target == Presence::Away => Next::Wait(Some(due.later(REMEMBERED))),
            _ => self.act(Effect::Finalize),
        }
    }

    /// Healthy: what is still in force is put back, and then it is finalized.
    fn recovered(&self) -> Next {
        if self.seen.fault.is_over() {
            Next::Become(State::Finalizing, "healthy".to_owned())
        } else {
            self.act(Effect::Revert)
        }
    }

    fn is_away(&self) -> bool {
        self.seen.target == Presence::Away
    }

    /// Who is away says nothing about its target: it is waited for as long as the experiment may last.
    fn wait_for_agent(&self) -> Next {
        let until = self.seen.away_since.unwrap_or(self.seen.now) + self.times.maximum;
        if self.seen.now < until {
            return Next::Wait(Some(until));
        }
        let target = self.experiment.container.as_ref();
        let (name, agent) = target.map_or(("", ""), |target| (&target.name, &target.agent_id));
        let what = format!(
            "nothing is known of {name}: its agent {agent:?} has been away, or could not see it, for {:?}",
            self.times.maximum
        );
        Next::Doom(Problem::new(Code::TargetAway, what).hint(
            "its fault ended with the lease at the latest; see `kittyctl agent list` and look at the target",
        ))
    }

    /// What is to be noted of whether the target is in sight. Once each time.
    fn news_of_sight(&self) -> Option<&'static str> {
        let is_begun = self.experiment.experiment_state() != State::Created;
        let noted = self.experiment.transitions.last().is_some_and(|last| last.reason == AWAY);
        let note = match (self.is_away(), noted) {
            (true, false) => AWAY,
            (false, true) => BACK,
            _ => return None,
        };
        (is_begun && self.experiment.transitions.len() < LINES).then_some(note)
    }

    fn wellbeing(&self) -> Wellbeing {
        let cattle = self.experiment.container.as_ref().is_some_and(|target| target.cattle);
        let healthy = match (self.method.health, self.seen.target) {
            (_, Presence::Away) => false,
            (Health::Complete, _) => self.seen.group_is_back,
            (health, Presence::Gone) if cattle || health == Health::Recycled => self.seen.group_is_back,
            (_, Presence::Gone) => return Wellbeing::Lost,
            (Health::Recycled, _) => false,
            (Health::Normal, presence) => presence == Presence::Well,
            (Health::Script, _) => self.seen.checked == Some(true),
        };
        if healthy { Wellbeing::Healthy } else { Wellbeing::Ill }
    }

    /// Asks the script's own health check once a tick.
    fn check_or_wait(&self, until: SystemTime) -> Next {
        let is_here = matches!(self.seen.target, Presence::Well | Presence::Unwell);
        if self.method.health == Health::Script && is_here && self.seen.fresh {
            return Next::Act(Effect::Check);
        }
        Next::Wait(Some(until))
    }

    /// Only the target itself is treated, never others. While halted, nothing is recycled.
    fn remedies(&self) -> Vec<Remedy> {
        let mut remedies = Vec::new();
        if !self.seen.fault.is_over() {
            remedies.push(Remedy::Revert);
        }
        if !matches!(self.seen.target, Presence::Well | Presence::Unwell) {
            return remedies;
        }
        let cattle = self.experiment.container.as_ref().is_some_and(|target| target.cattle);
        let reverting_was_not_enough =
            self.method.health == Health::Recycled || self.experiment.self_healing_counter > 0;
        if self.method.script.as_ref().is_some_and(|script| script.heals) {
            remedies.push(Remedy::Command);
        } else if cattle && reverting_was_not_enough && !self.seen.halted {
            remedies.push(Remedy::Recycle);
        }
        remedies
    }

    /// Not again before the next tick if it was in vain.
    fn act(&self, effect: Effect) -> Next {
        if self.seen.fresh { Next::Act(effect) } else { Next::Wait(None) }
    }

    /// Why it must not begin.
    fn not_admitted(&self) -> Option<Problem> {
        let reason = match (&self.seen.abort, self.seen.admin) {
            (Some(reason), _) => reason.clone(),
            (None, Admin::Drain) => "the administrative state is DRAIN".to_owned(),
            (None, Admin::Abort) => "the administrative state is ABORT".to_owned(),
            _ => return None,
        };
        Some(not_begun(&reason))
    }

    fn abort(&self) -> Option<String> {
        self.seen.cut()
    }

    fn lost(&self) -> Problem {
        let name = self.experiment.container.as_ref().map_or("", |target| target.name.as_str());
        Problem::new(Code::TargetGone, format!("{name} is gone, and nothing recreates it"))
            .hint("start it again")
    }

    /// When its present state began.
    fn since(&self) -> SystemTime {
        record::since(self.experiment).unwrap_or(self.seen.now)
    }
}

fn not_begun(reason: &str) -> Problem {
    Problem::new(Code::NotAdmitted, format!("it was not begun: {reason}"))
        .hint("build the suite again once that is over")
}

/// Whether a step was never sent, or its answer was lost: asked for again under its name, its agent says.
pub(super) const fn is_unheard(code: Code) -> bool {
    matches!(code, Code::AgentUnreachable | Code::ConnectionLost | Code::LimitReached)
}
