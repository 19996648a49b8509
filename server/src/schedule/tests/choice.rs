//! Whom it draws.

use std::collections::{BTreeSet, HashMap};

use super::*;
use crate::schedule::{
    PREFERRED_METHOD,
    choose::{Rules, draw, draw_for},
};

const ALL: Rules = Rules { probability: 1.0, min_survivors: 1, asked: false };

fn names(drawn: &Drawn) -> BTreeSet<&str> {
    drawn.picks.iter().map(|pick| pick.target.name.as_str()).collect()
}

fn draw_from(targets: Vec<Target>, rules: Rules, seed: u64) -> Drawn {
    draw(&*Fleet::new(targets), "P", rules, seed)
}

#[test]
fn at_least_one_of_each_group_is_left_and_those_of_no_group_may_all_be_hit() {
    let members = |group: &str, count: usize| {
        (0..count).map(|n| target("P", group, &format!("{group}-{n}"))).collect::<Vec<_>>()
    };
    let roster = [members("lone", 1), members("pair", 2), members("many", 6), members("", 3)].concat();
    let mut ever = BTreeSet::new();
    for seed in 0..200 {
        let drawn = draw_from(roster.clone(), ALL, seed);
        let of = |group: &str| names(&drawn).iter().filter(|name| name.starts_with(group)).count();
        assert_eq!((of("lone"), of("pair"), of("many"), of("-")), (0, 1, 5, 3));
        ever.extend(names(&drawn).into_iter().map(str::to_owned));
        let spared = draw_from(roster.clone(), Rules { min_survivors: 3, ..ALL }, seed);
        assert_eq!(names(&spared).iter().filter(|name| !name.starts_with('-')).count(), 3);
    }
    assert_eq!(ever.len(), 11, "everybody's turn comes");
}

#[test]
fn survivors_are_well_and_those_that_are_not_take_no_part() {
    let mut roster = vec![target("P", "web", "a"), target("P", "web", "b"), target("P", "web", "hurt")];
    roster[1].health = State::Unknown.into();
    for seed in 0..50 {
        assert!(draw_from(roster.clone(), ALL, seed).picks.is_empty(), "a is the only one that is well");
    }
}

#[test]
fn each_takes_part_with_the_platforms_probability() {
    let roster: Vec<_> = (0..1001).map(|n| target("P", "web", &format!("web-{n:04}"))).collect();
    let taken = |probability| draw_from(roster.clone(), Rules { probability, ..ALL }, 1).picks.len();
    assert!((150..250).contains(&taken(0.2)), "{}", taken(0.2));
    assert_eq!((taken(0.0), taken(1.0)), (0, 1000));
}

#[test]
fn kinds_are_drawn_first_then_methods_so_that_many_of_one_kind_do_not_crowd_out_another() {
    let roster: Vec<_> = (0..1201).map(|n| target("P", "web", &format!("web-{n:04}"))).collect();
    let drawn = draw_from(roster, ALL, 1);
    let mut seen = HashMap::<&str, u32>::new();
    drawn.picks.iter().for_each(|pick| *seen.entry(&pick.method).or_default() += 1);
    assert!((500..700).contains(&seen["kill"]), "{seen:?}");
    assert!((200..400).contains(&seen["burn"]) && (200..400).contains(&seen["fill"]), "{seen:?}");
}

#[test]
fn a_pet_never_gets_what_is_for_cattle_only_and_a_preferred_method_wins() {
    let mut roster = group("P");
    roster.iter_mut().for_each(|target| target.cattle = false);
    let preferring = |name: &str| {
        let mut target = target("P", "", "own-head");
        target.labels.insert(PREFERRED_METHOD.to_owned(), name.to_owned());
        target
    };
    for seed in 0..50 {
        let drawn = draw_from(roster.clone(), ALL, seed);
        assert!(drawn.picks.iter().all(|pick| pick.method != "kill"), "{drawn:?}");
        let method = |target: Target| draw_from(vec![target], ALL, seed).picks[0].method.clone();
        assert_eq!(method(preferring("fill")), "fill");
        let mut pet = preferring("kill");
        pet.cattle = false;
        assert_ne!(method(pet), "kill", "not even when it is preferred");
    }
}

#[test]
fn the_choice_depends_on_the_seed_and_on_no_order() {
    let roster: Vec<_> = (0..20).map(|n| target("P", "web", &format!("web-{n}"))).collect();
    let half = Rules { probability: 0.5, ..ALL };
    let backwards: Vec<_> = roster.iter().rev().cloned().collect();
    assert_eq!(draw_from(roster.clone(), half, 4).picks, draw_from(backwards, half, 4).picks);
    assert_ne!(draw_from(roster.clone(), half, 4).picks, draw_from(roster, half, 5).picks);
}

#[test]
fn a_named_target_gets_a_method_of_its_own() {
    let fleet = Fleet::new(vec![target("P", "web", "a")]);
    assert_eq!(draw_for(&*fleet, &fleet.targets[0], 1).unwrap().picks.len(), 1);
}
