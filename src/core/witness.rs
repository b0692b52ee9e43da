//! The Witness: bears witness of what this member sees. It sends heartbeats, answers pre-votes and
//! passes on what others missed. Nothing it says binds anybody; it never votes.

use crate::core::{BootNanos, Ledger, LedgerRole, MemberId, Nanos};
use crate::events::{
    Announcement, Deadline, Decision, Event, FlushedMark, Heartbeat, Message, Observation, OperatorRequest,
    Record, Refusal, Settings, Testimony, Verdict,
};
use pgfo_replay::Machine;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Witness {
    ledger: Box<Ledger>,
}

impl Witness {
    /// Makes the witness of a member without history.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { ledger: Box::new(Ledger::new(settings)) }
    }

    /// Returns what this role knows.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn heartbeat(&self) -> Event {
        let l = &self.ledger;
        let lease_left =
            l.lease_stands().then_some(l.lease).flatten().map(|e| Nanos(e.until.nanos_since(l.now)));
        // E8: flushed, then told. The verdict is about that announcement.
        let announced = l.told().copied();
        let verdict = if announced.map(|a| a.term) == l.announced().map(|a| a.term) {
            l.verdict
        } else {
            Verdict::Unknown
        };
        Event::Decided(Decision::HeartbeatSent(Arc::new(Heartbeat {
            announced,
            verdict,
            term_seen: l.term_seen(),
            roster_number: l.roster.number,
            incarnation: l.process.incarnation,
            flushed: FlushedMark { incarnation: l.process.incarnation, seq: l.flushed },
            heard_flushed: l.peers.iter().map(|p| p.flushed).collect(),
            postgres: l.postgres_state(),
            electable: l.electable(),
            priority: l.settings.priority,
            able: l.ability(),
            paused: l.paused,
            resumed: l.resumed,
            lease_left,
        })))
    }

    /// E1: verdict, standing promise, ability, rough position.
    fn testify(&self, to: MemberId, nonce: u64, number: u64) -> Event {
        let l = &self.ledger;
        let testimony = Testimony {
            nonce,
            number,
            about: l.announced_term(),
            verdict: l.verdict,
            promise: l.standing_promise().map(|p| (p.holder, Nanos(p.until.nanos_since(l.now)))),
            able: l.ability(),
            term_seen: l.term_seen(),
            position: l.rough_position(),
            electable: l.electable(),
            priority: l.settings.priority,
            roster_number: l.roster.number,
        };
        Event::Decided(Decision::Testified { to, testimony: Box::new(testimony) })
    }

    fn learn(&self, winner: &Announcement, out: &mut Vec<Event>) {
        let member = usize::from(winner.primary.0) < self.ledger.settings.members.len();
        if member && !self.ledger.history.iter().any(|a| a.term == winner.term) {
            out.push(Event::Decided(Decision::AnnouncementAdopted(*winner)));
        }
    }

    /// E3: a member that heard of the newest winner first is not told of those before it. Without them it can't
    /// tell whether its data is on their line.
    fn ask_for_history(&self, out: &mut Vec<Event>) {
        let l = &self.ledger;
        // A witness is asked for them by others.
        let asks = l.revision >= 4 || l.revision == 3 && l.settings.has_postgres();
        if asks && l.misses_winners() {
            out.push(Event::Decided(Decision::HistoryRequested));
        }
    }

    fn share_history(&self, to: MemberId, out: &mut Vec<Event>) {
        let l = &self.ledger;
        if !l.misses_winners() && l.told() == l.announced() && !l.history.is_empty() {
            out.push(Event::Decided(Decision::HistoryShared { to, history: l.history.clone() }));
        }
    }

    fn hear_heartbeat(&self, from: MemberId, h: &Heartbeat, out: &mut Vec<Event>) {
        let l = &self.ledger;
        if let Some(winner) = &h.announced
            && winner.term > l.announced_term()
        {
            self.learn(winner, out);
        }
        // M3: the end of a pause is told again to who missed it, behind the flush of that end.
        if let Some(pause) = h.paused.filter(|p| p.primary == l.me() && l.resumed.is_some_and(|r| r >= *p)) {
            out.push(Event::Decided(Decision::ResumeRepeated { to: from, pause }));
        }
        let behind = h.announced.map_or(0, |a| a.term.0) < l.announced_term().0;
        if behind && l.primary() == Some(l.me()) {
            out.push(Event::Decided(Decision::HistoryShared { to: from, history: l.history.clone() }));
        }
        if h.roster_number < l.roster.number {
            out.push(Event::Decided(Decision::RosterShared { to: from, roster: l.roster.clone() }));
        }
    }
}

impl LedgerRole for Witness {
    fn ledger_slot(&mut self) -> &mut Box<Ledger> {
        &mut self.ledger
    }

    fn evolve_own(&mut self, _: &Record) {}
}

impl Machine for Witness {
    type Event = Event;
    type Deadline = Deadline;

    fn evolve(&mut self, record: &Record) {
        self.ledger.evolve(record);
        self.evolve_own(record);
    }

    fn decide(&self, record: &Record, out: &mut Vec<Event>) {
        match &record.event {
            // Who has just come, or come back, need not wait for the next one: a lease may depend on it.
            Event::Observed(
                seen @ (Observation::HeartbeatDue { .. } | Observation::PeerConnected { .. }),
            ) => {
                out.push(self.heartbeat());
                if matches!(seen, Observation::HeartbeatDue { .. }) {
                    self.ask_for_history(out);
                }
            }
            // Others wait for this to reach a quorum.
            Event::Decided(Decision::VerdictChanged { .. } | Decision::PrimaryAnnounced(_)) => {
                out.push(self.heartbeat());
            }
            Event::Observed(Observation::OperatorRequested(
                asked @ (OperatorRequest::Adopt { member } | OperatorRequest::AdoptVouched { member }),
            )) if *member != self.ledger.me() => {
                let connected = self.ledger.peer(*member).is_some_and(|p| p.connected);
                out.push(Event::Decided(match asked {
                    _ if !connected => Decision::AdoptionRefused { why: Refusal::NotRegistered },
                    OperatorRequest::AdoptVouched { .. } => Decision::VouchForwarded { to: *member },
                    _ => Decision::AdoptionForwarded { to: *member },
                }));
            }
            Event::Observed(Observation::MessageReceived { from, message, .. }) => match message {
                Message::Heartbeat(h) => self.hear_heartbeat(*from, h, out),
                Message::PrimaryAnnounced(winner) => self.learn(winner, out),
                Message::HistoryRequested => self.share_history(*from, out),
                Message::TestimonyRequested { nonce, number, .. } => {
                    out.push(self.testify(*from, *nonce, *number))
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn deadlines(&self, _: &mut Vec<(Deadline, BootNanos)>) {}
}
