//! How the ledger folds records. The meaning of an old event never changes here.

use super::{Freeze, HISTORY_MAX, Lease, Ledger, Local, Peer, Promise, Vote};
use crate::core::{BootNanos, MemberId, Nanos, Plant, Term, planted};
use crate::events::{
    Announcement, Decision, Event, FenceReason, FollowOutcome, FreezeOutcome, GuardReport, Message,
    Observation, ProbeReport, Record, Roster, Verdict,
};
use pgfo_replay::Seq;
use std::sync::Arc;

impl Ledger {
    /// Folds one record.
    pub fn evolve(&mut self, record: &Record) {
        // A heartbeat is due in each interval.
        if record.boot.nanos_since(self.now) > 2 * self.settings.heartbeat_interval.0 {
            self.awake_since = record.boot;
        }
        self.now = record.boot;
        self.just_frozen = self.revision >= 4
            && matches!(record.event, Event::Observed(Observation::FreezeCompleted { .. }));
        if let Event::Observed(Observation::ProcessStarted(_)) = &record.event {
            // What was read back from the disk is durable.
            self.flushed = Seq(record.seq.0.saturating_sub(1));
        }
        if let Event::Decided(Decision::LeaseGranted { first: true, .. } | Decision::VoteGranted { .. }) =
            &record.event
        {
            self.bound_at = record.seq;
        }
        if let Event::Decided(Decision::AnnouncementAdopted(_) | Decision::PrimaryAnnounced(_)) =
            &record.event
        {
            self.winner_at = record.seq;
        }
        if let Event::Decided(Decision::PrimaryAnnounced(_)) = &record.event {
            self.announced_at = record.seq;
        }
        match &record.event {
            Event::Observed(o) => self.observe(o),
            Event::Decided(d) => self.conclude(d),
        }
    }

