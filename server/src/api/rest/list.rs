//! Lists of any length: asked for page by page, as the reader takes them.

use axum::{body::Body, response::Response};
use chaos_kitty::Problem;
use futures_util::{Stream, StreamExt, TryFutureExt, TryStreamExt, stream};
use http::{HeaderValue, header::CONTENT_TYPE};
use serde::Serialize;
use tonic::Status;

use super::Answer;

/// The entries of all pages. `page` asks for one, by its token, and gives its entries and the token of the next.
pub(super) fn entries<E, F, P>(page: P) -> impl Stream<Item = Result<E, Problem>>
where
    P: Fn(String) -> F,
    F: Future<Output = Result<(Vec<E>, String), Status>>,
{
    let pages = stream::try_unfold(Some(String::new()), move |token| {
        let asked = token.map(&page);
        async move {
            let Some(asked) = asked else { return Ok::<_, Problem>(None) };
            let (entries, next) = asked.map_err(Problem::from).await?;
            let entries = stream::iter(entries.into_iter().map(Ok));
            Ok(Some((entries, Some(next).filter(|next| !next.is_empty()))))
        }
    });
    pages.try_flatten()
}

/// These pieces with commas in between, as one answer.
pub(super) async fn joined(
    open: &str,
    pieces: impl Stream<Item = Result<String, Problem>> + Send + 'static,
    close: &str,
) -> Answer {
    streamed(open, separated(pieces), close).await
}

/// Pieces with commas in between.
pub(super) fn separated(
    pieces: impl Stream<Item = Result<String, Problem>>,
) -> impl Stream<Item = Result<String, Problem>> {
    pieces.enumerate().map(|(index, piece)| match index {
        0 => piece,
        _ => piece.map(|piece| format!(",\n{piece}")),
    })
}

/// A JSON text as it is made. A problem with the first piece is the answer; one with a later piece breaks the answer off,
/// so that nobody takes it for the whole.
pub(super) async fn streamed(
    open: &str,
    pieces: impl Stream<Item = Result<String, Problem>> + Send + 'static,
    close: &str,
) -> Answer {
    let mut pieces = Box::pin(pieces);
    let first = pieces.try_next().await?;
    let (open, close) = (open.to_owned(), close.to_owned());
    let whole = stream::iter([Ok(open)]).chain(stream::iter(first.map(Ok))).chain(pieces);
    let mut response = Response::new(Body::from_stream(whole.chain(stream::iter([Ok(close)]))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// A list under its name, as the contract writes it, with all entries on one page.
pub(super) async fn message<E: Serialize>(
    name: &str,
    entries: impl Stream<Item = Result<E, Problem>> + Send + 'static,
) -> Answer {
    let pieces = entries.map(|entry| text(&entry?));
    joined(&format!("{{\"{name}\":["), pieces, "],\"nextPageToken\":\"\"}").await
}

/// In proto JSON.
pub(super) fn text(entry: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(entry).map_err(Problem::internal)
}

/// Answers with all pages of a list, or with the one page that was asked for.
macro_rules! listed {
    ($chaos:expr, $caller:expr, $request:expr, $call:ident, $field:ident, $name:literal) => {{
        let (chaos, caller, request) = ($chaos, $caller, $request);
        if request.page_size > 0 || !request.page_token.is_empty() {
            return super::answer(chaos.$call(caller.request(request)?).await?);
        }
        let entries = super::list::entries(move |page_token| {
            let (chaos, caller, mut request) = (Arc::clone(&chaos), caller.clone(), request.clone());
            request.page_token = page_token;
            async move {
                let page = chaos.$call(caller.request(request)?).await?.into_inner();
                Ok((page.$field, page.next_page_token))
            }
        });
        super::list::message($name, entries).await
    }};
}

pub(super) use listed;
