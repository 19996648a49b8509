//! Spans reach a collector, and those of one call are one trace.

use std::sync::{Arc, Mutex};

use chaos_kitty::v1::{self, action::Kind, unleash_request::Choice};
use chaos_kitty_tests::{Sandbox, eventually};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::ResourceSpans,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server as Transport};

/// A span that was exported.
#[derive(Clone, Debug)]
struct Seen {
    program: String,
    name: String,
    trace: String,
    id: String,
    parent: String,
}

/// An OTLP collector over gRPC. Ended when dropped.
struct Collector {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: JoinHandle<()>,
}

struct Receiver(Arc<Mutex<Vec<Seen>>>);

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::default();
        let service = TraceServiceServer::new(Receiver(Arc::clone(&seen)));
        let served =
            Transport::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(async move { served.await.unwrap() });
        Self { address, seen, serving }
    }

    /// The span of that name, once it is there.
    async fn span(&self, program: &str, name: &str) -> Seen {
        eventually(&format!("the span {name} of {program}"), async || {
            let seen = self.seen.lock().unwrap();
            seen.iter().find(|span| span.program == program && span.name == name).cloned()
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans.into_iter().flat_map(seen);
        self.0.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn seen(exported: ResourceSpans) -> Vec<Seen> {
    let attributes = exported.resource.unwrap_or_default().attributes;
    let name = attributes.into_iter().find(|attribute| attribute.key == "service.name").unwrap();
    let Some(Value::StringValue(program)) = name.value.unwrap().value else { panic!("no text") };
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let spans = exported.scope_spans.into_iter().flat_map(|scope| scope.spans);
    spans
        .map(|span| Seen {
            program: program.clone(),
            name: span.name,
            trace: hex(span.trace_id),
            id: hex(span.span_id),
            parent: hex(span.parent_span_id),
        })
        .collect()
}

#[tokio::test]
async fn the_spans_of_a_call_on_server_and_agent_are_exported_as_one_trace_which_is_the_callers() {
    let collector = Collector::start().await;
    let mut sandbox = Sandbox::new();
    sandbox.set("OTEL_BSP_SCHEDULE_DELAY", "100"); // milliseconds
    let flags = ["--otlp-endpoint", collector.address.as_str()];
    let server = sandbox.server(&flags).await;
    let agent = sandbox.agent(&server, "web-1", &[&flags[..], &["--host-target"]].concat()).await;
    let target = server.target("web-1").await;
    let mut request = Request::new(v1::UnleashRequest {
        action: Some(v1::Action {
            duration: Some(std::time::Duration::from_millis(100).into()),
            kind: Some(Kind::Memory(v1::AllocateMemory { size_bytes: 1 << 20 })),
        }),
        choice: Some(Choice::Target(target.id)),
        ..Default::default()
    });
    let (trace, caller) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    request.metadata_mut().insert("traceparent", format!("00-{trace}-{caller}-01").parse().unwrap());
    let mut updates = server.client().await.unleash(request).await.unwrap().into_inner();
    while updates.message().await.unwrap().is_some() {}

    let ours = collector.span("kittyd", "unleash").await;
    assert_eq!((ours.trace.as_str(), ours.parent.as_str()), (trace, caller));
    let theirs = collector.span("kitty-agent", "order").await;
    assert_eq!((theirs.trace, theirs.parent), (ours.trace, ours.id));
    drop((agent, server));
}
