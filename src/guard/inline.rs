//! The guard inside the daemon (L10, `fencing = "daemon"`): the same loop on a thread, over a socket
//! pair. It dies with the daemon, and PostgreSQL is unguarded then.

use super::client::{GuardClient, GuardEvents};
use super::error::GuardError;
use super::log::Log;
use super::procs::DataDir;
use super::run::{Loop, Sources};
use crate::core::Nanos;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Starts the guard's loop on a thread of this process, and returns its only client. The thread ends
/// when the client is dropped and nothing is guarded; until then a deadline once set is kept. Call it
/// within a tokio runtime; the daemon's own working directory must not be the data directory.
///
/// # Errors
/// When the thread or its descriptors cannot be made.
pub fn start(
    data_dir: &Path,
    fence_reserve: Nanos,
    log: Log,
) -> Result<(GuardClient, GuardEvents), GuardError> {
    let dir = DataDir::resolve(data_dir)
        .map_err(GuardError::system(format!("resolve the data directory {}", data_dir.display())))?;
    let (near, far) = UnixStream::pair().map_err(GuardError::system("make a socket pair"))?;
    let sources = Sources { listener: None, terminated: None, only_client: Some(far.into()) };
    let ready = Loop::new(dir, fence_reserve, sources, log).map_err(GuardError::system("set up the loop"))?;
    std::thread::Builder::new()
        .name("guard".into())
        .spawn(move || ready.run())
        .map_err(GuardError::system("start the guard's thread"))?;
    near.set_nonblocking(true).map_err(GuardError::system("set up the socket pair"))?;
    let stream =
        tokio::net::UnixStream::from_std(near).map_err(GuardError::system("set up the socket pair"))?;
    Ok(GuardClient::over(stream))
}
