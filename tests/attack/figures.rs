//! What was sent, and how much of it was taken.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

/// Calls of each kind, by name: those that were made, and those of them that were accepted.
#[derive(Default)]
pub(crate) struct Figures(Mutex<BTreeMap<String, (u64, u64)>>);

impl Figures {
    pub(crate) fn note(&self, way: &str, call: &str, accepted: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (made, taken) = all.entry(format!("{way} {call}")).or_default();
        *made += 1;
        *taken += u64::from(accepted);
    }

    /// Of all calls of a way; with an empty one, of all.
    fn sum(&self, way: &str) -> (u64, u64) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_way = all.iter().filter(|(name, _)| name.starts_with(way));
        of_way.fold((0, 0), |sum, (_, of)| (sum.0 + of.0, sum.1 + of.1))
    }

    /// Calls that are refused at the first look reach nothing that could break.
    pub(crate) fn judge(&self, calls: u64) -> Option<String> {
        let (made, taken) = self.sum("");
        if made * 10 < calls * 9 {
            return Some(format!("only {made} calls were made"));
        }
        (taken * 10 < made * 3).then(|| format!("only {taken} of {made} calls were accepted"))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, (made, taken)) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            writeln!(f, "{name:44} {made:6} made {taken:6} accepted {:3} %", taken * 100 / made)?;
        }
        for way in ["gRPC", "REST", "Attach"] {
            let (made, taken) = self.sum(way);
            writeln!(f, "{way} {made} made, {taken} accepted, {} %", taken * 100 / made.max(1))?;
        }
        let (made, taken) = self.sum("");
        write!(f, "in all {made} made, {taken} accepted, {} %", taken * 100 / made.max(1))
    }
}
