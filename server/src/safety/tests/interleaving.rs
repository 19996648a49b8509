//! Whatever comes, goes, is killed, reborn and restarted: limits hold at each admission.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Admit {
        target: usize,
        killing: bool,
    },
    /// A suite is built on these; the server's own minimum of survivors and so many more are left alone.
    Build {
        targets: Vec<usize>,
        more_survivors: usize,
    },
    /// An experiment is over.
    Conclude(usize),
    End {
        action: usize,
        killed: bool,
    },
    Recycle(usize),
    Detach(usize),
    Attach(usize),
    Sicken(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let index = 0usize..100;
    prop_oneof![
        6 => (index.clone(), any::<bool>()).prop_map(|(target, killing)| Step::Admit { target, killing }),
        3 => (prop::collection::vec(index.clone(), 1..4), 0usize..2)
            .prop_map(|(targets, more_survivors)| Step::Build { targets, more_survivors }),
        1 => index.clone().prop_map(Step::Conclude),
        2 => (index.clone(), any::<bool>()).prop_map(|(action, killed)| Step::End { action, killed }),
        1 => index.clone().prop_map(Step::Recycle),
        1 => index.clone().prop_map(Step::Detach),
        1 => index.clone().prop_map(Step::Attach),
        1 => index.prop_map(Step::Sicken),
        1 => Just(Step::Restart),
    ]
}

/// What the store would hold, and what a bystander knows.
struct World {
    gate: Arc<Gate>,
    limits: Limits,
    /// Two names of one process are two targets; each belongs to a group of its own platform.
    targets: Vec<Target>,
    away: Vec<bool>,
    permits: Vec<(ActionStatus, Permit)>,
    over: Vec<ActionStatus>,
    /// Experiments that are not over.
    experiments: Vec<(String, Target, Engaged)>,
    /// Incarnations that were killed.
    killed: HashMap<String, String>,
}

impl World {
    fn new(sizes: &[usize], limits: Limits) -> Self {
        let (gate, workers) = gate_with(sizes, limits);
        let mut targets: Vec<Target> = workers.iter().map(|target| Target::clone(target)).collect();
        // Every worker is seen as a process too, all of them in one group.
        let twins = targets.clone().into_iter().map(|target| Target {
            id: target.id.replace("worker", "process"),
            platform_type: "ProcessPlatform".to_owned(),
            aggregation_identifier: "all".to_owned(),
            ..target
        });
        targets.extend(twins);
        for target in &targets {
            gate.fleet.put_target(Arc::new(target.clone()));
        }
        let away = vec![false; targets.len()];
        Self {
            gate,
            limits,
            targets,
            away,
            permits: Vec::new(),
            over: Vec::new(),
            experiments: Vec::new(),
            killed: HashMap::new(),
        }
    }

    fn take(&mut self, number: usize, step: Step) {
        let count = self.targets.len();
        match step {
            Step::Admit { target, killing } => self.admit(number, target % count, killing),
            Step::Build { targets, more_survivors } => {
                self.build(number, targets.into_iter().map(|target| target % count), more_survivors);
            }
            Step::Conclude(index) if !self.experiments.is_empty() => {
                drop(self.experiments.swap_remove(index % self.experiments.len()));
            }
            Step::End { action, killed } if !self.permits.is_empty() => {
                let (mut status, permit) = self.permits.swap_remove(action % self.permits.len());
                if killed && status.action == Some(kill()) {
                    let target = Target {
                        id: status.target_id.clone(),
                        incarnation: status.incarnation.clone(),
                        ..Target::default()
                    };
                    status.result = super::killed(&target).result;
                    self.killed.insert(status.target_id.clone(), status.incarnation.clone());
                }
                status.state = ActionState::Done.into();
                permit.ended(&status);
                self.over.push(status);
            }
            Step::Recycle(index) => {
                self.targets[index % count].incarnation = format!("9{number}:1");
                self.tell(index % count);
            }
            Step::Sicken(index) => {
                self.targets[index % count].health = Health::Unknown.into();
                self.tell(index % count);
            }
            Step::Detach(index) => {
                self.away[index % count] = true;
                self.gate.fleet.drop_target(&self.targets[index % count].id);
            }
            Step::Attach(index) => {
                self.away[index % count] = false;
                self.targets[index % count].health = Health::Normal.into();
                self.tell(index % count);
            }
            Step::Restart => self.restart(),
            Step::End { .. } | Step::Conclude(_) => {}
        }
    }

    fn tell(&self, index: usize) {
        if !self.away[index] {
            self.gate.fleet.put_target(Arc::new(self.targets[index].clone()));
        }
    }

