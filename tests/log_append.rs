//! What was appended is read again: live, reopened, packed, exported.

mod log_support;

use log_support::*;
use pgfo::events::{
    AppendError, AppendRefused, Condition, Durability, EventLog, HEAD_NAME, LogOptions, LogReader, OpenError,
    PackOptions, RECORD_BYTES_MAX, STORE_NAME,
};
use pgfo_replay::Seq;

const PACK_SOON: PackOptions =
    PackOptions { keep_records: 100, start_records: 200, force_records: 1_000_000, step_batches_max: 64 };

fn assert_history(log: &Log, from: u64, last: u64) {
    let mut next = from;
    for item in log.records(Seq(from)) {
        assert_eq!(item.unwrap(), record(next));
        next += 1;
    }
    assert_eq!(next, last + 1);
}

#[test]
fn a_log_round_trips_and_reopens() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    assert_eq!((opened.condition, opened.last), (Condition::Fresh, None));
    let incarnation = opened.incarnation;
    append(&opened.log, 1..=500, 3);
    assert_eq!(opened.log.stats().flushed, Seq(500));
    assert_history(&opened.log, 1, 500);
    assert_history(&opened.log, 250, 500);
    assert_history(&opened.log, 500, 500);
    assert_eq!(opened.log.records(Seq(501)).count(), 0);
    opened.log.close().unwrap();

    let opened = open(dir.path());
    assert_eq!(opened.condition, Condition::Intact);
    assert_eq!(opened.incarnation, incarnation);
    assert_eq!(opened.last.map(|(seq, _)| seq), Some(Seq(500)));
    append(&opened.log, 501..=900, 7);
    assert_history(&opened.log, 1, 900);
    opened.log.close().unwrap();
    assert_eq!(audit(dir.path()), (900, None));
    assert_eq!(audit(&dir.path().join(STORE_NAME)), (900, None));
}

#[test]
fn an_empty_log_is_intact() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).log.close().unwrap();
    assert_eq!(audit(dir.path()), (0, None));
    let opened = open(dir.path());
    assert_eq!((opened.condition, opened.last), (Condition::Intact, None));
}

#[test]
fn a_buffered_batch_reaches_the_disk_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let receipt = append_one(&opened.log, records(1..=2), Durability::Buffered);
    assert_eq!(receipt.wait(), Ok(Seq(2)));
    wait_until("the flush of a buffered batch", || opened.log.stats().flushed == Seq(2));
}

#[test]
fn a_batch_that_does_not_continue_the_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    append(&opened.log, 1..=2, 1);
    let send = |batch| append_one(&opened.log, batch, Durability::Flushed).wait();
    assert_eq!(send(records(4..=4)), Err(AppendError::OutOfOrder { due: Seq(3), found: Seq(4) }));
    assert_eq!(send(vec![record(3), record(5)]), Err(AppendError::OutOfOrder { due: Seq(4), found: Seq(5) }));
    assert_eq!(send(vec![]), Err(AppendError::Empty));
    let mut large = record(3);
    large.event = Event::Noted("x".repeat(RECORD_BYTES_MAX));
    assert!(matches!(send(vec![large]), Err(AppendError::Encode { seq: Seq(3), .. })));
    // None of them left a trace.
    assert_eq!(send(records(3..=3)), Ok(Seq(3)));
    opened.log.close().unwrap();
    assert_eq!(audit(dir.path()), (3, None));
}

#[test]
fn large_records_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_with(dir.path(), PACK_SOON);
    let large = |seq: u64| {
        let mut record = record(seq);
        // Hard to compress, so that the store must take it as it is.
        let text =
            (0..30_000_u64).map(|at| char::from(33 + (((at * at + seq) * 2_654_435_761) >> 7 & 63) as u8));
        record.event = Event::Noted(text.collect());
        record
    };
    for seq in 1..=400 {
        append_one(&opened.log, vec![large(seq)], Durability::Flushed).wait().unwrap();
    }
    wait_until("packing", || opened.log.stats().hot_records <= 110);
    opened.log.close().unwrap();
    let opened = open(dir.path());
    assert_eq!(opened.condition, Condition::Intact);
    let all = opened.log.records(Seq(1)).collect::<Result<Vec<_>, _>>().unwrap();
    assert!(all == (1..=400).map(large).collect::<Vec<_>>());
}

#[test]
fn packing_keeps_every_record_and_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_with(dir.path(), PACK_SOON);
    append(&opened.log, 1..=3000, 2);
    wait_until("packing", || opened.log.stats().hot_records <= 130);
    for from in [1, 2, 299, 300, 1500, 2899, 2900, 2999, 3000] {
        assert_history(&opened.log, from, 3000);
    }
    opened.log.close().unwrap();
    assert_eq!(audit(dir.path()), (3000, None));

    let opened = open_with(dir.path(), PACK_SOON);
    assert_eq!(opened.condition, Condition::Intact);
    assert!(opened.log.stats().hot_records <= 130, "{:?}", opened.log.stats());
    append(&opened.log, 3001..=5000, 5);
    wait_until("packing", || opened.log.stats().hot_records <= 130);
    assert_history(&opened.log, 1, 5000);
    opened.log.close().unwrap();
    assert_eq!(audit(dir.path()), (5000, None));
    // Fewer keys than a fiftieth of the records.
    edit(dir.path(), |tree| assert!(tree.len() < 100, "{}", tree.len()));
}

