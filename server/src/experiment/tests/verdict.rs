//! What comes of whole suites, and agents that are away meanwhile.

use chaos_kitty::v1::{
    GetExperimentHistoryRequest, Probe, SuiteRecord, TcpProbe, action_state::Name as ActionState,
    end_reason::Name as Reason, probe::Kind, verdict::Name as Verdict,
};
use tokio::net::TcpListener;

use super::*;

/// The record of the only suite.
async fn record(world: &World) -> SuiteRecord {
    let history = world.experiments().history(&GetExperimentHistoryRequest::default()).await.unwrap();
    let [entry] = &history.entries[..] else { panic!("{history:?}") };
    let record = world.experiments().record_of(entry.at.unwrap()).await.unwrap();
    assert_eq!((entry.verdict(), &entry.verdict_reason), (record.verdict(), &record.verdict_reason));
    record
}

/// An address where something listens until it is dropped.
async fn service() -> (TcpListener, Probe) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (
        listener,
        Probe { name: "page".to_owned(), kind: Some(Kind::Tcp(TcpProbe { address })), ..Default::default() },
    )
}

#[test]
fn a_suite_runs_and_then_has_passed_also_after_a_restart() {
    at_once(async {
        let world = World::start(4).await;
        world.experiments().build(suite(&["delay", "delay"])).await.unwrap();
        sleep(Duration::from_secs(20)).await;
        assert_eq!(record(&world).await.verdict(), Verdict::Running);
        world.restart().await;
        sleep(LONG).await;
        let record = record(&world).await;
        assert_eq!(record.verdict(), Verdict::Passed, "{}", record.verdict_reason);
        assert_eq!(record.experiments.len(), 2);
    });
}

#[test]
fn a_suite_whose_last_experiment_ended_with_the_server_is_judged_later() {
    at_once(async {
        let world = World::start(4).await;
        world.experiments().build(suite(&["delay"])).await.unwrap();
        sleep(LONG).await;
        let mut unjudged = record(&world).await;
        unjudged.verdict = Verdict::Running.into();
        unjudged.experiments.clear();
        world.store().put_suite_record(&unjudged).await.unwrap();
        world.restart().await;
        sleep(LONG).await;
        assert_eq!(record(&world).await.verdict(), Verdict::Passed);
    });
}

#[test]
fn a_steady_state_that_breaks_while_or_after_it_runs_fails_the_suite() {
    for (broken_after, word) in [(20, "while"), (10_000, "after")] {
        at_once(async {
            let world = World::start(4).await;
            let (listener, probe) = service().await;
            let steady = ExperimentSuite { steady_state: vec![probe], ..suite(&["delay"]) };
            world.experiments().build(steady).await.unwrap();
            let wait = Duration::from_secs(broken_after);
            // What breaks as the last experiment ends is seen by the last look.
            let over = async {
                while world.experiments().count() > 0 {
                    sleep(Duration::from_millis(100)).await
                }
            };
            tokio::select! { () = sleep(wait) => {}, () = over => {} }
            drop(listener);
            sleep(LONG).await;
            let record = record(&world).await;
            assert_eq!(record.verdict(), Verdict::Failed, "{word}: {record:?}");
            assert!(record.verdict_reason.contains("\"page\" did not hold"), "{}", record.verdict_reason);
            assert_eq!(record.experiments[0].experiment_state(), State::Finished);
        });
    }
}

#[test]
fn a_stop_condition_aborts_the_suite_and_is_named() {
    at_once(async {
        let world = World::start(4).await;
        let (listener, probe) = service().await;
        let stopped = ExperimentSuite { stop_conditions: vec![probe], ..suite(&["delay", "delay"]) };
        world.experiments().build(stopped).await.unwrap();
        sleep(Duration::from_secs(20)).await;
        drop(listener);
        sleep(LONG).await;
        let record = record(&world).await;
        assert_eq!(record.verdict(), Verdict::Aborted, "{record:?}");
        assert!(record.verdict_reason.contains("stop condition \"page\""), "{}", record.verdict_reason);
        assert!(record.experiments.iter().all(|it| it.aborted().contains("\"page\"")), "{record:?}");
    });
}

#[test]
fn what_a_person_stops_is_aborted() {
    at_once(async {
        let world = World::start(4).await;
        let id = world.experiments().build(suite(&["delay"])).await.unwrap().experiments[0].id.clone();
        sleep(Duration::from_secs(20)).await;
        world.experiments().stop(&id).await.unwrap();
        sleep(LONG).await;
        let record = record(&world).await;
        assert_eq!(
            (record.verdict(), record.experiments[0].experiment_state()),
            (Verdict::Aborted, State::Finished)
        );
        assert!(record.verdict_reason.contains("it was stopped"), "{}", record.verdict_reason);
    });
}

#[test]
fn a_fault_that_breaks_off_fails_and_the_suite_errored() {
    at_once(async {
        let world = World::start(4).await;
        world.experiments().build(suite(&["delay"])).await.unwrap();
        sleep(Duration::from_secs(20)).await;
        world.report(|status| {
            status.state = ActionState::Failed.into();
            status.problem = Some(chaos_kitty::Problem::new(Code::BrokeOff, "exit code 137").into());
        });
        sleep(LONG).await;
        let record = record(&world).await;
        assert_eq!(
            (record.verdict(), record.experiments[0].experiment_state()),
            (Verdict::Errored, State::Failed)
        );
        assert!(record.verdict_reason.contains("exit code 137"), "{}", record.verdict_reason);
    });
}

#[test]
fn a_restart_while_the_agent_is_away_ends_nothing() {
    at_once(async {
        let world = World::start(4).await;
        world.experiments().build(suite(&["delay"])).await.unwrap();
        sleep(Duration::from_secs(20)).await;
        world.leave(true);
        world.restart().await;
        // Its lease is over, which nobody saw.
        world.report(|status| {
            status.state = ActionState::Failed.into();
            status.end_reason = Reason::Lease.into();
            status.assumed = true;
            status.problem = Some(chaos_kitty::Problem::new(Code::NoAnswer, "unseen").into());
        });
        sleep(Duration::from_secs(120)).await;
        let away = world.experiments().active().remove(0);
        assert_eq!(away.experiment_state(), State::Started, "{away:?}");
        assert!(away.transitions.last().unwrap().reason.contains("away"), "{away:?}");
        world.leave(false);
        sleep(LONG).await;
        let record = record(&world).await;
        assert_eq!(record.experiments[0].experiment_state(), State::Finished, "{record:?}");
        assert_eq!((record.experiments[0].self_healing_counter, record.verdict()), (0, Verdict::Errored));
        assert!(record.verdict_reason.contains("lease"), "{}", record.verdict_reason);
    });
}

#[test]
fn an_agent_that_stays_away_is_told_apart_from_a_target_that_is_gone() {
    for (gone, code, verdict) in
        [(false, Code::TargetAway, Verdict::Errored), (true, Code::HealingFailed, Verdict::Failed)]
    {
        at_once(async {
            let world = World::start(4).await;
            let built = world.experiments().build(suite(&["delay"])).await.unwrap();
            sleep(Duration::from_secs(20)).await;
            match gone {
                true => world.lose(&built.experiments[0].container.as_ref().unwrap().id),
                false => world.leave(true),
            }
            sleep(LONG).await;
            let record = record(&world).await;
            let problem = record.experiments[0].problem.clone().unwrap();
            assert_eq!((problem.code, record.verdict()), (code.number(), verdict), "{record:?}");
        });
    }
}
