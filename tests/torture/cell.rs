//! One cell: an agent with four processes to hurt, and what is seen of it.

use std::{
    fs,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use chaos_kitty::{
    Code, Problem,
    endpoint::Endpoint,
    v1::{
        self, ActionStatus, StopActionRequest, UnleashRequest, action_state::Name as State,
        unleash_request::Choice,
    },
};
use chaos_kitty_tests::{Sandbox, process::Process, proxy::Proxy};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{
    host::Host,
    observer::{Observer, Stat, descendants, is_stopped},
    target::{Target, What},
};

/// The shortest there is.
pub(crate) const LEASE_FLAG: &str = "2s";

/// Nothing may be left after the lease and a second more; three times that on a machine that is loaded.
pub(crate) const BOUND: Duration = Duration::from_secs(9);

/// How long a cell waits for what must come for it to have a meaning at all.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Why a cell failed.
pub(crate) type Outcome<T> = Result<T, String>;

/// Who can be at a point, and who can die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Agent,
    Guard,
    Server,
}

pub(crate) struct Cell {
    pub(crate) host: Arc<Host>,
    /// Between the agent (or its relays) and the server.
    pub(crate) proxy: Proxy,
    pub(crate) agent: Process,
    /// Agents between the agent and the server, the one beside the server first.
    pub(crate) relays: Vec<Process>,
    pub(crate) targets: Vec<Target>,
    pub(crate) observer: Observer,
    pub(crate) orders: Vec<Order>,
    /// Orders are repeated no longer.
    struck: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    name: String,
    sandbox: Sandbox,
}

/// An action that was ordered.
pub(crate) struct Order {
    pub(crate) what: What,
    pub(crate) news: watch::Receiver<News>,
}

/// What came of it so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    pub(crate) status: Option<ActionStatus>,
    pub(crate) refusal: Option<String>,
}

impl News {
    pub(crate) fn is(&self, state: State) -> bool {
        self.status.as_ref().is_some_and(|status| status.state() == state)
    }

    /// Why it will not come into force any more.
    fn failure(&self) -> Option<String> {
        let over = self.is(State::Failed) || self.is(State::Refused);
        let status =
            over.then(|| format!("{:?}", self.status.as_ref().and_then(|status| status.problem.clone())));
        self.refusal.clone().or(status)
    }
}

/// What the programs of a cell are started with.
#[derive(Default)]
pub(crate) struct Plan {
    /// Where agent or guard stop.
    pub(crate) crash_at: Option<(Role, String)>,
    /// Guarantees that are taken away.
    pub(crate) without: Option<&'static str>,
    pub(crate) relays: usize,
}

impl Cell {
    pub(crate) async fn start(host: Arc<Host>, plan: Plan) -> Self {
        let mut sandbox = Sandbox::new();
        let folder = sandbox.path().to_owned();
        let name = folder.file_name().unwrap().to_str().unwrap().replace("kitty-", "kt-");
        let targets: Vec<_> = What::ALL.into_iter().map(|what| Target::start(&folder, &name, what)).collect();
        let Endpoint::Unix(socket) = host.server.endpoint() else { panic!("the server has a socket") };
        let proxy = Proxy::new(&folder.join("proxy.ipc"), &socket);
        if let Some(names) = plan.without {
            sandbox.set("KITTY_WITHOUT", names);
        }
        let observer = Observer::new(targets.iter().flat_map(Target::pids).collect());
        let mut relays = Vec::new();
        for number in 0..plan.relays {
            relays.push(relay(&sandbox, &name, number));
        }
        let agent = start_agent(&sandbox, &name, &targets, plan.relays, plan.crash_at.as_ref());
        Self {
            host,
            proxy,
            agent,
            relays,
            targets,
            observer,
            orders: Vec::new(),
            struck: Arc::default(),
            tasks: JoinSet::new(),
            name,
            sandbox,
        }
    }

    /// Starts another agent in the place of one that is dead.
    pub(crate) fn restart_agent(&mut self) {
        let relays = self.relays.len();
        self.agent = start_agent(&self.sandbox, &self.name, &self.targets, relays, None);
    }

