//! A state of the model: daemons, guards, PostgreSQLs, the network, the clock, and what the invariants must
//! remember. Daemons and messages are shared between states; its hash is what tells futures apart.

use super::super::guard::Guard;
use super::mind::Mind;
use crate::core::{Lsn, MemberId, Term};
use crate::events::{Answer, Message};
use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A message under way: for ever, so that it may come late, twice, or not at all.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The sender.
    pub from: MemberId,
    /// The receiver.
    pub to: MemberId,
    /// What it says.
    pub message: Message,
}

impl Envelope {
    pub(super) fn id(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.from, self.to, &self.message).hash(&mut hasher);
        hasher.finish()
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = format!("{:?}", self.message);
        let name = what.split(['(', ' ', '{']).next().unwrap_or_default();
        let term = match &self.message {
            Message::VoteRequested(ask) => Some(ask.ask.term),
            Message::VoteGranted(ask) | Message::LeaseRequested(ask) | Message::LeaseGranted(ask) => {
                Some(ask.term)
            }
            Message::VoteRefused(ask, _) => Some(ask.term),
            Message::FreezeRequested { term, .. }
            | Message::FreezeReported { term, .. }
            | Message::FreezeRefused { term, .. }
            | Message::LeaseReleased { term, .. } => Some(*term),
            Message::PrimaryAnnounced(a) => Some(a.term),
            _ => None,
        };
        write!(f, "{name} {}→{}", self.from.0, self.to.0)?;
        term.map_or(Ok(()), |t| write!(f, " term {t}"))
    }
}

/// The messages under way, in the order of their hashes.
#[derive(Clone, Default)]
pub(super) struct Network {
    messages: Arc<Vec<(u64, Arc<Envelope>)>>,
    sum: u64,
}

impl Network {
    pub(super) fn add(&mut self, envelope: Envelope) {
        let id = envelope.id();
        if let Err(at) = self.messages.binary_search_by_key(&id, |m| m.0) {
            Arc::make_mut(&mut self.messages).insert(at, (id, Arc::new(envelope)));
            self.sum = self.sum.wrapping_add(id);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Envelope>> {
        self.messages.iter().map(|m| &m.1)
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn take(&mut self) -> Vec<Arc<Envelope>> {
        let all = self.iter().cloned().collect();
        *self = Self::default();
        all
    }
}

/// A line of history of the data, opened by a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Line {
    /// The line it forked off, and where.
    pub(super) parent: Option<(u8, u64)>,
    /// Its timeline's number, which may be another line's too.
    pub(super) timeline: u32,
}

/// A PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Postgres {
    pub(super) up: bool,
    pub(super) in_recovery: bool,
    /// Whether `standby.signal` was left by a fence.
    pub(super) sealed: bool,
    /// Index of its line.
    pub(super) line: u8,
    /// How far its WAL goes.
    pub(super) lsn: u64,
    /// Whose WAL it receives.
    pub(super) receiver: Option<MemberId>,
    /// How often it was started.
    pub(super) started: i64,
}

impl Postgres {
    pub(super) const fn writes(&self) -> bool {
        self.up && !self.in_recovery
    }

    pub(super) fn answer(&self, lines: &[Line]) -> Answer {
        let timeline = lines[usize::from(self.line)].timeline;
        Answer {
            system_id: crate::core::SystemId(7),
            in_recovery: self.in_recovery,
            timeline: Some(crate::core::Timeline(timeline)),
            received: Some(Lsn(self.lsn)),
            replayed: self.in_recovery.then_some(Lsn(self.lsn)),
            streaming: self.receiver.is_some(),
            receiver: self.receiver.is_some(),
            waits_for_wal: self.in_recovery,
            postmaster_started: self.started,
        }
    }
}

/// What a hand was told to do and has not done yet, or has seen and not told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Tell that the postmaster is gone.
    TellItIsGone,
    /// Seal and stop PostgreSQL.
    Fence,
    /// Stop the WAL receiver.
    Freeze(Term),
    /// Promote.
    Promote(Term),
    /// Attach to a winner.
    Follow(Term, MemberId),
    /// Copy WAL from a standby.
    CatchUp(Term, MemberId),
}

/// One member: its daemon, its guard, its PostgreSQL.
#[derive(Clone)]
pub struct Host {
    pub(super) mind: Arc<Mind>,
    /// What a crash would leave of it, if that is less.
    pub(super) durable: Option<Arc<Mind>>,
    pub(super) guard: Guard,
    pub(super) postgres: Option<Postgres>,
    pub(super) tasks: BTreeSet<Task>,
    /// Its open pre-vote: number of the question, term it is about.
    pub(super) asking: Option<(u64, Term)>,
    /// When it beat last, and how often since.
    pub(super) beats: (u64, u8),
    /// Nanoseconds that its clock is ahead, by deadlines that fired within the moment.
    pub(super) ahead: u64,
    /// Processes so far.
    pub(super) runs: u64,
    /// Logs so far.
    pub(super) logs: u64,
}

impl Hash for Host {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.mind.id.hash(state);
        self.durable.as_ref().map(|m| m.id).hash(state);
        (&self.guard, &self.postgres, &self.tasks).hash(state);
        (self.asking, self.beats, self.ahead, self.runs, self.logs).hash(state);
    }
}

/// A vote that was cast, as the invariants remember it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cast {
    pub(super) voter: MemberId,
    pub(super) term: Term,
    pub(super) candidate: MemberId,
    pub(super) nonce: u64,
    /// The voter's process.
    pub(super) run: u64,
    /// Whether it compared a position of its own, without loss.
    pub(super) counts: bool,
}

/// What the invariants remember.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ghosts {
    pub(super) winners: Vec<(Term, MemberId)>,
    pub(super) votes: Vec<Cast>,
    /// Members that lost their log and are not registered anew.
    pub(super) forgot: u8,
    /// What broke: index into the invariants, and how.
    pub(super) broken: Option<(u8, String)>,
}

/// Faults spent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Spent {
    pub(super) crashes: u8,
    pub(super) log_losses: u8,
    pub(super) deaths: u8,
    pub(super) starts: u8,
    pub(super) ticks: u8,
    pub(super) writes: u8,
    pub(super) promotion_faults: u8,
}

/// A state.
#[derive(Clone)]
pub struct State {
    /// The shared clock, nanoseconds since the adoption.
    pub(super) now: u64,
    pub(super) hosts: Vec<Host>,
    pub(super) network: Network,
    pub(super) lines: Vec<Line>,
    pub(super) spent: Spent,
    pub(super) ghosts: Ghosts,
    /// Whether the last action changed anything; no part of the state.
    pub(super) touched: bool,
    /// Whether the last action left the bounds; no part of the state.
    pub(super) beyond: bool,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.now, &self.hosts, self.network.sum, &self.lines, self.spent, &self.ghosts).hash(state);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let id = |s: &Self| {
            let mut hasher = DefaultHasher::new();
            s.hash(&mut hasher);
            hasher.finish()
        };
        id(self) == id(other)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ms, {} messages", self.now / 1_000_000, self.network.len())?;
        for (i, host) in self.hosts.iter().enumerate() {
            let l = host.mind.ledger();
            let writes = host.postgres.map(|p| (p.up, p.in_recovery, p.line, p.lsn));
            let doing = host.mind.activity();
            write!(
                f,
                "; member {i}: {:?}, {doing}, {:?}, tenure {:?}, {writes:?}",
                l.verdict, host.tasks, l.tenure
            )?;
        }
        write!(f, "; {:?}", self.ghosts)
    }
}
