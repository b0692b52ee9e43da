//! The ledger: what one member knows, folded from its log. Every role keeps its own copy and reads
//! facts from it; it decides nothing.
//!
//! Volatile parts (connections, heartbeats, the local PostgreSQL) are emptied by each process start;
//! binding parts (votes, promises, rosters, announcements) are not.

mod folding;
mod lines;
mod projection;
mod standing;

use crate::core::{BootNanos, Lsn, MemberId, Nanos, Plant, Term, planted};
use crate::events::{
    Announcement, Answer, Fencing, FlushedMark, FreezeOutcome, Heartbeat, LeaseAsk, Lineage, PauseId,
    PostgresState, ProbeReport, ProcessIdentity, Refusal, Roster, Settings, Verdict,
};
use pgfo_replay::Seq;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Heartbeats older than this many intervals tell nothing of the present.
const HEARTBEAT_FRESH_INTERVALS: u64 = 3;

/// After a promotion that failed or was vetoed, this member does not stand for this many retries:
/// the others go first.
const FAILED_PROMOTION_RETRIES: u64 = 15;

/// More announcements than this are not kept: a standby that missed so many failovers needs a new
/// base backup anyway.
const HISTORY_MAX: usize = 64;

/// The highest vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Vote {
    /// For whom.
    pub candidate: MemberId,
    /// The request it answered.
    pub ask: LeaseAsk,
}

/// The standing promise not to vote for another (L1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// To whom.
    pub holder: MemberId,
    /// Its term.
    pub term: Term,
    /// The last request's number.
    pub number: u64,
    /// Until when.
    pub until: BootNanos,
}

/// The freeze promise and what was observed of it (E2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Freeze {
    /// For a winner of this term or above.
    pub term: Term,
    /// Who asked.
    pub candidate: MemberId,
    /// Its process.
    pub nonce: u64,
    /// `None` while it is under way.
    pub outcome: Option<FreezeOutcome>,
}

/// The lease this member holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// Its term.
    pub term: Term,
    /// Until when.
    pub until: BootNanos,
}

/// The local PostgreSQL, as last seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Local {
    /// Whether a postmaster runs; `None`: not known yet.
    pub runs: Option<bool>,
    /// Whether `standby.signal` was seen or left by a fence.
    pub sealed: bool,
    /// The last probe's report.
    pub report: Option<ProbeReport>,
    /// The last answer, while its postmaster lives.
    pub answer: Option<Answer>,
    /// The postmaster start in which a WAL receiver was seen (E4).
    pub receiver_ran_in: Option<i64>,
    /// The postmaster start that was last seen, also after its end.
    pub last_started: i64,
    /// Whether a postmaster ended and another was seen since the fence began that is under way: that one's end is not of
    /// this fence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub started_since_fence: bool,
    /// Whose PostgreSQL its WAL receiver was last seen to stream from (E3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<MemberId>,
}

/// A peer, as last heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Whether a connection stands.
    pub connected: bool,
    /// Its process, as its handshake named it.
    pub process: Option<ProcessIdentity>,
    /// Its last heartbeat.
    pub heartbeat: Option<Arc<Heartbeat>>,
    /// When it was heard.
    pub heard_at: BootNanos,
    /// Its last verdict, and about which term.
    pub verdict: Option<(Term, Verdict)>,
    /// How far its log was flushed, as heard; kept across restarts.
    pub flushed: FlushedMark,
}

