//! A script: it runs inside the target's namespaces, in a cgroup of its own that is ended as a whole; then its header's
//! commands put back what it did.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use chaos_kitty::{
    Code, Problem,
    script::{Header, Own},
    v1::{self, ScriptResult, action_result, evidence::Phase},
};
use chaos_kitty_guard::{CgroupVersion, Process, Undo, clock::boot_time, hooks, message::Reverted};
use futures_util::future::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    task::JoinHandle,
};

use super::{
    Arm, Fault, Prepared, Resource, Scripts, Step, evidence, hold_of, needs,
    watch::{OFTEN, Watch},
};
use crate::{
    host::{cgroup::Cgroup, own, process::ended},
    platform::Subject,
    stress::{
        command, folder,
        output::Tail,
        place::Place,
        room,
        spawn::{Said, Stressor},
    },
};

/// Longest time for one try of a command that puts it back.
const UNDO_LIMIT: Duration = Duration::from_secs(30);

/// How often a script's processes are counted.
const COUNT_EVERY: Duration = Duration::from_millis(500);

/// How long the last of its output is waited for after its end.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// A script that can not do what it is for says so at once: so long it is waited before it counts as in force.
const FIRST_MOMENT: Duration = Duration::from_millis(100);

/// A script that ended this long before its target may have died of what it did to it.
const WITH_ITS_TARGET: Duration = Duration::from_secs(1);

/// How much of its output is told with its failure.
const QUOTED: usize = 300;

/// A script that runs on a target.
#[derive(Debug)]
pub(super) struct Script {
    order: v1::RunScript,
    content: Bytes,
    header: Header,
    hold: Duration,
    target: Option<Process>,
    runner: Option<Stressor>,
    cgroup: Cgroup,
    output: Output,
    drained: Option<JoinHandle<()>>,
    in_force: Duration,
    watch: Watch,
    /// What its runner said at the end, once it has.
    last: Option<Result<Said, Problem>>,
    figures: ScriptResult,
}

impl Script {
    pub(super) fn new(
        order: &v1::RunScript,
        action: &v1::Action,
        subject: &Subject,
        scripts: &Scripts,
    ) -> Result<Self, Problem> {
        let content = scripts.content(&order.name, &order.hash)?;
        let header = Header::parse(&order.name, &content)?;
        if header.is_cattle_only() && !subject.target.cattle {
            return Err(for_cattle(&order.name, &subject.target));
        }
        Ok(Self {
            content,
            header,
            order: order.clone(),
            hold: hold_of(action),
            target: subject.main,
            runner: None,
            cgroup: Cgroup { folder: PathBuf::new(), version: CgroupVersion::V2 },
            output: Output::default(),
            drained: None,
            in_force: Duration::ZERO,
            watch: Watch::every(OFTEN),
            last: None,
            figures: ScriptResult::default(),
        })
    }

