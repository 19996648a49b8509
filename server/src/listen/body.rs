//! What comes in takes only so long, and what goes out keeps its connection in use until it is out.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use chaos_kitty::{Code, Problem};
use http::Request;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use super::seats::Open;

/// How long the body of a request may take to come in.
const WITHIN: Duration = Duration::from_secs(20);
/// The one call whose requests come for as long as the peer lives.
const ENDLESS: &str = "/chaoskitty.v1.Chaos/Attach";

/// The request with a body that has to come in in time.
pub(super) fn timed(request: Request<Incoming>) -> Request<Body> {
    if request.uri().path() == ENDLESS || request.body().is_end_stream() {
        return request.map(Body::new);
    }
    request.map(|body| Body::new(Timed { body, limit: Box::pin(sleep(WITHIN)) }))
}

struct Timed {
    body: Incoming,
    limit: Pin<Box<Sleep>>,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.limit.as_mut().poll(context));
        let what = format!("the request did not come in whole within {} s", WITHIN.as_secs());
        Poll::Ready(Some(Err(Status::from(Problem::new(Code::RequestTooSlow, what)).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, which keeps its request open until it is out or given up.
pub(super) fn held(body: Body, open: Open) -> Body {
    // Where nothing is to come, nothing is held.
    if body.is_end_stream() {
        return body;
    }
    Body::new(body.map_frame(move |frame| {
        let _held = &open;
        frame
    }))
}
