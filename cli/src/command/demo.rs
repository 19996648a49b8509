//! `kittyctl demo`: the whole thing on this machine in a minute, and honest: what does not show its effect in
//! figures is told as FAILED, exit code 1.

mod call;
mod cast;
mod finale;
mod gauge;
mod operations;
mod program;
mod programs;
mod report;
mod step;
mod wait;

use std::{process::ExitCode, time::Instant};

use chaos_kitty::Problem;

use self::{cast::Cast, finale::Baseline, gauge::is_alive, report::Report};
use super::interrupt::{INTERRUPTED, Interrupts};
use crate::{
    failure::{Failure, Outcome},
    output::{Output, text},
};

pub(super) async fn run(out: &Output) -> Outcome {
    let mut interrupts = Interrupts::take_over()?;
    let mut cast = tokio::select! {
        cast = start(out) => cast?,
        () = interrupts.next() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let begun = Instant::now();
    let shown = tokio::select! {
        shown = show(&mut cast, out) => Some(shown),
        () = interrupts.next() => None,
    };
    let pids = cast.pids();
    let ended = cast.end().await;
    let remaining: Vec<u32> = pids.into_iter().filter(|pid| is_alive(*pid)).collect();
    let Some(shown) = shown else { return Ok(ExitCode::from(INTERRUPTED)) };
    let mut failed = shown?;
    ended?;
    if !remaining.is_empty() {
        out.raw(&format!("FAILED  still running: {remaining:?}\n"))?;
        failed += 1;
    }
    let took = text::duration(begun.elapsed());
    let verdict = if failed == 0 { "all as it should be".to_owned() } else { format!("{failed} FAILED") };
    out.raw(&format!("{verdict}, in {took}\n"))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn start(out: &Output) -> Result<Cast, Problem> {
    let programs = programs::programs()?;
    out.say("starting kittyd, kitty-agent and three example services");
    Cast::start(&programs).await
}

/// Every step in order; how many of them failed.
async fn show(cast: &mut Cast, out: &Output) -> Result<usize, Failure> {
    let mut failed = 0;
    let mut tell = |report: Report| {
        failed += usize::from(!report.is_well());
        out.raw(&report.text())
    };
    out.raw("Figures are measured before → during → after; below them is what the kitty reports.\n\n")?;
    let baseline = Baseline::take(cast).await;
    for step in program::steps() {
        tell(step.run(cast).await?)?;
    }
    tell(operations::run(cast).await?)?;
    tell(finale::halt(cast).await?)?;
    tell(finale::refused_while_halted(cast).await?)?;
    operations::delete(cast).await?;
    tell(finale::resume(cast).await?)?;
    tell(finale::nothing_is_left(cast, &baseline).await?)?;
    Ok(failed)
}
