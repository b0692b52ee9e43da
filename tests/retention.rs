//! The log's size stays bounded: a year of an idle standby, written with its real decisions, is kept for
//! thirty days behind checkpoints, replays as identical from there, and its store stops growing.
//!
//! The rate is lower than in life: a heartbeat each ten minutes instead of each second, because a year
//! of full rate is 350 million records. What bounds the log is the same at any rate: age, and size.

mod replay_support;

use pgfo::cli::exit::Exit;
use pgfo::core::{BootNanos, Nanos, Role, roles};
use pgfo::events::{
    Actor, AppendRefused, Condition, Durability, Event, EventLog, LogOptions, Observation, PackOptions,
    Record,
};
use pgfo::keep::{IncidentLimits, Limits, STORE_SHARE, open_log, recover, retain, seal_state};
use pgfo_replay::{Batch, Ensemble, Seq, WallNanos};
use replay_support::*;
use std::path::Path;

const MINUTE_NANOS: u64 = 60_000_000_000;
const STEP_NANOS: u64 = 10 * MINUTE_NANOS;
const DAY_NANOS: u64 = 24 * 60 * MINUTE_NANOS;
const PACK: PackOptions =
    PackOptions { keep_records: 256, start_records: 256, force_records: 512, step_batches_max: 256 };

/// A member that goes on after what a cluster recorded, by itself.
struct Idle {
    log: EventLog<Event>,
    settings: pgfo::events::Settings,
    roles: Ensemble<Role>,
    next: Seq,
    boot: u64,
    wall: i64,
}

impl Idle {
    fn begin(dir: &Path) -> Self {
        let mut cluster = Cluster::new();
        cluster.begin();
        let node = cluster.node(NODE2);
        node.write(dir);
        let settings = node.settings.clone();
        let last = node.records().last().unwrap();
        let (next, boot, wall) = (last.seq.next(), last.boot.0, last.wall.0);
        let options = LogOptions { pack: PACK, ..LogOptions::default() };
        let log = EventLog::<Event>::open(dir, options).unwrap().log;
        let mut machines = roles(&settings);
        log.records(Seq(1)).for_each(|record| machines.evolve(&record.unwrap(), None));
        Self { log, settings, roles: machines, next, boot, wall }
    }

    fn append(&self, mut batch: Vec<Record>, durability: Durability) {
        let receipt = loop {
            match self.log.append(batch, durability) {
                Ok(receipt) => break receipt,
                Err(AppendRefused::Full(back)) => batch = back,
                Err(closed) => panic!("{closed}"),
            }
            std::thread::yield_now();
        };
        if durability == Durability::Flushed {
            receipt.wait().unwrap();
        }
    }

    /// Lives a day: heartbeats are sent, and the local standby is probed.
    fn day(&mut self) {
        let steps = DAY_NANOS / STEP_NANOS;
        for step in 1..=steps {
            self.boot += STEP_NANOS;
            self.wall += i64::try_from(STEP_NANOS).unwrap();
            let beat = Observation::HeartbeatDue { flushed: Seq(self.next.0 - 1) };
            let event = Event::Observed(beat);
            let (boot, wall) = (BootNanos(self.boot), WallNanos(self.wall));
            let batch = self.roles.step(Batch::begin(self.next, boot, wall, Actor::Clock.number(), event));
            self.next = batch.last().unwrap().seq.next();
            self.append(batch, if step == steps { Durability::Flushed } else { Durability::Buffered });
        }
    }

    /// Keeps a checkpoint and lets go what is too old, as the keeper does.
    fn upkeep(&self, limits: &Limits) {
        let now = recover(&self.log, &self.settings).unwrap();
        let place = now.place.unwrap();
        self.log.keep_checkpoint(&seal_state(&now.states, place, self.log.origin()).unwrap()).unwrap();
        retain(&self.log, &self.settings, place.seq, WallNanos(self.wall), limits).unwrap();
    }
}

fn limits(age_max: u64, size_bytes_max: u64) -> Limits {
    let incidents = IncidentLimits { count_max: 1, size_bytes_max: 1 };
    Limits { age_max: Nanos(age_max), size_bytes_max, incidents }
}

#[test]
fn a_simulated_year_stays_bounded_and_replays() {
    let dir = tempfile::tempdir().unwrap();
    let mut idle = Idle::begin(dir.path());
    let limits = limits(30 * DAY_NANOS, 1 << 30);
    let mut disk = Vec::new();
    for day in 1..=365 {
        idle.day();
        if day % 5 == 0 {
            idle.upkeep(&limits);
        }
        if day % 73 == 0 {
            disk.push(idle.log.stats().disk_bytes);
        }
    }
    let stats = idle.log.stats();
    let a_day = stats.last.0 / 365;
    assert!(stats.last.0 > 100_000, "{stats:?}");
    // Thirty days, the five between two rounds, what is not packed yet, and the rest of a block: only whole
    // ones go, and an idle member's hold thousands of records.
    assert!(stats.records <= 36 * a_day + 1024 + 8192, "{stats:?}");
    assert!(stats.records >= 30 * a_day, "nothing younger than thirty days went: {stats:?}");
    let oldest = idle.log.records(Seq(1)).next().unwrap().unwrap();
    assert_eq!(oldest.seq, stats.first);
    // The store reuses the room: it does not grow with the year.
    println!("the store's size through the year, bytes: {disk:?}; {stats:?}");
    assert!(disk[4] <= disk[0] * 3 / 2, "{disk:?}");

    let whole = recover(&idle.log, &idle.settings).unwrap().states;
    let Idle { log, settings, .. } = idle;
    log.close().unwrap();
    let (exit, out, _) = replay(&args(&[dir.path().to_path_buf()]));
    assert_eq!(exit, Exit::Ok, "{out}");
    assert!(out.contains(&format!("begins    behind record {}", Seq(stats.first.0 - 1))), "{out}");
    let (opened, recovered) = open_log(dir.path(), LogOptions::default(), &settings).unwrap();
    assert_eq!(opened.condition, Condition::Intact);
    assert!(recovered.states == whole);
}

/// sled's own working set is some megabytes, whatever is kept in it, so that a bound as small as a test can
/// reach is passed by that much; what must hold is that the oldest records go, and that nothing grows.
#[test]
fn the_size_bounds_the_log_where_the_age_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut idle = Idle::begin(dir.path());
    let size_max = 64 << 10;
    let limits = limits(36_500 * DAY_NANOS, size_max);
    let mut disk = [0, 0];
    for day in 0..120 {
        // Four days' records between two looks: a busier member.
        (0..4).for_each(|_| idle.day());
        if day % 5 == 4 {
            idle.upkeep(&limits);
            let stats = idle.log.stats();
            // What is not packed yet counts, too, and does not go.
            assert!(stats.value_bytes <= size_max / STORE_SHARE + 512 * 1024, "{stats:?}");
            let half = &mut disk[day / 60];
            *half = stats.disk_bytes.max(*half);
        }
    }
    let stats = idle.log.stats();
    println!("the store's largest size in each half, bytes: {disk:?}; {stats:?}");
    assert!(stats.last.0 > 130_000 && stats.first.0 > stats.last.0 / 2, "the oldest went: {stats:?}");
    assert!(disk[1] <= disk[0] * 3 / 2, "{disk:?}");
    idle.log.close().unwrap();
    let (exit, out, _) = replay(&args(&[dir.path().to_path_buf()]));
    assert_eq!(exit, Exit::Ok, "{out}");
}
