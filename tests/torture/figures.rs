//! What is printed at the end.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{cell::Outcome, death::Death, grid::Found};

#[derive(Default)]
pub(crate) struct Figures {
    rounds: usize,
    faults: usize,
    took: BTreeMap<Death, Vec<Duration>>,
    failed: usize,
}

impl Figures {
    pub(crate) fn take(&mut self, name: String, outcome: Outcome<Found>) {
        self.rounds += 1;
        match outcome {
            Ok(found) => {
                self.faults += found.faults;
                self.took.entry(found.death).or_default().push(found.took);
            }
            // At once: whoever watches need not wait for the end.
            Err(why) => {
                println!("FAILED {name}: {why}\n");
                self.failed += 1;
            }
        }
    }

    /// Takes in whether a guarantee that was taken away was missed.
    pub(crate) fn take_proof(&mut self, name: String, outcome: Outcome<()>) {
        match outcome {
            Ok(()) => println!("seen, as it must be: what is left by {name}"),
            Err(why) => {
                println!("FAILED {name}: {why}\n");
                self.failed += 1;
            }
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed > 0
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} rounds, {} faults, {} rounds failed", self.rounds, self.faults, self.failed)?;
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
