//! What is printed at the end.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{cell::Outcome, death::Death, grid::Found};

#[derive(Default)]
pub(crate) struct Figures {
    rounds: usize,
    faults: usize,
    took: BTreeMap<Death, Vec<Duration>>,
    failures: Vec<String>,
}

impl Figures {
    pub(crate) fn take(&mut self, name: String, outcome: Outcome<Found>) {
        self.rounds += 1;
        match outcome {
            Ok(found) => {
                self.faults += found.faults;
                self.took.entry(found.death).or_default().push(found.took);
            }
            Err(why) => self.failures.push(format!("{name}: {why}")),
        }
    }

    pub(crate) fn failed(&self) -> bool {
        !self.failures.is_empty()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "FAILED {failure}\n")?;
        }
        writeln!(f, "{} rounds, {} faults, {} rounds failed", self.rounds, self.faults, self.failures.len())?;
        writeln!(f, "{:<26} {:>6}  until nothing is left (ms): p50 / p99 / max", "death", "rounds")?;
        for (death, took) in &self.took {
            let mut took: Vec<_> = took.iter().map(Duration::as_millis).collect();
            took.sort_unstable();
            let at = |percent: usize| took[(took.len() - 1) * percent / 100];
            writeln!(
                f,
                "{:<26} {:>6}  {} / {} / {}",
                format!("{death:?}"),
                took.len(),
                at(50),
                at(99),
                took[took.len() - 1]
            )?;
        }
        Ok(())
    }
}