    fn observe(&mut self, observation: &Observation) {
        match observation {
            Observation::ProcessStarted(start) => self.restart(start),
            Observation::HeartbeatDue { flushed } => self.flushed = *flushed,
            Observation::ProbeCompleted { target, report, .. } if *target == self.me() => {
                self.see_local(*report)
            }
            Observation::PostmasterSeen { sealed, .. } => {
                self.local.started_since_fence |= self.local.runs == Some(false);
                self.local.runs = Some(true);
                self.local.sealed = *sealed;
                // E4: another run of it has to settle anew.
                self.local.receiver_ran_in = None;
            }
            Observation::PostmasterGone { sealed } => {
                self.local.started_since_fence = false;
                self.local.runs = Some(false);
                self.local.sealed = *sealed;
                self.local.answer = None;
                self.local.receiver_ran_in = None;
                self.local.sender = None;
            }
            Observation::ReceiverEnded => {
                let freezes = self.freeze.as_ref().is_some_and(|f| f.outcome.is_none());
                let awake = self.now.nanos_since(self.awake_since) >= self.settings.heartbeat_interval.0;
                if freezes && awake {
                    self.streamed_until_frozen = Some(self.now);
                }
                if let Some(a) = &mut self.local.answer {
                    a.streaming = false;
                    a.receiver = false;
                }
            }
            Observation::ReceiverSeen { from } => self.local.sender = *from,
            Observation::MessageReceived { from, message, .. } => self.hear(*from, message),
            Observation::PeerConnected { member, process } => {
                if let Some(p) = self.peers.get_mut(usize::from(member.0)) {
                    p.connected = true;
                    p.process = Some(*process);
                }
            }
            Observation::PeerDisconnected { member, .. } => {
                if let Some(p) = self.peers.get_mut(usize::from(member.0)) {
                    p.connected = false;
                }
            }
            Observation::GuardReported(GuardReport::FenceBegun { .. }) => {
                self.local.started_since_fence = false
            }
            Observation::FenceCompleted(outcome) => {
                self.local.sealed |= outcome.sealed;
                // Not taken back by it: the guard tells one fence more than once.
                let another = self.local.started_since_fence && self.revision >= 4;
                if outcome.nothing_left && !another {
                    self.local.runs = Some(false);
                    self.local.answer = None;
                    if self.revision >= 4 {
                        self.local.sender = None;
                    }
                }
            }
            Observation::FreezeCompleted { term, outcome } => {
                let mut outcome = outcome.clone();
                if outcome.frozen().is_some_and(|f| f.received == Some(false)) {
                    self.local.receiver_ran_in = None;
                }
                if let FreezeOutcome::Frozen { settled, .. }
                | FreezeOutcome::FrozenOn { settled, .. }
                | FreezeOutcome::FrozenAt { settled, .. } = &mut outcome
                {
                    // E4: the receiver ran since the postmaster started, so what it flushed is known.
                    *settled |= self.local.receiver_ran_in == Some(self.local.last_started)
                        || planted(Plant::UnsettledCounts);
                }
                if let Some(f) = self.freeze.as_mut().filter(|f| f.term == *term) {
                    f.outcome = Some(outcome);
                }
            }
            Observation::PromotionCompleted { term, outcome, .. } => {
                use crate::events::PromotionOutcome;
                match outcome {
                    PromotionOutcome::Promoted { timeline, .. } => {
                        self.local.sealed = false;
                        if let Some(a) = &mut self.local.answer {
                            a.in_recovery = false;
                            // Re-elected before it answers again, it announces that line (E9).
                            if self.revision >= 4 {
                                a.timeline = Some(*timeline);
                            }
                        }
                    }
                    PromotionOutcome::Unknown { .. } if planted(Plant::UnknownIsFailure) => {
                        self.promotion_failed_at = Some(self.now);
                        self.promotion_ordered = self.promotion_ordered.filter(|t| t != term);
                    }
                    PromotionOutcome::Failed { .. } | PromotionOutcome::Vetoed { .. } => {
                        self.promotion_failed_at = Some(self.now);
                        // It certainly did not happen: the data is where it was.
                        if self.promotion_ordered == Some(*term) {
                            self.promotion_ordered = None;
                        }
                    }
                    PromotionOutcome::Unknown { .. } => self.promotion_failed_at = Some(self.now),
                    // Nothing was done, and nothing speaks against the one that runs now: it may stand again.
                    PromotionOutcome::Refused { found, .. } => {
                        self.promotion_ordered = self.promotion_ordered.filter(|t| t != term);
                        self.local.answer = self.local.answer.filter(|a| a.postmaster_started == *found);
                    }
                }
            }
            Observation::SettingsChanged { settings, .. } => self.settings = (**settings).clone(),
            Observation::FollowCompleted { outcome: FollowOutcome::Diverged { .. }, .. } => {
                self.strayed = true
            }
            Observation::LogStalled { .. } => self.log_stalled = true,
            Observation::LogRecovered => self.log_stalled = false,
            _ => {}
        }
    }

    fn restart(&mut self, start: &crate::events::ProcessStart) {
        let same_boot = self.process.boot_id == start.process.boot_id;
        self.settings = start.settings.clone();
        self.peers.resize(self.settings.members.len(), Peer::default());
        for p in &mut self.peers {
            *p = Peer { flushed: p.flushed, ..Peer::default() };
        }
        self.started_at = self.now;
        self.awake_since = self.now;
        self.answered_at = BootNanos(0);
        self.streamed_until_frozen = None;
        self.log_stalled = false;
        self.quarantined = false;
        self.forgetful =
            !matches!(start.log, crate::events::LogFound::Fresh | crate::events::LogFound::Intact)
                || (self.forgetful && self.process.incarnation == start.process.incarnation);
        self.process = start.process;
        self.verdict = Verdict::Unknown;
        self.evidence = None;
        self.last_answer = None;
        self.local = Local { last_started: self.local.last_started, ..Local::default() };
        // L4: grants are not flushed, so the log may not know the last one.
        self.revision = start.core_revision;
        let owed = if self.revision >= 2 { self.silence_owed } else { Nanos(0) };
        self.silent_until = self.now.plus_nanos(self.promise_longest.max(owed).0);
        if planted(Plant::VotesAfterRestart) {
            self.silent_until = self.now;
        }
        if planted(Plant::VoteForgotten) {
            self.voted = None;
            self.term_frozen = Term(0);
        }
        if let Some(p) = &mut self.promise {
            p.until = self.silent_until;
        }
        // A freeze is observed anew; the promise stands.
        if let Some(f) = &mut self.freeze {
            f.outcome = None;
        }
        if !same_boot {
            self.lease = self.lease.map(|l| Lease { until: BootNanos(0), ..l });
            self.promotion_failed_at = None;
        }
    }

