//! The death of a postmaster or a WAL receiver as an event. It must never poll: the kernel tells, within a fraction of a millisecond.

use super::process::{Postmaster, open_receiver};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A WAL receiver that is held: its descriptor stays its own, whatever becomes of its number.
#[derive(Debug)]
pub struct Receiver {
    pid: i32,
    pidfd: OwnedFd,
}

impl Receiver {
    /// Opens the process `pid` if it is the WAL receiver of the PostgreSQL in `data_dir`; `None` if it is gone, or has
    /// left its number to another process.
    ///
    /// # Errors
    /// When it can't be looked at: that says nothing about it.
    pub fn open(data_dir: &Path, pid: i32) -> io::Result<Option<Self>> {
        Ok(open_receiver(data_dir, pid)?.map(|pidfd| Self { pid, pidfd }))
    }
}

/// Waits for the death of one process.
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
    pub fn new(postmaster: Postmaster) -> io::Result<Self> {
        let pid = postmaster.pid();
        Self::of(postmaster.into_pidfd(), pid)
    }

    /// Starts to watch a WAL receiver, in the runtime of the caller.
    ///
    /// # Errors
    /// When the runtime can't take the descriptor.
    pub fn of_receiver(receiver: Receiver) -> io::Result<Self> {
        Self::of(receiver.pidfd, receiver.pid)
    }

    // Deprecated for types that may lie about their descriptor; `OwnedFd` can't, and the successor is unsafe.
    #[allow(deprecated)]
    fn of(pidfd: OwnedFd, pid: i32) -> io::Result<Self> {
        Ok(Self { pidfd: AsyncFd::with_interest(pidfd, Interest::READABLE)?, pid })
    }

    /// Returns the process's number.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns another descriptor of the same process.
    ///
    /// # Errors
    /// When there are too many.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.pidfd.get_ref().try_clone()
    }

    /// Waits until the process is dead. A postmaster's backends may live on: see [`super::confirm_gone`].
    ///
    /// # Errors
    /// When the runtime shuts down.
    pub async fn died(&self) -> io::Result<()> {
        // The readiness is kept, so that whoever asks later hears of it, too.
        self.pidfd.readable().await.map(drop)
    }
}
