//! An executor with its targets, for tests.

use std::{
    collections::HashMap,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use chaos_kitty::{
    Code,
    lease::boot_time,
    v1::{self, ActionReport, StartAction, action::Kind, action_state::Name as State},
};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::super::{Executor, Settings};
use crate::{
    host::process::Process,
    journal::{Held, folder::Records},
    platform::Subject,
    policy::Policy,
};

/// What the guard of an earlier agent has put back, where the journal tells of it.
pub(super) const PUT_BACK: &str = "put back";

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// The guard of this source, built once.
fn guard() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let profile = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
            let release = profile.ends_with("release").then_some("--release");
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let built = Command::new(cargo)
                .args(["build", "--quiet", "--package", "chaos-kitty-guard", "--bin", "kitty-guard"])
                // As the whole workspace's tests have it: one without hooks in its place would spoil the torture.
                .args(["--features", "test-hooks"])
                .args(release)
                .status()
                .unwrap();
            assert!(built.success());
            profile.join("kitty-guard")
        })
        .clone()
}

/// A process that is killed when the test is over.
pub(super) struct Victim(Child);

impl Victim {
    pub(super) fn start() -> Self {
        Self::of(Command::new("sleep").arg("600"))
    }

    /// Whatever was forked below it ends with it.
    pub(super) fn of(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    pub(super) fn process(&self) -> Process {
        Process::now(self.0.id()).unwrap()
    }

    /// 'T': it stands still. A process that goes on is caught awake (R) or asleep (S): 'S' for both.
    pub(super) fn state(&self) -> char {
        match self.process().stat().unwrap().state {
            'R' => 'S',
            state => state,
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        assert!(self.process().signal(signal).unwrap());
    }

    /// As a target of that id.
    pub(super) fn subject(&self, id: &str) -> Subject {
        let target = v1::Target {
            id: id.to_owned(),
            incarnation: "1".to_owned(),
            platform_type: "ProcessPlatform".to_owned(),
            ..v1::Target::default()
        };
        Subject { target, main: Some(self.process()), ..Subject::default() }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        for process in crate::host::process::tree(self.process()).unwrap() {
            process.signal(Signal::KILL).unwrap();
        }
        self.0.wait().unwrap();
    }
}

pub(super) struct Bench {
    pub(super) executor: Executor,
    pub(super) reports: mpsc::Receiver<ActionReport>,
    folder: TempDir,
    subjects: Arc<Mutex<HashMap<String, Arc<Subject>>>>,
}

impl Bench {
    /// With a lease of a minute.
    pub(super) async fn start() -> Self {
        Self::on(tempfile::tempdir().unwrap()).await
    }

    pub(super) async fn without_lease() -> Self {
        Self::of(tempfile::tempdir().unwrap()).await
    }

    /// With a lease of a minute, after an agent that left this.
    pub(super) async fn after(left: Vec<Held>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        drop(Records::begin(&folder.path().join("journal"), left).unwrap());
        Self::on(folder).await
    }

    /// With a lease of a minute, on a state folder that is there.
    pub(super) async fn on(folder: TempDir) -> Self {
        let bench = Self::of(folder).await;
        bench.executor.renew(boot_time() + Duration::from_secs(60));
        bench
    }

    /// The next agent on the same state folder.
    pub(super) async fn again(self) -> Self {
        self.executor.shutdown().await;
        Self::on(self.folder).await
    }

    async fn of(folder: TempDir) -> Self {
        let subjects = Arc::new(Mutex::new(HashMap::<String, Arc<Subject>>::new()));
        let known = subjects.clone();
        let find = move |id: &str| known.lock().unwrap().get(id).cloned();
        let (journal, steps) = (folder.path().join("journal"), folder.path().join("steps"));
        let settings = Settings {
            guard: guard(),
            max_held: 3,
            journal,
            steps,
            lock: None,
            policy: Policy::default(),
            put_back: vec![PUT_BACK.to_owned()],
        };
        let (executor, reports) = Executor::new(settings, Box::new(find));
        executor.recover().await;
        eventually("the guard is up", || executor.shared.link.is_up()).await;
        Self { executor, reports, folder, subjects }
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    pub(super) fn offer(&self, subject: Subject) {
        self.subjects.lock().unwrap().insert(subject.target.id.clone(), Arc::new(subject));
    }

    /// A victim that is offered as the target `id`.
    pub(super) fn victim(&self, id: &str) -> Victim {
        let victim = Victim::start();
        self.offer(victim.subject(id));
        victim
    }

    pub(super) fn delay(&self, action: &str, target: &str, duration: Duration) {
        self.executor.start(order(action, target, Kind::Delay(v1::Delay::default()), Some(duration)));
    }

    pub(super) fn kill(&self, action: &str, target: &str, signal: &str) {
        let kill = v1::Kill { signal: signal.to_owned(), ..v1::Kill::default() };
        self.executor.start(order(action, target, Kind::Kill(kill), None));
    }

    pub(super) async fn report(&mut self) -> ActionReport {
        tokio::time::timeout(PATIENCE, self.reports.recv()).await.unwrap().unwrap()
    }

    /// The next report, which says that.
    pub(super) async fn expect(&mut self, action: &str, state: State) -> ActionReport {
        let report = self.report().await;
        assert_eq!((report.action_id.as_str(), report.state()), (action, state), "{report:?}");
        report
    }

    pub(super) async fn started(&mut self, action: &str) -> ActionReport {
        self.expect(action, State::Accepted).await;
        self.expect(action, State::Started).await
    }

    pub(super) async fn refused(&mut self, action: &str, code: Code) {
        let report = self.expect(action, State::Refused).await;
        assert_eq!(report.problem.as_ref().map(|problem| problem.code), Some(code.number()), "{report:?}");
    }
}

pub(super) fn order(action: &str, target: &str, kind: Kind, duration: Option<Duration>) -> StartAction {
    StartAction {
        action_id: action.to_owned(),
        target_id: target.to_owned(),
        incarnation: "1".to_owned(),
        action: Some(v1::Action { duration: duration.map(Into::into), kind: Some(kind) }),
        ..StartAction::default()
    }
}

/// What was seen, as `phase what=value`; awake (R) as asleep (S).
pub(super) fn seen(report: &ActionReport) -> Vec<String> {
    let evidence = report.evidence.iter();
    evidence.map(|one| format!("{:?} {}={}", one.phase(), one.what, one.value).replace("=R", "=S")).collect()
}

pub(super) fn held(report: &ActionReport) -> Duration {
    match report.result.as_ref().and_then(|result| result.kind.clone()) {
        Some(v1::action_result::Kind::Delay(result)) => result.held.unwrap().try_into().unwrap(),
        other => panic!("{other:?} is no pause"),
    }
}

pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
