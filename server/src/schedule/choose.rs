//! Whom an automatic experiment is for, and with which method: functions of roster and randomness.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chaos_kitty::v1::{ExperimentMethod, Target};
use rand::{Rng, RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::port::{Drawn, Pick, Port};

/// The label of a target that says which method it is to get whenever it takes part.
pub const PREFERRED_METHOD: &str = "preferred_method";

/// How a platform's targets are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// That each target takes part, 0 to 1.
    pub(super) probability: f64,
    /// Targets of each group that are left alone.
    pub(super) min_survivors: usize,
    /// Somebody asked for it: where nobody takes part by chance, one does.
    pub(super) asked: bool,
}

/// Draws from a platform's roster. The same roster, in any order, and the same seed give the same.
pub(super) fn draw(port: &dyn Port, platform_type: &str, rules: Rules, seed: u64) -> Drawn {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut roster = port.roster(platform_type);
    roster.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let free = beyond_survivors(&roster, &port.spared(&roster), rules.min_survivors, &mut random);
    let able: Vec<Pick> =
        free.into_iter().filter_map(|target| pick(target, &port.methods(target), &mut random)).collect();
    let taken: Vec<bool> = able.iter().map(|_| random.random::<f64>() < rules.probability).collect();
    let mut picks: Vec<Pick> =
        able.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(pick, _)| pick.clone()).collect();
    if picks.is_empty() && rules.asked && !able.is_empty() {
        picks.push(able[random.random_range(0..able.len())].clone());
    }
    Drawn { platform_type: platform_type.to_owned(), seed, picks }
}

/// One target with a method of its own. `None`: it has none.
pub(super) fn draw_for(port: &dyn Port, target: &Arc<Target>, seed: u64) -> Option<Drawn> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let pick = pick(target, &port.methods(target), &mut random)?;
    Some(Drawn { platform_type: target.platform_type.clone(), seed, picks: vec![pick] })
}

/// Those that are well, less the survivors of each group, who are drawn first. Targets of no group have none to
/// survive for. Ordered as the roster is.
fn beyond_survivors<'a>(
    roster: &'a [Arc<Target>],
    spared: &[bool],
    min_survivors: usize,
    random: &mut impl Rng,
) -> Vec<&'a Arc<Target>> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let well = roster.iter().zip(spared).enumerate().filter(|(_, (_, is_spared))| **is_spared);
    for (index, (target, _)) in well {
        groups.entry(&target.aggregation_identifier).or_default().push(index);
    }
    let mut free = BTreeSet::new();
    for (group, mut members) in groups {
        let survivors = if group.is_empty() { 0 } else { min_survivors.max(1) };
        members.shuffle(random);
        free.extend(members.into_iter().skip(survivors));
    }
    free.into_iter().map(|index| &roster[index]).collect()
}

/// Its preferred method, else a random kind of those it can take, then a random method of that kind.
fn pick(target: &Arc<Target>, methods: &[ExperimentMethod], random: &mut impl Rng) -> Option<Pick> {
    let mut able: Vec<_> = methods.iter().filter(|method| target.cattle || !method.cattle_only).collect();
    able.sort_by(|a, b| a.name.cmp(&b.name));
    let preferred = target.labels.get(PREFERRED_METHOD);
    let preferred = preferred.and_then(|name| able.iter().find(|method| method.name == *name));
    let method = match preferred {
        Some(method) => method,
        None => {
            let kinds: BTreeSet<i32> = able.iter().map(|method| method.experiment_type).collect();
            let kind = one_of(&kinds.into_iter().collect::<Vec<_>>(), random)?;
            able.retain(|method| method.experiment_type == kind);
            let drawn = random.random_range(0..able.len());
            able.get(drawn)?
        }
    };
    Some(Pick { target: Arc::clone(target), method: method.name.clone() })
}

/// A random one.
pub(super) fn one_of<T: Clone>(all: &[T], random: &mut impl Rng) -> Option<T> {
    (!all.is_empty()).then(|| all[random.random_range(0..all.len())].clone())
}
