//! One cell: an agent with processes and perhaps a worker to hurt, and what is seen of it.

use std::{
    fs,
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use chaos_kitty::v1::action_state::Name as State;
use chaos_kitty_tests::{Sandbox, patience, process::Process, proxy::Proxy};
use rustix::process::Signal;
use tokio::time::{sleep, timeout};

use crate::{
    ground::Ground,
    host::Host,
    observer::{Observer, Stat, is_stopped},
    order::Orders,
    program::{self, signal},
    target::{Target, What, Worker},
};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Pause before the next look at something that takes a while.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

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
    // Dropped first: it ends whatever runs in the cell.
    pub(crate) observer: Observer,
    pub(crate) host: Arc<Host>,
    /// Between the agent (or its relays) and the server.
    pub(crate) proxy: Proxy,
    pub(crate) agent: Process,
    /// Agents between the agent and the server, the one beside the server first.
    pub(crate) relays: Vec<Process>,
    targets: Vec<Target>,
    pub(crate) worker: Option<Worker>,
    pub(crate) orders: Orders,
    name: String,
    sandbox: Sandbox,
}

/// What a cell is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Where agent or guard stop.
    pub(crate) crash_at: Option<(Role, String)>,
    /// Guarantees that are taken away.
    pub(crate) without: Option<&'static str>,
    pub(crate) relays: usize,
    pub(crate) targets: Vec<What>,
    /// With a worker behind the agent.
    pub(crate) worker: bool,
}

impl Cell {
    pub(crate) async fn start(host: Arc<Host>, plan: &Plan) -> Self {
        let mut sandbox = Sandbox::new();
        let folder = sandbox.path().to_owned();
        let name = folder.file_name().unwrap().to_str().unwrap().replace("kitty-", "kt-");
        let ground = Ground::make(&name);
        if let Some(names) = plan.without {
            sandbox.set("KITTY_WITHOUT", names);
        }
        let targets: Vec<_> =
            plan.targets.iter().map(|what| Target::start(&ground, &folder, &name, *what)).collect();
        let worker = match plan.worker {
            true => Some(Worker::start(&ground, &sandbox, &name, &program::local(&sandbox)).await),
            false => None,
        };
        let pids = grown(&ground, &targets, worker.as_ref()).await;
        let observer = Observer::new(ground, &folder, &pids);
        let proxy = Proxy::new(&folder.join("proxy.ipc"), &host.socket());
        let ground = &observer.ground;
        let relays = (0..plan.relays).map(|number| program::relay(ground, &sandbox, &name, number)).collect();
        let agent = program::agent(ground, &sandbox, &name, &targets, plan.relays, plan.crash_at.as_ref());
        let orders = Orders::new(Arc::clone(&host));
        Self { observer, host, proxy, agent, relays, targets, worker, orders, name, sandbox }
    }

    /// Starts another agent in the place of one that is dead or dies now.
    pub(crate) fn restart_agent(&mut self, crash_at: Option<&(Role, String)>) {
        // As by a supervisor: the next one starts once the one before has ended.
        self.agent.kill();
        let (ground, relays) = (&self.observer.ground, self.relays.len());
        self.agent = program::agent(ground, &self.sandbox, &self.name, &self.targets, relays, crash_at);
    }

    /// The same, for one with a point that it, or its guard, may stand at or come to yet.
    pub(crate) fn disarm(&mut self) {
        let relays: Vec<_> = self.relays.iter().map(Process::pid).collect();
        let of_relay = |guard: &u32| Stat::read(*guard).is_some_and(|stat| relays.contains(&stat.parent));
        let guards = self.observer.guards().into_iter().filter(|guard| !of_relay(guard));
        // Neither is to outlive the other long enough to do anything.
        signal(self.agent.pid(), Signal::STOP);
        guards.for_each(|guard| signal(guard, Signal::KILL));
        self.restart_agent(None);
    }

