//! Agent and guard are killed together: whatever starts next ends everything, from the journal.

use std::time::Duration;

use chaos_kitty_tests::{Agent, Sandbox, Server, process::Process};

use crate::{
    held::{HOUR, Held, WHAT, flags},
    print, row,
    watch::watch,
};

const ROUNDS: usize = 50;

pub(crate) async fn measure() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--lease", "60s"]).await;
    let mut rows = Vec::new();
    for next in [Next::Agent, Next::Revert] {
        let mut took = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            round(&sandbox, &server, next)
                .await
                .into_iter()
                .zip(&mut took)
                .for_each(|(time, all)| all.push(time));
        }
        // Stressors die with their agent.
        rows.extend(WHAT.into_iter().zip(&took).take(2).map(|(what, took)| row(what, next.name(), took)));
    }
    print("agent and guard are killed: from the next start to the end of the fault, ms", "started", &rows);
    println!("  limit: 1000");
}

#[derive(Clone, Copy)]
enum Next {
    Agent,
    /// What a service manager runs when the agent has ended.
    Revert,
}

impl Next {
    fn name(self) -> &'static str {
        match self {
            Self::Agent => "kitty-agent",
            Self::Revert => "kitty-agent revert --all",
        }
    }
}

async fn round(sandbox: &Sandbox, server: &Server, next: Next) -> [Duration; 3] {
    let mut held = Held::begin(sandbox, server, &server.endpoint(), HOUR).await;
    held.agent.kill_with_guard();
    let [stopped, thawed, _] = held.ended();
    assert!(!stopped() && !thawed(), "nobody is left who could have ended them");
    let command = match next {
        Next::Agent => Agent::command(sandbox, &server.endpoint(), "bench", &flags()),
        Next::Revert => {
            let mut command = sandbox.command("kitty-agent");
            command.args(["revert", "--all", "--state"]).arg(Agent::state(sandbox, "bench"));
            command
        }
    };
    let folder = sandbox.path().to_owned();
    let (_next, begun, ends) = watch(move || Process::start("next", command, &folder), held.ended()).await;
    ends.map(|end| end - begun)
}
