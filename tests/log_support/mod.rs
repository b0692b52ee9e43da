//! What the tests of the event log share: a small vocabulary, and shorthands.
#![allow(dead_code, unreachable_pub)]

use pgfo::events::{
    Condition, Damage, Durability, EventLog, LogOptions, LogReader, Opened, PackOptions, STORE_NAME,
};
use pgfo_replay::{BootNanos, Record, Seq, WallNanos};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

/// Events of the kinds that a member logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    ProbeAnswered { receive: u64, replay: u64, latency_nanos: u64 },
    SuspicionRaised { failures: u8 },
    Noted(String),
}

pub type Log = EventLog<Event>;

/// Returns the record `seq` of the one history that all tests write.
pub fn record(seq: u64) -> Record<Event> {
    let boot = 1_000_000_000 * seq + seq * 7919 % 1_000_003;
    Record {
        seq: Seq(seq),
        boot: BootNanos(boot),
        wall: WallNanos(1_790_000_000_000_000_000 + boot as i64),
        actor: (seq % 4) as u8,
        cause: seq.is_multiple_of(3).then_some(Seq(seq - 1)),
        event: match seq % 10 {
            3 => Event::SuspicionRaised { failures: (seq % 5) as u8 },
            9 => Event::Noted(format!("vote refused, record {seq}")),
            _ => Event::ProbeAnswered {
                receive: 0x300_0000 + seq * 4096,
                replay: 0x300_0000 + seq * 4096 - seq % 512,
                latency_nanos: 180_000 + seq * 104_729 % 99_991,
            },
        },
    }
}

pub fn records(range: std::ops::RangeInclusive<u64>) -> Vec<Record<Event>> {
    range.map(record).collect()
}

/// Opens the log without packing.
pub fn open(dir: &Path) -> Opened<Event> {
    open_with(
        dir,
        PackOptions { start_records: u64::MAX / 2, force_records: u64::MAX / 2, ..PackOptions::default() },
    )
}

pub fn open_with(dir: &Path, pack: PackOptions) -> Opened<Event> {
    Log::open(dir, LogOptions { pack, ..LogOptions::default() }).unwrap()
}

/// Appends the records in batches of `size` and waits for the last to be flushed.
pub fn append(log: &Log, range: std::ops::RangeInclusive<u64>, size: usize) {
    let all = records(range);
    let mut batches = all.chunks(size).peekable();
    while let Some(batch) = batches.next() {
        let durability = if batches.peek().is_some() { Durability::Buffered } else { Durability::Flushed };
        append_one(log, batch.to_vec(), durability).wait().unwrap();
    }
}

/// Appends one batch, waiting while the queue is full.
pub fn append_one(log: &Log, mut batch: Vec<Record<Event>>, durability: Durability) -> pgfo::events::Receipt {
    loop {
        match log.append(batch, durability) {
            Ok(receipt) => return receipt,
            Err(pgfo::events::AppendRefused::Full(back)) => batch = back,
            Err(closed) => panic!("{closed}"),
        }
        std::thread::yield_now();
    }
}

/// Writes a log of `last` records, in batches of `size`, and closes it.
pub fn write_log(dir: &Path, last: u64, size: usize) {
    let opened = open(dir);
    assert_eq!(opened.condition, Condition::Fresh);
    append(&opened.log, 1..=last, size);
    opened.log.close().unwrap();
}

/// Audits `path`: the good records, which must be the history from `first` on, and the damage.
pub fn audit(path: &Path) -> (u64, Option<Damage>) {
    let reader = LogReader::<Event>::open(path).unwrap();
    let mut next = reader.first().0;
    for item in reader {
        match item {
            Ok(found) => assert_eq!(found, record(next)),
            Err(damage) => {
                assert_eq!(damage.seq, Seq(next), "{damage}");
                return (next - 1, Some(damage));
            }
        }
        next += 1;
    }
    (next - 1, None)
}

/// Lets `edit` change the store of a closed log through sled itself.
pub fn edit(dir: &Path, edit: impl FnOnce(&sled::Tree)) {
    let config = sled::Config::new().path(dir.join(STORE_NAME)).flush_every_ms(None);
    let mut db = None;
    // Threads of a store that was just closed may still hold its lock.
    wait_until("opening the store", || {
        db = config.open().ok();
        db.is_some()
    });
    let db = db.unwrap();
    let tree = db.open_tree("events").unwrap();
    edit(&tree);
    db.flush().unwrap();
}

pub fn key(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

/// Copies a directory of files, two levels deep at most.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Waits until `done` says so; panics with `what` after a minute.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} did not happen within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}
