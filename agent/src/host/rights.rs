//! What this process may do to others: by its capabilities, and by what the kernel answers for one of them.

use std::{ffi::OsStr, fs, path::Path, sync::OnceLock};

use rustix::{
    fs::{Access, access},
    io::Errno,
    process::{Pid, test_kill_process},
};

use super::{
    cgroup::{self, Cgroup},
    process::Process,
};

/// Signals to processes of other users. This and the others: their numbers in capability.h.
pub const CAP_KILL: u32 = 5;
/// Files whatever their mode.
pub const CAP_DAC_OVERRIDE: u32 = 1;
/// Word of new processes.
pub const CAP_NET_ADMIN: u32 = 12;
/// A look into processes of other users.
pub const CAP_SYS_PTRACE: u32 = 19;
/// A way into namespaces.
pub const CAP_SYS_ADMIN: u32 = 21;

/// Whether this process has a capability, as it had at its first question.
pub fn has(capability: u32) -> bool {
    static EFFECTIVE: OnceLock<u64> = OnceLock::new();
    let effective = EFFECTIVE.get_or_init(|| mask(std::process::id(), "CapEff:").unwrap_or_default());
    effective >> capability & 1 == 1
}

/// A hexadecimal mask of `/proc/PID/status`, e.g. `SigIgn:`.
pub(super) fn mask(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let bits = status.lines().find_map(|line| line.strip_prefix(name))?;
    u64::from_str_radix(bits.trim(), 16).ok()
}

/// Whether it may signal a process. One that is gone is nobody's.
pub fn may_signal(process: Process) -> bool {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| !matches!(test_kill_process(pid), Err(Errno::PERM)))
}

/// Whether it may look into a process: its namespaces, its root.
pub fn may_look_into(process: Process) -> bool {
    let seen = fs::read_link(format!("/proc/{process}/ns/mnt"));
    !seen.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Whether it may put stressors under the limits of a process.
pub fn may_join(process: Process) -> bool {
    writes_cgroups() || cgroup::limiting(process).is_ok_and(|all| all.iter().all(Cgroup::takes_processes))
}

/// Whether it may run programs within a process, and end them as a whole.
pub fn may_enter(process: Process) -> bool {
    let enters = has(CAP_SYS_ADMIN) || (may_look_into(process) && shares_namespaces(process));
    enters && (writes_cgroups() || cgroup::room_below(Some(process)).is_ok_and(|room| room.is_some()))
}

fn shares_namespaces(process: Process) -> bool {
    let names = fs::read_dir("/proc/self/ns").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let of =
        |whose: &str, name: &OsStr| fs::read_link(Path::new("/proc").join(whose).join("ns").join(name)).ok();
    names.into_iter().all(|name| of("self", &name) == of(&process.to_string(), &name))
}

/// Whether all cgroups can be written, so that none has to be tried: there may be thousands of targets.
fn writes_cgroups() -> bool {
    static ALL: OnceLock<bool> = OnceLock::new();
    *ALL.get_or_init(|| {
        let own = super::membership::of(std::process::id()).unwrap_or_default();
        has(CAP_DAC_OVERRIDE) && own.iter().all(|one| access(&one.folder, Access::WRITE_OK).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt as _, process::Command};

    use super::*;

    /// Another program of this test's, as nobody, that says what this one may.
    #[test]
    fn what_an_ordinary_user_may_do_to_others() {
        const ASKED: &str = "KITTY_RIGHTS_OF";
        const NOBODY: u32 = 65534;
        if let Some(pid) = std::env::var_os(ASKED) {
            let process = Process::now(pid.to_str().unwrap().parse().unwrap()).unwrap();
            let own = Process::now(std::process::id()).unwrap();
            assert!(!has(CAP_KILL) && !may_signal(process) && !may_look_into(process) && !may_enter(process));
            assert!(may_signal(own) && may_look_into(own));
            return;
        }
        let mut sleeper = Command::new("sleep").arg("600").spawn().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("test");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), open).unwrap();
        let asked = Command::new(&program)
            .args(["--exact", "host::rights::tests::what_an_ordinary_user_may_do_to_others"])
            .env(ASKED, sleeper.id().to_string())
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        let said = String::from_utf8_lossy(&asked.stdout);
        assert!(asked.status.success() && said.contains("1 passed"), "{said}");
        assert!(has(CAP_KILL) && may_signal(Process { pid: 1, start_time: 0 }), "this test needs root");
    }
}