    /// The same, where the one before has put everything back and said goodbye.
    pub(crate) fn restart_agent_gently(&mut self) {
        program::end_gently(&mut self.agent);
        self.restart_agent(None);
    }

    pub(crate) fn restart_relay_gently(&mut self, number: usize) {
        program::end_gently(&mut self.relays[number]);
        self.restart_relay(number);
    }

    pub(crate) fn restart_relay(&mut self, number: usize) {
        self.relays[number].kill();
        self.relays[number] = program::relay(&self.observer.ground, &self.sandbox, &self.name, number);
    }

    pub(crate) async fn restart_worker(&mut self) {
        let Some(mut worker) = self.worker.take() else { return };
        worker.process.kill();
        let next =
            Worker::start(&self.observer.ground, &self.sandbox, &self.name, &program::local(&self.sandbox))
                .await;
        self.observer.replace(worker.process.pid(), next.process.pid());
        self.worker = Some(next);
    }

    /// Leaves behind half of what may have been on its way to the disk: a record that nobody was told of.
    pub(crate) fn tear_journal(&self) {
        let records = self.sandbox.path().join("state/journal/records");
        let bytes = fs::read(&records).unwrap_or_default();
        let last = bytes.split_inclusive(|byte| *byte == b'\n').next_back().unwrap_or_default();
        let mut file = fs::File::options().append(true).create(true).open(&records).unwrap();
        file.write_all(&last[..last.len() / 2]).unwrap();
    }

    /// The logs of all that runs in the cell.
    pub(crate) fn log(&self) -> String {
        let relays = self.relays.iter().enumerate().map(|(number, relay)| (format!("relay {number}"), relay));
        let worker = self.worker.iter().map(|worker| ("the worker".to_owned(), &worker.process));
        let all = [("the agent".to_owned(), &self.agent)].into_iter().chain(relays).chain(worker);
        let logs = all.map(|(who, process)| format!("--- {who} ({})\n{}", process.pid(), process.stderr()));
        let server = self.host.log();
        let of_cell = server.lines().filter(|line| line.contains(&self.name)).map(|line| format!("{line}\n"));
        logs.chain(["--- the server\n".to_owned()]).chain(of_cell).collect()
    }

    /// The guard that the agent has now.
    pub(crate) fn guard(&self) -> Option<u32> {
        let of_agent = |pid: &u32| Stat::read(*pid).is_some_and(|stat| stat.parent == self.agent.pid());
        self.observer.guards().into_iter().find(of_agent)
    }

    /// Orders an action on the target that is there for it.
    pub(crate) fn order(&mut self, what: What, duration: Duration) {
        let target = self.target_of(what);
        self.orders.give(what, target, duration);
    }

    /// By id, or by its name.
    fn target_of(&self, what: What) -> String {
        match self.targets.iter().find(|target| target.what == what) {
            Some(target) => format!("process/{}/{}:{}", self.name, target.name, target.process.pid()),
            None => self.worker.as_ref().expect("somebody takes it").name.clone(),
        }
    }

    /// Waits until all orders are in force, or until `halted` says that it need not.
    pub(crate) async fn in_force(&self, halted: impl Fn() -> bool) -> Outcome<()> {
        let begun = Instant::now();
        while !halted() && !self.orders.all_in_force() {
            if begun.elapsed() > patience() {
                return Err(format!("not in force after {:?}: {}", patience(), self.news()));
            }
            sleep(LOOK_AGAIN / 2).await;
        }
        Ok(())
    }

    fn news(&self) -> String {
        let news: Vec<_> =
            self.orders.given().iter().map(|order| (order.what, order.news.borrow().clone())).collect();
        format!("{news:?}\n{}", self.log())
    }