    fn see_local(&mut self, report: ProbeReport) {
        if let ProbeReport::Answered(answer) = report {
            // An orphan's answer that arrives after its postmaster's end shows no life.
            if self.local.runs == Some(false) && answer.postmaster_started == self.local.last_started {
                return;
            }
        }
        self.local.report = Some(report);
        if let ProbeReport::Answered(answer) = report {
            self.local.runs = Some(true);
            self.local.answer = Some(answer);
            self.answered_at = self.now;
            self.last_answer = Some(answer).filter(|a| a.in_recovery);
            self.local.last_started = answer.postmaster_started;
            if answer.receiver {
                self.local.receiver_ran_in = Some(answer.postmaster_started);
            } else if self.revision >= 3 && answer.in_recovery && answer.received.is_none() {
                // E4: a backend crashed, and shared memory was made anew under the same postmaster: replay climbs
                // again from the last restart point.
                self.local.receiver_ran_in = None;
            }
            if !answer.in_recovery {
                self.local.sealed = false;
                if let (Some(term), Some(lsn)) = (self.tenure, answer.lsn()) {
                    self.primary_lsn = Some((term, lsn));
                }
            }
        }
    }

    fn hear(&mut self, from: MemberId, message: &Message) {
        let Some(peer) = self.peers.get_mut(usize::from(from.0)) else { return };
        peer.connected = true;
        match message {
            Message::Heartbeat(h) => {
                peer.heard_at = self.now;
                peer.verdict = Some((h.announced.map_or(Term(0), |a| a.term), h.verdict));
                if peer.flushed.incarnation != h.flushed.incarnation || peer.flushed.seq < h.flushed.seq {
                    peer.flushed = h.flushed;
                }
                let writes = h.postgres.filter(|p| p.in_recovery == Some(false)).and_then(|p| p.received);
                if let (Some(a), Some(lsn)) = (h.announced.filter(|a| a.primary == from), writes) {
                    self.primary_lsn = Some((a.term, lsn));
                }
                peer.heartbeat = Some(Arc::clone(h));
            }
            Message::Testified(t) => {
                peer.heard_at = self.now;
                peer.verdict = Some((t.about, t.verdict));
            }
            Message::LeaseReleased { term, last_number } => self.release(from, *term, *last_number),
            Message::CandidacyEnded { term, nonce } => self.close_candidacy(from, *term, *nonce),
            _ => {}
        }
    }

    /// L8: only a promise of that term, with no later number, is cleared.
    fn release(&mut self, holder: MemberId, term: Term, last_number: u64) {
        self.released = self.released.max(term);
        let any = planted(Plant::ReleaseClearsAny);
        if self
            .promise
            .is_some_and(|p| p.holder == holder && (any || p.term == term && p.number <= last_number))
        {
            self.promise = None;
        }
    }

    /// As L8, for a candidate that did not win: only the promise that came with the vote for that very
    /// process is cleared, in that term or below: who stands in a term stands in none before it, and may not have been
    /// free to say so (E9). A candidacy dies with its process, so no vote of it counts any more.
    fn close_candidacy(&mut self, candidate: MemberId, term: Term, nonce: u64) {
        let over = |voted: Term| voted == term || self.revision >= 4 && voted < term;
        let Some(vote) = self.voted.filter(|v| v.candidate == candidate && over(v.ask.term)) else {
            return;
        };
        let of_vote =
            |p: &Promise| p.holder == candidate && p.term == vote.ask.term && p.number == vote.ask.number;
        if vote.ask.process.nonce == nonce && self.promise.as_ref().is_some_and(of_vote) {
            self.promise = None;
        }
    }

