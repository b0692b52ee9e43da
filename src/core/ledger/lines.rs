//! Where the local data stands: its line of history, its positions, and whether it left the announced
//! history (E2 to E5). A timeline's number alone never says whose line it is.

use super::{HISTORY_MAX, Ledger};
use crate::core::{BootNanos, MemberId, Plant, Term, Timeline, planted};
use crate::events::{Announcement, Answer, Frozen, Lineage, Position};

impl Ledger {
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

    /// Returns where a freeze that stands was observed to have stopped (E2).
    #[must_use]
    pub fn frozen_at(&self) -> Option<Frozen> {
        self.freeze.as_ref()?.outcome.as_ref()?.frozen()
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
            let sends = self.sent_by();
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

    /// Whom the local WAL receiver streams from, while there is one.
    #[must_use]
    pub fn sender(&self) -> Option<MemberId> {
        self.answer().filter(|a| a.in_recovery && a.receiver).and(self.local.sender)
    }

    /// The last win that is known of whom the local PostgreSQL streams from, or did until it was frozen just now: then its
    /// receiver has ended, and later it may be another's data that this sender has (E3).
    fn sent_by(&self) -> Option<&Announcement> {
        if self.revision < 4 {
            return self.announced().filter(|a| self.sender() == Some(a.primary));
        }
        let lately = |at: BootNanos| self.now.nanos_since(at) <= 2 * self.settings.freeze_timeout.0;
        let until_frozen = self.just_frozen && self.streamed_until_frozen.is_some_and(lately);
        let sender = self.sender().or(self.local.sender.filter(|_| until_frozen))?;
        self.history.iter().rev().find(|a| a.primary == sender)
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
        self.first_winner().map(|first| first.lineage)
    }

    /// The first primary: it went on as it was, or it was promoted by name where no line was known.
    fn first_winner(&self) -> Option<&Announcement> {
        let begins = |a: &&Announcement| a.forked.is_none_or(|(parent, _)| parent.opened == Term(0));
        self.history.first().filter(begins).filter(|a| a.lineage.opened == a.term)
    }

    /// Returns whether winners are known, but not all that opened a line which the newest came off: who was away hears
    /// of the newest first (E3). Winners who went on with a line that there was may be missing.
    #[must_use]
    pub fn misses_winners(&self) -> bool {
        let Some(newest) = self.history.last().filter(|_| self.history.len() < HISTORY_MAX) else {
            return false;
        };
        if self.revision < 4 {
            return self.first_line().is_none();
        }
        let mut line = newest.lineage;
        while line.opened > Term(0) {
            let opened = self.history.iter().find(|a| a.lineage == line && a.term == line.opened);
            let Some(winner) = opened else { return true };
            match winner.forked {
                // A parent of its own term is one that nobody knew.
                Some((parent, _)) if parent.opened < line.opened => line = parent,
                Some(_) | None => return false,
            }
        }
        false
    }

    /// Returns whether the local data is on a timeline that no promotion under pgfo can have made twice.
    #[must_use]
    pub fn before_any_fork(&self) -> bool {
        let frozen = self.frozen_at().and_then(|f| f.timeline);
        let seen = self.answer().and_then(|a| a.timeline).max(frozen);
        // Where the first primary was promoted, it made its timeline's number itself.
        let earlier = |seen: Timeline, first: &Announcement| match first.forked {
            Some(_) => seen < first.lineage.timeline,
            None => seen <= first.lineage.timeline,
        };
        seen.zip(self.first_winner()).is_some_and(|(seen, first)| earlier(seen, first))
    }

    /// Returns whether its line can't be told from what is known, though more may be heard: winners are missing, or one
    /// was not announced yet whose WAL came first (E3).
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        !self.left_history() && (self.misses_winners() || self.on_unknown_timeline())
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
        self.left_history() || self.on_unknown_timeline()
    }

    fn left_history(&self) -> bool {
        // The line that it opened tells as well that it was announced: that winner may be forgotten since (E9).
        let opened = |term| self.revision >= 4 && self.lineage.is_some_and(|line| line.opened == term);
        let announced =
            |term| opened(term) || self.history.iter().any(|a| a.term == term && a.primary == self.me());
        let ordered = self.promotion_ordered.filter(|term| self.tenure != Some(*term));
        self.strayed || ordered.is_some_and(|term| !announced(term))
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
