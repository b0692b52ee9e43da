//! Whether this member may vote and could be promoted, and how many it takes (L3, L4, M1, E5). Every
//! reason against has a name; none of them hides another.

use super::{FAILED_PROMOTION_RETRIES, HEARTBEAT_FRESH_INTERVALS, Ledger, Promise};
use crate::core::{MemberId, Nanos, Plant, Quorum, planted};
use crate::events::{Ability, ProcessIdentity, Refusal, Unelectable};

impl Ledger {
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

    /// S8, E10: a log without a roster may be a new one or one that took the place of a lost one: nothing tells them
    /// apart. So it takes part in an adoption only if every member is heard, could vote and knows of no history: then
    /// nobody is left who remembers one, nor anybody whom a forgotten promise binds. The operator's word can't take
    /// the place of a member that is not heard: he would have to know what its log holds.
    ///
    /// # Errors
    /// The first reason why somebody may remember.
    pub fn nobody_remembers(&self) -> Result<(), Refusal> {
        if !self.before_rosters() {
            return Err(Refusal::HistoryExists);
        }
        if self.forgetful {
            return Err(Refusal::NotRegistered);
        }
        for member in self.settings.others() {
            let Some(h) = self.heartbeat(member) else { return Err(Refusal::MemberUnheard { member }) };
            if h.announced.is_some() || h.roster_number > 0 {
                return Err(Refusal::HistoryExists);
            }
            if self.settings.votes(member) {
                h.able?;
            }
        }
        Ok(())
    }

    /// Returns whether this member knows of no primary, and its log can't have forgotten one that it noticed.
    #[must_use]
    pub fn knows_no_primary(&self) -> bool {
        self.announced().is_none() && self.tenure.is_none() && !self.forgetful
    }

    /// L9: returns whether all members say that there is no primary of any term yet. An empty log may be a lost one: it
    /// is not believed alone.
    #[must_use]
    pub fn nobody_knows_a_primary(&self) -> bool {
        let neither = |m| self.heartbeat(m).is_some_and(|h| h.announced.is_none());
        self.knows_no_primary() && self.settings.others().all(neither)
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

    fn promotion_failed_lately(&self) -> bool {
        let pause = FAILED_PROMOTION_RETRIES * self.settings.retry_interval.0;
        self.promotion_failed_at.is_some_and(|at| self.now.nanos_since(at) < pause)
    }
}
