//! What kittyd is told: flags, variables, file (see [`chaos_kitty::settings`]).

mod experiment;
mod schedule;
mod webhook;

use std::{path::PathBuf, time::Duration};

use chaos_kitty::{
    endpoint::{DEFAULT_SOCKET, Endpoint},
    limits,
    settings::{self, SettingsError},
    telemetry,
    units::positive_duration,
};
use clap::{Parser, Subcommand, value_parser};

use crate::{
    api::guard::AllowedHosts,
    app,
    event::notify::Webhook,
    listen,
    safety::{ACTIVE_MAX, Limits},
};

pub use experiment::ExperimentArgs;
pub use schedule::ScheduleArgs;

const ABOUT: &str =
    "The control plane of ChaosKitty: keeps the fleet, orders faults, and sees that each one ends.

Everything is a flag, a variable KITTY_* and a key of the file that --config names.";

const EXAMPLES: &str = "Examples:
  kittyd
  kittyd --listen unix:/run/chaos-kitty/chaos_kitty.ipc --store /var/lib/chaos-kitty/chaos_kitty.db
  kittyd --listen https://0.0.0.0:8443 --tls-cert kitty.pem --tls-key kitty.key --tls-client-ca ca.pem
  kittyd --config kittyd.toml --dump-config
  kittyd check";

/// Settings of kittyd.
#[derive(Debug, Parser)]
#[command(name = "kittyd", version, about = ABOUT, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Config {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Where to listen: unix:PATH, http://HOST:PORT or https://HOST:PORT. Repeatable
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    #[arg(default_values_t = [Endpoint::Unix(DEFAULT_SOCKET.into()), default_tcp()])]
    pub listen: Vec<Endpoint>,
    /// The store's file, made where it is not there
    #[arg(long, value_name = "FILE", default_value = "chaos_kitty.db", global = true)]
    pub store: PathBuf,

    /// The certificate chain of https:// addresses, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Ask clients for a certificate of these authorities, PEM (mutual TLS)
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Allow plain http:// on addresses that other machines can reach: whoever reaches them can order faults
    #[arg(long)]
    pub insecure: bool,
    /// A name under which this server may be addressed on loopback, besides localhost. Repeatable
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub allowed_host: Vec<String>,

    /// Faults end this long after the last sign of life of the server, 2s to 10m
    #[arg(long, value_name = "DURATION", value_parser = lease, default_value = "15s")]
    pub lease: Duration,
    /// The longest duration of a fault
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "1h")]
    pub max_duration: Duration,
    /// How long a stream of news may be silent before it repeats itself; less than the read timeout of proxies
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "20s")]
    pub heartbeat: Duration,
    /// How long an order may take to be acknowledged
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "5s")]
    pub start_timeout: Duration,
    /// A group counts as large as it was within this time, for the survivors that it must keep
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "10m")]
    pub survivor_window: Duration,
    /// Targets of each group of two or more that are always left alone
    #[arg(long, value_name = "COUNT", value_parser = at_least_one, default_value_t = 1)]
    pub min_survivors: usize,
    /// Percent of a group of two or more that may be hurt at a time, rounded down, but one target may be
    #[arg(long, value_name = "PERCENT", value_parser = value_parser!(u8).range(1..=100), default_value_t = 100)]
    pub max_percent: u8,
    /// Faults at a time on the targets of one group
    #[arg(long, value_name = "COUNT", value_parser = faults, default_value_t = ACTIVE_MAX)]
    pub max_faults_per_group: usize,
    /// Faults at a time in the whole fleet
    #[arg(long, value_name = "COUNT", value_parser = faults, default_value_t = ACTIVE_MAX)]
    pub max_faults: usize,
    /// A folder of scripts besides the included ones; whoever may order faults may run them on targets
    #[arg(long, value_name = "FOLDER")]
    pub scripts_dir: Option<PathBuf>,
    /// Revert every fault before ending; else agents keep theirs until deadline or lease
    #[arg(long)]
    pub halt_on_exit: bool,

    /// Experiments.
    #[command(flatten)]
    pub experiments: ExperimentArgs,
    /// Automatic experiments.
    #[command(flatten)]
    pub schedule: ScheduleArgs,
    /// Platforms with a plan of their own, of the file.
    #[arg(skip)]
    pub platforms: Vec<(String, ScheduleArgs)>,
    /// Where notifications go, of the file.
    #[arg(skip)]
    pub webhooks: Vec<Webhook>,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: telemetry::Args,
}

/// What kittyd can do besides serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Read the whole store and say whether it is sound
    Check,
}

fn default_tcp() -> Endpoint {
    Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 8080, tls: false }
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = positive_duration(text)?;
    let (least, most) = (limits::LEASE_RANGE.start(), limits::LEASE_RANGE.end());
    if limits::LEASE_RANGE.contains(&lease) {
        return Ok(lease);
    }
    Err(format!("it must be from {} to {} s", least.as_secs(), most.as_secs()))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be 1 or more".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("it must be a whole number".to_owned()),
    }
}

