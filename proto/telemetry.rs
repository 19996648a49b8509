//! Logs to standard error, spans to a collector where one is configured, and the trace context that orders
//! carry from program to program (W3C `traceparent`), which needs no collector.

mod flood;

use std::{
    collections::HashMap,
    env, fmt, io,
    io::IsTerminal,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::{propagation::TextMapPropagator, trace::TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Level, Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::{Code, Problem, client::chain, text};

const TRACEPARENT: &str = "traceparent";
/// How long the end of a program waits for its last spans to be taken.
const FLUSH: Duration = Duration::from_secs(2);
/// What is logged besides, while more is wanted: what our own crates do.
const MORE: &str = "chaos_kitty=debug";
/// The collector's address as OpenTelemetry's own variables name it.
const OTLP_VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// How lines of the log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people; coloured on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The flags of every program that logs, for `#[command(flatten)]`.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// What to log: off, error, warn, info, debug or trace, also per module (e.g. info,h2=debug)
    #[arg(long, value_name = "FILTER", default_value = "info", value_parser = filter)]
    pub log: String,
    /// How lines of the log look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: Format,
    /// Send spans to this OpenTelemetry collector, e.g. http://127.0.0.1:4317 (OTLP over gRPC)
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// Keeps the export alive; dropping it sends what is left, waiting for 2 s at the most.
#[must_use = "spans are exported as long as it lives"]
#[derive(Debug)]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
    verbosity: Verbosity,
}

impl Guard {
    /// What is logged, to be changed while the program runs.
    pub fn verbosity(&self) -> &Verbosity {
        &self.verbosity
    }
}

/// What is logged, to be changed while the program runs. The default changes nothing.
#[derive(Clone, Default)]
pub struct Verbosity(Arc<Inner>);

type Reload = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

#[derive(Default)]
struct Inner {
    /// As the program was told.
    usual: Mutex<String>,
    reload: Option<Reload>,
    /// Grows with each change, so that only the last one is taken back.
    changes: AtomicU64,
}

impl fmt::Debug for Verbosity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verbosity").field(&self.usual()).finish()
    }
}

impl Verbosity {
    fn new(usual: &str, reload: Reload) -> Self {
        let usual = Mutex::new(usual.to_owned());
        Self(Arc::new(Inner { usual, reload: Some(reload), changes: AtomicU64::new(0) }))
    }

    /// Logs more (DEBUG of our own crates) for so long. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// The log is gone.
    pub fn raise(&self, time: Duration) -> Result<(), Problem> {
        let change = self.set(&format!("{},{MORE}", self.usual()))?;
        tracing::info!(seconds = time.as_secs(), "more is logged");
        let verbosity = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if verbosity.0.changes.load(Ordering::Relaxed) == change {
                // The log of a program that ends needs no lowering.
                let _ = verbosity.restore();
            }
        });
        Ok(())
    }

    /// Logs as the program was told.
    ///
    /// # Errors
    /// The log is gone.
    pub fn restore(&self) -> Result<(), Problem> {
        let usual = self.usual();
        self.set(&usual)?;
        tracing::info!(filter = usual, "logging as usual");
        Ok(())
    }

    /// Logs as the program is told now: this filter is the usual one from here on.
    ///
    /// # Errors
    /// The filter can not be read, or the log is gone.
    pub fn replace(&self, filter: &str) -> Result<(), Problem> {
        self.set(filter)?;
        *self.0.usual.lock().unwrap_or_else(PoisonError::into_inner) = filter.to_owned();
        Ok(())
    }

    fn usual(&self) -> String {
        self.0.usual.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of this change.
    fn set(&self, filter: &str) -> Result<u64, Problem> {
        if let Some(reload) = &self.0.reload {
            let filter = EnvFilter::builder().parse(filter).map_err(Problem::internal)?;
            reload(filter).map_err(Problem::internal)?;
        }
        Ok(self.0.changes.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            // A collector that is away has been told of by its own absence.
            let _ = provider.shutdown_with_timeout(FLUSH);
        }
    }
}

fn filter(text: &str) -> Result<String, tracing_subscriber::filter::ParseError> {
    EnvFilter::builder().parse(text).map(|_| text.to_owned())
}

/// Lines that were left out of the log because they came in a flood.
pub fn lines_left_out() -> u64 {
    flood::left_out()
}

/// Starts logging and tracing for the whole process, once. With a collector it must be called, and the
/// guard dropped, within a multi-threaded tokio runtime.
///
/// # Errors
/// [`Code::Usage`]: the filter or the collector's address can not be used, or it was called before.
pub fn init(program: &'static str, args: &Args) -> Result<Guard, Problem> {
    let refuse = |what: &str, error: &(dyn std::error::Error + 'static)| {
        Problem::new(Code::Usage, format!("{what}: {}", chain(error)))
    };
    let filter = EnvFilter::builder().parse(&args.log).map_err(|error| refuse("--log", &error))?;
    let provider = provider(program, args.otlp_endpoint.as_deref())
        .map_err(|error| refuse("--otlp-endpoint", &error))?;
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer(program));
    let (filter, handle) = reload::Layer::new(filter);
    let verbosity = Verbosity::new(&args.log, Box::new(move |filter| handle.reload(filter)));
    Registry::default()
        .with(spans.with_location(false).with_threads(false).with_filter(filter_fn(is_ours)))
        .with(lines(args.log_format).with_filter(FilterExt::and(filter, flood::Flood::new())))
        .try_init()
        .map_err(|error| refuse("starting the log", &error))?;
    Ok(Guard { provider: Some(provider), verbosity })
}

