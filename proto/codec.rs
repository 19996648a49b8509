//! A prost codec with small buffers: tonic's default of two 8 KiB buffers per stream is half of what an
//! idle agent costs the server. It looks at a message before it decodes it: one of 4 MiB can be made to cost 200 times
//! as much.

use std::marker::PhantomData;

use prost::{Message, Name, bytes::Buf};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstCodec;

use crate::{Code, Problem, bounds};

const BUFFER: usize = 256;
const YIELD_AT: usize = 32 * 1024;

/// See the module.
#[derive(Debug)]
pub struct SmallCodec<T, U>(PhantomData<fn() -> (T, U)>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = BoundedDecoder<<ProstCodec<T, U> as Codec>::Decoder>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER, YIELD_AT))
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER, YIELD_AT)))
    }
}

/// Decodes what [`bounds::scan`] lets pass.
#[derive(Debug)]
pub struct BoundedDecoder<D>(D);

impl<D: Decoder<Error = Status>> Decoder for BoundedDecoder<D>
where
    D::Item: Name,
{
    type Item = D::Item;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D::Item>, Status> {
        // A message is decoded once all of it is there, in one piece.
        bounds::scan::<D::Item>(buffer.chunk())?;
        // Whoever sends what is no message has made the mistake, not whoever reads it.
        let malformed = |error: Status| Problem::new(Code::ProtocolViolation, error.message());
        Ok(self.0.decode(buffer).map_err(malformed)?)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}
