//! HTTP/1.1 as an API speaks it that is asked for JSON: one request on a connection, answered at once or by lines for
//! as long as there are any.

use std::{io, sync::Arc};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    sync::broadcast,
    task::JoinHandle,
};
use tokio_stream::{Stream, StreamExt};

/// What happens, a line each. An empty one ends the connections that follow.
pub(super) type Follows = broadcast::Sender<String>;

/// What there is to ask for.
pub(super) trait Api: Send + Sync + 'static {
    /// What a path is answered with. `None`: there is nothing of that name.
    fn get(&self, path: &str) -> Option<Value>;

    /// What happens, where a path asks to be told of that.
    fn follows(&self, path: &str) -> Option<&Follows>;
}

/// A server of an API. It ends when dropped.
pub(super) struct Serving(JoinHandle<()>);

impl Serving {
    pub(super) fn start<S>(
        mut connections: impl Stream<Item = io::Result<S>> + Send + Unpin + 'static,
        api: Arc<impl Api>,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self(tokio::spawn(async move {
            while let Some(Ok(stream)) = connections.next().await {
                tokio::spawn(answer(stream, api.clone()));
            }
        }))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One request, one answer. The client goes away when it likes.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, api: Arc<impl Api>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
    }
    let kind = "Content-Type: application/json\r\nConnection: close\r\n";
    if let Some(happens) = api.follows(&path) {
        let mut lines = happens.subscribe();
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{kind}\r\n").as_bytes()).await.ok()?;
        loop {
            let line = lines.recv().await.ok().filter(|line| !line.is_empty())?;
            stream.write_all(format!("{line}\n").as_bytes()).await.ok()?;
        }
    }
    let (status, body) = match api.get(&path) {
        Some(found) => ("200 OK", found.to_string()),
        None => ("404 Not Found", r#"{"message": "no such thing", "code": 404}"#.to_owned()),
    };
    let head = format!("HTTP/1.1 {status}\r\n{kind}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body.as_bytes()).await.ok()
}
