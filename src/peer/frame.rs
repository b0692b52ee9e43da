//! Frames: a length of four bytes, big-endian, then that many bytes of bincode.
//!
//! The length is checked before anything is allocated, decoding is limited to the frame, and
//! trailing bytes are an error. It must never trust a length, and never decode from a stream:
//! bincode allocates what a hostile length says when it reads from a reader. Message types must
//! hold no sequences of zero-sized elements (`Vec<()>`): no limit bounds the time they take.

use crate::peer::tls_fault::TlsFault;
use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of the length before each frame.
pub const HEADER_BYTES: usize = 4;

/// The largest body of a frame once the peer is known: the largest message, a membership with its
/// evidence, stays far below, and a peer gone mad costs no more than this.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// The largest body before the peer is known: a hello with all its names fits several times.
pub const HANDSHAKE_FRAME_BYTES_MAX: usize = 4 * 1024;

/// A frame could not be read, written, encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The other side closed the connection between two frames.
    #[error("connection closed by the other side")]
    Closed,
    /// The other side closed the connection inside a frame.
    #[error("connection closed in the middle of a frame")]
    Truncated,
    /// The frame is longer than allowed; nothing was allocated for it.
    #[error("frame of {bytes} bytes, at most {bytes_max} are allowed")]
    Oversized {
        /// Length that was claimed or needed, in bytes.
        bytes: u64,
        /// Length allowed, in bytes.
        bytes_max: u64,
    },
    /// The frame has no body.
    #[error("empty frame")]
    Empty,
    /// The body is not a message of the expected type.
    #[error("frame does not decode: {detail}")]
    Malformed {
        /// What the decoder said.
        detail: String,
    },
    /// TLS failed below the frame: a refused certificate shows only here, at the first read.
    #[error("{0}")]
    Tls(TlsFault),
    /// The transport failed.
    #[error("transport failed: {detail}")]
    Io {
        /// Kind of the failure.
        kind: io::ErrorKind,
        /// What the system said.
        detail: String,
    },
}

impl FrameError {
    /// Returns the transport failure `error` as a frame error.
    #[must_use]
    pub fn io(error: &io::Error) -> Self {
        if let Some(fault) = TlsFault::from_io(error) {
            return Self::Tls(fault);
        }
        Self::Io { kind: error.kind(), detail: error.to_string() }
    }
}

fn options(bytes_max: usize) -> impl Options {
    bincode::DefaultOptions::new().with_limit(bytes_max as u64)
}

/// Encodes `value` as the body of a frame, without its length.
///
/// # Errors
/// [`FrameError::Oversized`] when it needs more than `bytes_max`, [`FrameError::Malformed`] when
/// its type cannot be encoded.
pub fn encode_body<T: Serialize>(value: &T, bytes_max: usize) -> Result<Vec<u8>, FrameError> {
    options(bytes_max).serialize(value).map_err(|e| match *e {
        bincode::ErrorKind::SizeLimit => {
            let bytes = bincode::DefaultOptions::new().serialized_size(value).unwrap_or(u64::MAX);
            FrameError::Oversized { bytes, bytes_max: bytes_max as u64 }
        }
        other => FrameError::Malformed { detail: other.to_string() },
    })
}

/// Returns `body` with its length in front.
///
/// # Errors
/// [`FrameError::Oversized`] above `bytes_max`, [`FrameError::Empty`] without a byte.
pub fn wrap(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, FrameError> {
    let header = check_length(body.len() as u64, bytes_max)?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend_from_slice(&(header as u32).to_be_bytes());
    frame.extend_from_slice(body);
    Ok(frame)
}

/// Encodes `value` as a whole frame, its length in front.
///
/// # Errors
/// As [`encode_body`] and [`wrap`].
pub fn encode<T: Serialize>(value: &T, bytes_max: usize) -> Result<Vec<u8>, FrameError> {
    wrap(&encode_body(value, bytes_max)?, bytes_max)
}

/// Decodes the body of a frame; every byte must be used.
///
/// # Errors
/// [`FrameError::Malformed`].
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    options(body.len()).deserialize(body).map_err(|e| FrameError::Malformed { detail: e.to_string() })
}

