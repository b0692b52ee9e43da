//! A simulated PostgreSQL: its data (a place on a tree of histories), its processes, its WAL receiver.
//! It decides nothing about failover.

use super::frozen::Frozen;
use super::queue::Run;
use super::time::SimNanos;
use crate::core::{Lsn, MemberId, SystemId, Timeline};
use crate::events::{Answer, ProbeFailure, ProbeReport, SignOfLife};

/// A line of history: what one promotion began. Two can bear the same timeline number (E3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchId(pub usize);

/// One line of history.
#[derive(Clone, Copy, Debug)]
pub struct Branch {
    /// Its timeline number.
    pub timeline: Timeline,
    /// Where it came off.
    pub parent: Option<(BranchId, Lsn)>,
}

/// All lines of history there are.
#[derive(Clone, Debug)]
pub struct Histories(Vec<Branch>);

/// What PostgreSQL itself makes of a standby that wants to stream from a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It streams, and rightly so.
    Streams,
    /// It streams, but what it has is of another history with the same number: its data is spoilt.
    StreamsWrongly,
    /// It is past the fork: it says "streaming" and loops.
    PastFork,
}

impl Default for Histories {
    fn default() -> Self {
        Self(vec![Branch { timeline: Timeline(1), parent: None }])
    }
}

impl Histories {
    /// Returns a line of history.
    #[must_use]
    pub fn get(&self, id: BranchId) -> Branch {
        self.0[id.0]
    }

    /// Begins a line by a promotion at a place; PostgreSQL counts on from the number it knows.
    pub fn fork(&mut self, from: BranchId, at: Lsn) -> BranchId {
        let timeline = Timeline(self.get(from).timeline.0 + 1);
        self.0.push(Branch { timeline, parent: Some((from, at)) });
        BranchId(self.0.len() - 1)
    }

    /// Returns how far a place lies on the history that ends in `tip`: `Some` of the last position of
    /// `branch` in it, `Lsn(u64::MAX)` for the tip itself.
    #[must_use]
    pub fn shared(&self, branch: BranchId, tip: BranchId) -> Option<Lsn> {
        let mut line = tip;
        let mut limit = Lsn(u64::MAX);
        loop {
            if line == branch {
                return Some(limit);
            }
            let (parent, at) = self.get(line).parent?;
            limit = limit.min(at);
            line = parent;
        }
    }

    /// Returns what PostgreSQL makes of streaming: it compares timeline numbers, not histories.
    #[must_use]
    pub fn fit(&self, branch: BranchId, lsn: Lsn, source: BranchId, source_lsn: Lsn) -> Fit {
        let number = self.get(branch).timeline;
        let mut line = source;
        let mut limit = source_lsn;
        loop {
            if self.get(line).timeline == number {
                return match (lsn <= limit, line == branch) {
                    (false, _) => Fit::PastFork,
                    (true, true) => Fit::Streams,
                    (true, false) => Fit::StreamsWrongly,
                };
            }
            let Some((parent, at)) = self.get(line).parent else { return Fit::PastFork };
            limit = at;
            line = parent;
        }
    }
}

/// A WAL receiver's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// From whom.
    pub source: MemberId,
    /// Which connection.
    pub run: Run,
    /// Whether it loops past the fork.
    pub loops: bool,
    /// WAL on its way: where it will stand when it arrives.
    pub on_its_way: Option<(BranchId, Lsn)>,
}

/// The processes of a PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// None.
    Down,
    /// Starting up: says so to whoever asks.
    Starting,
    /// Up.
    Up,
}

/// A PostgreSQL.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Its processes.
    pub process: Process,
    /// Number of this start; events of earlier ones are void.
    pub run: Run,
    /// Microseconds since 1970 of this start.
    pub started: i64,
    /// `standby.signal` in the data directory: the seal.
    pub signal: bool,
    /// Whether it is in recovery.
    pub in_recovery: bool,
    /// The line of history of its data.
    pub branch: BranchId,
    /// The end of its data.
    pub lsn: Lsn,
    /// Whether replay has reached the end of local WAL.
    pub replayed: bool,
    /// Whether a WAL receiver ran since the start.
    pub received: bool,
    /// Where its `primary_conninfo` points.
    pub upstream: Option<MemberId>,
    /// Its WAL receiver.
    pub receiver: Option<Receiver>,
    /// Frozen by pgfo: no receiver until it follows (E2).
    pub held: bool,
    /// A freeze was ordered and has not taken effect: the receiver streams on.
    pub freezes: bool,
    /// Stopped (SIGSTOP) until then.
    pub frozen: Frozen,
    /// Nobody may start it before.
    pub stopped_until: SimNanos,
    /// Refuses clients until then.
    pub crowded_until: SimNanos,
    /// Lets nobody log in until then.
    pub locked_until: SimNanos,
    /// Its disk is full until then.
    pub full_until: SimNanos,
    /// Takes in no WAL until then.
    pub lags_until: SimNanos,
    /// Backends that outlived their postmaster may write until then (D3).
    pub orphans_until: SimNanos,
    /// Spoilt: streamed from another history with the same timeline number.
    pub spoilt: bool,
}

