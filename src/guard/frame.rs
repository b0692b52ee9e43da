//! Frames on the guard's socket: four bytes of length, little-endian, then bincode. Bounded before
//! anything is allocated. Never reads or writes a socket itself.

use bincode::Options;
use serde::{Serialize, de::DeserializeOwned};

/// Longest frame body, in bytes. The largest value is a status with two texts; texts are cut to
/// [`TEXT_BYTES_MAX`], so 2 KiB leave room.
pub const FRAME_BYTES_MAX: usize = 2048;
/// Longest free text in a frame, in bytes: one line for people.
pub const TEXT_BYTES_MAX: usize = 400;
/// Bytes of the length in front of each frame.
pub const LENGTH_BYTES: usize = 4;

/// A frame that is not one.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The announced length is zero or over the bound.
    #[error("a frame of {len} bytes is outside 1..={FRAME_BYTES_MAX}")]
    Length {
        /// The announced length.
        len: usize,
    },
    /// The body is not what was expected, or cannot be written within the bound.
    #[error("a frame's body is malformed or too long: {0}")]
    Body(#[from] bincode::Error),
}

fn codec() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_limit(FRAME_BYTES_MAX as u64)
}

/// Appends one frame to `out`; on an error `out` is as before.
///
/// # Errors
/// [`FrameError::Body`] when the value is over the bound.
pub fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let body = codec().serialize(value)?;
    let len = u32::try_from(body.len()).map_err(|_| FrameError::Length { len: body.len() })?;
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&body);
    Ok(())
}

/// Takes the first whole frame off `buf`; none if it has not arrived yet.
///
/// # Errors
/// When what arrived is no frame; the connection is of no use then.
pub fn take<T: DeserializeOwned>(buf: &mut Vec<u8>) -> Result<Option<T>, FrameError> {
    let Some((head, rest)) = buf.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let len = body_len(*head)?;
    if rest.len() < len {
        return Ok(None);
    }
    let value = decode(&rest[..len])?;
    buf.drain(..LENGTH_BYTES + len);
    Ok(Some(value))
}

/// Returns the length of the body that follows this head, in bytes.
///
/// # Errors
/// [`FrameError::Length`] when it is outside the bound.
pub fn body_len(head: [u8; LENGTH_BYTES]) -> Result<usize, FrameError> {
    let len = u32::from_le_bytes(head) as usize;
    if len == 0 || len > FRAME_BYTES_MAX { Err(FrameError::Length { len }) } else { Ok(len) }
}

/// Decodes one body, which must be used up entirely.
///
/// # Errors
/// [`FrameError::Body`] when it is malformed.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(codec().reject_trailing_bytes().deserialize(body)?)
}

/// Cuts a text for people to [`TEXT_BYTES_MAX`], at a character's boundary.
#[must_use]
pub fn cut_text(mut text: String) -> String {
    text.truncate(cut_at(&text, TEXT_BYTES_MAX));
    text
}

/// Returns the last character's boundary of `text` at or before `len` bytes.
pub(super) fn cut_at(text: &str, len: usize) -> usize {
    (0..=len.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::protocol::{ClientFrame, Request, RequestNumber};

    fn frame() -> ClientFrame {
        ClientFrame { number: RequestNumber(7), request: Request::Fence { why: "test".into() } }
    }

    #[test]
    fn a_frame_survives_being_cut_anywhere() {
        let mut whole = Vec::new();
        encode(&frame(), &mut whole).unwrap();
        for cut in 0..whole.len() {
            let mut buf = whole[..cut].to_vec();
            assert!(take::<ClientFrame>(&mut buf).unwrap().is_none());
            buf.extend_from_slice(&whole[cut..]);
            assert_eq!(take::<ClientFrame>(&mut buf).unwrap(), Some(frame()));
            assert!(buf.is_empty());
        }
    }

    #[test]
    fn garbage_is_an_error_and_allocates_nothing() {
        assert!(take::<ClientFrame>(&mut vec![0xff; 64]).is_err());
        assert!(take::<ClientFrame>(&mut vec![0; 64]).is_err());
        let mut huge_text = 24_u32.to_le_bytes().to_vec();
        huge_text.extend_from_slice(&1_u64.to_le_bytes());
        huge_text.extend_from_slice(&4_u32.to_le_bytes());
        huge_text.extend_from_slice(&u64::MAX.to_le_bytes());
        huge_text.extend_from_slice(&[0; 4]);
        assert!(take::<ClientFrame>(&mut huge_text).is_err());
    }

    #[test]
    fn texts_are_cut_at_a_character() {
        let cut = cut_text("é".repeat(TEXT_BYTES_MAX));
        assert_eq!(cut.len(), TEXT_BYTES_MAX);
        let too_long = Request::Fence { why: "x".repeat(FRAME_BYTES_MAX) };
        assert!(
            encode(&ClientFrame { number: RequestNumber(1), request: too_long }, &mut Vec::new()).is_err()
        );
    }
}
