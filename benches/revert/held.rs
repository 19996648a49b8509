//! An agent that holds faults.

use std::{
    fs,
    time::{Duration, Instant},
};

use chaos_kitty::{
    endpoint::Endpoint,
    v1::{
        Action, AllocateMemory, Delay, SpinCpu, UnleashRequest, action::Kind, action_state::Name as State,
        unleash_request::Choice,
    },
};
use chaos_kitty_tests::{Agent, Sandbox, Server, process};

use crate::{
    target::{Cgroup, Target},
    watch::Ended,
};

/// Longer than any measurement.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The faults of [`Held`], by what ends them.
pub(crate) const WHAT: [&str; 3] = ["SIGCONT", "thaw", "kill"];
const NAMES: [&str; 3] = ["stopped", "frozen", "burnt"];

/// Targets with a fault each, and their agent.
pub(crate) struct Held {
    pub(crate) agent: Agent,
    /// When each was asked for, a little before it was in force.
    pub(crate) asked: [Instant; 3],
    stressor: u32,
    stopped: Target,
    // Its process goes before the cgroup.
    _frozen: Target,
    cgroup: Cgroup,
    _burnt: Target,
}

/// What an agent must be told to have these targets.
pub(crate) fn flags() -> Vec<&'static str> {
    NAMES.iter().flat_map(|name| ["--process", name]).collect()
}

impl Held {
    /// Three faults on three targets of an agent that is attached here.
    pub(crate) async fn begin(
        sandbox: &Sandbox,
        server: &Server,
        attach_to: &Endpoint,
        duration: Duration,
    ) -> Self {
        let [stopped, frozen, burnt] = NAMES.map(|name| Target::idle(sandbox, name));
        let cgroup = Cgroup::of(&frozen);
        let agent = sandbox.agent_behind(server, attach_to, "bench", &flags()).await;
        let kinds = [
            Kind::Delay(Delay::default()),
            Kind::Delay(Delay::default()),
            Kind::Cpu(SpinCpu { cores: 1, load: 1 }),
        ];
        let mut asked = [Instant::now(); 3];
        for (((kind, name), target), asked) in
            kinds.into_iter().zip(NAMES).zip([&stopped, &frozen, &burnt]).zip(&mut asked)
        {
            *asked = begin(server, name, target, kind, duration).await;
        }
        let stressor = agent.stressor();
        Self { agent, asked, stressor, stopped, _frozen: frozen, cgroup, _burnt: burnt }
    }

    /// Whether each has ended.
    pub(crate) fn ended(&self) -> [Ended; 3] {
        let (pid, stressor) = (self.stopped.pid(), self.stressor);
        [
            Box::new(move || process::state(pid) != Some('T')),
            Box::new(self.cgroup.is_thawed()),
            Box::new(move || !process::is_alive(stressor)),
        ]
    }

    /// Resident memory of the guard.
    pub(crate) fn cost_of_guard(&self) -> String {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.agent.guard())).unwrap();
        let field = |name: &str| {
            let value = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            value.trim().trim_end_matches(" kB").to_owned()
        };
        format!("{} KiB resident, {} KiB of it anonymous", field("Rss:"), field("Anonymous:"))
    }
}

/// Memory that an agent holds for a target.
pub(crate) struct Filled {
    pub(crate) agent: Agent,
    stressor: u32,
    _target: Target,
}

impl Filled {
    pub(crate) async fn begin(sandbox: &Sandbox, server: &Server, bytes: u64) -> Self {
        let target = Target::idle(sandbox, "filled");
        let agent = sandbox.agent(server, "bench", &["--process", "filled"]).await;
        begin(server, "filled", &target, Kind::Memory(AllocateMemory { size_bytes: bytes }), HOUR).await;
        let stressor = agent.stressor();
        Self { agent, stressor, _target: target }
    }

    pub(crate) fn ended(&self) -> Ended {
        let stressor = self.stressor;
        Box::new(move || !process::is_alive(stressor))
    }
}

/// Returns when it was asked for, once it is in force.
async fn begin(server: &Server, name: &str, target: &Target, kind: Kind, duration: Duration) -> Instant {
    let target = server.target(&format!("{name}:{}", target.pid())).await;
    let request = UnleashRequest {
        action: Some(Action { duration: Some(duration.into()), kind: Some(kind) }),
        choice: Some(Choice::Target(target.id)),
        source: "bench".to_owned(),
        ..Default::default()
    };
    let asked = Instant::now();
    let mut updates = server.client().await.unleash(request).await.unwrap().into_inner();
    while let Some(update) = updates.message().await.unwrap() {
        match update.state() {
            State::Started => return asked,
            State::Admitted | State::Accepted => {}
            _ => panic!("{update:?}"),
        }
    }
    panic!("the server said nothing of {name}");
}
