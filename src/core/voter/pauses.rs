//! Pauses: no votes while a primary's daemon is away, and nothing that outlasts its reason (M3).

use super::Voter;
use crate::core::{MemberId, Plant, Term, planted};
use crate::events::{Decision, Event, PauseId, Verdict};

impl Voter {
    /// M3: only where a lease of that term could be granted as well: who voted for another must not
    /// let the guard stand down.
    pub(super) fn agree_to_pause(&self, from: MemberId, pause: PauseId, out: &mut Vec<Event>) {
        let l = &self.ledger;
        let from_primary =
            pause.primary == from && l.primary() == Some(from) && l.announced_term() == pause.term;
        // A primary without a vote counts for nothing in the quorum, but its own pause must outlive its daemon.
        let mine = from == l.me();
        let able = (mine || l.settings.votes(l.me())) && l.registered() && !l.log_stalled;
        let voted_on = l.voted.is_some_and(|v| v.ask.term > pause.term && v.candidate != from);
        let promised_on = l.standing_promise().is_some_and(|p| p.holder != from);
        // One that comes late comes after what would have ended it.
        let down = l.verdict == Verdict::ConfirmedDown;
        // So does one that was asked for before the pause that it holds: what ends it would end that one, too.
        let older = l.paused.is_some_and(|p| p > pause) && !planted(Plant::OlderPauseAgreed);
        let over = down || older || pause.term <= l.released || l.resumed.is_some_and(|r| r >= pause);
        if from_primary && able && !voted_on && !promised_on && !over {
            out.push(Event::Decided(Decision::PauseAgreed(pause)));
        }
    }

    /// M3: kept also by who was not paused itself: it can tell who missed it.
    pub(super) fn hear_resumed(&self, upto: PauseId, out: &mut Vec<Event>) {
        if self.ledger.resumed < Some(upto) {
            out.push(Event::Decided(Decision::PauseEnded(upto)));
        } else {
            self.end_pause(upto, out);
        }
    }

    fn end_pause(&self, upto: PauseId, out: &mut Vec<Event>) {
        if self.ledger.paused.is_some_and(|p| p <= upto) {
            out.push(Event::Decided(Decision::PauseEnded(upto)));
        }
    }

    /// M3: who knows that the pause is over had it from its primary, or saw what ends it, and passes it on: the
    /// primary may have lost its log since, or its tenure. Its own heartbeat is no answer: it overtakes the flush,
    /// and a crash would leave the primary paused alone.
    pub(super) fn hear_of_pauses(&self, from: MemberId, over: Option<PauseId>, out: &mut Vec<Event>) {
        if let (Some(over), Some(paused)) = (over, self.ledger.paused)
            && over.primary == paused.primary
            && over.primary != from
        {
            self.end_pause(over, out);
        }
    }

    /// M3: the primary's own flushed answer, or its being confirmed down.
    pub(super) fn end_pause_of(&self, primary: MemberId, out: &mut Vec<Event>) {
        if let Some(p) = self.ledger.paused.filter(|p| p.primary == primary) {
            out.push(Event::Decided(Decision::PauseEnded(p)));
        }
    }

    /// M3: who released a tenure, flushed, has nothing left of it that a pause could protect.
    pub(super) fn end_pause_of_released(&self, primary: MemberId, term: Term, out: &mut Vec<Event>) {
        if self.ledger.paused.is_some_and(|p| p.primary == primary && p.term <= term) {
            self.end_pause_of(primary, out);
        }
    }

    /// M3: somebody waits for this primary within a pause that it does not hold: it refused it, forgot it, or it
    /// came late. It answers, flushed, once nothing of that tenure runs unguarded.
    pub(super) fn answer_pause(&self, heard: Option<PauseId>, out: &mut Vec<Event>) {
        let l = &self.ledger;
        let unknown = |p: &PauseId| p.primary == l.me() && l.paused != Some(*p) && l.resumed < Some(*p);
        let Some(pause) = heard.filter(|p| unknown(p) && !self.stopping) else { return };
        let over = match l.tenure {
            Some(term) if term == pause.term => self.guard_armed,
            _ => pause.term <= l.released || l.answer().is_some_and(|a| a.in_recovery),
        };
        if over {
            out.push(Event::Decided(Decision::PauseEnded(pause)));
        }
    }
}