    fn conclude(&mut self, decision: &Decision) {
        match decision {
            Decision::SuspicionRaised { evidence, .. } => {
                self.verdict = Verdict::Suspect;
                self.evidence = Some(*evidence);
            }
            Decision::VerdictChanged { to, evidence, .. } => {
                self.verdict = *to;
                self.evidence = *evidence;
            }
            Decision::LeaseGranted { to, ask, until, .. } => {
                self.promise =
                    Some(Promise { holder: *to, term: ask.term, number: ask.number, until: *until });
                self.promise_longest = self.promise_longest.max(ask.duration);
            }
            Decision::FreezePromised { term, candidate, nonce } => {
                // One that was seen long ago may be gone, and its upstream rebuilt; its end may yet be told.
                let seen_before = self.now.nanos_since(self.answered_at);
                let streams =
                    self.sender().is_some() && seen_before <= 2 * self.settings.heartbeat_interval.0;
                // Another's freeze may just have ended it.
                let under_way = self.freeze.as_ref().is_some_and(|f| f.outcome.is_none());
                let before = self.streamed_until_frozen.filter(|_| under_way);
                self.streamed_until_frozen = if streams { Some(self.now) } else { before };
                self.term_frozen = self.term_frozen.max(*term);
                let outcome = self.freeze.take().and_then(|f| f.outcome);
                self.freeze = Some(Freeze { term: *term, candidate: *candidate, nonce: *nonce, outcome });
                // Already frozen for a lower term: the position still stands, but it is looked at again.
                if let Some(f) = &mut self.freeze {
                    f.outcome = None;
                }
            }
            // E2: the receiver runs again, so where it stood still counts no more.
            Decision::CatchUpOrdered { .. } => {
                self.attached = None;
                if let Some(f) = self.freeze.as_mut().filter(|_| self.revision >= 3) {
                    f.outcome = None;
                }
            }
            Decision::VoteGranted { candidate, ask, until, .. } => {
                self.voted = Some(Vote { candidate: *candidate, ask: **ask });
                self.promise =
                    Some(Promise { holder: *candidate, term: ask.term, number: ask.number, until: *until });
                self.promise_longest = self.promise_longest.max(ask.duration);
            }
            Decision::PauseAgreed(pause) => self.paused = Some(*pause),
            Decision::PauseConfirmed { pause, .. } => self.pause_confirmed = Some(*pause),
            Decision::PauseEnded(pause) => {
                self.resumed = self.resumed.max(Some(*pause));
                if self.paused.is_some_and(|p| p <= *pause) {
                    self.paused = None;
                }
            }
            Decision::RosterAdopted(roster) => self.adopt_roster(roster),
            Decision::RosterAccepted { roster, .. } => self.roster_agreed = Some(roster.clone()),
            Decision::CandidacyClosed { term, nonce } => {
                self.close_candidacy(self.settings.me, *term, *nonce);
            }
            Decision::RollbackDetected { .. } => self.forgetful = true,
            Decision::LeaseExtended { term, until } => {
                self.lease = Some(Lease { term: *term, until: *until });
            }
            Decision::FenceOrdered { why, .. } => {
                self.local.started_since_fence = false;
                let another = self.announced().is_some_and(|a| a.primary != self.me());
                // It wrote, and this log does not know as whose primary, or it is another's time: promoted by hand, it
                // has a line of history of its own, whose timeline number may be the winner's (E3).
                if *why == FenceReason::NoLease && (self.lineage.is_none() || self.revision >= 2 && another) {
                    self.strayed = true;
                }
            }
            Decision::LeaseReleased { term, last_number } => {
                self.release(self.settings.me, *term, *last_number);
                if self.tenure == Some(*term) && !planted(Plant::TenureOutlivesRelease) {
                    self.tenure = None;
                    self.lease = None;
                }
            }
            Decision::ElectionWon { term, until, .. } => {
                self.tenure = Some(*term);
                self.lease = Some(Lease { term: *term, until: *until });
            }
            Decision::PromotionOrdered { term } | Decision::PromotionOrderedOf { term, .. } => {
                self.promotion_ordered = Some(*term)
            }
            Decision::PrimaryAnnounced(a) => {
                self.lineage = Some(a.lineage);
                self.strayed = false;
                self.freeze = None;
                self.learn(a);
            }
            Decision::AnnouncementAdopted(a) => self.learn(a),
            Decision::FollowOrdered { term, .. } => {
                self.attached = Some(*term);
                // Attaching to a winner of its term or above ends a freeze promise (E2).
                if self.freeze.as_ref().is_some_and(|f| f.term <= *term) {
                    self.freeze = None;
                }
            }
            Decision::LineageConfirmed(lineage) => {
                self.lineage = Some(*lineage);
                self.strayed = false;
                self.promotion_ordered = None;
                self.promotion_failed_at = None;
            }
            Decision::RoleFailed { role, quarantined, .. } => {
                self.quarantined |= *quarantined;
                if *role == crate::events::Actor::Voter.number() {
                    // L4: a restarted voter may have lost a grant.
                    self.silent_until = self.silent_until.max(self.now.plus_nanos(self.promise_longest.0));
                }
            }
            _ => {}
        }
    }

