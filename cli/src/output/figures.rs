//! Actions and their results in a few words.

use chaos_kitty::v1::{
    Action, ActionResult, CpuResult, DelayResult, GcResult, Kill, KillResult, MemoryResult, RestartResult,
    ScaleResult, ScriptResult, StopResult, action::Kind, action_result, delay::Mode,
};

use super::text::{asked, bytes, duration, measured, printable, std};

/// What is done: `delay 2s`, `cpu 2 cores at 80% for 30s`.
pub(crate) fn describe(action: Option<&Action>) -> String {
    let Some(Action { duration, kind: Some(kind) }) = action else { return "unknown".to_owned() };
    let held = duration.as_ref().map(|held| format!(" for {}", asked(held))).unwrap_or_default();
    match kind {
        Kind::Delay(delay) if delay.mode() == Mode::Requests => {
            let each = delay.per_request.as_ref().map(|each| format!(" by {}", asked(each)));
            format!("delay of requests{}{held}", each.unwrap_or_default())
        }
        Kind::Delay(_) => format!("delay{held}"),
        Kind::Kill(kill) => {
            let signal = if kill.signal.is_empty() { "TERM" } else { &kill.signal };
            let whom = if kill.tree { " (tree)" } else { "" };
            let way = match kill {
                Kill { evict: true, .. } => return "evict".to_owned(),
                Kill { through_runtime: true, .. } => " through what runs it",
                _ => "",
            };
            format!("kill {}{whom}{way}", printable(signal))
        }
        Kind::Memory(memory) => format!("memory {}{held}", bytes(memory.size_bytes)),
        Kind::Cpu(cpu) => {
            let load = if cpu.load == 0 { 100 } else { cpu.load };
            match cpu.cores {
                0 => format!("cpu {load}%{held}"),
                1 => format!("cpu 1 core at {load}%{held}"),
                cores => format!("cpu {cores} cores at {load}%{held}"),
            }
        }
        Kind::Gc(_) => "gc".to_owned(),
        Kind::Error(error) => {
            let rate = error.probability.map(|p| format!(" of {:.0}%", p * 100.0)).unwrap_or_default();
            format!("error{rate}{held}")
        }
        Kind::Script(script) => format!("script {}{held}", printable(&script.name)),
        Kind::Restart(_) => "restart".to_owned(),
        Kind::Stop(stop) if stop.kill => format!("stop by kill{held}"),
        Kind::Stop(_) => format!("stop{held}"),
        Kind::Scale(scale) => format!("scale down to {}{held}", scale.replicas),
    }
}

/// What came of it, in figures. Nothing as long as there are none.
pub(crate) fn figures(result: Option<&ActionResult>) -> String {
    use action_result::Kind;
    match result.and_then(|result| result.kind.as_ref()) {
        Some(Kind::Delay(result)) => delay(result),
        Some(Kind::Kill(result)) => kill(result),
        Some(Kind::Memory(result)) => memory(result),
        Some(Kind::Cpu(result)) => cpu(result),
        Some(Kind::Gc(result)) => gc(result),
        Some(Kind::Error(result)) => format!("{} of {} calls failed", result.failed, result.calls),
        Some(Kind::Script(result)) => script(result),
        Some(Kind::Restart(result)) => restart(result),
        Some(Kind::Stop(result)) => stop(result),
        Some(Kind::Scale(result)) => scale(result),
        None => String::new(),
    }
}

fn delay(result: &DelayResult) -> String {
    let held = measured(result.held.as_ref());
    let what = match result.means.as_str() {
        "requests" => format!("{} requests", result.requests),
        "executor" => "executor".to_owned(),
        means if result.processes == 1 => format!("1 process by {}", printable(means)),
        means => format!("{} processes by {}", result.processes, printable(means)),
    };
    format!("held {held}, {what}")
}

fn kill(result: &KillResult) -> String {
    let pids: Vec<String> = result.pids.iter().map(u32::to_string).collect();
    let end = if result.ended { "it ended" } else { "it goes on" };
    let to = if pids.is_empty() { String::new() } else { format!(" to {}", pids.join(" ")) };
    format!("{}{to}, {end}", printable(&result.signal))
}

fn memory(result: &MemoryResult) -> String {
    let resident = bytes(result.resident_bytes);
    let mut text = format!("{resident} resident in {}", measured(result.time_to_resident.as_ref()));
    if result.held.is_some() {
        let held = measured(result.held.as_ref());
        text.push_str(&format!(", held {held}, {} given back", bytes(result.returned_bytes)));
    }
    text
}

fn cpu(result: &CpuResult) -> String {
    let burnt = measured(result.cpu_time.as_ref());
    let held = measured(result.held.as_ref());
    format!("{burnt} burnt in {held}, load {:.1}% of {:.1}%", result.achieved_load, result.requested_load)
}

