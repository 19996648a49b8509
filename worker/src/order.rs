//! What a worker can be ordered to do, read from the wire once. Pure.

use std::time::Duration;

use chaos_kitty::{
    Code, Problem, limits,
    signal::Signal,
    v1::{self, action::Kind, delay::Mode},
};

/// An action that can be carried out as it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Order {
    /// The application's executor stands still.
    Block { duration: Duration },
    /// Each guarded call waits this long.
    HoldBack { duration: Duration, each: Duration },
    /// The process signals itself.
    Kill { signal: Signal },
    /// Memory is made resident and held.
    Memory { duration: Duration, bytes: usize },
    /// `threads` threads burn `load` percent of a core each.
    Cpu { duration: Duration, threads: u32, load: u32 },
    /// The allocator, or the application's own collector, tidies up.
    Gc,
    /// Guarded calls fail.
    Fail { duration: Duration, rule: FailureRule },
}

/// Which guarded calls fail, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FailureRule {
    /// What the caller is told.
    pub(crate) message: String,
    /// Of each call, above 0 to 1.
    pub(crate) probability: f64,
    /// The fault is over after this many failures. 0: no such bound.
    pub(crate) count: u64,
    /// Only points of this name. Empty: all.
    pub(crate) point: String,
}

/// What a fault takes hold of; one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    RunState,
    Memory,
    Cpu,
    Error,
}

impl Order {
    /// Reads an action. `cores` is how many this process may use.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a value out of its range, [`Code::TooMuch`] for more than there is,
    /// [`Code::Unsupported`] for what no worker can do.
    pub(crate) fn parse(action: &v1::Action, cores: u32) -> Result<Self, Problem> {
        let Some(kind) = &action.kind else { return Err(Problem::invalid("action", "names no kind")) };
        match kind {
            Kind::Kill(_) | Kind::Gc(_) if action.duration.is_some() => {
                Err(Problem::invalid("action.duration", "kill and gc hold nothing and take no duration"))
            }
            Kind::Kill(kill) if kill.through_runtime || kill.evict => {
                Err(Problem::new(Code::Unsupported, "a worker does not know what runs it")
                    .hint("leave through_runtime and evict out, or kill the container or pod that it is"))
            }
            Kind::Kill(kill) => Ok(Self::Kill { signal: signal(&kill.signal)? }),
            Kind::Gc(_) => Ok(Self::Gc),
            Kind::Delay(delay) => Self::delay(delay, duration(action)?),
            Kind::Memory(memory) => Ok(Self::Memory { duration: duration(action)?, bytes: size(memory)? }),
            Kind::Cpu(cpu) => Self::cpu(cpu, duration(action)?, cores),
            Kind::Error(error) => Ok(Self::Fail { duration: duration(action)?, rule: rule(error)? }),
            Kind::Script(_) => Err(Problem::new(Code::Unsupported, "a worker runs no scripts")
                .hint("run it on the process or host, through kitty-agent")),
            Kind::Scale(_) => Err(Problem::new(Code::Unsupported, "a worker does not know who makes it")
                .hint("name the pod that it is, through kitty-agent")),
            Kind::Restart(_) | Kind::Stop(_) => {
                Err(Problem::new(Code::Unsupported, "a worker can not be started again from within")
                    .hint("name the unit or container that it is, through kitty-agent"))
            }
        }
    }

    fn delay(delay: &v1::Delay, duration: Duration) -> Result<Self, Problem> {
        match Mode::try_from(delay.mode) {
            Ok(Mode::Executor) => Ok(Self::Block { duration }),
            Ok(Mode::Requests) => {
                let each = match &delay.per_request {
                    None => duration,
                    Some(each) => positive("action.delay.per_request", each)?,
                };
                Ok(Self::HoldBack { duration, each })
            }
            Err(_) => Err(Problem::invalid("action.delay.mode", "is not a known mode")),
        }
    }

    fn cpu(cpu: &v1::SpinCpu, duration: Duration, cores: u32) -> Result<Self, Problem> {
        let load = if cpu.load == 0 { 100 } else { cpu.load };
        if load > 100 {
            return Err(Problem::invalid("action.cpu.load", format!("{load} % is over 100 % of a core")));
        }
        if cpu.cores > cores {
            return Err(Problem::new(
                Code::TooMuch,
                format!("{} cores were asked for, this process may use {cores}", cpu.cores),
            )
            .hint(format!("ask for at most {cores} cores")));
        }
        Ok(Self::Cpu { duration, threads: if cpu.cores == 0 { cores } else { cpu.cores }, load })
    }

    /// How long it is held. `None`: it holds nothing.
    pub(crate) const fn duration(&self) -> Option<Duration> {
        match self {
            Self::Block { duration }
            | Self::HoldBack { duration, .. }
            | Self::Memory { duration, .. }
            | Self::Cpu { duration, .. }
            | Self::Fail { duration, .. } => Some(*duration),
            Self::Kill { .. } | Self::Gc => None,
        }
    }

    /// What it takes hold of. `None`: nothing.
    pub(crate) const fn resource(&self) -> Option<Resource> {
        match self {
            Self::Block { .. } | Self::HoldBack { .. } => Some(Resource::RunState),
            Self::Memory { .. } => Some(Resource::Memory),
            Self::Cpu { .. } => Some(Resource::Cpu),
            Self::Fail { .. } => Some(Resource::Error),
            Self::Kill { .. } | Self::Gc => None,
        }
    }

