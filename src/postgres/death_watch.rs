//! The postmaster's death as an event. It must never poll: the kernel tells, within a fraction of a millisecond.

use super::process::Postmaster;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for the death of one postmaster.
#[derive(Debug)]
pub struct DeathWatch {
    pidfd: AsyncFd<OwnedFd>,
    pid: i32,
}

impl DeathWatch {
    /// Starts to watch `postmaster`, in the runtime of the caller.
    ///
    /// # Errors
    /// When the runtime can't take the descriptor.
    // Deprecated for types that may lie about their descriptor; `OwnedFd` can't, and the successor is unsafe.
    #[allow(deprecated)]
    pub fn new(postmaster: Postmaster) -> io::Result<Self> {
        let pid = postmaster.pid();
        let pidfd = AsyncFd::with_interest(postmaster.into_pidfd(), Interest::READABLE)?;
        Ok(Self { pidfd, pid })
    }

    /// Returns the postmaster's process number.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until the postmaster is dead. Its backends may live on: see [`super::confirm_gone`].
    ///
    /// # Errors
    /// When the runtime shuts down.
    pub async fn died(&self) -> io::Result<()> {
        // The readiness is kept, so that whoever asks later hears of it, too.
        self.pidfd.readable().await.map(drop)
    }
}
