//! Instruments: what the demo measures by itself, without asking the kitty.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use chaos_kitty::procfs;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustix::param::{clock_ticks_per_second, page_size};
use tokio::net::TcpStream;

use crate::output::text;

/// Longest wait for the example service: longer than any delay that the demo unleashes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests whose slowest is the latency.
const LATENCY_REQUESTS: usize = 4;
/// Requests of which the failing ones are counted.
const FAILURE_REQUESTS: usize = 60;
/// How long processor time is watched.
const LOAD_WINDOW: Duration = Duration::from_millis(800);

/// Something that can be measured on a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gauge {
    /// The slowest of some requests, in milliseconds.
    Latency,
    /// Requests that are answered with an error, in percent.
    Failures,
    /// Resident memory of the service, in bytes.
    Resident,
    /// Resident memory of the agent's children, in bytes.
    StressResident,
    /// Processor load of the service, in percent of a core.
    Load,
    /// Processor load of the agent's children, in percent of a core.
    StressLoad,
    /// 1 when the process stands still, else 0.
    Stopped,
    /// 1 when the process has ended, else 0.
    Gone,
}

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    /// The example service's process.
    pub(super) pid: u32,
    /// Where it serves HTTP.
    pub(super) http: SocketAddr,
    /// The agent's process; stressors are its descendants.
    pub(super) agent: u32,
}

impl Gauge {
    /// What is measured, in words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Failures => "failed requests",
            Self::Resident => "resident memory",
            Self::StressResident => "memory of stressors",
            Self::Load => "cpu load",
            Self::StressLoad => "cpu load of stressors",
            Self::Stopped | Self::Gone => "process",
        }
    }

    /// Measures once.
    pub(super) async fn read(self, subject: &Subject) -> f64 {
        let Subject { pid, http, agent } = *subject;
        match self {
            Self::Latency => latency(http).await,
            Self::Failures => failures(http).await,
            Self::Resident => resident(pid) as f64,
            Self::StressResident => descendants(agent).into_iter().map(resident).sum::<u64>() as f64,
            Self::Load => load(|| cpu_time(pid)).await,
            Self::StressLoad => load(|| descendants(agent).into_iter().map(cpu_time).sum()).await,
            Self::Stopped => f64::from(u8::from(matches!(state(pid), Some('T' | 't')))),
            Self::Gone => f64::from(u8::from(!is_alive(pid))),
        }
    }

    /// A reading as people read it.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Latency => text::duration(Duration::from_secs_f64(value / 1e3)),
            Self::Failures | Self::Load | Self::StressLoad => format!("{value:.0}%"),
            Self::Resident | Self::StressResident => text::bytes(value as u64),
            Self::Stopped => if value > 0.5 { "stopped" } else { "runs" }.to_owned(),
            Self::Gone => if value > 0.5 { "gone" } else { "runs" }.to_owned(),
        }
    }
}

async fn latency(http: SocketAddr) -> f64 {
    let mut slowest = Duration::ZERO;
    for _ in 0..LATENCY_REQUESTS {
        let begun = Instant::now();
        request(http).await;
        slowest = slowest.max(begun.elapsed());
    }
    slowest.as_secs_f64() * 1e3
}

async fn failures(http: SocketAddr) -> f64 {
    let mut failed = 0;
    for _ in 0..FAILURE_REQUESTS {
        failed += usize::from(!request(http).await);
    }
    failed as f64 * 100.0 / FAILURE_REQUESTS as f64
}

/// Whether the service answers with success.
pub(super) async fn request(http: SocketAddr) -> bool {
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, get(http)).await;
    answer.ok().flatten().is_some_and(|status| status.is_success())
}

async fn get(address: SocketAddr) -> Option<http::StatusCode> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = http::Request::get("/").header("Host", address.to_string()).body(Empty::<Bytes>::new());
    let exchange = async {
        let response = sender.send_request(request.ok()?).await.ok()?;
        let status = response.status();
        response.into_body().collect().await.ok()?;
        Some(status)
    };
    tokio::pin!(exchange);
    tokio::select! {
        status = &mut exchange => status,
        _ = connection => exchange.await,
    }
}

/// Processor time gained within a window, in percent of a core.
async fn load(cpu_time: impl Fn() -> Duration) -> f64 {
    let (begun, before) = (Instant::now(), cpu_time());
    tokio::time::sleep(LOAD_WINDOW).await;
    cpu_time().saturating_sub(before).as_secs_f64() * 100.0 / begun.elapsed().as_secs_f64()
}

/// Resident bytes; 0 for a process that is gone.
fn resident(pid: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * page_size() as u64
}

/// User and system time; none for a process that is gone.
fn cpu_time(pid: u32) -> Duration {
    let field = |index| stat_field(pid, index)?.parse::<u64>().ok();
    let ticks = field(11).unwrap_or(0) + field(12).unwrap_or(0);
    Duration::from_millis(ticks * 1000 / clock_ticks_per_second())
}

/// The state letter of `/proc/PID/stat`.
pub(super) fn state(pid: u32) -> Option<char> {
    stat_field(pid, 0)?.chars().next()
}

/// Whether it exists and is no zombie.
pub(super) fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Field `index` of those that follow the command in `/proc/PID/stat` (0: the state).
fn stat_field(pid: u32, index: usize) -> Option<String> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let (_, mut fields) = procfs::stat(&stat)?;
    fields.nth(index).map(str::to_owned)
}

/// Children, their children, and so on.
pub(super) fn descendants(ancestor: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut children = HashMap::<u32, Vec<u32>>::new();
    for pid in pids.filter(|pid| is_alive(*pid)) {
        if let Some(parent) = stat_field(pid, 1).and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![ancestor];
    while let Some(parent) = open.pop() {
        let next = children.remove(&parent).unwrap_or_default();
        open.extend(&next);
        found.extend(next);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_is_seen_among_the_descendants_until_it_ends() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep starts");
        let me = std::process::id();
        assert!(descendants(me).contains(&child.id()));
        assert!(resident(child.id()) > 0 && is_alive(child.id()));
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        assert!(!descendants(me).contains(&child.id()) && !is_alive(child.id()));
    }

    #[tokio::test]
    async fn a_busy_thread_is_seen_as_load() {
        let pid = std::process::id();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = stop.clone();
        let busy = std::thread::spawn(move || while !seen.load(std::sync::atomic::Ordering::Relaxed) {});
        let load = load(|| cpu_time(pid)).await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        busy.join().expect("it ends");
        assert!(load > 5.0, "{load}");
    }

    #[tokio::test]
    async fn nobody_at_the_address_is_a_failed_request() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        assert!(!request(address).await);
    }
}
