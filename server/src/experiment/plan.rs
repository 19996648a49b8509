//! Which target gets which method. Pure: the same roster, which is ordered by name, and the same seed give the same
//! plan.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chaos_kitty::{Code, Problem, v1::Target};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    method::Method,
    suite::{Criterion, Wanted},
};

/// One experiment to be.
#[derive(Clone, Debug)]
pub struct Pick {
    /// On which target.
    pub target: Arc<Target>,
    /// Of which method.
    pub method: Arc<Method>,
}

/// A target that may be chosen.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) target: Arc<Target>,
    /// It is healthy, and nothing is done to it.
    pub(super) is_spared: bool,
}

/// Chooses targets of a platform's roster, all of them or none. Those of a criterion stand in the order of its methods.
///
/// # Errors
/// [`Code::NotEnoughTargets`], [`Code::NoSuchTarget`], [`Code::NoSuchExperimentMethod`], [`Code::DidNotStart`].
pub(super) fn plan(wanted: &Wanted, roster: &[Candidate], seed: u64) -> Result<Vec<Pick>, Problem> {
    let mut groups: HashMap<&str, Vec<&Candidate>> = HashMap::new();
    for candidate in roster {
        groups.entry(&candidate.target.aggregation_identifier).or_default().push(candidate);
    }
    let none = Vec::new();
    let members = |group: &str| groups.get(group).unwrap_or(&none);
    enough(wanted, &members)?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut taken = HashSet::new();
    // Whoever is named anywhere is no longer there to be drawn.
    let mut named = Vec::new();
    for criterion in &wanted.criteria {
        named.push(named_targets(criterion, members(&criterion.group), roster, &mut taken)?);
    }
    let mut picks = Vec::new();
    for (criterion, named) in wanted.criteria.iter().zip(named) {
        picks.extend(draw(criterion, named, members(&criterion.group), &mut taken, &mut random)?);
    }
    Ok(picks)
}

/// A group has a target for each method, and survivors.
fn enough<'a>(wanted: &'a Wanted, members: &impl Fn(&str) -> &'a Vec<&'a Candidate>) -> Result<(), Problem> {
    let mut methods: HashMap<&str, usize> = HashMap::new();
    for criterion in &wanted.criteria {
        *methods.entry(&criterion.group).or_default() += criterion.methods.len();
    }
    for criterion in &wanted.criteria {
        let (group, survivors) = (criterion.group.as_str(), wanted.min_survivors);
        let (of_group, methods) = (members(group), methods[group]);
        let spared = of_group.iter().filter(|candidate| candidate.is_spared).count();
        if spared < methods.saturating_add(survivors) {
            let message = format!(
                "{}: group {group:?} of {} has {} targets, {spared} of them healthy and not hurt; {methods} methods and {survivors} to be left alone need {}",
                criterion.field,
                wanted.platform_type,
                of_group.len(),
                methods.saturating_add(survivors)
            );
            return Err(Problem::new(Code::NotEnoughTargets, message)
                .hint("ask for fewer methods, or add targets; see `kittyctl target list`"));
        }
    }
    Ok(())
}

/// The targets that a criterion names, in order.
fn named_targets<'a>(
    criterion: &Criterion,
    members: &[&'a Candidate],
    roster: &[Candidate],
    taken: &mut HashSet<&'a str>,
) -> Result<Vec<&'a Candidate>, Problem> {
    let mut found = Vec::new();
    for (index, name) in criterion.named.iter().enumerate() {
        let field = format!("{}.specific_container_targets[{index}]", criterion.field);
        let candidate = find(&field, name, &criterion.group, members, roster)?;
        if !taken.insert(&candidate.target.id) {
            return Err(Problem::invalid(&field, format!("{name:?} is named twice"))
                .hint("a target takes part in one experiment"));
        }
        if !candidate.is_spared {
            let message = format!("{field}: {name:?} is not healthy, or hurt already");
            return Err(Problem::new(Code::DidNotStart, message)
                .hint("`kittyctl target list` says why and until when; wait, or name another"));
        }
        let method = &criterion.methods[index];
        if !method.fits(&candidate.target) {
            return Err(cannot(&field, method, &candidate.target));
        }
        found.push(candidate);
    }
    Ok(found)
}

fn find<'a>(
    field: &str,
    name: &str,
    group: &str,
    members: &[&'a Candidate],
    roster: &[Candidate],
) -> Result<&'a Candidate, Problem> {
    let is = |target: &Target| target.id == name || target.name == name;
    let found: Vec<_> = members.iter().filter(|candidate| is(&candidate.target)).collect();
    match found[..] {
        [candidate] => Ok(candidate),
        [] => {
            let elsewhere = roster.iter().find(|candidate| is(&candidate.target));
            let message = match elsewhere.map(|candidate| candidate.target.aggregation_identifier.as_str()) {
                None => format!("{field}: there is no target {name:?}"),
                Some("") => format!("{field}: {name:?} belongs to no group"),
                Some(other) => format!("{field}: {name:?} belongs to group {other:?}, not to {group:?}"),
            };
            Err(Problem::new(Code::NoSuchTarget, message).hint("see `kittyctl target list`"))
        }
        _ => {
            let ids: Vec<_> = found.iter().map(|candidate| candidate.target.id.as_str()).collect();
            let message = format!("{field}: {name:?} fits {}", ids.join(", "));
            Err(Problem::new(Code::Ambiguous, message).hint("name one by its id"))
        }
    }
}

