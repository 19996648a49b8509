//! Which node is reached through which neighbour, and what becomes of each message. Pure: it answers with
//! what is to be sent, and sends nothing.

use std::collections::HashMap;

use chaos_kitty::{
    Code, Problem,
    hello::{check_hello, refusal},
    v1::{
        AgentMessage, Goodbye, Hello, ServerMessage, agent_message::Kind as Up, agent_role::Name as Role,
        server_message::Kind as Down,
    },
};

/// One neighbour's stream.
pub(super) type Link = u64;

/// What is to be done with a message.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there are few at a time, and most are of the large kind")]
pub(super) enum Effect {
    /// To be sent to the server.
    Up(AgentMessage),
    /// To be sent to a neighbour.
    Down(Link, ServerMessage),
    /// A neighbour's stream is to be ended.
    Cut(Link, Problem),
}

/// Which life of a node a Hello speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Life {
    boot_id: String,
    pid: u32,
    start_time: u64,
}

impl Life {
    fn of(hello: &Hello) -> Self {
        Self { boot_id: hello.boot_id.clone(), pid: hello.pid, start_time: hello.start_time }
    }

    /// Both are known to be the same process.
    fn is(&self, other: &Self) -> bool {
        self.pid != 0 && self == other
    }
}

struct Route {
    link: Link,
    life: Life,
}

struct Neighbour {
    id: String,
    role: Role,
}

/// See the module.
pub(super) struct Table {
    own: String,
    neighbours: HashMap<Link, Neighbour>,
    routes: HashMap<String, Route>,
}

impl Table {
    /// For the relay of that id.
    pub(super) fn new(own: String) -> Self {
        Self { own, neighbours: HashMap::new(), routes: HashMap::new() }
    }

    /// The link through which a node is reached.
    pub(super) fn link_of(&self, node: &str) -> Option<Link> {
        self.routes.get(node).map(|route| route.link)
    }

    /// A neighbour presents itself on a new link. `older_ended`: the process that had its id is known to
    /// have ended.
    pub(super) fn attach(
        &mut self,
        link: Link,
        hello: Hello,
        older_ended: bool,
    ) -> Result<Vec<Effect>, Problem> {
        if !hello.path.is_empty() {
            return Err(violation("a neighbour's own Hello has relays in its path"));
        }
        let neighbour = Neighbour { id: hello.agent_id.clone(), role: hello.role() };
        let effects = self.learn(link, hello, older_ended)?;
        self.neighbours.insert(link, neighbour);
        Ok(effects)
    }

    /// A message of a neighbour. An error ends its stream.
    pub(super) fn upward(&mut self, link: Link, message: AgentMessage) -> Result<Vec<Effect>, Problem> {
        let Some(neighbour) = self.neighbours.get(&link) else { return Ok(Vec::new()) };
        let (own, worker) = (neighbour.id.clone(), neighbour.role == Role::Worker);
        let relayed = !message.node.is_empty();
        let node = if relayed { message.node } else { own.clone() };
        match message.kind {
            None => Ok(Vec::new()), // of a kind that only later versions know
            Some(Up::Hello(_)) if !relayed => Err(violation("there was a Hello on this stream already")),
            Some(Up::Hello(_)) if worker => Err(violation("only agents relay")),
            Some(Up::Hello(hello)) => Ok(self.relayed_hello(link, &own, node, hello)),
            // What a node still says after it was refused or has left means nothing.
            Some(_) if self.link_of(&node) != Some(link) => Ok(Vec::new()),
            Some(kind) => {
                if matches!(kind, Up::Goodbye(_)) {
                    self.routes.remove(&node);
                }
                Ok(vec![Effect::Up(AgentMessage { node, kind: Some(kind) })])
            }
        }
    }

    /// A message of the server for a node behind this one. One that is not there any more was said so.
    pub(super) fn downward(&mut self, mut message: ServerMessage) -> Vec<Effect> {
        let Some(link) = self.link_of(&message.node) else { return Vec::new() };
        let direct = self.neighbours.get(&link).is_some_and(|neighbour| neighbour.id == message.node);
        let refused = match &message.kind {
            Some(Down::Refusal(refusal)) => Some(refusal.problem.clone().unwrap_or_default().into()),
            _ => None,
        };
        if refused.is_some() {
            self.routes.remove(&message.node);
        }
        if direct {
            message.node.clear();
        }
        let cut = refused.filter(|_| direct).map(|problem| Effect::Cut(link, problem));
        [Effect::Down(link, message)].into_iter().chain(cut).collect()
    }

