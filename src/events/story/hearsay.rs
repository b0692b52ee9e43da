//! Owns the telling of what peers said. What this member answers is told elsewhere, as its decision.

use super::words::{electable, position};
use super::{Level, Scene, Told, told};
use crate::core::MemberId;
use crate::events::{CandidacyKind, Heartbeat, Message, PostgresState, Roster, Testimony, Unelectable};

pub(super) fn tell(scene: &Scene<'_>, from: MemberId, message: &Message) -> Told {
    let (me, w) = (scene.me(), &scene.words);
    let peer = w.name(from);
    match message {
        Message::Heartbeat(h) => heartbeat(scene, peer, h),
        Message::LeaseRequested(ask) | Message::RenewalRequested(ask) => {
            let text =
                format!("{peer} asked {me} for the lease of term {} (request {})", ask.term, ask.number);
            told(Level::Debug, "lease request heard", text)
        }
        Message::LeaseGranted(ask) => {
            let text = format!("{peer} granted {me} the lease of term {} (request {})", ask.term, ask.number);
            told(Level::Debug, "lease grant heard", text)
        }
        Message::LeaseRefused(ask, why) => {
            let text =
                format!("{peer} refused {me} the lease of term {}: {}", ask.term, w.refusal(peer, why));
            told(Level::Warning, "lease refusal heard", text)
        }
        Message::LeaseReleased { term, .. } => {
            let text = format!("{peer} gave up the lease of term {term}: nobody need wait for it to run out");
            told(Level::Info, "lease release heard", text)
        }
        Message::ConfirmedDown { term, .. } => {
            let text = format!(
                "{peer} confirms that its PostgreSQL, primary of term {term}, is down: no process is left"
            );
            told(Level::Warning, "down confirmation heard", text)
        }
        Message::TestimonyRequested { about, .. } => {
            let text = format!("{peer} asked {me} what it holds of the primary of term {about}");
            told(Level::Debug, "question heard", text)
        }
        Message::Testified(t) => told(
            Level::Info,
            "testimony heard",
            format!("{peer} testifies to {me}: {}", testimony(scene, peer, t)),
        ),
        Message::FreezeRequested { term, .. } => {
            let text = format!("{peer} stands in term {term} and asks {me} to freeze");
            told(Level::Debug, "freeze request heard", text)
        }
        Message::FreezeReported { term, position: at, electable: can, priority, .. } => {
            let at = match at {
                Some(at) => format!(
                    "frozen for term {term} at {}, priority {priority}, {}",
                    position(at),
                    electable(can)
                ),
                None => format!("frozen for term {term}; it has no position"),
            };
            told(Level::Info, "freeze heard", format!("{peer} is {at}"))
        }
        Message::FreezeRefused { term, why, .. } => {
            let text = format!("{peer} did not freeze for term {term}: {}", w.refusal(peer, why));
            told(Level::Info, "freeze refusal heard", text)
        }
        Message::VoteRequested(ask) => {
            let at = ask.position.as_ref().map_or(String::new(), |p| format!(", {}", position(p)));
            let text = format!(
                "{peer} asked {me} for its vote in term {} ({}{at})",
                ask.ask.term,
                candidacy(ask.kind)
            );
            told(Level::Debug, "vote request heard", text)
        }
        Message::VoteGranted(ask) => {
            told(Level::Info, "vote heard", format!("{peer} voted for {me} in term {}", ask.term))
        }
        Message::VoteRefused(ask, why) => {
            let text = format!("{peer} refused {me} its vote in term {}: {}", ask.term, w.refusal(peer, why));
            told(Level::Info, "vote refusal heard", text)
        }
        Message::CandidacyYielded { term } => {
            let text = format!("{peer} gave up term {term} for {me}, which is better placed");
            told(Level::Info, "yielding heard", text)
        }
        Message::PrimaryAnnounced(winner) => {
            told(Level::Debug, "announcement heard", format!("{peer} says: {}", w.winner(winner)))
        }
        Message::RosterCommitted(roster) => told(
            Level::Debug,
            "roster heard",
            format!("{peer} says that roster {} is in force", roster.number),
        ),
        Message::RosterProposed(roster) => {
            told(Level::Debug, "roster proposal heard", format!("{peer} proposes roster {}", roster.number))
        }
        Message::RosterAccepted { number, voted }
        | Message::RosterAgreed { roster: Roster { number, .. }, voted } => {
            let text = format!("{peer} accepts roster {number}; the highest term it voted in is {voted}");
            told(Level::Debug, "roster acceptance heard", text)
        }
        Message::CandidacyEnded { term, .. } => {
            let text = format!("{peer} no longer stands in term {term}: nobody need wait for it");
            told(Level::Info, "candidacy end heard", text)
        }
        Message::PauseRequested(pause) => {
            let text = format!("{peer} asks {me} to pause while its daemon is away (term {})", pause.term);
            told(Level::Debug, "pause request heard", text)
        }
        Message::PauseAgreed(_) => told(
            Level::Info,
            "pause agreement heard",
            format!("{peer} agreed to pause while {me}'s daemon is away"),
        ),
        Message::Resumed(_) => {
            told(Level::Debug, "resumption heard", format!("{peer} says that its pause is over"))
        }
        Message::AdoptionRequested => told(
            Level::Info,
            "adoption heard",
            format!("{peer} passes on that the operator named {me} as primary"),
        ),
        Message::HistoryRequested => {
            told(Level::Info, "history asked for", format!("{peer} asks for all winners so far"))
        }
        Message::AdoptionVouched => told(
            Level::Info,
            "adoption heard",
            format!(
                "{peer} passes on that the operator named {me} as primary, and vouches that nothing is left of \
                 the paused one"
            ),
        ),
    }
}

