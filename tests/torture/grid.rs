//! The grid: every point × every death.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chaos_kitty_tests::{eventually, patience};
use tokio::sync::Semaphore;

use crate::{
    cell::{Cell, HOUR, Outcome, Plan, Role},
    death::Death,
    figures::Found,
    host::Host,
    observer::is_stopped,
    target::What,
};

/// Cells that may be on their way into force at a time: that is work, while all that follows is mostly waiting, and
/// whoever waits has a lease to keep.
static STARTING: Semaphore = Semaphore::const_new(6);

/// A named place in a program, see `hooks::point`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) name: &'static str,
    pub(crate) at: Role,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Every action passes it once on its way into force; the last one is caught there.
    In,
    /// The first that comes by is caught there, on its way into force.
    First,
    /// One that is ordered to end is caught there.
    Out,
}

const fn point(name: &'static str, at: Role, way: Way) -> Point {
    Point { name, at, way }
}

/// Every point that there is.
pub(crate) const POINTS: [Point; 26] = [
    point("agent-admitted", Role::Agent, Way::In),
    point("agent-before-journal", Role::Agent, Way::In),
    point("agent-before-arm", Role::Agent, Way::In),
    point("agent-armed", Role::Agent, Way::In),
    point("agent-mid-delay", Role::Agent, Way::First),
    point("agent-mid-freeze", Role::Agent, Way::First),
    point("agent-mid-memory", Role::Agent, Way::First),
    point("agent-mid-cpu", Role::Agent, Way::First),
    point("agent-mid-script", Role::Agent, Way::First),
    point("agent-injected", Role::Agent, Way::In),
    point("agent-before-started", Role::Agent, Way::In),
    point("agent-started", Role::Agent, Way::In),
    point("agent-before-revert", Role::Agent, Way::Out),
    point("agent-reverted", Role::Agent, Way::Out),
    point("agent-before-disarm", Role::Agent, Way::Out),
    point("agent-disarmed", Role::Agent, Way::Out),
    point("guard-before-arm", Role::Guard, Way::In),
    point("guard-armed", Role::Guard, Way::In),
    point("guard-before-revert", Role::Guard, Way::Out),
    point("mid-revert", Role::Guard, Way::Out),
    point("guard-reverted", Role::Guard, Way::Out),
    point("guard-before-disarm", Role::Guard, Way::Out),
    point("server-before-dispatch", Role::Server, Way::In),
    point("server-dispatched", Role::Server, Way::In),
    point("server-before-stop", Role::Server, Way::Out),
    point("server-report", Role::Server, Way::First),
];

/// One cell of the grid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// `None`: all faults are in force and stay so.
    pub(crate) point: Option<Point>,
    pub(crate) death: Death,
    pub(crate) whats: &'static [What],
    /// Whose turn it is to be caught.
    pub(crate) last: What,
    pub(crate) relays: usize,
    /// Guarantees that are taken away.
    pub(crate) without: Option<&'static str>,
}

impl Case {
    /// All of these are in force.
    pub(crate) const fn in_force(death: Death, whats: &'static [What], relays: usize) -> Self {
        Self { point: None, death, whats, last: whats[0], relays, without: None }
    }
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let direct = Death::ALL.map(|death| (death, 0));
    let relayed = Death::OF_RELAYS.map(|death| (death, 3));
    let points = POINTS.into_iter().map(Some).chain([None]).enumerate();
    let squares = points.flat_map(|(row, point)| {
        direct.into_iter().chain(relayed).enumerate().map(move |(column, (death, relays))| Case {
            point,
            last: What::OUTSIDE[(row + column) % What::OUTSIDE.len()],
            ..Case::in_force(death, &What::OUTSIDE, relays)
        })
    });
    let far = [Death::Cut, Death::Freeze, Death::StopAgentAndCut];
    let far = far.map(|death| Case::in_force(death, &What::OUTSIDE, 3));
    squares.chain(far).chain(of_workers()).collect()
}

/// A worker holds faults itself: behind an agent alone, and behind three hops of which the agent is the last.
fn of_workers() -> impl Iterator<Item = Case> {
    let near = [
        Death::KillAgent,
        Death::StopAgent,
        Death::KillServer,
        Death::StopServer,
        Death::Cut,
        Death::Freeze,
        Death::KillWorker,
        Death::StopWorker,
    ];
    let far = [
        Death::KillRelay(0),
        Death::StopRelay(0),
        Death::KillRelay(1),
        Death::StopRelay(1),
        Death::KillAgent,
        Death::StopAgent,
        Death::Cut,
        Death::Freeze,
    ];
    let near = near.into_iter().map(|death| (death, 0));
    near.chain(far.into_iter().map(|death| (death, 2)))
        .map(|(death, relays)| Case::in_force(death, &What::INSIDE, relays))
}

/// The servers of the cells that do not hurt theirs.
#[derive(Clone)]
pub(crate) struct Shared {
    near: Arc<Host>,
    far: Arc<Host>,
}