    async fn look(&mut self) -> Result<Prepared, Problem> {
        let gone = |error: io::Error| {
            let what = format!("looking at where the script is to run: {error}");
            match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    Problem::new(Code::PolicyForbids, what).hint("run the agent as root")
                }
                _ => Problem::new(Code::TargetGone, what),
            }
        };
        let place = Place::of(self.target, self.header.outside).map_err(gone)?.with_folder();
        let name = &self.order.name;
        for own in &self.header.needs_own {
            if !own::has(self.target, *own).map_err(gone)? {
                return Err(would_take_the_hosts(name, *own));
            }
        }
        let inside =
            self.target.filter(|_| !self.header.outside).map_or(std::process::id(), |target| target.pid);
        self.figures.missing = needs::missing(inside, &self.header.dependencies).map_err(gone)?;
        if !self.figures.missing.is_empty() {
            return Err(lacks(name, &self.figures.missing));
        }
        let parent = room::below(self.target)?;
        super::not_frozen(&parent)?;
        let mut arguments = vec!["enter".to_owned(), place.text().map_err(Problem::internal)?, name.clone()];
        arguments.extend(self.order.arguments.iter().cloned());
        let runner = Stressor::spawn(&arguments, Stdio::piped())?;
        let Process { pid, start_time } = runner.process();
        let version = parent.version;
        let folder = parent.folder.join(format!("kitty-script-{pid}-{start_time}"));
        self.cgroup = Cgroup { folder, version };
        self.runner = Some(runner);
        let mut before = vec![evidence(Phase::Before, "cgroup", self.cgroup.folder.display())];
        let guessed = needs::missing(inside, &self.header.guessed).map_err(gone)?;
        before.extend(perhaps_missing(&guessed));
        Ok(Prepared { undos: self.undos(&place)?, evidence: before, ..Prepared::default() })
    }

    /// Its cgroup ends, then its self healing command runs, then its finalize command. Without self healing, what
    /// recreates the target undoes it.
    fn undos(&self, place: &Place) -> Result<Vec<Undo>, Problem> {
        let Cgroup { folder, version } = self.cgroup.clone();
        let mut undos = Vec::from(of_cgroup(folder, version));
        let healing = self.header.remedy.as_ref().map(|remedy| &remedy.self_healing);
        if healing.is_none() {
            undos.push(Undo::EndProcesses { processes: self.target.into_iter().collect() });
        }
        let texts = healing.into_iter().chain(&self.header.finalize);
        let mut commands: Vec<_> = texts.map(|text| command::shell(text)).collect();
        if commands.is_empty() {
            // Each of them removes the script's folder when it is done.
            commands.push(vec![folder::REMOVE.to_owned()]);
        }
        for command in commands {
            let argv = command::argv(place, UNDO_LIMIT, &command).map_err(Problem::internal)?;
            undos.push(Undo::Run { argv, limit: UNDO_LIMIT + command::GRACE });
        }
        Ok(undos)
    }

    /// What did not begin has nothing to heal: only its cgroup is ended then.
    async fn start(&mut self, arm: &dyn Arm) -> Result<Duration, Problem> {
        let begun = self.begin().await;
        if begun.is_err() {
            let Cgroup { folder, version } = self.cgroup.clone();
            arm.rearm(of_cgroup(folder, version).into()).await?;
        }
        begun
    }

    async fn begin(&mut self) -> Result<Duration, Problem> {
        let runner = self.runner.as_mut().ok_or_else(super::out_of_order)?;
        runner.place(self.target)?;
        fs::create_dir(&self.cgroup.folder)
            .and_then(|()| self.cgroup.attach(runner.process().pid))
            .map_err(|error| no_cgroup(&self.cgroup.folder, &error))?;
        hooks::point("agent-mid-script");
        if let Some(stderr) = runner.take_stderr() {
            self.drained = Some(tokio::spawn(self.output.clone().drain(stderr)));
        }
        self.in_force = runner.release(self.hold).await?;
        runner.send(&self.content).await?;
        match runner.hear().await? {
            Said::Started => Ok(self.in_force),
            said => Err(said.into_problem()),
        }
    }

    /// Waits for its end. Given up and called again, it goes on.
    async fn wait(&mut self) -> Result<(), Problem> {
        if self.last.is_none() {
            let said = self.hear_the_last().await;
            self.watch.over_since(boot_time());
            self.last = Some(said);
        }
        match &self.last {
            Some(Ok(Said::Exited { code: Some(0), .. })) => Ok(()),
            Some(Ok(Said::Exited { code: Some(code), .. })) => {
                let what = format!("exited with {code}");
                Err(self.failed(Code::ScriptFailed, &what).await)
            }
            Some(Ok(Said::Exited { signal, .. })) => {
                let what = format!("was ended by signal {}", signal.unwrap_or_default());
                Err(self.failed(Code::BrokeOff, &what).await)
            }
            _ => super::stressor_ended(self.runner.as_mut()).await,
        }
    }

    /// Counts its processes until then.
    async fn hear_the_last(&mut self) -> Result<Said, Problem> {
        let Some(runner) = &mut self.runner else { return std::future::pending().await };
        let mut count = tokio::time::interval(COUNT_EVERY);
        let said = loop {
            tokio::select! {
                said = runner.hear() => break said,
                // None are left where the guard was faster: the last count holds.
                _ = count.tick() => match processes(&self.cgroup) {
                    0 => {}
                    running => self.figures.ended_processes = running,
                },
            }
        };
        if let Ok(Said::Exited { code: Some(code), .. }) = said {
            self.figures.exit_code = Some(code);
            // Those that outlive it. Where it was killed, the last count holds.
            self.figures.ended_processes = processes(&self.cgroup);
        }
        said
    }

    async fn failed(&mut self, code: Code, how: &str) -> Problem {
        self.all_output().await;
        let ran = boot_time().saturating_sub(self.in_force);
        let (name, said) = (&self.order.name, last_words(&self.output.text()));
        Problem::new(code, format!("{name} {how} after {ran:.1?}, before its time{said}"))
            .hint("its output says why it could not go on; a script that is done early exits with 0")
    }

    /// One that exits at once with another code than 0 was never in force, unless it ended its own target.
    async fn first_moment(&mut self) -> Result<(), Problem> {
        let Ok(Err(problem)) = tokio::time::timeout(FIRST_MOMENT, self.wait()).await else { return Ok(()) };
        match self.target {
            Some(target) if tokio::time::timeout(WITH_ITS_TARGET, ended(target)).await.is_ok() => Ok(()),
            _ => Err(problem),
        }
    }

    async fn all_output(&mut self) {
        if let Some(drained) = &mut self.drained {
            // Nobody is left to write, unless a process outside of its cgroup was handed its output.
            if tokio::time::timeout(LAST_OUTPUT, drained).await.is_ok() {
                self.drained = None;
            }
        }
    }
}

impl Fault for Script {
    fn resource(&self) -> Option<Resource> {
        Some(Resource::Script)
    }

