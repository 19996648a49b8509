//! What the owner of a host allows to be done to it. No server can override it.
//!
//! A TOML file, every key optional:
//!
//! ```toml
//! allow = ["delay", "cpu"]              # actions; absent: all but command, which must be named
//! deny = ["script"]                     # actions, whatever `allow` says
//! protect = ["process/*/postgres*"]     # targets never to be touched, by id, name or group; `*` is any text
//! max_duration = "10m"                  # of one fault
//! max_memory = "1GiB"                   # of one fault
//! max_cpu = 200                         # of one fault, in percent of one core
//! min_free_memory = "512MiB"            # to be left available on the host
//! max_faults = 8                        # in force at a time
//!
//! [[quiet]]                             # no fault is begun in these hours
//! days = ["Mon", "Wed-Fri"]             # on which it begins; absent: every day
//! from = "18:00"
//! to = "08:00"                          # at most 24:00; unless it is later than `from`, of the next day
//! zone = "Europe/Paris"                 # absent: the host's own
//! ```
//!
//! Deadlines, leases and reverts go on whatever the policy says.

mod file;
pub mod offer;
mod quiet;

use std::{collections::BTreeSet, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{self, action::Kind, action_kind::Name},
};
use jiff::Timestamp;

pub use file::PolicyError;
use quiet::Quiet;

use crate::pattern::Pattern;

/// A policy as it is applied. The default one allows everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    allow: Option<BTreeSet<Name>>,
    /// Programs of the host may be run as probes.
    commands: bool,
    deny: BTreeSet<Name>,
    protect: Vec<Pattern>,
    max_duration: Option<Duration>,
    max_memory: Option<u64>,
    max_cpu: Option<u32>,
    min_free_memory: Option<u64>,
    max_faults: Option<usize>,
    quiet: Vec<Quiet>,
}

/// What is so on the host at the moment of an order.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The wall clock.
    pub now: Timestamp,
    /// Memory that could be allocated without swapping, in bytes (MemAvailable).
    pub available_memory: u64,
    /// Processors of the host.
    pub cores: u32,
    /// Faults in force.
    pub faults: usize,
}

impl Policy {
    /// Whether an action may be begun on a target now.
    ///
    /// # Errors
    /// [`Code::PolicyForbids`] naming the rule; [`Code::Protected`] for a protected target.
    pub fn check(&self, action: &v1::Action, target: &v1::Target, moment: Moment) -> Result<(), Problem> {
        let kind = action.kind.as_ref().ok_or_else(|| Problem::invalid("action", "it names no kind"))?;
        self.allows(kind.name())?;
        if matches!(kind, Kind::Stop(stop) if stop.kill) {
            self.allows(Name::Kill)?;
        }
        self.leaves_alone(target)?;
        self.not_quiet(moment.now)?;
        if let Some(most) = self.max_faults
            && moment.faults >= most
        {
            return Err(forbids(format!("max_faults: {most} faults at a time, and as many are in force")));
        }
        self.short_enough(action)?;
        self.small_enough(kind, moment)
    }

    /// Whether what is done for an experiment besides its fault may be done to a target: recycling it is a kill, a
    /// command of a script's header belongs to the script. It heals, so that quiet hours do not count.
    ///
    /// # Errors
    /// As of [`Self::check`].
    pub fn allows_on(&self, name: Name, target: &v1::Target) -> Result<(), Problem> {
        self.allows(name)?;
        self.leaves_alone(target)
    }

    /// Whether programs of the host may be run as probes of a target.
    ///
    /// # Errors
    /// [`Code::PolicyForbids`]; [`Code::Protected`] for a protected target.
    pub fn allows_commands(&self, target: &v1::Target) -> Result<(), Problem> {
        if !self.commands {
            return Err(forbids(
                "the action command is not allowed, since `allow` does not name it".to_owned(),
            ));
        }
        self.leaves_alone(target)
    }

    /// Whether programs of the host may be run as probes at all.
    pub const fn runs_commands(&self) -> bool {
        self.commands
    }

    /// The actions that are forbidden altogether, for `kitty-agent check`.
    pub fn forbidden_actions(&self) -> Vec<Name> {
        let all = [
            Name::Delay,
            Name::Kill,
            Name::Memory,
            Name::Cpu,
            Name::Gc,
            Name::Error,
            Name::Script,
            Name::Restart,
            Name::Stop,
            Name::Scale,
        ];
        all.into_iter().filter(|name| self.forbids_action(*name)).collect()
    }

