//! One HTTP/1.0 request to a local Unix socket (the Engine's), without a body.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// Longest wait for the socket to take or give anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the request. Blocks.
///
/// # Errors
/// The socket can not be reached, or the answer is not 2xx, 304 (it is so already) or 404 (the target is gone).
pub(crate) fn request(socket: &Path, method: &str, path: &str) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")?;
    let mut status = String::new();
    BufReader::new(io::Read::take(stream, 1024)).read_line(&mut status)?;
    match status.split_ascii_whitespace().nth(1).and_then(|code| code.parse().ok()) {
        Some(200..=299 | 304 | 404) => Ok(()),
        _ => Err(io::Error::other(format!("{method} {path} on {}: {}", socket.display(), status.trim()))),
    }
}