impl Shared {
    pub(crate) async fn start() -> Self {
        let of = async |relays| {
            let lease = Case::in_force(Death::Cut, &What::OUTSIDE, relays).lease();
            Arc::new(Host::start(lease, None).await)
        };
        Self { near: of(0).await, far: of(1).await }
    }

    fn of(self, case: Case) -> Arc<Host> {
        if case.relays == 0 { self.near } else { self.far }
    }
}

impl Case {
    pub(crate) fn name(self) -> String {
        let who = if self.last.is_inside() { " in a worker" } else { "" };
        let hops = if self.relays > 0 { format!(" behind {} relays", self.relays) } else { String::new() };
        let without = self.without.map(|name| format!(" without {name}")).unwrap_or_default();
        let at = self.point.map_or("in force", |point| point.name);
        format!("{:?} × {at} ({:?} last){who}{hops}{without}", self.death, self.last)
    }

    /// Walks through one cell.
    pub(crate) async fn run(self, shared: Shared) -> Outcome<Found> {
        let crash_at = self.crash_at();
        let of_server = self.point.is_some_and(|point| point.at == Role::Server);
        let (of_host, of_agent) = if of_server { (crash_at, None) } else { (None, crash_at) };
        let turn = STARTING.acquire().await;
        let host = if of_server || self.death.hurts_server() {
            Arc::new(Host::start(self.lease(), of_host.as_deref()).await)
        } else {
            shared.of(self)
        };
        let plan = Plan {
            crash_at: of_agent.zip(self.point).map(|(place, point)| (point.at, place)),
            without: self.without,
            relays: self.relays,
            targets: self.whats.iter().copied().filter(|what| !what.is_inside()).collect(),
            worker: self.last.is_inside(),
        };
        let mut cell = Cell::start(host, &plan).await;
        let guard = self.bring_about(&mut cell).await?;
        drop(turn);
        let faults = cell.orders.given().len();
        if self.point.is_none() {
            // A worker shows all that it holds at once.
            see(&cell, if plan.worker { 1 } else { faults }).await?;
        }
        cell.orders.insist_no_more();
        self.death.strike(&mut cell, guard, self.point.map(|point| point.at)).await;
        let took = cell.clean().await?;
        self.death.get_over(&mut cell, guard).await?;
        cell.end().await?;
        Ok(Found { death: self.death, faults, took: Some(took) })
    }

    /// The shortest there is; through relays that may be too short for a machine that is loaded.
    const fn lease(self) -> Duration {
        Duration::from_secs(if self.relays == 0 { 2 } else { 3 })
    }

    /// How long what is on its way is held. If all that it takes is there after the death it may well come into
    /// force, and then it does not end before its time.
    fn held_for(self, way: Way) -> Duration {
        let caught = self.point.is_some_and(|point| point.way == way);
        if caught && self.death.is_survived() { Duration::from_secs(3) } else { HOUR }
    }

    fn crash_at(self) -> Option<String> {
        let point = self.point?;
        let passing = match (point.way, point.name) {
            (Way::In, _) => self.whats.len(),
            // The guard rehearses two undos of processes at its start.
            (_, "mid-revert") => 3,
            _ => 1,
        };
        Some(format!("{}:{passing}=stop", point.name))
    }

    /// Orders one to end, and begins anew if its lease ended it before.
    async fn order_out(self, cell: &mut Cell, halted: impl Fn() -> bool) -> Outcome<()> {
        while !halted() {
            cell.orders.stop(What::Delay);
            eventually("whoever is to be caught stands, or it ended before", async || {
                (halted() || cell.orders.was_lost(What::Delay)).then_some(())
            })
            .await;
            if !halted() {
                cell.order(What::Delay, HOUR);
                cell.in_force(&halted).await?;
            }
        }
        Ok(())
    }

    /// Brings faults into force until whoever is to be caught is. Answers the guard.
    async fn bring_about(self, cell: &mut Cell) -> Outcome<u32> {
        let guard = eventually("the agent has a guard", async || cell.guard()).await;
        let caught = self.point.map(|point| match point.at {
            Role::Agent => cell.agent.pid(),
            Role::Guard => guard,
            Role::Server => cell.host.pid(),
        });
        let halted = || caught.is_some_and(is_stopped);
        for what in self.whats.iter().filter(|what| **what != self.last) {
            cell.order(*what, self.held_for(Way::First));
        }
        cell.in_force(halted).await?;
        if !halted() {
            cell.order(self.last, self.held_for(Way::In));
        }
        cell.in_force(halted).await?;
        if let (Some(point), Some(who)) = (self.point, caught) {
            if point.way == Way::Out {
                self.order_out(cell, halted).await?;
            }
            cell.stands(who, point.name).await?;
        }
        Ok(guard)
    }
}

/// The observer sees what is in force, unless a lease has just ended it: then it is ordered anew.
async fn see(cell: &Cell, least: usize) -> Outcome<()> {
    let begun = Instant::now();
    loop {
        cell.in_force(|| false).await?;
        let seen = cell.left().await;
        if seen.len() >= least {
            return Ok(());
        }
        if begun.elapsed() > patience() {
            return Err(format!("everything is in force, and seen of it is {seen:?}"));
        }
    }
}
