//! What an agent is told: flags, variables, file (see [`chaos_kitty::settings`]).

mod entry;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use chaos_kitty::{
    Code, Problem,
    client::TlsFiles,
    endpoint::Endpoint,
    settings::{self, Loaded, SettingsError},
    telemetry,
};
use clap::{Parser, Subcommand};

use crate::{
    platform::{docker, kubernetes, process, systemd},
    policy::Policy,
};
use entry::rules;

/// The keys of the file that hold rules as tables, besides the names that the flags take.
const PROCESS: &str = "process";
const SYSTEMD: &str = "systemd";
const DOCKER: &str = "docker";
const KUBERNETES: &str = "kubernetes";
const TABLES: [&str; 4] = [PROCESS, SYSTEMD, DOCKER, KUBERNETES];

/// Where Docker listens unless it is told to listen elsewhere.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Where the policy is unless it is named.
const POLICY: &str = "/etc/chaos-kitty/policy.toml";

const ABOUT: &str = "Carries faults out on the targets of this host, and puts them back.

Only what is named here is a target: processes by --process and its like, services by --systemd, containers by --docker or by \
their own label, pods by --kubernetes, all of them also by tables in the file; the host by --host-target.";

const EXAMPLES: &str = "Examples:
  kitty-agent --process nginx --process 'plex=Plex Media Server'
  kitty-agent --process-command 'till=python3 .*till.py'
  kitty-agent --systemd 'web@*' --docker 'mongo-*'
  kitty-agent --server http://kitty.example:8080 --host-target --group web
  kitty-agent --config /etc/chaos-kitty/agent.toml
  kitty-agent check
  kitty-agent revert --all";

/// Flags of kitty-agent.
#[derive(Debug, Parser)]
#[command(name = "kitty-agent", version, about = ABOUT, after_help = EXAMPLES)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// The server, or another agent's socket: unix:PATH, http://HOST:PORT or https://HOST:PORT. Default:
    /// ./chaos_kitty.ipc, else /run/chaos-kitty/chaos_kitty.ipc
    #[arg(long, value_name = "ADDRESS")]
    server: Option<Endpoint>,
    /// Certificates of the authorities to trust, PEM (https)
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// This agent's certificate chain, PEM (mutual TLS)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The name in the server's certificate, where it is not the host of --server
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,

    /// Offer the processes of this name, or program's file name, as targets. NAME= gives the rule, and so the group,
    /// another name, for this flag and the three below. Repeatable
    #[arg(long, value_name = "[NAME=]PROCESS", global = true)]
    process: Vec<String>,
    /// Offer the processes of this program, by its absolute path or file name, as targets. Repeatable
    #[arg(long, value_name = "[NAME=]PROGRAM", global = true)]
    process_exe: Vec<String>,
    /// Offer the processes whose arguments, joined with spaces, match this regular expression as targets. Repeatable
    #[arg(long, value_name = "[NAME=]REGEX", global = true)]
    process_command: Vec<String>,
    /// Offer the process whose pid is in this file as a target. Repeatable
    #[arg(long, value_name = "[NAME=]FILE", global = true)]
    process_pidfile: Vec<String>,
    /// Offer the systemd services of this name as targets; * is any text. Repeatable
    #[arg(long, value_name = "UNIT", global = true)]
    systemd: Vec<String>,
    /// Offer the Docker containers of this name as targets; * is any text. Repeatable
    #[arg(long, value_name = "NAME", global = true)]
    docker: Vec<String>,
    /// Offer the Docker containers that have the label chaoskitty=true
    #[arg(long, global = true)]
    docker_opt_in: bool,
    /// Where Docker listens. Default: that of $DOCKER_HOST, else /var/run/docker.sock
    #[arg(long, value_name = "PATH", global = true)]
    docker_socket: Option<PathBuf>,
    /// Offer the Kubernetes pods of this namespace that run on this host as targets; * is any text. Repeatable
    #[arg(long, value_name = "NAMESPACE", global = true)]
    kubernetes: Vec<String>,
    /// How the cluster is reached. Default: $KUBECONFIG, else ~/.kube/config, else the cluster that this runs in
    #[arg(long, value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    /// The name of this host's node: only its pods are watched, which spares the API server of a large cluster
    #[arg(long, value_name = "NAME", global = true)]
    kubernetes_node: Option<String>,
    /// Offer the host itself as a target
    #[arg(long, global = true)]
    pub(crate) host_target: bool,

    /// This agent's id. Default: that of last time, else made of the host's name
    #[arg(long, value_name = "ID")]
    pub(crate) name: Option<String>,
    /// The host's name in targets. Default: this agent's id
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// The group of the host as a target
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// A label of this agent and its host. Repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,

    /// What is kept over restarts. Default: /var/lib/chaos-kitty as root, else
    /// $XDG_STATE_HOME/chaos-kitty
    #[arg(long, value_name = "DIR", global = true)]
    state: Option<PathBuf>,
    /// Let workers and other agents of this host attach here: unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<Endpoint>,
    /// The group that may connect to --listen, by name or number. Default: this process's own
    #[arg(long, value_name = "GROUP")]
    pub(crate) listen_group: Option<String>,
    /// What the owner of this host allows, whatever the server orders. Default: /etc/chaos-kitty/policy.toml, if
    /// it is there
    #[arg(long, value_name = "FILE", global = true)]
    policy: Option<PathBuf>,
    /// The program kitty-guard. Default: beside this one
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) guard: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) telemetry: telemetry::Args,
}

