//! Memory: a stressor in the target's cgroup holds it resident.

use std::{process::Stdio, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{self, MemoryResult, action_result, evidence::Phase},
};
use chaos_kitty_guard::{Process, Undo, clock::boot_time, hooks, message::Reverted};
use futures_util::future::FutureExt;

use super::{
    Arm, Fault, Prepared, Resource, Step, evidence, hold_of,
    watch::{OFTEN, Seen, Watch},
};
use crate::{
    host::{self, membership},
    platform::Subject,
    stress::{
        memory::{available, resident, room},
        spawn::{Said, Stressor},
    },
};

/// Memory that is taken away from a target, or from a host.
#[derive(Debug)]
pub(super) struct Memory {
    size: u64,
    hold: Duration,
    target: Option<Process>,
    stressor: Option<Stressor>,
    address: usize,
    in_force: Duration,
    watch: Watch,
    figures: Option<MemoryResult>,
}

impl Memory {
    pub(super) fn new(
        memory: &v1::AllocateMemory,
        action: &v1::Action,
        subject: &Subject,
    ) -> Result<Self, Problem> {
        let page = rustix::param::page_size() as u64;
        if memory.size_bytes == 0 {
            return Err(Problem::invalid("action.memory.size_bytes", "it must be above 0"));
        }
        Ok(Self {
            size: memory.size_bytes.saturating_add(page - 1) / page * page,
            hold: hold_of(action),
            target: subject.main,
            stressor: None,
            address: 0,
            in_force: Duration::ZERO,
            watch: Watch::every(OFTEN),
            figures: None,
        })
    }

    async fn look(&mut self) -> Result<Prepared, Problem> {
        let pid = self.target.map_or_else(std::process::id, |target| target.pid);
        let memberships = membership::of(pid)
            .map_err(|error| host::unseen(format_args!("the cgroups of process {pid}"), error))?;
        room(&memberships, self.size)?;
        super::takes_stressors(self.target)?;
        let arguments = ["memory".to_owned(), self.size.to_string()];
        let stressor = Stressor::spawn(&arguments, Stdio::piped())?;
        let undos = vec![Undo::EndProcesses { processes: vec![stressor.process()] }];
        self.stressor = Some(stressor);
        let before = vec![evidence(Phase::Before, "available bytes", available()?)];
        Ok(Prepared { undos, evidence: before, ..Prepared::default() })
    }

    async fn allocate(&mut self) -> Result<Duration, Problem> {
        let stressor = self.stressor.as_mut().ok_or_else(super::out_of_order)?;
        stressor.place(self.target)?;
        stressor.release(self.hold).await?;
        hooks::point("agent-mid-memory");
        // What was armed ends the stressor at the deadline, and that ends this wait.
        let (address, took_nanos) = match stressor.hear().await? {
            Said::Resident { address, took_nanos } => (address, took_nanos),
            said => return Err(said.into_problem()),
        };
        self.address = address;
        self.in_force = boot_time();
        self.figures = Some(MemoryResult {
            time_to_resident: Some(Duration::from_nanos(took_nanos).into()),
            ..MemoryResult::default()
        });
        Ok(self.in_force)
    }

    fn look_at_it(&mut self) -> Result<Vec<v1::Evidence>, Problem> {
        let (Some(stressor), Some(figures)) = (&self.stressor, &mut self.figures) else {
            return Err(super::out_of_order());
        };
        let seen = resident(stressor.process().pid, self.address).unwrap_or(0);
        figures.resident_bytes = seen;
        if seen < self.size {
            let what = format!("{seen} bytes of {} are resident", self.size);
            return Err(Problem::new(Code::TargetLimit, what)
                .hint("the host swaps, or the out-of-memory killer was at work: ask for less"));
        }
        Ok(vec![evidence(Phase::During, "resident bytes", seen)])
    }

    /// Looks at intervals whether it stays resident, until it does not.
    async fn stays(&mut self) -> Result<(), Problem> {
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                ended = super::stressor_ended(self.stressor.as_mut()) => {
                    self.watch.over_since(boot_time());
                    return ended;
                }
                () = tokio::time::sleep(pause) => {}
            }
            let looked = boot_time();
            let seen = self.goes_on();
            pause = self.watch.saw(looked, seen)?;
        }
    }

    /// The least that is seen is what is told. A host that swaps some of it is under the pressure that was wanted; once
    /// it has swapped most of it, it is not.
    fn goes_on(&mut self) -> Seen {
        let (Some(stressor), Some(figures)) = (&self.stressor, &mut self.figures) else {
            return Seen::Nothing;
        };
        let Some(seen) = resident(stressor.process().pid, self.address) else { return Seen::Nothing };
        figures.resident_bytes = figures.resident_bytes.min(seen);
        if seen >= self.size / 2 {
            return Seen::InForce;
        }
        Seen::Lost(
            Problem::new(Code::EffectLost, format!("only {seen} bytes of {} are resident now", self.size))
                .hint("the host swaps: ask for less, or for what it can not swap"),
        )
    }
}

impl Fault for Memory {
    fn resource(&self) -> Option<Resource> {
        Some(Resource::Memory)
    }

    fn prepare(&mut self) -> Step<'_, Prepared> {
        self.look().boxed()
    }

    fn inject<'a>(&'a mut self, _arm: &'a dyn Arm) -> Step<'a, Duration> {
        self.allocate().boxed()
    }

    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>> {
        async { self.look_at_it() }.boxed()
    }

    fn figures(&self) -> Option<action_result::Kind> {
        self.figures.map(action_result::Kind::Memory)
    }

    fn over(&mut self) -> Step<'_, ()> {
        self.stays().boxed()
    }

    fn settle<'a>(&'a mut self, reverted: &'a Reverted) -> Step<'a, Vec<v1::Evidence>> {
        async {
            super::settled(self.stressor.as_mut()).await?;
            // It has ended, and its memory with it.
            let pid = self.stressor.as_ref().map_or(0, |stressor| stressor.process().pid);
            let left = resident(pid, self.address).unwrap_or(0);
            if let Some(figures) = &mut self.figures {
                figures.held = Some(self.watch.until(reverted).saturating_sub(self.in_force).into());
                figures.returned_bytes = figures.resident_bytes.saturating_sub(left);
            }
            Ok(vec![
                evidence(Phase::After, "resident bytes", left),
                evidence(Phase::After, "stressor", "ended"),
            ])
        }
        .boxed()
    }
}
