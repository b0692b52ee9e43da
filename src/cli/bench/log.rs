//! Speed of the event log and of the audit, over records that a real cluster left: its first
//! minutes, a failover among them.

use super::Bench;
use super::idle::stop;
use super::phases::records;
use super::spread::Spread;
use crate::core::roles;
use crate::demo::{Cluster, Deadline};
use crate::events::{
    AppendRefused, Durability, Event, EventLog, LogOptions, LogReader, Observation, Receipt, Record,
};
use anyhow::Context as _;
use pgfo_replay::{Auditor, BootNanos, Seq, WallNanos};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Members of the cluster that is recorded.
const MEMBERS: u8 = 3;
/// Long enough that packed blocks hold no two copies of the same second.
const RECORDED: Duration = Duration::from_secs(60);
/// Until the daemons agree on a primary.
const AGREED_WITHIN_SECS: u64 = 60;
/// Batches appended one by one for each latency.
const APPENDS: usize = 2_000;
/// Records audited at least, so that the rate means something.
const AUDITED_MIN: u64 = 1_000_000;
/// Records a second that an audit should reach on one core.
const AUDIT_RATE_MIN: f64 = 1e6;
/// A day's log should be audited in this time.
const DAY_SECONDS_MAX: f64 = 5.0;
/// Bytes that a day's log may take on the disk.
const DAY_BYTES_MAX: u64 = 50_000_000;
/// The same for its packed blocks alone.
const DAY_PACKED_BYTES_MAX: u64 = 5_000_000;
/// Packing leaves at most so many records more than it should: a batch that is not whole.
const PACKED_UP_TO: u64 = 64;
/// Records between two flushes: an idle member's log flushes every two seconds, and how full sled's
/// segments are hangs on it.
const FLUSH_EVERY_S: f64 = 2.0;
const SECONDS_A_DAY: f64 = 86_400.0;

/// The log's speed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Log {
    /// Records of the primary's log that were used.
    pub(super) recorded: u64,
    /// One batch to the log's thread and back, without a flush.
    pub(super) append_buffered: Spread,
    /// The same, flushed to the disk.
    pub(super) append_flushed: Spread,
    /// Records a second: roles derive every decision again, from memory.
    pub(super) audit_a_second: f64,
    /// The same, reading, verifying and decoding a packed log included.
    pub(super) audit_from_disk_a_second: f64,
    /// Records a second that should be reached.
    pub(super) audit_min: f64,
    /// Records a day of an idle primary.
    pub(super) day_records: u64,
    /// Seconds to audit them, from the disk.
    pub(super) day_audit_s: f64,
    /// Bytes of the log's directory after a day, hot records and all.
    pub(super) day_bytes: u64,
    /// Bytes of the packed blocks alone, a day.
    pub(super) day_packed_bytes: u64,
    /// Bytes that it should stay below.
    pub(super) day_bytes_max: u64,
    /// Bytes that the packed blocks should stay below.
    pub(super) day_packed_bytes_max: u64,
    /// Whether all this was reached.
    pub(super) reached: bool,
}

/// A directory that goes when it is no longer needed.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the directory for temporary files harms nobody.
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

/// Records a cluster, then measures what its log can do.
pub(super) fn measure(bench: &Bench, records_a_day: Option<u64>) -> anyhow::Result<Log> {
    bench.say("log: a cluster is recorded for a minute, and then a failover");
    let (idle, with_failover) = record(bench)?;
    let span = idle.last().map_or(0, |l| l.boot.nanos_since(idle[0].boot)) as f64 / 1e9;
    let day_records = records_a_day.unwrap_or((idle.len() as f64 / span * 86_400.0) as u64);
    let scratch = Scratch(std::env::temp_dir().join(format!("pgfo-bench-log-{}", std::process::id())));
    bench.say("log: appending");
    let (append_buffered, append_flushed) = appends(&scratch.0.join("appends"), &with_failover)?;
    bench.say("log: auditing");
    let in_memory = audit_rate(&with_failover)?;
    bench.say(&format!(
        "log: a day of {day_records} records, flushed and packed as in a daemon: some minutes"
    ));
    let day = scratch.0.join("day");
    let (day_bytes, day_packed_bytes) = write_day(&day, &idle, day_records)?;
    let begun = Instant::now();
    let mut read = 0u64;
    for record in LogReader::<Event>::open(&day)? {
        record.map_err(|damage| anyhow::anyhow!("the day's log is damaged: {damage}"))?;
        read += 1;
    }
    let reading = begun.elapsed().as_secs_f64() / read as f64;
    let from_disk = 1.0 / (1.0 / in_memory + reading);
    let day_audit_s = day_records as f64 / from_disk;
    Ok(Log {
        recorded: with_failover.len() as u64,
        append_buffered,
        append_flushed,
        audit_a_second: in_memory,
        audit_from_disk_a_second: from_disk,
        audit_min: AUDIT_RATE_MIN,
        day_records,
        day_audit_s,
        day_bytes,
        day_packed_bytes,
        day_bytes_max: DAY_BYTES_MAX,
        day_packed_bytes_max: DAY_PACKED_BYTES_MAX,
        reached: from_disk >= AUDIT_RATE_MIN
            && day_audit_s < DAY_SECONDS_MAX
            && day_bytes < DAY_BYTES_MAX
            && day_packed_bytes < DAY_PACKED_BYTES_MAX,
    })
}

