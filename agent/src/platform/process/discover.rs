//! Finds the processes that rules name, and keeps them current.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chaos_kitty::v1;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    Owner, Platform as _, ProcessPlatform, Publisher,
    events::Events,
    rules::Rule,
    scan::{self, Candidate},
};
use crate::{
    host::{
        cgroup::Extent,
        process::{Process, ended},
    },
    platform::{Subject, support},
};

/// A full look at /proc follows the one before by this for each thousand processes begun.
const PAUSE_PER_THOUSAND: Duration = Duration::from_secs(1);

/// With word from the kernel, a full look without any comes this often.
const UNPROMPTED: Duration = Duration::from_secs(30);

/// How often the health of known targets is looked at.
const HEALTH_EVERY: Duration = Duration::from_secs(1);

/// A process that has just forked is about to execute its program.
const SETTLE: Duration = Duration::from_millis(20);

/// A process target: the topmost process that matches a rule, with its descendants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Index of the rule.
    pub rule: usize,
    /// The main process first, then its descendants in order.
    pub pids: Vec<u32>,
}

/// The targets among the processes of `snapshot`, ordered by rule and pid. A process that matches several rules belongs to the first. `pidfiles` is what
/// the rules' pid files hold. The kitty's own processes (`own`) are neither targets nor part of one, and an
/// ancestor of theirs is no target.
pub fn match_rules(
    snapshot: &HashMap<u32, Candidate>,
    rules: &[Rule],
    pidfiles: &[Option<u32>],
    own: &HashSet<u32>,
) -> Vec<Match> {
    let rule_of: HashMap<u32, usize> = snapshot
        .values()
        .filter(|process| is_eligible(process) && !own.contains(&process.pid))
        .filter_map(|process| {
            let mut numbered = rules.iter().zip(pidfiles).enumerate();
            let (rule, _) = numbered.find(|(_, (rule, pidfile))| rule.matches(process, **pidfile))?;
            Some((process.pid, rule))
        })
        .collect();
    let own_ancestors: HashSet<u32> = own.iter().flat_map(|&pid| ancestors(snapshot, pid)).collect();
    let children = children(snapshot);
    let mut matches: Vec<Match> = rule_of
        .iter()
        .filter(|(pid, rule)| {
            !own_ancestors.contains(pid)
                && ancestors(snapshot, **pid).all(|above| rule_of.get(&above) != Some(*rule))
        })
        .map(|(&pid, &rule)| {
            let tree = tree(&children, pid).into_iter().filter(|pid| !own.contains(pid));
            Match { rule, pids: tree.collect() }
        })
        .collect();
    matches.sort_by_key(|found| (found.rule, found.pids.first().copied()));
    matches
}

/// PID 1, kernel threads and what has ended are no targets.
fn is_eligible(process: &Candidate) -> bool {
    let kernel_thread = process.exe.is_none() && process.command_line.is_empty();
    process.pid > 1 && !kernel_thread && !matches!(process.state, 'Z' | 'X')
}

fn ancestors(snapshot: &HashMap<u32, Candidate>, pid: u32) -> impl Iterator<Item = u32> {
    let parent = |pid: u32| snapshot.get(&pid).map(|process| process.parent).filter(|&parent| parent > 0);
    // A snapshot is not taken at one instant, so a recycled pid may close a circle.
    std::iter::successors(parent(pid), move |&pid| parent(pid)).take(snapshot.len())
}

fn children(snapshot: &HashMap<u32, Candidate>) -> HashMap<u32, Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for process in snapshot.values() {
        children.entry(process.parent).or_default().push(process.pid);
    }
    children
}

/// A process and its descendants, itself first, the others in order.
fn tree(children: &HashMap<u32, Vec<u32>>, root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut seen = HashSet::from([root]);
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        let more = children.get(pid).into_iter().flatten().copied();
        let fresh: Vec<u32> = more.filter(|child| seen.insert(*child)).collect();
        found.extend(fresh);
        next += 1;
    }
    found[1..].sort_unstable();
    found
}

