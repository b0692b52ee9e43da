//! Owns the watch for incidents: which stretch of one member's log belongs to a failover, or to an
//! attempt at one that came to nothing. A pure fold over the records: no clock, no I/O.

use crate::core::{MemberId, Term};
use crate::events::{Announcement, Decision, Event, Observation, Record, Verdict};
use pgfo_replay::{BootNanos, Seq, WallNanos};
use std::collections::VecDeque;

/// What came before the first suspicion belongs to the incident, this long.
const LEAD_NANOS: u64 = 30_000_000_000;
/// What comes after the end belongs to it, too: that the others follow.
const SETTLE_NANOS: u64 = 10_000_000_000;
/// An attempt without an end is told after this long; what comes later is another incident.
const GIVE_UP_NANOS: u64 = 600_000_000_000;
/// Batches remembered for the lead: a busy member's half minute.
const LEAD_BATCHES_MAX: usize = 8192;
/// Records of one incident: a bound for its file, far above any election.
const RECORDS_MAX: u64 = 200_000;

/// How an incident ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Another member is the primary now.
    Failover,
    /// The same member was elected again.
    Reelected,
    /// Nobody was elected, and the primary is reachable again.
    Refused,
    /// Nobody was elected within ten minutes, or within the bound of an incident.
    Unresolved,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 4] = [Self::Failover, Self::Reelected, Self::Refused, Self::Unresolved];

    /// Returns the word in a file's name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Reelected => "reelected",
            Self::Refused => "refused",
            Self::Unresolved => "unresolved",
        }
    }
}

/// The stretch of a log that belongs to one incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first record, the beginning of a batch.
    pub first: Seq,
    /// The last record, the end of a batch.
    pub last: Seq,
    /// The record that it began with.
    pub began: Seq,
    /// When that was.
    pub at: WallNanos,
    /// The term that was won, or tried for.
    pub term: Term,
    /// How it ended.
    pub outcome: Outcome,
}

/// An attempt that is under way.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    window: Window,
    /// Whether it went beyond a suspicion.
    serious: bool,
    /// Since when it is waited for an end.
    since: BootNanos,
    /// When it ended; more is taken in until all has settled.
    ended: Option<BootNanos>,
}

/// Watches one member's records, in order.
#[derive(Debug)]
pub struct IncidentWatcher {
    announced: Option<(Term, MemberId)>,
    recent: VecDeque<(Seq, BootNanos)>,
    last: Seq,
    attempt: Option<Attempt>,
    /// An attempt was given up: no other until the primary is reachable, or there is another.
    quiet: bool,
}

impl IncidentWatcher {
    /// Begins behind a record at which `announced` was the newest winner known.
    #[must_use]
    pub fn new(announced: Option<&Announcement>) -> Self {
        Self {
            announced: announced.map(|a| (a.term, a.primary)),
            recent: VecDeque::new(),
            last: Seq(0),
            attempt: None,
            quiet: false,
        }
    }

