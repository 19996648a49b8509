mod interleaving;

use std::thread;

use chaos_kitty::v1::{
    ActionResult, Delay, Evidence, Kill, KillResult, Restart, RestartResult, ScaleDown, SpinCpu,
    action_state::Name as ActionState, evidence::Phase, target_health::State as Health,
};

use super::*;
use crate::{event::Bus, fleet, store::Store};

fn gate(sizes: &[usize]) -> (Arc<Gate>, Vec<Arc<Target>>) {
    gate_with(sizes, Limits::default())
}

fn gate_with(sizes: &[usize], limits: Limits) -> (Arc<Gate>, Vec<Arc<Target>>) {
    let times = fleet::Settings {
        lease: Duration::from_secs(15),
        start_timeout: Duration::from_secs(5),
        survivor_window: Duration::from_secs(600),
    };
    let (fleet, dispatcher) =
        Fleet::new(times, Store::in_memory().unwrap(), Arc::new(Bus::default()), 1, HashMap::new());
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
    (Gate::new(fleet, dispatcher, limits, None).unwrap(), targets)
}

fn delay() -> Action {
    Action { duration: None, kind: Some(Kind::Delay(Delay::default())) }
}

fn kill() -> Action {
    Action { duration: None, kind: Some(Kind::Kill(Kill::default())) }
}

/// What becomes of an action that killed its target.
fn killed(target: &Target) -> ActionStatus {
    let ended = action_result::Kind::Kill(KillResult { ended: true, ..KillResult::default() });
    ActionStatus {
        target_id: target.id.clone(),
        incarnation: target.incarnation.clone(),
        process_host: target.host.clone(),
        platform_type: target.platform_type.clone(),
        aggregation_identifier: target.aggregation_identifier.clone(),
        action: Some(kill()),
        result: Some(ActionResult { kind: Some(ended) }),
        state: ActionState::Done.into(),
        ..ActionStatus::default()
    }
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
    permit.ended(&killed(&targets[0]));
    drop(permit);
    assert_eq!(gate.admit("2", &targets[1], &kill()).map(drop).unwrap_err().code, Code::TooFewSurvivors);
    let reborn = Target { incarnation: "5:5".to_owned(), ..Target::clone(&targets[0]) };
    gate.fleet.put_target(Arc::new(reborn));
    assert!(gate.admit("3", &targets[1], &kill()).is_ok());
}

#[test]
fn a_restarted_target_is_no_survivor_until_its_new_incarnation_is_seen() {
    let (gate, targets) = gate(&[2]);
    let restart = Kind::Restart(Restart {});
    let permit = gate.admit("1", &targets[0], &Action { duration: None, kind: Some(restart) }).unwrap();
    let figures = action_result::Kind::Restart(RestartResult::default());
    permit.ended(&ActionStatus {
        action: Some(Action { duration: None, kind: Some(Kind::Restart(Restart {})) }),
        result: Some(ActionResult { kind: Some(figures) }),
        ..killed(&targets[0])
    });
    drop(permit);
    assert_eq!(gate.admit("2", &targets[1], &kill()).map(drop).unwrap_err().code, Code::TooFewSurvivors);
    let reborn = Target { incarnation: "5:5".to_owned(), ..Target::clone(&targets[0]) };
    gate.fleet.put_target(Arc::new(reborn));
    assert!(gate.admit("3", &targets[1], &kill()).is_ok());
}

#[test]
fn a_scale_down_hits_as_many_as_it_takes_and_nobody_knows_which() {
    let scale = |replicas| Action { duration: None, kind: Some(Kind::Scale(ScaleDown { replicas })) };
    let code = |tried: Result<Permit, Problem>| tried.map(drop).map_err(|problem| problem.code);
    let (gate, targets) = gate(&[3]);
    assert_eq!(code(gate.admit("1", &targets[0], &scale(0))), Err(Code::TooFewSurvivors));
    let delayed = gate.admit("2", &targets[1], &delay()).unwrap();
    let refused = code(gate.admit("3", &targets[0], &scale(1)));
    assert_eq!(refused, Err(Code::TooFewSurvivors), "the delayed one may be the one that is left");
    assert_eq!(code(gate.admit("4", &targets[0], &scale(2))), Ok(()));
    drop(delayed);
    let scaled = gate.admit("5", &targets[0], &scale(1)).unwrap();
    let refused = code(gate.admit("6", &targets[1], &delay()));
    assert_eq!(refused, Err(Code::TooFewSurvivors), "it may be the one that is left");
    drop(scaled);
    assert_eq!(code(gate.admit("7", &targets[1], &delay())), Ok(()));
}