/// What one member knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The effective settings.
    pub settings: Settings,
    /// This process.
    pub process: ProcessIdentity,
    /// The stamp of the last record.
    pub now: BootNanos,
    /// When this process started.
    pub started_at: BootNanos,
    /// How far the log is flushed.
    pub flushed: Seq,
    /// Whether the log can't be written.
    pub log_stalled: bool,
    /// Whether a role is quarantined.
    pub quarantined: bool,
    /// Whether this log was rolled back or lost (M1).
    pub forgetful: bool,
    /// The roster in force.
    pub roster: Roster,
    /// All winners known, by term.
    pub history: Vec<Announcement>,
    /// The verdict about the newest winner.
    pub verdict: Verdict,
    /// What it was last seen to do.
    pub evidence: Option<ProbeReport>,
    /// The highest vote.
    pub voted: Option<Vote>,
    /// The highest freeze promise; gone once a winner of its term or above is followed.
    pub freeze: Option<Freeze>,
    /// The highest term of any freeze promise, kept for ever.
    pub term_frozen: Term,
    /// The standing promise.
    pub promise: Option<Promise>,
    /// The record of the last grant or vote that had to be flushed; until it is known to be, every
    /// grant has to be (L5): a renewal must not overtake the promise it renews.
    pub bound_at: Seq,
    /// The record of the last winner that was learned or announced: a grant to it has to be flushed with
    /// it (L5).
    pub winner_at: Seq,
    /// The record of the last own announcement: nobody is told of it before it is flushed (E8).
    pub announced_at: Seq,
    /// Revision of the deciding code that records now: later revisions fold some things differently.
    pub revision: u32,
    /// The last roster that this member accepted for a proposer (M1).
    pub roster_agreed: Option<Roster>,
    /// The silence that a log owes that was registered anew: it may have forgotten such a promise (M1).
    pub silence_owed: Nanos,
    /// Every term up to this one was released or superseded (L8).
    pub released: Term,
    /// The longest promise ever asked (L4).
    pub promise_longest: Nanos,
    /// Neither votes nor grants to another before this (L4).
    pub silent_until: BootNanos,
    /// The pause in force.
    pub paused: Option<PauseId>,
    /// The own pause that a quorum agreed to: only that one protects (M3).
    pub pause_confirmed: Option<PauseId>,
    /// The last pause that ended.
    pub resumed: Option<PauseId>,
    /// The line of history of the local data.
    pub lineage: Option<Lineage>,
    /// The winner that the local PostgreSQL was last attached to by this member: its newer timelines come from
    /// there (E3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<Term>,
    /// When the local PostgreSQL last answered.
    #[serde(default, skip_serializing_if = "never")]
    pub answered_at: BootNanos,
    /// Since when this process has not stood still: what it is told before and right after is of any age.
    #[serde(default, skip_serializing_if = "never")]
    pub awake_since: BootNanos,
    /// When a receiver was last known to be there until a freeze ended it: only then does who it streamed from tell whose
    /// line the frozen data is on (E3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streamed_until_frozen: Option<BootNanos>,
    /// The last record told of a freeze.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub just_frozen: bool,
    /// The local data was seen to be off the announced history, whatever its timeline's number (E3).
    pub strayed: bool,
    /// The last promotion that was ordered here.
    pub promotion_ordered: Option<Term>,
    /// When the last promotion failed here.
    pub promotion_failed_at: Option<BootNanos>,
    /// The term whose primary this member is, from winning it until its release.
    pub tenure: Option<Term>,
    /// The lease it holds.
    pub lease: Option<Lease>,
    /// The local PostgreSQL.
    pub local: Local,
    /// Peers, in membership order; this member's own entry stays empty.
    pub peers: Vec<Peer>,
    /// The furthest primary position heard, and in which term.
    pub primary_lsn: Option<(Term, Lsn)>,
    /// What the local standby last said, also after its end: what may be lost with it (E7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_answer: Option<Answer>,
}