/// The named targets, and for the remaining methods others of the group at random. The method that the fewest can
/// take draws first, so that none is left without a target while another could have had a different one.
fn draw<'a>(
    criterion: &Criterion,
    named: Vec<&'a Candidate>,
    members: &[&'a Candidate],
    taken: &mut HashSet<&'a str>,
    random: &mut ChaCha8Rng,
) -> Result<Vec<Pick>, Problem> {
    let mut rest: Vec<&Candidate> = members
        .iter()
        .copied()
        .filter(|candidate| candidate.is_spared && !taken.contains(candidate.target.id.as_str()))
        .collect();
    rest.shuffle(random);
    let mut open: Vec<usize> = (named.len()..criterion.methods.len()).collect();
    let fitting: Vec<usize> = criterion
        .methods
        .iter()
        .map(|method| rest.iter().filter(|candidate| method.fits(&candidate.target)).count())
        .collect();
    open.sort_by_key(|index| (fitting[*index], *index));
    let mut drawn: HashMap<usize, &Candidate> = named.into_iter().enumerate().collect();
    for index in open {
        let method = &criterion.methods[index];
        let is_free = |candidate: &&Candidate| {
            !taken.contains(candidate.target.id.as_str()) && method.fits(&candidate.target)
        };
        // Where it works on none, as far as their agents told, one of them says why.
        let works = rest.iter().position(|it| is_free(it) && method.works_on(&it.target, &[]));
        let Some(free) = works.or_else(|| rest.iter().position(is_free)) else {
            let field = format!("{}.experiment_methods[{index}]", criterion.field);
            return Err(match rest.first().filter(|_| fitting[index] == 0) {
                Some(any) => cannot(&field, method, &any.target),
                None => Problem::new(
                    Code::NotEnoughTargets,
                    format!("{field}: no target is left that can take {:?}", method.name()),
                )
                .hint("ask for fewer methods, or name the targets"),
            });
        };
        let candidate = rest.swap_remove(free);
        taken.insert(&candidate.target.id);
        drawn.insert(index, candidate);
    }
    let pick = |index| {
        let candidate: &&Candidate = drawn.get(&index)?;
        Some(Pick { target: candidate.target.clone(), method: criterion.methods[index].clone() })
    };
    Ok((0..criterion.methods.len()).filter_map(pick).collect())
}

