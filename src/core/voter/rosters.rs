//! Rosters: whose logs count, as the primary asks and a quorum accepts (M1, M2). It changes nothing of the voter.

use super::Voter;
use crate::core::MemberId;
use crate::events::{Decision, Event, Roster};

impl Voter {
    /// M1: only those that are registered register others, and only at the holder's request.
    pub(super) fn accept_roster(&self, from: MemberId, roster: &Roster, out: &mut Vec<Event>) {
        let l = &self.ledger;
        // M2: at most one member's log differs from the roster in force, and it is not this one's; no floor
        // is lowered.
        let changed: Vec<MemberId> = l
            .settings
            .ids()
            .filter(|m| {
                let at = usize::from(m.0);
                roster.incarnations.get(at) != l.roster.incarnations.get(at)
            })
            .collect();
        let floor = |r: &Roster, m: MemberId| r.vote_floor.get(usize::from(m.0)).copied().unwrap_or_default();
        let floors_hold = l.settings.ids().all(|m| floor(roster, m) >= floor(&l.roster, m));
        // M1: one content a number. A later proposer takes a higher one.
        let new = l.roster_agreed.as_ref().is_none_or(|r| r.number < roster.number || r == roster);
        if l.primary() == Some(from)
            && l.settings.votes(l.me())
            && l.registered()
            && !l.log_stalled
            && roster.number > l.roster.number
            && changed.len() <= 1
            && !changed.contains(&l.me())
            && floors_hold
            && new
        {
            let voted = l.term_seen();
            out.push(Event::Decided(Decision::RosterAccepted { to: from, roster: roster.clone(), voted }));
        }
    }

    pub(super) fn adopt_roster(&self, roster: &Roster, out: &mut Vec<Event>) {
        if roster.number > self.ledger.roster.number {
            out.push(Event::Decided(Decision::RosterAdopted(roster.clone())));
        }
    }
}
