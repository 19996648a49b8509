//! Starts, asks and ends the programs of a cell.

use chaos_kitty::endpoint::Endpoint;
use chaos_kitty_tests::{
    Sandbox,
    process::{Process, wait_for},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{cell::Role, ground::Ground, observer::Stat, target::Target};

/// Sends a signal; a process that is gone is none of our business.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if Stat::read(pid).is_some() {
        let _ = kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal);
    }
}

/// Asks a program to end, and waits until it has.
pub(crate) fn end_gently(process: &mut Process) {
    signal(process.pid(), Signal::TERM);
    wait_for("a program that was asked to end has", || !process.is_running());
}

pub(crate) fn agent(
    ground: &Ground,
    sandbox: &Sandbox,
    name: &str,
    targets: &[Target],
    relays: usize,
    crash_at: Option<&(Role, String)>,
) -> Process {
    let mut command = sandbox.command("kitty-agent");
    command.args(["--name", name, "--server", &address(sandbox, relays), "--listen", &local(sandbox)]);
    command.arg("--state").arg(sandbox.path().join("state"));
    for target in targets {
        command.args(["--process", &target.name]);
    }
    if let Some((role, point)) = crash_at {
        let guard = *role == Role::Guard;
        command.env(if guard { "KITTY_GUARD_CRASH_AT" } else { "KITTY_CRASH_AT" }, point);
    }
    Process::start("agent", ground.enter(&command, None), sandbox.path())
}

pub(crate) fn relay(ground: &Ground, sandbox: &Sandbox, name: &str, number: usize) -> Process {
    let mut command = sandbox.command("kitty-agent");
    command.args(["--name", &format!("{name}-{number}"), "--server", &address(sandbox, number)]);
    command.args(["--listen", &address(sandbox, number + 1)]);
    command.arg("--state").arg(sandbox.path().join(format!("state-{number}")));
    Process::start(&format!("relay-{number}"), ground.enter(&command, None), sandbox.path())
}

/// Where whoever has so many relays between itself and the server attaches.
fn address(sandbox: &Sandbox, relays: usize) -> String {
    let name = if relays == 0 { "proxy.ipc".to_owned() } else { format!("r{relays}.ipc") };
    Endpoint::Unix(sandbox.path().join(name)).to_string()
}

/// Where a worker attaches.
pub(crate) fn local(sandbox: &Sandbox) -> String {
    Endpoint::Unix(sandbox.path().join("agent.ipc")).to_string()
}