    /// Returns whether nothing is under way, and nothing that was seen is needed any more.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.attempt.is_none()
    }

    /// Takes in one whole batch; returns the incident that is complete with it, if one is.
    pub fn see(&mut self, batch: &[Record]) -> Option<Window> {
        let first = batch.first()?;
        let complete = self.begin_batch(first);
        for record in batch {
            self.look(record, first);
            self.last = record.seq;
        }
        complete
    }

    /// Returns the incident that the log ends in, as far as it goes; for a log that is over.
    #[must_use]
    pub fn finish(mut self) -> Option<Window> {
        self.close()
    }

    fn begin_batch(&mut self, first: &Record) -> Option<Window> {
        let restarted = matches!(first.event, Event::Observed(Observation::ProcessStarted(_)));
        let mut complete = None;
        if let Some(attempt) = &mut self.attempt {
            if restarted {
                attempt.since = first.boot;
            }
            let records = first.seq.0 - attempt.window.first.0;
            let settled = attempt.ended.is_some_and(|end| first.boot.nanos_since(end) >= SETTLE_NANOS);
            let given_up = first.boot.nanos_since(attempt.since) >= GIVE_UP_NANOS || records >= RECORDS_MAX;
            if settled || given_up || (restarted && attempt.ended.is_some()) {
                self.quiet = attempt.ended.is_none();
                complete = self.close();
            }
        }
        // Another boot has another clock.
        if self.recent.back().is_some_and(|(_, boot)| *boot > first.boot) {
            self.recent.clear();
        }
        self.recent.push_back((first.seq, first.boot));
        let stale = |boot: BootNanos| first.boot.nanos_since(boot) > LEAD_NANOS;
        while self.recent.len() > LEAD_BATCHES_MAX || self.recent.front().is_some_and(|(_, b)| stale(*b)) {
            self.recent.pop_front();
        }
        complete
    }

    fn close(&mut self) -> Option<Window> {
        let attempt = self.attempt.take()?;
        let window = Window { last: self.last, ..attempt.window };
        attempt.serious.then_some(window)
    }

    fn look(&mut self, record: &Record, first: &Record) {
        let Event::Decided(decision) = &record.event else { return };
        match decision {
            Decision::PrimaryAnnounced(winner) | Decision::AnnouncementAdopted(winner) => {
                self.announce(winner, first);
            }
            Decision::VerdictChanged { to: Verdict::Reachable, .. } => self.reach(record.boot),
            _ => match weight(decision) {
                Some(serious) if !self.quiet => {
                    let term = crate::events::story::term_of(&record.event);
                    let attempt = self.open(first);
                    attempt.serious |= serious;
                    if attempt.ended.is_none() {
                        attempt.window.term = attempt.window.term.max(term.unwrap_or(Term(0)));
                    }
                }
                _ => {}
            },
        }
    }

    fn open(&mut self, first: &Record) -> &mut Attempt {
        let begin = self.recent.front().map_or(first.seq, |(seq, _)| *seq);
        let term = self.announced.map_or(Term(0), |(term, _)| term);
        self.attempt.get_or_insert(Attempt {
            window: Window {
                first: begin,
                last: first.seq,
                began: first.seq,
                at: first.wall,
                term,
                outcome: Outcome::Unresolved,
            },
            serious: false,
            since: first.boot,
            ended: None,
        })
    }

    fn announce(&mut self, winner: &Announcement, first: &Record) {
        let before = self.announced;
        if before.is_some_and(|(term, _)| winner.term <= term) {
            return;
        }
        self.announced = Some((winner.term, winner.primary));
        self.quiet = false;
        let Some((_, primary)) = before else {
            // The first primary of all: nothing failed.
            self.attempt = None;
            return;
        };
        let attempt = self.open(first);
        attempt.serious = true;
        attempt.ended = Some(first.boot);
        attempt.window.term = winner.term;
        attempt.window.outcome =
            if winner.primary == primary { Outcome::Reelected } else { Outcome::Failover };
    }

    fn reach(&mut self, at: BootNanos) {
        self.quiet = false;
        match &mut self.attempt {
            Some(attempt) if attempt.ended.is_some() => {}
            Some(attempt) if attempt.serious => {
                attempt.ended = Some(at);
                attempt.window.outcome = Outcome::Refused;
            }
            Some(_) | None => self.attempt = None,
        }
    }
}

/// Returns whether a decision belongs to an attempt, and whether it goes beyond a suspicion.
const fn weight(decision: &Decision) -> Option<bool> {
    match decision {
        Decision::SuspicionRaised { .. } => Some(false),
        Decision::VerdictChanged { to: Verdict::Suspect, .. } => Some(false),
        Decision::VerdictChanged { to: Verdict::Unreachable | Verdict::ConfirmedDown, .. }
        | Decision::DownConfirmed { .. }
        | Decision::LeaseExpired { .. }
        | Decision::FreezePromised { .. }
        | Decision::VoteGranted { .. }
        | Decision::VoteRefused { .. }
        | Decision::ElectionPlanned { .. }
        | Decision::ElectionAbandoned { .. }
        | Decision::CandidacyWithheld { .. }
        | Decision::CandidacyOpened { .. }
        | Decision::ElectionWon { .. } => Some(true),
        Decision::FenceOrdered { term, .. } if term.0 > 0 => Some(true),
        _ => None,
    }
}
