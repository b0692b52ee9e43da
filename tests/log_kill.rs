//! A killed process and a full disk: what was acknowledged stays, and the log goes on by itself.

mod log_support;

use log_support::*;
use pgfo::events::{Condition, Durability, EventLog, LogCondition, LogOptions, PackOptions};
use pgfo_replay::Seq;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Set for the child that appends until it is killed.
const CHILD_DIR: &str = "PGFO_TEST_LOG_CHILD_DIR";
const PACK_OFTEN: PackOptions =
    PackOptions { keep_records: 20, start_records: 40, force_records: 400, step_batches_max: 16 };

/// Not a test of its own: the process that the tests below start and kill. It prints each record
/// that was acknowledged.
#[test]
fn child_that_appends_until_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let opened = open_with(Path::new(&dir), PACK_OFTEN);
    let mut out = std::io::stdout();
    writeln!(out, "open {}", opened.last.map_or(0, |(seq, _)| seq.0)).unwrap();
    let mut seq = opened.last.map_or(0, |(seq, _)| seq.0);
    loop {
        let batch = records(seq + 1..=seq + 1 + seq % 5);
        seq = batch.last().unwrap().seq.0;
        let durability = if seq.is_multiple_of(7) { Durability::Flushed } else { Durability::Buffered };
        append_one(&opened.log, batch, durability).wait().unwrap();
        if durability == Durability::Flushed {
            writeln!(out, "acked {seq}").unwrap();
        }
    }
}

struct Appender {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Appender {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_appends_until_killed", "--nocapture", "--test-threads=1"])
            .env(CHILD_DIR, dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Returns the next number that the child prints behind `word`.
    fn next(&mut self, word: &str) -> Option<u64> {
        for line in self.lines.by_ref() {
            // The test harness prints before the child does, on the same line.
            let line = line.unwrap();
            if let Some((_, number)) = line.split_once(&format!("{word} "))
                && let Ok(number) = number.parse()
            {
                return Some(number);
            }
        }
        None
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Iterator for Appender {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        Appender::next(self, "acked")
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acked = 0;
    for round in 0..15_usize {
        let mut child = Appender::start(dir.path());
        let resumed = child.next("open").expect("the child opens the log");
        assert!(resumed >= acked, "round {round}: {acked} was acknowledged, {resumed} is there");
        for _ in 0..20 + round * 13 {
            acked = child.next("acked").expect("the child appends");
        }
        // SIGKILL, at no particular moment; what it acknowledged before dying is in the pipe.
        acked = kill(child).unwrap_or(acked);
        let (last, damage) = audit(dir.path());
        assert_eq!(damage, None, "round {round}");
        assert!(last >= acked, "round {round}: {acked} was acknowledged, {last} is there");
    }
    let opened = open(dir.path());
    assert_eq!(opened.condition, Condition::Intact);
}

fn kill(mut child: Appender) -> Option<u64> {
    child.child.kill().unwrap();
    let last = child.by_ref().last();
    child.child.wait().unwrap();
    last
}

#[test]
fn another_process_is_told_that_the_log_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Appender::start(dir.path());
    child.next("open").expect("the child opens the log");
    let error = EventLog::<Event>::open(dir.path(), LogOptions::default()).err().expect("it is locked");
    let text = error.to_string();
    assert!(text.contains("in use") && text.contains(&dir.path().display().to_string()), "{text}");
    kill(child);
    open(dir.path());
}

/// A file system of its own, so that it can be filled.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .status()
            .expect("mount runs");
        assert!(mounted.success(), "this test mounts a tmpfs: run it as root");
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Takes all the room there is; returns the file that holds it.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.dir.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_full_disk_stalls_the_log_and_nothing_is_lost() {
    let disk = SmallDisk::mount("12m");
    let dir = disk.path().join("log");
    let mut opened = open_with(&dir, PACK_OFTEN);
    append(&opened.log, 1..=300, 3);
    let mut seq = 300;
    for round in 0..3 {
        let filler = disk.fill();
        // Append until the log notices: what room its file still has is used first.
        let mut receipts = Vec::new();
        while !opened.log.stats().stalled {
            let batch = records(seq + 1..=seq + 3);
            seq += 3;
            let durability = if seq.is_multiple_of(2) { Durability::Flushed } else { Durability::Buffered };
            let receipt = append_one(&opened.log, batch, durability);
            // In step with the log's thread: what its queue holds would not fit on this disk afterwards.
            match durability {
                Durability::Buffered => assert_eq!(receipt.wait(), Ok(Seq(seq))),
                Durability::Flushed => receipts.push((seq, receipt)),
            }
        }
        // Buffered batches are still answered; flushed ones stay pending, however long it takes.
        append_one(&opened.log, records(seq + 1..=seq + 1), Durability::Buffered).wait().unwrap();
        let pending = append_one(&opened.log, records(seq + 2..=seq + 2), Durability::Flushed);
        seq += 2;
        let stalled = opened.conditions.blocking_recv().unwrap();
        assert!(matches!(&stalled, LogCondition::Stalled { why } if !why.is_empty()), "{stalled:?}");
        assert!(opened.log.stats().flushed < Seq(seq), "round {round}");

        std::fs::remove_file(filler).unwrap();
        assert_eq!(pending.wait(), Ok(Seq(seq)));
        for (last, receipt) in receipts {
            assert_eq!(receipt.wait(), Ok(Seq(last)));
        }
        loop {
            match opened.conditions.blocking_recv().unwrap() {
                LogCondition::Recovered => break,
                LogCondition::Slow { .. } => {}
                stalled @ LogCondition::Stalled { .. } => panic!("{stalled:?}"),
            }
        }
        let all = opened.log.records(Seq(1)).collect::<Result<Vec<_>, _>>().unwrap();
        assert!(all == records(1..=seq), "round {round}");
    }
    opened.log.close().unwrap();
    assert_eq!(audit(&dir), (seq, None));
    assert_eq!(open(&dir).condition, Condition::Intact);
}

#[test]
fn a_log_on_a_full_disk_can_be_closed_and_says_what_is_missing() {
    let disk = SmallDisk::mount("8m");
    let dir = disk.path().join("log");
    let opened = open(&dir);
    append(&opened.log, 1..=10, 1);
    let filler = disk.fill();
    let mut seq = 10;
    let mut receipts = Vec::new();
    while !opened.log.stats().stalled {
        seq += 1;
        receipts.push(append_one(&opened.log, records(seq..=seq), Durability::Flushed));
    }
    let error = opened.log.close().unwrap_err();
    assert!(error.to_string().contains("not on the disk"), "{error}");
    let acked = receipts.into_iter().filter_map(|receipt| receipt.wait().ok()).map(|seq| seq.0).max();
    std::fs::remove_file(filler).unwrap();
    let opened = open(&dir);
    assert_eq!(opened.condition, Condition::Intact);
    assert!(opened.last.unwrap().0.0 >= acked.unwrap_or(10));
}