#[test]
fn reading_goes_on_while_records_are_packed_under_it() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_with(dir.path(), PACK_SOON);
    append(&opened.log, 1..=250, 1);
    let mut reading = opened.log.records(Seq(1));
    for next in 1..=20 {
        assert_eq!(reading.next().unwrap().unwrap(), record(next));
    }
    let mut flat = Vec::new();
    append(&opened.log, 251..=3000, 1);
    wait_until("packing", || opened.log.stats().hot_records <= 101);
    let rest = reading.collect::<Result<Vec<_>, _>>().unwrap();
    assert!(rest == records(21..=250));
    opened.log.export_to(Seq(1), None, None, &mut flat).unwrap();
    let file = dir.path().join("flat");
    std::fs::write(&file, flat).unwrap();
    assert_eq!(audit(&file), (3000, None));
}

#[test]
fn an_export_is_a_log_again() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_with(dir.path(), PACK_SOON);
    append(&opened.log, 1..=9000, 4);
    let file = dir.path().join("flat");
    for from in [1, 777, 8999, 9000, 9001] {
        let exported =
            opened.log.export_to(Seq(from), None, None, &mut std::fs::File::create(&file).unwrap()).unwrap();
        assert_eq!((exported.first, exported.last), (Seq(from), Seq(9000)));
        let reader = LogReader::<Event>::open(&file).unwrap();
        assert_eq!((reader.first(), reader.count_hint()), (Seq(from), 9001 - from));
        assert_eq!(reader.incarnation(), opened.incarnation);
        assert!(reader.end_is_proven());
        assert_eq!(audit(&file), (9000, None));
    }
    opened.log.close().unwrap();
    let reader = LogReader::<Event>::open(dir.path()).unwrap();
    assert_eq!(reader.count_hint(), 9000);
    reader.export_to(None, None, &mut std::fs::File::create(&file).unwrap()).unwrap();
    assert_eq!(audit(&file), (9000, None));
}

#[test]
fn evidence_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), 300, 3);
    let state = || {
        let mut files = Vec::new();
        for path in [dir.path().to_path_buf(), dir.path().join(STORE_NAME)] {
            for entry in std::fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                let metadata = path.metadata().unwrap();
                let content = if metadata.is_file() { std::fs::read(&path).unwrap() } else { vec![] };
                files.push((path, metadata.modified().unwrap(), content));
            }
        }
        files.sort();
        files
    };
    let before = state();
    assert_eq!(audit(dir.path()), (300, None));
    assert!(before == state());
}

#[test]
fn a_live_log_can_be_audited_by_copy() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    append(&opened.log, 1..=2000, 3);
    assert_eq!(audit(dir.path()), (2000, None));
    append(&opened.log, 2001..=2010, 3);
    assert_eq!(audit(dir.path()), (2010, None));
}

#[test]
fn a_second_opener_is_told_which_directory_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let error = EventLog::<Event>::open(dir.path(), LogOptions::default()).err().unwrap();
    assert!(matches!(&error, OpenError::Locked { dir: taken } if taken == dir.path()), "{error}");
    assert!(error.to_string().contains(&dir.path().display().to_string()));
    opened.log.close().unwrap();
    open(dir.path());
}

#[test]
fn the_queue_is_bounded_and_hands_the_batch_back() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let mut refused = false;
    for seq in 1..=100_000 {
        match opened.log.append(records(seq..=seq), Durability::Flushed) {
            Ok(_receipt) => {}
            Err(AppendRefused::Full(back)) => {
                assert_eq!(back, records(seq..=seq));
                refused = true;
                break;
            }
            Err(closed) => panic!("{closed}"),
        }
    }
    assert!(refused || opened.log.stats().last.0 > 0);
}

#[tokio::test]
async fn receipts_can_be_awaited_and_share_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let receipts: Vec<_> =
        (1..=200).map(|seq| opened.log.append(records(seq..=seq), Durability::Flushed).unwrap()).collect();
    for (receipt, seq) in receipts.into_iter().zip(1..) {
        assert_eq!(receipt.await, Ok(Seq(seq)));
    }
    assert_eq!(opened.log.stats().flushed, Seq(200));
}

#[test]
fn what_is_no_log_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.txt");
    std::fs::write(&file, "some text that is no log").unwrap();
    for path in [dir.path(), file.as_path(), &dir.path().join("absent")] {
        let error = LogReader::<Event>::open(path).err().unwrap();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    let head = dir.path().join(HEAD_NAME);
    std::fs::write(head, "").unwrap();
    assert!(LogReader::<Event>::open(dir.path()).unwrap().next().unwrap().is_err());
}
