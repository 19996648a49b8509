//! From arguments to the request, as a pure function.

use std::time::Duration;

use chaos_kitty::v1::{
    Action, AllocateMemory, Delay, Kill, RaiseError, Restart, RunScript, ScaleDown, Selector, SpinCpu, Stop,
    TriggerGc, UnleashRequest, action::Kind, delay::Mode, unleash_request,
};

use crate::args::{Choice, UnleashCommand};

/// What is asked of the server. What was not given stays unset: defaults are the server's.
pub(super) fn request(command: UnleashCommand, source: String) -> UnleashRequest {
    let (choice, duration, kind) = parts(command);
    UnleashRequest {
        action: Some(Action { duration: duration.map(Into::into), kind: Some(kind) }),
        count: choice.count,
        percent: choice.percent,
        seed: choice.seed,
        source,
        choice: Some(whom(choice)),
    }
}

fn whom(choice: Choice) -> unleash_request::Choice {
    match choice.target {
        Some(target) => unleash_request::Choice::Target(target),
        None => unleash_request::Choice::Selector(Selector {
            platform_type: choice.platform.unwrap_or_default(),
            aggregation_identifier: choice.group.unwrap_or_default(),
            labels: choice.labels.into_iter().collect(),
        }),
    }
}

fn parts(command: UnleashCommand) -> (Choice, Option<Duration>, Kind) {
    match command {
        UnleashCommand::Delay { choice, hold, requests, per_request } => {
            let mode = if requests { Mode::Requests } else { Mode::Executor };
            let delay = Delay { mode: mode.into(), per_request: per_request.map(Into::into) };
            (choice, Some(hold.duration), Kind::Delay(delay))
        }
        UnleashCommand::Kill { choice, signal, tree, through_runtime, evict } => {
            let kill = Kill { signal: signal.unwrap_or_default(), tree, through_runtime, evict };
            (choice, None, Kind::Kill(kill))
        }
        UnleashCommand::Memory { choice, hold, size } => {
            (choice, Some(hold.duration), Kind::Memory(AllocateMemory { size_bytes: size }))
        }
        UnleashCommand::Cpu { choice, hold, cores, load } => {
            let cpu = SpinCpu { cores: cores.unwrap_or_default(), load: load.unwrap_or_default() };
            (choice, Some(hold.duration), Kind::Cpu(cpu))
        }
        UnleashCommand::Gc { choice } => (choice, None, Kind::Gc(TriggerGc {})),
        UnleashCommand::Restart { choice } => (choice, None, Kind::Restart(Restart {})),
        UnleashCommand::Stop { choice, hold, kill } => {
            (choice, Some(hold.duration), Kind::Stop(Stop { kill }))
        }
        UnleashCommand::Scale { choice, hold, replicas } => {
            (choice, Some(hold.duration), Kind::Scale(ScaleDown { replicas }))
        }
        UnleashCommand::Error { choice, hold, message, probability, times, point } => {
            let error = RaiseError {
                message: message.unwrap_or_default(),
                probability,
                count: times.unwrap_or_default(),
                point: point.unwrap_or_default(),
            };
            (choice, Some(hold.duration), Kind::Error(error))
        }
        UnleashCommand::Script { choice, hold, name, arguments } => {
            let script = RunScript { name, arguments, ..Default::default() };
            (choice, Some(hold.duration), Kind::Script(script))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    fn parse(line: &str) -> Result<UnleashRequest, clap::Error> {
        let words = format!("kittyctl unleash {line}");
        let args = Args::try_parse_from(words.split_whitespace())?;
        match args.command {
            Command::Unleash(command) => Ok(request(command, "alice".into())),
            other => panic!("{other:?}"),
        }
    }

    fn action(line: &str) -> (Option<Duration>, Kind) {
        let request = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let action = request.action.expect("every request has an action");
        let duration = action.duration.map(|d| d.try_into().expect("a positive duration"));
        (duration, action.kind.expect("every action has a kind"))
    }

    #[test]
    fn every_action_of_the_manual_becomes_its_message() {
        let seconds = |s| Some(Duration::from_secs(s));
        for (line, expected) in [
            ("delay --target process/web-1/nginx --duration 2s", (seconds(2), Kind::Delay(Delay::default()))),
            (
                "kill --group nginx --count 1 --signal TERM",
                (None, Kind::Kill(Kill { signal: "TERM".into(), ..Kill::default() })),
            ),
            (
                "memory --group nginx --percent 30 --size 256MiB --hold 10s",
                (seconds(10), Kind::Memory(AllocateMemory { size_bytes: 256 << 20 })),
            ),
            (
                "cpu --target host/web-1 --cores 2 --load 80 --duration 30s",
                (seconds(30), Kind::Cpu(SpinCpu { cores: 2, load: 80 })),
            ),
            ("gc --group billing-jvm", (None, Kind::Gc(TriggerGc {}))),
            (
                "kill --group mongo --through-runtime",
                (None, Kind::Kill(Kill { through_runtime: true, ..Kill::default() })),
            ),
            ("restart --target docker/a/mongo", (None, Kind::Restart(Restart {}))),
            (
                "stop --target systemd/a/nginx.service --duration 5s",
                (Some(Duration::from_secs(5)), Kind::Stop(Stop::default())),
            ),
            (
                "stop --target docker/a/mongo --duration 5s --kill",
                (Some(Duration::from_secs(5)), Kind::Stop(Stop { kill: true })),
            ),
            (
                "error --group billing --message boom --probability 0.2 --duration 30s --times 3 --point pay",
                (
                    seconds(30),
                    Kind::Error(RaiseError {
                        message: "boom".into(),
                        probability: Some(0.2),
                        count: 3,
                        point: "pay".into(),
                    }),
                ),
            ),
            (
                "script --group nginx cpuBurn.sh --duration 60s -- one --two",
                (
                    seconds(60),
                    Kind::Script(RunScript {
                        name: "cpuBurn.sh".into(),
                        arguments: vec!["one".into(), "--two".into()],
                        ..Default::default()
                    }),
                ),
            ),
            (
                "delay --target a --duration PT5S --requests --per-request 200ms",
                (
                    seconds(5),
                    Kind::Delay(Delay {
                        mode: Mode::Requests.into(),
                        per_request: Some(Duration::from_millis(200).into()),
                    }),
                ),
            ),
        ] {
            assert_eq!(action(line), expected, "{line}");
        }
    }

    #[test]
    fn a_group_is_chosen_from_with_count_percent_and_seed() {
        let request =
            parse("gc --group g --platform worker --label a=b --percent 30 --seed 7").expect("valid");
        assert_eq!((request.count, request.percent, request.seed), (None, Some(30.0), Some(7)));
        assert_eq!(request.source, "alice");
        let Some(unleash_request::Choice::Selector(selector)) = request.choice else { panic!("{request:?}") };
        assert_eq!(selector.platform_type, "WorkerPlatform");
        assert_eq!(selector.aggregation_identifier, "g");
        assert_eq!(selector.labels.get("a").map(String::as_str), Some("b"));
    }

    #[test]
    fn what_makes_no_sense_is_wrong_usage() {
        for line in [
            "gc",                                               // whom?
            "gc --target a --group b",                          // one or some
            "gc --target a --count 1",                          // of one there is no choice
            "gc --group a --count 1 --percent 10",              // one measure
            "gc --group a --count 0",                           //
            "gc --group a --percent 101",                       //
            "gc --group a --duration 1s",                       // holds nothing
            "kill --target a --duration 1s",                    //
            "delay --target a",                                 // how long?
            "delay --target a --duration 0s",                   //
            "delay --target a --duration -1s",                  //
            "delay --target a --duration 1s --per-request 1s",  // of which requests?
            "memory --target a --duration 1s",                  // how much?
            "memory --target a --duration 1s --size 0",         //
            "cpu --target a --duration 1s --load 101",          //
            "cpu --target a --duration 1s --load 0",            //
            "cpu --target a --duration 1s --cores 0",           //
            "error --target a --duration 1s --probability 0",   //
            "error --target a --duration 1s --probability 1.5", //
            "error --target a --duration 1s --times 0",         //
            "script --target a --duration 1s",                  // which?
            "sing --target a",                                  //
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.use_stderr(), "{line}");
        }
    }
}
