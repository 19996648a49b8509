//! kittyd from start to end.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use chaos_kitty::{
    Problem,
    ending::{Endings, Told},
    notify::Notify,
    telemetry::{self, Verbosity},
    text,
    v1::chaos_server::ChaosServer,
};
use tokio::{runtime::Runtime, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::{
    api,
    app::App,
    config::{Command, Config},
    listen::{Certificates, Listeners},
    store::{self, Store},
    task::{self, OnPanic},
};

/// How long the end may take, together with [`CONNECTIONS_PATIENCE`] well below what service managers grant.
const DRAIN_PATIENCE: Duration = Duration::from_secs(6);
/// How long requests under way may take after that.
const CONNECTIONS_PATIENCE: Duration = Duration::from_secs(2);
/// How long the runtime's own threads may take.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(1);

/// Runs the program as it is told, and says how it ends: 0 done, 1 it failed, 2 it was told nonsense, whether that
/// is found on the command line or by trying.
pub fn main() -> ExitCode {
    let config = match Config::load() {
        Ok(config) => config,
        Err(error) => return error.report(),
    };
    let outcome = match config.command {
        Some(Command::Check) => check(&config),
        None => Runtime::new().map_err(Problem::internal).and_then(|runtime| {
            let outcome = runtime.block_on(serve(config));
            runtime.shutdown_timeout(RUNTIME_PATIENCE);
            outcome
        }),
    };
    let Err(problem) = outcome else { return ExitCode::SUCCESS };
    // Nowhere to print to is no reason for another exit code.
    let _ = writeln!(io::stderr(), "{}", text::lines(&format!("kittyd: {problem}")));
    problem.code.exit().into()
}

fn check(config: &Config) -> Result<(), Problem> {
    let aside = store::check(&config.store)?;
    let mut out = io::stdout();
    let _ = writeln!(out, "{}: the store is sound", config.store.display());
    if !aside.is_empty() {
        let _ = writeln!(out, "{} of its records can not be used:", aside.len());
    }
    for line in aside {
        // What a record says of itself is not for a terminal as it is.
        let _ = writeln!(out, "  {}", line.escape_debug());
    }
    Ok(())
}

/// Binds everything, serves until a signal, and drains.
async fn serve(config: Config) -> Result<(), Problem> {
    let telemetry = telemetry::init("kittyd", &config.telemetry)?;
    task::report_panics();
    let mut endings = Endings::of_a_service().map_err(Problem::internal)?;
    let notify = Notify::from_environment();
    let listeners = Listeners::bind(&config.listen()).await?;
    let store = Store::open(&config.store)?;
    let app = App::start(config.app(), store.clone()).await?;
    let certificates = listeners.certificates();
    let listening = listeners.listening();
    let addresses = listening.addresses.join(" ");
    app.listens_on(listening);
    let health = HealthReporter::new();
    let router = api::router(app.service(), config.allowed_hosts(), &health, telemetry.verbosity()).await?;

    let stop = CancellationToken::new();
    let serving = task::spawn(OnPanic::Abort, listeners.serve(router, stop.clone(), CONNECTIONS_PATIENCE));
    tracing::info!(addresses, store = %config.store.display(), "kittyd serves");
    notify.tell("READY=1");
    loop {
        tokio::select! {
            told = endings.next() => match told {
                Told::End => break,
                Told::Reload => notify.reload(|| reload(telemetry.verbosity(), certificates.as_deref())),
            },
            () = notify.keep_watchdog_quiet() => {}
        }
    }

    notify.tell("STOPPING=1");
    tracing::info!("told to end: nothing is admitted any more");
    not_serving(&health, &app).await;
    let end = async {
        if timeout(DRAIN_PATIENCE, app.drain()).await.is_err() {
            tracing::warn!("ending although not everything is drained; leases end what is left");
        }
        stop.cancel();
        serving.await.map_err(Problem::internal)?;
        store.settle().await
    };
    tokio::select! {
        ended = end => ended,
        () = endings.end() => {
            tracing::warn!("told to end again: ending at once");
            Ok(())
        }
    }
}

/// Reads log level and the certificate again; all else needs a restart.
fn reload(verbosity: &Verbosity, certificates: Option<&Certificates>) -> Result<(), String> {
    let config = Config::load().map_err(|error| error.to_string())?;
    if let (Some(certificates), Some(cert), Some(key)) = (certificates, &config.tls_cert, &config.tls_key) {
        certificates.replace(cert, key).map_err(|problem| problem.to_string())?;
    }
    verbosity.replace(&config.telemetry.log).map_err(|problem| problem.to_string())
}

async fn not_serving(health: &HealthReporter, app: &App) {
    fn name<C: chaos_kitty::v1::chaos_server::Chaos>(_: &C) -> &'static str {
        <ChaosServer<C> as tonic::server::NamedService>::NAME
    }
    let status = tonic_health::ServingStatus::NotServing;
    for service in ["", name(&*app.service())] {
        health.set_service_status(service, status).await;
    }
}
