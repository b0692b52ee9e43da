//! A log that was recorded once replays for ever: every format that a daemon ever wrote stays readable, the
//! decisions in it are derived again, and a member that starts over it is bound by what it was bound by.
//! So does a checkpoint: a log that lost its oldest records has no other beginning.
//!
//! All were recorded by daemons on a real PostgreSQL: a primary was killed or frozen, another member was promoted.
//! `UPDATE_GOLDEN=1` writes the texts and checkpoints that are missing; none that is there is ever written anew.

use pgfo::cli::replay::{AuditOptions, Verdict, audit_reader};
use pgfo::core::{Ledger, States};
use pgfo::events::{Checkpoint, Event, LogReader, Observation, Record};
use pgfo::keep::{LAYOUT, Place, open_state, seal_state};
use pgfo_replay::Seq;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn kept(extension: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logs");
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|e| e == extension));
    found.sort();
    found
}

fn records(path: &Path) -> Vec<Record> {
    LogReader::<Event>::open(path).unwrap().map(Result::unwrap).collect()
}

/// Folds a log, up to the last batch that ends at `until` or before.
fn fold(records: &[Record], until: Seq) -> States {
    let Event::Observed(Observation::ProcessStarted(start)) = &records[0].event else {
        panic!("{:?}", records[0])
    };
    let mut states = States::new(&start.settings);
    for batch in records.chunk_by(|_, next| next.cause.is_some()) {
        if batch.iter().all(|record| record.seq <= until) {
            states.fold(batch);
        }
    }
    states
}

/// What outlives a restart, one fact a line.
fn bound_by(ledger: &Ledger) -> String {
    let mut text = String::new();
    let mut say = |name: &str, fact: &dyn std::fmt::Debug| writeln!(text, "{name}: {fact:?}").unwrap();
    say("voted", &ledger.voted);
    say("term_frozen", &ledger.term_frozen);
    say("promise", &ledger.promise);
    say("bound_at", &ledger.bound_at);
    say("released", &ledger.released);
    say("promise_longest", &ledger.promise_longest);
    say("silent_until", &ledger.silent_until);
    say("forgetful", &ledger.forgetful);
    say("roster", &ledger.roster);
    say("history", &ledger.history);
    say("tenure", &ledger.tenure);
    say("lineage", &ledger.lineage);
    say("strayed", &ledger.strayed);
    say("promotion_ordered", &ledger.promotion_ordered);
    say("promotion_failed_at", &ledger.promotion_failed_at);
    say("paused", &ledger.paused);
    say("resumed", &ledger.resumed);
    text
}

fn update() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

#[test]
fn every_recorded_format_replays() {
    let logs = kept("log");
    assert!(logs.len() >= 6, "{logs:?}");
    for path in logs {
        let reader = LogReader::<Event>::open(&path).unwrap();
        let audit = audit_reader(reader, AuditOptions { all: false, story: true, receipts: false });
        let verdict = audit.verdict();
        // A later core may decide otherwise, and says so by its revision; it must still read every record.
        let fine = matches!(verdict, Verdict::Identical | Verdict::DivergedFromOtherRevision);
        assert!(fine, "{}: {}", path.display(), verdict.word());
    }
}

/// A member that starts a later release over its log must know its vote, its promise and its winner as before.
#[test]
fn what_a_recorded_log_binds_to_stays() {
    for path in kept("log") {
        let found = bound_by(&fold(&records(&path), Seq(u64::MAX)).ledger);
        let golden = path.with_extension("bound.txt");
        if update() && !golden.exists() {
            std::fs::write(&golden, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap();
        assert_eq!(expected, found, "{}", golden.display());
    }
}

/// Each is named `<log>.<record>.layout_<N>.checkpoint`; once its layout is superseded it still has to open.
#[test]
fn a_recorded_checkpoint_is_what_its_log_folds_to() {
    if update() {
        record_checkpoints();
    }
    let checkpoints = kept("checkpoint");
    let of_this_layout = format!(".layout_{LAYOUT}.checkpoint");
    let fresh = checkpoints.iter().filter(|path| path.to_string_lossy().ends_with(&of_this_layout));
    assert!(fresh.count() >= 3, "no checkpoint of layout {LAYOUT} is kept; UPDATE_GOLDEN=1 records them");
    for path in checkpoints {
        let checkpoint = Checkpoint::open(&std::fs::read(&path).unwrap()).unwrap();
        let states = open_state(&checkpoint).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let log = path.with_file_name(format!("{}.log", name.split('.').next().unwrap()));
        let whole = fold(&records(&log), checkpoint.seq);
        assert_eq!(bound_by(&states.ledger), bound_by(&whole.ledger), "{name}: its log folds to the latter");
    }
}

/// Two checkpoints of each log of the present revision: while somebody was not yet promoted, and at its end.
fn record_checkpoints() {
    for path in kept("log") {
        let all = records(&path);
        let batches: Vec<&[Record]> = all.chunk_by(|_, next| next.cause.is_some()).collect();
        for share in [2, 1] {
            let last = batches[batches.len() / share - 1].last().unwrap();
            let name = format!("{}.layout_{LAYOUT}.checkpoint", last.seq.0);
            let golden = path.with_extension(name);
            if golden.exists() {
                continue;
            }
            let states = fold(&all, last.seq);
            let hash = pgfo::events::Hash([7; 16]);
            let place = Place { seq: last.seq, hash, boot: last.boot, wall: last.wall };
            let origin = states.ledger.process.incarnation;
            let sealed = seal_state(&states, place, origin).unwrap().seal().unwrap();
            std::fs::write(golden, sealed).unwrap();
        }
    }
}
