//! A state of the model: daemons, guards, PostgreSQLs, the network, the clock, and what the invariants must
//! remember. Daemons and messages are shared between states; its hash is what tells futures apart.

use super::super::guard::Guard;
use super::bounds::{BOOT_ORIGIN, MOMENT};
use super::mind::Mind;
use crate::core::{BootNanos, Lsn, MemberId, Term, request};
use crate::events::{Answer, LeaseAsk, Message};
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
    /// Equal for messages that do the same: the numbers of requests only name them.
    pub(super) fn id(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let h = &mut hasher;
        (self.from, self.to, std::mem::discriminant(&self.message)).hash(h);
        let ask = |a: &LeaseAsk| (request(a), a.sent_at.0 / MOMENT);
        match &self.message {
            Message::LeaseRequested(a)
            | Message::RenewalRequested(a)
            | Message::LeaseGranted(a)
            | Message::VoteGranted(a) => ask(a).hash(h),
            Message::LeaseRefused(a, why) | Message::VoteRefused(a, why) => (ask(a), why).hash(h),
            Message::VoteRequested(v) => {
                (ask(&v.ask), v.kind, v.position, v.system_id, &v.roster, v.accepts_loss).hash(h);
            }
            Message::LeaseReleased { term, .. } => term.hash(h),
            other => other.hash(h),
        }
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
        match self.messages.binary_search_by_key(&id, |m| m.0) {
            Err(at) => {
                Arc::make_mut(&mut self.messages).insert(at, (id, Arc::new(envelope)));
                self.sum = self.sum.wrapping_add(id);
            }
            // The same again, under a newer number: that one counts.
            Ok(at) if *self.messages[at].1 != envelope => {
                Arc::make_mut(&mut self.messages)[at].1 = Arc::new(envelope);
            }
            Ok(_) => {}
        }
    }

    /// Takes away what can do nothing any more.
    pub(super) fn retain(&mut self, lives: impl Fn(&Arc<Envelope>) -> bool) {
        if self.messages.iter().all(|m| lives(&m.1)) {
            return;
        }
        let messages = Arc::make_mut(&mut self.messages);
        messages.retain(|m| lives(&m.1));
        self.sum = messages.iter().fold(0, |sum, m| sum.wrapping_add(m.0));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Envelope>> {
        self.messages.iter().map(|m| &m.1)
    }

    /// Returns whether this very message is under way.
    pub(super) fn holds(&self, envelope: &Arc<Envelope>) -> bool {
        self.iter().any(|e| Arc::ptr_eq(e, envelope))
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
    /// Promote what runs as this start of PostgreSQL.
    Promote(Term, Option<i64>),
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
    /// The rate of its clock, in percent.
    pub(super) rate: u64,
    /// Nanoseconds that its clock is ahead, by deadlines that fired within the moment.
    pub(super) ahead: u64,
    /// Processes so far.
    pub(super) runs: u64,
    /// Logs so far.
    pub(super) logs: u64,
}

impl Host {
    /// What its clock shows at a moment of the shared clock.
    pub(super) const fn boot(&self, now: u64) -> BootNanos {
        BootNanos(BOOT_ORIGIN + now * self.rate / 100 + self.ahead)
    }

    /// Whether its daemon, and what a crash would leave of it, are the very same at the same instant.
    pub(super) fn same_daemon(&self, other: &Self) -> bool {
        let left = match (&self.durable, &other.durable) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() && two.is_none(),
        };
        left && Arc::ptr_eq(&self.mind, &other.mind) && self.ahead == other.ahead
    }

    /// What of it tells two futures apart: instants by how far they lie ahead.
    fn project(&self, now: u64, h: &mut impl Hasher) {
        let boot = self.boot(now);
        self.mind.shape.hash(h);
        for at in &self.mind.instants {
            ahead(*at, boot).hash(h);
        }
        self.durable.is_some().hash(h);
        if let Some(left) = &self.durable {
            left.shape.hash(h);
            for at in &left.instants {
                ahead(*at, boot).hash(h);
            }
        }
        self.guard.shape().hash(h);
        self.guard.armed().map(|a| ahead(a.1, boot)).hash(h);
        (&self.postgres, &self.tasks).hash(h);
        (self.asking.map(|a| a.1), (self.beats.0 == now).then_some(self.beats.1)).hash(h);
        (self.runs, self.logs).hash(h);
    }

    /// Everything of it.
    fn all(&self, h: &mut impl Hasher) {
        self.mind.id.hash(h);
        self.durable.as_ref().map(|m| m.id).hash(h);
        (&self.guard, &self.postgres, &self.tasks).hash(h);
        (self.asking, self.beats, self.ahead, self.runs, self.logs).hash(h);
    }
}

/// How far an instant lies ahead. What is not a lease waits for single nanoseconds, and is told apart by
/// them; what lies further ahead ends at the next step of the clock that takes in its whole moment.
fn ahead(at: BootNanos, boot: BootNanos) -> u64 {
    let nanos = at.nanos_since(boot);
    if nanos < MOMENT { nanos } else { (nanos + MOMENT / 2) / MOMENT * MOMENT }
}

/// A vote that was cast, as the invariants remember it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cast {
    pub(super) voter: MemberId,
    pub(super) term: Term,
    pub(super) candidate: MemberId,
    pub(super) nonce: u64,
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
    /// Invariants that are not judged, as bits.
    pub(super) unjudged: u8,
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
    pub(super) outages: u8,
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
    /// What tells it apart, once an action is done.
    pub(super) id: u64,
    /// Whether the last action changed anything; no part of the state.
    pub(super) touched: bool,
    /// Whether the last action left the bounds; no part of the state.
    pub(super) beyond: bool,
}

impl State {
    /// Takes what tells its future apart from others'.
    pub(super) fn project(&mut self) {
        let mut hasher = DefaultHasher::new();
        self.now.hash(&mut hasher);
        for host in &self.hosts {
            host.project(self.now, &mut hasher);
        }
        (self.network.sum, &self.lines, self.spent, &self.ghosts).hash(&mut hasher);
        self.id = hasher.finish();
    }

    /// Returns a number that is equal for states that the model takes for one.
    #[must_use]
    pub const fn shape(&self) -> u64 {
        self.id
    }

    /// Returns a number that tells states apart by everything, the numbers of logs aside.
    #[must_use]
    pub fn identity(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.now.hash(&mut hasher);
        for host in &self.hosts {
            host.all(&mut hasher);
        }
        for e in self.network.iter() {
            (e.from, e.to, &e.message).hash(&mut hasher);
        }
        (&self.lines, self.spent, &self.ghosts).hash(&mut hasher);
        hasher.finish()
    }

    /// Returns whether the roles of every daemon hold the same ledger, which is why it counts once.
    #[must_use]
    pub fn roles_agree(&self) -> bool {
        self.hosts.iter().all(|h| h.mind.agrees())
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
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
