//! What is printed at the end.

use std::{collections::BTreeMap, fmt, sync::atomic::Ordering, time::Duration};

use crate::{cell::Outcome, death::Death, order::REPEATED};

/// What a cell or a round that held found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) death: Death,
    pub(crate) faults: usize,
    /// Until nothing was left, where the death is what ended it.
    pub(crate) took: Option<Duration>,
}

#[derive(Default)]
pub(crate) struct Figures {
    rounds: usize,
    faults: usize,
    took: BTreeMap<Death, Vec<Option<Duration>>>,
    left: usize,
    failed: usize,
}

impl Figures {
    pub(crate) fn take(&mut self, name: &str, outcome: Outcome<Found>) {
        self.rounds += 1;
        match outcome {
            Ok(found) => {
                self.faults += found.faults;
                self.took.entry(found.death).or_default().push(found.took);
            }
            Err(why) => {
                self.left += usize::from(why.starts_with("left "));
                self.fail(name, &why);
            }
        }
    }

    /// Takes in whether a guarantee that was taken away was missed.
    pub(crate) fn take_proof(&mut self, name: &str, outcome: Outcome<()>) {
        match outcome {
            Ok(()) => println!("seen, as it must be: what is left by {name}"),
            Err(why) => self.fail(name, &why),
        }
    }

    /// At once: whoever watches need not wait for the end.
    fn fail(&mut self, name: &str, why: &str) {
        println!("FAILED {name}: {why}\n");
        self.failed += 1;
    }

    pub(crate) const fn failed(&self) -> bool {
        self.failed > 0
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, faults, left, failed, .. } = self;
        writeln!(f, "{rounds} rounds, {faults} faults, {left} rounds with faults left, {failed} failed")?;
        writeln!(
            f,
            "{} orders were given again, for what they did was over early",
            REPEATED.load(Ordering::Relaxed)
        )?;
        writeln!(f, "{:<26} {:>6}  until nothing is left (ms): p50 / p99 / max", "death", "rounds")?;
        for (death, took) in &self.took {
            let (death, count) = (format!("{death:?}"), took.len());
            let mut took: Vec<_> = took.iter().flatten().map(Duration::as_millis).collect();
            took.sort_unstable();
            let at = |percent: usize| took.get(took.len().saturating_sub(1) * percent / 100);
            match (at(50), at(99), at(100)) {
                (Some(p50), Some(p99), Some(max)) => {
                    writeln!(f, "{death:<26} {count:>6}  {p50} / {p99} / {max}")?
                }
                _ => writeln!(f, "{death:<26} {count:>6}  not what ended everything")?,
            }
        }
        Ok(())
    }
}