impl Ledger {
    /// Makes the ledger of a member without history.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let members = settings.members.len();
        Self {
            settings,
            process: ProcessIdentity::default(),
            now: BootNanos(0),
            started_at: BootNanos(0),
            flushed: Seq(0),
            log_stalled: false,
            quarantined: false,
            forgetful: false,
            roster: Roster::default(),
            history: Vec::new(),
            verdict: Verdict::Unknown,
            evidence: None,
            voted: None,
            freeze: None,
            term_frozen: Term(0),
            promise: None,
            bound_at: Seq(0),
            winner_at: Seq(0),
            announced_at: Seq(0),
            revision: 0,
            roster_agreed: None,
            silence_owed: Nanos(0),
            released: Term(0),
            promise_longest: Nanos(0),
            silent_until: BootNanos(0),
            paused: None,
            pause_confirmed: None,
            resumed: None,
            lineage: None,
            attached: None,
            answered_at: BootNanos(0),
            awake_since: BootNanos(0),
            streamed_until_frozen: None,
            just_frozen: false,
            strayed: false,
            promotion_ordered: None,
            promotion_failed_at: None,
            tenure: None,
            lease: None,
            local: Local::default(),
            peers: vec![Peer::default(); members],
            primary_lsn: None,
            last_answer: None,
        }
    }

    // ---- questions ------------------------------------------------------------------------

    /// Returns this member's number.
    #[must_use]
    pub fn me(&self) -> MemberId {
        self.settings.me
    }

    /// Returns the newest winner known.
    #[must_use]
    pub fn announced(&self) -> Option<&Announcement> {
        self.history.last()
    }

    /// Returns the newest winner that others may be told of: an own announcement that a crash may still
    /// take back is not told (E8).
    #[must_use]
    pub fn told(&self) -> Option<&Announcement> {
        let kept = |a: &&Announcement| a.primary != self.me() || self.announced_at <= self.flushed;
        match self.history.last() {
            Some(newest) if kept(&newest) => Some(newest),
            Some(newest) => self.history.iter().rev().find(|a| a.term < newest.term),
            None => None,
        }
    }

    /// Returns whether the cluster is paused for this member as its primary, with a quorum's consent:
    /// nobody need fence (M3).
    #[must_use]
    pub fn pause_protects(&self) -> bool {
        let confirmed = |p| self.pause_confirmed == Some(p) || planted(Plant::PauseUnconfirmed);
        self.paused.is_some_and(|p| p.primary == self.me() && confirmed(p))
    }

    /// Returns the number for the next pause: it grows within this member's log, restarts included.
    #[must_use]
    pub fn next_pause_number(&self, at_least: u64) -> u64 {
        let known = [self.paused, self.resumed, self.pause_confirmed];
        let highest = known.into_iter().flatten().filter(|p| p.primary == self.me()).map(|p| p.number).max();
        highest.map_or(at_least, |n| n.max(at_least)).saturating_add(1)
    }

    /// Returns the newest winner's term, 0 without history.
    #[must_use]
    pub fn announced_term(&self) -> Term {
        self.announced().map_or(Term(0), |a| a.term)
    }

    /// Returns the newest winner.
    #[must_use]
    pub fn primary(&self) -> Option<MemberId> {
        self.announced().map(|a| a.primary)
    }

    /// Returns the highest term this member voted, froze or knows a winner in.
    #[must_use]
    pub fn term_seen(&self) -> Term {
        self.voted.map_or(Term(0), |v| v.ask.term).max(self.term_frozen).max(self.announced_term())
    }

    /// Returns the highest term that this member or a peer is heard to have seen.
    #[must_use]
    pub fn term_heard(&self) -> Term {
        let peers = self.peers.iter().filter_map(|p| p.heartbeat.as_ref()).map(|h| h.term_seen).max();
        self.term_seen().max(peers.unwrap_or(Term(0)))
    }

    /// Returns whether leases are used at all (L10).
    #[must_use]
    pub fn leases(&self) -> bool {
        self.settings.fencing != Fencing::Off
    }

    /// Returns whether this member holds a lease that stands now.
    #[must_use]
    pub fn lease_stands(&self) -> bool {
        match (self.tenure, self.lease) {
            (Some(_), _) if !self.leases() => true,
            (Some(term), Some(lease)) => lease.term == term && self.now < lease.until,
            (_, None) | (None, _) => false,
        }
    }

    /// Whether no other PostgreSQL than that of `but` accepts writes though nobody was ever announced: no lease
    /// bounds it, and no verdict is about it (E10). Each is known by the daemon beside it, or not known.
    ///
    /// # Errors
    /// That one is seen to accept writes, or may for all that is known.
    pub fn no_unled_writer_but(&self, but: MemberId) -> Result<(), Refusal> {
        if self.announced().is_some() {
            return Ok(());
        }
        let told = |m: MemberId| match m == self.me() {
            true => self.postgres_state(),
            false => self.heartbeat(m).and_then(|h| h.postgres),
        };
        let mut others = self.settings.ids().filter(|m| *m != but && !self.settings.is_witness(*m));
        if others.clone().any(|m| told(m).is_some_and(|p| p.in_recovery == Some(false))) {
            return Err(Refusal::SeesPrimary(Verdict::Reachable));
        }
        // D3: "not looked at yet" and "starting up" are not "gone".
        let unknown = |m: &MemberId| told(*m).is_none_or(|p| p.alive && p.in_recovery.is_none());
        match others.find(|m| self.revision >= 4 && !planted(Plant::UnseenIsGone) && unknown(m)) {
            Some(member) if member != self.me() && self.heartbeat(member).is_none() => {
                Err(Refusal::MemberUnheard { member })
            }
            Some(member) => Err(Refusal::PostgresUnknown { member }),
            None => Ok(()),
        }
    }

    /// Returns a peer's heartbeat, if it is connected and was heard lately.
    #[must_use]
    pub fn heartbeat(&self, member: MemberId) -> Option<&Heartbeat> {
        let peer = self.peer(member)?;
        let oldest = HEARTBEAT_FRESH_INTERVALS * self.settings.heartbeat_interval.0;
        if !peer.connected || self.now.nanos_since(peer.heard_at) > oldest {
            return None;
        }
        peer.heartbeat.as_deref()
    }

    /// Returns whether a member's heartbeat was heard since this process started: it tells how far the
    /// others remember this log to be flushed (M1).
    #[must_use]
    pub fn heard_from(&self, member: MemberId) -> bool {
        member == self.me() || self.peer(member).is_some_and(|p| p.heartbeat.is_some())
    }

    /// Returns a peer.
    #[must_use]
    pub fn peer(&self, member: MemberId) -> Option<&Peer> {
        self.peers.get(usize::from(member.0))
    }

    /// Returns the cluster's system identifier, once a primary was announced.
    #[must_use]
    pub fn system_id(&self) -> Option<crate::core::SystemId> {
        self.announced().map(|a| a.system_id)
    }

    /// Returns whether the daemon may vouch for the local PostgreSQL: it lives, though it may not
    /// answer everybody (D2).
    #[must_use]
    pub fn vouches(&self) -> bool {
        self.local.runs == Some(true)
            && matches!(self.local.report, Some(ProbeReport::Answered(_) | ProbeReport::Alive(_)))
    }

    /// Returns the local PostgreSQL as heartbeats tell it: nothing, as long as nothing is known of it. One that is
    /// known not to run is told as such.
    #[must_use]
    pub fn postgres_state(&self) -> Option<PostgresState> {
        if !self.settings.has_postgres() {
            return None;
        }
        let answer = self.answer();
        let known = answer.is_some() || self.vouches() || self.local.runs == Some(false);
        if !known && self.revision >= 4 && !planted(Plant::UnseenIsGone) {
            return None;
        }
        Some(PostgresState {
            alive: self.vouches(),
            in_recovery: answer.map(|a| a.in_recovery),
            sealed: self.local.sealed,
            streaming: answer.is_some_and(|a| a.streaming),
            system_id: answer.map(|a| a.system_id),
            timeline: answer.and_then(|a| a.timeline).or(self.lineage.map(|l| l.timeline)),
            received: answer.and_then(|a| a.received),
            replayed: answer.and_then(|a| a.replayed),
        })
    }
}

fn never(at: &BootNanos) -> bool {
    at.0 == 0
}
