//! Owns the common time of several logs: a message can't arrive before it was sent, so a clock that says
//! so is corrected; and the delays between members, as measured.

use super::gather::Gathered;
use crate::cli::replay::{Audit, Senders, Sent};
use crate::core::{MemberId, Nanos};
use pgfo_replay::Seq;
use std::collections::BTreeMap;

/// How long messages took from one member to another.
#[derive(Clone, Debug, Default)]
pub struct Delays(pub BTreeMap<(MemberId, MemberId), Vec<Nanos>>);

impl Delays {
    /// Returns the `percent`-th percentile over all links; `None` without a single message.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<Nanos> {
        let mut all: Vec<Nanos> = self.0.values().flatten().copied().collect();
        all.sort_unstable();
        let at = all.len().checked_sub(1)? * percent.min(100) / 100;
        all.get(at).copied()
    }
}

/// Sets every log's distance from the first one's clock, and returns how long messages took.
pub fn align(logs: &mut [Gathered]) -> Delays {
    let mut least: BTreeMap<(usize, usize), i64> = BTreeMap::new();
    each_message(logs, |from, to, took| {
        let shortest = least.entry((from, to)).or_insert(took);
        *shortest = took.min(*shortest);
    });
    let mut known = vec![false; logs.len()];
    if let Some(first) = known.first_mut() {
        *first = true;
    }
    // Breadth first: every log by way of one that is known already.
    while let Some((at, ahead)) = next_ahead(logs, &known, &least) {
        logs[at].ahead_nanos = ahead;
        known[at] = true;
    }
    let mut delays = Delays::default();
    each_message(logs, |from, to, took| {
        let link = logs[from].me().zip(logs[to].me());
        let took = took - logs[to].ahead_nanos + logs[from].ahead_nanos;
        // One way alone can't tell a delay from a clock that is ahead.
        if !least.contains_key(&(to, from)) {
            return;
        }
        if let (Some(link), Ok(took)) = (link, u64::try_from(took)) {
            delays.0.entry(link).or_default().push(Nanos(took));
        }
    });
    delays
}

fn next_ahead(
    logs: &[Gathered],
    known: &[bool],
    least: &BTreeMap<(usize, usize), i64>,
) -> Option<(usize, i64)> {
    let mut unknown = (0..logs.len()).filter(|at| !known[*at]);
    unknown.find_map(|at| {
        let base = (0..logs.len()).filter(|b| known[*b]).find_map(|b| {
            let (there, back) = (least.get(&(b, at)).copied(), least.get(&(at, b)).copied());
            let ahead = match (there?, back) {
                // Both clocks agree with what caused what: nothing to correct.
                (there, Some(back)) if there >= 0 && back >= 0 => 0,
                (there, Some(back)) => (there - back) / 2,
                (there, None) => there.min(0),
            };
            Some(logs[b].ahead_nanos + ahead)
        });
        base.map(|ahead| (at, ahead))
    })
}

/// Calls `see` with sender, receiver and the difference of their wall clocks, for each message of which
/// both ends are at hand.
fn each_message(logs: &[Gathered], mut see: impl FnMut(usize, usize, i64)) {
    let audits: Vec<&Audit> = logs.iter().map(Gathered::audit).collect();
    let senders = Senders::of(&audits);
    let wall = |audit: &Audit, seq: Seq| {
        let begins = audit.first.map_or(1, |(first, _)| first.0);
        let at = usize::try_from(seq.0.checked_sub(begins)?).ok()?;
        audit.walls.get(at).map(|wall| wall.0)
    };
    for (to, audit) in audits.iter().enumerate() {
        for receipt in &audit.receipts {
            let Sent::Here(from) = senders.find(to, receipt) else { continue };
            if let (Some(sent), Some(received)) =
                (wall(audits[from], receipt.sent_by), wall(audit, receipt.seq))
            {
                see(from, to, received - sent);
            }
        }
    }
}
