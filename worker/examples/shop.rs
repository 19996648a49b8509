//! A small web shop that lets ChaosKitty play with it:
//!
//! ```sh
//! cargo run -p chaos-kitty-worker --example shop
//! kittyctl unleash error --group shop --message boom --probability 0.2 --duration 30s
//! kittyctl unleash delay --group shop --duration 2s
//! ```

use std::{error::Error, io::Write, net::SocketAddr};

use axum::{Router, extract::Path, http::StatusCode, routing::get};
use chaos_kitty_worker::{Endpoint, Injected, Worker, inject_async};
use clap::Parser;

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

    let guarded = Router::new().route("/", get(catalogue)).layer(worker.layer("http"));
    let app = guarded.route("/buy/{item}", get(buy)).route("/health", get(async || "ok\n"));
    let listener = tokio::net::TcpListener::bind(args.listen).await?;
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    axum::serve(listener, app).await?;
    Ok(())
}

/// The whole catalogue: a little work for the processor. Its requests wait or fail in the layer.
async fn catalogue() -> String {
    let cents: u64 = (1..=1000u64).map(|toy| toy * toy % 97).sum();
    format!("1000 toys for cats, {cents} cents together\n")
}

/// Buys one of them: the call to the stock is guarded by itself.
async fn buy(Path(item): Path<u32>) -> Result<String, (StatusCode, String)> {
    let left = take_from_stock(item).await.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))?;
    Ok(format!("yours; {left} left\n"))
}

async fn take_from_stock(item: u32) -> Result<u32, Injected> {
    inject_async("db").await?;
    Ok(item % 7)
}