/// The agent with its guard and stressors, and those of any other agent on this host.
fn own_processes(snapshot: &HashMap<u32, Candidate>) -> HashSet<u32> {
    const PROGRAMS: [&str; 2] = ["kitty-agent", "kitty-guard"];
    let children = children(snapshot);
    let programs =
        snapshot.values().filter(|process| PROGRAMS.iter().any(|program| process.name == program.as_bytes()));
    let roots = programs.map(|process| process.pid).chain([std::process::id()]);
    roots.flat_map(|root| tree(&children, root)).collect()
}

/// What the server is told of the matches.
fn subjects(
    owner: &Owner,
    rules: &[Rule],
    snapshot: &HashMap<u32, Candidate>,
    matches: &[Match],
) -> Vec<Subject> {
    let mains = matches.iter().filter_map(|found| Some((found, snapshot.get(found.pids.first()?)?)));
    let mut named: Vec<_> = mains
        .map(|(found, main)| {
            let name = rules[found.rule].captured_name(main, || scan::environment(main.pid));
            (found, main, name)
        })
        .collect();
    let mut times_used: HashMap<String, usize> = HashMap::new();
    for name in named.iter().filter_map(|(_, _, name)| name.clone()) {
        *times_used.entry(name).or_default() += 1;
    }
    named
        .drain(..)
        .map(|(found, main, captured)| {
            let rule = &rules[found.rule];
            let name = match captured {
                Some(name) if times_used.get(&name) == Some(&1) => name,
                Some(name) => format!("{name}:{}", main.pid),
                None => format!("{}:{}", rule.settings().name, main.pid),
            };
            subject(owner, rule, main, name, found.pids.clone())
        })
        .collect()
}

fn subject(owner: &Owner, rule: &Rule, main: &Candidate, name: String, pids: Vec<u32>) -> Subject {
    let labels = owner.labels.iter().chain(&rule.settings().labels);
    let extent = Extent { main: Process { pid: main.pid, start_time: main.start_time }, cgroup: None };
    let offered = support::of_supervised(ProcessPlatform::TYPE, &extent, true);
    let target = v1::Target {
        id: format!("process/{}/{name}", owner.agent_id),
        incarnation: format!("{}:{}", main.pid, main.start_time),
        platform_type: ProcessPlatform::TYPE.to_owned(),
        aggregation_identifier: rule.group().to_owned(),
        name,
        agent_id: owner.agent_id.clone(),
        host: owner.host.clone(),
        pids,
        cattle: rule.settings().cattle,
        health: health(main.state).into(),
        actions: offered.map(i32::from).collect(),
        labels: labels
            .map(|(name, value)| (name.clone(), value.clone()))
            .chain([("rule".to_owned(), rule.settings().name.clone())])
            .collect(),
        ..Default::default()
    };
    Subject { target, main: Some(extent.main), ..Subject::default() }
}

/// A process that is stopped or traced answers nobody.
fn health(state: char) -> v1::target_health::State {
    match state {
        'Z' | 'X' => v1::target_health::State::DoesNotExist,
        'T' | 't' => v1::target_health::State::Unknown,
        _ => v1::target_health::State::Normal,
    }
}

/// What a full look shows.
struct Seen {
    /// How many processes there are.
    processes: usize,
    targets: Vec<Subject>,
    /// Of rules that match nothing yet.
    problem: Option<String>,
}

/// A full look, on a thread where it may block.
fn look(owner: &Owner, rules: &[Rule]) -> std::io::Result<Seen> {
    let mut troubles: Vec<_> = rules.iter().filter_map(|rule| rule.resolve().err()).collect();
    let snapshot = scan::scan(rules.iter().any(|rule| rule.settings().user.is_some()))?;
    let mut pidfiles = Vec::with_capacity(rules.len());
    for rule in rules {
        let read = rule.read_pidfile().map_err(|why| troubles.push(why));
        pidfiles.push(read.unwrap_or_default());
    }
    let matches = match_rules(&snapshot, rules, &pidfiles, &own_processes(&snapshot));
    let mut targets = subjects(owner, rules, &snapshot, &matches);
    // The look takes a while: who was seen at its beginning and has ended did not live together with who came since.
    targets.retain(|subject| subject.main.is_none_or(|main| !main.has_ended()));
    Ok(Seen {
        processes: snapshot.len(),
        targets,
        problem: (!troubles.is_empty()).then(|| troubles.join("; ")),
    })
}

