//! The ways to die, hang or be cut off.

use rustix::process::Signal;
use tokio::time::sleep;

use crate::{
    cell::{Cell, Outcome, Role},
    program::signal,
    target::What,
};

/// What happens to a cell whose faults are in force, or on their way there or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Death {
    KillAgent,
    KillGuard,
    /// And start it again on its store.
    KillServer,
    /// Together, and the agent is started again at once.
    KillAgentAndGuard,
    /// The same, and the disk has only part of what the agent wrote last.
    KillAgentAndGuardAndTear,
    StopAgent,
    StopGuard,
    StopServer,
    StopAgentAndCut,
    Cut,
    Freeze,
    KillRelay(usize),
    StopRelay(usize),
    KillWorker,
    /// For longer than the lease.
    StopWorker,
    /// By its supervisor, in good order.
    RestartAgent,
    RestartServer,
    RestartRelay(usize),
}

impl Death {
    /// Those that can meet every point.
    pub(crate) const ALL: [Self; 11] = [
        Self::KillAgent,
        Self::KillGuard,
        Self::KillServer,
        Self::KillAgentAndGuard,
        Self::KillAgentAndGuardAndTear,
        Self::StopAgent,
        Self::StopGuard,
        Self::StopServer,
        Self::StopAgentAndCut,
        Self::Cut,
        Self::Freeze,
    ];

    /// Those of three relays.
    pub(crate) const OF_RELAYS: [Self; 6] = [
        Self::KillRelay(0),
        Self::StopRelay(0),
        Self::KillRelay(1),
        Self::StopRelay(1),
        Self::KillRelay(2),
        Self::StopRelay(2),
    ];

    /// Whether the server is hurt, so that it can not be shared with other cells.
    pub(crate) const fn hurts_server(self) -> bool {
        matches!(self, Self::KillServer | Self::StopServer)
    }

    /// Whether it is what a supervisor does.
    pub(crate) const fn is_in_order(self) -> bool {
        matches!(self, Self::RestartAgent | Self::RestartServer | Self::RestartRelay(_))
    }

    /// Whether it ends what is in force there, without anybody else's doing.
    pub(crate) const fn ends(self, what: What) -> bool {
        match self {
            Self::KillGuard
            | Self::StopGuard
            | Self::KillAgentAndGuard
            | Self::KillAgentAndGuardAndTear
            | Self::RestartAgent => !what.is_inside(),
            Self::KillWorker | Self::StopWorker => what.is_inside(),
            Self::RestartServer | Self::RestartRelay(_) => false,
            _ => true,
        }
    }

    /// Whether all that it takes to bring a fault into force is there afterwards: then an order that was under way
    /// may well do so.
    pub(crate) const fn is_survived(self) -> bool {
        matches!(
            self,
            Self::KillGuard
                | Self::StopGuard
                | Self::KillAgentAndGuard
                | Self::KillAgentAndGuardAndTear
                | Self::KillWorker
                | Self::StopWorker
        ) || self.is_in_order()
    }

    /// Lets it happen. `at`: who stands at a point, and goes on from there unless it is who dies or hangs.
    pub(crate) async fn strike(self, cell: &mut Cell, guard: u32, at: Option<Role>) {
        let (agent, server) = (cell.agent.pid(), cell.host.pid());
        let worker = cell.worker.as_ref().map_or(0, |worker| worker.process.pid());
        match self {
            Self::KillAgent => signal(agent, Signal::KILL),
            Self::KillGuard => signal(guard, Signal::KILL),
            Self::KillServer => signal(server, Signal::KILL),
            Self::KillAgentAndGuard | Self::KillAgentAndGuardAndTear => {
                // Neither is to outlive the other long enough to do anything.
                signal(agent, Signal::STOP);
                signal(guard, Signal::KILL);
                cell.agent.kill();
                if self == Self::KillAgentAndGuardAndTear {
                    cell.tear_journal();
                }
                cell.restart_agent(None);
            }
            Self::StopAgent => signal(agent, Signal::STOP),
            Self::StopGuard => signal(guard, Signal::STOP),
            Self::StopServer => signal(server, Signal::STOP),
            Self::StopAgentAndCut => {
                signal(agent, Signal::STOP);
                cell.proxy.cut();
            }
            Self::Cut => cell.proxy.cut(),
            Self::Freeze => cell.proxy.freeze(),
            Self::KillRelay(number) => signal(cell.relays[number].pid(), Signal::KILL),
            Self::StopRelay(number) => signal(cell.relays[number].pid(), Signal::STOP),
            Self::KillWorker => cell.restart_worker().await,
            Self::StopWorker => {
                signal(worker, Signal::STOP);
                sleep(cell.host.lease() * 2).await;
                signal(worker, Signal::CONT);
            }
            Self::RestartAgent => cell.restart_agent_gently(),
            Self::RestartServer => cell.host.restart_gently(),
            Self::RestartRelay(number) => cell.restart_relay_gently(number),
        }
        let stays = match self {
            Self::StopAgent | Self::StopAgentAndCut => Some(Role::Agent),
            Self::StopGuard => Some(Role::Guard),
            Self::StopServer => Some(Role::Server),
            _ => None,
        };
        if let Some(role) = at.filter(|at| Some(*at) != stays) {
            // Whoever has been killed meanwhile has no use for it.
            signal(
                match role {
                    Role::Agent => agent,
                    Role::Guard => guard,
                    Role::Server => server,
                },
                Signal::CONT,
            );
        }
    }

    /// Undoes it: whoever hung goes on, whoever is dead is started again; afterwards the cell must work, and
    /// what was held up on its way must not come into force unknown to the server.
    pub(crate) async fn get_over(self, cell: &mut Cell, guard: u32) -> Outcome<()> {
        cell.proxy.heal();
        match self {
            Self::KillAgent => cell.restart_agent(None),
            Self::StopAgent | Self::StopAgentAndCut => signal(cell.agent.pid(), Signal::CONT),
            Self::StopGuard => signal(guard, Signal::CONT),
            Self::StopServer => signal(cell.host.pid(), Signal::CONT),
            Self::KillServer => cell.host.restart(None),
            Self::KillRelay(number) => cell.restart_relay(number),
            Self::StopRelay(number) => signal(cell.relays[number].pid(), Signal::CONT),
            Self::KillGuard
            | Self::KillAgentAndGuard
            | Self::KillAgentAndGuardAndTear
            | Self::Cut
            | Self::Freeze
            | Self::KillWorker
            | Self::StopWorker
            | Self::RestartAgent
            | Self::RestartServer
            | Self::RestartRelay(_) => {}
        }
        cell.still_works().await
    }
}
