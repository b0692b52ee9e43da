//! What the link tells its owner. Facts only; none of them is a verdict about a member.

use crate::core::MemberId;
use crate::peer::frame::FrameError;
use crate::peer::handshake::{HandshakeError, Hello, Refusal};
use crate::peer::tls_fault::TlsFault;
use std::net::SocketAddr;
use std::time::Duration;

/// A fact about a peer. Of one member, `Connected` and `Disconnected` alternate, and `Received`
/// stands between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent<M> {
    /// Messages can be exchanged with this run of this member.
    Connected {
        /// The member.
        member: MemberId,
        /// What it said of itself.
        hello: Hello,
    },
    /// No connection to the member is left.
    Disconnected {
        /// The member.
        member: MemberId,
        /// Why the last one ended.
        why: DisconnectReason,
    },
    /// A message arrived.
    Received {
        /// The member that sent it, proven by its connection.
        member: MemberId,
        /// The message.
        message: M,
    },
    /// Someone was refused, or refused this member. Rate limited.
    Refused {
        /// Where the other side is.
        remote: SocketAddr,
        /// Why.
        reason: RefusedReason,
        /// Refusals since the last event that were not told.
        suppressed: u64,
    },
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisconnectReason {
    /// The other side closed it, or its process ended.
    #[error("closed by the other side")]
    ClosedByPeer,
    /// Nothing was heard, not even a sign of life, for the idle timeout.
    #[error("nothing heard for {0:?}")]
    Idle(Duration),
    /// The other side took nothing for the idle timeout.
    #[error("nothing could be sent for {0:?}")]
    WriteTimeout(Duration),
    /// A frame was hostile, broken, or of another type.
    #[error("bad frame: {0}")]
    Frame(FrameError),
    /// The transport failed.
    #[error("transport failed: {0}")]
    Io(String),
    /// A newer connection of the same direction took its place.
    #[error("replaced by a newer connection")]
    Replaced,
    /// The member's process was started anew, or another one has its name.
    #[error("replaced by another process of the same member")]
    ReplacedByNewProcess,
}

impl From<FrameError> for DisconnectReason {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Closed | FrameError::Truncated => Self::ClosedByPeer,
            FrameError::Io { kind: std::io::ErrorKind::ConnectionReset, .. } => Self::ClosedByPeer,
            FrameError::Io { detail, .. } => Self::Io(detail),
            other => Self::Frame(other),
        }
    }
}

/// Why a connection did not become a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedReason {
    /// This member refused the other side.
    #[error("refused: {0}")]
    ByUs(Refusal),
    /// The other side refused this member.
    #[error("refused by the other side: {0}")]
    ByPeer(Refusal),
    /// TLS failed.
    #[error("{0}")]
    Tls(TlsFault),
    /// The handshake did not end in time.
    #[error("handshake not finished within {0:?}")]
    HandshakeTimeout(Duration),
    /// The handshake was garbage, or ended too early.
    #[error("handshake failed: {0}")]
    Handshake(FrameError),
    /// Without TLS, only this host may connect.
    #[error("no TLS is configured, so only this host may connect: configure TLS on all members")]
    NotLoopback,
    /// Too many strangers were shaking hands; the oldest made room.
    #[error("too many connections are in their handshake: the oldest was dropped")]
    Overload,
}

impl From<HandshakeError> for RefusedReason {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::RefusedByUs(refusal) => Self::ByUs(refusal),
            HandshakeError::RefusedByPeer(refusal) => Self::ByPeer(refusal),
            HandshakeError::Frame(FrameError::Tls(fault)) => Self::Tls(fault),
            HandshakeError::Frame(e) => Self::Handshake(e),
        }
    }
}
