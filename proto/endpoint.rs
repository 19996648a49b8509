//! Addresses of the control plane and of an agent's local socket.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{Code, Problem};

/// The server's socket in the working directory.
pub const DEFAULT_SOCKET: &str = "chaos_kitty.ipc";
/// The server's socket as packaged.
pub const SYSTEM_SOCKET: &str = "/run/chaos-kitty/chaos_kitty.ipc";
/// The agent's socket for workers, as packaged.
pub const AGENT_SOCKET: &str = "/run/chaos-kitty/agent.ipc";
/// The server's default TCP address.
pub const DEFAULT_TCP: &str = "http://127.0.0.1:8080";
/// Its port.
pub const DEFAULT_PORT: u16 = 8080;
/// The variable that names the server.
pub const VARIABLE: &str = "KITTY_SERVER";

/// Where a program listens or dials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `unix:PATH`
    Unix(PathBuf),
    /// `http://host:port`, or `https://host:port` with TLS.
    Tcp {
        /// A host name or an address, IPv6 without brackets.
        host: String,
        /// The port; 0 lets the system choose when listening.
        port: u16,
        /// With TLS.
        tls: bool,
    },
}

impl Endpoint {
    /// The endpoint to dial: the given one, else `KITTY_SERVER`, else the first socket that exists of the
    /// working directory, the local agent's (for workers), and the system's. Where none exists, the one in
    /// the working directory, so that the error names it.
    ///
    /// # Errors
    /// The given address, or that of the variable, can not be read.
    pub fn lookup(given: Option<&str>, worker: bool) -> Result<Self, Problem> {
        if let Some(named) = Self::named(given)? {
            return Ok(named);
        }
        let local = [DEFAULT_SOCKET].into_iter();
        let system = worker.then_some(AGENT_SOCKET).into_iter().chain([SYSTEM_SOCKET]);
        let found = local.chain(system).find(|path| Path::new(path).exists());
        Ok(Self::Unix(PathBuf::from(found.unwrap_or(DEFAULT_SOCKET))))
    }

    /// The endpoint that is named: the given one, else `KITTY_SERVER`. `None`: neither is.
    ///
    /// # Errors
    /// It can not be read.
    pub fn named(given: Option<&str>) -> Result<Option<Self>, Problem> {
        let variable = env::var(VARIABLE).ok().filter(|value| !value.is_empty());
        given.map(str::to_owned).or(variable).map(|address| address.parse()).transpose()
    }

    /// Where a server is looked for that nobody named, in this order.
    pub fn usual() -> [Self; 3] {
        let tcp = Self::Tcp { host: "127.0.0.1".to_owned(), port: DEFAULT_PORT, tls: false };
        [Self::Unix(DEFAULT_SOCKET.into()), Self::Unix(SYSTEM_SOCKET.into()), tcp]
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

impl FromStr for Endpoint {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let bad = |what: &str| {
            Problem::new(Code::Usage, format!("address {text:?}: {what}"))
                .hint("write unix:PATH, http://HOST:PORT or https://HOST:PORT")
        };
        if let Some(path) = text.strip_prefix("unix:") {
            // unix:///abs and unix:/abs mean the same; a relative path has no slashes to spare.
            let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
            return if path.is_empty() {
                Err(bad("the path is missing"))
            } else {
                Ok(Self::Unix(PathBuf::from(path)))
            };
        }
        let (tls, rest) = if let Some(rest) = text.strip_prefix("http://") {
            (false, rest)
        } else if let Some(rest) = text.strip_prefix("https://") {
            (true, rest)
        } else {
            return Err(bad("it has no known scheme"));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| bad("the port is missing"))?;
        let port = port.parse().map_err(|_| bad("the port is not a number from 0 to 65535"))?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(|| bad("a ] is missing"))?,
            None if host.contains(':') => return Err(bad("an IPv6 address needs [ ]")),
            None => host,
        };
        if host.is_empty() || host.contains(['/', '@', '?', '#']) {
            return Err(bad("the host is missing or malformed"));
        }
        Ok(Self::Tcp { host: host.to_owned(), port, tls })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_printed_as_they_are_read() {
        for text in
            ["unix:a.ipc", "unix:/run/a.ipc", "http://127.0.0.1:8080", "https://[::1]:1", "http://web:0"]
        {
            assert_eq!(text.parse::<Endpoint>().map(|e| e.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("unix:///a".parse::<Endpoint>(), "unix:/a".parse());
    }

    #[test]
    fn the_usual_places_are_those_that_a_server_listens_on() {
        let usual = Endpoint::usual().map(|endpoint| endpoint.to_string());
        assert_eq!(usual, [&format!("unix:{DEFAULT_SOCKET}"), &format!("unix:{SYSTEM_SOCKET}"), DEFAULT_TCP]);
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write_instead() {
        for text in [
            "",
            "a.ipc",
            "unix:",
            "tcp://a:1",
            "http://a",
            "http://:80",
            "http://a:x",
            "http://::1:80",
            "http://[::1:80",
            "http://a:99999",
            "http://u@h:1",
        ] {
            let problem = text.parse::<Endpoint>().expect_err(text);
            assert_eq!(problem.code, Code::Usage);
            assert!(problem.hint.contains("unix:PATH"));
        }
    }

    #[test]
    fn only_unix_and_loopback_are_local() {
        for (text, local) in [
            ("unix:a", true),
            ("http://127.0.0.9:1", true),
            ("http://[::1]:1", true),
            ("http://localhost:1", true),
            ("http://0.0.0.0:1", false),
            ("http://web:1", false),
        ] {
            assert_eq!(text.parse::<Endpoint>().map(|e| e.is_local()), Ok(local), "{text}");
        }
    }
}
