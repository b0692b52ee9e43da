//! Whatever is done to a log, the first record affected is named: never a panic, never silence.

mod log_support;

use log_support::*;
use pgfo::events::{Condition, DamageKind, HEAD_NAME, LogReader, PackOptions, STORE_NAME};
use pgfo_replay::Seq;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

fn unwrap_damage(path: &Path) -> (u64, DamageKind) {
    let (last, damage) = audit(path);
    (last, damage.expect("damage").what)
}

#[test]
fn every_flipped_byte_is_named_by_its_record() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), 30, 3);
    // One copy is edited over and over: sled is opened once to damage and once by the audit.
    for batch in [1, 13, 28] {
        let mut length = 0;
        edit(dir.path(), |tree| length = tree.get(key(batch)).unwrap().unwrap().len());
        for at in 0..length {
            let flip = |tree: &sled::Tree| {
                let mut value = tree.get(key(batch)).unwrap().unwrap().to_vec();
                value[at] ^= 1 << (at % 8);
                tree.insert(key(batch), value).unwrap();
            };
            edit(dir.path(), flip);
            let (last, damage) = audit(dir.path());
            let damage = damage.unwrap_or_else(|| panic!("byte {at} of batch {batch} passed in silence"));
            assert!((batch..batch + 3).contains(&damage.seq.0), "byte {at} of batch {batch}: {damage}");
            assert_eq!(last + 1, damage.seq.0);
            edit(dir.path(), flip);
        }
    }
    assert_eq!(audit(dir.path()), (30, None));
}

#[test]
fn deleted_swapped_and_moved_batches_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), 60, 2);
    let value = |tree: &sled::Tree, seq| tree.get(key(seq)).unwrap().unwrap();
    type Edit<'a> = &'a dyn Fn(&sled::Tree);
    let cases: [(&str, u64, Edit<'_>); 7] = [
        ("deleted", 21, &|tree| drop(tree.remove(key(21)).unwrap())),
        ("first deleted", 1, &|tree| drop(tree.remove(key(1)).unwrap())),
        ("last deleted", 59, &|tree| drop(tree.remove(key(59)).unwrap())),
        ("swapped", 21, &|tree| {
            let (a, b) = (value(tree, 21), value(tree, 31));
            tree.insert(key(21), b).unwrap();
            tree.insert(key(31), a).unwrap();
        }),
        ("moved to another key", 21, &|tree| {
            let batch = tree.remove(key(21)).unwrap().unwrap();
            tree.insert(key(22), batch).unwrap();
        }),
        ("invented", 61, &|tree| drop(tree.insert(key(61), value(tree, 31)).unwrap())),
        ("header gone", 1, &|tree| drop(tree.remove(key(0)).unwrap())),
    ];
    for (name, seq, change) in cases {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        edit(copy.path(), change);
        let (last, damage) = audit(copy.path());
        assert_eq!((last, damage.map(|damage| damage.seq)), (seq - 1, Some(Seq(seq))), "{name}");
        // The same log, opened live, is put aside (or known to lack its tail), never continued in
        // silence, and can still be audited where it is.
        let opened = open(copy.path());
        match opened.condition {
            Condition::PutAside { path, why } => {
                assert!(!why.is_empty());
                assert_eq!(audit(&path).0, seq - 1, "{name}");
                assert_eq!(opened.last, None);
            }
            Condition::TailLost { head, last } => {
                assert_eq!((name, head, last), ("last deleted", Seq(60), Seq(58)));
            }
            condition => panic!("{name}: {condition:?}"),
        }
    }
}

#[test]
fn swapped_records_inside_a_batch_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), 12, 4);
    edit(dir.path(), |tree| {
        let value = tree.get(key(5)).unwrap().unwrap();
        // Frames: version u16, length u32, payload, hash of 16 bytes.
        let mut frames = Vec::new();
        let mut rest = &value[1..];
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[2..6].try_into().unwrap()) as usize + 22;
            frames.push(&rest[..length]);
            rest = &rest[length..];
        }
        frames.swap(1, 2);
        let swapped: Vec<u8> = [&value[..1]].into_iter().chain(frames).flatten().copied().collect();
        tree.insert(key(5), swapped).unwrap();
    });
    assert_eq!(unwrap_damage(dir.path()), (5, DamageKind::OutOfPlace { found: Seq(7) }));
}

