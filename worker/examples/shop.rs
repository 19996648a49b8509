//! A small web shop that lets ChaosKitty play with it:
//!
//! ```sh
//! cargo run -p chaos-kitty-worker --example shop
//! kittyctl unleash error --group shop --message boom --probability 0.2 --duration 30s
//! kittyctl unleash delay --group shop --duration 2s
//! ```

use std::{error::Error, io::Write, net::SocketAddr};

use axum::{Router, extract::Query, http::StatusCode, routing::get};
use chaos_kitty_worker::{Endpoint, Worker, inject, inject_async};
use clap::Parser;
use serde_json::json;

/// A small web shop that lets ChaosKitty play with it.
#[derive(Parser)]
struct Args {
    /// Where to serve HTTP; port 0 lets the system choose.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The server or agent to attach to. Default: KITTY_SERVER, else the usual sockets.
    #[arg(long)]
    server: Option<String>,
    /// The name it is shown by.
    #[arg(long, default_value = "shop")]
    name: String,
    /// The group that it belongs to.
    #[arg(long, default_value = "shop")]
    group: String,
}

// One thread, so that a delay is felt by everyone at once.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args = Args::parse();

    let server = Endpoint::lookup(args.server.as_deref(), true)?;
    let worker = Worker::builder(args.name).group(args.group).label("tier", "web").connect_to(server)?;

    let app = Router::new()
        .route("/", get(catalogue))
        .route("/buy", get(buy))
        .layer(worker.layer("http")) // requests wait or fail here; routes below are left alone
        .route("/health", get(|| async { "ok\n" }));
    let listener = tokio::net::TcpListener::bind(args.listen).await?;
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    axum::serve(listener, app).await?;
    Ok(())
}

/// The whole catalogue: a little work for the processor, and a guarded call.
async fn catalogue() -> Result<String, (StatusCode, String)> {
    inject_async("db").await.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))?;
    let total: u64 = (1..=1000u64).map(|cents| cents * cents % 97).sum();
    Ok(format!("1000 toys for cats, {total} cents together\n"))
}

/// What one item costs: a guarded point in code that is not async.
async fn buy(Query(item): Query<Vec<(String, u32)>>) -> Result<String, (StatusCode, String)> {
    inject("stock").map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok(json!({ "bought": item.len() }).to_string() + "\n")
}
