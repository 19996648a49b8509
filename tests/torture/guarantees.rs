//! That the grid can fail: with each guarantee taken away, the observer sees what is left.

use crate::{cell::Outcome, death::Death, grid::Case, target::What};

/// A guarantee, the death that needs it, and what would be left.
const GUARANTEES: [(&str, Death, &[What]); 5] = [
    ("guard-revert", Death::KillAgent, &What::OUTSIDE),
    ("lease", Death::Cut, &What::OUTSIDE),
    ("adoption", Death::KillGuard, &What::OUTSIDE),
    ("journal", Death::KillAgentAndGuard, &What::OUTSIDE),
    ("worker-lease", Death::Freeze, &What::INSIDE),
];

/// One cell for each.
pub(crate) fn cases() -> Vec<Case> {
    let case = |(name, death, whats)| Case { without: Some(name), ..Case::in_force(death, whats, 0) };
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
