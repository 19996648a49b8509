//! What a service manager is told: sd_notify(3), a datagram each.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

/// The way to the service manager; to nobody, where none asked.
#[derive(Debug)]
pub struct Notify(Option<UnixDatagram>);

impl Notify {
    /// As `NOTIFY_SOCKET` says.
    pub fn from_environment() -> Self {
        Self(env::var("NOTIFY_SOCKET").ok().and_then(|name| connected(&name)))
    }

    /// Sends e.g. `READY=1`. A service manager that is gone is no reason to fail.
    pub fn tell(&self, state: &str) {
        if let Some(Err(error)) = self.0.as_ref().map(|socket| socket.send(state.as_bytes())) {
            tracing::debug!(%error, state, "the service manager was not told");
        }
    }

    /// Tells what a SIGHUP asked for: `again` reads the files again. What can not be read leaves everything as it was.
    pub fn reload(&self, again: impl FnOnce() -> Result<(), String>) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
        match again() {
            Ok(()) => {
                tracing::info!("the files were read again");
                self.tell("READY=1\nSTATUS=the files were read again");
            }
            Err(why) => {
                tracing::error!(why, "the files can not be read again: everything stays as it was");
                self.tell("READY=1\nSTATUS=the files can not be read again, see the log");
            }
        }
    }

    /// Tells the watchdog, where one waits, that the runtime turns: twice as often as it asks.
    pub async fn keep_watchdog_quiet(&self) {
        let asked = env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let Some(interval) = asked.filter(|micros| *micros > 1).map(Duration::from_micros) else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(interval / 2);
        loop {
            ticks.tick().await;
            self.tell("WATCHDOG=1");
        }
    }
}

fn connected(name: &str) -> Option<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect_addr(&address.ok()?).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_hears_it_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("kitty-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        for (manager, name) in
            [(by_path, path.to_str().unwrap().to_owned()), (by_name, format!("@{abstract_name}"))]
        {
            Notify(connected(&name)).tell("READY=1");
            let mut heard = [0; 16];
            let length = manager.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1");
        }
        Notify(connected("/no/such/socket")).tell("READY=1");
    }
}
