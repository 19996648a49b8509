//! What a request may ask for. Pure: each mistake is named by its field.

use std::time::Duration;

use chaos_kitty::{
    Code, Problem,
    signal::Signal,
    v1::{
        Action, Delay, RaiseError, RunScript, Selector, SpinCpu, UnleashRequest, action::Kind, delay::Mode,
        unleash_request::Choice,
    },
};

use super::choose::Amount;

/// Longest text of a request, e.g. of an error's message, in bytes.
const TEXT: usize = 1024;
/// Most arguments of a script, and the longest, in bytes.
const ARGUMENTS: (usize, usize) = (64, 4096);
/// Most labels of a selector.
const LABELS: usize = 64;
/// No server was ever configured to hold a fault for longer.
const LONGEST_KNOWN: Duration = Duration::from_secs(366 * 24 * 3600);
/// More cores than any machine has.
const CORES: u32 = 4096;

/// Whom a request means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Whom {
    /// A target by id or name.
    Named(String),
    /// Some of a selection.
    Some { selector: Selector, amount: Amount },
}

/// Checks an action, its duration against the longest that is allowed.
///
/// # Errors
/// [`Code::InvalidArgument`] with the field, [`Code::DurationTooLong`].
pub(super) fn action(action: Option<Action>, longest: Duration) -> Result<Action, Problem> {
    let action = action.ok_or_else(|| Problem::invalid("action", "it is missing"))?;
    let Some(kind) = &action.kind else {
        return Err(Problem::invalid(
            "action",
            "it is none of delay, kill, memory, cpu, gc, error, script, restart, stop, scale",
        ));
    };
    match kind {
        Kind::Kill(kill) => drop(Signal::parse("action.kill.signal", &kill.signal)?),
        Kind::Gc(_) | Kind::Restart(_) | Kind::Stop(_) | Kind::Scale(_) => {}
        Kind::Delay(delay) => delays(delay, longest)?,
        Kind::Memory(memory) if memory.size_bytes == 0 => {
            return Err(Problem::invalid("action.memory.size_bytes", "it is 0"));
        }
        Kind::Memory(_) => {}
        Kind::Cpu(cpu) => spins(cpu)?,
        Kind::Error(error) => raises(error)?,
        Kind::Script(script) => runs(script)?,
    }
    match (&action.duration, kind.is_held()) {
        (Some(length), true) => drop(duration("action.duration", length, longest)?),
        (None, true) => {
            return Err(Problem::invalid("action.duration", "it is missing: this fault is held")
                .hint("say how long, e.g. --duration 2s"));
        }
        (Some(_), false) => {
            let what = format!("{} holds nothing, so it has no duration", kind.name().word());
            return Err(Problem::invalid("action.duration", what).hint("leave the duration out"));
        }
        (None, false) => {}
    }
    Ok(action)
}

/// An action that a node says that it holds; `None`: it is none that a server of this version could have ordered.
pub(super) fn known(told: Option<Action>) -> Option<Action> {
    let mut told = told?;
    // The server itself put this in.
    let hash = match &mut told.kind {
        Some(Kind::Script(run)) => std::mem::take(&mut run.hash),
        _ => String::new(),
    };
    let mut known = action(Some(told), LONGEST_KNOWN).ok()?;
    if let Some(Kind::Script(run)) = &mut known.kind {
        run.hash = chaos_kitty::page::cut(&hash);
    }
    Some(known)
}

/// A time that is above zero and not over the longest.
pub(super) fn duration(
    field: &str,
    wire: &pbjson_types::Duration,
    longest: Duration,
) -> Result<Duration, Problem> {
    if wire.seconds < 0 || wire.nanos < 0 || wire.nanos > 999_999_999 {
        return Err(Problem::invalid(
            field,
            format!("{} s and {} ns is no time span", wire.seconds, wire.nanos),
        ));
    }
    let time = Duration::try_from(*wire).map_err(|error| Problem::invalid(field, error))?;
    if time.is_zero() {
        return Err(Problem::invalid(field, "it is 0"));
    }
    if time > longest {
        let message =
            format!("{field}: {} s is over the maximum of {} s", time.as_secs_f64(), longest.as_secs_f64());
        return Err(Problem::new(Code::DurationTooLong, message)
            .hint("ask for less, or raise max_duration in the server's configuration"));
    }
    Ok(time)
}

fn delays(delay: &Delay, longest: Duration) -> Result<(), Problem> {
    let mode = Mode::try_from(delay.mode)
        .map_err(|_| Problem::invalid("action.delay.mode", format!("there is no mode {}", delay.mode)))?;
    let Some(per_request) = &delay.per_request else { return Ok(()) };
    if mode != Mode::Requests {
        return Err(Problem::invalid("action.delay.per_request", "it belongs to the mode REQUESTS"));
    }
    duration("action.delay.per_request", per_request, longest).map(drop)
}