    fn admit(&mut self, number: usize, index: usize, killing: bool) {
        if self.away[index] {
            return;
        }
        let target = Arc::new(self.targets[index].clone());
        let action = if killing { kill() } else { delay() };
        let Ok(permit) = self.gate.admit(&number.to_string(), &target, &action) else { return };
        let status = ActionStatus {
            id: number.to_string(),
            action: Some(action),
            group_size: permit.group_size().try_into().unwrap(),
            result: None,
            state: ActionState::Started.into(),
            ..super::killed(&target)
        };
        self.permits.push((status, permit));
        self.check(&target);
    }

    /// All of a suite, or none of it.
    fn build(&mut self, number: usize, targets: impl Iterator<Item = usize>, more_survivors: usize) {
        let here = targets.filter(|index| !self.away[*index]);
        let targets: Vec<_> = here.map(|index| Arc::new(self.targets[index].clone())).collect();
        let id = |index: usize| format!("experiment {number}/{index}");
        let wanted: Vec<_> =
            targets.iter().enumerate().map(|(index, target)| (id(index), target.clone())).collect();
        let min_survivors = self.limits.min_survivors + more_survivors;
        let before: Vec<_> = targets.iter().map(|target| self.gate.is_under_fault(&target.id)).collect();
        let Ok(engaged) = self.gate.engage(&wanted, min_survivors) else {
            let after: Vec<_> = targets.iter().map(|target| self.gate.is_under_fault(&target.id)).collect();
            assert_eq!(before, after, "a suite that was refused leaves nothing behind");
            return;
        };
        for ((id, target), engaged) in wanted.into_iter().zip(engaged) {
            assert!(!self.is_hurt(&target), "{} takes part already", target.id);
            self.experiments.push((id, Target::clone(&target), engaged));
        }
        targets.iter().for_each(|target| self.check(target));
    }

    /// A start that knows what the store has, and to which everybody comes back who was there.
    fn restart(&mut self) {
        let (gate, _) = gate_with(&[], self.limits);
        for status in self.over.iter().chain(self.permits.iter().map(|(status, _)| status)) {
            gate.remember(status);
        }
        for (status, permit) in &mut self.permits {
            *permit = gate.adopt(status);
        }
        for (id, target, engaged) in &mut self.experiments {
            *engaged = gate.engage_again(id, target);
        }
        self.gate = gate;
        (0..self.targets.len()).for_each(|index| self.tell(index));
    }

    fn is_hurt(&self, member: &Target) -> bool {
        // By its own name, or as the same process under another.
        let is = |id: &str, incarnation: &str| id == member.id || incarnation == member.incarnation;
        self.permits.iter().any(|(status, _)| is(&status.target_id, &status.incarnation))
            || self.experiments.iter().any(|(_, target, _)| is(&target.id, &target.incarnation))
    }

    /// An action was just admitted on the target: the limits hold for every group that its process is in.
    fn check(&self, hit: &Target) {
        assert!(self.permits.len() <= self.limits.max_faults);
        for group in self.gate.fleet.groups_of(hit) {
            let of_group = |target: &&Target| target.aggregation_identifier == group.key.1;
            let here =
                self.targets.iter().zip(&self.away).filter(|(_, away)| !**away).map(|(target, _)| target);
            let members: Vec<_> = here.filter(of_group).collect();
            let survivors = members.iter().filter(|member| {
                member.health() == Health::Normal
                    && self.killed.get(&member.id) != Some(&member.incarnation)
                    && !self.is_hurt(member)
            });
            let survivors = survivors.count();
            let all = members.len();
            assert!(all < 2 || survivors >= self.limits.min_survivors, "{group:?}: {survivors} of {all}");
            let faults =
                self.permits.iter().filter(|(status, _)| status.aggregation_identifier == group.key.1);
            assert!(faults.count() <= self.limits.max_faults_per_group, "{group:?}");
            let share = (group.peak * usize::from(self.limits.max_percent) / 100).max(1);
            assert!(group.peak - survivors <= share, "{group:?}: {survivors} of {}", group.peak);
        }
    }
}

proptest! {
    #[test]
    fn no_interleaving_takes_a_group_beyond_its_limits(
        sizes in prop::collection::vec(1usize..5, 1..4),
        (min_survivors, max_percent) in (1usize..3, 30u8..=100),
        (max_faults_per_group, max_faults) in (1usize..6, 1usize..10),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let limits = Limits { min_survivors, max_percent, max_faults_per_group, max_faults };
        let mut world = World::new(&sizes, limits);
        for (number, step) in steps.into_iter().enumerate() {
            world.take(number, step);
        }
    }
}
