//! `kitty-agent check`: what this host can do, and what is missing for the rest.

mod matches;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use chaos_kitty::{Problem, procfs::lines, text, trust::Trust};
use rustix::fs::{Access, access};

use crate::{
    config::Config,
    executor::Settings,
    host::rights,
    platform::{
        Owner,
        docker::{self, DockerPlatform},
        kubernetes::{self, KubernetesPlatform},
        process,
        systemd::{self, SystemdPlatform},
    },
    policy::Policy,
};

/// One line of the table.
struct Finding {
    what: &'static str,
    /// Why it is not there, or what it is.
    seen: Result<String, String>,
    /// What is not possible without it.
    needed_for: &'static str,
}

/// Prints the table, and what policy forbids. The exit code is 1 when no fault could be injected, and 2 when that is
/// the policy's own fault.
pub(crate) fn run(config: &Config) -> ExitCode {
    let findings = findings(config);
    let able = findings.iter().take(ESSENTIAL).all(|finding| finding.seen.is_ok());
    let policy = config.policy();
    // Nowhere to print to is no reason for another exit code.
    let _ = print(&findings).and_then(|()| print_policy(&policy)).and_then(|()| matches::print(config));
    match policy {
        Err(problem) => problem.code.exit().into(),
        Ok(_) if able => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
    }
}

/// Longest wait for whoever runs targets.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first so many findings are needed for any fault at all.
const ESSENTIAL: usize = 2;

fn findings(config: &Config) -> Vec<Finding> {
    let find = |what, seen, needed_for| Finding { what, seen, needed_for };
    let mut findings = vec![
        find("guard", guard(config), "any fault"),
        find("state folder", writable_folder(&config.args.state_folder()), "any fault"),
        find("targets", targets(config), "being of use"),
        find("cgroup", cgroup(), "scripts; pausing a whole cgroup; faults within a target's limits"),
        find(
            "a way into targets' namespaces",
            capability(rights::CAP_SYS_ADMIN, "CAP_SYS_ADMIN"),
            "scripts and their commands in containers",
        ),
        find(
            "signals to other users' processes",
            capability(rights::CAP_KILL, "CAP_KILL"),
            "delay, kill, recycling",
        ),
        find(
            "a look into other users' processes",
            capability(rights::CAP_SYS_PTRACE, "CAP_SYS_PTRACE"),
            "rules by exe; gc",
        ),
        find(
            "process events (netlink)",
            capability(rights::CAP_NET_ADMIN, "CAP_NET_ADMIN"),
            "seeing new processes at once",
        ),
    ];
    if !config.services.is_empty() {
        findings.push(find("systemd", services(config), "services as targets"));
    }
    if !config.containers.is_empty() {
        findings.push(find("docker", containers(config), "containers as targets"));
    }
    if !config.pods.is_empty() {
        findings.push(find("kubernetes", pods(config), "pods as targets"));
    }
    findings
}

fn print(findings: &[Finding]) -> io::Result<()> {
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or_default();
    let mut out = io::stdout().lock();
    for Finding { what, seen, needed_for } in findings {
        match seen {
            Ok(detail) => writeln!(out, "ok       {what:width$}  {}", text::printable(detail))?,
            Err(why) => {
                writeln!(out, "missing  {what:width$}  {} (needed for: {needed_for})", text::printable(why))?;
            }
        }
    }
    Ok(())
}

fn print_policy(policy: &Result<Policy, Problem>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let policy = match policy {
        Err(problem) => return writeln!(out, "missing  policy: {problem}"),
        Ok(policy) => policy,
    };
    let limits = policy.limits();
    if limits.is_empty() {
        writeln!(out, "ok       policy forbids nothing that is an action")?;
    }
    limits.iter().try_for_each(|limit| writeln!(out, "policy   forbids {limit}"))?;
    if policy.runs_commands() {
        writeln!(out, "ok       policy lets programs of this host run as probes")
    } else {
        writeln!(out, "policy   forbids programs of this host as probes: allow does not name command")
    }
}

fn guard(config: &Config) -> Result<String, String> {
    let beside = Settings::guard_beside_this_program;
    let path = config.args.guard.clone().map_or_else(beside, Ok).map_err(|error| error.to_string())?;
    access(&path, Access::EXEC_OK).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path.display().to_string())
}

/// The folder, or the first one above it that is there.
fn writable_folder(folder: &Path) -> Result<String, String> {
    Trust::own().check_if_there(folder).map_err(|problem| problem.message)?;
    let there = folder.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("."));
    access(there, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| format!("{}: {error}", there.display()))?;
    Ok(folder.display().to_string())
}

