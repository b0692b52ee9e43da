//! A checkpoint changes nothing of what is recovered: a fold of the whole log, and a fold from any
//! checkpoint on, give the same state of every role; one that can't be used is passed over.

mod replay_support;

use pgfo::cluster::{run_with_story, swarm};
use pgfo::core::{CORE_REVISION, Incarnation, States};
use pgfo::events::{
    Checkpoint, Condition, Event, EventLog, Hash, LogOptions, LogReader, Observation, PackOptions, Record,
    Settings,
};
use pgfo::keep::{LAYOUT, Place, Unrecoverable, open_log, open_state, recover, seal_state, states_at};
use pgfo_replay::Seq;
use replay_support::*;
use std::path::Path;

fn batches(records: &[Record]) -> Vec<&[Record]> {
    let mut rest = records;
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().skip(1).position(|r| r.cause.is_none()).map_or(rest.len(), |at| at + 1);
        let (batch, after) = rest.split_at(end);
        batches.push(batch);
        rest = after;
    }
    batches
}

fn settings(records: &[Record]) -> Settings {
    match &records[0].event {
        Event::Observed(Observation::ProcessStarted(start)) => start.settings.clone(),
        other => panic!("{other:?}"),
    }
}

fn place(record: &Record) -> Place {
    Place { seq: record.seq, hash: Hash([7; 16]), boot: record.boot, wall: record.wall }
}

/// Folds the whole log, and from checkpoints between any two batches, about `points` of them.
fn check_all_splits(records: &[Record], points: usize, name: &str) {
    let settings = settings(records);
    let batches = batches(records);
    let mut whole = States::new(&settings);
    batches.iter().for_each(|batch| whole.fold(batch));
    // Where the fold begins with other settings than those recorded, it ends the same.
    let mut other = settings.clone();
    other.members.pop();
    other.priority += 1;
    let mut elsewhere = States::new(&other);
    batches.iter().for_each(|batch| elsewhere.fold(batch));
    assert!(whole == elsewhere, "{name}: the settings of the first start decide");
    let step = (batches.len() / points).max(1);
    let mut until = States::new(&settings);
    for (at, batch) in batches.iter().enumerate() {
        until.fold(batch);
        if at % step != 0 {
            continue;
        }
        let last = batch.last().unwrap();
        let sealed = seal_state(&until, place(last), Incarnation(1)).unwrap().seal().unwrap();
        let checkpoint = Checkpoint::open(&sealed).unwrap();
        let mut states = open_state(&checkpoint).unwrap();
        assert!(states == until, "{name}: the state after {} is not the one kept", last.seq);
        batches[at + 1..].iter().for_each(|batch| states.fold(batch));
        assert!(states == whole, "{name}: from the checkpoint of {} on", last.seq);
    }
}

#[test]
fn a_checkpoint_and_the_rest_are_the_whole_of_a_recorded_log() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logs");
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let reader = LogReader::<Event>::open(&path).unwrap();
        let records: Vec<Record> = reader.map(|record| record.unwrap()).collect();
        check_all_splits(&records, 60, &path.display().to_string());
    }
}

#[test]
fn a_checkpoint_and_the_rest_are_the_whole_of_a_simulated_log() {
    for seed in 0..12 {
        let (_, world) = run_with_story(&swarm(seed));
        for node in &world.nodes {
            let records = &node.log.records;
            let starts = matches!(
                records.first().map(|r| &r.event),
                Some(Event::Observed(Observation::ProcessStarted(_)))
            );
            if starts {
                check_all_splits(records, 12, &format!("seed {seed}"));
            }
        }
    }
}

#[test]
fn a_role_that_failed_stays_without_what_it_failed_on() {
    let mut cluster = Cluster::new();
    cluster.begin();
    cluster.node(NODE2).fails = Some(pgfo::events::Actor::Voter);
    cluster.heartbeat(NODE1);
    cluster.heartbeat(NODE1);
    let records: Vec<Record> = cluster.node(NODE2).records().cloned().collect();
    check_all_splits(&records, records.len(), "node2");
}

fn written(dir: &Path) -> (Settings, EventLog<Event>, States) {
    let mut cluster = failover();
    cluster.node(NODE2).write(dir);
    let settings = cluster.node(NODE2).settings.clone();
    let log = EventLog::<Event>::open(dir, LogOptions::default()).unwrap().log;
    let whole = recover(&log, &settings).unwrap();
    assert_eq!(whole.from, None);
    (settings, log, whole.states)
}

fn checkpoint_at(log: &EventLog<Event>, settings: &Settings, nearly: u64) -> Checkpoint {
    // The end of the batch before the one that holds record `nearly`.
    let begun = log.records(Seq(1)).map(Result::unwrap).filter(|r| r.cause.is_none() && r.seq.0 <= nearly);
    let end = Seq(begun.last().unwrap().seq.0 - 1);
    let recovered = states_at(log, settings, end).unwrap();
    seal_state(&recovered.states, recovered.place.unwrap(), log.origin()).unwrap()
}

#[test]
fn the_newest_usable_checkpoint_is_where_recovery_begins() {
    let dir = tempfile::tempdir().unwrap();
    let (settings, log, whole) = written(dir.path());
    let last = log.stats().last.0;
    for nearly in [last / 4, last / 2, last * 3 / 4] {
        let checkpoint = checkpoint_at(&log, &settings, nearly);
        log.keep_checkpoint(&checkpoint).unwrap();
        let recovered = recover(&log, &settings).unwrap();
        assert_eq!(recovered.from, Some(checkpoint.seq));
        assert_eq!(recovered.folded, last - checkpoint.seq.0);
        assert!(recovered.states == whole);
    }
    assert_eq!(log.checkpoints().unwrap().len(), 2, "the two newest are kept");
    log.close().unwrap();
    // So it is after a restart of the process.
    let (opened, recovered) = open_log(dir.path(), LogOptions::default(), &settings).unwrap();
    assert!(recovered.from.is_some() && recovered.states == whole);
    assert_eq!(opened.condition, Condition::Intact);
}

