//! `kittyctl halt` and `kittyctl resume`

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{
        ActionStatus, HaltProgress, HaltRequest, ListActionsResponse, ResumeRequest,
        halt_progress::{Kind, Summary},
    },
};

use super::{
    action::{STUCK, is_stuck, tell_problem, tell_stuck},
    source,
};
use crate::{
    args::{Format, Global},
    failure::Outcome,
    output::{Output, text},
    session::Session,
};

/// Longest wait for the summary of a halt. Long past any lease's end the server has nothing more to wait for.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn halt(reason: Option<String>, global: &Global, out: &Output) -> Outcome {
    let session = Session::open(global).await?;
    let request = HaltRequest { reason: reason.unwrap_or_default(), source: source() };
    let patience = session.patience(PATIENCE);
    let watch = watch(&session, request, out);
    let (summary, stuck) = tokio::time::timeout(patience, watch)
        .await
        .unwrap_or_else(|_| Err(session.silent(patience).into()))?;
    for line in unreached(&summary) {
        out.say(&line);
    }
    let unnamed = (summary.unreached_total as usize).saturating_sub(summary.unreached.len());
    if unnamed > 0 {
        out.say(&format!("not reached: {unnamed} more; see `kittyctl agent list`"));
    }
    Ok(match (is_clean(&summary), stuck) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::from(STUCK),
        (false, false) => ExitCode::FAILURE,
    })
}

/// Shows the stream and answers with its last word, and whether a fault waits for a person.
async fn watch(
    session: &Session,
    request: HaltRequest,
    out: &Output,
) -> Result<(Summary, bool), crate::failure::Failure> {
    let mut stream = session.client.clone().halt(request).await?.into_inner();
    let mut progress = out.progress();
    let mut faults = BTreeMap::<String, ActionStatus>::new();
    let mut summary = None;
    while let Some(message) = stream.message().await.map_err(Problem::of_stream)? {
        out.streamed(&message)?;
        match message {
            HaltProgress { kind: Some(Kind::Action(action)) } => {
                progress.update(&action);
                if faults.insert(action.id.clone(), action.clone()).is_none() && out.format() == Format::Name
                {
                    out.raw(&format!("{}\n", action.id))?;
                }
            }
            HaltProgress { kind: Some(Kind::Summary(last)) } => summary = Some(last),
            HaltProgress { kind: None } => {}
        }
    }
    progress.end();
    let stuck: Vec<_> = faults.values().filter(|action| is_stuck(action)).cloned().collect();
    let summary = summary.ok_or_else(|| {
        Problem::new(Code::ConnectionLost, "halting: the answer ended without its summary")
            .hint("look at `kittyctl status`; halting again does no harm")
    })?;
    if out.format() == Format::Table {
        let actions: Vec<ActionStatus> = faults.into_values().collect();
        if !actions.is_empty() {
            out.list(&ListActionsResponse::default(), &actions)?;
        }
        out.raw(&format!("{}\n", sentence(&summary)))?;
    }
    for action in &stuck {
        tell_problem(action, out);
        tell_stuck(action, out);
    }
    Ok((summary, !stuck.is_empty()))
}

/// Whether it is known that nothing is left anywhere.
fn is_clean(summary: &Summary) -> bool {
    summary.left == 0 && summary.unreached.is_empty()
}

fn sentence(summary: &Summary) -> String {
    let took = text::measured(summary.took.as_ref());
    let Summary { reverted, ended, left, .. } = summary;
    format!(
        "halted in {took}: {reverted} reverted, {ended} ended otherwise, {left} left; `kittyctl resume` ends the halt"
    )
}

fn unreached(summary: &Summary) -> Vec<String> {
    let line = |agent: &chaos_kitty::v1::halt_progress::Unreached| {
        let name = text::printable(&agent.agent_id);
        let end = text::time(agent.ends_at.as_ref());
        let by = if end.is_empty() { String::new() } else { format!(", which its lease ends by {end}") };
        format!("not reached: {name}, with {} faults{by}", agent.active)
    };
    summary.unreached.iter().map(line).collect()
}

pub(super) async fn resume(global: &Global, out: &Output) -> Outcome {
    let session = Session::open(global).await?;
    let request = ResumeRequest { source: source() };
    let response = session.answer(session.client.clone().resume(request)).await?;
    let sentence = if response.was_halted { "resumed: faults are admitted" } else { "it was not halted" };
    out.sentence(&response, sentence)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use chaos_kitty::v1::halt_progress::Unreached;

    use super::*;

    #[test]
    fn a_halt_that_left_or_missed_something_is_no_success() {
        assert!(is_clean(&Summary { reverted: 3, ended: 1, ..Default::default() }));
        assert!(!is_clean(&Summary { left: 1, ..Default::default() }));
        let missed = Summary {
            unreached: vec![Unreached { agent_id: "web-1".into(), active: 2, ends_at: None }],
            ..Default::default()
        };
        assert!(!is_clean(&missed));
        assert_eq!(unreached(&missed), ["not reached: web-1, with 2 faults"]);
    }
}
