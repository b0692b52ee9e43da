//! Locks between processes: blocks of loopback ports, and slots that bound how many clusters run at
//! once. Held by an open file, so that the kernel gives them back however the holder ends.

use super::error::{DemoError, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

/// Below Linux' ephemeral ports (32768 on): an outgoing connection can't take one of ours meanwhile.
const PORT_FIRST: u16 = 20_000;
/// Enough for eight members with PostgreSQL, daemon and two to spare each.
const BLOCK_PORTS: u16 = 32;
/// Ends below the ephemeral ports.
const BLOCKS: u16 = 390;
/// A slot is held for seconds; looking more often gains nothing.
const SLOT_POLL: Duration = Duration::from_millis(100);

/// A block of free loopback ports, ours until dropped.
#[derive(Debug)]
pub(crate) struct PortBlock {
    next: u16,
    end: u16,
    _lock: File,
}

impl PortBlock {
    /// Takes a block that no other sandbox holds and nothing listens in.
    pub(crate) fn take() -> Result<Self> {
        // Starting at different places keeps processes from trying the same blocks in turn.
        let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or(0);
        for offset in 0..BLOCKS {
            let block = (start + offset) % BLOCKS;
            let first = PORT_FIRST + block * BLOCK_PORTS;
            let lock = open(&format!("ports-{first}"))?;
            if lock.try_lock().is_err() {
                continue;
            }
            let free =
                (first..first + BLOCK_PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
            if free {
                return Ok(Self { next: first, end: first + BLOCK_PORTS, _lock: lock });
            }
        }
        let to = PORT_FIRST + BLOCKS * BLOCK_PORTS - 1;
        Err(DemoError::NoPorts { ports: BLOCK_PORTS, from: PORT_FIRST, to })
    }

    /// Hands out the next port of the block.
    pub(crate) fn next(&mut self) -> Result<u16> {
        if self.next == self.end {
            return Err(DemoError::State(format!("a sandbox has {BLOCK_PORTS} ports; use fewer members")));
        }
        self.next += 1;
        Ok(self.next - 1)
    }
}

/// Waits for one of `slots` places to run a cluster in; held until the file is dropped.
pub(crate) fn take_slot(slots: u16) -> Result<File> {
    assert!(slots > 0, "a cluster needs a slot to run in");
    loop {
        for number in 0..slots {
            let file = open(&format!("slot-{number}"))?;
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => {
                    return Err(DemoError::Io { doing: "lock", path: dir(), source });
                }
            }
        }
        std::thread::sleep(SLOT_POLL);
    }
}

/// One directory a user: another user's files could not be opened for writing.
fn dir() -> PathBuf {
    std::env::temp_dir().join(format!("pgfo-locks-{}", rustix::process::geteuid().as_raw()))
}

fn open(name: &str) -> Result<File> {
    let dir = dir();
    std::fs::create_dir_all(&dir).map_err(DemoError::io("create", &dir))?;
    let path = dir.join(name);
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    opened.map_err(DemoError::io("open", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_blocks_never_overlap() {
        let (mut a, mut b) = (PortBlock::take().unwrap(), PortBlock::take().unwrap());
        assert!(a.next().unwrap().abs_diff(b.next().unwrap()) >= BLOCK_PORTS);
    }
}
