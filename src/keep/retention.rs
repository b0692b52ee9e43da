//! Owns how long records are kept: which block the log may begin with, and that it begins there. It
//! must never let a record go that no checkpoint stands for.

use super::recover::{Unrecoverable, states_at};
use super::state::seal_state;
use crate::core::Nanos;
use crate::events::{Block, Damage, Event, EventLog, Settings, UpkeepError};
use pgfo_replay::{Seq, WallNanos};
use std::time::Duration;

/// The share of the store's size that the stored batches and blocks may take: one in this many bytes.
/// sled frees what was removed by rewriting, and never gives room back to the file system.
pub const STORE_SHARE: u64 = 4;
/// What is kept in any case, as a share of the store's size: evidence is not given up for what sled leaves
/// unused.
const STORE_SHARE_MIN: u64 = 16;
/// Blocks removed at one time: bounds the write.
const BLOCKS_MAX: usize = 16_384;

/// How long records and incidents are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Older records go.
    pub age_max: Nanos,
    /// The oldest go, so that the log's store stays below this many bytes.
    pub size_bytes_max: u64,
    /// What is kept of incidents.
    pub incidents: IncidentLimits,
}

/// How many incidents are kept, whatever their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncidentLimits {
    /// Files.
    pub count_max: u32,
    /// Bytes of all together.
    pub size_bytes_max: u64,
}

/// Returns the first record to keep, the beginning of a block and at most `newest`; `None`: all is kept.
///
/// # Errors
/// The damage that was met among the blocks.
pub fn cut_point(
    blocks: impl Iterator<Item = Result<Block, Damage>>,
    value_bytes: u64,
    bytes_max: u64,
    now: WallNanos,
    newest: Seq,
    age_max: Nanos,
) -> Result<Option<Seq>, Damage> {
    let age = i64::try_from(age_max.0).unwrap_or(i64::MAX);
    let oldest = now.0.saturating_sub(age);
    let mut left = value_bytes;
    let mut before = None;
    let mut cut = None;
    for block in blocks.take(BLOCKS_MAX) {
        let block = block?;
        if block.first > newest {
            break;
        }
        if let Some(before) = before {
            // All before this block is older than its first record.
            if block.wall.0 > oldest && before <= bytes_max {
                break;
            }
            cut = Some(block.first);
        }
        before = Some(left);
        left = left.saturating_sub(block.bytes);
    }
    Ok(cut)
}

/// Returns how many bytes the batches and blocks may take. A store that is too large all the same, for
/// what sled does not use again, is relieved of a quarter at a time.
const fn bytes_max(limits: &Limits, value_bytes: u64, disk_bytes: u64) -> u64 {
    let (least, most) = (limits.size_bytes_max / STORE_SHARE_MIN, limits.size_bytes_max / STORE_SHARE);
    if disk_bytes <= limits.size_bytes_max {
        return most;
    }
    let relieved = value_bytes / 4 * 3;
    if relieved < least {
        least
    } else if relieved > most {
        most
    } else {
        relieved
    }
}

/// Why old records could not go. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RetainError {
    /// A block can't be read.
    #[error("{0}")]
    Damaged(#[from] Damage),
    /// The state to begin with can't be had.
    #[error("{0}")]
    Unrecoverable(#[from] Unrecoverable),
    /// The state can't be written.
    #[error("{0}")]
    Beginning(String),
    /// The log refused.
    #[error("{0}")]
    Log(#[from] UpkeepError),
}

/// Removes what is older or larger than the limits, up to the durable checkpoint of record `kept` at the
/// most; returns the record that the log begins with now, if it is another. Blocks.
///
/// # Errors
/// [`RetainError`].
pub fn retain(
    log: &EventLog<Event>,
    settings: &Settings,
    kept: Seq,
    now: WallNanos,
    limits: &Limits,
) -> Result<Option<Seq>, RetainError> {
    let stats = log.stats();
    let bytes_max = bytes_max(limits, stats.value_bytes, stats.disk_bytes);
    let found = cut_point(log.blocks(), stats.value_bytes, bytes_max, now, kept, limits.age_max)?;
    let Some(first) = found else {
        return Ok(None);
    };
    let begun = states_at(log, settings, Seq(first.0 - 1))?;
    let place = begun
        .place
        .filter(|place| place.seq.next() == first)
        .ok_or_else(|| RetainError::Beginning("a block begins inside a batch".to_owned()))?;
    let base = seal_state(&begun.states, place, log.origin()).map_err(RetainError::Beginning)?;
    log.cut_before(&base)?;
    Ok(Some(first))
}

/// The pace at which old records are looked for.
pub(super) const RETAIN_PACE: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000_000;

    /// One block of 100 records and 1000 bytes a day.
    fn blocks(days: u64) -> impl Iterator<Item = Result<Block, Damage>> {
        (0..days).map(|day| {
            Ok(Block {
                first: Seq(1 + 100 * day),
                wall: WallNanos(DAY * i64::try_from(day).unwrap()),
                bytes: 1000,
            })
        })
    }

    fn cut(age_days: u64, size: u64, now_day: i64, newest: u64) -> Option<u64> {
        let age = Nanos(age_days * DAY as u64);
        let now = WallNanos(DAY * now_day);
        cut_point(blocks(10), 10_000, size, now, Seq(newest), age).unwrap().map(|seq| seq.0)
    }

    #[test]
    fn age_and_size_each_bound_the_log() {
        assert_eq!(cut(30, 1 << 30, 10, u64::MAX), None);
        // The blocks of days 0 to 4 hold nothing younger than five days; that of day 5 does.
        assert_eq!(cut(5, 1 << 30, 10, u64::MAX), Some(501));
        assert_eq!(cut(30, 6000, 10, u64::MAX), Some(401));
        // The last block stays, and so does what no checkpoint stands for.
        assert_eq!(cut(1, 1, 100, u64::MAX), Some(901));
        assert_eq!(cut(1, 1, 100, 250), Some(201));
        assert_eq!(cut(1, 1, 100, 50), None);
    }

    #[test]
    fn a_store_that_is_too_large_gives_up_a_quarter_at_a_time() {
        let incidents = IncidentLimits { count_max: 1, size_bytes_max: 1 };
        let limits = Limits { age_max: Nanos(1), size_bytes_max: 16_000, incidents };
        assert_eq!(bytes_max(&limits, 3_000, 16_000), 4_000);
        assert_eq!(bytes_max(&limits, 3_200, 16_001), 2_400);
        assert_eq!(bytes_max(&limits, 9_000, 16_001), 4_000);
        assert_eq!(bytes_max(&limits, 1_200, 16_001), 1_000, "a sixteenth stays");
    }
}
