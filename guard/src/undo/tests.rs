use std::{
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

use super::*;

/// A process that is killed when the test is over.
struct Victim(Child);

impl Victim {
    fn start() -> Self {
        Self(Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap())
    }

    fn process(&self) -> Process {
        Process::now(self.0.id()).unwrap()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not come about");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_stopped_process_goes_on_and_a_second_time_changes_nothing() {
    let victim = Victim::start();
    let process = victim.process();
    process.signal(Signal::STOP).unwrap();
    eventually(|| process.stat().unwrap().state == 'T');
    let undo = Undo::Continue { processes: vec![process] };
    for _ in 0..2 {
        assert_eq!(undo.step().unwrap(), Progress::Done);
        assert_ne!(process.stat().unwrap().state, 'T');
    }
}

#[test]
fn a_target_that_is_gone_counts_as_done() {
    let gone = Process { pid: 1, start_time: u64::MAX };
    let cgroup = PathBuf::from("/sys/fs/cgroup/there/is/no/such");
    let undos = [
        Undo::Continue { processes: vec![gone] },
        Undo::EndProcesses { processes: vec![gone] },
        Undo::Thaw { cgroup: cgroup.clone(), version: CgroupVersion::V1 },
        Undo::Thaw { cgroup: cgroup.clone(), version: CgroupVersion::V2 },
        Undo::EndCgroup { cgroup: cgroup.clone(), version: CgroupVersion::V1 },
        Undo::EndCgroup { cgroup: cgroup.clone(), version: CgroupVersion::V2 },
        Undo::RemoveCgroup { cgroup },
        Undo::RemoveFile { path: "/no/such/file".into() },
    ];
    for undo in undos {
        assert_eq!(undo.step().unwrap(), Progress::Done, "{undo}");
    }
}

#[test]
fn an_undo_survives_the_way_through_json() {
    let undo = Undo::Run { argv: vec!["/bin/true".to_owned()], limit: Duration::from_millis(1500) };
    let json = serde_json::to_string(&undo).unwrap();
    assert_eq!(serde_json::from_str::<Undo>(&json).unwrap(), undo);
}

#[test]
fn a_program_is_shown_as_a_shell_takes_it() {
    let argv = ["/bin/sh", "-c", "echo \"it's $HOME\"", ""].map(str::to_owned).into();
    let shown = Undo::Run { argv, limit: Duration::from_secs(1) }.to_string();
    assert_eq!(shown, r#"/bin/sh -c 'echo "it'\''s $HOME"' ''"#);
}

/// Another program of this test's does it, as nobody.
#[test]
fn a_refusal_is_no_failure_where_there_is_nothing_to_put_back() {
    use std::os::unix::{fs::PermissionsExt as _, process::CommandExt as _};
    const OTHERS: &str = "KITTY_PROCESS_OF_ROOT";
    const NOBODY: u32 = 65534;
    if let Some(pid) = std::env::var_os(OTHERS) {
        let process = Process::now(pid.to_str().unwrap().parse().unwrap()).unwrap();
        let undo = Undo::Continue { processes: vec![process] };
        match process.stat().unwrap().state {
            'T' => assert!(undo.step().is_err(), "it stands still, and may not be continued"),
            _ => assert_eq!(undo.step().unwrap(), Progress::Done),
        }
        return;
    }
    let victim = Victim::start();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for stopped in [false, true] {
        if stopped {
            victim.process().signal(Signal::STOP).unwrap();
            eventually(|| victim.process().stat().unwrap().state == 'T');
        }
        // In a session of its own: within one, anybody may continue anybody.
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(&program);
        let name = "undo::tests::a_refusal_is_no_failure_where_there_is_nothing_to_put_back";
        command.args(["--exact", name]).env(OTHERS, victim.process().to_string()).uid(NOBODY).gid(NOBODY);
        let said = command.output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success() && text.contains("1 passed"), "{text}");
    }
}
