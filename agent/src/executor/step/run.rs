//! What a step does.

use std::{
    io,
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use chaos_kitty::{
    Code, Problem,
    script::Header,
    v1::{
        RunStep, StepResult,
        action_kind::Name as Action,
        run_step::{Command as ProgramOrder, Kind, ScriptCommand, which::Name as Which},
    },
};
use tokio::{process::Command, time::timeout};

use super::super::{Shared, protected};
use crate::{
    platform::{Subject, recycle},
    stress::{
        command::{self, GRACE},
        place::Place,
        spawn::{Said, program},
    },
};

/// Longest time for a step where the order does not say.
const LIMIT: Duration = Duration::from_secs(30);

/// Longest time that any step may take.
const LONGEST: Duration = Duration::from_secs(3600);

/// Runs it to its end.
pub(super) async fn run(shared: &Arc<Shared>, order: &RunStep) -> Result<StepResult, Problem> {
    let asked = order.timeout.and_then(|limit| limit.try_into().ok()).unwrap_or(LIMIT);
    let limit: Duration = LONGEST.min(asked);
    let subject = find(shared, order)?;
    let id = order.step_id.clone();
    match &order.kind {
        Some(Kind::Recycle(_)) => {
            admit_recycle(shared, &subject)?;
            recycle::recycle(&subject, limit).await?;
            Ok(StepResult { step_id: id, ..StepResult::default() })
        }
        Some(Kind::Script(order)) => script(shared, &subject, order, id, limit).await,
        Some(Kind::Command(order)) => {
            shared.policy().allows_commands(&subject.target)?;
            let place = Place::of(None, false).map_err(Problem::internal)?;
            execute(&place, proper(order)?, id, limit).await
        }
        None => Err(Problem::new(Code::Unsupported, "a kind of step that this agent does not know")
            .hint("run an agent of the server's version")),
    }
}

fn find(shared: &Shared, order: &RunStep) -> Result<Arc<Subject>, Problem> {
    if shared.state().closing {
        return Err(Problem::new(Code::AgentUnreachable, "the agent is stopping"));
    }
    let id = &order.target_id;
    let subject = (shared.find)(id).ok_or_else(|| {
        Problem::new(Code::TargetGone, format!("there is no target {id} on this host any more"))
    })?;
    let now = &subject.target.incarnation;
    if !order.incarnation.is_empty() && *now != order.incarnation {
        let what = format!("{id} is {now} now, and the step is for {}", order.incarnation);
        return Err(Problem::new(Code::Recycled, what).hint("look at the targets again"));
    }
    Ok(subject)
}

/// Healing goes on while everything is halted, but ends no target.
fn admit_recycle(shared: &Shared, subject: &Subject) -> Result<(), Problem> {
    if shared.state().latched {
        return Err(Problem::new(Code::Halted, "the agent was halted, and recycles nothing")
            .hint("resume first: kittyctl resume"));
    }
    shared.policy().allows_on(Action::Kill, &subject.target)?;
    let own = [std::process::id(), shared.link.pid().unwrap_or_default()];
    subject.main.map_or(Ok(()), |main| protected::check(main.pid, &own))
}

/// A command of a script's header, in the header's own words.
async fn script(
    shared: &Shared,
    subject: &Subject,
    order: &ScriptCommand,
    id: String,
    limit: Duration,
) -> Result<StepResult, Problem> {
    shared.policy().allows_on(Action::Script, &subject.target)?;
    subject.has_its_processes_here("a script's command")?;
    let content = shared.state().scripts.content(&order.name, &order.hash)?;
    let header = Header::parse(&order.name, &content)?;
    let remedy = header.remedy.as_ref();
    let text = match order.which() {
        Which::HealthCheck => remedy.map(|remedy| &remedy.health_check),
        Which::SelfHealing => remedy.map(|remedy| &remedy.self_healing),
        Which::Finalize => header.finalize.as_ref(),
        Which::Unspecified => return Err(Problem::invalid("script.which", "it is missing")),
    };
    let text = text.ok_or_else(|| {
        let what = format!("script {} has no such command in its header ({:?})", order.name, order.which());
        Problem::new(Code::Unsupported, what).hint("write it there, or leave the step out")
    })?;
    let place = Place::of(subject.main, header.outside).map_err(|error| {
        Problem::new(Code::TargetGone, format!("looking at where {} is to run: {error}", order.name))
    })?;
    execute(&place, command::shell(text), id, limit).await
}

/// An absolute path and arguments that can be given to a program.
fn proper(order: &ProgramOrder) -> Result<Vec<String>, Problem> {
    match order.argv.first() {
        Some(program) if program.starts_with('/') => {}
        _ => return Err(Problem::invalid("command.argv", "it begins with the absolute path of a program")),
    }
    if order.argv.iter().any(|argument| argument.contains('\0')) {
        return Err(Problem::invalid("command.argv", "a NUL byte can not be given to a program"));
    }
    Ok(order.argv.clone())
}

/// Runs a program at a place: its exit code is what came of it, whatever it is.
async fn execute(
    place: &Place,
    argv: Vec<String>,
    id: String,
    limit: Duration,
) -> Result<StepResult, Problem> {
    let argv = command::argv(place, limit, &argv).map_err(Problem::internal)?;
    let output = timeout(limit + GRACE, output(&argv)).await;
    let output = output.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let output = output.map_err(|error| Problem::internal(format!("running a step: {error}")))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = output.stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    let said = last.and_then(|line| serde_json::from_slice(line).ok());
    let result = StepResult { step_id: id, output: text, ..StepResult::default() };
    match said {
        Some(Said::Exited { code: Some(code), .. }) => Ok(StepResult { exit_code: Some(code), ..result }),
        Some(Said::Exited { signal, .. }) => {
            let what = format!("the command was ended by signal {}", signal.unwrap_or_default());
            Ok(StepResult { problem: Some(Problem::new(Code::BrokeOff, what).into()), ..result })
        }
        Some(said) => Ok(StepResult { problem: Some(said.into_problem().into()), ..result }),
        None => Err(Problem::internal(format!("running a step ({}): {}", output.status, result.output))),
    }
}

/// Runs the child program that runs it.
async fn output(argv: &[String]) -> io::Result<Output> {
    let mut child = Command::new(program())
        .arg0("kitty-stress")
        .args(&argv[1..])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // Ends with this process, by which the child knows.
    let _pipe = child.stdin.take();
    child.wait_with_output().await
}