/// What else kitty-agent does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what this host can do, what policy forbids, and what is missing for the rest
    Check,
    /// Put back what an agent and its guard left that were killed together; no agent may run
    Revert(Revert),
    /// Forget which server was obeyed, after a wrong one was believed; no agent may run
    ForgetServer,
}

/// What is to be put back.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["all", "id", "clear"])))]
pub(crate) struct Revert {
    /// Everything that was left
    #[arg(long)]
    all: bool,
    /// Only this action
    pub(crate) id: Option<String>,
    /// Put nothing back, but let faults be injected again after a damaged journal was set aside
    #[arg(long)]
    pub(crate) clear: bool,
}

/// Flags and file, read and checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) args: Args,
    /// Of `--process` and of the file's tables.
    pub(crate) processes: Vec<process::rules::RuleSettings>,
    /// Of `--systemd` and of the file's tables.
    pub(crate) services: Vec<systemd::rules::RuleSettings>,
    /// Of `--docker`, `--docker-opt-in` and of the file's tables.
    pub(crate) containers: Vec<docker::rules::RuleSettings>,
    /// Of `--kubernetes` and of the file's tables.
    pub(crate) pods: Vec<kubernetes::rules::RuleSettings>,
}

/// Reads the command line, the environment and the file.
///
/// # Errors
/// See [`SettingsError`].
pub(crate) fn load() -> Result<Config, SettingsError> {
    settings::load::<Args>(&TABLES).and_then(config)
}

fn config(loaded: Loaded<Args>) -> Result<Config, SettingsError> {
    let processes = processes(&loaded)?;
    let services = rules(&loaded, SYSTEMD, &loaded.args.systemd)?;
    let mut containers: Vec<docker::rules::RuleSettings> = rules(&loaded, DOCKER, &loaded.args.docker)?;
    containers.extend(loaded.args.docker_opt_in.then(docker::rules::RuleSettings::opt_in));
    let pods = rules(&loaded, KUBERNETES, &loaded.args.kubernetes)?;
    Ok(Config { args: loaded.args, processes, services, containers, pods })
}