#[test]
fn a_changed_packed_block_is_named_by_a_record_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let pack = PackOptions { keep_records: 50, start_records: 100, ..PackOptions::default() };
    let opened = open_with(dir.path(), pack);
    append(&opened.log, 1..=2000, 2);
    wait_until("packing", || opened.log.stats().hot_records <= 60);
    opened.log.close().unwrap();
    let (mut first, mut second, mut length) = (0, 0, 0);
    edit(dir.path(), |tree| {
        let mut keys = tree.iter().map(|pair| pair.unwrap()).skip(2);
        let number = |key: &[u8]| u64::from_be_bytes(key.try_into().unwrap());
        let pair = keys.next().unwrap();
        (first, length) = (number(&pair.0), pair.1.len());
        // Columns: the packing that daemons write.
        assert_eq!(pair.1[0], 3);
        second = number(&keys.next().unwrap().0);
    });
    assert!(second - first > 50 && length > 100, "{first} {second} {length}");
    for at in (0..60).chain((60..length).step_by(length / 40)) {
        let flip = |tree: &sled::Tree| {
            let mut value = tree.get(key(first)).unwrap().unwrap().to_vec();
            value[at] ^= 0x10;
            tree.insert(key(first), value).unwrap();
        };
        edit(dir.path(), flip);
        let (_, damage) = audit(dir.path());
        // The last bits of the code may leave every record as it was: then nothing is damaged.
        if let Some(damage) = damage {
            assert!((first..second).contains(&damage.seq.0), "byte {at}: {damage}");
        } else {
            assert!(at >= length - 8, "byte {at} passed in silence");
        }
        edit(dir.path(), flip);
    }
}

#[test]
fn a_rolled_back_store_has_lost_its_tail() {
    let dir = tempfile::tempdir().unwrap();
    let old = tempfile::tempdir().unwrap();
    write_log(dir.path(), 40, 2);
    copy_dir(&dir.path().join(STORE_NAME), old.path());
    let opened = open(dir.path());
    let incarnation = opened.incarnation;
    append(&opened.log, 41..=70, 2);
    opened.log.close().unwrap();
    std::fs::remove_dir_all(dir.path().join(STORE_NAME)).unwrap();
    copy_dir(old.path(), &dir.path().join(STORE_NAME));

    assert_eq!(unwrap_damage(dir.path()), (40, DamageKind::TailLost { head: Seq(70) }));
    assert_eq!(unwrap_damage(&dir.path().join(STORE_NAME)), (40, DamageKind::TailLost { head: Seq(70) }));
    let opened = open(dir.path());
    assert_eq!(opened.condition, Condition::TailLost { head: Seq(70), last: Seq(40) });
    assert_ne!(opened.incarnation, incarnation);
    let renewed = opened.incarnation;
    append(&opened.log, 41..=45, 1);
    opened.log.close().unwrap();
    // It goes on under its new incarnation.
    let opened = open(dir.path());
    assert_eq!((opened.condition, opened.incarnation), (Condition::Intact, renewed));
    opened.log.close().unwrap();
    assert_eq!(audit(dir.path()), (45, None));
}

#[test]
fn another_history_under_the_same_numbers_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let old = tempfile::tempdir().unwrap();
    write_log(dir.path(), 10, 1);
    copy_dir(dir.path(), old.path());
    for (path, note) in [(dir.path(), "one"), (old.path(), "other")] {
        let opened = open(path);
        let mut record = record(11);
        record.event = Event::Noted(note.to_string());
        append_one(&opened.log, vec![record], pgfo::events::Durability::Flushed).wait().unwrap();
        opened.log.close().unwrap();
    }
    std::fs::copy(old.path().join(HEAD_NAME), dir.path().join(HEAD_NAME)).unwrap();
    let found = LogReader::<Event>::open(dir.path()).unwrap().find_map(Result::err).unwrap();
    assert!(matches!(found.what, DamageKind::HeadMismatch { .. }) && found.seq == Seq(11), "{found}");
    assert!(matches!(open(dir.path()).condition, Condition::PutAside { .. }));
}

