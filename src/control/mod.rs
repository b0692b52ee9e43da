//! The daemon's local control socket: a Unix socket of its owner alone, one JSON request a line.
//! Carries requests and replies; decides nothing.

mod client;
mod protocol;
mod replier;
mod server;
mod socket;

pub use client::{Client, ClientError, StreamPart};
pub use protocol::{ControlError, REQUEST_BYTES_MAX, Request};
pub use replier::{ClientGone, Replier};
pub use server::{CLIENTS_MAX, ControlServer, ControlTiming, Incoming};
pub use socket::SocketError;
