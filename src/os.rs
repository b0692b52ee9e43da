//! Clocks, boot identity and processes of this host. The only place that reads a clock for the
//! daemon; the core never does.

use crate::core::BootId;
use pgfo_replay::{BootNanos, WallNanos};
use std::io;

/// Returns `CLOCK_BOOTTIME`, which goes on while the host sleeps.
#[must_use]
pub fn boot_now() -> BootNanos {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let secs = u64::try_from(t.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(t.tv_nsec).unwrap_or(0);
    BootNanos(secs * 1_000_000_000 + nanos)
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
