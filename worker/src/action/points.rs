//! Faults at the guarded points: calls are held back, or fail.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use chaos_kitty::{
    lease::boot_time,
    v1::{DelayResult, ErrorResult, action_result::Kind as Figures, evidence::Phase},
};

use super::{Outcome, Scene};
use crate::{
    order::FailureRule,
    point::{Effect, PointFault},
};

/// Holds each guarded call back for `each`.
pub(crate) fn hold_back(duration: Duration, each: Duration, scene: &Scene<'_>) -> Outcome {
    let effect = Effect::Delay { each, timers: scene.application.timers.clone() };
    let (fault, held) = at_points(duration, effect, scene, delay_outcome);
    delay_outcome(&fault, held)
}

/// Lets guarded calls fail.
pub(crate) fn fail(duration: Duration, rule: &FailureRule, scene: &Scene<'_>) -> Outcome {
    let outcome = |fault: &PointFault| {
        Outcome::of(Figures::Error(ErrorResult {
            calls: fault.calls.load(Relaxed),
            failed: fault.failed.load(Relaxed),
            message: rule.message.clone(),
        }))
    };
    let (fault, _) = at_points(duration, Effect::Fail(rule.clone()), scene, |fault, _| outcome(fault));
    outcome(&fault)
}

fn at_points(
    duration: Duration,
    effect: Effect,
    scene: &Scene<'_>,
    outcome: impl Fn(&PointFault, Duration) -> Outcome,
) -> (Arc<PointFault>, Duration) {
    let points = &scene.application.points;
    let fault = PointFault::new(scene.hold.clone(), scene.action_id.to_owned(), effect);
    let began = boot_time();
    scene.hold.begin(duration);
    let in_force = points.enter(fault.clone());
    let guarded = if points.guarded() { "some" } else { "none has been passed yet" };
    (scene.started)(outcome(&fault, Duration::ZERO).seen(Phase::Before, "guarded points", guarded));
    scene.hold.wait();
    drop(in_force);
    (fault, boot_time().saturating_sub(began))
}

fn delay_outcome(fault: &PointFault, held: Duration) -> Outcome {
    Outcome::of(Figures::Delay(DelayResult {
        held: Some(held.into()),
        requests: fault.calls.load(Relaxed),
        means: "requests".to_owned(),
        ..Default::default()
    }))
}