    /// Waits until a process stands at its point.
    pub(crate) async fn stands(&self, who: u32, point: &str) -> Outcome<()> {
        let begun = Instant::now();
        while !is_stopped(who) {
            if begun.elapsed() > patience() {
                return Err(format!("{point} was not reached: {}", self.news()));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// What is left of faults, in words.
    pub(crate) async fn left(&self) -> Vec<String> {
        let agents: Vec<_> = self.relays.iter().chain([&self.agent]).map(Process::pid).collect();
        let mut left = self.observer.left(&agents);
        if let Some(worker) = &self.worker
            && left.is_empty()
            && !worker.is_well().await
        {
            left.push(format!("{} does not work", worker.name));
        }
        left
    }

    /// Nothing may be left after the lease and a second more; three times that on a machine that is loaded.
    fn bound(&self) -> Duration {
        (self.host.lease() + Duration::from_secs(1)) * 3
    }

    /// Waits until nothing is left, and answers how long that took.
    pub(crate) async fn clean(&self) -> Outcome<Duration> {
        let begun = Instant::now();
        loop {
            let left = self.left().await;
            let passed = begun.elapsed();
            if left.is_empty() {
                return Ok(passed);
            }
            if passed > self.bound() {
                return Err(format!("left after {passed:?}: {}\n{}", left.join(", "), self.log()));
            }
            // To within a twentieth of what it takes.
            sleep((passed / 20).clamp(LOOK_AGAIN / 10, LOOK_AGAIN * 5)).await;
        }
    }

    /// Shows that whatever happened has left the cell in order. What goes on with the server's knowledge (an order
    /// that was held up for less than it may be) is ended by an operator; then nothing is left, a short fault goes
    /// through, and again nothing is left.
    pub(crate) async fn still_works(&mut self) -> Outcome<()> {
        let begun = Instant::now();
        self.orders.forget();
        let mut last = String::new();
        let probe = if self.targets.is_empty() { What::WorkerDelay } else { What::Delay };
        loop {
            let active = self.orders.stop_all(&self.name).await;
            if active.as_ref().is_ok_and(Vec::is_empty) {
                self.orders.try_once(probe, self.target_of(probe), Duration::from_millis(50));
                let mut news = self.orders.given()[0].news.clone();
                let over = timeout(self.host.lease(), news.wait_for(|news| news.is_over())).await;
                let reverted = over.is_ok_and(|over| over.is_ok_and(|news| news.is(State::Reverted)));
                last = format!("{:?}", self.orders.given()[0].news.borrow().clone());
                self.orders.forget();
                if reverted && self.orders.stop_all(&self.name).await.is_ok_and(|active| active.is_empty()) {
                    return self.clean().await.map(drop);
                }
            } else {
                last = format!("{active:?} {last}");
            }
            if begun.elapsed() > patience() {
                self.clean().await?;
                return Err(format!("afterwards nothing can be done: {last}\n{}", self.log()));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Ends the agents: their guards end as well, and nothing is left in the journal for a next one.
    pub(crate) async fn end(mut self) -> Outcome<()> {
        let begun = Instant::now();
        self.agent.kill();
        self.relays.iter_mut().for_each(Process::kill);
        while !self.observer.guards().is_empty() {
            let passed = begun.elapsed();
            if passed > self.bound() {
                return Err(format!("left after {passed:?}: a guard without its agent\n{}", self.log()));
            }
            sleep(LOOK_AGAIN).await;
        }
        let left = self.observer.left(&[]);
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("left at the end: {}\n{}", left.join(", "), self.log()))
        }
    }
}

/// Waits until all that is to be hurt is there, and answers its pids.
async fn grown(ground: &Ground, targets: &[Target], worker: Option<&Worker>) -> Vec<u32> {
    let tree = |what: What| if what == What::Delay { 3 } else { 1 };
    let expected =
        targets.iter().map(|target| tree(target.what)).sum::<usize>() + usize::from(worker.is_some());
    // Until it has become its program, each is a shell.
    let is_shell = |pid: &u32| Stat::read(*pid).is_none_or(|stat| stat.name == "sh");
    chaos_kitty_tests::eventually("the targets are there", async || {
        Some(ground.pids()).filter(|pids| pids.len() == expected && !pids.iter().any(is_shell))
    })
    .await
}