    /// The action's name.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Block { .. } | Self::HoldBack { .. } => "delay",
            Self::Kill { .. } => "kill",
            Self::Memory { .. } => "memory",
            Self::Cpu { .. } => "cpu",
            Self::Gc => "gc",
            Self::Fail { .. } => "error",
        }
    }
}

fn duration(action: &v1::Action) -> Result<Duration, Problem> {
    match &action.duration {
        Some(duration) => positive("action.duration", duration),
        None => Err(Problem::invalid("action.duration", "is required for what is held")),
    }
}

fn positive(field: &str, value: &pbjson_types::Duration) -> Result<Duration, Problem> {
    match Duration::try_from(*value) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(Problem::invalid(field, "must be above zero")),
    }
}

fn size(memory: &v1::AllocateMemory) -> Result<usize, Problem> {
    match usize::try_from(memory.size_bytes) {
        Ok(bytes) if bytes > 0 && isize::try_from(bytes).is_ok() => Ok(bytes),
        Ok(0) => Err(Problem::invalid("action.memory.size_bytes", "must be above zero")),
        _ => Err(Problem::new(Code::TooMuch, "that much memory can not be addressed")),
    }
}

fn rule(error: &v1::RaiseError) -> Result<FailureRule, Problem> {
    let probability = error.probability.unwrap_or(1.0);
    if !(probability > 0.0 && probability <= 1.0) {
        let what = format!("{probability} is not above 0 and at most 1");
        return Err(Problem::invalid("action.error.probability", what));
    }
    let message =
        if error.message.is_empty() { limits::DEFAULT_ERROR.to_owned() } else { error.message.clone() };
    Ok(FailureRule { message, probability, count: error.count, point: error.point.clone() })
}

fn signal(text: &str) -> Result<Signal, Problem> {
    let signal = Signal::parse("action.kill.signal", text)?;
    if matches!(signal.name, "STOP" | "TSTP" | "TTIN" | "TTOU") {
        let what = "a worker that stops itself has nobody to let it go on when the lease is over";
        return Err(Problem::new(Code::Unsupported, what).hint("use the delay action"));
    }
    Ok(signal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn action(seconds: i64, kind: Kind) -> v1::Action {
        let duration = (seconds != 0).then_some(pbjson_types::Duration { seconds, nanos: 0 });
        v1::Action { duration, kind: Some(kind) }
    }

    fn refused(action: &v1::Action) -> Code {
        Order::parse(action, 4).expect_err("it is refused").code
    }

    #[test]
    fn what_holds_something_needs_a_duration_above_zero_and_what_does_not_takes_none() {
        for kind in [
            Kind::Delay(v1::Delay::default()),
            Kind::Memory(v1::AllocateMemory { size_bytes: 1 }),
            Kind::Cpu(v1::SpinCpu::default()),
            Kind::Error(v1::RaiseError::default()),
        ] {
            assert_eq!(refused(&action(0, kind.clone())), Code::InvalidArgument);
            assert_eq!(refused(&action(-1, kind.clone())), Code::InvalidArgument);
            assert!(Order::parse(&action(1, kind), 4).is_ok());
        }
        for kind in [Kind::Kill(v1::Kill::default()), Kind::Gc(v1::TriggerGc {})] {
            assert_eq!(refused(&action(1, kind.clone())), Code::InvalidArgument);
            assert!(Order::parse(&action(0, kind), 4).is_ok());
        }
    }

    #[test]
    fn a_script_is_refused_with_where_it_can_run() {
        assert_eq!(refused(&action(1, Kind::Script(v1::RunScript::default()))), Code::Unsupported);
    }

    #[test]
    fn a_signal_is_term_unless_another_is_named_and_an_unknown_one_is_refused() {
        assert_eq!(signal(""), Ok(Signal::TERM));
        assert_eq!(signal("SIGUSR1").map(|signal| signal.number), Ok(10));
        assert_eq!(signal("NOPE").map_err(|problem| problem.code), Err(Code::InvalidArgument));
    }

    #[test]
    fn a_worker_does_not_stop_itself() {
        assert_eq!(signal("STOP").map_err(|problem| problem.code), Err(Code::Unsupported));
    }

    #[test]
    fn a_load_over_100_and_more_cores_than_there_are_are_refused() {
        let cpu = |cores, load| action(1, Kind::Cpu(v1::SpinCpu { cores, load }));
        assert_eq!(refused(&cpu(1, 101)), Code::InvalidArgument);
        assert_eq!(refused(&cpu(5, 10)), Code::TooMuch);
        let all = Order::parse(&cpu(0, 0), 4);
        assert_eq!(all, Ok(Order::Cpu { duration: Duration::from_secs(1), threads: 4, load: 100 }));
    }

    proptest! {
        #[test]
        fn a_probability_is_accepted_exactly_above_0_and_up_to_1(probability: f64) {
            let error = v1::RaiseError { probability: Some(probability), ..Default::default() };
            prop_assert_eq!(rule(&error).is_ok(), probability > 0.0 && probability <= 1.0);
        }

        #[test]
        fn no_duration_off_the_wire_makes_it_panic(seconds: i64, nanos: i32) {
            let duration = Some(pbjson_types::Duration { seconds, nanos });
            let kind = Some(Kind::Delay(v1::Delay::default()));
            let _ = Order::parse(&v1::Action { duration, kind }, 1);
        }
    }
}