fn gc(result: &GcResult) -> String {
    let mut text = format!("{} → {}", bytes(result.bytes_before), bytes(result.bytes_after));
    if let (Some(before), Some(after)) = (result.collections_before, result.collections_after) {
        text.push_str(&format!(", collections {before} → {after}"));
    }
    text.push_str(&format!(" in {} ({})", measured(result.pause.as_ref()), printable(&result.runtime)));
    text
}

fn script(result: &ScriptResult) -> String {
    let ran = duration(result.ran.as_ref().map(std).unwrap_or_default());
    let end = match result.exit_code {
        Some(code) => format!("exit code {code}"),
        None => format!("{} processes ended", result.ended_processes),
    };
    let last = result.output.lines().last().map(|line| format!(": {}", printable(line)));
    format!("ran {ran}, {end}{}", last.unwrap_or_default())
}

fn restart(result: &RestartResult) -> String {
    let RestartResult { took, pid_before, pid_after } = result;
    format!("restarted in {}, process {pid_before} → {pid_after}", measured(took.as_ref()))
}

fn stop(result: &StopResult) -> String {
    let mut text = format!("process {} stopped in {}", result.pid_before, measured(result.took.as_ref()));
    if result.held.is_some() {
        let held = measured(result.held.as_ref());
        text.push_str(&format!(", held {held}"));
        if result.pid_after > 0 {
            text.push_str(&format!(", started as {}", result.pid_after));
        }
    }
    text
}

fn scale(result: &ScaleResult) -> String {
    let ScaleResult { owner, before, during, took, held } = result;
    let mut text = format!("{} from {before} to {during} in {}", printable(owner), measured(took.as_ref()));
    if held.is_some() {
        text.push_str(&format!(", held {}", measured(held.as_ref())));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chaos_kitty::v1::{AllocateMemory, Delay, Kill, RaiseError, ScaleDown, SpinCpu, Stop};

    use super::*;

    fn action(held: Option<u64>, kind: Kind) -> Option<Action> {
        Some(Action { duration: held.map(|s| Duration::from_secs(s).into()), kind: Some(kind) })
    }

    #[test]
    fn an_action_is_told_with_its_defaults() {
        for (action, told) in [
            (action(Some(2), Kind::Delay(Delay::default())), "delay for 2s"),
            (action(None, Kind::Kill(Kill::default())), "kill TERM"),
            (
                action(None, Kind::Kill(Kill { through_runtime: true, ..Kill::default() })),
                "kill TERM through what runs it",
            ),
            (action(Some(3), Kind::Stop(Stop::default())), "stop for 3s"),
            (action(Some(3), Kind::Stop(Stop { kill: true })), "stop by kill for 3s"),
            (action(Some(3), Kind::Scale(ScaleDown { replicas: 1 })), "scale down to 1 for 3s"),
            (action(None, Kind::Kill(Kill { evict: true, ..Kill::default() })), "evict"),
            (
                action(Some(9), Kind::Memory(AllocateMemory { size_bytes: 1 << 28 })),
                "memory 256.0 MiB for 9s",
            ),
            (action(Some(30), Kind::Cpu(SpinCpu { cores: 2, load: 80 })), "cpu 2 cores at 80% for 30s"),
            (action(Some(30), Kind::Cpu(SpinCpu::default())), "cpu 100% for 30s"),
            (
                action(Some(1), Kind::Error(RaiseError { probability: Some(0.2), ..Default::default() })),
                "error of 20% for 1s",
            ),
            (None, "unknown"),
        ] {
            assert_eq!(describe(action.as_ref()), told);
        }
    }

    #[test]
    fn figures_of_every_kind_fit_one_line() {
        use action_result::Kind;
        for kind in [
            Kind::Delay(DelayResult { means: "signal".into(), ..Default::default() }),
            Kind::Kill(KillResult::default()),
            Kind::Memory(MemoryResult::default()),
            Kind::Cpu(CpuResult::default()),
            Kind::Gc(GcResult {
                collections_before: Some(1),
                collections_after: Some(2),
                ..Default::default()
            }),
            Kind::Error(Default::default()),
            Kind::Script(ScriptResult { output: "a\nb\u{7}\n".into(), ..Default::default() }),
            Kind::Restart(RestartResult::default()),
            Kind::Stop(StopResult::default()),
            Kind::Scale(ScaleResult::default()),
        ] {
            let text = figures(Some(&ActionResult { kind: Some(kind) }));
            assert!(!text.is_empty() && !text.contains(|c: char| c.is_control()), "{text:?}");
        }
    }
}
