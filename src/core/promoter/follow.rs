//! Following the winner: a standby attaches to the announced primary, unless its data went past the
//! fork.

use super::{Following, Promoter, decided};
use crate::core::{BootNanos, Nanos, Plant, Term, freeze_overdue, ordered_at, planted, report_overdue};
use crate::events::{
    Announcement, Deadline, Decision, Event, FollowOutcome, Observation, ProbeReport, Verdict,
};

/// A PostgreSQL without a receiver for so many heartbeats is not about to attach by itself.
const UNATTACHED_HEARTBEATS: u64 = 2;

/// So long are winners waited for whom nobody told of, before a standby is refused without them; and at least so long
/// as a slow disk may hold an answer back.
const DOUBT_HEARTBEATS: u64 = 10;
const DOUBT_MIN: Nanos = Nanos::from_millis(10_000);

impl Promoter {
    pub(super) fn follow_observed(&mut self, observation: &Observation) {
        if matches!(
            observation,
            Observation::FreezeCompleted { .. }
                | Observation::CatchUpCompleted { .. }
                | Observation::FenceCompleted(_)
        ) {
            self.freezing = false;
        }
        match observation {
            Observation::ProbeCompleted { target, report: ProbeReport::Answered(a), .. }
                if *target == self.ledger.me() =>
            {
                let since = self.doubt_since.or(self.is_heard().then_some(self.now()));
                self.doubt_since = since.filter(|_| self.ledger.in_doubt());
                let since = self.unattached_since.unwrap_or(self.now());
                self.unattached_since = (a.in_recovery && !a.receiver).then_some(since);
            }
            Observation::ProbeCompleted { target, report, .. } if self.ledger.primary() == Some(*target) => {
                // What was seen counts until the next look says otherwise, or nothing.
                let writes = |w: &&Announcement| match report {
                    ProbeReport::Answered(a) => {
                        let line = (a.system_id, a.timeline);
                        !a.in_recovery && line == (w.system_id, Some(w.lineage.timeline))
                    }
                    _ => false,
                };
                self.seen_writing = self.ledger.announced().filter(writes).map(|w| w.term);
            }
            Observation::PostmasterSeen { .. } | Observation::PostmasterGone { .. } => {
                self.unattached_since = None;
            }
            Observation::HeartbeatDue { .. } => self.give_up_reports(),
            _ => {}
        }
        if let Observation::FollowCompleted { term, outcome, .. } = observation {
            let due_at = self.after(Nanos(2 * self.settings().retry_interval.0));
            if let Some(f) = self.following.as_mut().filter(|f| f.term == *term) {
                f.under_way = false;
                f.due_at = due_at;
                f.refused = matches!(outcome, FollowOutcome::Diverged { .. });
            }
        }
    }

    /// Whether somebody has heard this process since it learned what left it in doubt: with each heartbeat, it asks.
    fn is_heard(&self) -> bool {
        let l = &self.ledger;
        self.settings().others().filter_map(|m| l.heartbeat(m)).any(|h| {
            let mark = h.heard_flushed.get(usize::from(l.me().0));
            mark.is_some_and(|m| m.incarnation == l.process.incarnation && m.seq >= self.learned_in)
        })
    }

    /// Any report may be lost: what it would have ended has ended without success.
    fn give_up_reports(&mut self) {
        self.freezing &= !freeze_overdue(&self.ledger, self.ordered_at);
        if report_overdue(&self.ledger, self.ordered_at) {
            self.ordered_at = None;
            self.freezing = false;
            if std::mem::take(&mut self.fencing) {
                self.fence_again_at = self.after(self.settings().retry_interval);
            }
        }
    }

    pub(super) fn follow_decided(&mut self, decision: &Decision) {
        if matches!(decision, Decision::AnnouncementAdopted(_)) {
            // What was in doubt may be told now, or by the next look.
            self.doubt_since = None;
        }
        match decision {
            Decision::FreezePromised { .. } => {
                self.freezing = true;
                self.ordered_at = ordered_at(&self.ledger);
            }
            // The hand does one thing after the other: what it begins ends what was under way.
            Decision::PromotionOrdered { .. }
            | Decision::PromotionOrderedOf { .. }
            | Decision::CatchUpOrdered { .. } => self.freezing = false,
            Decision::FollowOrdered { term, .. } => {
                self.freezing = false;
                let due_at = self.after(Nanos(2 * self.settings().follow_timeout.0));
                self.following = Some(Following { term: *term, under_way: true, due_at, refused: false });
            }
            Decision::FollowRefused { term, .. } => {
                let due_at = self.after(Nanos(10 * self.settings().retry_interval.0));
                self.following = Some(Following { term: *term, under_way: false, due_at, refused: true });
            }
            Decision::AnnouncementAdopted(a) if a.term == self.ledger.announced_term() => {
                self.following = None
            }
            // What was missing may show where the data left.
            Decision::AnnouncementAdopted(_) if self.ledger.revision >= 4 => {
                self.following = self.following.filter(|f| !f.refused);
            }
            _ => {}
        }
    }

