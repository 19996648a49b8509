//! What each rule matches at this moment: a rule that matches nothing, or what nobody meant, is seen before a fault is.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    time::Duration,
};

use chaos_kitty::{Problem, text, v1::Target};
use tokio::time::{Instant, sleep};

use super::nobody;
use crate::{
    config::Config,
    platform::{
        Platforms,
        docker::{self, DockerPlatform},
        kubernetes::{self, KubernetesPlatform},
        process::{self, ProcessPlatform},
        systemd::{self, SystemdPlatform},
    },
};

/// Longest wait for a first look.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// Targets that are shown of a rule.
const SHOWN: usize = 3;
/// Longest command line that is shown, in characters.
const LONGEST: usize = 80;
/// More processes of one rule are suspicious.
const MANY: usize = 10;

/// One rule by itself.
struct Watched {
    name: String,
    /// What it looks for is written by hand, and so easily too wide.
    of_processes: bool,
    platforms: Result<Platforms, String>,
}

/// Prints a line for each rule.
pub(super) fn print(config: &Config) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let watched = watch(config);
        let deadline = Instant::now() + PATIENCE;
        for rule in watched {
            let seen = match &rule.platforms {
                Ok(platforms) => first_look(platforms, deadline).await,
                Err(what) => Err(what.clone()),
            };
            writeln!(io::stdout(), "{}", text::printable(&line(&rule, seen)))?;
        }
        Ok(())
    })
}

fn watch(config: &Config) -> Vec<Watched> {
    let mut watched = Vec::new();
    let mut add =
        |name: String, of_processes, platforms| watched.push(Watched { name, of_processes, platforms });
    for rule in &config.processes {
        let compiled = process::rules::compile(std::slice::from_ref(rule));
        let platform = compiled.map(|rules| alone(|all| all.add(ProcessPlatform::new(nobody(), rules))));
        add(rule.name.clone(), true, platform.map_err(told));
    }
    for rule in &config.services {
        let compiled = systemd::rules::compile(std::slice::from_ref(rule));
        let platform = compiled.map(|rules| alone(|all| all.add(SystemdPlatform::new(nobody(), rules))));
        add(rule.unit.clone(), false, platform.map_err(told));
    }
    for rule in &config.containers {
        let socket = config.args.docker_socket();
        let compiled = docker::rules::compile(std::slice::from_ref(rule));
        let platform =
            compiled.map(|rules| alone(|all| all.add(DockerPlatform::new(nobody(), rules, socket))));
        let name =
            [&rule.container, &rule.label].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ");
        add(name, false, platform.map_err(told));
    }
    for rule in &config.pods {
        let cluster = config.args.cluster();
        let compiled = kubernetes::rules::compile(std::slice::from_ref(rule));
        let platform =
            compiled.map(|rules| alone(|all| all.add(KubernetesPlatform::new(nobody(), rules, cluster))));
        add(rule.namespace.clone(), false, platform.map_err(told));
    }
    watched
}

fn alone(add: impl FnOnce(&mut Platforms)) -> Platforms {
    let mut platforms = Platforms::default();
    add(&mut platforms);
    platforms
}

fn told(problems: Vec<Problem>) -> String {
    problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
}

/// The targets that a platform sees when it looks for the first time.
async fn first_look(platforms: &Platforms, deadline: Instant) -> Result<Vec<Target>, String> {
    let roster = platforms.roster();
    loop {
        {
            let now = roster.borrow();
            if let Some(why) = now.problems.values().next() {
                return Err(why.clone());
            }
            if !now.targets.is_empty() {
                return Ok(now.all().map(|listed| listed.target()).collect());
            }
        }
        if Instant::now() >= deadline {
            return Err(format!("nothing was seen within {PATIENCE:?}"));
        }
        sleep(POLL).await;
    }
}

