//! The orderly end of a primary's daemon: a quorum pauses, the guard stands down, the process ends (L6,
//! M3). It never lets PostgreSQL go on unguarded without a pause that this member holds, too.

use super::{PAUSE_HEARTBEATS, Pausing, Promoter, decided, guard_said, heard};
use crate::core::{MemberId, Nanos};
use crate::events::{Deadline, Decision, Event, GuardReport, Message, Observation, OperatorRequest, PauseId};
use pgfo_replay::Seq;

/// The guard stands down or is lost, which is told, in less; after that, what it said was lost.
const GUARD_ANSWER_MAX: Nanos = Nanos::from_millis(5_000);

impl Promoter {
    pub(super) fn leaving_observed(&mut self, observation: &Observation) {
        if let Observation::HeartbeatDue { flushed } = observation {
            self.guard_was_told(*flushed);
        }
        if let (Some(said), Some(p)) = (guard_said(observation), &mut self.pausing) {
            match said {
                GuardReport::Lost => p.lost |= p.confirmed_in.is_some(),
                GuardReport::Present { .. } => p.lost = false,
                _ => {}
            }
        }
        if let (Some((from, Message::PauseAgreed(pause))), Some(p)) = (heard(observation), &mut self.pausing)
            && p.pause == *pause
            && !p.agreed.contains(&from)
        {
            p.agreed.push(from);
        }
    }

    /// The guard is told behind the flush of the confirmation; until then nothing is due from it.
    pub(super) fn confirmed_by(&mut self, confirmed_in: Seq) {
        if let Some(p) = &mut self.pausing {
            p.confirmed_in = Some(confirmed_in);
        }
    }

    fn guard_was_told(&mut self, flushed: Seq) {
        let ends_at = self.after(GUARD_ANSWER_MAX);
        // What is flushed is done a moment later.
        let soon = self.after(self.settings().heartbeat_interval);
        if let Some(p) = self.pausing.as_mut().filter(|p| p.confirmed_in.is_some_and(|seq| seq <= flushed)) {
            p.confirmed_in = None;
            p.ends_at = if p.lost { soon.min(ends_at) } else { ends_at };
        }
    }

    pub(super) fn leaving_decided(&mut self, decision: &Decision) {
        let me = self.ledger.me();
        match decision {
            Decision::PauseRequested(pause) => {
                self.number = self.number.max(pause.number);
                self.pausing = Some(Pausing {
                    pause: *pause,
                    agreed: Vec::new(),
                    ends_at: self.after(Nanos(PAUSE_HEARTBEATS * self.settings().heartbeat_interval.0)),
                    confirmed: false,
                    confirmed_in: None,
                    lost: false,
                });
            }
            Decision::PauseAgreed(pause) => {
                if let Some(p) =
                    self.pausing.as_mut().filter(|p| p.pause == *pause && !p.agreed.contains(&me))
                {
                    p.agreed.push(me);
                }
            }
            Decision::PauseConfirmed { .. } => {
                if let Some(p) = &mut self.pausing {
                    p.confirmed = true;
                    self.leaving = true;
                }
            }
            Decision::StopAllowed => self.pausing = None,
            Decision::StopRefused { .. } => {
                self.pausing = None;
                self.leaving = false;
            }
            Decision::PauseEnded(pause) if pause.primary == me => self.leaving = false,
            _ => {}
        }
    }

    pub(super) fn decide_leaving(&self, observation: &Observation, out: &mut Vec<Event>) {
        match observation {
            Observation::OperatorRequested(OperatorRequest::Stop) => self.stop(out),
            Observation::DeadlinePassed(Deadline::PauseEnds)
                if self
                    .pausing
                    .as_ref()
                    .is_some_and(|p| self.is_answer_due(p) && self.now() >= p.ends_at) =>
            {
                self.refuse_stop(out);
            }
            Observation::MessageReceived { message: Message::PauseAgreed(_), .. } => self.confirm_pause(out),
            _ => {}
        }
        let confirmed = self.pausing.as_ref().is_some_and(|p| p.confirmed);
        let told = confirmed && self.pausing.as_ref().is_some_and(|p| self.was_told(p));
        let holds = self.pausing.as_ref().is_some_and(|p| self.ledger.paused == Some(p.pause));
        match guard_said(observation) {
            // Nobody can tell it to stand down: it would stop PostgreSQL. Not before it was to be told: what waits for
            // the disk would then be done after the refusal.
            Some(GuardReport::Lost) if told => self.refuse_stop(out),
            Some(GuardReport::StoodDown) if confirmed && (holds || self.ledger.tenure.is_none()) => {
                out.push(decided(Decision::StopAllowed));
            }
            Some(GuardReport::StoodDown) if confirmed => self.refuse_stop(out),
            // The daemon stays after all, or was asked for that before: the guard must not stay down.
            Some(GuardReport::StoodDown) => self.arm_anew(out),
            _ => {}
        }
    }