/// Reads one frame's body into `body`, which is replaced. Not cancel safe: after a cancelled read
/// the stream must be closed.
///
/// # Errors
/// [`FrameError::Closed`] when the stream ends before the frame; the others as they say.
pub async fn read_body<R: AsyncRead + Unpin>(
    reader: &mut R,
    bytes_max: usize,
    body: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let mut header = [0_u8; HEADER_BYTES];
    let first = reader.read(&mut header).await.map_err(|e| ended(&e, FrameError::Closed))?;
    if first == 0 {
        return Err(FrameError::Closed);
    }
    reader.read_exact(&mut header[first..]).await.map_err(|e| ended(&e, FrameError::Truncated))?;
    let length = check_length(u64::from(u32::from_be_bytes(header)), bytes_max)?;
    body.clear();
    body.resize(length, 0);
    reader.read_exact(body).await.map_err(|e| ended(&e, FrameError::Truncated))?;
    Ok(())
}

/// A TLS stream that ends without a farewell is an end, like any other: frames have lengths, so a
/// truncated one is seen.
fn ended(error: &io::Error, as_what: FrameError) -> FrameError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => as_what,
        _ => FrameError::io(error),
    }
}

fn check_length(bytes: u64, bytes_max: usize) -> Result<usize, FrameError> {
    match usize::try_from(bytes) {
        Ok(0) => Err(FrameError::Empty),
        Ok(length) if length <= bytes_max => Ok(length),
        _ => Err(FrameError::Oversized { bytes, bytes_max: bytes_max as u64 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut body = Vec::new();
        let mut reader = bytes;
        read_body(&mut reader, FRAME_BYTES_MAX, &mut body).await.map(|()| body)
    }

    #[tokio::test]
    async fn a_frame_survives_the_round_trip() {
        let frame = encode(&("hello".to_owned(), 7_u64), FRAME_BYTES_MAX).unwrap();
        let body = read(&frame).await.unwrap();
        assert_eq!(decode::<(String, u64)>(&body).unwrap(), ("hello".to_owned(), 7));
    }

    #[tokio::test]
    async fn a_hostile_length_is_refused_before_allocation() {
        let error = read(&u32::MAX.to_be_bytes()).await.unwrap_err();
        assert_eq!(error, FrameError::Oversized { bytes: u64::from(u32::MAX), bytes_max: 65536 });
        assert_eq!(read(&[0, 0, 0, 0]).await.unwrap_err(), FrameError::Empty);
    }

    #[tokio::test]
    async fn an_end_is_told_from_a_truncated_frame() {
        assert_eq!(read(&[]).await.unwrap_err(), FrameError::Closed);
        assert_eq!(read(&[0, 0]).await.unwrap_err(), FrameError::Truncated);
        assert_eq!(read(&[0, 0, 0, 5, 1, 2]).await.unwrap_err(), FrameError::Truncated);
    }

    #[test]
    fn trailing_bytes_and_inner_hostile_lengths_are_refused() {
        let mut body = encode_body(&7_u64, FRAME_BYTES_MAX).unwrap();
        body.push(0);
        assert!(matches!(decode::<u64>(&body), Err(FrameError::Malformed { .. })));
        // A varint string length of 2^36.
        let hostile = [253, 0, 0, 0, 0, 16, 0, 0, 0, b'x'];
        assert!(matches!(decode::<String>(&hostile), Err(FrameError::Malformed { .. })));
        assert!(matches!(decode::<Vec<u8>>(&hostile), Err(FrameError::Malformed { .. })));
    }

    #[test]
    fn a_message_too_large_to_send_says_its_size() {
        let error = encode(&vec![7_u8; FRAME_BYTES_MAX], FRAME_BYTES_MAX).unwrap_err();
        assert!(matches!(error, FrameError::Oversized { bytes, .. } if bytes > FRAME_BYTES_MAX as u64));
    }
}
