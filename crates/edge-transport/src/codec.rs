//! How a batch travels on a request-response stream.
//!
//! ```text
//! request  = length session sequence batch   length = 4 bytes, of session, sequence and batch
//!                                            session, sequence = 8 bytes, big endian all three
//! response = 0x06                            the application took the batch
//! ```
//! A stream that ends without the response byte was refused, or broke: the batch may be sent again
//! under the same sequence number, and a receiver that has it already only acknowledges it.

use std::io;
use std::sync::Arc;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response;

use crate::batch::decode_batch;

/// ASCII acknowledge.
const ACKNOWLEDGE: u8 = 6;

/// Bytes of session and sequence.
const HEADER_BYTES: usize = 16;

/// Memory reserved before the bytes of a request arrive: a length alone buys no more.
const RESERVED_BYTES: usize = 64 << 10;

/// One batch under its number.
#[derive(Debug, Clone)]
pub(crate) struct DirectRequest {
    /// Drawn when the sender started: a restarted sender begins a new session.
    pub(crate) session: u64,
    /// Grows by one with each batch to this peer, starting at 1.
    pub(crate) sequence: u64,
    /// Shared, because the sender keeps it until it is acknowledged.
    pub(crate) batch: Arc<Vec<u8>>,
}

/// The receiver's application took the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledged;

/// Reads and writes [`DirectRequest`] and [`Acknowledged`].
#[derive(Debug, Clone)]
pub(crate) struct DirectCodec {
    pub(crate) batch_bytes_max: usize,
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Reads the session, the sequence number and the batch of one request as a stream would bring it:
/// for tools that look at captured streams, and for the fuzzer. Nothing behind the request is read.
///
/// # Errors
/// Of the kind `InvalidData` for what no node writes, `UnexpectedEof` for a request that is cut.
pub fn read_request(bytes: &[u8], batch_bytes_max: usize) -> io::Result<(u64, u64, Vec<u8>)> {
    let mut codec = DirectCodec { batch_bytes_max };
    let protocol = StreamProtocol::new("/captured");
    let mut stream = futures::io::Cursor::new(bytes);
    let read = request_response::Codec::read_request(&mut codec, &protocol, &mut stream);
    // Bytes in memory never make a reader wait.
    let request = futures::executor::block_on(read)?;
    Ok((request.session, request.sequence, Arc::unwrap_or_clone(request.batch)))
}

impl request_response::Codec for DirectCodec {
    type Protocol = StreamProtocol;
    type Request = DirectRequest;
    type Response = Acknowledged;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<DirectRequest>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut length = [0; 4];
        io.read_exact(&mut length).await?;
        let length = u32::from_be_bytes(length) as usize;
        let Some(batch_bytes) = length.checked_sub(HEADER_BYTES) else {
            return Err(invalid("the request is shorter than its header"));
        };
        if batch_bytes > self.batch_bytes_max {
            return Err(invalid("the request is larger than the limit"));
        }
        let mut session = [0; 8];
        let mut sequence = [0; 8];
        io.read_exact(&mut session).await?;
        io.read_exact(&mut sequence).await?;
        let mut batch = Vec::with_capacity(batch_bytes.min(RESERVED_BYTES));
        io.take(batch_bytes as u64).read_to_end(&mut batch).await?;
        if batch.len() < batch_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        decode_batch(&batch).map_err(invalid)?;
        Ok(DirectRequest {
            session: u64::from_be_bytes(session),
            sequence: u64::from_be_bytes(sequence),
            batch: Arc::new(batch),
        })
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Acknowledged>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut byte = [0];
        io.read_exact(&mut byte).await?;
        if byte == [ACKNOWLEDGE] { Ok(Acknowledged) } else { Err(invalid("no acknowledgement")) }
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: DirectRequest,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let length = u32::try_from(HEADER_BYTES + request.batch.len()).map_err(invalid)?;
        let mut header = [0; 4 + HEADER_BYTES];
        header[..4].copy_from_slice(&length.to_be_bytes());
        header[4..12].copy_from_slice(&request.session.to_be_bytes());
        header[12..].copy_from_slice(&request.sequence.to_be_bytes());
        io.write_all(&header).await?;
        io.write_all(&request.batch).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        _: Acknowledged,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&[ACKNOWLEDGE]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::Cursor;
    use libp2p::request_response::Codec;
    use proptest::prelude::*;

    const PROTOCOL: StreamProtocol = StreamProtocol::new("/test");

    fn read(bytes: &[u8], batch_bytes_max: usize) -> io::Result<DirectRequest> {
        let mut codec = DirectCodec { batch_bytes_max };
        block_on(codec.read_request(&PROTOCOL, &mut Cursor::new(bytes)))
    }

    fn written(request: DirectRequest) -> Vec<u8> {
        let mut io = Cursor::new(Vec::new());
        let mut codec = DirectCodec { batch_bytes_max: 0 };
        block_on(codec.write_request(&PROTOCOL, &mut io, request)).unwrap();
        io.into_inner()
    }

    fn request(batch: Vec<u8>) -> DirectRequest {
        DirectRequest { session: 5, sequence: 6, batch: Arc::new(batch) }
    }

    #[test]
    fn limits_and_lengths() {
        let batch = crate::encode_batch([[1; 96].as_slice()]).unwrap();
        let bytes = written(request(batch.clone()));
        assert_eq!(bytes[..4], 116u32.to_be_bytes());
        let back = read(&bytes, 100).unwrap();
        assert_eq!((back.session, back.sequence, back.batch), (5, 6, Arc::new(batch)));

        let kind = |result: io::Result<DirectRequest>| result.unwrap_err().kind();
        assert_eq!(kind(read(&bytes, 99)), io::ErrorKind::InvalidData, "over the limit");
        assert_eq!(kind(read(&[0, 0, 0, 15], 99)), io::ErrorKind::InvalidData, "no header");
        let bad_batch = written(request(vec![0, 0, 0, 9, 1]));
        assert_eq!(kind(read(&bad_batch, 99)), io::ErrorKind::InvalidData, "malformed batch");
        for cut in 0..bytes.len() {
            assert_eq!(kind(read(&bytes[..cut], 100)), io::ErrorKind::UnexpectedEof, "cut {cut}");
        }
    }

    #[test]
    fn only_the_acknowledge_byte_is_an_acknowledgement() {
        let mut codec = DirectCodec { batch_bytes_max: 0 };
        let mut io = Cursor::new(Vec::new());
        block_on(codec.write_response(&PROTOCOL, &mut io, Acknowledged)).unwrap();
        let mut answer = |bytes: &[u8]| {
            block_on(codec.read_response(&PROTOCOL, &mut Cursor::new(bytes))).is_ok()
        };
        assert!(answer(io.get_ref()));
        assert!(!answer(&[]));
        assert!(!answer(&[0]));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(request) = read(&bytes, 1_000) {
                let again = written(request);
                prop_assert_eq!(&bytes[..again.len()], &again);
            }
        }
    }
}
