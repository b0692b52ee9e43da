//! What of a ledger tells two futures of a member apart: its hash. Left out are the settings, which do
//! not change within a run, and what only dates or explains: the clock, the log's numbers (but for whether
//! a promise still waits for its flush), evidence, and of a peer's heartbeat what no decision reads
//! once a primary was adopted. Equal ledgers have equal hashes; the reverse is not promised.

use super::{Ledger, Peer};
use std::hash::{Hash, Hasher};

impl Hash for Ledger {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.process.hash(state);
        self.started_at.hash(state);
        (self.bound_at > self.flushed).hash(state);
        (self.log_stalled, self.quarantined, self.forgetful).hash(state);
        self.roster.hash(state);
        self.history.hash(state);
        self.verdict.hash(state);
        (&self.voted, &self.freeze, self.term_frozen).hash(state);
        (&self.promise, self.released, self.promise_longest, self.silent_until).hash(state);
        (&self.paused, &self.pause_confirmed, &self.resumed).hash(state);
        (&self.lineage, self.attached, self.strayed).hash(state);
        (&self.promotion_ordered, &self.promotion_failed_at).hash(state);
        (&self.tenure, &self.lease).hash(state);
        self.local.hash(state);
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