    pub(super) fn decide_follow(&self, observation: &Observation, out: &mut Vec<Event>) {
        match observation {
            Observation::ProbeCompleted { target, .. } if *target == self.ledger.me() => self.follow(out),
            Observation::DeadlinePassed(Deadline::FollowDue) => self.follow(out),
            Observation::FreezeCompleted { term, .. } if self.ledger.revision >= 3 => {
                self.confirm_frozen_line(*term, out);
                self.follow(out);
            }
            // E3: it must not go on streaming from there either.
            Observation::FollowCompleted { term, outcome: FollowOutcome::Diverged { .. }, .. }
                if self.ledger.announced().is_some_and(|w| w.term == *term) =>
            {
                out.push(decided(Decision::FollowRefused { term: *term, past_fork_bytes: None }));
            }
            Observation::FollowCompleted {
                term, outcome: FollowOutcome::Streaming { timeline, .. }, ..
            } => {
                // One that ended late followed an older winner.
                if let Some(winner) = self.ledger.announced().filter(|w| w.term == *term) {
                    let new = self.ledger.lineage != Some(winner.lineage);
                    if winner.lineage.timeline == *timeline && winner.primary != self.ledger.me() && new {
                        out.push(decided(Decision::LineageConfirmed(winner.lineage)));
                    }
                }
            }
            _ => {}
        }
    }

    /// E3: PostgreSQL may have gone over to a winner's line that was not confirmed yet. What proves that, whom it streams
    /// from, ends with a restart of this daemon, or as it catches up from another standby.
    fn confirm_frozen_line(&self, term: Term, out: &mut Vec<Event>) {
        let l = &self.ledger;
        let line = l.frozen_position(term).map(|p| p.lineage).filter(|line| l.lineage != Some(*line));
        if let Some(line) = line.filter(|_| l.revision >= 4 && l.tenure.is_none()) {
            out.push(decided(Decision::LineageConfirmed(line)));
        }
    }

    pub(super) fn answer_follow(&self, decision: &Decision, out: &mut Vec<Event>) {
        if let Decision::AnnouncementAdopted(_) = decision {
            self.follow(out);
        }
    }

    /// E8: only after the announcement do others follow.
    fn follow(&self, out: &mut Vec<Event>) {
        let l = &self.ledger;
        let Some(winner) = l.announced().filter(|a| a.primary != l.me()) else { return };
        let Some(answer) = l.answer().filter(|a| a.in_recovery && a.system_id == winner.system_id) else {
            return;
        };
        if l.tenure.is_some() || self.fencing {
            return;
        }
        // Already there: told so by a process before this one, or set up, or rebuilt, by the operator.
        let strange = l.lineage.is_none() && !l.diverged() || self.cannot_have_made(winner.lineage.timeline);
        let there = l.revision >= 3 && strange && l.streams_line_of(winner);
        if there && l.lineage != Some(winner.lineage) {
            // What its data is does not depend on whether an election goes on.
            out.push(decided(Decision::LineageConfirmed(winner.lineage)));
        }
        if self.election_in_the_way() {
            return;
        }
        let thaws = planted(Plant::ThawsForOldPrimary);
        let frozen = l.freeze.as_ref().is_some_and(|f| f.term <= winner.term || thaws);
        if l.freeze.is_some() && !frozen {
            // E2: promised to attach to nobody but a winner of a higher term.
            return;
        }
        if (there || l.lineage == Some(winner.lineage)) && !frozen && !self.is_detached() {
            return;
        }
        if there {
            return out.push(decided(Decision::FollowOrdered { term: winner.term, primary: winner.primary }));
        }
        if l.revision >= 4 && !self.sees_as_primary(winner) {
            return;
        }
        let right_timeline = answer.streaming && answer.timeline == Some(winner.lineage.timeline);
        let set_up = l.lineage.is_none() && right_timeline && winner.forked.is_none() && !frozen;
        if set_up && (l.revision < 3 || l.before_any_fork()) {
            // It streams already, as the operator set it up: nothing is changed.
            out.push(decided(Decision::LineageConfirmed(winner.lineage)));
            return;
        }
        if l.revision < 3 && right_timeline && self.cannot_have_made(winner.lineage.timeline) {
            // Rebuilt by the operator: data past the fork is never streamed to on the winner's timeline.
            out.push(decided(if frozen {
                Decision::FollowOrdered { term: winner.term, primary: winner.primary }
            } else {
                Decision::LineageConfirmed(winner.lineage)
            }));
            return;
        }
        if let Some(f) = self.following.as_ref().filter(|f| f.term == winner.term)
            && self.now() < f.due_at
        {
            return;
        }
        // E4: until replay has reached its end, a restarted standby under-reports how far it went.
        if (l.lineage.is_some() || l.revision >= 3) && !l.settled() {
            return;
        }
        // E3: a freeze is under way, which tells where it stands, and whose line it is on.
        if l.revision >= 4 && self.freezing {
            return;
        }
        // E3: where the data left can't be told yet.
        if l.revision >= 4 && l.past_fork_bytes().is_none() && self.waits_in_doubt() {
            return;
        }
        // E3: the last probe does not tell what its receiver got since, maybe from a member that was promoted and
        // never announced: it is stopped and looked at before it is attached to another line.
        let switches = l.lineage != Some(winner.lineage) && !l.diverged();
        if l.revision >= 3 && switches && l.frozen_at().is_none() {
            if !self.freezing && !self.may_attach_yet() {
                let nonce = l.process.nonce;
                let promised = Decision::FreezePromised { term: winner.term, candidate: l.me(), nonce };
                out.push(decided(promised));
            }
            return;
        }
        let told = self.following.is_some_and(|f| f.term == winner.term && f.refused);
        let past_fork_bytes = l.past_fork_bytes();
        let unknown = l.lineage.is_none() && !l.diverged();
        if l.revision == 3 && unknown && l.misses_winners() {
            // They are asked for.
            return;
        }
        // E3: a log that was lost does not know how its data got there.
        let unknown = unknown && (l.revision < 3 || l.before_any_fork());
        if !l.diverged() && (past_fork_bytes == Some(0) || unknown) {
            out.push(decided(Decision::FollowOrdered { term: winner.term, primary: winner.primary }));
        } else if !told {
            out.push(decided(Decision::FollowRefused { term: winner.term, past_fork_bytes }));
        }
    }