fn targets(config: &Config) -> Result<String, String> {
    let processes = process::rules::compile(&config.processes).map_err(joined)?;
    let unresolved: Vec<_> = processes.iter().filter_map(|rule| rule.resolve().err()).collect();
    if !unresolved.is_empty() {
        return Err(unresolved.join("; "));
    }
    let services = systemd::rules::compile(&config.services).map_err(joined)?;
    let containers = docker::rules::compile(&config.containers).map_err(joined)?;
    let pods = kubernetes::rules::compile(&config.pods).map_err(joined)?;
    match (processes.len() + services.len() + containers.len() + pods.len(), config.args.host_target) {
        (0, false) => {
            Err("none is named: give --process (--process-exe, --process-command, --process-pidfile), --systemd, --docker, --kubernetes, --host-target, or a file with \
                           [[process]], [[systemd]], [[docker]] or [[kubernetes]]"
                .to_owned())
        }
        (rules, host) => Ok(format!("rules: {rules}{}", if host { ", and the host" } else { "" })),
    }
}

fn joined(problems: Vec<Problem>) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What systemd answers.
fn services(config: &Config) -> Result<String, String> {
    let rules = systemd::rules::compile(&config.services).map_err(joined)?;
    answered(SystemdPlatform::new(nobody(), rules).probe())
}

/// What the Kubernetes API answers.
fn pods(config: &Config) -> Result<String, String> {
    let rules = kubernetes::rules::compile(&config.pods).map_err(joined)?;
    answered(KubernetesPlatform::new(nobody(), rules, config.args.cluster()).probe())
}

/// What Docker answers.
fn containers(config: &Config) -> Result<String, String> {
    let rules = docker::rules::compile(&config.containers).map_err(joined)?;
    answered(DockerPlatform::new(nobody(), rules, config.args.docker_socket()).probe())
}

fn answered(probe: impl Future<Output = Result<String, String>>) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let looked = async { tokio::time::timeout(PATIENCE, probe).await };
    let seen = runtime.map_err(|error| error.to_string())?.block_on(looked);
    seen.unwrap_or_else(|_| Err(format!("it did not answer within {PATIENCE:?}")))
}

/// Whose targets they would be does not matter here.
fn nobody() -> Owner {
    Owner { agent_id: String::new(), host: String::new(), labels: BTreeMap::new() }
}

/// The version of the hierarchy that freezes and kills, and whether this process may make cgroups there.
fn cgroup() -> Result<String, String> {
    let own = fs::read("/proc/self/cgroup").map_err(|error| error.to_string())?;
    let unified = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
    let unified = unified.into_iter().find(|root| root.join("cgroup.controllers").exists());
    let (version, folder) = match unified {
        Some(root) => ("v2", root.join(own_path(&own, b"0::"))),
        None => ("v1", Path::new("/sys/fs/cgroup/freezer").join(own_path(&own, b":freezer:"))),
    };
    access(&folder, Access::WRITE_OK).map_err(|error| format!("{version}, {}: {error}", folder.display()))?;
    Ok(format!("{version}, {}", folder.display()))
}

/// The path after `mark` in /proc/self/cgroup (cgroups(7)), relative to the hierarchy's root.
fn own_path<'a>(text: &'a [u8], mark: &[u8]) -> &'a Path {
    let path = lines(text).find_map(|line| {
        let begin = line.windows(mark.len()).position(|window| window == mark)?;
        line.get(begin + mark.len()..)
    });
    let path = Path::new(OsStr::from_bytes(path.unwrap_or_default()));
    path.strip_prefix("/").unwrap_or(path)
}

fn capability(number: u32, name: &str) -> Result<String, String> {
    if rights::has(number) { Ok(name.to_owned()) } else { Err(format!("this process has no {name}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_read_from_either_version() {
        let text = b"11:cpu,cpuacct:/a\n7:freezer:/b/\xc4\n0::/d\n";
        assert_eq!(own_path(text, b"0::"), Path::new("d"));
        assert_eq!(own_path(text, b":freezer:").as_os_str().as_bytes(), b"b/\xc4");
        assert_eq!(own_path(b"", b"0::"), Path::new(""));
    }

    #[test]
    fn a_folder_that_can_be_made_counts_as_there() {
        let folder = tempfile::tempdir().unwrap();
        assert!(writable_folder(&folder.path().join("a/b")).is_ok());
    }
}
