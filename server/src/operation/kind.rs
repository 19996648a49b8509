//! What the six kinds have in common, and which one a request means.

use std::time::Duration;

use chaos_kitty::{
    Problem,
    v1::{self, action_kind::Name, operation::Kind as Wire},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// One kind of operation: its parameters, all filled in and checked, and what it does.
pub(super) trait Kind: Send + Sync + 'static {
    /// Its name, in lower case.
    const NAME: &'static str;
    /// How often it looks for an opportunity, unless the operation says otherwise.
    const INTERVAL: Duration;
    /// The chance that it takes one, unless the operation says otherwise.
    const PROBABILITY: f64;
    /// What a target must be able to take.
    const ACTION: Name;

    /// Its parameters as the contract writes them, with every default filled in.
    fn parameters(&self) -> Wire;

    /// One action, its parameters drawn at random.
    fn action(&self, random: &mut ChaCha8Rng) -> v1::Action;

    /// Says in the log what it does to the target.
    fn tell(&self, operation: &str, target: &v1::Target, action: &v1::Action);
}

/// The names of all kinds.
pub(super) const NAMES: [&str; 6] = ["hairball", "scratch", "floop", "zoomies", "yowl", "groom"];

/// The kind of that name with its defaults, whatever the name's case.
pub(super) fn by_name(name: &str) -> Option<Wire> {
    match name.to_ascii_lowercase().as_str() {
        "hairball" => Some(Wire::Hairball(v1::Hairball::default())),
        "scratch" => Some(Wire::Scratch(v1::Scratch::default())),
        "floop" => Some(Wire::Floop(v1::Floop::default())),
        "zoomies" => Some(Wire::Zoomies(v1::Zoomies::default())),
        "yowl" => Some(Wire::Yowl(v1::Yowl::default())),
        "groom" => Some(Wire::Groom(v1::Groom::default())),
        _ => None,
    }
}

/// The name of a kind as the contract writes it.
pub(super) fn name_of(kind: &Wire) -> &'static str {
    match kind {
        Wire::Hairball(_) => super::hairball::Hairball::NAME,
        Wire::Scratch(_) => super::scratch::Scratch::NAME,
        Wire::Floop(_) => super::floop::Floop::NAME,
        Wire::Zoomies(_) => super::zoomies::Zoomies::NAME,
        Wire::Yowl(_) => super::yowl::Yowl::NAME,
        Wire::Groom(_) => super::groom::Groom::NAME,
    }
}

/// Times between which each strike draws one, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    min: Duration,
    max: Duration,
}

impl Span {
    /// Reads both ends; `names` are their fields, for problems, and `longest` the server's maximum.
    pub(super) fn read(
        names: [&str; 2],
        min: Option<pbjson_types::Duration>,
        max: Option<pbjson_types::Duration>,
        defaults: [Duration; 2],
        longest: Duration,
    ) -> Result<Self, Problem> {
        let min = fault_time(names[0], min, defaults[0], longest)?;
        let max = fault_time(names[1], max, defaults[1], longest)?;
        if min > max {
            return Err(Problem::invalid(
                names[0],
                format_args!("{min:?} is more than {} {max:?}", names[1]),
            ));
        }
        Ok(Self { min, max })
    }

    /// Both ends as the contract writes them.
    pub(super) fn wire(self) -> (Option<pbjson_types::Duration>, Option<pbjson_types::Duration>) {
        (Some(self.min.into()), Some(self.max.into()))
    }

    /// One time of the span.
    pub(super) fn draw(self, random: &mut ChaCha8Rng) -> Duration {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(random.random_range(nanos(self.min)..=nanos(self.max)))
    }
}

/// A time for which a fault is held: more than nothing and no longer than the server admits.
pub(super) fn fault_time(
    name: &str,
    time: Option<pbjson_types::Duration>,
    default: Duration,
    longest: Duration,
) -> Result<Duration, Problem> {
    let time = positive(name, time, default)?;
    if time > longest {
        return Err(Problem::new(
            chaos_kitty::Code::DurationTooLong,
            format!("{name}: {time:?} is more than this server's maximum of {longest:?}"),
        ));
    }
    Ok(time)
}

/// A time of more than nothing.
pub(super) fn positive(
    name: &str,
    time: Option<pbjson_types::Duration>,
    default: Duration,
) -> Result<Duration, Problem> {
    let Some(time) = time else { return Ok(default) };
    match Duration::try_from(time) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(Problem::invalid(name, "must be more than 0")),
    }
}