    /// A neighbour's stream is over: all nodes behind it are gone, and the server is told.
    pub(super) fn detach(&mut self, link: Link, process_ended: bool) -> Vec<Effect> {
        let Some(neighbour) = self.neighbours.remove(&link) else { return Vec::new() };
        let behind = self.routes.extract_if(|_, route| route.link == link);
        let goodbye = |(node, _): (String, Route)| {
            let ended = process_ended && node == neighbour.id;
            let reason = if ended { "its process ended" } else { "its connection to the relay was lost" };
            Effect::Up(goodbye(node, reason, ended))
        };
        behind.map(goodbye).collect()
    }

    /// A node behind a neighbour presents itself. A refusal is told to that node, the neighbour goes on.
    fn relayed_hello(&mut self, link: Link, neighbour: &str, node: String, hello: Hello) -> Vec<Effect> {
        let checked = match hello.path.last() {
            _ if hello.agent_id != node => Err(violation("a relayed Hello is not of the node that it names")),
            Some(last) if last == neighbour => self.learn(link, hello, false),
            _ => Err(violation("the path of a relayed Hello does not end with its relay")),
        };
        checked.unwrap_or_else(|problem| {
            let kind = Some(Down::Refusal(refusal(problem)));
            vec![Effect::Down(link, ServerMessage { node, kind })]
        })
    }

    /// Checks a Hello, remembers the way to its node and sends it on.
    fn learn(&mut self, link: Link, mut hello: Hello, older_ended: bool) -> Result<Vec<Effect>, Problem> {
        if hello.agent_id == self.own || hello.path.contains(&self.own) {
            let message = format!("node {:?} would be relayed by {:?} to itself", hello.agent_id, self.own);
            return Err(Problem::new(Code::RelayLoop, message).hint(
                "give each agent its own --name, and no agent the socket of one behind it as --server",
            ));
        }
        hello.path.push(self.own.clone());
        check_hello(&hello)?;
        let life = Life::of(&hello);
        let mut effects = self.replace(&hello.agent_id, link, &life, older_ended)?;
        self.routes.insert(hello.agent_id.clone(), Route { link, life });
        let node = hello.agent_id.clone();
        effects.push(Effect::Up(AgentMessage { node, kind: Some(Up::Hello(hello)) }));
        Ok(effects)
    }

    /// Two links with one id: the newer wins if it is the same process or the other has ended, else it is
    /// refused.
    fn replace(
        &mut self,
        node: &str,
        link: Link,
        life: &Life,
        older_ended: bool,
    ) -> Result<Vec<Effect>, Problem> {
        let Some(older) = self.routes.get(node) else { return Ok(Vec::new()) };
        if !older_ended && !older.life.is(life) {
            let message =
                format!("node {node:?} (pid {}) is attached already, with pid {}", life.pid, older.life.pid);
            return Err(Problem::new(Code::DuplicateAgent, message)
                .hint("give each node an id of its own (--name), or end the other one"));
        }
        let older = older.link;
        self.routes.remove(node);
        let mut effects = vec![Effect::Up(goodbye(node.to_owned(), "it attached anew", older_ended))];
        if older != link && self.neighbours.get(&older).is_some_and(|neighbour| neighbour.id == node) {
            let message = format!("node {node:?} attached anew on another stream");
            effects.push(Effect::Cut(older, Problem::new(Code::DuplicateAgent, message)));
        }
        Ok(effects)
    }
}

fn goodbye(node: String, reason: &str, process_ended: bool) -> AgentMessage {
    AgentMessage { node, kind: Some(Up::Goodbye(Goodbye { reason: reason.to_owned(), process_ended })) }
}

/// The stream broke the protocol.
pub(super) fn violation(what: &str) -> Problem {
    Problem::new(Code::ProtocolViolation, what).hint("see the comments in proto/chaoskitty/v1/agent.proto")
}