fn cannot(field: &str, method: &Method, target: &Target) -> Problem {
    let why = if target.cattle {
        ""
    } else {
        "; nothing recreates it, and some methods are for what something recreates"
    };
    let message =
        format!("{field}: {} ({}) can not take {:?}{why}", target.name, target.platform_type, method.name());
    Problem::new(Code::NoSuchExperimentMethod, message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chaos_kitty::v1::{ExperimentCriteria, ExperimentSuite, action_kind::Name};
    use proptest::prelude::*;

    use super::*;
    use crate::experiment::{Settings, method::Methods, suite};

    fn target(group: &str, number: usize) -> Candidate {
        let target = Arc::new(Target {
            id: format!("process/here/{group}:{number}"),
            name: format!("{group}:{number}"),
            platform_type: "ProcessPlatform".to_owned(),
            aggregation_identifier: group.to_owned(),
            actions: vec![Name::Delay.into(), Name::Cpu.into(), Name::Kill.into()],
            ..Target::default()
        });
        Candidate { target, is_spared: true }
    }

    fn roster(sizes: &[(&str, usize)]) -> Vec<Candidate> {
        sizes.iter().flat_map(|(group, size)| (0..*size).map(|number| target(group, number))).collect()
    }

    fn wanted(criteria: &[(&str, &[&str], &[&str])], min_survivors: u32) -> Wanted {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let criteria = criteria.iter().map(|(group, methods, named)| ExperimentCriteria {
            container_identifier: (*group).to_owned(),
            experiment_methods: owned(methods),
            specific_container_targets: owned(named),
        });
        let suite = ExperimentSuite {
            platform_type: "ProcessPlatform".to_owned(),
            experiment_criteria: criteria.collect(),
            min_survivors: Some(min_survivors),
            ..ExperimentSuite::default()
        };
        let longest = std::time::Duration::from_secs(3600);
        suite::read(&suite, &Methods::new(&[]), &Settings::default(), longest).unwrap()
    }

    fn shown(picks: &[Pick]) -> Vec<(String, String)> {
        picks.iter().map(|pick| (pick.target.name.clone(), pick.method.name().to_owned())).collect()
    }

    fn refused(wanted: &Wanted, roster: &[Candidate]) -> Problem {
        plan(wanted, roster, 1).map(drop).unwrap_err()
    }

    #[test]
    fn the_named_get_their_methods_by_position_and_the_rest_go_to_others_at_random() {
        let wanted = wanted(&[("web", &["delay", "spinCpu", "delay"], &["web:3", "web:1"])], 1);
        let roster = roster(&[("web", 5), ("db", 5)]);
        let mut thirds = BTreeSet::new();
        for seed in 0..50 {
            let picks = shown(&plan(&wanted, &roster, seed).unwrap());
            assert_eq!(picks[..2], [("web:3".into(), "delay".into()), ("web:1".into(), "spinCpu".into())]);
            thirds.insert(picks[2].0.clone());
        }
        assert_eq!(thirds.into_iter().collect::<Vec<_>>(), ["web:0", "web:2", "web:4"]);
    }

    #[test]
    fn a_group_needs_a_target_for_each_method_of_all_its_criteria_and_survivors() {
        let two = wanted(&[("web", &["delay"], &[]), ("web", &["delay"], &[])], 1);
        assert!(plan(&two, &roster(&[("web", 3)]), 1).is_ok());
        let problem = refused(&two, &roster(&[("web", 2)]));
        assert_eq!(problem.code, Code::NotEnoughTargets);
        assert!(problem.message.contains("2 methods and 1 to be left alone need 3"), "{problem}");
        assert_eq!(
            refused(&wanted(&[("web", &["delay"], &[])], 3), &roster(&[("web", 3)])).code,
            Code::NotEnoughTargets
        );
        assert_eq!(
            refused(&wanted(&[("no", &["delay"], &[])], 1), &roster(&[("web", 3)])).code,
            Code::NotEnoughTargets
        );
        let mut sick = roster(&[("web", 3)]);
        sick[0].is_spared = false;
        assert_eq!(refused(&two, &sick).code, Code::NotEnoughTargets);
    }

    #[test]
    fn a_named_target_that_is_not_there_or_of_another_group_refuses_the_suite() {
        let roster = roster(&[("web", 3), ("db", 3)]);
        for (name, words) in
            [("web:9", "no target \"web:9\""), ("db:1", "belongs to group \"db\", not to \"web\"")]
        {
            let problem = refused(&wanted(&[("web", &["delay"], &[name])], 1), &roster);
            assert_eq!(problem.code, Code::NoSuchTarget);
            assert!(problem.message.contains(words), "{problem}");
        }
        let by_two_names = wanted(&[("web", &["delay", "delay"], &["web:1", "process/here/web:1"])], 1);
        assert_eq!(refused(&by_two_names, &roster).code, Code::InvalidArgument);
    }

    #[test]
    fn a_method_that_a_target_can_not_take_refuses_the_suite() {
        let roster = roster(&[("web", 3)]);
        for named in [&["web:1"][..], &[]] {
            let problem = refused(&wanted(&[("web", &["killProcess"], named)], 1), &roster);
            assert_eq!(problem.code, Code::NoSuchExperimentMethod);
            assert!(problem.message.contains("nothing recreates it"), "{problem}");
        }
    }

    #[test]
    fn the_method_that_few_can_take_gets_its_target() {
        let mut roster = roster(&[("web", 4)]);
        let mut cow = Target::clone(&roster[2].target);
        cow.cattle = true;
        roster[2].target = Arc::new(cow);
        let wanted = wanted(&[("web", &["delay", "delay", "killProcess"], &[])], 1);
        for seed in 0..50 {
            assert_eq!(plan(&wanted, &roster, seed).unwrap()[2].target.name, "web:2");
        }
    }

    proptest! {
        #[test]
        fn no_target_is_taken_twice_survivors_are_left_and_a_seed_gives_one_plan(
            size in 1usize..12, hurt in 0usize..4, first in 1usize..6, second in 0usize..6, survivors in 1u32..4,
            seed: u64,
        ) {
            let mut roster = roster(&[("web", size)]);
            roster.iter_mut().take(hurt).for_each(|candidate| candidate.is_spared = false);
            let (first, second) = (vec!["delay"; first], vec!["spinCpu"; second]);
            let mut criteria: Vec<(&str, &[&str], &[&str])> = vec![("web", &first, &[])];
            if !second.is_empty() {
                criteria.push(("web", &second, &[]));
            }
            let wanted = wanted(&criteria, survivors);
            let Ok(picks) = plan(&wanted, &roster, seed) else {
                prop_assert!(size.saturating_sub(hurt) < first.len() + second.len() + survivors as usize);
                return Ok(());
            };
            let names: BTreeSet<_> = picks.iter().map(|pick| pick.target.name.clone()).collect();
            prop_assert_eq!(names.len(), first.len() + second.len());
            let left = roster.iter().filter(|it| it.is_spared && !names.contains(&it.target.name)).count();
            prop_assert!(left >= survivors as usize);
            prop_assert_eq!(shown(&picks), shown(&plan(&wanted, &roster, seed).unwrap()));
        }
    }
}