    fn prepare(&mut self) -> Step<'_, Prepared> {
        self.look().boxed()
    }

    fn inject<'a>(&'a mut self, arm: &'a dyn Arm) -> Step<'a, Duration> {
        self.start(arm).boxed()
    }

    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>> {
        async {
            let seen = processes(&self.cgroup);
            self.figures.ended_processes = seen;
            self.first_moment().await?;
            Ok(vec![evidence(Phase::During, "processes", seen)])
        }
        .boxed()
    }

    fn figures(&self) -> Option<action_result::Kind> {
        let figures = ScriptResult { output: self.output.text(), ..self.figures.clone() };
        Some(action_result::Kind::Script(figures))
    }

    fn over(&mut self) -> Step<'_, ()> {
        self.wait().boxed()
    }

    fn settle<'a>(&'a mut self, reverted: &'a Reverted) -> Step<'a, Vec<v1::Evidence>> {
        async {
            super::settled(self.runner.as_mut()).await?;
            let left = processes(&self.cgroup);
            if left > 0 {
                let what = format!("{left} processes are left in {}", self.cgroup.folder.display());
                return Err(Problem::new(Code::Stuck, what).hint("kitty-agent revert --all"));
            }
            self.all_output().await;
            self.figures.ran = Some(self.watch.until(reverted).saturating_sub(self.in_force).into());
            Ok(vec![evidence(Phase::After, "processes", left)])
        }
        .boxed()
    }
}

/// How a cgroup of a script goes.
fn of_cgroup(cgroup: PathBuf, version: CgroupVersion) -> [Undo; 2] {
    [Undo::EndCgroup { cgroup: cgroup.clone(), version }, Undo::RemoveCgroup { cgroup }]
}

/// The end of what it said, on one line.
fn last_words(output: &str) -> String {
    let words: Vec<_> = output.split_whitespace().collect();
    let words = words.join(" ");
    let skipped = words.chars().count().saturating_sub(QUOTED);
    match words.chars().skip(skipped).collect::<String>() {
        said if said.is_empty() => String::new(),
        said => format!(": {said}"),
    }
}

/// What is needed and not there.
fn lacks(name: &str, missing: &[String]) -> Problem {
    let what = format!("{name} needs what its target does not have: {}", missing.join(", "));
    Problem::new(Code::MissingDependency, what)
        .hint("install it there, or correct the script's line \"# Dependencies: …\" and its first line")
}

/// What was not found of what the script seems to call. It may be none of its needs: that is for a person to judge.
fn perhaps_missing(guessed: &[String]) -> Option<v1::Evidence> {
    let list = guessed.join(", ");
    let what = format!("{list} (guessed: say what it needs with a line like \"# Dependencies: {list}\")");
    (!guessed.is_empty()).then(|| evidence(Phase::Before, "perhaps missing", what))
}

/// A script that ends at nothing but what the target has of its own.
fn would_take_the_hosts(name: &str, own: Own) -> Problem {
    match own {
        Own::Network => {
            let what = format!(
                "{name} is of kind NETWORK, and its target shares the network namespace of the agent"
            );
            Problem::new(Code::Unsupported, what)
                .hint("choose a target with a network of its own, such as a container")
        }
        Own::Mounts => {
            let what = format!("{name} has no effect here: its target shares its mounts with others");
            Problem::new(Code::Unsupported, what)
                .hint("choose a target with mounts of its own, such as a container")
        }
        Own::MemoryLimit | Own::ProcessLimit | Own::Disk => {
            let what = format!(
                "{name} takes all there is, and its target has no {} of its own: it would take the host's",
                own.word()
            );
            Problem::new(Code::NeedsOwn, what).hint(match own {
                Own::MemoryLimit => "give the target a limit below the host's memory (memory.max, MemoryMax=, --memory), or choose one that has it",
                Own::ProcessLimit => "give the target a limit (pids.max, TasksMax=, --pids-limit), or choose one that has it",
                _ => "choose a target whose /var/tmp is a file system of its own, such as a tmpfs with a size",
            })
        }
    }
}

/// Neither a command puts it back, nor does anybody recreate what it spoils.
fn for_cattle(name: &str, target: &v1::Target) -> Problem {
    let what = format!("{name} has no self healing, and nothing recreates {} when it dies", target.id);
    Problem::new(Code::NotCattle, what)
        .hint("choose cattle, or a script with a health check and self healing")
}

/// How many processes are in a cgroup and below it; none where it is gone.
fn processes(cgroup: &Cgroup) -> u32 {
    cgroup.members().map_or(0, |pids| u32::try_from(pids.len()).unwrap_or(u32::MAX))
}

fn no_cgroup(cgroup: &Path, error: &io::Error) -> Problem {
    Problem::new(Code::Unsupported, format!("{}: {error}", cgroup.display()))
        .hint("the agent must be allowed to make cgroups below the target's: run it as root")
}

/// The end of what a script says.
#[derive(Clone, Debug, Default)]
struct Output(Arc<Mutex<Tail>>);

impl Output {
    async fn drain(self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            self.tail().keep(&buffer[..length]);
        }
    }

    fn text(&self) -> String {
        self.tail().text()
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
