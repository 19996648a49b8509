//! Browsers: a page from elsewhere must not order faults through the browser of somebody who can.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use chaos_kitty::{Code, Problem};
use http::{
    HeaderMap, Uri,
    header::{HOST, ORIGIN},
    uri::Authority,
};

use super::rest;
use crate::listen::PeerInfo;

/// Names under which this server may be addressed besides IP addresses and `localhost`.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts(Arc<[String]>);

impl FromIterator<String> for AllowedHosts {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        Self(names.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    }
}

pub(super) async fn check(State(allowed): State<AllowedHosts>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<PeerInfo>().cloned().unwrap_or_default();
    match refusal(request.uri(), request.headers(), &peer, &allowed) {
        Some(problem) => rest::refusal(problem),
        None => next.run(request).await,
    }
}

/// Why the request is turned away. A foreign name for this machine (DNS rebinding) gets through plain TCP on
/// loopback only: a certificate would not carry it, and a Unix socket is out of a page's reach.
fn refusal(uri: &Uri, headers: &HeaderMap, peer: &PeerInfo, allowed: &AllowedHosts) -> Option<Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = uri.authority().map(Authority::as_str).or_else(|| text(HOST));
    if let Some(origin) = text(ORIGIN) {
        let of_origin = origin.split_once("://").map(|(_, authority)| authority);
        if of_origin.is_none() || of_origin != host {
            return Some(foreign(&format!("the request comes from a page of {origin}")));
        }
    }
    let local = !peer.tls && peer.tcp.is_some_and(|address| address.ip().is_loopback());
    match host {
        Some(host) if local && !is_allowed(host, allowed) => Some(
            foreign(&format!("the request is for the host {host}"))
                .hint("give --allowed-host to kittyd where that name is meant"),
        ),
        _ => None,
    }
}

fn foreign(what: &str) -> Problem {
    Problem::new(Code::ForeignOrigin, what)
        .hint("call the server directly, not from a page of another origin")
}

fn is_allowed(host: &str, allowed: &AllowedHosts) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok()
        || allowed.0.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: [u8; 4], tls: bool) -> PeerInfo {
        PeerInfo { tcp: Some((address, 4711).into()), tls, ..PeerInfo::default() }
    }

    fn verdict(host: &str, origin: Option<&str>, peer: &PeerInfo) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        origin.map(|origin| headers.insert(ORIGIN, origin.parse().unwrap()));
        let allowed = AllowedHosts::from_iter(["Kitty.Example".to_owned()]);
        refusal(&Uri::from_static("/status"), &headers, peer, &allowed).is_none()
    }

    #[test]
    fn only_names_of_this_machine_are_answered_on_loopback() {
        let local = peer([127, 0, 0, 1], false);
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "a.localhost", "kitty.example:80"] {
            assert!(verdict(host, None, &local), "{host}");
        }
        for host in ["evil.example:8080", "localhost.evil.example", "?"] {
            assert!(!verdict(host, None, &local), "{host}");
            assert!(verdict(host, None, &peer([127, 0, 0, 1], true)), "{host} over TLS");
            assert!(verdict(host, None, &peer([10, 0, 0, 1], false)), "{host} from outside");
            assert!(verdict(host, None, &PeerInfo::default()), "{host} over a Unix socket");
        }
    }

    #[test]
    fn pages_of_another_origin_are_refused_everywhere() {
        for peer in [peer([127, 0, 0, 1], false), peer([10, 0, 0, 1], true), PeerInfo::default()] {
            assert!(verdict("localhost:8080", Some("http://localhost:8080"), &peer));
            for origin in ["http://evil.example", "null", "http://localhost:9090"] {
                assert!(!verdict("localhost:8080", Some(origin), &peer), "{origin}");
            }
        }
    }
}
