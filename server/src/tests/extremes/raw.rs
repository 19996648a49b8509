//! Calls whose messages are bytes.

use bytes::{Buf, BufMut};
use chaos_kitty::{
    client::{TlsFiles, connect},
    endpoint::Endpoint,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};

use super::PATIENCE;

/// See the module.
pub(super) struct Raw(Grpc<Channel>);

impl Raw {
    pub(super) async fn connect(endpoint: &Endpoint) -> Self {
        let channel = connect(endpoint, &TlsFiles::default()).await.unwrap();
        Self(Grpc::new(channel).max_encoding_message_size(usize::MAX))
    }

    /// Whether the call is accepted. What it answers then is not waited for.
    pub(super) async fn call(&mut self, method: &str, message: Vec<u8>) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let call = self.0.server_streaming(Request::new(message), path(method), Bytes);
        tokio::time::timeout(PATIENCE, call).await.expect("an answer in time").map(drop)
    }

    /// Sends these on a stream, and gives the status with which it ended, unless it ended well.
    pub(super) async fn attach(&mut self, messages: Vec<Vec<u8>>) -> Option<Status> {
        self.0.ready().await.unwrap();
        let (sender, receiver) = tokio::sync::mpsc::channel(messages.len());
        for message in messages {
            sender.try_send(message).unwrap();
        }
        drop(sender);
        let stream = Request::new(ReceiverStream::new(receiver));
        let all = async {
            let mut answers = self.0.streaming(stream, path("Attach"), Bytes).await?.into_inner();
            while answers.next().await.transpose()?.is_some() {}
            Ok::<_, Status>(())
        };
        tokio::time::timeout(PATIENCE, all).await.expect("the stream ends in time").err()
    }
}

fn path(method: &str) -> PathAndQuery {
    format!("/chaoskitty.v1.Chaos/{method}").parse().unwrap()
}

#[derive(Clone, Copy)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}