    /// E3, E8: what a log, or a third member, tells of a winner may be over: its PostgreSQL may have been rebuilt since, and
    /// stream another history that bears the same number. It writes now, and on that timeline, as a probe or its own daemon
    /// says; on a later one it won again, and that is yet to be heard.
    fn sees_as_primary(&self, winner: &Announcement) -> bool {
        let said = self.ledger.heartbeat(winner.primary).and_then(|h| h.postgres);
        self.seen_writing == Some(winner.term)
            || said
                .is_some_and(|p| p.in_recovery == Some(false) && p.timeline == Some(winner.lineage.timeline))
    }

    /// E3: timeline numbers collide. A member's own data is on its lineage's timeline, or on the next
    /// one, if it ordered a promotion that was not announced; a higher one came from elsewhere.
    fn cannot_have_made(&self, timeline: crate::core::Timeline) -> bool {
        let own = u32::from(self.ledger.diverged());
        self.ledger.lineage.is_some_and(|mine| mine.timeline.0 + own < timeline.0)
    }

    /// A PostgreSQL that was just started connects to its upstream a moment later than it answers: the operator may
    /// have rebuilt it, and detached it would not tell that any more.
    fn may_attach_yet(&self) -> bool {
        let patience = UNATTACHED_HEARTBEATS * self.settings().heartbeat_interval.0;
        self.unattached_since.is_some_and(|since| self.now().nanos_since(since) < patience)
    }

    /// Winners are missing and were asked for, or one is about to be announced; whoever knows may be heard later, or never.
    fn waits_in_doubt(&self) -> bool {
        let patience = (DOUBT_HEARTBEATS * self.settings().heartbeat_interval.0).max(DOUBT_MIN.0);
        self.ledger.in_doubt()
            && self.doubt_since.is_none_or(|since| self.now().nanos_since(since) < patience)
    }

    /// M4: nothing that this log knows of keeps it from streaming, and yet it has not streamed for as long as following
    /// may take. A freeze may have been forgotten with the end of a log, have taken effect after the order to follow, or
    /// been the last deed of the process before; or its own upstream is gone (a cascade). Who may have promised more
    /// than its log holds stays as it is until it is registered anew, and below no term that it knows to be frozen for.
    fn is_detached(&self) -> bool {
        let l = &self.ledger;
        let patience = self.settings().follow_timeout.0;
        l.revision >= 4
            && l.verdict == Verdict::Reachable
            && l.registered()
            && l.paused.is_none()
            && l.term_frozen <= l.announced_term()
            && self.unattached_since.is_some_and(|since| self.now().nanos_since(since) >= patience)
    }

    /// While this member stands or promotes, it does not attach to an older primary.
    fn election_in_the_way(&self) -> bool {
        !matches!(self.phase, super::Phase::Idle | super::Phase::Asking { .. } | super::Phase::Planned { .. })
            || self.ledger.verdict.is_down()
    }

    pub(super) fn follow_deadlines(&self, out: &mut Vec<(Deadline, BootNanos)>) {
        if let Some(f) = &self.following
            && f.due_at > self.now()
            && !f.refused
        {
            out.push((Deadline::FollowDue, f.due_at));
        }
    }
}