    /// Leaves behind half of what may have been on its way to the disk: a record that nobody was told of.
    pub(crate) fn tear_journal(&self) {
        let records = self.sandbox.path().join("state/journal/records");
        let bytes = fs::read(&records).unwrap_or_default();
        let last = bytes.split_inclusive(|byte| *byte == b'\n').next_back().unwrap_or_default();
        let mut file = fs::File::options().append(true).create(true).open(&records).unwrap();
        file.write_all(&last[..last.len() / 2]).unwrap();
    }

    pub(crate) fn restart_relay(&mut self, number: usize) {
        self.relays[number] = relay(&self.sandbox, &self.name, number);
    }

    /// The agent's log.
    pub(crate) fn log(&self) -> String {
        self.agent.stderr()
    }

    /// The guard that the agent has now.
    pub(crate) fn guard(&self) -> Option<u32> {
        descendants(self.agent.pid(), Duration::ZERO)
            .into_iter()
            .find(|child| child.is_guard())
            .map(|child| child.pid)
    }

    /// Orders an action on the target that is there for it.
    pub(crate) fn order(&mut self, what: What, duration: Duration) {
        let target = self.targets.iter().find(|target| target.what == what).unwrap();
        let id = format!("process/{}/{}:{}", self.name, target.name, target.process.pid());
        let request = UnleashRequest {
            action: Some(what.action(duration)),
            choice: Some(Choice::Target(id)),
            source: "torture".to_owned(),
            ..Default::default()
        };
        let (told, news) = watch::channel(News::default());
        self.orders.push(Order { what, news });
        self.tasks.spawn(follow(Arc::clone(&self.host), request, told, Arc::clone(&self.struck)));
    }

