//! What a worker can do to itself, one file each. Each injects, says that it did, holds until its [`Hold`]
//! is over, puts things back, and answers with figures.

pub(crate) mod cpu;
pub(crate) mod delay;
pub(crate) mod gc;
pub(crate) mod kill;
pub(crate) mod memory;
pub(crate) mod points;

use std::sync::Arc;

use chaos_kitty::{
    Problem,
    v1::{Evidence, action_result::Kind as Figures, evidence::Phase},
};
use tokio::runtime::Handle;

use crate::{Points, hold::Hold, order::Order};

/// What the application lent the worker.
#[derive(Debug)]
pub(crate) struct Application {
    /// The worker's name, for the log.
    pub(crate) name: String,
    /// The executor that a delay blocks.
    pub(crate) executor: Option<Handle>,
    /// Its own collector.
    pub(crate) collector: Option<gc::Collector>,
    /// Its guarded points.
    pub(crate) points: Points,
    /// Where the timers of async points run: the control thread.
    pub(crate) timers: Handle,
}

/// One action that is being carried out.
pub(crate) struct Scene<'a> {
    pub(crate) application: &'a Application,
    pub(crate) action_id: &'a str,
    pub(crate) hold: &'a Arc<Hold>,
    /// To be called once, when the effect is seen to be there.
    pub(crate) started: &'a dyn Fn(Outcome),
}

/// Figures of an action, and what was seen.
pub(crate) struct Outcome {
    pub(crate) figures: Figures,
    pub(crate) evidence: Vec<Evidence>,
}

impl Outcome {
    pub(crate) fn of(figures: Figures) -> Self {
        Self { figures, evidence: Vec::new() }
    }

    pub(crate) fn seen(mut self, phase: Phase, what: &str, value: impl ToString) -> Self {
        self.evidence.push(Evidence { phase: phase.into(), what: what.to_owned(), value: value.to_string() });
        self
    }
}

/// Whether an order can be carried out at all, before anything is touched.
pub(crate) fn check(order: &Order, application: &Application) -> Result<(), Problem> {
    match order {
        Order::Block { .. } => delay::check(application),
        Order::Memory { bytes, .. } => memory::check(*bytes),
        Order::Kill { signal } => kill::check(*signal).map(drop),
        Order::Gc => gc::check(application),
        Order::HoldBack { .. } | Order::Cpu { .. } | Order::Fail { .. } => Ok(()),
    }
}

/// Carries an order out, from its injection to its end.
pub(crate) fn carry_out(order: &Order, scene: &Scene<'_>) -> Result<Outcome, Problem> {
    match order {
        Order::Block { duration } => delay::block(*duration, scene),
        Order::HoldBack { duration, each } => Ok(points::hold_back(*duration, *each, scene)),
        Order::Kill { signal } => kill::kill(*signal, scene),
        Order::Memory { duration, bytes } => memory::hold(*duration, *bytes, scene),
        Order::Cpu { duration, threads, load } => cpu::spin(*duration, *threads, *load, scene),
        Order::Gc => Ok(gc::collect(scene)),
        Order::Fail { duration, rule } => Ok(points::fail(*duration, rule, scene)),
    }
}