/// Returns the idle part of the primary's log, and a whole log with the failover at its end.
fn record(bench: &Bench) -> anyhow::Result<(Vec<Record>, Vec<Record>)> {
    let cluster =
        Cluster::builder().data(MEMBERS).pgfo(&bench.pgfo).sandbox(bench.sandbox.clone()).build()?;
    let status = cluster.wait_healthy(Deadline::secs(AGREED_WITHIN_SECS))?;
    let begun = crate::os::boot_now();
    std::thread::sleep(RECORDED);
    let ended = crate::os::boot_now();
    let primary = status.primary.unwrap_or_default();
    cluster.node(&primary).kill_postmaster()?;
    let new = cluster.wait_primary(Some(&primary), Deadline::secs(AGREED_WITHIN_SECS))?.name().to_owned();
    for node in cluster.nodes() {
        stop(node)?;
    }
    let idle = records(cluster.node(&primary))?;
    let idle = idle.into_iter().filter(|r| r.boot >= begun && r.boot < ended);
    let idle: Vec<Record> = idle.skip_while(|r| r.cause.is_some()).collect();
    anyhow::ensure!(!idle.is_empty(), "nothing was recorded");
    Ok((idle, records(cluster.node(&new))?))
}

/// Cuts records into batches: an observation and what was decided on it.
fn batches(records: &[Record]) -> impl Iterator<Item = &[Record]> {
    records.chunk_by(|_, next| next.cause.is_some())
}

/// Numbers a copy of `batch` from `first` on, its stamps moved by `later`.
fn renumbered(batch: &[Record], first: Seq, later: u64) -> Vec<Record> {
    let old = batch.first().map_or(0, |r| r.seq.0);
    let moved = |seq: Seq| Seq(first.0 + seq.0.saturating_sub(old));
    let mut copy = batch.to_vec();
    for record in &mut copy {
        record.seq = moved(record.seq);
        record.cause = record.cause.map(moved);
        record.boot = BootNanos(record.boot.0 + later);
        record.wall = WallNanos(record.wall.0 + i64::try_from(later).unwrap_or(0));
    }
    copy
}

fn append(log: &EventLog<Event>, mut batch: Vec<Record>, durability: Durability) -> anyhow::Result<Receipt> {
    loop {
        match log.append(batch, durability) {
            Ok(receipt) => return Ok(receipt),
            Err(AppendRefused::Full(back)) => batch = back,
            Err(closed) => anyhow::bail!("the log takes no more: {closed}"),
        }
        std::thread::yield_now();
    }
}

fn appends(dir: &Path, records: &[Record]) -> anyhow::Result<(Spread, Spread)> {
    let log = EventLog::<Event>::open(dir, LogOptions::default())?.log;
    let mut next = Seq(1);
    let mut timed = |durability| -> anyhow::Result<Spread> {
        let mut times = Vec::with_capacity(APPENDS);
        let all: Vec<&[Record]> = batches(records).collect();
        for batch in all.iter().cycle().take(APPENDS) {
            let batch = renumbered(batch, next, 0);
            next = Seq(next.0 + batch.len() as u64);
            let begun = Instant::now();
            append(&log, batch, durability)?.wait()?;
            times.push(begun.elapsed());
        }
        Ok(Spread::of(times))
    };
    let buffered = timed(Durability::Buffered)?;
    let flushed = timed(Durability::Flushed)?;
    log.close()?;
    Ok((buffered, flushed))
}

/// Audits a log again and again, each time with roles that know nothing.
fn audit_rate(records: &[Record]) -> anyhow::Result<f64> {
    let settings = records.iter().find_map(|r| match &r.event {
        Event::Observed(Observation::ProcessStarted(start)) => Some(start.settings.clone()),
        _ => None,
    });
    let settings = settings.context("the log does not say how its daemon was started")?;
    let mut audited = 0;
    let begun = Instant::now();
    while audited < AUDITED_MIN {
        let mut auditor = Auditor::new(roles(&settings));
        let mut found = Vec::new();
        for batch in batches(records) {
            auditor.check(batch, &mut found);
        }
        anyhow::ensure!(found.is_empty(), "the audit found {} differences", found.len());
        audited += records.len() as u64;
    }
    Ok(audited as f64 / begun.elapsed().as_secs_f64())
}

/// Writes so many records into a log that flushes and packs as it does in a daemon; returns the bytes of
/// its directory and those of its packed blocks.
fn write_day(dir: &Path, records: &[Record], count: u64) -> anyhow::Result<(u64, u64)> {
    let options = LogOptions::default();
    let log = EventLog::<Event>::open(dir, options)?.log;
    let due = options.pack.keep_records + options.pack.start_records;
    let flush_every = (count as f64 / SECONDS_A_DAY * FLUSH_EVERY_S) as u64;
    let span = records.last().map_or(0, |l| l.boot.nanos_since(records[0].boot));
    let mut next = Seq(1);
    let mut flushed = Seq(1);
    for round in 0u64.. {
        for batch in batches(records) {
            let batch = renumbered(batch, next, round * span);
            next = Seq(next.0 + batch.len() as u64);
            if next.0 - flushed.0 < flush_every {
                drop(append(&log, batch, Durability::Buffered)?);
                continue;
            }
            append(&log, batch, Durability::Flushed)?.wait()?;
            flushed = next;
            // The log packs while it is idle, as a daemon's is most of the time: all that is due.
            if log.stats().hot_records >= due {
                while log.stats().hot_records > options.pack.keep_records + PACKED_UP_TO {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
        if next.0 >= count {
            break;
        }
    }
    let packed = log.stats().packed_bytes;
    log.close()?;
    let part = count as f64 / next.0 as f64;
    Ok(((size_of(dir)? as f64 * part) as u64, (packed as f64 * part) as u64))
}

fn size_of(path: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let found = entry.metadata()?;
        // Blocks, not length: a file may have holes.
        bytes += if found.is_dir() { size_of(&entry.path())? } else { found.blocks() * 512 };
    }
    Ok(bytes)
}
