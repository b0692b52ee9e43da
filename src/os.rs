//! Clocks, boot identity and processes of this host. The only place that reads a clock for the
//! daemon; the core never does.

use crate::core::BootId;
use pgfo_replay::{BootNanos, WallNanos};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::AsFd;

/// Returns `CLOCK_BOOTTIME`, which goes on while the host sleeps.
#[must_use]
pub fn boot_now() -> BootNanos {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let secs = u64::try_from(t.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(t.tv_nsec).unwrap_or(0);
    BootNanos(secs * 1_000_000_000 + nanos)
}

/// Whether the error of a look into `/proc` says that the process has ended. Any other says nothing about it.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    let raw = error.raw_os_error();
    error.kind() == io::ErrorKind::NotFound || raw == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Whether an error says that this process or the machine is short of something, and nothing of what was looked at.
#[must_use]
pub fn is_short(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let short = [Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::INTR];
    error.raw_os_error().is_some_and(|raw| short.iter().any(|e| e.raw_os_error() == raw))
}

/// Returns whether the process behind a pidfd has ended, though its parent may not have asked yet.
///
/// # Errors
/// When it cannot be polled.
pub fn has_ended(pidfd: impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&Timespec::default())))? > 0)
}

/// Whether a process of this name may be a PostgreSQL server; the program is called `postmaster` in older packages.
#[must_use]
pub fn names_postgres(name: &str) -> bool {
    name.contains("postgres") || name.contains("postmaster")
}

/// Returns device and inode of the directory that a process works in, as the kernel has them at hand: the file system is
/// not asked, for one that hangs would not answer, whoever works there.
///
/// # Errors
/// When the process is gone, or the kernel does not show it.
pub fn cwd_inode(pid: i32) -> io::Result<(u64, u64)> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    // statx(2): AT_STATX_DONT_SYNC.
    let at_hand = AtFlags::STATX_DONT_SYNC;
    let found = statx(CWD, format!("/proc/{pid}/cwd"), at_hand, StatxFlags::INO)?;
    Ok((makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino))
}

/// Returns the wall clock, for people.
#[must_use]
pub fn wall_now() -> WallNanos {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    WallNanos(t.tv_sec * 1_000_000_000 + t.tv_nsec)
}

/// Reads the kernel's boot identity.
///
/// # Errors
/// When `/proc` is not mounted or the identity is not a UUID.
pub fn boot_id() -> io::Result<BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let hex: String = text.trim().chars().filter(|c| *c != '-').collect();
    u128::from_str_radix(&hex, 16).map(BootId).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}