#[test]
fn an_experiment_may_scale_its_own_group_down_to_one() {
    let (gate, targets) = gate(&[3]);
    let _engaged = gate.engage(&[("e".to_owned(), targets[0].clone())], 1).unwrap();
    let scale = |replicas| Action { duration: None, kind: Some(Kind::Scale(ScaleDown { replicas })) };
    let refused = gate.admit("1", &targets[0], &scale(0)).map(drop).unwrap_err();
    assert_eq!(refused.code, Code::TooFewSurvivors);
    assert!(gate.admit("2", &targets[0], &scale(1)).is_ok());
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

#[test]
fn each_limit_is_named_with_its_group_and_who_is_hurt() {
    let limits = |limits: Limits| gate_with(&[4], limits);
    let named = |gate: &Arc<Gate>, targets: &[Arc<Target>], code: Code, words: [&str; 3]| {
        let problem = gate.admit("2", &targets[1], &delay()).map(drop).unwrap_err();
        assert_eq!(problem.code, code, "{problem}");
        for word in words {
            assert!(problem.to_string().contains(word), "{word}: {problem}");
        }
    };
    let (gate, targets) = limits(Limits { min_survivors: 3, ..Limits::default() });
    let _one = gate.admit("1", &targets[0], &delay()).unwrap();
    named(&gate, &targets, Code::TooFewSurvivors, ["\"g0\" of 4", "action 1 since", "--min-survivors"]);
    let (gate, targets) = limits(Limits { max_percent: 49, ..Limits::default() });
    let _one = gate.admit("1", &targets[0], &delay()).unwrap();
    named(&gate, &targets, Code::LimitReached, ["\"g0\"", "49 %", "--max-percent"]);
    let (gate, targets) = limits(Limits { max_faults_per_group: 1, ..Limits::default() });
    let _one = gate.admit("1", &targets[0], &delay()).unwrap();
    named(&gate, &targets, Code::LimitReached, ["\"g0\"", "action 1 since", "--max-faults-per-group"]);
    let (gate, targets) = limits(Limits { max_faults: 1, ..Limits::default() });
    let _one = gate.admit("1", &targets[0], &delay()).unwrap();
    named(&gate, &targets, Code::LimitReached, ["1 actions", "fleet", "--max-faults"]);
}

#[test]
fn the_last_survivor_of_another_group_is_not_hit_under_another_name() {
    let (gate, targets) = gate(&[2]);
    let _one = gate.admit("1", &targets[0], &delay()).unwrap();
    let twin = Arc::new(Target {
        id: "process/here/nginx:1".to_owned(),
        platform_type: "ProcessPlatform".to_owned(),
        aggregation_identifier: "nginx".to_owned(),
        ..Target::clone(&targets[1])
    });
    gate.fleet.put_target(twin.clone());
    let refused = gate.admit("2", &twin, &delay()).map(drop).unwrap_err();
    assert_eq!(refused.code, Code::TooFewSurvivors);
    assert!(refused.message.contains("\"g0\""), "{refused}");
}

/// What becomes of a delay whose target was seen afterwards in this state.
fn delayed(target: &Target, process_state: &str) -> ActionStatus {
    let seen = Evidence {
        phase: Phase::After.into(),
        what: "process state".to_owned(),
        value: process_state.to_owned(),
    };
    ActionStatus {
        action: Some(delay()),
        result: None,
        evidence: vec![seen],
        state: ActionState::Reverted.into(),
        ..killed(target)
    }
}

#[test]
fn what_runs_again_after_its_fault_frees_its_group_at_once() {
    for (platform, process_state, freed) in
        [("ProcessPlatform", "S", true), ("ProcessPlatform", "T", false), ("DockerPlatform", "S", false)]
    {
        let (gate, targets) = gate(&[2]);
        for target in &targets {
            let platform_type = platform.to_owned();
            gate.fleet.put_target(Arc::new(Target { platform_type, ..Target::clone(target) }));
        }
        let targets: Vec<_> = targets.iter().map(|target| gate.fleet.target(&target.id).unwrap()).collect();
        let permit = gate.admit("1", &targets[0], &delay()).unwrap();
        // Its agent looks once a second, and saw it stand still.
        let still = Target { health: Health::Unknown.into(), ..Target::clone(&targets[0]) };
        gate.fleet.put_target(Arc::new(still));
        permit.ended(&delayed(&targets[0], process_state));
        drop(permit);
        let admitted = gate.admit("2", &targets[1], &delay()).map(drop);
        assert_eq!(admitted.is_ok(), freed, "{platform} {process_state}: {admitted:?}");
        if let Err(refused) = admitted {
            assert!(refused.message.contains("not healthy since"), "{refused}");
        }
    }
}

#[test]
fn a_refusal_and_the_list_say_who_is_hurt_since_when_and_until_when() {
    let (gate, targets) = gate(&[2]);
    let minute = Action { duration: Some(Duration::from_secs(60).into()), ..delay() };
    let _permit = gate.admit("1", &targets[0], &minute).unwrap();
    let refused = gate.admit("2", &targets[1], &delay()).map(drop).unwrap_err();
    assert!(
        refused.message.contains("worker/0/0 (action 1 since ")
            || refused.message.contains("(action 1 since "),
        "{refused}"
    );
    let standings = gate.standings(&targets);
    let (hurt, other) = (standings[0].clone().unwrap(), standings[1].clone().unwrap());
    assert!(hurt.action_id == "1" && hurt.since.is_some() && hurt.until.is_some(), "{hurt:?}");
    assert!(hurt.reason.contains(" until ") && other.reason.contains(&hurt.reason), "{other:?}");
}

#[test]
fn who_is_gone_is_named_with_the_time_until_which_they_count() {
    let (gate, targets) = gate(&[2]);
    gate.fleet.drop_target(&targets[0].id);
    let refused = gate.admit("1", &targets[1], &delay()).map(drop).unwrap_err();
    assert_eq!(refused.code, Code::TooFewSurvivors);
    for word in ["1 gone", "since ", "counted until ", "--survivor-window"] {
        assert!(refused.message.contains(word), "{word}: {refused}");
    }
}

#[test]
fn after_a_start_a_group_says_for_which_agents_it_waits() {
    let (gate, targets) = gate(&[1]);
    gate.settle_for(Duration::from_secs(60));
    let known =
        ActionStatus { group_size: 2, agent_id: "b1".to_owned(), result: None, ..killed(&targets[0]) };
    gate.remember(&known);
    let refused = gate.admit("1", &targets[0], &delay()).map(drop).unwrap_err();
    assert!(refused.message.contains("1 of 2 known before seen) waits for b1, until "), "{refused}");
    let standing = gate.standings(&targets)[0].clone().unwrap();
    assert_eq!(standing.waits_for, ["b1"]);
    assert!(standing.until.is_some());
}

#[test]
fn after_a_start_a_group_waits_until_all_that_were_known_are_back() {
    let (gate, targets) = gate(&[2, 2]);
    gate.settle_for(Duration::from_secs(60));
    let known = ActionStatus { group_size: 2, ..killed(&targets[0]) };
    gate.remember(&ActionStatus { result: None, ..known.clone() });
    assert!(gate.admit("1", &targets[0], &delay()).is_ok(), "all of it are back");
    assert_eq!(gate.admit("2", &targets[2], &delay()).map(drop).unwrap_err().code, Code::Settling);
    gate.remember(&ActionStatus { group_size: 3, ..known });
    assert_eq!(gate.admit("3", &targets[1], &delay()).map(drop).unwrap_err().code, Code::Settling);
}
