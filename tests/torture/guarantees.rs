//! That the grid can fail: with each guarantee taken away, the observer sees what is left.

use crate::{
    cell::Outcome,
    death::Death,
    grid::{Case, POINTS},
    target::What,
};

/// A guarantee, the death that needs it, and the point at which it does.
const GUARANTEES: [(&str, Death, Option<&str>); 5] = [
    ("guard-revert", Death::KillAgent, None),
    ("lease", Death::Cut, None),
    ("adoption", Death::KillGuard, None),
    ("journal", Death::KillAgentAndGuard, None),
    ("second-revert", Death::StopAgentAndCut, Some("agent-mid-delay")),
];

/// One cell for each.
pub(crate) fn cases() -> Vec<Case> {
    let case = |(name, death, at): (&'static str, Death, Option<&str>)| Case {
        point: at.and_then(|at| POINTS.into_iter().find(|point| point.name == at)),
        death,
        last: What::Delay,
        relays: 0,
        without: Some(name),
    };
    GUARANTEES.into_iter().map(case).collect()
}

/// What a cell without its guarantee must find: something left, not something else that went wrong.
pub(crate) fn judge<T>(outcome: Outcome<T>) -> Outcome<()> {
    match outcome {
        Ok(_) => Err("nothing was left: this guarantee is not needed, or the observer is blind".to_owned()),
        Err(why) if why.starts_with("left after") => Ok(()),
        Err(why) => Err(why),
    }
}
