//! Probes: something holds, or does not.

use std::time::Duration;

use bytes::Bytes;
use chaos_kitty::{
    Problem,
    client::{TlsFiles, connect},
    endpoint::Endpoint,
    limits,
    v1::{
        HttpProbe, Probe, PrometheusProbe,
        comparison::Name as Comparison,
        probe::Kind,
        run_step::{self, Command},
    },
};
use http::{Request, Uri, header::HOST};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use uuid::Uuid;

use super::{method::time, port::Port};

/// How long one may take unless it says otherwise.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long one may take at the most.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Probes of one kind of a suite.
const PROBES: usize = 64;

/// Checks what a suite says of its probes.
///
/// # Errors
/// [`chaos_kitty::Code::InvalidArgument`] with the field.
pub(super) fn validate(field: &str, probes: &[Probe]) -> Result<(), Problem> {
    if probes.len() > PROBES {
        return Err(Problem::invalid(field, format!("{} are more than {PROBES}", probes.len())));
    }
    for (number, probe) in probes.iter().enumerate() {
        let path = |name: &str| format!("{field}[{number}].{name}");
        let wrong = |name: &str, what: &str| Err(Problem::invalid(&path(name), what));
        if let Some(timeout) = time(&path("timeout"), probe.timeout)?
            && (timeout.is_zero() || timeout > TIMEOUT_MAX)
        {
            return wrong("timeout", "it is not above 0 and up to 60 s");
        }
        match &probe.kind {
            None => return wrong("kind", "it is none of http, tcp, grpc, command, prometheus"),
            Some(Kind::Http(http)) if address(&http.url).is_none() => {
                return wrong("http.url", "it is no http:// address");
            }
            Some(Kind::Tcp(tcp)) if !is_address(&tcp.address) => {
                return wrong("tcp.address", "it is not HOST:PORT");
            }
            Some(Kind::Grpc(grpc)) if grpc.endpoint.parse::<Endpoint>().is_err() => {
                return wrong("grpc.endpoint", "it is neither http://HOST:PORT nor unix:PATH");
            }
            Some(Kind::Command(command)) => {
                if command.target.is_empty() {
                    return wrong("command.target", "it is missing");
                }
                if !command.argv.first().is_some_and(|program| program.starts_with('/')) {
                    return wrong("command.argv", "it does not begin with a program's absolute path");
                }
            }
            Some(Kind::Prometheus(query)) => {
                if address(&query.endpoint).is_none() {
                    return wrong("prometheus.endpoint", "it is no http:// address");
                }
                if query.query.is_empty() {
                    return wrong("prometheus.query", "it is missing");
                }
                if query.comparison() == Comparison::Unspecified {
                    return wrong("prometheus.comparison", "it is missing");
                }
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// What it is called in the record.
pub(super) fn name(number: usize, probe: &Probe) -> String {
    if !probe.name.is_empty() {
        return probe.name.clone();
    }
    let kind = match &probe.kind {
        Some(Kind::Http(_)) => "http",
        Some(Kind::Tcp(_)) => "tcp",
        Some(Kind::Grpc(_)) => "grpc",
        Some(Kind::Command(_)) => "command",
        Some(Kind::Prometheus(_)) => "prometheus",
        None => "probe",
    };
    format!("{kind} {}", number + 1)
}

/// Whether it holds; else why not. No answer in time: it does not.
pub(super) async fn ask(probe: &Probe, port: &dyn Port) -> Result<(), String> {
    let patience = probe.timeout.and_then(|wire| Duration::try_from(wire).ok()).unwrap_or(TIMEOUT);
    let answer = async {
        match &probe.kind {
            Some(Kind::Http(probe)) => http(probe).await,
            Some(Kind::Tcp(probe)) => {
                TcpStream::connect(&probe.address).await.map(drop).map_err(|error| error.to_string())
            }
            Some(Kind::Grpc(probe)) => grpc(&probe.endpoint, &probe.service).await,
            Some(Kind::Command(probe)) => command(probe, patience, port).await,
            Some(Kind::Prometheus(probe)) => prometheus(probe).await,
            None => Err("it asks for nothing".to_owned()),
        }
    };
    timeout(patience, answer).await.unwrap_or_else(|_| Err(format!("no answer within {patience:?}")))
}

async fn http(probe: &HttpProbe) -> Result<(), String> {
    let (status, body) = get(&probe.url).await?;
    let wanted =
        if probe.status == 0 { (200..300).contains(&status) } else { u32::from(status) == probe.status };
    if !wanted {
        return Err(format!("status {status}"));
    }
    if !probe.contains.is_empty() && !body.contains(&probe.contains) {
        return Err(format!("the answer does not contain {:?}", probe.contains));
    }
    Ok(())
}

async fn grpc(endpoint: &str, service: &str) -> Result<(), String> {
    let endpoint: Endpoint = endpoint.parse().map_err(|error| format!("{error}"))?;
    let channel = connect(&endpoint, &TlsFiles::default()).await.map_err(|problem| problem.message)?;
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel).check(request).await;
    let status = answer.map_err(|status| status.message().to_owned())?.into_inner().status();
    if status == ServingStatus::Serving { Ok(()) } else { Err(status.as_str_name().to_owned()) }
}

async fn command(
    probe: &chaos_kitty::v1::CommandProbe,
    patience: Duration,
    port: &dyn Port,
) -> Result<(), String> {
    let target = port.resolve(&probe.target).map_err(|problem| problem.message)?;
    let kind = run_step::Kind::Command(Command { argv: probe.argv.clone() });
    let step = format!("probe/{}", Uuid::now_v7());
    let result = port.step(target, step, kind, patience).await.map_err(|problem| problem.message)?;
    match (result.problem, result.exit_code) {
        (Some(problem), _) => Err(problem.message),
        (None, Some(0)) => Ok(()),
        (None, Some(code)) => Err(format!("exit code {code}: {}", result.output.trim())),
        (None, None) => Err("it did not exit by itself".to_owned()),
    }
}

async fn prometheus(probe: &PrometheusProbe) -> Result<(), String> {
    let endpoint = probe.endpoint.trim_end_matches('/');
    let (status, body) = get(&format!("{endpoint}/api/v1/query?query={}", encoded(&probe.query))).await?;
    if status != 200 {
        return Err(format!("status {status}"));
    }
    let value = first_value(&body).ok_or("the query gives no value")?;
    let holds = match probe.comparison() {
        Comparison::Less => value < probe.value,
        Comparison::LessOrEqual => value <= probe.value,
        #[expect(clippy::float_cmp, reason = "that is what was asked for")]
        Comparison::Equal => value == probe.value,
        Comparison::GreaterOrEqual => value >= probe.value,
        Comparison::Greater => value > probe.value,
        Comparison::Unspecified => false,
    };
    if holds { Ok(()) } else { Err(format!("the value is {value}")) }
}

/// The value of an instant query's first sample, or of a scalar.
fn first_value(body: &str) -> Option<f64> {
    let answer: serde_json::Value = serde_json::from_str(body).ok()?;
    let result = &answer["data"]["result"];
    let value = if answer["data"]["resultType"] == "scalar" { result } else { &result[0]["value"] };
    value[1].as_str()?.parse().ok()
}

/// One GET on a connection of its own: the status and the body.
async fn get(url: &str) -> Result<(u16, String), String> {
    let (uri, address) = address(url).ok_or("it is no http:// address")?;
    let said = |error: hyper::Error| error.to_string();
    let stream = TcpStream::connect(&address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(HOST, &address).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(said)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), limits::BODY_BYTES).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => {
            ended.map_err(said)?;
            // The answer was complete, and the connection with it.
            exchange.await
        }
    }
}

/// An http:// address, and its HOST:PORT.
fn address(url: &str) -> Option<(Uri, String)> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"))?;
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    Some((uri.clone(), address))
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// A value for a URL's query.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}
