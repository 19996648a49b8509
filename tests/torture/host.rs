//! The server of one or many cells.

use chaos_kitty::client::Client;
use chaos_kitty_tests::{Sandbox, Server};

use crate::cell::LEASE_FLAG;

/// A server in a folder of its own, and one connection to it.
pub(crate) struct Host {
    // Dropped before its folder.
    pub(crate) server: Server,
    pub(crate) client: Client,
    _sandbox: Sandbox,
}

impl Host {
    /// Starts one; `crash_at` is for a server that is to stop at a point.
    pub(crate) async fn start(crash_at: Option<String>) -> Self {
        let mut sandbox = Sandbox::new();
        if let Some(point) = crash_at {
            sandbox.set("KITTY_CRASH_AT", &point);
        }
        let server = sandbox.server(&["--lease", LEASE_FLAG]).await;
        Self { client: server.client().await, server, _sandbox: sandbox }
    }
}
