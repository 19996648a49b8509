use chaos_kitty::{
    Code,
    v1::{
        RunStep, StepResult,
        run_step::{Kind as Step, Recycle},
    },
};
use tokio::sync::mpsc;

use super::{super::*, bench::*};

fn recycle() -> Step {
    Step::Recycle(Recycle {})
}

fn ordered(id: &str, target: &str, kind: Step, timeout: Duration) -> RunStep {
    RunStep {
        step_id: id.to_owned(),
        target_id: target.to_owned(),
        incarnation: "1".to_owned(),
        timeout: Some(timeout.into()),
        kind: Some(kind),
        ..RunStep::default()
    }
}

impl Bench {
    async fn step(&self, id: &str, target: &str, kind: Step) -> StepResult {
        self.step_within(ordered(id, target, kind, PATIENCE)).await
    }

    async fn step_within(&self, order: RunStep) -> StepResult {
        let (sender, mut answers) = mpsc::channel(1);
        self.executor.step(order, sender);
        tokio::time::timeout(PATIENCE, answers.recv()).await.unwrap().unwrap()
    }

    fn cattle(&self, id: &str) -> Victim {
        let victim = Victim::start();
        let mut subject = victim.subject(id);
        subject.target.cattle = true;
        self.offer(subject);
        victim
    }
}

fn code(result: &StepResult) -> Option<Code> {
    result.problem.as_ref().and_then(|problem| Code::from_number(problem.code))
}

#[tokio::test]
async fn cattle_is_recycled_once_however_often_it_is_asked_for() {
    let bench = Bench::start().await;
    let victim = bench.cattle("t");
    let first = bench.step("e/recycle/1", "t", recycle()).await;
    assert_eq!((code(&first), victim.process().has_ended()), (None, true));
    // The same id again lands on no other: it is answered as the first time.
    let other = bench.cattle("t");
    assert_eq!(bench.step("e/recycle/1", "t", recycle()).await, first);
    assert!(!other.process().has_ended());
    bench.step("e/recycle/2", "t", recycle()).await;
    assert!(other.process().has_ended());
}

#[tokio::test]
async fn what_may_not_be_recycled_stays_and_is_told_why() {
    let bench = Bench::start().await;
    let (pet, cattle) = (bench.victim("pet"), bench.cattle("cattle"));
    let answer = async |id: &str, order: RunStep| {
        code(&bench.step_within(RunStep { step_id: id.to_owned(), ..order }).await)
    };
    let order = |target: &str| ordered("", target, recycle(), PATIENCE);
    assert_eq!(answer("1", order("pet")).await, Some(Code::NotCattle));
    assert_eq!(answer("2", order("nobody")).await, Some(Code::TargetGone));
    let earlier = RunStep { incarnation: "0".to_owned(), ..order("cattle") };
    assert_eq!(answer("3", earlier).await, Some(Code::Recycled));
    bench.executor.latch();
    assert_eq!(answer("4", order("cattle")).await, Some(Code::Halted));
    assert!(!pet.process().has_ended() && !cattle.process().has_ended());
    bench.executor.unlatch();
    let whichever = RunStep { incarnation: String::new(), ..order("cattle") };
    assert_eq!(answer("5", whichever).await, None);
    assert!(cattle.process().has_ended());
}

#[tokio::test]
async fn a_step_that_an_earlier_agent_began_has_an_unknown_outcome_and_is_not_run_again() {
    let bench = Bench::start().await;
    let done = bench.cattle("t");
    let answered = bench.step("answered", "t", recycle()).await;
    drop(done);
    bench.executor.shared.steps.memory().begin("unanswered").unwrap();
    let bench = bench.again().await;
    let victim = bench.cattle("t");
    assert_eq!(bench.step("answered", "t", recycle()).await, answered);
    assert_eq!(code(&bench.step("unanswered", "t", recycle()).await), Some(Code::OutcomeUnknown));
    assert!(!victim.process().has_ended());
}
