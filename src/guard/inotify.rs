//! Tells when something in the data directory's top level comes or goes: `postmaster.pid`, the seal.
//! A hint only: the tick finds what it misses.

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Room for a few dozen changes; more are read at the next turn.
const BUF_BYTES: usize = 4096;
/// Changes drained at one turn; the data directory's top level changes rarely.
const CHANGES_MAX: usize = 64;

/// The watch, moved along when the directory is replaced.
#[derive(Debug)]
pub(super) struct DirWatch {
    fd: OwnedFd,
    watched: Option<(u64, u64)>,
}

impl DirWatch {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { fd: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?, watched: None })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Watches `path`, unless it is watched already. `inode` was just looked up by the disk's thread,
    /// so this lookup finds it in memory.
    pub(super) fn follow(&mut self, path: &Path, inode: Option<(u64, u64)>) {
        if inode.is_none() || inode == self.watched {
            return;
        }
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ONLYDIR;
        // Without it the tick still looks.
        self.watched = inotify::add_watch(&self.fd, path, flags).ok().and(inode);
    }

    /// Forgets what has changed; returns whether anything had.
    pub(super) fn drain(&mut self) -> bool {
        let mut buf = [MaybeUninit::<u8>::uninit(); BUF_BYTES];
        let mut reader = inotify::Reader::new(&self.fd, &mut buf);
        (0..CHANGES_MAX).take_while(|_| reader.next().is_ok()).count() > 0
    }
}
