//! The byte stream below a session, plain or TLS, and the socket options both need.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connected stream, whatever protects it.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// An owned [`Duplex`].
pub(crate) type BoxedDuplex = Box<dyn Duplex>;

/// Sends small messages at once, and lets the kernel give up on unacknowledged data after `idle`,
/// as the session does.
pub(crate) fn tune(stream: &TcpStream, idle: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let idle_ms = u32::try_from(idle.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, idle_ms)?)
}
