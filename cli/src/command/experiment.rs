//! `kittyctl experiment …`

mod compare;
mod document;
mod follow;

use std::process::ExitCode;

use chaos_kitty::{
    Problem, Timestamp,
    v1::{
        BuildExperimentResponse, Experiment, ExperimentSuite, GetExperimentHistoryRequest,
        GetExperimentRequest, GetSuiteRecordRequest, HistoryEntry, ListExperimentMethodsRequest,
        ListExperimentMethodsResponse, ListExperimentsRequest, ListExperimentsResponse,
        StartExperimentRequest, StopExperimentRequest, SuiteRecord,
    },
};

use super::pages;
use crate::{
    args::{BuildArgs, ExperimentCommand, Format, Global, How},
    failure::Outcome,
    output::{Output, PastSuite, View, text, verdict_told},
    session::Session,
};
use compare::Comparison;

pub(super) async fn run(command: ExperimentCommand, global: &Global, out: &Output) -> Outcome {
    let open = async || Session::open(global).await;
    match command {
        ExperimentCommand::Build(BuildArgs { file, seed, how }) => {
            // Read before the server is asked for: what can not be read is wrong usage, whoever is there.
            let document = document::read(&file)?;
            let suite = ExperimentSuite { seed: seed.or(document.seed), ..document };
            build(&open().await?, suite, how, out).await
        }
        ExperimentCommand::Start { target, wait } => start(&open().await?, target, wait, out).await,
        ExperimentCommand::Replay { timestamp, same, how } => {
            let session = open().await?;
            let record = record(&session, timestamp).await?;
            build(&session, again(record, same), how, out).await
        }
        ExperimentCommand::Watch { id } => {
            let session = open().await?;
            let experiment = get(&session, id).await?;
            follow::follow(&session, out, &[experiment], None).await
        }
        ExperimentCommand::List { all, limit } => list(&open().await?, all, limit as usize, out).await,
        ExperimentCommand::Get { id } => {
            let session = open().await?;
            let experiment = get(&session, id).await?;
            out.view(&experiment)?;
            tell_verdict(&session, &experiment, out).await
        }
        ExperimentCommand::Stop { id } => stop(&open().await?, id, out).await,
        ExperimentCommand::Methods { platform } => methods(&open().await?, platform, out).await,
        ExperimentCommand::History { limit } => history(&open().await?, limit as usize, out).await,
        ExperimentCommand::Record { timestamp } => shown(out, &record(&open().await?, timestamp).await?),
        ExperimentCommand::Diff { a, b } => diff(&open().await?, a, b, out).await,
    }
}

/// Has a suite built, and followed where that was asked for.
async fn build(session: &Session, mut suite: ExperimentSuite, how: How, out: &Output) -> Outcome {
    suite.dry_run |= how.dry_run;
    let response = session.answer(session.client.clone().build_experiment(suite)).await?;
    built(session, &response, how.wait, out).await
}

/// Shows what was built. Of a dry run that is nothing, so nothing can be waited for.
async fn built(session: &Session, response: &BuildExperimentResponse, wait: bool, out: &Output) -> Outcome {
    let seed = response.seed;
    if response.suite.is_none() {
        out.say(&format!("dry run: nothing was started; --seed {seed} makes the same choice"));
    } else {
        let at = text::moment(response.suite.as_ref());
        out.say(&format!("suite {at}, seed {seed}"));
        if wait {
            return follow::follow(session, out, &response.experiments, response.suite).await;
        }
    }
    if response.shortened > 0 {
        let shortened = response.shortened;
        out.say(&format!("of {shortened} experiments only id and method fit the answer; `kittyctl experiment list` shows them"));
    }
    out.list(response, &response.experiments)?;
    Ok(ExitCode::SUCCESS)
}

/// Has experiments started as the scheduler would.
async fn start(session: &Session, target: Option<String>, wait: bool, out: &Output) -> Outcome {
    let request = StartExperimentRequest { target: target.unwrap_or_default() };
    let response = session.answer(session.client.clone().start_experiment(request)).await?;
    built(session, &response, wait, out).await
}

async fn list(session: &Session, all: bool, limit: usize, out: &Output) -> Outcome {
    let (experiments, next_page_token) = pages::first(limit, async |page_size, page_token| {
        let request = ListExperimentsRequest { all, page_size, page_token };
        let page = session.answer(session.client.clone().list_experiments(request)).await?;
        Ok((page.experiments, page.next_page_token))
    })
    .await?;
    let response = ListExperimentsResponse { experiments, next_page_token };
    out.list(&response, &response.experiments)?;
    tell_more(&response.next_page_token, out);
    Ok(ExitCode::SUCCESS)
}

