//! `kitty-agent revert`: puts back, without an agent, what an earlier one and its guard left.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use chaos_kitty::{Code, Problem, text};

use crate::{
    config::{Config, Revert},
    executor::recovery,
    journal::{
        Held,
        folder::{self, Trouble},
        replay::Replayed,
    },
    state::State,
};

/// Does it, and prints what was done. The exit code is 0 when nothing is left, and 1 when something is.
///
/// # Errors
/// Nothing could be done: an agent uses the state folder, or it can not be read.
pub(crate) fn run(config: &Config, wanted: &Revert) -> Result<ExitCode, Problem> {
    // Held to the end: whoever has the lock is the only one who reverts.
    let state = State::open(&config.args.state_folder()).map_err(|problem| {
        problem
            .hint("an agent that runs puts everything back at once on: kittyctl halt, or when it is stopped")
    })?;
    let mut out = io::stdout().lock();
    let is_left = if wanted.clear { clear(&state, &mut out) } else { revert(&state, wanted, &mut out) }?;
    Ok(if is_left { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// True: something is left.
fn revert(state: &State, wanted: &Revert, out: &mut impl Write) -> Result<bool, Problem> {
    let journal = state.journal();
    state
        .put_back()
        .iter()
        .for_each(|id| say(out, &format!("reverted {id}: by the guard of the agent that held it")));
    let (replayed, left) = match recovery::revert(&journal, state.put_back(), wanted.id.as_deref()) {
        Ok(done) => done,
        Err(Trouble::Damaged { path, what, known }) => {
            say(out, &format!("the journal was damaged ({what}) and is set aside as {}", path.display()));
            known.iter().for_each(|held| say(out, &told("may be in force", held)));
            say(out, "once nothing of it is left on this host: kitty-agent revert --clear");
            return Ok(true);
        }
        Err(trouble) => return Err(unavailable(&trouble)),
    };
    for one in &replayed {
        say(out, &outcome(one));
    }
    let stuck = replayed.iter().any(Replayed::is_stuck);
    let begun = recovery::begin(&journal, left);
    begun.map_err(|trouble| unavailable(&trouble))?;
    let by_the_guard = |id: &&str| state.put_back().iter().any(|done| done == id);
    if let Some(id) = wanted.id.as_deref().filter(|_| replayed.is_empty()).filter(|id| !by_the_guard(id)) {
        return Err(Problem::new(Code::NoSuchAction, format!("the journal has no action {id}"))
            .hint("kitty-agent revert --all puts back whatever was left"));
    }
    if replayed.is_empty() && state.put_back().is_empty() {
        say(out, "nothing was left");
    }
    Ok(stuck)
}

fn clear(state: &State, out: &mut impl Write) -> Result<bool, Problem> {
    let known = folder::clear(&state.journal())
        .map_err(|error| Problem::new(Code::JournalUnavailable, format!("clearing the journal: {error}")))?;
    say(out, "faults may be injected again");
    known.iter().for_each(|held| say(out, &told("not put back", held)));
    Ok(false)
}

fn outcome(one: &Replayed) -> String {
    let Held { id, target, .. } = &one.held;
    let failures: Vec<_> = one
        .failures()
        .map(|failed| format!("{}; run: {}", failed.failure.as_deref().unwrap_or_default(), failed.command))
        .collect();
    if failures.is_empty() {
        let commands: Vec<_> = one.outcomes.iter().map(|outcome| outcome.command.as_str()).collect();
        return format!("reverted {id} on {target}: {}", commands.join("; "));
    }
    format!("STUCK    {id} on {target}: {}", failures.join("; "))
}

fn told(what: &str, held: &Held) -> String {
    format!("{what}: {} on {}; to put it back: {}", held.id, held.target, held.commands())
}

fn unavailable(trouble: &Trouble) -> Problem {
    Problem::new(Code::JournalUnavailable, trouble.to_string())
        .hint("name the agent's state folder with --state DIR, and run this as the agent's user")
}

fn say(out: &mut impl Write, line: &str) {
    // Nowhere to print to must not keep anything from being put back.
    let _ = writeln!(out, "{}", text::printable(line));
}