    /// What it forbids, one sentence each, for `kitty-agent check`. Empty: nothing.
    pub fn limits(&self) -> Vec<String> {
        let forbidden: Vec<_> = self.forbidden_actions().into_iter().map(Name::word).collect();
        let protected: Vec<_> = self.protect.iter().map(Pattern::to_string).collect();
        let lists = [("actions", forbidden), ("targets", protected)];
        let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
        let ceilings = [
            self.max_duration.map(|most| format!("a fault of more than {most:?}")),
            self.max_memory.map(|most| format!("more than {most} bytes of memory by one fault")),
            self.max_cpu.map(|most| format!("more than {most} % of a core by one fault")),
            self.min_free_memory.map(|least| format!("leaving less than {least} bytes of memory available")),
            self.max_faults.map(|most| format!("more than {most} faults at a time")),
        ];
        lists
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .chain(ceilings.into_iter().flatten())
            .chain(self.quiet.iter().map(|quiet| format!("quiet hours: {quiet}")))
            .collect()
    }

    fn forbids_action(&self, name: Name) -> bool {
        self.deny.contains(&name) || self.allow.as_ref().is_some_and(|allow| !allow.contains(&name))
    }

    fn allows(&self, name: Name) -> Result<(), Problem> {
        if self.forbids_action(name) {
            return Err(forbids(format!("the action {} is not allowed", name.word())));
        }
        Ok(())
    }

    fn leaves_alone(&self, target: &v1::Target) -> Result<(), Problem> {
        let names = [&target.id, &target.name, &target.aggregation_identifier];
        match self.protect.iter().find(|pattern| names.iter().any(|name| pattern.matches(name))) {
            None => Ok(()),
            Some(pattern) => Err(Problem::new(
                Code::Protected,
                format!("{} is protected by the policy of its host ({pattern})", target.id),
            )
            .hint("choose another target")),
        }
    }

    fn not_quiet(&self, now: Timestamp) -> Result<(), Problem> {
        match self.quiet.iter().find(|quiet| quiet.covers(now)) {
            None => Ok(()),
            Some(quiet) => Err(forbids(format!("these are quiet hours ({quiet})"))),
        }
    }

    fn short_enough(&self, action: &v1::Action) -> Result<(), Problem> {
        let asked = action.duration.and_then(|duration| Duration::try_from(duration).ok());
        match (asked, self.max_duration) {
            (Some(asked), Some(most)) if asked > most => {
                Err(forbids(format!("max_duration is {most:?}, and {asked:?} were asked")))
            }
            _ => Ok(()),
        }
    }

    fn small_enough(&self, kind: &Kind, moment: Moment) -> Result<(), Problem> {
        match kind {
            Kind::Memory(memory) => {
                let asked = memory.size_bytes;
                if let Some(most) = self.max_memory.filter(|most| asked > *most) {
                    return Err(forbids(format!("max_memory is {most} bytes, and {asked} were asked")));
                }
                let left = moment.available_memory.saturating_sub(asked);
                match self.min_free_memory.filter(|least| left < *least) {
                    None => Ok(()),
                    Some(least) => Err(forbids(format!(
                        "min_free_memory is {least} bytes, and {asked} would leave {left}"
                    ))),
                }
            }
            Kind::Cpu(cpu) => {
                // Without a number of cores it may be all that the target is allowed: at most the host's.
                let cores = if cpu.cores == 0 { moment.cores } else { cpu.cores };
                let asked = cores.saturating_mul(if cpu.load == 0 { 100 } else { cpu.load });
                match self.max_cpu.filter(|most| asked > *most) {
                    None => Ok(()),
                    Some(most) => Err(forbids(format!("max_cpu is {most} %, and {asked} % were asked"))),
                }
            }
            Kind::Delay(_)
            | Kind::Kill(_)
            | Kind::Gc(_)
            | Kind::Error(_)
            | Kind::Script(_)
            | Kind::Restart(_)
            | Kind::Stop(_)
            | Kind::Scale(_) => Ok(()),
        }
    }
}

fn forbids(what: String) -> Problem {
    Problem::new(Code::PolicyForbids, format!("the policy of the target's host forbids it: {what}"))
        .hint("the host's owner decides: see the agent's policy file, and `kitty-agent check` there")
}

#[cfg(test)]
mod tests;
