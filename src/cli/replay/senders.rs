//! Owns which record sent a message that was received: a member's log, the process that wrote it, and a
//! number. A crash loses the unflushed end of a log and the next process gives those numbers out again, so
//! a number alone must never name a record.

use super::audit::{Audit, Receipt};
use crate::core::MemberId;
use pgfo_replay::Seq;

/// Where the record is that sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// In this log.
    Here(usize),
    /// This log lost it: its process crashed before the record was flushed.
    Lost(usize),
    /// The process that sent it is none of those that this log tells of.
    Stranger(usize),
    /// In no log that is at hand, or before or behind what such a log holds.
    Away,
}

/// The senders of all that logs received from each other.
#[derive(Debug)]
pub struct Senders<'a> {
    audits: Vec<&'a Audit>,
    /// For each log, and each member by its number there, that member's logs.
    logs_of: Vec<Vec<Vec<usize>>>,
}

impl<'a> Senders<'a> {
    /// Learns whose logs are at hand.
    #[must_use]
    pub fn of(audits: &[&'a Audit]) -> Self {
        let logs_of = |log: usize| {
            let members = audits[log].settings.iter().flat_map(|s| &s.members);
            let is_of = |other: &usize, name: &str| *other != log && audits[*other].member() == Some(name);
            members.map(|m| (0..audits.len()).filter(|other| is_of(other, &m.name)).collect()).collect()
        };
        Self { audits: audits.to_vec(), logs_of: (0..audits.len()).map(logs_of).collect() }
    }

    /// Returns where the record is that sent what `log` received.
    #[must_use]
    pub fn find(&self, log: usize, receipt: &Receipt) -> Sent {
        let candidates = self.logs_of_member(log, receipt.from);
        let mut here = candidates.iter().filter(|other| self.holds(**other, receipt));
        match (here.next(), here.next()) {
            (Some(one), None) => return Sent::Here(*one),
            (Some(_), Some(_)) => return Sent::Away,
            (None, _) => {}
        }
        let Some(process) = receipt.process else { return Sent::Away };
        let knows = |other: &&usize| self.audits[**other].processes.iter().any(|(_, p)| *p == process);
        if let Some(log) = candidates.iter().find(|other| self.has_lost(**other, receipt)) {
            return Sent::Lost(*log);
        }
        // A log that lacks its oldest records may have lacked that process, too.
        let is_whole = |other: &usize| self.audits[*other].first.is_some_and(|(first, _)| first == Seq(1));
        match candidates.first() {
            Some(log) if !candidates.iter().any(|other| knows(&other)) && candidates.iter().all(is_whole) => {
                Sent::Stranger(*log)
            }
            _ => Sent::Away,
        }
    }

    /// Returns where the record is that sent what record `seq` of `log` received.
    #[must_use]
    pub fn find_at(&self, log: usize, seq: Seq) -> Sent {
        let receipts = &self.audits[log].receipts;
        let found = receipts.binary_search_by_key(&seq, |receipt| receipt.seq);
        found.map_or(Sent::Away, |at| self.find(log, &receipts[at]))
    }

    fn logs_of_member(&self, log: usize, member: MemberId) -> &[usize] {
        self.logs_of[log].get(usize::from(member.0)).map_or(&[], Vec::as_slice)
    }

    /// Whether a log holds the very record that sent it.
    fn holds(&self, log: usize, receipt: &Receipt) -> bool {
        let mut of_process = self.spans(log, receipt).peekable();
        // Of a receipt that names no process it is clear only where there was but one.
        let is_clear = receipt.process.is_some() || self.audits[log].processes.len() == 1;
        of_process.peek().is_some()
            && is_clear
            && of_process.any(|(first, last)| first <= receipt.sent_by && receipt.sent_by <= last)
    }

    /// Whether the process that sent it was followed by another that gave out the same number.
    fn has_lost(&self, log: usize, receipt: &Receipt) -> bool {
        let Some((end, _)) = self.audits[log].last else { return false };
        let last = self.spans(log, receipt).last();
        last.is_some_and(|(_, last)| last < receipt.sent_by && last < end)
    }

    /// The first and the last record of each process that may have sent it.
    fn spans(&self, log: usize, receipt: &Receipt) -> impl Iterator<Item = (Seq, Seq)> {
        let audit = self.audits[log];
        let process = receipt.process;
        let last = audit.last.map_or(Seq(0), |(last, _)| last);
        audit.processes.iter().enumerate().filter(move |(_, (_, p))| process.is_none_or(|own| own == *p)).map(
            move |(at, (first, _))| {
                let next = audit.processes.get(at + 1);
                (*first, next.map_or(last, |(next, _)| Seq(next.0.saturating_sub(1))))
            },
        )
    }
}

/// Returns how many messages were sent by records that their logs lost in a crash, and how many by
/// processes that the log of their member does not tell of.
#[must_use]
pub fn missing(audits: &[&Audit]) -> Missing {
    let senders = Senders::of(audits);
    let mut missing = Missing::default();
    for (log, audit) in audits.iter().enumerate() {
        for receipt in &audit.receipts {
            match senders.find(log, receipt) {
                Sent::Lost(_) => missing.lost += 1,
                Sent::Stranger(_) => missing.of_strangers += 1,
                Sent::Here(_) | Sent::Away => {}
            }
        }
    }
    missing
}

/// Messages whose sending record is in no log, though a log of their sender is at hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Their records were lost in a crash.
    pub lost: u64,
    /// Their process is in none of the logs of their member.
    pub of_strangers: u64,
}
