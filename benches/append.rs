//! Measures the event log: latency of appends, group commit, packing's steps, speed of reading.
//!
//! `cargo bench --bench append [-- DIRECTORY]`: the directory decides which disk is measured.

use pgfo::events::{Durability, EventLog, LogOptions, LogReader, PackOptions, Receipt};
use pgfo_replay::{BootNanos, Record, Seq, WallNanos};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

const APPENDS: u64 = 5_000;
const GROUPS: u64 = 300;
const READ_RECORDS: u64 = 300_000;
const STEADY_RECORDS: u64 = 200_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Event {
    ProbeAnswered { member: u8, receive: u64, replay: u64, latency_nanos: u64 },
    HeartbeatHeard { member: u8, term: u64, sent: u64 },
    SuspicionRaised { member: u8, failures: u8, reason: String },
}

fn record(seq: u64) -> Record<Event> {
    let boot = 5_000_000_000_000 + seq * 333_000_000 + seq * 7919 % 1_000_003;
    let member = (seq % 3) as u8;
    Record {
        seq: Seq(seq),
        boot: BootNanos(boot),
        wall: WallNanos(1_790_000_000_000_000_000 + boot as i64),
        actor: (seq % 5) as u8,
        cause: (seq % 4 == 3).then_some(Seq(seq - 1)),
        event: match seq % 16 {
            15 => Event::SuspicionRaised { member, failures: 3, reason: "connection refused".to_string() },
            n if n % 2 == 0 => Event::HeartbeatHeard { member, term: 12, sent: seq / 3 },
            _ => Event::ProbeAnswered {
                member,
                receive: 0x3000_0000 + seq * 8192,
                replay: 0x3000_0000 + seq * 8192 - seq % 4096,
                latency_nanos: 180_000 + seq * 104_729 % 99_991,
            },
        },
    }
}

