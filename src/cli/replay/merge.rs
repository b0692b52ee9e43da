//! Owns the one timeline of several logs: a message's receipt comes after its sending, records of one
//! log keep their order, and clocks decide only what is left.

use super::audit::{Audit, Receipt};
use super::senders::{Missing, Senders, Sent, missing};
use pgfo_replay::{Seq, WallNanos};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A told line of one of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which log.
    pub log: usize,
    /// Which line of its story.
    pub line: usize,
}

/// All told lines in an order that no cause contradicts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// The lines.
    pub places: Vec<Place>,
    /// Receipts that no order can honour: the logs do not belong together as they are.
    pub contradictions: u64,
    /// Receipts whose cause is in no log.
    pub missing: Missing,
}

/// Merges the stories of audits that kept their receipts. Lines that only repeat what another of
/// these logs tells as its own are left out, unless `keep_echoes`.
#[must_use]
pub fn merge(audits: &[&Audit], keep_echoes: bool) -> Timeline {
    let mut merging = Merging {
        audits,
        keep_echoes,
        cursors: vec![Cursor::default(); audits.len()],
        senders: Senders::of(audits),
        ready: BinaryHeap::new(),
        waiting: vec![Vec::new(); audits.len()],
        timeline: Timeline { missing: missing(audits), ..Timeline::default() },
    };
    for log in 0..audits.len() {
        merging.queue(log, true);
    }
    merging.run();
    merging.timeline
}

/// How far a log was put into the timeline.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    record: usize,
    receipt: usize,
    line: usize,
}

struct Merging<'a> {
    audits: &'a [&'a Audit],
    keep_echoes: bool,
    cursors: Vec<Cursor>,
    senders: Senders<'a>,
    /// Logs whose next record may come, by its wall clock.
    ready: BinaryHeap<Reverse<(WallNanos, usize)>>,
    /// For each log, those that wait for one of its records.
    waiting: Vec<Vec<(Seq, usize)>>,
    timeline: Timeline,
}

impl Merging<'_> {
    fn run(&mut self) {
        loop {
            while let Some(Reverse((_, log))) = self.ready.pop() {
                self.place(log);
                self.queue(log, true);
            }
            // Nothing may come, but something waits: the logs contradict each other.
            let stuck = self.waiting.iter().flatten().map(|(_, log)| *log).min_by_key(|log| self.wall(*log));
            let Some(log) = stuck else { return };
            for waiting in &mut self.waiting {
                waiting.retain(|(_, waits)| *waits != log);
            }
            self.timeline.contradictions += 1;
            self.queue(log, false);
        }
    }

    /// Makes a log's next record ready, or lets it wait for its cause.
    fn queue(&mut self, log: usize, honour: bool) {
        let Some(wall) = self.wall(log) else { return };
        match self.missing_cause(log).filter(|_| honour) {
            Some((sender, sent_by)) => self.waiting[sender].push((sent_by, log)),
            None => self.ready.push(Reverse((wall, log))),
        }
    }

    fn wall(&self, log: usize) -> Option<WallNanos> {
        self.audits[log].walls.get(self.cursors[log].record).copied()
    }

    /// Returns the number of a log's next record.
    fn next_seq(&self, log: usize) -> Seq {
        let first = self.audits[log].first.map_or(Seq(1), |(first, _)| first);
        Seq(first.0 + self.cursors[log].record as u64)
    }

    fn receipt(&self, log: usize) -> Option<Receipt> {
        let receipt = self.audits[log].receipts.get(self.cursors[log].receipt).copied()?;
        (receipt.seq == self.next_seq(log)).then_some(receipt)
    }

    /// Returns the log and record that must come before a log's next record, if it did not yet.
    fn missing_cause(&self, log: usize) -> Option<(usize, Seq)> {
        let receipt = self.receipt(log)?;
        match self.senders.find(log, &receipt) {
            Sent::Here(sender) if receipt.sent_by >= self.next_seq(sender) => Some((sender, receipt.sent_by)),
            Sent::Here(_) | Sent::Lost(_) | Sent::Stranger(_) | Sent::Away => None,
        }
    }

    fn is_told_by_sender(&self, log: usize, receipt: &Receipt) -> bool {
        matches!(self.senders.find(log, receipt), Sent::Here(_))
    }

    /// Puts a log's next record into the timeline, and frees those that waited for it.
    fn place(&mut self, log: usize) {
        let seq = self.next_seq(log);
        let story = &self.audits[log].story;
        let heard = self.receipt(log);
        let twice = heard.is_some_and(|receipt| !self.keep_echoes && self.is_told_by_sender(log, &receipt));
        let cursor = &mut self.cursors[log];
        cursor.receipt += usize::from(heard.is_some());
        cursor.record += 1;
        if story.get(cursor.line).is_some_and(|line| line.seq == seq) {
            if !twice {
                self.timeline.places.push(Place { log, line: cursor.line });
            }
            cursor.line += 1;
        }
        if self.waiting[log].iter().any(|(sent_by, _)| *sent_by <= seq) {
            let (free, wait) = self.waiting[log].drain(..).partition(|(sent_by, _)| *sent_by <= seq);
            self.waiting[log] = wait;
            let free: Vec<(Seq, usize)> = free;
            for (_, freed) in free {
                self.queue(freed, true);
            }
        }
    }
}