fn lines<S>(format: Format) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(move || Harmless(format));
    match format {
        Format::Json => layer.json().boxed(),
        Format::Text => {
            let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            layer.with_ansi(io::stderr().is_terminal() && !plain).boxed()
        }
    }
}

/// Standard error, without what callers' texts could do to a terminal. Each line comes in one piece.
struct Harmless(Format);

impl io::Write for Harmless {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        let shown = match self.0 {
            Format::Text => text::lines(&line),
            Format::Json => text::json(&line),
        };
        io::stderr().write_all(shown.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Spans of libraries are many, and say nothing of faults.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    *metadata.level() <= Level::INFO && (target.starts_with("chaos_kitty") || target.starts_with("kitty"))
}

/// Without a collector it still gives spans their ids.
fn provider(
    program: &'static str,
    endpoint: Option<&str>,
) -> Result<SdkTracerProvider, opentelemetry_otlp::ExporterBuildError> {
    let resource = Resource::builder().with_service_name(program).build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let wanted = |name: &&str| env::var_os(name).is_some_and(|value| !value.is_empty());
    if endpoint.is_none() && !OTLP_VARIABLES.iter().any(wanted) {
        return Ok(builder.build());
    }
    let exporter = SpanExporter::builder().with_tonic();
    let exporter = match endpoint {
        Some(endpoint) => exporter.with_endpoint(endpoint),
        None => exporter,
    };
    Ok(builder.with_batch_exporter(exporter.build()?).build())
}

/// The current span as a `traceparent`, for an order or request. Empty: there is no span, or no telemetry.
pub fn traceparent() -> String {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT).unwrap_or_default()
}

/// Makes the span a child of the one that the `traceparent` names; a malformed or empty one is ignored. To be
/// called before the span is entered.
pub fn continue_from(span: &Span, traceparent: &str) {
    if !traceparent.is_empty() {
        let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
        // A span that is disabled has no parent either.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// As `init`, for this thread only.
    fn subscribed() -> (SdkTracerProvider, tracing::subscriber::DefaultGuard) {
        let provider = provider("kittytest", None).unwrap();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("kittytest"));
        let guard = Registry::default().with(layer.with_filter(filter_fn(is_ours))).set_default();
        (provider, guard)
    }

    #[test]
    fn a_trace_goes_on_in_a_child_without_any_collector() {
        let _subscribed = subscribed();
        let span = tracing::info_span!("order");
        continue_from(&span, CALLER);
        let inside = span.in_scope(|| tracing::info_span!("deeper").in_scope(traceparent));
        let fields: Vec<_> = inside.split('-').collect();
        assert_eq!(fields[..2], ["00", "0af7651916cd43dd8448eb211c80319c"], "{inside}");
        assert_ne!(fields[2], "b7ad6b7169203331");
        assert_eq!((fields[2].len(), fields[3]), (16, "01"));
    }

    #[test]
    fn a_malformed_parent_begins_a_trace_of_its_own() {
        let _subscribed = subscribed();
        for parent in ["", "nonsense", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            let span = tracing::info_span!("order");
            continue_from(&span, parent);
            let own = span.in_scope(traceparent);
            assert_eq!(own.len(), CALLER.len(), "{parent:?} gave {own:?}");
        }
    }

    #[test]
    fn without_telemetry_there_is_no_trace() {
        assert_eq!(traceparent(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn more_is_logged_for_a_while_and_the_last_wish_counts() {
        let (seen, filters) = std::sync::mpsc::channel();
        let note = move |filter: EnvFilter| seen.send(filter.to_string()).map_err(|_| unreachable!());
        let verbosity = Verbosity::new("info", Box::new(note));
        let minute = Duration::from_secs(60);
        verbosity.raise(minute).unwrap();
        tokio::time::sleep(minute / 2).await;
        verbosity.raise(minute).unwrap();
        tokio::time::sleep(minute * 3 / 4).await;
        assert!(
            filters.try_iter().all(|filter| filter.contains("chaos_kitty=debug")),
            "the first wish is over"
        );
        tokio::time::sleep(minute).await;
        assert_eq!(filters.try_iter().collect::<Vec<_>>(), ["info"]);
        verbosity.raise(minute).unwrap();
        verbosity.restore().unwrap();
        tokio::time::sleep(minute * 2).await;
        assert_eq!(filters.try_iter().count(), 2, "nothing is taken back twice");
    }

    #[test]
    fn filters_are_checked_before_they_are_used() {
        assert!(filter("info,h2=debug").is_ok());
        assert!(filter("info,h2=loud").is_err());
    }
}
