//! The handler's end of a reply: several items or chunks, then exactly one end.

use crate::control::protocol::{CHUNK_BYTES_MAX, ControlError};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

/// Parts that wait for the client; the handler of a long export waits when the client is slow.
const PARTS_MAX: usize = 8;

/// The client went away, or was too slow; nobody reads the reply any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct ClientGone;

pub(crate) enum Part {
    Item(Value),
    Chunk(Vec<u8>),
}

/// Answers one request. Dropped without an end, the client is told so.
#[derive(Debug)]
pub struct Replier {
    parts: mpsc::Sender<Part>,
    end: oneshot::Sender<Result<Value, ControlError>>,
}

/// The socket's end of a reply.
pub(crate) struct ReplyParts {
    pub(crate) parts: mpsc::Receiver<Part>,
    pub(crate) end: oneshot::Receiver<Result<Value, ControlError>>,
}

pub(crate) fn channel() -> (Replier, ReplyParts) {
    let (parts_in, parts) = mpsc::channel(PARTS_MAX);
    let (end_in, end) = oneshot::channel();
    (Replier { parts: parts_in, end: end_in }, ReplyParts { parts, end })
}

impl Replier {
    /// Sends one of several results; waits while the client is slow.
    ///
    /// # Errors
    /// [`ClientGone`].
    pub async fn item(&self, value: Value) -> Result<(), ClientGone> {
        self.parts.send(Part::Item(value)).await.map_err(|_| ClientGone)
    }

    /// Sends raw bytes, in chunks of at most 64 KiB; waits while the client is slow.
    ///
    /// # Errors
    /// [`ClientGone`].
    pub async fn bytes(&self, bytes: &[u8]) -> Result<(), ClientGone> {
        for chunk in bytes.chunks(CHUNK_BYTES_MAX) {
            self.parts.send(Part::Chunk(chunk.to_vec())).await.map_err(|_| ClientGone)?;
        }
        Ok(())
    }

    /// As [`Replier::bytes`], for a handler on a thread of its own; must not be called inside a
    /// runtime.
    ///
    /// # Errors
    /// [`ClientGone`].
    pub fn blocking_bytes(&self, bytes: &[u8]) -> Result<(), ClientGone> {
        for chunk in bytes.chunks(CHUNK_BYTES_MAX) {
            self.parts.blocking_send(Part::Chunk(chunk.to_vec())).map_err(|_| ClientGone)?;
        }
        Ok(())
    }

    /// Ends the reply with a result. Never waits.
    ///
    /// # Errors
    /// [`ClientGone`].
    pub fn done(self, value: Value) -> Result<(), ClientGone> {
        self.end.send(Ok(value)).map_err(|_| ClientGone)
    }

    /// Ends the reply with an error. Never waits.
    ///
    /// # Errors
    /// [`ClientGone`].
    pub fn error(self, error: ControlError) -> Result<(), ClientGone> {
        self.end.send(Err(error)).map_err(|_| ClientGone)
    }
}
