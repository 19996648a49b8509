//! `kitty-agent restore-size`: what a guard runs to undo a scale-down. It reads no file of settings and no environment: what
//! was armed is all that it depends on.

use std::{ffi::OsString, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use chaos_kitty::{Code, Problem};
use chaos_kitty_guard::clock::boot_time;
use clap::Parser;

use super::{
    cluster::{Cluster, Way},
    workload::{Kind, Restored, Workload},
};

/// The first argument.
pub(crate) const SUBCOMMAND: &str = "restore-size";

/// Longest time for one try: the API server may be away. The guard tries a few times.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// It gives up by itself before that, to say why.
const PATIENCE: Duration = Duration::from_secs(45);

/// Pause before the API server is asked again.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// An order that a killed agent sent in its last moment may still be on its way: what is as it should be is looked at
/// again after this.
const IN_FLIGHT: Duration = Duration::from_secs(2);

/// Gives a Deployment, StatefulSet or ReplicaSet at least that many replicas, unless it is gone
#[derive(Debug, Parser)]
#[command(group(clap::ArgGroup::new("way").required(true).args(["kubeconfig", "api_server"])))]
struct Order {
    /// How the cluster is reached
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The same, as the account of the pod that this runs in
    #[arg(long, value_name = "URL")]
    api_server: Option<String>,
    kind: Kind,
    namespace: String,
    name: String,
    uid: String,
    replicas: u32,
}

/// Does what the arguments say. It exits with 0 when the workload has that many, or is gone.
pub(crate) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let order = match Order::try_parse_from([SUBCOMMAND.into()].into_iter().chain(arguments)) {
        Ok(order) => order,
        Err(error) => error.exit(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime
        .map_err(|error| Problem::internal(format!("starting the runtime: {error}")))
        .and_then(|runtime| runtime.block_on(restore(order)));
    done.map_or_else(|problem| crate::report(&problem), |()| ExitCode::SUCCESS)
}

async fn restore(order: Order) -> Result<(), Problem> {
    let Order { kubeconfig, api_server, kind, namespace, name, uid, replicas } = order;
    let way = kubeconfig.map(Way::Kubeconfig).or(api_server.map(Way::Account));
    let way = way.ok_or_else(|| Problem::new(Code::Usage, "no cluster is named"))?;
    let cluster = Cluster::by(way).await.map_err(|why| Problem::new(Code::Usage, why))?;
    let workload = Workload { cluster: Arc::new(cluster), kind, namespace, name };
    let until = boot_time() + PATIENCE;
    let mut was_whole = false;
    loop {
        match workload.restore(&uid, replicas).await {
            Ok(Restored::Raised) => return Ok(()),
            Ok(Restored::Whole) if was_whole => return Ok(()),
            Ok(Restored::Whole) => {
                was_whole = true;
                tokio::time::sleep(IN_FLIGHT).await;
            }
            Err(problem) if is_passing(problem.code) && boot_time() < until => {
                tokio::time::sleep(TRY_AGAIN).await;
            }
            Err(problem) => return Err(problem),
        }
    }
}

/// Whether asking again may help: the API server is away, or somebody else changed it in between.
fn is_passing(code: Code) -> bool {
    matches!(code, Code::NoAnswer | Code::Recycled)
}