/// Those of the flags, then those of the file.
fn processes(loaded: &Loaded<Args>) -> Result<Vec<process::rules::RuleSettings>, SettingsError> {
    use process::rules::RuleSettings;
    let args = &loaded.args;
    let mut found: Vec<_> = args.process_exe.iter().map(|text| RuleSettings::of_program(text)).collect();
    found.extend(args.process_command.iter().map(|text| RuleSettings::of_command(text)));
    found.extend(args.process_pidfile.iter().map(|text| RuleSettings::of_pidfile(text)));
    found.extend(rules(loaded, PROCESS, &args.process)?);
    Ok(found)
}

impl Config {
    /// What the owner of this host allows.
    ///
    /// # Errors
    /// [`Code::Usage`]: the file can not be read, or is malformed.
    pub(crate) fn policy(&self) -> Result<Policy, Problem> {
        let path = match &self.args.policy {
            Some(path) => path,
            None if Path::new(POLICY).exists() => Path::new(POLICY),
            None => return Ok(Policy::default()),
        };
        Policy::read(path).map_err(|error| {
            Problem::new(Code::Usage, error.to_string())
                .hint("nothing may be injected here before the policy can be applied")
        })
    }
}

impl Args {
    /// Where to attach.
    ///
    /// # Errors
    /// [`Code::Usage`].
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Problem> {
        self.server.clone().map_or_else(|| Endpoint::lookup(None, false), Ok)
    }

    /// The files for TLS.
    pub(crate) fn tls(&self) -> TlsFiles {
        let (ca, cert, key) = (self.tls_ca.clone(), self.tls_cert.clone(), self.tls_key.clone());
        TlsFiles { ca, cert, key, name: self.tls_name.clone() }
    }

    /// The path of the local socket.
    ///
    /// # Errors
    /// [`Code::Usage`]: agents listen on no port.
    pub(crate) fn listen_path(&self) -> Result<Option<PathBuf>, Problem> {
        match &self.listen {
            None => Ok(None),
            Some(Endpoint::Unix(path)) => Ok(Some(path.clone())),
            Some(other) => {
                Err(Problem::new(Code::Usage, format!("--listen {other}: an agent listens on no port"))
                    .hint("write unix:PATH; from other hosts, attach to the server"))
            }
        }
    }

    /// Labels, the group among them.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let group = self.group.iter().map(|group| ("group".to_owned(), group.clone()));
        self.label.iter().cloned().chain(group).collect()
    }

    /// Where Docker listens.
    pub(crate) fn docker_socket(&self) -> PathBuf {
        let named = || env::var("DOCKER_HOST").ok()?.strip_prefix("unix://").map(PathBuf::from);
        self.docker_socket.clone().or_else(named).unwrap_or_else(|| DOCKER_SOCKET.into())
    }

    /// Which cluster, and how much of it.
    pub(crate) fn cluster(&self) -> kubernetes::Settings {
        kubernetes::Settings { kubeconfig: self.kubeconfig.clone(), node: self.kubernetes_node.clone() }
    }

    /// The state folder.
    pub(crate) fn state_folder(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| {
            let home =
                || env::var_os("HOME").map_or_else(|| "/tmp".into(), PathBuf::from).join(".local/state");
            if rustix::process::geteuid().is_root() {
                return "/var/lib/chaos-kitty".into();
            }
            env::var_os("XDG_STATE_HOME").map_or_else(home, PathBuf::from).join("chaos-kitty")
        })
    }
}

