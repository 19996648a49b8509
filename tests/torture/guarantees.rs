//! That the grid can fail: with each guarantee taken away, the observer sees what is left.

use crate::{cell::Outcome, death::Death, grid::Case};

/// A guarantee, and the death that needs it.
const GUARANTEES: [(&str, Death); 4] = [
    ("guard-revert", Death::KillAgent),
    ("lease", Death::Cut),
    ("adoption", Death::KillGuard),
    ("journal", Death::KillAgentAndGuard),
];

/// One cell for each.
pub(crate) fn cases() -> Vec<Case> {
    let case = |(name, death)| Case { without: Some(name), ..Case::in_force(death, 0) };
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