fn spins(cpu: &SpinCpu) -> Result<(), Problem> {
    if cpu.load > 100 {
        return Err(Problem::invalid(
            "action.cpu.load",
            format!("{} is over 100 percent of a core", cpu.load),
        )
        .hint("use more --cores for more load"));
    }
    if cpu.cores > CORES {
        return Err(Problem::invalid(
            "action.cpu.cores",
            format!("{} is more than any machine has", cpu.cores),
        ));
    }
    Ok(())
}

fn raises(error: &RaiseError) -> Result<(), Problem> {
    text("action.error.message", &error.message)?;
    text("action.error.point", &error.point)?;
    match error.probability {
        Some(p) if !(p > 0.0 && p <= 1.0) => {
            Err(Problem::invalid("action.error.probability", format!("{p} is not above 0 and up to 1")))
        }
        _ => Ok(()),
    }
}

fn runs(script: &RunScript) -> Result<(), Problem> {
    let RunScript { name, arguments, hash } = script;
    if name.is_empty() {
        return Err(Problem::invalid("action.script.name", "it is missing"));
    }
    text("action.script.name", name)?;
    if !hash.is_empty() {
        return Err(Problem::invalid("action.script.hash", "the server fills it in from its collection"));
    }
    let (most, longest) = ARGUMENTS;
    if arguments.len() > most {
        return Err(Problem::invalid("action.script.arguments", format!("they are more than {most}")));
    }
    if arguments.iter().any(|argument| argument.len() > longest || argument.contains('\0')) {
        let what = format!("one is longer than {longest} bytes or has a zero byte");
        return Err(Problem::invalid("action.script.arguments", what));
    }
    Ok(())
}

fn text(field: &str, text: &str) -> Result<(), Problem> {
    if text.len() > TEXT {
        return Err(Problem::invalid(field, format!("it is longer than {TEXT} bytes")));
    }
    Ok(())
}

/// Checks whom a request means.
///
/// # Errors
/// [`Code::InvalidArgument`] with the field.
pub(super) fn whom(request: &UnleashRequest) -> Result<Whom, Problem> {
    text("source", &request.source)?;
    match &request.choice {
        None => Err(Problem::invalid("choice", "neither a target nor a selector is given")
            .hint("give --target, or --platform, --group or --label")),
        Some(Choice::Target(target)) => {
            text("target", target)?;
            if target.is_empty() {
                return Err(Problem::invalid("target", "it is empty"));
            }
            if request.count.is_some() || request.percent.is_some() {
                let field = if request.count.is_some() { "count" } else { "percent" };
                return Err(Problem::invalid(field, "it belongs to a selector, and a target is given"));
            }
            Ok(Whom::Named(target.clone()))
        }
        Some(Choice::Selector(selector)) => {
            check_selector(selector)?;
            Ok(Whom::Some { selector: selector.clone(), amount: amount(request)? })
        }
    }
}

fn amount(request: &UnleashRequest) -> Result<Amount, Problem> {
    match (request.count, request.percent) {
        (Some(_), Some(_)) => Err(Problem::invalid("count", "count and percent exclude each other")),
        (Some(0), None) => Err(Problem::invalid("count", "it is 0")),
        (Some(count), None) => Ok(Amount::Count(count)),
        (None, Some(percent)) if percent > 0.0 && percent <= 100.0 => Ok(Amount::Percent(percent)),
        (None, Some(percent)) => {
            Err(Problem::invalid("percent", format!("{percent} is not above 0 and up to 100")))
        }
        (None, None) => Ok(Amount::Count(1)),
    }
}

fn check_selector(selector: &Selector) -> Result<(), Problem> {
    let Selector { platform_type: platform, aggregation_identifier: group, labels } = selector;
    if platform.is_empty() && group.is_empty() && labels.is_empty() {
        return Err(Problem::invalid("selector", "it is empty, and would mean every target of the fleet")
            .hint("name a platform, a group or a label"));
    }
    if labels.len() > LABELS {
        return Err(Problem::invalid("selector.labels", format!("they are more than {LABELS}")));
    }
    let texts = [("selector.platform_type", platform), ("selector.aggregation_identifier", group)];
    let labels =
        labels.iter().flat_map(|(key, value)| [("selector.labels", key), ("selector.labels", value)]);
    for (field, value) in texts.into_iter().chain(labels) {
        text(field, value)?;
        if value.contains(char::is_control) {
            return Err(Problem::invalid(field, "it has control characters"));
        }
    }
    if selector.labels.keys().any(String::is_empty) {
        return Err(Problem::invalid("selector.labels", "a key is empty"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
