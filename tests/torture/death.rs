//! The ways to die, hang or be cut off.

use rustix::process::Signal;

use crate::cell::{Cell, Outcome, Role, signal};

/// What happens to a cell whose faults are in force, or on their way there or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Death {
    KillAgent,
    KillGuard,
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

    /// Whether the server is hurt, so that it can not be shared with other cells.
    pub(crate) const fn hurts_server(self) -> bool {
        matches!(self, Self::KillServer | Self::StopServer)
    }

    /// Lets it happen. `at`: who stands at a point, and goes on from there unless it is who dies or hangs.
    pub(crate) fn strike(self, cell: &mut Cell, guard: u32, at: Option<Role>) {
        let (agent, server) = (cell.agent.pid(), cell.host.server.process.pid());
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
                cell.restart_agent();
                return at
                    .into_iter()
                    .filter(|at| *at == Role::Server)
                    .for_each(|_| signal(server, Signal::CONT));
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
        }
        let stays = match self {
            Self::StopAgent | Self::StopAgentAndCut => Some(Role::Agent),
            Self::StopGuard => Some(Role::Guard),
            Self::StopServer => Some(Role::Server),
            _ => None,
        };
        if let Some(role) = at.filter(|at| Some(*at) != stays) {
            let pid = match role {
                Role::Agent => agent,
                Role::Guard => guard,
                Role::Server => server,
            };
            signal(pid, Signal::CONT);
        }
    }

    /// Undoes it: whoever hung goes on, whoever is dead is started again; afterwards the cell must work, and
    /// what was held up on its way must not come into force late.
    pub(crate) async fn get_over(self, cell: &mut Cell, guard: u32) -> Outcome<()> {
        cell.proxy.heal();
        match self {
            Self::KillAgent => cell.restart_agent(),
            Self::StopAgent | Self::StopAgentAndCut => signal(cell.agent.pid(), Signal::CONT),
            Self::StopGuard => signal(guard, Signal::CONT),
            Self::StopServer => signal(cell.host.server.process.pid(), Signal::CONT),
            Self::KillRelay(number) => cell.restart_relay(number),
            Self::StopRelay(number) => signal(cell.relays[number].pid(), Signal::CONT),
            Self::KillGuard
            | Self::KillAgentAndGuard
            | Self::KillAgentAndGuardAndTear
            | Self::Cut
            | Self::Freeze => {}
            // Nobody is left to ask.
            Self::KillServer => return cell.clean().await.map(drop),
        }
        cell.still_works().await
    }
}