/// How long to wait between two full looks.
fn pause(processes: usize) -> Duration {
    PAUSE_PER_THOUSAND * u32::try_from(processes / 1000 + 1).unwrap_or(u32::MAX)
}

/// Keeps the roster's processes current: by word of the kernel where there is any, else by looking at intervals.
pub(super) async fn watch(owner: Owner, rules: Arc<[Rule]>, publisher: Publisher) {
    let events = Events::subscribe()
        .inspect_err(|error| tracing::debug!(%error, "no process events: looking at intervals"))
        .ok();
    Watch { owner, rules, publisher, events, ends: JoinSet::new(), watched: HashSet::new() }.run().await;
}

struct Watch {
    owner: Owner,
    rules: Arc<[Rule]>,
    publisher: Publisher,
    events: Option<Events>,
    /// The ends of main processes, as they come.
    ends: JoinSet<Process>,
    watched: HashSet<Process>,
}

impl Watch {
    async fn run(mut self) {
        loop {
            let began = Instant::now();
            if let Some(events) = &self.events {
                events.drain();
            }
            let Seen { processes, targets: found, problem } = match self.look().await {
                Ok(seen) => seen,
                Err(error) => {
                    self.publisher.lost(format!("/proc can not be read: {error}"));
                    sleep_until(began + UNPROMPTED).await;
                    continue;
                }
            };
            self.publisher.problem(problem);
            for main in found.iter().filter_map(|subject| subject.main) {
                if self.watched.insert(main) {
                    self.ends.spawn(end_of(main));
                }
            }
            self.publisher.replace(found.clone());
            self.wait(began + pause(processes), began + UNPROMPTED, found).await;
        }
    }

    async fn look(&self) -> std::io::Result<Seen> {
        let (owner, rules) = (self.owner.clone(), self.rules.clone());
        let looked = tokio::task::spawn_blocking(move || look(&owner, &rules)).await;
        looked.map_err(std::io::Error::other).flatten()
    }

    /// Keeps up what was found until it is time for the next full look.
    async fn wait(&mut self, earliest: Instant, latest: Instant, mut found: Vec<Subject>) {
        let mut next = if self.events.is_some() { latest } else { earliest };
        let mut second = tokio::time::interval(HEALTH_EVERY);
        // What was heard is remembered here, for each turn of the loop drops what the others wait for.
        let mut heard = false;
        loop {
            tokio::select! {
                Some(Ok(gone)) = self.ends.join_next() => {
                    self.watched.remove(&gone);
                    found.retain(|subject| subject.main != Some(gone));
                    self.publisher.replace(found.clone());
                }
                _ = second.tick() => {
                    let changed = found.iter_mut().filter_map(look_again).count();
                    if changed > 0 {
                        self.publisher.replace(found.clone());
                    }
                }
                word = word(self.events.as_ref()), if !heard => {
                    heard = true;
                    next = earliest.max(Instant::now() + SETTLE);
                    if let Err(error) = word {
                        tracing::debug!(%error, "process events broke off: looking at intervals");
                        self.events = None;
                    }
                }
                () = sleep_until(next) => return,
            }
        }
    }
}

/// Waits for the end of a process. What can not be watched (out of descriptors) is missed at the next full look.
async fn end_of(main: Process) -> Process {
    if ended(main).await.is_err() {
        std::future::pending::<()>().await;
    }
    main
}

/// Brings the health of a known target up to date, for the kernel sends no word of it. `None`: no change.
fn look_again(subject: &mut Subject) -> Option<()> {
    // What cannot be looked at now may be well all the same.
    let stat = subject.main?.look().ok()?;
    let health = health(stat.map_or('X', |stat| stat.state)).into();
    (std::mem::replace(&mut subject.target.health, health) != health).then_some(())
}

/// Waits for word of the kernel. Without a subscription, for ever.
async fn word(events: Option<&Events>) -> std::io::Result<()> {
    let Some(events) = events else { return std::future::pending().await };
    events.changed().await
}

#[cfg(test)]
mod tests;
