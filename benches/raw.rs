//! The peer of every dispatch: the same bytes to and fro over a bare Unix socket, between two processes.

use std::{
    env,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

const ECHO: &str = "KITTY_BENCH_ECHO";

/// A process at the other end of a Unix socket that answers `down` bytes with `up` bytes.
pub struct Echo {
    stream: UnixStream,
    child: Child,
    down: usize,
    up: usize,
}

impl Echo {
    /// Starts this executable again as the other end; its `main` must call [`answer_if_asked`] first.
    pub fn start(folder: &Path, down: usize, up: usize) -> Self {
        let path = folder.join(format!("echo-{down}-{up}.ipc"));
        let listener = UnixListener::bind(&path).unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .env(ECHO, format!("{down} {up} {}", path.display()))
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().unwrap();
        std::fs::remove_file(path).unwrap();
        Self { stream, child, down, up }
    }

    /// How long each of so many round trips took.
    pub fn measure(&mut self, times: usize) -> Vec<Duration> {
        let (down, mut up) = (vec![7; self.down], vec![0; self.up]);
        let mut trip = || {
            let started = Instant::now();
            self.stream.write_all(&down).unwrap();
            self.stream.read_exact(&mut up).unwrap();
            started.elapsed()
        };
        (0..times).map(|_| trip()).collect()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Both).unwrap();
        self.child.wait().unwrap();
    }
}

/// In the process that [`Echo::start`] started: answers until the other end is gone, then true.
pub fn answer_if_asked() -> bool {
    let Ok(told) = env::var(ECHO) else { return false };
    let mut words = told.splitn(3, ' ');
    let mut size = || words.next().unwrap().parse().unwrap();
    let (mut down, up) = (vec![0; size()], vec![7; size()]);
    let mut stream = UnixStream::connect(words.next().unwrap()).unwrap();
    while stream.read_exact(&mut down).is_ok() && stream.write_all(&up).is_ok() {}
    true
}