fn append(log: &EventLog<Event>, seq: u64, durability: Durability) -> Receipt {
    let mut batch = vec![record(seq)];
    loop {
        match log.append(batch, durability) {
            Ok(receipt) => return receipt,
            Err(pgfo::events::AppendRefused::Full(back)) => batch = back,
            Err(closed) => panic!("{closed}"),
        }
        std::thread::yield_now();
    }
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    println!("{what:<44} p50 {:>8.1} µs  p99 {:>8.1} µs  max {:>8.1} µs", at(50), at(99), at(100));
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn wait_packed(log: &EventLog<Event>, left: u64) {
    while log.stats().hot_records > left {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn main() {
    let base = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let dir = match base {
        Some(base) => tempfile::tempdir_in(base),
        None => tempfile::tempdir(),
    };
    let dir = dir.expect("a directory for the log");
    // First, so that the resident memory is that of a daemon's usual life.
    steady(&dir.path().join("steady"));
    measure(&dir.path().join("piled"));
}

/// A log that is packed as it grows: what it costs on disk and in memory.
fn steady(dir: &Path) {
    let before = resident_kib();
    let log = EventLog::<Event>::open(dir, LogOptions::default()).expect("opens").log;
    println!("resident: {before} KiB before, {} KiB with an empty log", resident_kib());
    let pack = PackOptions::default();
    for seq in 1..=STEADY_RECORDS {
        append(&log, seq, Durability::Buffered).wait().expect("appended");
        if seq % 2048 == 0 {
            append_pause(&log, &pack);
        }
    }
    append_pause(&log, &pack);
    let stats = log.stats();
    println!(
        "steady: {} records, {} hot, {} B/record on disk, {} KiB resident",
        stats.records,
        stats.hot_records,
        stats.disk_bytes / stats.records,
        resident_kib()
    );
    log.close().expect("closes");
    let log = EventLog::<Event>::open(dir, LogOptions::default()).expect("reopens").log;
    println!("steady: {} KiB resident after reopening", resident_kib());
    log.close().expect("closes");
}

/// Waits for the packing that is due.
fn append_pause(log: &EventLog<Event>, pack: &PackOptions) {
    wait_packed(log, pack.keep_records + pack.start_records);
}

fn measure(dir: &Path) {
    let resident_before = resident_kib();
    // Packing waits until it is measured.
    let pack = PackOptions { keep_records: 1000, start_records: u64::MAX / 2, ..PackOptions::default() };
    let pack = PackOptions { force_records: u64::MAX / 2, ..pack };
    let opened = EventLog::<Event>::open(dir, LogOptions { pack, ..LogOptions::default() }).expect("opens");
    let log = opened.log;
    println!("resident: {resident_before} KiB before, {} KiB with an empty log", resident_kib());
    let mut seq = 0;
    let mut timed = |durability, count: u64| {
        let mut times = Vec::new();
        for _ in 0..count {
            seq += 1;
            let begun = Instant::now();
            append(&log, seq, durability).wait().expect("appended");
            times.push(begun.elapsed());
        }
        times
    };
    report("append, buffered", timed(Durability::Buffered, APPENDS));
    report("append, flushed", timed(Durability::Flushed, APPENDS));

    for group in [10, 100] {
        let mut times = Vec::new();
        let begun = Instant::now();
        for _ in 0..GROUPS {
            let begun = Instant::now();
            let receipts: Vec<_> =
                (1..=group).map(|step| append(&log, seq + step, Durability::Flushed)).collect();
            seq += group;
            for receipt in receipts {
                receipt.wait().expect("flushed");
            }
            times.push(begun.elapsed());
        }
        let rate = (GROUPS * group) as f64 / begun.elapsed().as_secs_f64();
        report(&format!("{group} concurrent appends, flushed ({rate:.0}/s)"), times);
    }

    let begun = Instant::now();
    let filling = READ_RECORDS.saturating_sub(seq);
    while seq < READ_RECORDS {
        seq += 1;
        drop(append(&log, seq, Durability::Buffered));
    }
    append(&log, seq + 1, Durability::Flushed).wait().expect("flushed");
    seq += 1;
    println!("append, buffered, as fast as it goes: {:.0}/s", filling as f64 / begun.elapsed().as_secs_f64());
    println!("before packing: {} B/record, {} KiB resident", log.stats().disk_bytes / seq, resident_kib());
    log.close().expect("closes");

    let options = LogOptions {
        pack: PackOptions { keep_records: 1000, ..PackOptions::default() },
        ..LogOptions::default()
    };
    let begun = Instant::now();
    let log = EventLog::<Event>::open(dir, options).expect("reopens").log;
    println!("reopened and verified {seq} hot records in {:.3} s", begun.elapsed().as_secs_f64());
    // While it packs: a step delays a flush by no more than itself.
    let mut times = Vec::new();
    while log.stats().hot_records > READ_RECORDS / 2 {
        seq += 1;
        let begun = Instant::now();
        append(&log, seq, Durability::Flushed).wait().expect("flushed");
        times.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
    report(&format!("append, flushed, while packing ({})", times.len()), times);
    wait_packed(&log, 1100);
    println!("after packing: {} B/record, {} KiB resident", log.stats().disk_bytes / seq, resident_kib());

    let begun = Instant::now();
    let count = log.records(Seq(1)).fold(0, |count, record| record.map(|_| count + 1).expect("sound"));
    println!("live reading: {:.0} records/s", count as f64 / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let mut flat = Vec::new();
    log.export_to(Seq(1), None, None, &mut flat).expect("exports");
    println!(
        "export: {:.0} records/s, {} B/record",
        seq as f64 / begun.elapsed().as_secs_f64(),
        flat.len() as u64 / seq
    );
    log.close().expect("closes");
    let begun = Instant::now();
    let log = EventLog::<Event>::open(dir, options).expect("reopens").log;
    println!("reopened and verified {seq} packed records in {:.3} s", begun.elapsed().as_secs_f64());
    log.close().expect("closes");

    let begun = Instant::now();
    let reader = LogReader::<Event>::open(dir).expect("reads");
    println!("copied and opened for an audit in {:.3} s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let count = reader.fold(0, |count, record| record.map(|_| count + 1).expect("sound"));
    println!("audit of the store: {:.0} records/s", count as f64 / begun.elapsed().as_secs_f64());
    let file = dir.join("flat");
    std::fs::write(&file, flat).expect("writes");
    let begun = Instant::now();
    let count = LogReader::<Event>::open(&file)
        .expect("reads")
        .fold(0, |count, record| record.map(|_| count + 1).expect("sound"));
    println!("audit of a flat file: {:.0} records/s", count as f64 / begun.elapsed().as_secs_f64());
}
