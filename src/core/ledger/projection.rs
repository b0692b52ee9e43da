//! What of a ledger tells things apart. Its hash is for identity: left out are the settings, which do not
//! change within a run, and what only dates or explains. Its shape is for the future: also left out are
//! numbers that only name, and instants that have passed are all the same.

use super::{FAILED_PROMOTION_RETRIES, Ledger, Peer};
use crate::core::{Shape, request};
use crate::events::{FreezeOutcome, ProbeReport};
use std::hash::{Hash, Hasher};

impl Hash for Ledger {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.process.hash(state);
        self.started_at.hash(state);
        self.unflushed().hash(state);
        (self.log_stalled, self.quarantined, self.forgetful, self.revision).hash(state);
        (&self.roster, &self.roster_agreed, self.silence_owed).hash(state);
        self.history.hash(state);
        self.verdict.hash(state);
        (&self.voted, &self.freeze, self.term_frozen).hash(state);
        (&self.promise, self.released, self.promise_longest, self.silent_until).hash(state);
        (&self.paused, &self.pause_confirmed, &self.resumed).hash(state);
        (&self.lineage, self.attached, self.strayed).hash(state);
        (&self.promotion_ordered, &self.promotion_failed_at).hash(state);
        (&self.tenure, &self.lease).hash(state);
        (&self.local, &self.last_answer, self.streamed_until_frozen.is_some()).hash(state);
        self.peers.hash(state);
    }
}

impl Hash for Peer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.connected.hash(state);
        self.verdict.hash(state);
        if let Some(h) = &self.heartbeat {
            (h.announced, h.verdict, h.term_seen).hash(state);
            (h.roster_number, h.incarnation).hash(state);
            h.postgres.is_some_and(|p| p.alive).hash(state);
        }
    }
}

impl Ledger {
    /// What is known not to be flushed yet: a binding grant, a winner, an own announcement.
    pub(crate) fn unflushed(&self) -> (bool, bool, bool) {
        let not = |at| at > self.flushed;
        (not(self.bound_at), not(self.winner_at), not(self.announced_at))
    }

    /// Takes its shape, for one that has a history (before the first primary, heartbeats tell more), and in
    /// which every heartbeat that was heard counts as fresh.
    pub(crate) fn project(&self, s: &mut Shape<'_>) {
        s.put("process", self.process);
        s.put("unflushed", self.unflushed());
        s.put("ability", (self.log_stalled, self.quarantined, self.forgetful));
        s.put("roster", (&self.roster, &self.roster_agreed, self.silence_owed));
        s.put("history", &self.history);
        s.put("verdict", self.verdict);
        s.put("voted", self.voted.map(|v| (v.candidate, request(&v.ask))));
        s.put("term_frozen", self.term_frozen);
        if let Some(f) = &self.freeze {
            let outcome = f.outcome.as_ref().map(|o| match o {
                FreezeOutcome::NotObserved { .. } => None,
                FreezeOutcome::NothingRuns => Some(None),
                other => Some(other.frozen().map(|f| (f.lsn, f.settled, f.timeline, f.system_id))),
            });
            s.put("freeze", (f.term, outcome));
        }
        if let Some(p) = &self.promise {
            // A candidacy that ends takes back the promise of its vote, not a later one.
            let of_vote = self.voted.is_some_and(|v| v.ask.number == p.number);
            s.put("promise", (p.holder, p.term, of_vote));
        }
        s.maybe("promise_until", self.promise.map(|p| p.until));
        s.put("released", self.released);
        s.put("promise_longest", self.promise_longest);
        s.instant("silent_until", self.silent_until);
        s.put("paused", (&self.paused, &self.pause_confirmed, &self.resumed));
        s.put("lineage", (&self.lineage, self.attached, self.strayed));
        s.put("promotion_ordered", self.promotion_ordered);
        let pause = FAILED_PROMOTION_RETRIES * self.settings.retry_interval.0;
        s.maybe("promotion_failed_at", self.promotion_failed_at.map(|at| at.plus_nanos(pause)));
        s.put("tenure", self.tenure);
        s.put("lease", self.lease.map(|l| l.term));
        s.maybe("lease_until", self.lease.map(|l| l.until));
        let l = &self.local;
        let signs = matches!(l.report, Some(ProbeReport::Answered(_) | ProbeReport::Alive(_)));
        s.put("local", (l.runs, l.sealed, l.report.is_some(), signs, l.started_since_fence));
        s.put("answer", (l.answer, l.receiver_ran_in, l.last_started, l.sender));
        // That an answer is old matters after some heartbeats, which no interval of ever ends there.
        s.put("last_answer", self.last_answer);
        let evidence = 2 * self.settings.freeze_timeout.0 + 1;
        s.maybe("last_answer", self.streamed_until_frozen.map(|at| at.plus_nanos(evidence)));
        for p in &self.peers {
            self.project_peer(p, s);
        }
    }

    fn project_peer(&self, p: &Peer, s: &mut Shape<'_>) {
        // What is said of an older primary counts for nothing, and the newest one's term only grows.
        let verdict = p.verdict.filter(|v| v.0 >= self.announced_term());
        s.put("peer_verdict", (p.connected, verdict.map(|(term, v)| (term, v.is_down()))));
        let h = p.heartbeat.as_ref();
        let above = h.map(|h| h.term_seen).filter(|t| *t > self.term_seen().max(self.released));
        s.put("peer_term", above);
        s.put("peer", h.map(|h| (h.incarnation, h.postgres.is_some_and(|p| p.alive))));
    }
}