fn faults(text: &str) -> Result<usize, String> {
    let count = at_least_one(text)?;
    if count <= ACTIVE_MAX { Ok(count) } else { Err(format!("it must be {ACTIVE_MAX} or less")) }
}

impl Config {
    /// Reads all layers.
    ///
    /// # Errors
    /// See [`settings::load`].
    pub fn load() -> Result<Self, SettingsError> {
        let loaded = settings::load::<Self>(&[schedule::PLATFORM, webhook::WEBHOOK])?;
        let plans = loaded.tables(schedule::PLATFORM)?.into_iter();
        let (platforms, mut mistakes) = sorted(plans.map(|table| loaded.args.schedule.overridden(table)));
        let (webhooks, wrong) = sorted(loaded.tables(webhook::WEBHOOK)?.into_iter().map(webhook::read));
        mistakes.extend(wrong);
        if mistakes.is_empty() {
            return Ok(Self { platforms, webhooks, ..loaded.args });
        }
        Err(SettingsError::File(mistakes))
    }

    /// What the listeners need.
    pub fn listen(&self) -> listen::Settings {
        listen::Settings {
            endpoints: self.listen.clone(),
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            tls_client_ca: self.tls_client_ca.clone(),
            insecure: self.insecure,
        }
    }

    /// Names that a request may be for.
    pub fn allowed_hosts(&self) -> AllowedHosts {
        self.allowed_host.iter().cloned().collect()
    }

    /// What the app needs. A halt is kept in a file beside the store.
    pub fn app(&self) -> app::Settings {
        let mut latch = self.store.clone().into_os_string();
        latch.push(".halted");
        app::Settings {
            lease: self.lease,
            longest_fault: self.max_duration,
            start_timeout: self.start_timeout,
            survivor_window: self.survivor_window,
            limits: Limits {
                min_survivors: self.min_survivors,
                max_percent: self.max_percent,
                max_faults_per_group: self.max_faults_per_group,
                max_faults: self.max_faults,
            },
            latch: Some(latch.into()),
            scripts_dir: self.scripts_dir.clone(),
            halt_on_exit: self.halt_on_exit,
            experiments: self.experiments.settings(self.min_survivors, &self.schedule.automated_methods),
            webhooks: self.webhooks.clone(),
            heartbeat: self.heartbeat,
            schedule: self.schedule.settings(
                self.experiments.experiment_tick,
                self.min_survivors,
                &self.platforms,
            ),
        }
    }
}

/// Those that went well, and why the others did not.
fn sorted<T, E>(all: impl Iterator<Item = Result<T, E>>) -> (Vec<T>, Vec<E>) {
    let (mut well, mut wrong) = (Vec::new(), Vec::new());
    all.for_each(|one| match one {
        Ok(one) => well.push(one),
        Err(one) => wrong.push(one),
    });
    (well, wrong)
}

#[cfg(test)]
mod tests {
    use chaos_kitty::endpoint::DEFAULT_TCP;

    use super::*;
    use crate::action;

    fn parse(flags: &[&str]) -> Result<Config, clap::Error> {
        Config::try_parse_from(["kittyd"].iter().chain(flags))
    }

    #[test]
    fn without_flags_it_listens_where_the_manual_says() {
        let config = parse(&[]).unwrap();
        let listen: Vec<_> = config.listen.iter().map(Endpoint::to_string).collect();
        assert_eq!(listen, ["unix:chaos_kitty.ipc", DEFAULT_TCP]);
        assert_eq!(config.store, PathBuf::from("chaos_kitty.db"));
        assert_eq!(config.app().latch, Some(PathBuf::from("chaos_kitty.db.halted")));
        assert_eq!((config.lease, config.max_duration), (limits::LEASE, action::LONGEST));
        assert_eq!(config.survivor_window, app::Settings::default().survivor_window);
        assert_eq!(config.app().limits, Limits::default());
        assert_eq!(config.heartbeat, app::Settings::default().heartbeat);
        assert_eq!(config.start_timeout, app::Settings::default().start_timeout);
        assert_eq!(config.app().experiments, app::Settings::default().experiments);
    }

    #[test]
    fn addresses_add_up_and_replace_the_defaults() {
        let config = parse(&["--listen", "unix:a", "--listen", "unix:b,http://[::1]:1"]).unwrap();
        let listen: Vec<_> = config.listen.iter().map(Endpoint::to_string).collect();
        assert_eq!(listen, ["unix:a", "unix:b", "http://[::1]:1"]);
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for flags in [
            ["--lease", "1s"],
            ["--lease", "11m"],
            ["--max-duration", "0s"],
            ["--listen", "8080"],
            ["--min-survivors", "0"],
            ["--max-percent", "101"],
            ["--max-percent", "0"],
            ["--max-faults-per-group", "0"],
            ["--max-faults", "10001"],
        ] {
            assert!(parse(&flags).is_err(), "{flags:?}");
        }
        assert!(parse(&["check", "--store", "x.db"]).is_ok_and(|config| config.store.ends_with("x.db")));
    }
}
