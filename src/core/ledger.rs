//! The ledger: what one member knows, folded from its log. Every role keeps its own copy and reads
//! facts from it; it decides nothing.
//!
//! Volatile parts (connections, heartbeats, the local PostgreSQL) are emptied by each process start;
//! binding parts (votes, promises, rosters, announcements) are not.

mod folding;
mod projection;

use crate::core::{BootNanos, Lsn, MemberId, Nanos, Plant, Quorum, Term, Timeline, planted};
use crate::events::{
    Ability, Announcement, Answer, Fencing, FlushedMark, FreezeOutcome, Frozen, Heartbeat, LeaseAsk, Lineage,
    PauseId, Position, PostgresState, ProbeReport, ProcessIdentity, Refusal, Roster, Settings, Unelectable,
    Verdict,
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

    /// Returns the quorum sizes.
    #[must_use]
    pub fn quorum(&self) -> Quorum {
        let quorum = Quorum::of(&self.settings);
        if planted(Plant::SeatLeftOut) {
            return Quorum { voters: quorum.voters - 1 };
        }
        if planted(Plant::QuorumOfVisible) {
            return Quorum { voters: 1 + self.peers.iter().filter(|p| p.connected).count() };
        }
        quorum
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

    /// Returns whether another PostgreSQL than that of `but` is known to accept writes though nobody was ever
    /// announced: no lease bounds it, and no verdict is about it (E10).
    #[must_use]
    pub fn knows_unled_writer_but(&self, but: MemberId) -> bool {
        let writes = |m: MemberId| match m == self.me() {
            true => self.is_writable(),
            false => self.heartbeat(m).and_then(|h| h.postgres).is_some_and(|p| p.in_recovery == Some(false)),
        };
        self.announced().is_none() && self.settings.ids().any(|m| m != but && writes(m))
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

    /// Returns the voters known to hold the announced primary down, this member included (L3, E1).
    #[must_use]
    pub fn holders_of_down(&self) -> Vec<MemberId> {
        let term = self.announced_term();
        let fresh = HEARTBEAT_FRESH_INTERVALS * self.settings.heartbeat_interval.0;
        self.settings
            .ids()
            .filter(|m| self.settings.votes(*m))
            .filter(|m| {
                if *m == self.me() {
                    return self.verdict.is_down();
                }
                self.peer(*m).is_some_and(|p| {
                    p.connected
                        && self.now.nanos_since(p.heard_at) <= fresh
                        && p.verdict.is_some_and(|(t, v)| t == term && v.is_down())
                })
            })
            .collect()
    }

    /// Returns whether a quorum is known to hold the announced primary down.
    #[must_use]
    pub fn quorum_holds_down(&self) -> bool {
        self.holders_of_down().len() >= self.quorum().needed()
    }

    /// Returns whether nobody is registered because nobody ever led. A member that knows a winner, but
    /// not the roster that came with it, has missed it: then nobody counts as registered.
    #[must_use]
    pub fn before_rosters(&self) -> bool {
        self.roster.number == 0 && self.history.is_empty()
    }

    /// Returns whether this member's log is the registered one (M1). Before the first winner there is
    /// nothing to be registered in.
    #[must_use]
    pub fn registered(&self) -> bool {
        if planted(Plant::ForgetfulVotes) {
            return true;
        }
        !self.forgetful
            && (self.before_rosters()
                || self.roster.incarnations.get(usize::from(self.me().0)).copied().flatten()
                    == Some(self.process.incarnation))
    }

    /// Returns whether a peer's log is the registered one.
    #[must_use]
    pub fn peer_registered(&self, member: MemberId, process: &ProcessIdentity) -> bool {
        planted(Plant::ForgetfulVotes)
            || self.before_rosters()
            || self.roster.incarnations.get(usize::from(member.0)).copied().flatten()
                == Some(process.incarnation)
    }

    /// Returns the time left of the silence after a restart (L4).
    #[must_use]
    pub fn silence_left(&self) -> Nanos {
        Nanos(self.silent_until.nanos_since(self.now))
    }

    /// Returns the standing promise.
    #[must_use]
    pub fn standing_promise(&self) -> Option<&Promise> {
        self.promise.as_ref().filter(|p| self.now < p.until)
    }

    /// Returns whether this member could vote, the verdict and promises aside.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn ability(&self) -> Ability {
        self.ability_but(|_| false)
    }

    /// As [`Ledger::ability`], some reasons waived: each hides none that comes behind it.
    ///
    /// # Errors
    /// The first reason that is not waived.
    pub fn ability_but(&self, waived: impl Fn(&Refusal) -> bool) -> Ability {
        let silent = self.silence_left() > Nanos(0);
        let reasons = [
            (!self.settings.votes(self.me()), Refusal::NoVoter),
            (!self.registered(), Refusal::NotRegistered),
            (self.log_stalled, Refusal::LogStalled),
            (self.quarantined, Refusal::Quarantined),
            (self.paused.is_some() && !planted(Plant::VotesWhilePaused), Refusal::Paused),
            (silent, Refusal::SilentAfterRestart { left: self.silence_left() }),
        ];
        let first = reasons.into_iter().find(|(holds, why)| *holds && !waived(why));
        first.map_or(Ok(()), |(_, why)| Err(why))
    }

    /// Returns the local PostgreSQL's answer, if it is up.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match self.local.runs {
            Some(false) => None,
            _ => self.local.answer.as_ref(),
        }
    }

    /// Returns whether the local position counts (E4): its receiver ran since the postmaster
    /// started, or replay has reached the end of local WAL.
    #[must_use]
    pub fn settled(&self) -> bool {
        if planted(Plant::UnsettledCounts) {
            return self.answer().is_some();
        }
        self.answer()
            .is_some_and(|a| self.local.receiver_ran_in == Some(a.postmaster_started) || a.waits_for_wal)
    }

    /// Returns the rough position: it only orders candidates (E1).
    #[must_use]
    pub fn rough_position(&self) -> Option<Position> {
        if self.diverged() {
            return None;
        }
        let answer = self.answer()?;
        Some(Position { lineage: self.lineage_on(answer.timeline)?, lsn: answer.lsn()? })
    }

    /// Returns where the local standby stood when it last answered this process, though nothing of it may run.
    #[must_use]
    pub fn last_position(&self) -> Option<Position> {
        let answer = self.last_answer.filter(|_| !self.diverged())?;
        Some(Position { lineage: self.lineage_on(answer.timeline)?, lsn: answer.lsn()? })
    }

    /// Returns the frozen position for a term, if it was observed and counts (E2, E4).
    #[must_use]
    pub fn frozen_position(&self, term: Term) -> Option<Position> {
        let freeze = self.freeze.as_ref().filter(|f| f.term >= term)?;
        if planted(Plant::PreVotePositionCounts) {
            return self.rough_position();
        }
        match freeze.outcome.as_ref()?.frozen()? {
            Frozen { lsn: Some(lsn), settled: true, timeline, .. } if !self.diverged() => {
                Some(Position { lineage: self.lineage_on(timeline)?, lsn })
            }
            _ => None,
        }
    }

    /// E3: the line of history of local data that was seen on a timeline. PostgreSQL may have switched
    /// to a winner's before the daemon confirmed it; but a number says which line only of data that came
    /// from that winner: another member may have been promoted to the same number and never announced.
    fn lineage_on(&self, seen: Option<Timeline>) -> Option<Lineage> {
        let mine = self.lineage?;
        let Some(timeline) = seen.filter(|t| *t > mine.timeline) else { return Some(mine) };
        let by_number = planted(Plant::TimelineNumberTrusted) || planted(Plant::DivergedFollows);
        if self.revision >= 3 && !by_number {
            let attached = self.history.iter().find(|a| Some(a.term) == self.attached);
            let sends = self.announced().filter(|a| self.sender() == Some(a.primary));
            let mut sources = attached.into_iter().chain(sends);
            return sources
                .find_map(|w| self.line_under(w.lineage, timeline))
                .filter(|l| l.opened > mine.opened);
        }
        // Revision 2 trusted the number, if one winner alone had opened it.
        let mut opened = self.history.iter().map(|a| a.lineage);
        let found = opened.find(|l| l.timeline == timeline && l.opened > mine.opened)?;
        let another = opened.any(|l| l.timeline == timeline && l != found);
        (!another).then_some(found)
    }

    /// Whom the local WAL receiver streams from, while there is one.
    #[must_use]
    pub fn sender(&self) -> Option<MemberId> {
        self.answer().filter(|a| a.in_recovery && a.receiver).and(self.local.sender)
    }

    /// Returns the line of a timeline number among a line and those it came off.
    fn line_under(&self, tip: Lineage, timeline: Timeline) -> Option<Lineage> {
        let mut line = tip;
        for winner in self.history.iter().rev() {
            if line.timeline <= timeline {
                break;
            }
            if winner.lineage == line
                && let Some((parent, _)) = winner.forked
            {
                line = parent;
            }
        }
        (line.timeline == timeline).then_some(line)
    }

    /// Returns whether the local PostgreSQL streams on the line of this winner, and what it streams is known to
    /// be that line, whatever its data was before: told to follow it, or set up so by the operator (E3).
    #[must_use]
    pub fn streams_line_of(&self, winner: &Announcement) -> bool {
        let Some(answer) = self.answer().filter(|a| a.in_recovery && a.streaming) else { return false };
        answer.timeline == Some(winner.lineage.timeline)
            && (self.sender() == Some(winner.primary)
                || !self.diverged() && self.lineage_on(answer.timeline) == Some(winner.lineage))
    }

    /// Returns the line of history of the first primary, unless a later one alone is known.
    #[must_use]
    pub fn first_line(&self) -> Option<Lineage> {
        let first = self.history.first().filter(|a| a.forked.is_none() && a.lineage.opened == a.term)?;
        Some(first.lineage)
    }

    /// Returns whether winners are known, but not all of them: neither the first, nor so many that it was dropped.
    #[must_use]
    pub fn misses_winners(&self) -> bool {
        !self.history.is_empty() && self.history.len() < HISTORY_MAX && self.first_line().is_none()
    }

    /// Returns whether the local data is on a timeline that no promotion under pgfo can have made twice.
    #[must_use]
    pub fn before_any_fork(&self) -> bool {
        let frozen = self.frozen_at().and_then(|f| f.timeline);
        let seen = self.answer().and_then(|a| a.timeline).max(frozen);
        seen.zip(self.first_line()).is_some_and(|(seen, first)| seen <= first.timeline)
    }

    /// Returns where a freeze that stands was observed to have stopped (E2).
    #[must_use]
    pub fn frozen_at(&self) -> Option<Frozen> {
        self.freeze.as_ref()?.outcome.as_ref()?.frozen()
    }

    /// E3: the standby was seen on a timeline that nobody announced.
    fn on_unknown_timeline(&self) -> bool {
        if self.tenure.is_some() || self.lineage.is_none() {
            return false;
        }
        let frozen = self.frozen_at().and_then(|f| f.timeline);
        let seen = self.answer().filter(|a| a.in_recovery).and_then(|a| a.timeline).max(frozen);
        self.lineage_on(seen).is_none()
    }

    /// Returns whether a promotion was ordered here that did not become the announced one (E3).
    #[must_use]
    pub fn diverged(&self) -> bool {
        if planted(Plant::DivergedFollows) {
            return false;
        }
        if self.strayed || self.on_unknown_timeline() {
            return true;
        }
        match self.promotion_ordered {
            Some(term) if self.tenure == Some(term) => false,
            Some(term) => !self.history.iter().any(|a| a.term == term && a.primary == self.me()),
            None => false,
        }
    }

    /// Returns the cluster's system identifier, once a primary was announced.
    #[must_use]
    pub fn system_id(&self) -> Option<crate::core::SystemId> {
        self.announced().map(|a| a.system_id)
    }

    /// Returns whether this member could be promoted (E5).
    ///
    /// # Errors
    /// The first reason why not, the permanent ones first.
    pub fn electable(&self) -> Result<(), Unelectable> {
        if !self.settings.has_postgres() {
            return Err(Unelectable::Witness);
        }
        if self.tenure.is_some() {
            return Err(Unelectable::Primary);
        }
        if !self.registered() {
            return Err(Unelectable::NotRegistered);
        }
        let answer = self.answer().filter(|a| a.in_recovery).ok_or(Unelectable::PostgresDown)?;
        if self.system_id().is_some_and(|id| id != answer.system_id) {
            return Err(Unelectable::OtherSystem);
        }
        if self.lineage.is_none() {
            return Err(Unelectable::LineageUnknown);
        }
        if self.diverged() {
            return Err(Unelectable::Diverged);
        }
        if self.promotion_failed_lately() {
            return Err(Unelectable::PromotionFailed);
        }
        if !self.settled() {
            return Err(Unelectable::Unsettled);
        }
        if self.settings.priority == 0 {
            return Err(Unelectable::PriorityZero);
        }
        if self.paused.is_some() && !planted(Plant::VotesWhilePaused) {
            return Err(Unelectable::Paused);
        }
        if self.log_stalled {
            return Err(Unelectable::LogStalled);
        }
        if self.quarantined {
            return Err(Unelectable::Quarantined);
        }
        if let Some(behind_bytes) = self.behind_bytes()
            && self.settings.lag_bytes_max.is_some_and(|max| behind_bytes > max)
        {
            return Err(Unelectable::Lagging { behind_bytes });
        }
        if !self.settings.automatic {
            return Err(Unelectable::Manual);
        }
        Ok(())
    }

    /// Returns the bytes the last heard primary position is ahead of this member.
    #[must_use]
    pub fn behind_bytes(&self) -> Option<u64> {
        let (term, heard) = self.primary_lsn?;
        if term != self.announced_term() {
            return None;
        }
        Some(heard.bytes_since(self.answer()?.lsn()?))
    }

    fn promotion_failed_lately(&self) -> bool {
        let pause = FAILED_PROMOTION_RETRIES * self.settings.retry_interval.0;
        self.promotion_failed_at.is_some_and(|at| self.now.nanos_since(at) < pause)
    }

    /// Returns whether the daemon may vouch for the local PostgreSQL: it lives, though it may not
    /// answer everybody (D2).
    #[must_use]
    pub fn vouches(&self) -> bool {
        self.local.runs == Some(true)
            && matches!(self.local.report, Some(ProbeReport::Answered(_) | ProbeReport::Alive(_)))
    }

    /// Returns the local PostgreSQL as heartbeats tell it.
    #[must_use]
    pub fn postgres_state(&self) -> Option<PostgresState> {
        if !self.settings.has_postgres() {
            return None;
        }
        let answer = self.answer();
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

    /// Returns where local data left the announced history, in bytes past the fork; 0 if the
    /// announced primary can be followed as it is.
    #[must_use]
    pub fn past_fork_bytes(&self) -> Option<u64> {
        if self.diverged() {
            // E3: its data may be on a line that nobody announced, though under a number that looks right.
            return None;
        }
        let newest = self.announced()?;
        // What a freeze observed is later than the last probe, and stands still (E2).
        let frozen = self.frozen_at().filter(|_| self.revision >= 3);
        let lsn = self.answer()?.lsn().max(frozen.and_then(|f| f.lsn))?;
        let mine = self.lineage_on(self.answer()?.timeline.max(frozen.and_then(|f| f.timeline)))?;
        if mine == newest.lineage {
            return Some(0);
        }
        let mut line = newest.lineage;
        for winner in self.history.iter().rev() {
            if winner.lineage != line {
                continue;
            }
            let Some((parent, at)) = winner.forked else { continue };
            if parent == mine {
                return Some(lsn.bytes_since(at));
            }
            line = parent;
        }
        None
    }
}
