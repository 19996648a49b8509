//! `stress memory BYTES`: holds that much resident memory, within the limits of the cgroups it is in.

use std::{fs, io, process::ExitCode, time::Duration};

use chaos_kitty::{
    Code, Problem,
    procfs::{kilobytes, lines},
};
use chaos_kitty_guard::clock::boot_time;

use super::{GRACE, mapping::Mapping, released, spawn::Said};
use crate::host::{
    self,
    membership::{self, Membership},
};

/// Made resident at a time, between two looks at the limits.
const STEP: usize = 64 << 20;

/// Left to everybody else, below every limit and on the host.
pub(crate) const RESERVE: u64 = 16 << 20;

pub(super) fn run(size: usize) -> io::Result<ExitCode> {
    let Some(release) = released::wait()? else { return Ok(ExitCode::SUCCESS) };
    let began = boot_time();
    let memberships = membership::of(std::process::id())?;
    let mut mapping = Mapping::reserve(size)?;
    let mut resident = 0;
    while resident < size {
        let step = STEP.min(size - resident);
        let problem = room(&memberships, step as u64).err().or_else(|| {
            mapping.populate(resident, resident + step).err().map(|error| no_room(resident, &error))
        });
        if let Some(problem) = problem {
            Said::Failed { code: problem.code.number(), message: problem.message }.say()?;
            return Ok(ExitCode::FAILURE);
        }
        resident += step;
        if released::pipe_ended(Duration::ZERO) {
            return Ok(ExitCode::SUCCESS);
        }
    }
    Said::Resident { address: mapping.address(), took_nanos: nanos(boot_time().saturating_sub(began)) }
        .say()?;
    released::pipe_ended(boot_time() + release.hold + GRACE);
    drop(mapping);
    Ok(ExitCode::SUCCESS)
}

/// Whether a process in these cgroups may allocate that many bytes more: by their limits and those of all
/// above, and by what the host has left.
///
/// # Errors
/// [`Code::TargetLimit`] or [`Code::TooMuch`].
pub(crate) fn room(memberships: &[Membership], bytes: u64) -> Result<(), Problem> {
    let headroom = membership::memory_headroom(memberships);
    if let Some((room, folder)) =
        headroom.map_err(|error| host::unseen("the target's memory limit", error))?
        && room < bytes.saturating_add(RESERVE)
    {
        let what = format!("{} leaves room for {room} bytes, {bytes} were wanted", folder.display());
        return Err(Problem::new(Code::TargetLimit, what)
            .hint(format!("ask for less: {} bytes are left to the target itself", RESERVE)));
    }
    let available = available()?;
    if available < bytes.saturating_add(RESERVE) {
        let what = format!("the host has {available} bytes available, {bytes} were wanted");
        return Err(Problem::new(Code::TooMuch, what).hint("ask for less"));
    }
    Ok(())
}

/// What can be allocated on this host without swapping, in bytes.
///
/// # Errors
/// /proc is not what it should be.
pub(crate) fn available() -> Result<u64, Problem> {
    let meminfo = fs::read("/proc/meminfo")
        .map_err(|error| Problem::internal(format!("reading /proc/meminfo: {error}")))?;
    kilobytes(&meminfo, "MemAvailable").ok_or_else(|| Problem::internal("/proc/meminfo: no MemAvailable"))
}

/// Resident bytes of the mapping at `address` of a process, by its smaps.
pub(crate) fn resident(pid: u32, address: usize) -> Option<u64> {
    let smaps = fs::read(format!("/proc/{pid}/smaps")).ok()?;
    let begin = format!("{address:08x}-");
    let mut mapping = lines(&smaps).skip_while(|line| !line.starts_with(begin.as_bytes()));
    mapping.find_map(|line| kilobytes(line, "Rss"))
}

fn no_room(resident: usize, error: &io::Error) -> Problem {
    Problem::new(Code::TargetLimit, format!("no more memory after {resident} bytes: {error}"))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