async fn get(session: &Session, id: String) -> Result<Experiment, Problem> {
    session.answer(session.client.clone().get_experiment(GetExperimentRequest { id })).await
}

async fn stop(session: &Session, id: String, out: &Output) -> Outcome {
    let request = StopExperimentRequest { id };
    out.one(&session.answer(session.client.clone().stop_experiment(request)).await?)?;
    Ok(ExitCode::SUCCESS)
}

async fn methods(session: &Session, platform: Option<String>, out: &Output) -> Outcome {
    let platform_type = platform.unwrap_or_default();
    let methods = pages::all(async |page_size, page_token| {
        let request =
            ListExperimentMethodsRequest { platform_type: platform_type.clone(), page_size, page_token };
        let page = session.answer(session.client.clone().list_experiment_methods(request)).await?;
        Ok((page.methods, page.next_page_token))
    })
    .await?;
    let response = ListExperimentMethodsResponse { methods, ..Default::default() };
    out.list(&response, &response.methods)?;
    Ok(ExitCode::SUCCESS)
}

async fn history(session: &Session, limit: usize, out: &Output) -> Outcome {
    let (entries, more) = pages::first(limit, async |page_size, page_token| {
        let request = GetExperimentHistoryRequest { page_size, page_token };
        let page = session.answer(session.client.clone().get_experiment_history(request)).await?;
        Ok((page.suites, page.next_page_token))
    })
    .await?;
    let past = |entry: &HistoryEntry| PastSuite {
        at: text::moment(entry.at.as_ref()),
        suite: entry.suite.clone().unwrap_or_default(),
        verdict: entry.verdict(),
        reason: entry.verdict_reason.clone(),
    };
    let rows: Vec<_> = entries.iter().map(past).collect();
    out.list(&document::BareHistory(&entries), &rows)?;
    tell_more(&more, out);
    Ok(ExitCode::SUCCESS)
}

async fn diff(session: &Session, a: Timestamp, b: Timestamp, out: &Output) -> Outcome {
    let (a, b) = (record(session, a).await?, record(session, b).await?);
    let comparison = Comparison::of(&a, &b);
    out.list(&comparison, &comparison.aspects)?;
    if out.format() == Format::Table {
        out.raw(&format!("\n{}\n", comparison.verdict()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(out: &Output, message: &impl View) -> Outcome {
    out.view(message)?;
    Ok(ExitCode::SUCCESS)
}

/// Says, for people, what came of the suite of an experiment.
async fn tell_verdict(session: &Session, experiment: &Experiment, out: &Output) -> Outcome {
    if let (Format::Table, Some(at)) = (out.format(), experiment.suite) {
        let record = record(session, at).await?;
        let told = verdict_told(record.verdict(), &record.verdict_reason);
        if !told.is_empty() {
            out.raw(&format!("\nits suite is {}\n", text::printable(&told)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A list that was cut says so.
fn tell_more(next_page_token: &str, out: &Output) {
    if !next_page_token.is_empty() {
        out.say("there are more; --limit shows them");
    }
}

async fn record(session: &Session, at: Timestamp) -> Result<SuiteRecord, Problem> {
    session.answer(session.client.clone().get_suite_record(GetSuiteRecordRequest { at: Some(at) })).await
}

/// The suite that builds the like of a recorded one; with the same random seed, on the same roster, the same.
fn again(record: SuiteRecord, same: bool) -> ExperimentSuite {
    let suite = record.suite.unwrap_or_default();
    ExperimentSuite { seed: if same { Some(record.seed) } else { suite.seed }, dry_run: false, ..suite }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_has_the_documents_seed_or_the_recorded_one() {
        let suite = ExperimentSuite { name: "friday".to_owned(), ..Default::default() };
        let record = |seed| SuiteRecord {
            suite: Some(ExperimentSuite { seed, ..suite.clone() }),
            seed: 7,
            ..Default::default()
        };
        assert_eq!(again(record(None), false), suite);
        assert_eq!(again(record(None), true).seed, Some(7));
        assert_eq!(again(record(Some(3)), false).seed, Some(3));
    }
}
