//! The escalation tracker's shape.

use super::EscalationTracker;
use crate::core::Shape;

impl EscalationTracker {
    /// Takes its shape, the ledger's aside.
    pub(crate) fn project(&self, s: &mut Shape<'_>) {
        s.put("escalation", self.escalation.map(|e| (e.ordered, e.failed, e.discounted)));
        s.maybe("escalation", self.escalation.map(|e| e.next_at));
        s.maybe("escalation", self.sign_since.map(|since| self.sign_ends(since)));
        s.put("escalation", self.confirmed_started);
    }
}