#[test]
fn a_lost_store_or_head_is_never_taken_for_intact() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), 10, 1);
    let without = |name: &str| {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let path = copy.path().join(name);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        copy
    };
    let no_head = without(HEAD_NAME);
    assert_eq!(unwrap_damage(no_head.path()), (10, DamageKind::HeadMissing));
    assert_eq!(open(no_head.path()).condition, Condition::HeadLost { last: Seq(10) });

    let no_store = without(STORE_NAME);
    assert!(matches!(unwrap_damage(no_store.path()), (0, DamageKind::Store(_))));
    assert_eq!(open(no_store.path()).condition, Condition::TailLost { head: Seq(10), last: Seq(0) });

    let bad_head = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), bad_head.path());
    std::fs::write(bad_head.path().join(HEAD_NAME), [0; 8192]).unwrap();
    assert_eq!(unwrap_damage(bad_head.path()), (10, DamageKind::HeadMissing));
    assert_eq!(open(bad_head.path()).condition, Condition::HeadLost { last: Seq(10) });
}

#[test]
fn a_head_of_another_log_is_found() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_log(dir.path(), 10, 1);
    write_log(other.path(), 10, 1);
    std::fs::copy(other.path().join(HEAD_NAME), dir.path().join(HEAD_NAME)).unwrap();
    assert_eq!(unwrap_damage(dir.path()), (0, DamageKind::HeadForeign));
    assert!(matches!(open(dir.path()).condition, Condition::PutAside { .. }));
}

/// Damages sled's own file in many places, by `damage(bytes, trial)`, and checks audit and opening.
fn damage_raw(name: &str, reopened: bool, damage: impl Fn(&mut Vec<u8>, usize)) {
    const TRIALS: usize = 12;
    let last = 1500;
    let original = tempfile::tempdir().unwrap();
    write_log(original.path(), last, 2);
    if reopened {
        // Now sled has a snapshot, which makes it fail in other ways.
        open(original.path()).log.close().unwrap();
    }
    let mut found = 0;
    for trial in 0..TRIALS {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(original.path(), copy.path());
        let file = copy.path().join(STORE_NAME).join("db");
        let mut bytes = std::fs::read(&file).unwrap();
        damage(&mut bytes, trial);
        std::fs::write(&file, bytes).unwrap();

        let (verified, damage) = audit(copy.path());
        match &damage {
            Some(damage) => {
                assert_eq!(damage.seq.0, verified + 1, "{name} {trial}");
                found += 1;
            }
            // Dead bytes of sled's file may be damaged without harm: but then all is there.
            None => assert_eq!(verified, last, "{name} {trial}"),
        }
        let opened = open(copy.path());
        match opened.condition {
            Condition::Intact => assert!(damage.is_none(), "{name} {trial}: {damage:?}"),
            Condition::TailLost { head, .. } => assert_eq!(head, Seq(last), "{name} {trial}"),
            Condition::PutAside { path, .. } => {
                assert!(damage.is_some(), "{name} {trial}");
                assert!(path.join(STORE_NAME).join("db").is_file());
            }
            condition => panic!("{name} {trial}: {condition:?}"),
        }
        append_one(
            &opened.log,
            vec![record(opened.last.map_or(1, |(seq, _)| seq.0 + 1))],
            pgfo::events::Durability::Flushed,
        )
        .wait()
        .unwrap();
    }
    assert!(found > 0, "{name}: nothing was found in {TRIALS} trials");
}

fn live_bytes(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap()
}

#[test]
fn flipped_bits_of_the_raw_file_are_found() {
    for reopened in [false, true] {
        damage_raw("flip", reopened, |bytes, trial| {
            let at = live_bytes(bytes) * (trial * 2 + 1) / 24;
            bytes[at] ^= 4;
        });
    }
}

