//! `POST /logging`, `POST /logging/{duration}`, `DELETE /logging`

use std::time::Duration;

use axum::{
    extract::Path,
    routing::{delete, post},
};
use chaos_kitty::{Problem, telemetry::Verbosity, units};

use super::{
    Answer,
    bind::{Routes, Shape, path},
    compat,
};

/// How long more is logged where the request does not say.
const USUAL: Duration = Duration::from_secs(30 * 60);
/// And at the most.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

pub(super) fn routes<C: Send + Sync + 'static>(verbosity: &Verbosity) -> Routes<C> {
    let (usual, timed, back) = (verbosity.clone(), verbosity.clone(), verbosity.clone());
    let for_a_while = |about| path("POST", "/logging", about, Shape::BareWord);
    Routes::new()
        .with(
            for_a_while("Logs on the level DEBUG for 30 minutes."),
            post(async move || raised(&usual, USUAL)),
        )
        .with(
            path(
                "POST",
                "/logging/{duration}",
                "Logs on the level DEBUG for so long, e.g. PT5M.",
                Shape::BareWord,
            ),
            post(async move |Path(text): Path<String>| raise(&timed, &text)),
        )
        .with(
            path("DELETE", "/logging", "Logs as the server was told at its start.", Shape::BareWord),
            delete(async move || lowered(&back)),
        )
}

fn raise(verbosity: &Verbosity, text: &str) -> Answer {
    let time = units::positive_duration(text).map_err(|what| Problem::invalid("duration", what))?;
    if time > LONGEST {
        return Err(Problem::invalid("duration", "it is over 24 hours").into());
    }
    raised(verbosity, time)
}

fn raised(verbosity: &Verbosity, time: Duration) -> Answer {
    verbosity.raise(time)?;
    Ok(compat::done())
}

fn lowered(verbosity: &Verbosity) -> Answer {
    verbosity.restore()?;
    Ok(compat::done())
}