    pub(super) fn answer_leaving(&self, decision: &Decision, out: &mut Vec<Event>) {
        match decision {
            Decision::PauseAgreed(_) => self.confirm_pause(out),
            // The tenure that was to be paused is over: nothing is left to ask for.
            Decision::LeaseReleased { .. } if self.pausing.is_some() => {
                out.push(decided(Decision::StopAllowed));
            }
            // The daemon stays. The guard may have been told to stand down, and have done so though its answer was
            // lost: it is told anew, what was granted meanwhile included.
            Decision::StopRefused { .. } => {
                let told = out.len();
                self.extend(out);
                if out.len() == told {
                    self.arm_anew(out);
                }
            }
            _ => {}
        }
    }

    /// L6: what the guard says to a confirmed pause may be lost, too. Earlier revisions waited for it for ever.
    pub(super) fn is_answer_due(&self, pausing: &Pausing) -> bool {
        !pausing.confirmed || self.ledger.revision >= 4 && self.was_told(pausing)
    }

    /// Whether the guard is known to have been told of a confirmed pause.
    fn was_told(&self, pausing: &Pausing) -> bool {
        self.ledger.revision < 4 || pausing.confirmed_in.is_none()
    }

    fn stop(&self, out: &mut Vec<Event>) {
        if self.pausing.is_some() || self.leaving {
            // It is under way: one that replaced it would leave the guard down without anybody's asking why.
            return;
        }
        let l = &self.ledger;
        let runs = l.leases() && l.local.runs != Some(false) && !self.fencing;
        let Some(term) = l.tenure.filter(|_| runs) else { return out.push(decided(Decision::StopAllowed)) };
        if l.log_stalled || !l.registered() {
            // It could not agree itself, and what it asked would be heard when nobody waits any more.
            let needed = l.quorum().needed_u8();
            return out.push(decided(Decision::StopRefused { agreed: Vec::new(), needed }));
        }
        // Within a pause that protects, that one is asked for again: another would take its place before anybody
        // agreed to it.
        let held = l.paused.filter(|p| l.pause_protects() && p.term == term);
        let another = || PauseId { term, number: l.next_pause_number(self.number), primary: l.me() };
        out.push(decided(Decision::PauseRequested(held.unwrap_or_else(another))));
    }

    /// M3: by a quorum, and by this member itself, which else would fence within it when it is back.
    fn confirm_pause(&self, out: &mut Vec<Event>) {
        let Some(p) = self.pausing.as_ref().filter(|p| !p.confirmed && self.ledger.tenure.is_some()) else {
            return;
        };
        let agreed: Vec<MemberId> = p.agreed.iter().copied().filter(|m| self.settings().votes(*m)).collect();
        if agreed.len() >= self.ledger.quorum().needed() && self.ledger.paused == Some(p.pause) {
            out.push(decided(Decision::PauseConfirmed { pause: p.pause, agreed }));
        }
    }

    /// The daemon stays. Members that agreed wait for nobody: the pause is ended, whether this member holds it or
    /// not; but one for which the guard was told to stand down only once the guard is armed again.
    fn refuse_stop(&self, out: &mut Vec<Event>) {
        let Some(p) = self.pausing.as_ref() else { return };
        let needed = self.ledger.quorum().needed_u8();
        out.push(decided(Decision::StopRefused { agreed: p.agreed.clone(), needed }));
        if self.ledger.pause_confirmed != Some(p.pause) {
            out.push(decided(Decision::PauseEnded(p.pause)));
        }
    }
}