fn heartbeat(scene: &Scene<'_>, peer: &str, h: &Heartbeat) -> Told {
    let w = &scene.words;
    let writes = h.postgres.is_some_and(|p| p.in_recovery == Some(false));
    let held = match h.announced {
        None => format!("{peer} knows of no primary yet"),
        // That it writes says it all.
        Some(a) if w.name(a.primary) == peer && writes && !h.verdict.is_down() => {
            format!("{peer} is the primary of term {}", a.term)
        }
        Some(a) if Some(a.primary) == scene.memory.primary() => w.holds(peer, h.verdict),
        Some(a) => format!("{peer} knows {} as the primary of term {}", w.name(a.primary), a.term),
    };
    let pause = if h.paused.is_some() { "; it is paused" } else { "" };
    let lease = h.lease_left.map_or(String::new(), |left| format!("; its lease stands for {left}"));
    let postgres = h.postgres.map_or(String::new(), |p| format!("; its PostgreSQL {}", postgres(&p)));
    let can = match &h.electable {
        _ if writes => String::new(),
        Err(Unelectable::Witness | Unelectable::Primary) => String::new(),
        can => format!("; it {}", electable(can)),
    };
    let able = h.able.as_ref().err().map_or(String::new(), |_| format!("; {}", w.ability(peer, &h.able)));
    let level = if h.verdict.is_down() { Level::Warning } else { Level::Info };
    told(level, "heartbeat heard", format!("{held}{postgres}{can}{able}{lease}{pause}"))
}

fn postgres(p: &PostgresState) -> String {
    let at = p.received.max(p.replayed).map_or(String::new(), |lsn| format!(" at {lsn}"));
    let sealed = if p.sealed && !p.streaming { ", sealed" } else { "" };
    let state = match (p.alive, p.in_recovery, p.streaming) {
        (false, _, _) => "is not up",
        (true, Some(false), _) => "is a primary",
        (true, Some(true), true) => "streams",
        (true, Some(true), false) => "is a standby that does not stream",
        (true, None, _) => "is alive",
    };
    format!("{state}{at}{sealed}")
}

/// What a testimony says, as clauses.
pub(super) fn testimony(scene: &Scene<'_>, who: &str, t: &Testimony) -> String {
    let w = &scene.words;
    let promise = t.promise.map_or(String::new(), |(holder, left)| {
        format!("; its promise to {} stands for {left}", w.name(holder))
    });
    let at = t.position.as_ref().map_or(String::new(), |p| format!("; {}", position(p)));
    let can = match &t.electable {
        Err(Unelectable::Witness | Unelectable::Primary) => String::new(),
        can => format!("; it {}", electable(can)),
    };
    format!("{}; {}{promise}{at}{can}", w.holds(who, t.verdict), w.ability(who, &t.able))
}

/// Why somebody stands.
pub(super) const fn candidacy(kind: CandidacyKind) -> &'static str {
    match kind {
        CandidacyKind::Failover => "the primary is down",
        CandidacyKind::Incumbent => "it holds the lease and stands above a higher term",
        CandidacyKind::FirstAdoption => "all members agree on the first primary",
        CandidacyKind::OperatorAdoption => "the operator named it",
        CandidacyKind::OperatorVouched => {
            "the operator named it, and vouches that nothing is left of the paused primary"
        }
    }
}