/// The host's own name.
pub(crate) fn host_name() -> String {
    String::from_utf8_lossy(&fs::read("/proc/sys/kernel/hostname").unwrap_or_default()).trim().to_owned()
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn load(flags: &[&str], file: &str) -> Result<Config, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        fs::write(&path, file).unwrap();
        let line =
            ["kitty-agent", "--config", path.to_str().unwrap()].into_iter().chain(flags.iter().copied());
        settings::load_from::<Args>(line.map(Into::into).collect(), &TABLES).and_then(config)
    }

    #[test]
    fn rules_come_from_flags_and_from_names_and_tables_of_the_file() {
        let file = "name = 'web-1'\n[[process]]\nname = 'shop'\ncommand_line = 'shop.*'\n";
        let config = load(&["--process", "nginx"], file).unwrap();
        let names: Vec<_> = config.processes.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["nginx", "shop"]);
        assert_eq!(config.args.name.as_deref(), Some("web-1"));
        let names = load(&[], "process = ['a', 'b']").unwrap().processes;
        assert_eq!(names, ["a", "b"].map(process::rules::RuleSettings::named));
    }

    #[test]
    fn services_and_containers_are_named_alike() {
        let file = "[[systemd]]\nunit = 'web@*'\ngroup = 'front'\n\n[[docker]]\nlabel = 'tier=back'\n";
        let flags = ["--systemd", "nginx", "--docker", "mongo-*", "--docker-opt-in"];
        let config = load(&flags, file).unwrap();
        let units: Vec<_> = config.services.iter().map(|rule| rule.unit.as_str()).collect();
        assert_eq!(units, ["nginx", "web@*"]);
        let docker = docker::rules::RuleSettings::named("mongo-*");
        assert_eq!((config.containers.len(), &config.containers[0]), (3, &docker));
        assert!(load(&[], "[[docker]]\nimage = 'x'\n").is_err());
    }

    #[test]
    fn every_mistake_of_a_table_is_told_with_its_line() {
        let file = "[[process]]\nname = 'shop'\nexes = 'x'\n\n[[process]]\nexe = 'y'\n";
        let Err(SettingsError::File(lines)) = load(&[], file) else { panic!("it was accepted") };
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains(":3:") && lines[0].contains("exes"), "{lines:?}");
        assert!(lines[1].contains("name"), "{lines:?}");
    }

    #[test]
    fn what_can_not_be_used_is_refused_at_once() {
        assert!(load(&["--label", "novalue"], "").is_err());
        assert!(load(&["--server", "nowhere"], "").is_err());
        assert!(load(&["--tls-cert", "x.pem"], "").is_err());
        let args = load(&["--listen", "http://127.0.0.1:1"], "").unwrap().args;
        assert_eq!(args.listen_path().unwrap_err().code, Code::Usage);
    }

    #[test]
    fn the_packaged_file_is_a_good_one() {
        let text = include_str!("../../packaging/agent.toml");
        // What begins with `##` is prose.
        let settings = text.lines().filter(|line| !line.starts_with("##"));
        let uncommented: String =
            settings.map(|line| format!("{}\n", line.trim_start_matches("# "))).collect();
        assert!(load(&[], text).unwrap().processes.is_empty());
        let config = load(&[], &uncommented).unwrap_or_else(|error| panic!("{error}"));
        assert!(config.args.host_target && config.processes.last().is_some_and(|rule| rule.cattle));
        assert_eq!((config.services.len(), config.containers.len(), config.pods.len()), (1, 1, 1));
        for flag in Args::command().get_arguments().filter_map(clap::Arg::get_long) {
            let named = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{flag} = "));
            let is_no_setting =
                ["help", "version", "process", "systemd", "docker", "kubernetes"].contains(&flag);
            assert!(is_no_setting || text.lines().any(named), "{flag} is not in the file");
        }
    }

    #[test]
    fn settings_in_force_can_be_read_back() {
        let file = "[[process]]\nname = 'shop'\nexe = 'x'\n";
        let flags = ["--process", "nginx", "--label", "a=b", "--dump-config"];
        let Err(SettingsError::Dump(text)) = load(&flags, file) else { panic!("nothing was dumped") };
        let again = load(&[], &text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
        let mut names: Vec<_> = again.processes.iter().map(|rule| rule.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["nginx", "shop"]);
        assert_eq!(again.args.labels().get("a").map(String::as_str), Some("b"));
    }
}