#[test]
fn a_checkpoint_that_does_not_fit_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (settings, log, whole) = written(dir.path());
    let good = checkpoint_at(&log, &settings, log.stats().last.0 / 2);
    let mut more: serde_json::Value = serde_json::from_slice(&good.state).unwrap();
    more["voter"]["one_field_more"] = 1.into();
    let mut less: serde_json::Value = serde_json::from_slice(&good.state).unwrap();
    less["voter"].as_object_mut().unwrap().remove("stopping");
    let bad = [
        Checkpoint { layout: LAYOUT + 1, ..good.clone() },
        Checkpoint { core_revision: CORE_REVISION + 1, ..good.clone() },
        Checkpoint { hash: Hash([1; 16]), ..good.clone() },
        Checkpoint { state: serde_json::to_vec(&more).unwrap(), ..good.clone() },
        Checkpoint { state: serde_json::to_vec(&less).unwrap(), ..good.clone() },
        Checkpoint { state: b"{".to_vec(), ..good.clone() },
    ];
    for (at, checkpoint) in bad.iter().enumerate() {
        log.keep_checkpoint(checkpoint).unwrap();
        let recovered = recover(&log, &settings).unwrap();
        assert_eq!(recovered.from, None, "{at}");
        assert_eq!(recovered.unused[0].0, checkpoint.seq, "{at}");
        assert!(recovered.states == whole, "{at}");
    }
    // One of a record that is not flushed, or of another log, is not even kept.
    let ahead = Checkpoint { seq: Seq(1_000_000), ..good.clone() };
    assert!(log.keep_checkpoint(&ahead).is_err());
    assert!(log.keep_checkpoint(&Checkpoint { origin: Incarnation(1), ..good }).is_err());
}

/// The first record of the block number `index`, once there is one: packing goes on while nothing is appended.
fn packed(log: &EventLog<Event>, index: usize) -> Seq {
    let begun = std::time::Instant::now();
    loop {
        if let Some(block) = log.blocks().map(Result::unwrap).nth(index) {
            return block.first;
        }
        let waited = begun.elapsed();
        assert!(waited.as_secs() < 60, "{} blocks are packed after {waited:?}", log.blocks().count());
        std::thread::yield_now();
    }
}

#[test]
fn a_log_without_its_beginning_needs_the_state_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new();
    cluster.begin();
    for _ in 0..9000 {
        cluster.heartbeat(NODE1);
    }
    cluster.node(NODE2).write(dir.path());
    let settings = cluster.node(NODE2).settings.clone();
    let pack = PackOptions { keep_records: 64, start_records: 64, force_records: 64, step_batches_max: 1024 };
    let options = LogOptions { pack, ..LogOptions::default() };
    let log = EventLog::<Event>::open(dir.path(), options).unwrap().log;
    let whole = recover(&log, &settings).unwrap().states;
    let block = packed(&log, 2);
    let before = states_at(&log, &settings, Seq(block.0 - 1)).unwrap();
    let base = seal_state(&before.states, before.place.unwrap(), log.origin()).unwrap();
    // Not in the middle of a block, and not with another record's hash.
    assert!(log.cut_before(&Checkpoint { seq: Seq(base.seq.0 + 1), ..base.clone() }).is_err());
    assert!(log.cut_before(&Checkpoint { hash: Hash([1; 16]), ..base.clone() }).is_err());
    // Not while somebody reads it.
    let reading = log.records(Seq(1));
    assert_eq!(log.cut_before(&base), Err(pgfo::events::UpkeepError::Busy));
    drop(reading);
    log.cut_before(&base).unwrap();
    assert_eq!(log.stats().first, block);
    assert!(recover(&log, &settings).unwrap().states == whole);
    log.close().unwrap();

    let (exit, out, _) = replay(&args(&[dir.path().to_path_buf()]));
    assert_eq!(exit, pgfo::cli::exit::Exit::Ok, "{out}");
    assert!(out.contains(&format!("begins    behind record {}", base.seq)), "{out}");
    let (opened, recovered) = open_log(dir.path(), options, &settings).unwrap();
    assert!(opened.condition == Condition::Intact && recovered.states == whole);

    // With a state that this release can't read, nothing may be guessed: S8.
    let log = opened.log;
    let block = packed(&log, 1);
    let before = states_at(&log, &settings, Seq(block.0 - 1)).unwrap();
    let base = seal_state(&before.states, before.place.unwrap(), log.origin()).unwrap();
    log.cut_before(&Checkpoint { layout: LAYOUT + 1, ..base }).unwrap();
    assert!(matches!(recover(&log, &settings), Err(Unrecoverable::Beginning { .. })));
    log.close().unwrap();
    let (exit, out, _) = replay(&args(&[dir.path().to_path_buf()]));
    assert_eq!(exit, pgfo::cli::exit::Exit::Unreadable, "{out}");
    let (opened, recovered) = open_log(dir.path(), options, &settings).unwrap();
    let Condition::PutAside { path, why } = &opened.condition else { panic!("{:?}", opened.condition) };
    assert!(path.join("events.db").exists() && why.contains("layout"), "{why}");
    assert_eq!((recovered.place, opened.last), (None, None));
}