#[test]
fn a_truncated_raw_file_is_found() {
    for reopened in [false, true] {
        damage_raw("truncate", reopened, |bytes, trial| {
            let at = live_bytes(bytes) * (trial * 2 + 1) / 24;
            bytes.truncate(at);
        });
    }
}

#[test]
fn zeroed_pages_of_the_raw_file_are_found() {
    for reopened in [false, true] {
        damage_raw("zero", reopened, |bytes, trial| {
            let at = live_bytes(bytes) * (trial * 2 + 1) / 24 / 4096 * 4096;
            let end = (at + 4096).min(bytes.len());
            bytes[at..end].fill(0);
        });
    }
}

#[test]
fn other_files_of_the_store_may_be_damaged_too() {
    let original = tempfile::tempdir().unwrap();
    write_log(original.path(), 200, 2);
    open(original.path()).log.close().unwrap();
    let names: Vec<_> = std::fs::read_dir(original.path().join(STORE_NAME))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file() && entry.file_name() != "db")
        .map(|entry| entry.file_name())
        .collect();
    assert!(names.len() >= 2, "{names:?}");
    for name in names {
        for trial in 0..4 {
            let copy = tempfile::tempdir().unwrap();
            copy_dir(original.path(), copy.path());
            let file = copy.path().join(STORE_NAME).join(&name);
            let mut bytes = std::fs::read(&file).unwrap();
            match trial {
                0 => bytes.clear(),
                1 => bytes.truncate(bytes.len() / 2),
                2 => bytes[0] ^= 1,
                _ => *bytes.last_mut().unwrap() ^= 1,
            }
            std::fs::write(&file, bytes).unwrap();
            let (verified, damage) = audit(copy.path());
            assert!(damage.is_some() || verified == 200, "{name:?} {trial}");
            let condition = open(copy.path()).condition;
            let sound = condition == Condition::Intact;
            assert!(!sound || damage.is_none(), "{name:?} {trial}: {condition:?} {damage:?}");
        }
    }
}

#[test]
fn every_flipped_byte_of_a_flat_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    append(&opened.log, 1..=60, 2);
    let mut flat = Vec::new();
    opened.log.export_to(Seq(1), None, None, &mut flat).unwrap();
    let file = dir.path().join("flat");
    let silent = AtomicU64::new(0);
    for at in 0..flat.len() {
        let mut flipped = flat.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&file, flipped).unwrap();
        if audit(&file).1.is_none() {
            silent.fetch_add(1, Ordering::Relaxed);
        }
    }
    assert_eq!(silent.into_inner(), 0);
}

#[test]
fn a_flat_file_cut_anywhere_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    append(&opened.log, 1..=12_000, 20);
    let mut flat = Vec::new();
    opened.log.export_to(Seq(1), None, None, &mut flat).unwrap();
    let file = dir.path().join("flat");
    for end in (0..200).chain((200..flat.len()).step_by(flat.len() / 100)).chain(flat.len() - 50..flat.len())
    {
        std::fs::write(&file, &flat[..end]).unwrap();
        assert!(audit(&file).1.is_some(), "cut at {end}");
    }
    std::fs::write(&file, [flat.as_slice(), b"x"].concat()).unwrap();
    assert_eq!(unwrap_damage(&file), (12_000, DamageKind::Trailer));
    std::fs::write(&file, &flat).unwrap();
    assert_eq!(audit(&file), (12_000, None));
}

#[test]
fn a_record_of_a_newer_vocabulary_is_named_not_misread() {
    #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
    enum Older {
        ProbeAnswered { receive: u64, replay: u64, latency_nanos: u64 },
    }
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), 10, 2);
    let found = LogReader::<Older>::open(dir.path()).unwrap().find_map(Result::err).unwrap();
    assert_eq!(found.seq, Seq(3));
    assert!(matches!(found.what, DamageKind::Undecodable(_)));
}