/// The system identifier of every simulated cluster.
pub(super) const SYSTEM: SystemId = SystemId(7_300_000_000_000_000_001);

impl Postgres {
    /// Makes the running PostgreSQL of a cluster that streams already.
    #[must_use]
    pub fn running(primary: bool, upstream: Option<MemberId>, start: Run) -> Self {
        Self {
            process: Process::Up,
            run: start,
            started: Self::start_micros(start),
            signal: !primary,
            in_recovery: !primary,
            branch: BranchId(0),
            lsn: Lsn(0x0300_0000),
            replayed: true,
            received: !primary,
            upstream,
            receiver: None,
            held: false,
            freezes: false,
            frozen: Frozen::default(),
            stopped_until: SimNanos(0),
            crowded_until: SimNanos(0),
            locked_until: SimNanos(0),
            full_until: SimNanos(0),
            lags_until: SimNanos(0),
            orphans_until: SimNanos(0),
            spoilt: false,
        }
    }

    /// Returns the start time of a run.
    #[must_use]
    pub fn start_micros(run: Run) -> i64 {
        1_700_000_000_000_000 + i64::try_from(run).unwrap_or(0) * 1_000_000
    }

    /// Returns whether its processes exist.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.process != Process::Down
    }

    /// Returns whether it would accept a write, if it runs.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.process == Process::Up && !self.in_recovery
    }

    /// Returns what it says of itself.
    #[must_use]
    pub fn answer(&self, histories: &Histories) -> Answer {
        let timeline = Some(histories.get(self.branch).timeline);
        let streaming = self.receiver.is_some();
        // While replay climbs, only part of the local WAL is seen (E4).
        let seen = if self.replayed { self.lsn } else { Lsn(self.lsn.0.saturating_sub(0x10_0000)) };
        Answer {
            system_id: SYSTEM,
            in_recovery: self.in_recovery,
            timeline,
            received: if !self.in_recovery || self.received { Some(self.lsn) } else { None },
            replayed: self.in_recovery.then_some(seen),
            streaming,
            receiver: streaming,
            waits_for_wal: self.in_recovery && self.replayed,
            postmaster_started: self.started,
        }
    }

    /// Returns what a probe that reaches this host finds; `None`: no answer at all.
    #[must_use]
    pub fn probed(&self, now: SimNanos, histories: &Histories) -> Option<ProbeReport> {
        match self.process {
            Process::Down => Some(ProbeReport::Failed(ProbeFailure::Refused)),
            _ if now < self.frozen.until => None,
            Process::Starting => Some(ProbeReport::Alive(SignOfLife::StartingUp)),
            Process::Up if now < self.crowded_until => Some(ProbeReport::Alive(SignOfLife::TooManyClients)),
            Process::Up if now < self.locked_until => {
                Some(ProbeReport::Alive(SignOfLife::AuthenticationFailed))
            }
            Process::Up => Some(ProbeReport::Answered(self.answer(histories))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_promotions_from_one_point_collide_in_number() {
        let mut histories = Histories::default();
        let one = histories.fork(BranchId(0), Lsn(100));
        let other = histories.fork(BranchId(0), Lsn(100));
        assert_eq!(histories.get(one).timeline, histories.get(other).timeline);
        assert_eq!(histories.fit(one, Lsn(110), other, Lsn(120)), Fit::StreamsWrongly);
        assert_eq!(histories.fit(one, Lsn(130), other, Lsn(120)), Fit::PastFork);
        assert_eq!(histories.fit(BranchId(0), Lsn(100), other, Lsn(120)), Fit::Streams);
        assert_eq!(histories.fit(BranchId(0), Lsn(101), other, Lsn(120)), Fit::PastFork);
        assert_eq!(histories.shared(BranchId(0), one), Some(Lsn(100)));
        assert_eq!(histories.shared(one, other), None);
    }
}
