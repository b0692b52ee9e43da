//! Peers: frames, handshake, mutual TLS and the link between members. Decides nothing about
//! failover: it carries messages, says who is connected, and refuses strangers with a reason.

mod accept;
mod backoff;
mod config;
mod dial;
mod event;
pub mod frame;
pub mod handshake;
mod hub;
mod limit;
mod link;
mod session;
mod stream;
pub mod tls;
mod tls_fault;

pub use config::{ConfigError, LinkConfig, LinkTiming, PeerMember, Security};
pub use event::{DisconnectReason, PeerEvent, RefusedReason};
pub use handshake::{Hello, ProcessNonce, Refusal};
pub use link::{PeerHandle, PeerLink, PeerStatus, SendOutcome, StartError};
pub use tls::{TlsFileError, TlsMaterial, TlsPaths};
pub use tls_fault::{FaultSide, TlsFault, TlsFaultKind};
