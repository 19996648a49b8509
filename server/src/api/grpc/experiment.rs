use chaos_kitty::{
    Problem,
    page::{self, PAGE_BYTES, Page},
    v1::{
        BuildExperimentResponse, Experiment, GetSuiteRecordRequest, ListExperimentMethodsRequest,
        ListExperimentMethodsResponse, SuiteRecord,
    },
};
use futures_util::{StreamExt, stream::BoxStream};
use prost::Message;
use tonic::Status;

use super::{Service, heartbeat::beating};

/// Longest name of a method in a shortened experiment, in bytes.
const METHOD: usize = 64;

pub(super) async fn record(
    service: &Service,
    request: GetSuiteRecordRequest,
) -> Result<SuiteRecord, Problem> {
    let at = request.at.ok_or_else(|| {
        Problem::invalid("at", "it is missing").hint("give a suite's time; see `kittyctl experiment history`")
    })?;
    Ok(fitting(service.experiments.record_of(at).await?))
}

/// An answer with as many whole experiments as fit; the rest have their id and method.
pub(super) fn built(mut response: BuildExperimentResponse) -> BuildExperimentResponse {
    response.shortened = shorten(&mut response.experiments);
    response
}

/// Leaves of the last ones no more than id and method, where all of them would not fit an answer. Gives how many.
fn shorten(experiments: &mut [Experiment]) -> u32 {
    let (mut bytes, mut shortened) = (0, 0);
    for experiment in experiments {
        bytes += experiment.encoded_len();
        if bytes > PAGE_BYTES {
            shortened += 1;
            *experiment = Experiment {
                id: page::cut(&experiment.id),
                experiment_method_name: page::cut_to(&experiment.experiment_method_name, METHOD),
                ..Experiment::default()
            };
        }
    }
    shortened
}

/// A record that fits an answer, whatever agents said when it was made; it says what is left out.
fn fitting(mut record: SuiteRecord) -> SuiteRecord {
    let mut left_out = Vec::new();
    let mut note = |count: usize, what: &str| {
        if count > 0 {
            left_out.push(format!("{count} {what}"));
        }
    };
    if record.suite.as_ref().is_some_and(|suite| page::unfit(suite, PAGE_BYTES).is_some()) {
        record.suite = None;
        note(1, "suite: it cannot be shown");
    }
    let shortened = shorten(&mut record.experiments);
    note(shortened as usize, "experiments have only their id and method");
    for experiment in &mut record.experiments {
        *experiment = page::shown(std::mem::take(experiment)).0;
    }
    for agent in &mut record.agents {
        *agent = page::shown(std::mem::take(agent)).0;
    }
    note(keep(&mut record.agents), "agents");
    note(keep(&mut record.groups), "groups");
    note(keep(&mut record.probes), "changes of probes");
    record.left_out = left_out;
    record
}

/// Drops the last ones beyond a quarter of a page. Gives how many.
fn keep<M: Message>(messages: &mut Vec<M>) -> usize {
    let (before, mut room) = (messages.len(), PAGE_BYTES / 4);
    let fits = |message: &M| {
        let size = message.encoded_len();
        room = room.checked_sub(size)?;
        Some(())
    };
    let kept = messages.iter().map_while(fits).count();
    messages.truncate(kept);
    before - kept
}

pub(super) async fn watch(
    service: &Service,
    id: &str,
) -> Result<BoxStream<'static, Result<Experiment, Status>>, Problem> {
    let changes = service.experiments.watch(id).await?.map(|experiment| Ok(page::shown(experiment).0));
    Ok(beating(changes, service.heartbeat, None, Experiment::clone))
}

pub(super) fn methods(
    service: &Service,
    request: ListExperimentMethodsRequest,
) -> ListExperimentMethodsResponse {
    let ListExperimentMethodsRequest { platform_type, page_size, page_token } = request;
    let mut all = service.experiments.list_methods(&platform_type);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let (methods, next_page_token) = service.page(Page::after(&page_token, all, page_size));
    ListExperimentMethodsResponse { methods, next_page_token }
}

#[cfg(test)]
mod tests {
    use chaos_kitty::{
        Timestamp, limits,
        v1::{Agent, ExperimentSuite, Target, suite_record::Group},
    };

    use super::*;

    fn experiments(count: usize) -> Vec<Experiment> {
        let of = |number: usize| Experiment {
            id: format!("{number:036}"),
            experiment_method_name: "delay".to_owned(),
            container: Some(Target { incarnation: "x".repeat(2000), ..Target::default() }),
            ..Experiment::default()
        };
        (0..count).map(of).collect()
    }

    #[test]
    fn all_experiments_of_the_largest_suite_are_named_in_its_answer() {
        let response = BuildExperimentResponse { experiments: experiments(10_000), ..Default::default() };
        let answer = built(response);
        assert!(answer.encoded_len() < limits::MESSAGE_BYTES / 2, "{}", answer.encoded_len());
        let whole = answer.experiments.iter().filter(|experiment| experiment.container.is_some()).count();
        assert_eq!(whole + answer.shortened as usize, 10_000);
        assert!(whole > 400 && answer.experiments.iter().all(|experiment| experiment.id.len() == 36));
        assert_eq!(
            built(BuildExperimentResponse { experiments: experiments(10), ..Default::default() }).shortened,
            0
        );
    }

    #[test]
    fn a_record_fits_an_answer_and_says_what_is_left_out() {
        let agent = Agent { version: "x".repeat(3 << 20), ..Agent::default() };
        let record = SuiteRecord {
            suite: Some(ExperimentSuite { name: "x".repeat(2 << 20), ..Default::default() }),
            experiments: experiments(10_000),
            agents: vec![agent; 3],
            groups: vec![Group { targets: vec!["x".repeat(100); 1000], ..Group::default() }; 5],
            ..SuiteRecord::default()
        };
        let shown = fitting(record);
        assert!(shown.encoded_len() < limits::MESSAGE_BYTES, "{}", shown.encoded_len());
        assert_eq!(shown.left_out.len(), 3, "{:?}", shown.left_out);
        assert!(shown.agents.iter().all(|agent| agent.problem.is_some()));
        let late = Some(Timestamp { seconds: i64::MAX, nanos: 0 });
        let unclear = Experiment { start_time: late, ..Experiment::default() };
        let shown = fitting(SuiteRecord { experiments: vec![unclear], ..Default::default() });
        serde_json::to_string(&shown).unwrap();
    }
}
