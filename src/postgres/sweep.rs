//! The end of whatever a PostgreSQL left behind (D3, L7). Synchronous, for the guard. It must never report an empty
//! directory on the word of one scan: a busy backend outlives its postmaster, and a process that is being made can be missed.

use super::process::{self, LiveProcess, ScanError};
use rustix::process::Signal;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// So many scans in a row have to find nothing.
pub const EMPTY_SCANS_MIN: u32 = 3;
/// The pause between scans: long against a fork, short against a lease.
const SCAN_INTERVAL: Duration = Duration::from_millis(3);

/// How a sweep ended.
#[derive(Debug)]
pub enum Sweep {
    /// [`EMPTY_SCANS_MIN`] scans in a row found nothing.
    Gone {
        /// How many processes were sent SIGKILL.
        killed: u32,
        /// All scans that it took.
        scans: u32,
    },
    /// These were there at the deadline: PostgreSQL may still acknowledge.
    Remains {
        /// How many SIGKILLs were sent, one process and scan each.
        killed: u32,
        /// What is left.
        left: Vec<LiveProcess>,
    },
    /// It could not be looked at, so nothing is known.
    Unknown(ScanError),
}

/// Kills every process whose working directory is `data_dir`, until there is none, or until `deadline`. It looks at
/// least once. Blocks the thread.
#[must_use]
pub fn sweep(data_dir: &Path, deadline: Instant) -> Sweep {
    scan_until_empty(data_dir, deadline, |process| {
        // One that can't be signalled shows up in the next scan.
        process::signal_member(data_dir, process.pid, Signal::KILL).unwrap_or(false)
    })
}

/// Waits until no process is left whose working directory is `data_dir`, and kills none. Blocks the thread.
#[must_use]
pub fn confirm_gone(data_dir: &Path, deadline: Instant) -> Sweep {
    scan_until_empty(data_dir, deadline, |_| false)
}

fn scan_until_empty(data_dir: &Path, deadline: Instant, mut kill: impl FnMut(&LiveProcess) -> bool) -> Sweep {
    let (mut killed, mut scans, mut empty_scans) = (0, 0, 0);
    loop {
        let left = match process::scan(data_dir) {
            Ok(left) => left,
            Err(error) => return Sweep::Unknown(error),
        };
        scans += 1;
        empty_scans = if left.is_empty() { empty_scans + 1 } else { 0 };
        if empty_scans >= EMPTY_SCANS_MIN {
            return Sweep::Gone { killed, scans };
        }
        killed += u32::try_from(left.iter().filter(|p| kill(p)).count()).unwrap_or(u32::MAX);
        if Instant::now() >= deadline {
            return Sweep::Remains { killed, left };
        }
        sleep(SCAN_INTERVAL);
    }
}
