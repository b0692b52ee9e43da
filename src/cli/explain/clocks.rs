//! Owns the common time of several logs: a message can't arrive before it was sent, so a clock that says
//! so is corrected, for each stretch within which it was not set; and the delays between members, as measured.

use super::gather::Gathered;
use super::stretches::stretch_of;
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

/// One clock as it was set: a log, and which of its stretches.
type Clock = (usize, usize);

/// A message of which both ends are at hand.
struct Passed {
    from: Clock,
    to: Clock,
    /// By the wall clocks of both.
    took: i64,
}

/// Two clocks that differ by less agree, as far as a person who reads them is concerned.
const AGREE_NANOS: i64 = 1_000_000_000;

/// Sets every clock's distance from the common time, and returns how long messages took.
pub fn align(logs: &mut [Gathered]) -> Delays {
    let messages = messages(logs);
    let mut least: BTreeMap<(Clock, Clock), i64> = BTreeMap::new();
    for message in &messages {
        let shortest = least.entry((message.from, message.to)).or_insert(message.took);
        *shortest = message.took.min(*shortest);
    }
    let mut ahead = Distances::found(logs, &least);
    let off = of_most(logs, &ahead);
    ahead.values_mut().for_each(|ahead| *ahead -= off);
    for (log, gathered) in logs.iter_mut().enumerate() {
        for (at, stretch) in gathered.stretches.iter_mut().enumerate() {
            stretch.ahead_nanos = ahead.get(&(log, at)).copied().unwrap_or(0);
        }
    }
    let mut delays = Delays::default();
    for Passed { from, to, took } in messages {
        let link = logs[from.0].me().zip(logs[to.0].me());
        let of = |clock: &Clock| ahead.get(clock).copied().unwrap_or(0);
        let took = took - of(&to) + of(&from);
        // One way alone can't tell a delay from a clock that is ahead.
        if !least.contains_key(&(to, from)) {
            continue;
        }
        if let (Some(link), Ok(took)) = (link, u64::try_from(took)) {
            delays.0.entry(link).or_default().push(Nanos(took));
        }
    }
    delays
}

/// Returns how far the clocks of most logs, as they begin, are ahead of the first one's, which is itself off then.
fn of_most(logs: &[Gathered], ahead: &BTreeMap<Clock, i64>) -> i64 {
    let clocks: Vec<i64> = (0..logs.len()).filter_map(|log| ahead.get(&(log, 0)).copied()).collect();
    let agreeing = |off: i64| clocks.iter().filter(|ahead| (**ahead - off).abs() < AGREE_NANOS).count();
    let is_of_most = |off: &i64| off.abs() >= AGREE_NANOS && agreeing(*off) * 2 > clocks.len();
    clocks.iter().copied().find(is_of_most).unwrap_or(0)
}

/// What is known of each clock's distance, from one clock to the next.
struct Distances<'a> {
    logs: &'a [Gathered],
    least: &'a BTreeMap<(Clock, Clock), i64>,
    known: BTreeMap<Clock, i64>,
}

impl<'a> Distances<'a> {
    fn found(logs: &'a [Gathered], least: &'a BTreeMap<(Clock, Clock), i64>) -> BTreeMap<Clock, i64> {
        let mut distances = Self { logs, least, known: BTreeMap::new() };
        let clocks: Vec<Clock> = logs
            .iter()
            .enumerate()
            .flat_map(|(log, gathered)| (0..gathered.stretches.len()).map(move |at| (log, at)))
            .collect();
        // Breadth first: every clock by way of one that is known already, and by what tells most.
        while let Some(unknown) = clocks.iter().find(|clock| !distances.known.contains_key(*clock)) {
            let open = || clocks.iter().copied().filter(|clock| !distances.known.contains_key(clock));
            let next = open()
                .find_map(|clock| Some((clock, distances.both_ways(clock)?)))
                .or_else(|| open().find_map(|clock| Some((clock, distances.set_anew(clock)?))))
                .or_else(|| open().find_map(|clock| Some((clock, distances.one_way(clock)?))))
                .or_else(|| open().find_map(|clock| Some((clock, distances.booted(clock)?))));
            let (clock, ahead) = next.unwrap_or((*unknown, 0));
            distances.known.insert(clock, ahead);
        }
        distances.known
    }

    fn both_ways(&self, clock: Clock) -> Option<i64> {
        self.known.iter().find_map(|(base, ahead)| {
            let there = *self.least.get(&(*base, clock))?;
            let back = *self.least.get(&(clock, *base))?;
            // Both clocks agree with what caused what: nothing to correct.
            let agree = there >= 0 && back >= 0;
            Some(ahead + if agree { 0 } else { (there - back) / 2 })
        })
    }

    /// By how much the clock was set, from the stretch before or behind.
    fn set_anew(&self, (log, at): Clock) -> Option<i64> {
        let stretches = &self.logs[log].stretches;
        let before = at.checked_sub(1).and_then(|before| self.known.get(&(log, before)));
        if let (Some(before), Some(by)) = (before, stretches[at].set_by_nanos) {
            return Some(before + by);
        }
        let by = stretches.get(at + 1)?.set_by_nanos?;
        Some(self.known.get(&(log, at + 1))? - by)
    }

    fn one_way(&self, clock: Clock) -> Option<i64> {
        self.known.iter().find_map(|(base, ahead)| Some(ahead + self.least.get(&(*base, clock))?.min(&0)))
    }

    /// A host that was booted meanwhile, and was heard by nobody since.
    fn booted(&self, (log, at): Clock) -> Option<i64> {
        self.known.get(&(log, at.checked_sub(1)?)).copied()
    }
}

fn messages(logs: &[Gathered]) -> Vec<Passed> {
    let audits: Vec<&Audit> = logs.iter().map(Gathered::audit).collect();
    let senders = Senders::of(&audits);
    let wall = |log: usize, seq: Seq| {
        let begins = audits[log].first.map_or(1, |(first, _)| first.0);
        let at = usize::try_from(seq.0.checked_sub(begins)?).ok()?;
        audits[log].walls.get(at).map(|wall| wall.0)
    };
    let clock = |log: usize, seq: Seq| Some((log, stretch_of(&logs[log].stretches, seq)?));
    let mut passed = Vec::new();
    for (to, audit) in audits.iter().enumerate() {
        for receipt in &audit.receipts {
            let Sent::Here(from) = senders.find(to, receipt) else { continue };
            let took = wall(to, receipt.seq).zip(wall(from, receipt.sent_by));
            let clocks = clock(from, receipt.sent_by).zip(clock(to, receipt.seq));
            if let (Some((received, sent)), Some((from, to))) = (took, clocks) {
                passed.push(Passed { from, to, took: received - sent });
            }
        }
    }
    passed
}
