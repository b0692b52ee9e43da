//! The voter's shape.

use super::Voter;
use crate::core::{Shape, request};

impl Voter {
    /// Takes its shape, the ledger's aside.
    pub(crate) fn project(&self, s: &mut Shape<'_>) {
        let pending = self.pending.as_ref().map(|(from, v)| {
            (*from, v.kind, request(&v.ask), v.position, v.system_id, &v.roster, v.accepts_loss)
        });
        s.put("pending", pending);
        s.put("refused_freeze", self.refused_freeze);
        // Who asked is told once: when the freeze is observed that this process ordered.
        let asked = self.ledger.freeze.as_ref().filter(|f| self.freezing && f.outcome.is_none());
        s.put("freezing", asked.map(|f| (f.candidate, f.nonce)));
        s.put("freezing", (self.freezing, self.frozen_in, self.catching_up));
        s.put("stopping", (self.stopping, self.flush_unknown, self.renewal_owed, self.guard_armed));
    }
}