fn line(rule: &Watched, seen: Result<Vec<Target>, String>) -> String {
    let name = &rule.name;
    let targets = match seen {
        Err(why) => return format!("warning  rule {name}: {why}"),
        Ok(targets) => targets,
    };
    let Some(first) = targets.first() else {
        let how = if rule.of_processes { ": compare it with `ps -eo pid,user,comm,args`" } else { "" };
        return format!("warning  rule {name} matches nothing now{how}");
    };
    let group = &first.aggregation_identifier;
    let shown: Vec<String> = targets.iter().take(SHOWN).map(described).collect();
    let more = targets.len().checked_sub(SHOWN).filter(|more| *more > 0);
    let more = more.map(|more| format!(", and {more} more")).unwrap_or_default();
    let count = if targets.len() == 1 { "1 target".to_owned() } else { format!("{} targets", targets.len()) };
    let found = format!("rule {name} matches {count} now, group {group}: {}{more}", shown.join(", "));
    match suspicion(&targets).filter(|_| rule.of_processes) {
        Some(why) => format!("warning  {found}; {why}: narrow it with --process-command or [[process]]"),
        None => format!("ok       {found}"),
    }
}

/// Why a rule seems to match more than was meant.
fn suspicion(targets: &[Target]) -> Option<String> {
    let lines: Vec<String> = targets.iter().map(command_line).collect();
    let programs: BTreeSet<String> = lines.iter().map(|line| program(line)).collect();
    if programs.len() > 1 {
        let some: Vec<_> = programs.iter().take(SHOWN).map(String::as_str).collect();
        return Some(format!("they run {} different programs ({}, …)", programs.len(), some.join(", ")));
    }
    (targets.len() > MANY).then(|| "they are many".to_owned())
}

/// What a command line runs: its program, with the script where an interpreter runs one.
fn program(line: &str) -> String {
    let mut words = line.split_ascii_whitespace();
    let file = words.next().unwrap_or_default().rsplit('/').next().unwrap_or_default().trim_end_matches(':');
    match words.next().filter(|word| !word.starts_with('-')) {
        Some(script) => format!("{file} {script}"),
        None => file.to_owned(),
    }
}

fn described(target: &Target) -> String {
    let line: String = command_line(target).chars().take(LONGEST).collect();
    if line.is_empty() { target.name.clone() } else { format!("{} ({line})", target.name) }
}

/// Of the target's main process. Empty: it has none here.
fn command_line(target: &Target) -> String {
    let read = |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).ok();
    let bytes = target.pids.first().and_then(read).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_tells_an_interpreters_processes_apart() {
        for (line, expected) in [
            ("/usr/bin/python3 /srv/till.py --port=1", "python3 /srv/till.py"),
            ("nginx: worker process", "nginx worker"),
            ("/usr/sbin/till --port 1", "till"),
            ("", ""),
        ] {
            assert_eq!(program(line), expected);
        }
    }

    #[test]
    fn too_many_processes_are_suspicious_and_a_few_of_one_kind_are_not() {
        let mine = || Target { pids: vec![std::process::id()], ..Target::default() };
        assert_eq!(suspicion(&[mine(), mine()]), None);
        let many: Vec<_> = std::iter::repeat_with(mine).take(MANY + 1).collect();
        assert!(suspicion(&many).is_some());
        let init = Target { pids: vec![1], ..Target::default() };
        assert!(suspicion(&[mine(), init]).unwrap().contains("2 different programs"));
    }

    #[test]
    fn a_rule_that_matches_nothing_is_a_warning() {
        let rule = Watched { name: "till".into(), of_processes: true, platforms: Err(String::new()) };
        assert!(line(&rule, Ok(Vec::new())).starts_with("warning  rule till matches nothing"));
        let one =
            Target { name: "till:1".into(), aggregation_identifier: "till".into(), ..Target::default() };
        assert_eq!(line(&rule, Ok(vec![one])), "ok       rule till matches 1 target now, group till: till:1");
    }
}
