//! Memory is mapped, made resident page by page, held, and given back. The mapping is apart from the
//! application's allocator, so that "given back" means to the operating system.

use std::time::Duration;

use chaos_kitty::{
    Code, Problem,
    lease::boot_time,
    v1::{MemoryResult, action_result::Kind as Figures, evidence::Phase},
};

use super::{Outcome, Scene};
use crate::{memory_limit, procfs, sys::Mapping};

/// Made resident between two looks at the end and at the room that is left.
const STEP: usize = 8 << 20;

fn room() -> Result<memory_limit::Room, Problem> {
    memory_limit::room()
        .map_err(|error| Problem::internal(format!("looking how much memory is left: {error}")))
}

/// Whether there is room for that much.
pub(crate) fn check(bytes: usize) -> Result<(), Problem> {
    let room = room()?;
    if bytes as u64 <= room.bytes {
        return Ok(());
    }
    let what = format!("{bytes} bytes were asked for, {} leaves {}", room.of, room.bytes);
    Err(Problem::new(Code::TooMuch, what).hint("ask for less"))
}

/// Takes `bytes` of memory and holds them.
pub(crate) fn hold(duration: Duration, bytes: usize, scene: &Scene<'_>) -> Result<Outcome, Problem> {
    let before = procfs::resident_bytes();
    let mut mapping = Mapping::new(bytes).map_err(|error| {
        Problem::new(Code::TargetLimit, format!("mapping {bytes} bytes: {error}")).hint("ask for less")
    })?;
    let began = boot_time();
    fill(&mut mapping, bytes, scene)?;
    let time_to_resident = boot_time().saturating_sub(began);
    let resident_bytes = mapping.resident().map_err(|error| unseen(&error))?;
    let stood = boot_time();
    scene.hold.begin(duration);
    let mut result = MemoryResult {
        resident_bytes,
        time_to_resident: Some(time_to_resident.into()),
        ..Default::default()
    };
    (scene.started)(Outcome::of(Figures::Memory(result)).seen(Phase::Before, "resident bytes", before).seen(
        Phase::During,
        "resident bytes",
        procfs::resident_bytes(),
    ));
    scene.hold.wait();
    // What was swapped meanwhile is not held any more.
    result.resident_bytes = mapping.resident().map_err(|error| unseen(&error))?.min(resident_bytes);
    result.held = Some(boot_time().saturating_sub(stood).into());
    result.returned_bytes = mapping.give_back().map_err(|error| unseen(&error))?.min(resident_bytes);
    Ok(Outcome::of(Figures::Memory(result)).seen(Phase::After, "resident bytes", procfs::resident_bytes()))
}

/// Stops short, with everything given back, when it is over or when the room goes to somebody else.
fn fill(mapping: &mut Mapping, bytes: usize, scene: &Scene<'_>) -> Result<(), Problem> {
    for from in (0..bytes).step_by(STEP) {
        if let Some(reason) = scene.hold.ended() {
            let what = format!("it ended ({reason:?}) with {from} of {bytes} bytes resident");
            return Err(Problem::new(Code::OrderTooLate, what).hint("ask for less"));
        }
        let room = room()?;
        if room.bytes < STEP.min(bytes - from) as u64 {
            let what = format!("{} was reached with {from} of {bytes} bytes resident", room.of);
            return Err(Problem::new(Code::TargetLimit, what).hint("ask for less"));
        }
        mapping.touch(from, STEP);
    }
    Ok(())
}

fn unseen(error: &std::io::Error) -> Problem {
    Problem::internal(format!("looking at memory of this process: {error}"))
}
