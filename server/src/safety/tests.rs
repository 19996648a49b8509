use std::thread;

use chaos_kitty::v1::{Delay, Kill, SpinCpu, action::Kind, target_health::State as Health};
use proptest::prelude::*;

use super::*;
use crate::{event::Bus, fleet, store::Store};

fn gate(sizes: &[usize]) -> (Arc<Gate>, Vec<Arc<Target>>) {
    let times = fleet::Settings {
        lease: Duration::from_secs(15),
        start_timeout: Duration::from_secs(5),
        survivor_window: Duration::from_secs(600),
    };
    let (fleet, dispatcher) = Fleet::new(times, Store::in_memory().unwrap(), Arc::new(Bus::default()), 1);
    let mut targets = Vec::new();
    for (group, size) in sizes.iter().enumerate() {
        for member in 0..*size {
            let target = Arc::new(Target {
                id: format!("worker/{group}/{member}"),
                incarnation: format!("{group}{member}:1"),
                platform_type: "WorkerPlatform".to_owned(),
                aggregation_identifier: format!("g{group}"),
                host: "here".to_owned(),
                pids: vec![1],
                health: Health::Normal.into(),
                ..Target::default()
            });
            fleet.put_target(target.clone());
            targets.push(target);
        }
    }
    (Gate::new(fleet, dispatcher, None).unwrap(), targets)
}

fn delay() -> Action {
    Action { duration: None, kind: Some(Kind::Delay(Delay::default())) }
}

fn kill() -> Action {
    Action { duration: None, kind: Some(Kind::Kill(Kill::default())) }
}

#[test]
fn many_threads_at_once_never_take_the_last_of_a_group() {
    for _ in 0..20 {
        let (gate, targets) = gate(&[8, 2, 5]);
        let permits: Vec<_> = thread::scope(|scope| {
            let tries: Vec<_> = (0..60)
                .map(|n| {
                    let (gate, target) = (&gate, &targets[(n * 7) % targets.len()]);
                    scope.spawn(move || gate.admit(&n.to_string(), target, &delay()).ok())
                })
                .collect();
            tries.into_iter().filter_map(|one| one.join().unwrap()).collect()
        });
        for group in 0..3 {
            let of_group = |id: &str| id.starts_with(&format!("worker/{group}/"));
            let members = targets.iter().filter(|target| of_group(&target.id)).count();
            let hurt = targets.iter().filter(|t| of_group(&t.id) && gate.is_under_fault(&t.id)).count();
            assert!(hurt < members, "group {group}: {hurt} of {members}");
        }
        assert!(!permits.is_empty());
    }
}

#[test]
fn the_same_process_under_another_name_is_hurt_too() {
    let (gate, targets) = gate(&[1]);
    let twin = Arc::new(Target {
        id: "process/here/nginx:1".to_owned(),
        platform_type: "ProcessPlatform".to_owned(),
        ..Target::clone(&targets[0])
    });
    let permit = gate.admit("1", &targets[0], &delay()).unwrap();
    assert_eq!(gate.admit("2", &twin, &delay()).map(drop).unwrap_err().code, Code::AlreadyHeld);
    let spin = Action { duration: None, kind: Some(Kind::Cpu(SpinCpu::default())) };
    assert!(gate.admit("3", &twin, &spin).is_ok(), "another resource");
    drop(permit);
    assert!(gate.admit("4", &twin, &delay()).is_ok());
}

#[test]
fn a_killed_target_is_no_survivor_until_it_lives_in_another_incarnation() {
    let (gate, targets) = gate(&[2]);
    let permit = gate.admit("1", &targets[0], &kill()).unwrap();
    permit.killed();
    drop(permit);
    assert_eq!(gate.admit("2", &targets[1], &kill()).map(drop).unwrap_err().code, Code::TooFewSurvivors);
    let reborn = Target { incarnation: "5:5".to_owned(), ..Target::clone(&targets[0]) };
    gate.fleet.put_target(Arc::new(reborn));
    assert!(gate.admit("3", &targets[1], &kill()).is_ok());
}

#[test]
fn a_target_that_is_not_well_is_no_survivor() {
    let (gate, targets) = gate(&[2]);
    let sick = Target { health: Health::Unknown.into(), ..Target::clone(&targets[0]) };
    gate.fleet.put_target(Arc::new(sick));
    assert_eq!(gate.admit("1", &targets[1], &delay()).map(drop).unwrap_err().code, Code::TooFewSurvivors);
    assert!(gate.admit("2", &targets[0], &delay()).is_ok(), "the sick one itself may be hit");
}

#[test]
fn nothing_is_admitted_while_halted_or_stopping() {
    let (gate, targets) = gate(&[1]);
    gate.halt("fire").unwrap();
    assert_eq!(gate.admit("1", &targets[0], &delay()).map(drop).unwrap_err().code, Code::Halted);
    assert!(gate.resume().unwrap());
    assert!(gate.admit("2", &targets[0], &delay()).is_ok());
    gate.stop();
    assert_eq!(gate.admit("3", &targets[0], &delay()).map(drop).unwrap_err().code, Code::Stopping);
}

proptest! {
    #[test]
    fn whatever_comes_and_goes_somebody_of_each_group_is_left_alone(
        sizes in prop::collection::vec(1usize..5, 1..4),
        steps in prop::collection::vec((any::<bool>(), 0usize..100, any::<bool>()), 1..60),
    ) {
        let (gate, targets) = gate(&sizes);
        let mut permits: Vec<Permit> = Vec::new();
        for (n, (admit, index, killing)) in steps.into_iter().enumerate() {
            if admit {
                let action = if killing { kill() } else { delay() };
                permits.extend(gate.admit(&n.to_string(), &targets[index % targets.len()], &action).ok());
            } else if !permits.is_empty() {
                permits.swap_remove(index % permits.len());
            }
            for (group, size) in sizes.iter().enumerate() {
                let members = targets.iter().filter(|t| t.aggregation_identifier == format!("g{group}"));
                let alone = members.filter(|t| !gate.is_under_fault(&t.id)).count();
                prop_assert!(*size < 2 || alone > 0);
            }
        }
    }
}
