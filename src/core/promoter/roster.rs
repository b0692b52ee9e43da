//! Rosters: the lease holder registers a member's new log, once a quorum of others has flushed it
//! (M1).

use super::{Promoter, Proposal, decided, heard};
use crate::core::{BootNanos, Incarnation, MemberId, Nanos, Term};
use crate::events::{Decision, Event, Message, Observation, Roster};

/// So often a proposal is sent under one number.
const SENT_MAX: u8 = 3;

impl Promoter {
    pub(super) fn roster_observed(&mut self, observation: &Observation) {
        if let Some((from, Message::Heartbeat(h))) = heard(observation)
            && self.is_stranger(from, h.incarnation)
            && self.strangers.get(&from).is_none_or(|(known, _)| *known != h.incarnation)
        {
            // L6: a lease that was taken over from the process before may last longer than what this one asks for, and
            // nobody knows any more who granted it.
            let lease = self.ledger.lease.filter(|lease| self.ledger.tenure == Some(lease.term));
            let ends_at = lease.map_or(0, |lease| lease.until.0.saturating_sub(self.longest_owed().0));
            self.strangers.insert(from, (h.incarnation, self.now().max(BootNanos(ends_at))));
        }
        let Some(p) = &mut self.proposal else { return };
        match heard(observation) {
            // M1: an acceptance is of one content; another proposal may have borne the same number.
            Some((from, Message::RosterAgreed { roster, voted }))
                if *roster == p.roster && from != p.member =>
            {
                p.accepted.insert(from, *voted);
            }
            // Revision 1 named the number only.
            Some((from, Message::RosterAccepted { number, voted }))
                if *number == p.roster.number && from != p.member && self.ledger.revision < 2 =>
            {
                p.accepted.insert(from, *voted);
            }
            _ => {}
        }
    }

    pub(super) fn roster_decided(&mut self, decision: &Decision) {
        let me = self.ledger.me();
        match decision {
            Decision::RosterProposed(roster) => {
                let again =
                    self.ledger.revision >= 2 && self.proposal.as_ref().is_some_and(|p| p.roster == *roster);
                if let (true, Some(p)) = (again, &mut self.proposal) {
                    p.sent = p.sent.saturating_add(1);
                    return;
                }
                let member = self.changed_member(roster).unwrap_or(me);
                self.proposal = Some(Proposal {
                    roster: roster.clone(),
                    member,
                    accepted: std::collections::BTreeMap::new(),
                    sent: 1,
                });
            }
            Decision::RosterAccepted { to, roster, voted } if *to == me => {
                if let Some(p) = self.proposal.as_mut().filter(|p| p.roster == *roster) {
                    p.accepted.insert(me, *voted);
                }
            }
            Decision::RosterAdopted(_) => {
                self.proposal = None;
                let mut strangers = std::mem::take(&mut self.strangers);
                strangers.retain(|m, (log, _)| self.is_stranger(*m, *log));
                self.strangers = strangers;
            }
            _ => {}
        }
    }

    /// Whether a member's log is another one than the registered one.
    fn is_stranger(&self, member: MemberId, log: Incarnation) -> bool {
        let registered = self.ledger.roster.incarnations.get(usize::from(member.0)).copied().flatten();
        self.ledger.roster.number > 0 && registered != Some(log)
    }

    /// M1, L4: from when on a new log may be proposed. What it forgot was promised to, or voted for, with
    /// durations that its own settings need not tell: while this lease stands no other can, so none that it
    /// forgot outlasts the longest that was asked for here.
    pub(super) fn owes_until(&self, member: MemberId, log: Incarnation) -> Option<BootNanos> {
        let (_, since) = self.strangers.get(&member).filter(|(known, _)| *known == log)?;
        // A holder without a vote grants itself nothing: what it asked for, and counts on, is with the grants alone.
        let counted = self.grants.get(usize::from(member.0)).copied().unwrap_or_default();
        Some(since.plus_nanos(self.longest_owed().0).max(counted))
    }

    fn longest_owed(&self) -> Nanos {
        let l = &self.ledger;
        let longest = l.promise_longest.max(l.silence_owed);
        let longest = longest.max(l.settings.lease_duration).max(l.settings.freeze_timeout);
        // The other clock may run 2 % slower.
        Nanos(longest.0 + longest.0 / 50)
    }

    fn changed_member(&self, roster: &Roster) -> Option<MemberId> {
        self.settings().ids().find(|m| {
            roster.incarnations.get(usize::from(m.0)) != self.ledger.roster.incarnations.get(usize::from(m.0))
        })
    }

    pub(super) fn decide_roster(&self, observation: &Observation, out: &mut Vec<Event>) {
        match observation {
            Observation::HeartbeatDue { .. } => self.propose_roster(out),
            Observation::MessageReceived { message: Message::RosterAgreed { .. }, .. } => {
                self.commit_roster(out)
            }
            _ => {}
        }
    }

    /// One member at a time; a proposal that was not accepted yet is sent again. Whoever accepted another
    /// content under that number, from a proposer before, does not accept this one: after a while it takes a
    /// higher number.
    fn propose_roster(&self, out: &mut Vec<Event>) {
        if !self.ledger.lease_stands() || self.ledger.roster.number == 0 || !self.ledger.registered() {
            return;
        }
        if self.ledger.log_stalled {
            return;
        }
        if let Some(p) = &self.proposal {
            let mut roster = p.roster.clone();
            if p.sent >= SENT_MAX {
                roster.number = roster.number.saturating_add(1);
            }
            out.push(decided(Decision::RosterProposed(roster)));
            return;
        }
        let stranger = self.settings().others().find_map(|m| {
            let heard = self.ledger.heartbeat(m)?.incarnation;
            let owes = || self.owes_until(m, heard).is_none_or(|until| self.now() < until);
            let owed = self.ledger.revision >= 3 && owes();
            (self.is_stranger(m, heard) && !owed).then_some((m, heard))
        });
        let Some((member, incarnation)) = stranger else { return };
        let mut roster = self.ledger.roster.clone();
        let agreed = self.ledger.roster_agreed.as_ref().map_or(0, |r| r.number);
        roster.number = roster.number.max(agreed).saturating_add(1);
        roster.incarnations.resize(self.settings().members.len(), None);
        roster.vote_floor.resize(self.settings().members.len(), Term(0));
        if let Some(slot) = roster.incarnations.get_mut(usize::from(member.0)) {
            *slot = Some(incarnation);
        }
        out.push(decided(Decision::RosterProposed(roster)));
    }

    /// M1: flushed by a quorum of others; the new log votes above their highest voted term.
    pub(super) fn commit_roster(&self, out: &mut Vec<Event>) {
        // M2: through the lease holder only.
        let Some(p) = self.proposal.as_ref().filter(|_| self.ledger.lease_stands()) else { return };
        // The renewals would bear a number that nobody else is told before the disk goes on.
        if self.ledger.log_stalled {
            return;
        }
        let accepted = p.accepted.keys().filter(|m| self.settings().votes(**m) && **m != p.member).count();
        if accepted < self.ledger.quorum().needed() {
            return;
        }
        let mut roster = p.roster.clone();
        let floor = p.accepted.values().copied().max().unwrap_or_default().max(self.ledger.term_seen());
        if let Some(slot) = roster.vote_floor.get_mut(usize::from(p.member.0)) {
            *slot = (*slot).max(floor);
        }
        out.push(decided(Decision::RosterCommitted(roster)));
    }
}
