//! What was: suites and their records; and how experiments are listed, followed and stopped.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use chaos_kitty::{
    Code, Problem, Timestamp,
    page::Page,
    v1::{
        Experiment, GetExperimentHistoryRequest, HistoryEntry, ListExperimentsRequest, SuiteRecord,
        experiment_state::Name as State, verdict::Name as Verdict,
    },
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::timeout;

use crate::{store::Kind, task};

use super::{Experiments, at, build::company, entry, life, method::Method, micros, port::Wish};

/// Suites that are looked through at the start for those that were running.
const RECENT: u32 = 100;
/// Starts of the server that may take an experiment up and end before it was driven for a while.
const ATTEMPTS: u32 = 2;
/// How long one waits for an experiment to leave the state in which its fault is on its way.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

impl Experiments {
    /// Takes in what an earlier start of the server left: nothing is known of its targets yet.
    ///
    /// # Errors
    /// The store can not be read.
    pub(super) async fn restore(&self) -> Result<(), Problem> {
        if let Err(problem) = self.store.begin_attempt().await {
            tracing::error!(%problem, "it is not counted that the experiments are taken up");
        }
        let unfinished = self.store.unfinished_experiments().await?;
        let mut records: HashMap<i64, (SuiteRecord, usize)> = HashMap::new();
        for (experiment, attempts) in unfinished {
            let key = experiment.suite.map_or(0, micros);
            let id = experiment.id.clone();
            if attempts > ATTEMPTS {
                let reason = format!("{ATTEMPTS} starts of the server took it up and ended at once");
                self.give_up(&id, &reason);
                continue;
            }
            let (record, left) = match records.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert((self.recorded(key).await?, 0)),
            };
            match task::caught(self.take_up(experiment, record)).await {
                Ok(taken) => taken?,
                Err(panic) => {
                    self.give_up(&id, &panic);
                    continue;
                }
            }
            *left += 1;
        }
        let newest = self.store.suites(None, 1).await?.entries.pop().and_then(|entry| entry.at);
        let ended = match newest {
            Some(newest) => self.store.experiments_of(newest).await?,
            None => Vec::new(),
        };
        let ended = ended.into_iter().filter_map(|experiment| experiment.ended_at?.system_time()).max();
        {
            let mut state = self.state();
            state.last_suite = newest.map_or(0, micros);
            state.last_ended = ended;
        }
        // Of these the last experiment ended just before the server did.
        for entry in self
            .store
            .suites(None, RECENT)
            .await?
            .entries
            .into_iter()
            .filter(|it| it.verdict() == Verdict::Running)
        {
            let key = entry.at.map_or(0, micros);
            if let Entry::Vacant(unjudged) = records.entry(key) {
                unjudged.insert((self.recorded(key).await?, 0));
            }
        }
        for (key, (record, left)) in records {
            self.take_in_suite(key, left, record);
        }
        Ok(())
    }

    /// What was recorded of a suite; nothing where that can not be read.
    async fn recorded(&self, key: i64) -> Result<SuiteRecord, Problem> {
        match self.store.suite_record(at(key)).await {
            Err(problem) if matches!(problem.code, Code::Unreadable | Code::NoSuchSuite) => {
                Ok(SuiteRecord { at: Some(at(key)), ..SuiteRecord::default() })
            }
            record => record,
        }
    }

    /// Goes on without an experiment. What it did ends at its own deadline.
    pub(super) fn give_up(&self, id: &str, reason: &str) {
        self.store.set_aside(Kind::Experiment, id, reason);
        let entry = self.state().active.remove(id);
        if let Some(entry) = entry {
            self.leave_suite(entry.suite());
        }
    }

    /// One of its experiments is over.
    fn leave_suite(&self, suite: i64) {
        let mut state = self.state();
        let Some(of_it) = state.suites.get_mut(&suite) else { return };
        of_it.left = of_it.left.saturating_sub(1);
        if of_it.left > 0 {
            return;
        }
        // Its watchman sees that, and looks at its probes for the last time.
        let watched = of_it.watched;
        state.suites.remove(&suite);
        drop(state);
        if !watched {
            self.judge_soon(suite);
        }
    }

    async fn take_up(&self, experiment: Experiment, record: &SuiteRecord) -> Result<(), Problem> {
        let id = experiment.id.clone();
        let target = experiment.container.clone().unwrap_or_default();
        let action_id = experiment.action_id.clone();
        let company = company(record, &target.aggregation_identifier);
        let wish = Wish { experiment: id.clone(), target: target.into() };
        let name = &experiment.experiment_method_name;
        let method = self.methods.get(name).cloned().unwrap_or_else(|| Method::forgotten(name).into());
        let mut entry = entry::Entry::new(experiment, method, company, self.port.engage_again(&wish));
        entry.tried = false;
        if !action_id.is_empty()
            && let Some(status) = self.port.recorded_action(action_id).await?
        {
            entry.take_in(&status);
        }
        self.state().active.insert(id, entry);
        Ok(())
    }

    /// An experiment of this suite is over.
    pub(super) fn ended(&self, suite: i64, experiment: &Experiment) {
        self.state().last_ended = experiment.ended_at.and_then(Timestamp::system_time);
        self.leave_suite(suite);
    }

    /// Those that are not over, oldest first, or all, newest first.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn list(&self, request: &ListExperimentsRequest) -> Result<Page<Experiment>, Problem> {
        let ListExperimentsRequest { all, page_size, page_token } = request;
        if *all {
            return self.store.experiments(page_token, *page_size).await;
        }
        Ok(Page::after(page_token, self.active(), *page_size))
    }

    /// One experiment.
    ///
    /// # Errors
    /// [`Code::NoSuchExperiment`], [`Code::StoreUnavailable`].
    pub async fn get(&self, id: &str) -> Result<Experiment, Problem> {
        let active = self.state().active.get(id).map(|entry| entry.experiment().clone());
        match active {
            Some(experiment) => Ok(experiment),
            None => self.store.experiment(id).await,
        }
    }

    /// One experiment as it is, and each change of it until it is over.
    ///
    /// # Errors
    /// [`Code::NoSuchExperiment`], [`Code::StoreUnavailable`].
    pub async fn watch(&self, id: &str) -> Result<BoxStream<'static, Experiment>, Problem> {
        let news = self.state().active.get(id).map(entry::Entry::follow);
        let Some(news) = news else {
            let experiment = self.store.experiment(id).await?;
            return Ok(stream::iter([experiment]).boxed());
        };
        let changes = stream::unfold(Some((news, true)), async |state| {
            let (mut news, first) = state?;
            if !first {
                news.changed().await.ok()?;
            }
            let experiment = news.borrow_and_update().clone();
            let over = life::is_over(experiment.experiment_state());
            Some((experiment, (!over).then_some((news, false))))
        });
        Ok(changes.boxed())
    }

    /// Ends an experiment as at its maximum duration: through self healing. One whose fault is not in force yet is
    /// not begun; one that is over is given as it ended. Answers once that is recorded.
    ///
    /// # Errors
    /// [`Code::NoSuchExperiment`], [`Code::StoreUnavailable`]; [`Code::NoAnswer`]: it is going to be stopped.
    pub async fn stop(&self, id: &str) -> Result<Experiment, Problem> {
        let news = self.state().active.get_mut(id).map(|entry| {
            entry.abort.get_or_insert_with(|| "it was stopped".to_owned());
            entry.follow()
        });
        let Some(mut news) = news else { return self.store.experiment(id).await };
        self.look_again(id);
        let begun = |experiment: &Experiment| {
            let state = experiment.experiment_state();
            !matches!(state, State::Created | State::Starting | State::Started)
        };
        match timeout(STOP_PATIENCE, news.wait_for(begun)).await {
            Ok(Ok(experiment)) => Ok(experiment.clone()),
            _ => {
                let message = format!("experiment {id} is not being healed after {STOP_PATIENCE:?}");
                Err(Problem::new(Code::NoAnswer, message)
                    .hint("see `kittyctl experiment get`; it is stopped as soon as possible"))
            }
        }
    }

    /// The suites that were built, newest first.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`]: a page token that is none; [`Code::StoreUnavailable`].
    pub async fn history(
        &self,
        request: &GetExperimentHistoryRequest,
    ) -> Result<Page<HistoryEntry>, Problem> {
        let before = match request.page_token.as_str() {
            "" => None,
            token => {
                let key =
                    token.parse().map_err(|_| Problem::invalid("page_token", "it is none of this server"))?;
                Some(at(key))
            }
        };
        self.store.suites(before, request.page_size).await
    }

    /// All that is known of one suite.
    ///
    /// # Errors
    /// [`Code::NoSuchSuite`], [`Code::StoreUnavailable`].
    pub async fn record_of(&self, suite: Timestamp) -> Result<SuiteRecord, Problem> {
        let mut record = self.store.suite_record(suite).await?;
        record.experiments = self.store.experiments_of(suite).await?;
        Ok(record)
    }
}