    /// Waits until all orders are in force, or until `halted` says that it need not.
    pub(crate) async fn in_force(&mut self, halted: impl Fn() -> bool) -> Outcome<()> {
        let begun = Instant::now();
        loop {
            let news: Vec<_> =
                self.orders.iter().map(|order| (order.what, order.news.borrow().clone())).collect();
            if halted() || news.iter().all(|(_, news)| news.is(State::Started)) {
                return Ok(());
            }
            if let Some((what, why)) = news.iter().find_map(|(what, news)| Some((what, news.failure()?))) {
                return Err(format!("{what:?} did not come into force: {why}\n{}", self.log()));
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("not in force after {PATIENCE:?}: {news:?}\n{}", self.log()));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// What was ordered and not taken by now is not ordered again.
    pub(crate) fn order_no_more(&self) {
        self.struck.store(true, Ordering::Relaxed);
    }

    /// Asks the server to end one.
    pub(crate) fn stop(&mut self, what: What) {
        let order = self.orders.iter().find(|order| order.what == what).unwrap();
        let id = order.news.borrow().status.as_ref().unwrap().id.clone();
        let mut client = self.host.client.clone();
        self.tasks.spawn(async move { drop(client.stop_action(StopActionRequest { id }).await) });
    }

    /// Waits until a process stands at its point.
    pub(crate) async fn stands(&mut self, who: u32, point: &str) -> Outcome<()> {
        let begun = Instant::now();
        while !is_stopped(who) {
            if begun.elapsed() > PATIENCE {
                let news: Vec<_> = self.orders.iter().map(|order| order.news.borrow().clone()).collect();
                return Err(format!("{point} was not reached: {news:?}\n{}", self.log()));
            }
            sleep(Duration::from_millis(5)).await;
        }
        self.observer.note(self.agent.pid());
        Ok(())
    }

    /// Waits until nothing is left, and answers how long that took.
    pub(crate) async fn clean(&mut self) -> Outcome<Duration> {
        let begun = Instant::now();
        loop {
            self.observer.keep_noting(self.agent.pid());
            let left = self.observer.left();
            let passed = begun.elapsed();
            if left.is_empty() {
                return Ok(passed);
            }
            if passed > BOUND {
                return Err(format!("left after {passed:?}: {}\n{}", left.join(", "), self.log()));
            }
            sleep(if passed < Duration::from_millis(100) {
                Duration::from_millis(2)
            } else {
                Duration::from_millis(20)
            })
            .await;
        }
    }

    /// Shows that whatever happened has left the cell in order: a short pause goes through, and nothing is left.
    pub(crate) async fn still_works(&mut self) -> Outcome<()> {
        let begun = Instant::now();
        loop {
            self.orders.clear();
            self.struck = Arc::default();
            self.order(What::Delay, Duration::from_millis(50));
            let mut news = self.orders[0].news.clone();
            let over = news.wait_for(|news| news.is(State::Reverted) || news.failure().is_some());
            let over = tokio::time::timeout(PATIENCE, over).await;
            if over.is_ok_and(|over| over.is_ok_and(|news| news.is(State::Reverted))) {
                break;
            }
            if begun.elapsed() > PATIENCE {
                self.clean().await?;
                let news = self.orders[0].news.borrow().clone();
                return Err(format!("afterwards nothing can be done: {news:?}\n{}", self.log()));
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.clean().await.map(drop)
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        for pid in
            self.relays.iter().map(Process::pid).chain([self.agent.pid(), self.host.server.process.pid()])
        {
            signal(pid, Signal::CONT);
        }
        self.observer.note(self.agent.pid());
        self.agent.kill();
        self.observer.clean_up();
    }
}

/// Sends a signal; a process that is gone is none of our business.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if Stat::read(pid).is_some() {
        let _ = kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal);
    }
}

fn start_agent(
    sandbox: &Sandbox,
    name: &str,
    targets: &[Target],
    relays: usize,
    crash_at: Option<&(Role, String)>,
) -> Process {
    let mut command = sandbox.command("kitty-agent");
    command.args(["--name", name, "--server", &address(sandbox, relays)]);
    command.arg("--state").arg(sandbox.path().join("state"));
    for target in targets {
        command.args(["--process", &target.name]);
    }
    if let Some((role, point)) = crash_at {
        let guard = *role == Role::Guard;
        command.env(if guard { "KITTY_GUARD_CRASH_AT" } else { "KITTY_CRASH_AT" }, point);
    }
    Process::start("agent", command, sandbox.path())
}

fn relay(sandbox: &Sandbox, name: &str, number: usize) -> Process {
    let mut command = sandbox.command("kitty-agent");
    command.args(["--name", &format!("{name}-{number}"), "--server", &address(sandbox, number)]);
    command.args(["--listen", &address(sandbox, number + 1)]);
    command.arg("--state").arg(sandbox.path().join(format!("state-{number}")));
    Process::start(&format!("relay-{number}"), command, sandbox.path())
}

/// Where whoever has so many relays between itself and the server attaches.
fn address(sandbox: &Sandbox, relays: usize) -> String {
    let name = if relays == 0 { "proxy.ipc".to_owned() } else { format!("r{relays}.ipc") };
    Endpoint::Unix(sandbox.path().join(name)).to_string()
}

/// Unleashes, as soon as the target is there, and tells what comes of it.
async fn follow(
    host: Arc<Host>,
    request: UnleashRequest,
    told: watch::Sender<News>,
    struck: Arc<AtomicBool>,
) {
    let mut client = host.client.clone();
    loop {
        match client.unleash(request.clone()).await {
            Ok(updates) => {
                let mut updates = updates.into_inner();
                while let Ok(Some(status)) = updates.message().await {
                    told.send_modify(|news| news.status = Some(status));
                }
                return;
            }
            Err(status) if is_early(&status) && !struck.load(Ordering::Relaxed) => {
                sleep(Duration::from_millis(30)).await
            }
            Err(status) => return told.send_modify(|news| news.refusal = Some(format!("{status:?}"))),
        }
    }
}

/// Whether an order came before its target was there, or before the fleet has settled.
fn is_early(status: &tonic::Status) -> bool {
    let code = v1::Problem::from(Problem::from(status.clone())).code;
    [Code::NoSuchTarget, Code::TargetGone, Code::AgentUnreachable, Code::Settling]
        .iter()
        .any(|early| early.number() == code)
}
