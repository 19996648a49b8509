//! The part of an operation that is the same for all kinds, read and checked.

use std::time::Duration;

use chaos_kitty::{
    Problem,
    v1::{self, Selector, Target, operation::Kind as Wire},
};

use super::kind::{self, Kind, positive};

/// Longest name, in bytes.
const LONGEST_NAME: usize = 64;
/// A shorter interval would keep the server busy with rounds alone.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// A longer one is a mistake in the unit.
const LONGEST_INTERVAL: Duration = Duration::from_secs(366 * 24 * 3600);

/// Which operation a request means: its name, and its kind with the parameters that were given.
pub(super) fn identify(operation: &mut v1::Operation) -> Result<Wire, Problem> {
    let kind = operation.kind.take().or_else(|| kind::by_name(&operation.name)).ok_or_else(|| {
        Problem::invalid(
            "operation.kind",
            format_args!("not set, and `{}` is not the name of one", operation.name),
        )
        .hint(format!("name one of the kinds {}", kind::NAMES.join(", ")))
    })?;
    if operation.name.is_empty() {
        operation.name = kind::name_of(&kind).to_owned();
    }
    check_name(&operation.name)?;
    Ok(kind)
}

fn check_name(name: &str) -> Result<(), Problem> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.len() <= LONGEST_NAME && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Problem::invalid("operation.name", "not a name")
        .hint(format!("use at most {LONGEST_NAME} letters, digits, and the characters - _ .")))
}

/// What an operation of any kind is told: all filled in and checked.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) selector: Option<Selector>,
    pub(super) interval: Duration,
    pub(super) probability: f64,
    pub(super) seed: u64,
}

impl Spec {
    /// Reads all but the kind. `fresh_seed` is used where the operation has none.
    pub(super) fn read<K: Kind>(operation: v1::Operation, fresh_seed: u64) -> Result<Self, Problem> {
        let interval = positive("operation.interval", operation.interval, K::INTERVAL)?;
        if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval) {
            let range =
                format_args!("{interval:?} is not between {SHORTEST_INTERVAL:?} and {LONGEST_INTERVAL:?}");
            return Err(Problem::invalid("operation.interval", range));
        }
        let probability = operation.probability.unwrap_or(K::PROBABILITY);
        if !(0.0..=1.0).contains(&probability) {
            let what = format_args!("{probability} is not between 0 and 1");
            return Err(Problem::invalid("operation.probability", what));
        }
        Ok(Self {
            name: operation.name,
            selector: operation.selector,
            interval,
            probability,
            seed: operation.seed.unwrap_or(fresh_seed),
        })
    }

    /// Whether the operation draws from targets like this.
    pub(super) fn selects<K: Kind>(&self, target: &Target) -> bool {
        target.actions.contains(&(K::ACTION as i32))
            && self.selector.as_ref().is_none_or(|it| fits(it, target))
    }

    /// As the contract writes it, with every default filled in.
    pub(super) fn wire(&self, kind: Wire) -> v1::Operation {
        v1::Operation {
            name: self.name.clone(),
            selector: self.selector.clone(),
            interval: Some(self.interval.into()),
            probability: Some(self.probability),
            seed: Some(self.seed),
            kind: Some(kind),
        }
    }
}

/// Whether the target is one of those that the selector means.
pub(super) fn fits(selector: &Selector, target: &Target) -> bool {
    let same = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
    same(&selector.platform_type, &target.platform_type)
        && same(&selector.aggregation_identifier, &target.aggregation_identifier)
        && selector.labels.iter().all(|(key, value)| target.labels.get(key) == Some(value))
}
