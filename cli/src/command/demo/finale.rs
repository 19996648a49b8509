//! Halt and resume, and the proof that nothing is left.

use chaos_kitty::{
    Code, Problem,
    v1::{
        GetStatusRequest, HaltRequest, ListAgentsRequest, ResumeRequest, TriggerGc,
        action::Kind,
        action_state::Name as State,
        halt_progress::{self, Summary},
    },
};

use super::{
    call::{Call, problem_of},
    cast::Cast,
    gauge::{Gauge, descendants, request, state},
    program::{at_once, delay, held, memory},
    report::Report,
    wait::until,
};
use crate::output::text;

/// Faults that would last for a minute, and a halt.
///
/// # Errors
/// The demo itself can not go on.
pub(super) async fn halt(cast: &mut Cast) -> Result<Report, Problem> {
    cast.restart_ended().await?;
    let in_force = in_force(cast).await?;
    let request = HaltRequest { reason: "demo".to_owned(), source: "demo".to_owned() };
    let mut progress = cast.client.clone().halt(request).await?.into_inner();
    let mut summary = None;
    while let Some(message) = progress.message().await? {
        if let Some(halt_progress::Kind::Summary(last)) = message.kind {
            summary = Some(last);
        }
    }
    let summary =
        summary.ok_or_else(|| Problem::new(Code::Internal, "the halt ended without its summary"))?;
    let Summary { reverted, ended, left, .. } = &summary;
    let took = text::measured(summary.took.as_ref());
    let line = format!("{reverted} reverted, {ended} ended otherwise, {left} left, in {took}");
    let mut complaints = Vec::new();
    if (*reverted as usize) < in_force.len() {
        complaints.push(format!("{} faults were in force", in_force.len()));
    }
    if *left > 0 || !summary.unreached.is_empty() {
        complaints.push("something is left".to_owned());
    }
    for call in in_force {
        let end = call.end().await?;
        if end.state() != State::Reverted {
            complaints.push(format!("a fault ended {}: {}", end.state().as_str_name(), problem_of(&end)));
        }
    }
    Ok(Report::judged("halt, with a delay and memory in force for a minute", vec![line], complaints))
}

/// Operations are still running, and may hold or take down what is asked for: until it works.
async fn in_force(cast: &mut Cast) -> Result<Vec<Call>, Problem> {
    let mut calls = Vec::new();
    for (index, kind) in [(0, memory()), (1, delay())] {
        let call = until("a fault can be put in force between the operations' strikes", async || {
            cast.restart_ended().await.ok()?;
            let action = held(60_000, kind.clone());
            let call = Call::start(&cast.client, &cast.process_target(index), action).await.ok()?;
            (call.last().state() == State::Started).then_some(call)
        });
        calls.push(call.await?);
    }
    Ok(calls)
}

/// While it is halted, nothing is admitted.
///
/// # Errors
/// The demo itself can not go on.
pub(super) async fn refused_while_halted(cast: &Cast) -> Result<Report, Problem> {
    let title = "unleash while halted";
    match Call::start(&cast.client, cast.shop(0), at_once(Kind::Gc(TriggerGc {}))).await {
        Err(problem) if problem.code == Code::Halted => {
            Ok(Report::refused(title, vec![problem.message, problem.hint]))
        }
        Err(problem) => Ok(Report::failed(title, vec![problem.to_string()], "refused for another reason")),
        Ok(_) => Ok(Report::failed(title, Vec::new(), "it was admitted")),
    }
}

/// After it, everything is.
///
/// # Errors
/// The demo itself can not go on.
pub(super) async fn resume(cast: &mut Cast) -> Result<Report, Problem> {
    let answer = cast.client.clone().resume(ResumeRequest { source: "demo".to_owned() }).await?;
    cast.restart_ended().await?;
    let call = Call::start(&cast.client, cast.shop(0), at_once(Kind::Gc(TriggerGc {}))).await?;
    let end = call.end().await?;
    let mut complaints = Vec::new();
    if !answer.into_inner().was_halted {
        complaints.push("it had not been halted".to_owned());
    }
    if end.state() != State::Done {
        complaints.push(format!("the next action ended {}: {}", end.state().as_str_name(), problem_of(&end)));
    }
    Ok(Report::judged("resume, and faults are admitted again", Vec::new(), complaints))
}

/// How things were before the first fault.
#[derive(Debug)]
pub(super) struct Baseline {
    agent_children: usize,
    resident: f64,
}

/// What a service's memory may grow by through being used: far less than the demo's faults take.
const GROWTH: f64 = (32 << 20) as f64;

impl Baseline {
    /// Looks before the first fault.
    pub(super) async fn take(cast: &Cast) -> Self {
        let mut resident: f64 = 0.0;
        for index in 0..cast.shops() {
            resident = resident.max(Gauge::Resident.read(&cast.subject(index)).await);
        }
        Self { agent_children: descendants(cast.subject(0).agent).len(), resident }
    }
}

/// Looks everywhere where something could be left.
///
/// # Errors
/// The demo itself can not go on.
pub(super) async fn nothing_is_left(cast: &Cast, baseline: &Baseline) -> Result<Report, Problem> {
    let mut complaints = Vec::new();
    let mut lines = Vec::new();

    let stopped: Vec<u32> =
        cast.pids().into_iter().filter(|pid| matches!(state(*pid), Some('T' | 't') | None)).collect();
    lines.push(format!("{} processes, {} of them stopped or gone", cast.pids().len(), stopped.len()));
    if !stopped.is_empty() {
        complaints.push(format!("pids {stopped:?} do not run"));
    }

    let children = descendants(cast.subject(0).agent).len();
    lines.push(format!("{children} children of the agent, {} at the start", baseline.agent_children));
    if children > baseline.agent_children {
        complaints.push("a stressor is left".to_owned());
    }

    let mut resident: f64 = 0.0;
    for index in 0..cast.shops() {
        let subject = cast.subject(index);
        resident = resident.max(Gauge::Resident.read(&subject).await);
        if !request(subject.http).await {
            complaints.push(format!("{} does not answer", cast.shop(index)));
        }
    }
    let show = |value| Gauge::Resident.show(value);
    lines.push(format!(
        "memory of a service {} at the most, {} at the start",
        show(resident),
        show(baseline.resident)
    ));
    if resident > baseline.resident + GROWTH {
        complaints.push("memory was not given back".to_owned());
    }

    let (active, held) = reported(cast).await?;
    lines.push(format!("{active} faults in force by the server's word, {held} held by the agents' word"));
    if active > 0 || held > 0 {
        complaints.push("faults are reported to be in force".to_owned());
    }
    Ok(Report::judged("nothing is left", lines, complaints))
}

/// Faults in force as the server has it, and as the agents and workers report.
async fn reported(cast: &Cast) -> Result<(usize, u32), Problem> {
    let status = cast.client.clone().get_status(GetStatusRequest {}).await?.into_inner();
    let agents = cast.client.clone().list_agents(ListAgentsRequest::default()).await?.into_inner().agents;
    Ok((status.active.len(), agents.iter().map(|agent| agent.active).sum()))
}
