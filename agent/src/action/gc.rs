//! Garbage collection: of a Java virtual machine, by the HotSpot attach protocol.

use std::time::Duration;

use chaos_kitty::{
    Code, Problem,
    v1::{self, GcResult, action_result, evidence::Phase},
};
use chaos_kitty_guard::{clock::boot_time, message::Reverted};
use futures_util::future::FutureExt;

use super::{
    Arm, Fault, Prepared, Resource, Step, evidence,
    hotspot::{self, HotSpot},
};
use crate::{host::cgroup::Extent, platform::Subject};

/// One collection of a target's runtime.
#[derive(Debug)]
pub(super) struct Gc {
    target: Extent,
    machine: Option<HotSpot>,
    figures: Option<GcResult>,
}

impl Gc {
    pub(super) fn new(subject: &Subject) -> Result<Self, Problem> {
        let target = subject.extent().ok_or_else(|| super::unsupported(subject, "a collection"))?;
        Ok(Self { target, machine: None, figures: None })
    }

    async fn look(&mut self) -> Result<Prepared, Problem> {
        // It may be a child of a wrapper.
        let found = super::whole(&self.target)?.into_iter().find(|process| hotspot::is_machine(process.pid));
        let machine = found.ok_or_else(|| {
            let main = self.target.main;
            Problem::new(Code::Unsupported, format!("process {main} is no Java virtual machine"))
                .hint("other runtimes collect when told from inside: use the worker SDK in the service")
        })?;
        self.machine = Some(HotSpot::of(machine)?);
        Ok(Prepared {
            evidence: vec![evidence(Phase::Before, "virtual machine", machine)],
            ..Prepared::default()
        })
    }

    async fn collect(&mut self) -> Result<Duration, Problem> {
        let machine = self.machine.as_ref().ok_or_else(super::out_of_order)?;
        machine.attach().await?;
        let before = machine.heap().await?;
        let began = boot_time();
        let said = machine.collect().await?;
        let took = boot_time().saturating_sub(began);
        let after = machine.heap().await?;
        let happened = match (before.collections, after.collections) {
            (Some(before), Some(after)) => after > before,
            // It does not count (-XX:-UsePerfData).
            _ => after.used < before.used,
        };
        if !happened {
            let what = format!("no collection happened in process {}: {}", machine.process(), said.trim());
            return Err(Problem::new(Code::Unsupported, what.trim_end_matches([':', ' ']).to_owned())
                .hint("its collector may be one that never collects, or -XX:+DisableExplicitGC is set"));
        }
        self.figures = Some(GcResult {
            collections_before: before.collections,
            collections_after: after.collections,
            bytes_before: before.used,
            bytes_after: after.used,
            pause: Some(took.into()),
            runtime: "hotspot".to_owned(),
        });
        Ok(began)
    }
}

impl Fault for Gc {
    fn resource(&self) -> Option<Resource> {
        None
    }

    fn prepare(&mut self) -> Step<'_, Prepared> {
        self.look().boxed()
    }

    fn inject<'a>(&'a mut self, _arm: &'a dyn Arm) -> Step<'a, Duration> {
        self.collect().boxed()
    }

    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>> {
        async {
            let figures = self.figures.as_ref().ok_or_else(super::out_of_order)?;
            Ok(vec![evidence(Phase::During, "used heap bytes", figures.bytes_after)])
        }
        .boxed()
    }

    fn figures(&self) -> Option<action_result::Kind> {
        self.figures.clone().map(action_result::Kind::Gc)
    }

    fn settle<'a>(&'a mut self, _reverted: &'a Reverted) -> Step<'a, Vec<v1::Evidence>> {
        async { Ok(Vec::new()) }.boxed()
    }
}