    fn adopt_roster(&mut self, roster: &Roster) {
        if roster.number <= self.roster.number {
            return;
        }
        let me = usize::from(self.me().0);
        // Roster 1 comes with the first primary, before which nobody had voted.
        let newly_mine = roster.incarnations.get(me).copied().flatten() == Some(self.process.incarnation)
            && roster.number > 1
            && self.roster.incarnations.get(me) != roster.incarnations.get(me);
        self.roster = roster.clone();
        if newly_mine {
            self.forgetful = false;
            // M1: it votes above the others' highest voted term, after the longest promise.
            let floor = roster.vote_floor.get(me).copied().unwrap_or(Term(0));
            self.term_frozen = self.term_frozen.max(floor);
            let mut longest = self.promise_longest.max(self.settings.lease_duration);
            if self.revision >= 2 {
                // A vote that it forgot may still be counted as long as a candidacy lasts.
                longest = longest.max(self.settings.freeze_timeout);
            }
            self.silence_owed = self.silence_owed.max(longest);
            self.silent_until = self.silent_until.max(self.now.plus_nanos(longest.0));
        }
    }

    fn learn(&mut self, winner: &Announcement) {
        if self.history.iter().any(|a| a.term == winner.term) {
            return;
        }
        let newest = winner.term > self.announced_term();
        self.history.push(*winner);
        self.history.sort_by_key(|a| a.term);
        if self.history.len() > HISTORY_MAX {
            self.history.remove(self.least_worth());
        }
        if newest {
            self.verdict = Verdict::Unknown;
            self.evidence = None;
            self.promotion_failed_at = None;
            // A pause is about one primary in one term; a quorum has gone on since.
            if self.paused.is_some_and(|p| p.term < winner.term) {
                self.paused = None;
            }
            if winner.primary != self.me()
                && self.tenure.is_some_and(|t| t < winner.term)
                && !self.is_writable()
            {
                self.tenure = None;
                self.lease = None;
            }
            // A winner above any promise: whoever held it can't renew (L3), but it stands until it ends.
        }
    }

    /// Which winner is forgotten when there are too many: the first of those who went on with the line of the one
    /// before, for what is asked of history is where lines forked off (E3). The newest is kept.
    fn least_worth(&self) -> usize {
        let pairs = self.history.iter().zip(self.history.iter().skip(1));
        let repeats = |(before, next): (&Announcement, &Announcement)| before.lineage == next.lineage;
        let older = self.history.len().saturating_sub(1);
        pairs
            .take(older.saturating_sub(1))
            .position(repeats)
            .filter(|_| self.revision >= 4)
            .map_or(0, |at| at + 1)
    }

    /// Returns whether the local PostgreSQL was last seen out of recovery.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.answer().is_some_and(|a| !a.in_recovery)
    }
}
