//! The grid: every point × every death.

use std::{sync::Arc, time::Duration};

use crate::{
    cell::{Cell, HOUR, Outcome, Plan, Role},
    death::Death,
    host::Host,
    observer::is_stopped,
    target::What,
};

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
const POINTS: [Point; 23] = [
    point("agent-admitted", Role::Agent, Way::In),
    point("agent-before-journal", Role::Agent, Way::In),
    point("agent-before-arm", Role::Agent, Way::In),
    point("agent-armed", Role::Agent, Way::In),
    point("agent-mid-delay", Role::Agent, Way::First),
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
    point("server-before-dispatch", Role::Server, Way::In),
    point("server-dispatched", Role::Server, Way::In),
    point("server-report", Role::Server, Way::First),
];

/// One cell of the grid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// `None`: all faults are in force and stay so.
    pub(crate) point: Option<Point>,
    pub(crate) death: Death,
    /// Whose turn it is to be caught.
    pub(crate) last: What,
    pub(crate) relays: usize,
    /// Guarantees that are taken away.
    pub(crate) without: Option<&'static str>,
}

/// What a cell that held found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) death: Death,
    pub(crate) faults: usize,
    pub(crate) took: Duration,
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let points = POINTS.into_iter().map(Some).chain([None]).enumerate();
    let squares = points.flat_map(|(row, point)| {
        Death::ALL.into_iter().enumerate().map(move |(column, death)| Case {
            point,
            death,
            last: What::ALL[(row + column) % What::ALL.len()],
            relays: 0,
            without: None,
        })
    });
    let hops = (0..3).flat_map(|hop| [Death::KillRelay(hop), Death::StopRelay(hop)]);
    let relayed = hops.chain([Death::Cut, Death::Freeze, Death::StopAgentAndCut]);
    let relayed =
        relayed.map(|death| Case { point: None, death, last: What::Delay, relays: 3, without: None });
    squares.chain(relayed).collect()
}

impl Case {
    pub(crate) fn name(self) -> String {
        let hops = if self.relays > 0 { format!(" behind {} relays", self.relays) } else { String::new() };
        let without = self.without.map(|name| format!(" without {name}")).unwrap_or_default();
        let at = self.point.map_or("in force", |point| point.name);
        format!("{:?} × {at} ({:?} last){hops}{without}", self.death, self.last)
    }

    /// Walks through one cell.
    pub(crate) async fn run(self, shared: Arc<Host>) -> Outcome<Found> {
        let crash_at = self.crash_at();
        let of_server = self.point.is_some_and(|point| point.at == Role::Server);
        let (of_host, of_agent) = if of_server { (crash_at, None) } else { (None, crash_at) };
        let host = if of_server || self.death.hurts_server() {
            Arc::new(Host::start(of_host).await)
        } else {
            shared
        };
        let plan = Plan {
            crash_at: of_agent.zip(self.point).map(|(place, point)| (point.at, place)),
            without: self.without,
            relays: self.relays,
        };
        let mut cell = Cell::start(host, plan).await;
        let guard = self.bring_about(&mut cell).await?;
        let faults = cell.orders.len();
        cell.order_no_more();
        cell.observer.note(cell.agent.pid());
        self.death.strike(&mut cell, guard, self.point.map(|point| point.at));
        let took = cell.clean().await?;
        self.death.get_over(&mut cell, guard).await?;
        Ok(Found { death: self.death, faults, took })
    }

    /// How long the last one is held. Who stops on the way to it and then goes on may well bring it into force,
    /// and if server, agent and their connection live it does not end before its time.
    fn last_for(self) -> Duration {
        let caught = self.point.is_some_and(|point| point.way == Way::In);
        let may_begin = matches!(self.death, Death::KillGuard | Death::StopGuard);
        if caught && may_begin { Duration::from_secs(3) } else { HOUR }
    }

    fn crash_at(self) -> Option<String> {
        let point = self.point?;
        let passing = match (point.way, point.name) {
            (Way::In, _) => What::ALL.len(),
            // The guard rehearses two undos of processes at its start.
            (_, "mid-revert") => 3,
            _ => 1,
        };
        Some(format!("{}:{passing}=stop", point.name))
    }

    /// Brings faults into force until whoever is to be caught is. Answers the guard.
    async fn bring_about(self, cell: &mut Cell) -> Outcome<u32> {
        let guard = loop {
            if let Some(guard) = cell.guard() {
                break guard;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let caught = self.point.map(|point| match point.at {
            Role::Agent => cell.agent.pid(),
            Role::Guard => guard,
            Role::Server => cell.host.server.process.pid(),
        });
        let halted = || caught.is_some_and(is_stopped);
        for what in What::ALL {
            if what != self.last {
                cell.order(what, HOUR);
            }
        }
        cell.in_force(halted).await?;
        if !halted() {
            cell.order(self.last, self.last_for());
        }
        cell.in_force(halted).await?;
        if let (Some(point), Some(who)) = (self.point, caught) {
            if point.way == Way::Out {
                cell.stop(What::Delay);
            }
            cell.stands(who, point.name).await?;
        }
        Ok(guard)
    }
}
