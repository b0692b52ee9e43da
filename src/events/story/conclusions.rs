//! Owns the telling of decisions: what this member concluded, and why.

use super::hearsay::{candidacy, testimony};
use super::words::{fence_reason, grouped, in_term, left, lineage, position, report, verdict};
use super::{Level, Scene, Told, elections, told};
use crate::core::{MemberId, Term};
use crate::events::{Actor, Decision, FenceReason, LeaseAsk, ProbeReport, Verdict};

pub(super) fn tell(scene: &Scene<'_>, decision: &Decision) -> Told {
    let (me, w) = (scene.me(), &scene.words);
    match decision {
        // EscalationTracker
        Decision::SuspicionRaised { primary, term, evidence } => {
            let whom = if *primary == w.settings.me { "its own PostgreSQL" } else { w.name(*primary) };
            let text = format!(
                "{me} suspects {whom}, primary of term {term}: {}; {} heart massages follow",
                report(evidence),
                w.settings.escalation_attempts
            );
            told(Level::Warning, "suspicion raised", text)
        }
        Decision::MassageOrdered { target, attempt } => {
            let text = format!("{me} tries heart massage {attempt} on {}", w.name(*target));
            told(Level::Debug, "massage ordered", text)
        }
        Decision::VerdictChanged { primary, term: _, from, to, evidence } => {
            verdict_changed(scene, *primary, *from, *to, evidence.as_ref())
        }
        Decision::DownConfirmed { term, .. } => {
            let text = format!(
                "{me} confirms that its PostgreSQL, primary of term {term}, is down: no process is left"
            );
            told(Level::Warning, "down confirmed", text)
        }
        // Voter
        Decision::LeaseGranted { to, ask, until: _, first } => lease_granted(scene, *to, ask, *first),
        Decision::LeaseRefused { to, ask, why } => {
            let text = format!(
                "{me} refused {} the lease of term {}: {}",
                w.name(*to),
                ask.term,
                w.refusal(me, why)
            );
            told(Level::Warning, "lease refused", text)
        }
        Decision::FreezePromised { term, candidate, .. } => {
            let text = format!(
                "{me} promised {} to freeze for term {term}: it attaches only to a winner of that term or above",
                w.itself(me, w.name(*candidate))
            );
            told(Level::Info, "freeze promised", text)
        }
        Decision::FreezeReported { to, term, position: at, .. } => {
            let at = at.as_ref().map_or("it has no position".to_owned(), position);
            told(
                Level::Info,
                "freeze reported",
                format!("{me} is frozen for term {term}, told {}: {at}", w.name(*to)),
            )
        }
        Decision::FreezeRefused { to, term, why, .. } => {
            let text =
                format!("{me} did not freeze for {} in term {term}: {}", w.name(*to), w.refusal(me, why));
            told(Level::Info, "freeze refused", text)
        }
        Decision::VoteGranted { candidate, ask, position: theirs, own, verdict, loss_bytes, until: _ } => {
            let positions = (theirs.as_ref(), own.as_ref());
            elections::voted(scene, *candidate, ask.term, positions, *verdict, *loss_bytes)
        }
        Decision::VoteRefused { candidate, ask, why } => {
            let text = format!(
                "{me} refused {} its vote in term {}: {}",
                w.name(*candidate),
                ask.term,
                w.refusal(me, why)
            );
            told(Level::Warning, "vote refused", text)
        }
        Decision::PauseAgreed(pause) => {
            let text = format!(
                "{me} agreed to pause while the daemon of {} is away: no votes until it is back",
                w.name(pause.primary)
            );
            told(Level::Info, "pause agreed", text)
        }
        Decision::PauseEnded(pause) => told(
            Level::Info,
            "pause ended",
            format!("{me} ended the pause of {}: it votes again", w.name(pause.primary)),
        ),
        Decision::RosterAccepted { to, roster, voted } => {
            let text = format!(
                "{me} accepted roster {} from {}; the highest term it saw is {voted}",
                roster.number,
                w.name(*to)
            );
            told(Level::Info, "roster accepted", text)
        }
        Decision::RosterAdopted(roster) => {
            let registered = roster.incarnations.iter().flatten().count();
            let text =
                format!("roster {} is in force on {me}: {registered} logs are registered", roster.number);
            told(Level::Info, "roster adopted", text)
        }
        Decision::RollbackDetected { peer, remembered, own } => {
            let why = if remembered > own {
                format!("{} remembers record {remembered}, but only {own} are flushed here", w.name(*peer))
            } else {
                "that was found before, and it was not given another incarnation since".to_owned()
            };
            let text = format!(
                "the log of {me} was rolled back: {why}; {me} does not vote until its log is registered anew"
            );
            told(Level::Critical, "rollback detected", text)
        }
        // Promoter: holder of the lease
        Decision::LeaseRequested(ask) | Decision::RenewalRequested(ask) => {
            let text = format!("{me} asked for the lease of term {} (request {})", ask.term, ask.number);
            told(Level::Debug, "lease requested", text)
        }
        Decision::LeaseExtended { term, until } => {
            let rest = left(scene.record, *until);
            told(Level::Info, "lease extended", format!("{me} holds the lease of term {term} for {rest}"))
        }
        Decision::LeaseExpired { term, .. } => {
            let text =
                format!("the lease of {me} in term {term} ran out: too few voters granted it again in time");
            told(Level::Critical, "lease expired", text)
        }
        Decision::FenceOrdered { term, why } => fence_ordered(me, *term, why),
        Decision::LeaseReleased { term, .. } => {
            let text = format!(
                "{me} gave up the lease of term {term}: its tenure is over, others may take over at once"
            );
            told(Level::Warning, "lease released", text)
        }
        Decision::PauseRequested(pause) => {
            let text =
                format!("{me} asks the others to pause while its daemon is away{}", in_term(pause.term));
            told(Level::Info, "pause requested", text)
        }
        Decision::PauseConfirmed { agreed, .. } => {
            let text =
                format!("{} agreed to pause, a quorum: the guard of {me} may stand down", w.names(agreed));
            told(Level::Info, "pause confirmed", text)
        }
        Decision::StopAllowed => told(Level::Info, "stop allowed", format!("the daemon of {me} may end now")),
        Decision::StopRefused { agreed, needed } => {
            let text = format!(
                "the daemon of {me} stays, for ending it would stop PostgreSQL: only {} agreed to pause, {needed} are needed",
                w.names(agreed)
            );
            told(Level::Warning, "stop refused", text)
        }
        Decision::RosterProposed(roster) => {
            let text = format!("{me} proposes roster {}, which registers a member's new log", roster.number);
            told(Level::Info, "roster proposed", text)
        }
        Decision::RosterCommitted(roster) => {
            let text =
                format!("roster {} is agreed: enough members hold it, {me} tells everybody", roster.number);
            told(Level::Info, "roster committed", text)
        }
        // Promoter: election
        Decision::TestimonyRequested { about, .. } => {
            let text = match about.0 {
                0 => format!("{me} asks everybody what they see: no primary is known"),
                _ => {
                    format!("{me} asks everybody what they hold of {}, primary of term {about}", w.primary())
                }
            };
            told(Level::Info, "testimony requested", text)
        }
        Decision::ElectionPlanned { at, rank, holders, placements, free_at } => {
            elections::planned(scene, *at, *free_at, *rank, holders, placements)
        }
        Decision::ElectionAbandoned { term, why } => elections::abandoned(scene, *term, why),
        Decision::CandidacyWithheld { why, holders, rank } => elections::withheld(scene, why, holders, *rank),
        Decision::CandidacyOpened { term, kind, .. } => {
            told(Level::Info, "candidacy opened", format!("{me} stands in term {term}: {}", candidacy(*kind)))
        }
        Decision::CandidacyYielded { term, to, position: at } => {
            let to = w.name(*to);
            let text = format!(
                "{me} gave up term {term} for {to}, which is better placed and can be promoted: {}",
                position(at)
            );
            told(Level::Info, "candidacy yielded", text)
        }
        Decision::CatchUpOrdered { term, from, until } => {
            let from = w.name(*from);
            let text = format!(
                "{me} gave up term {term} to fetch WAL up to {until} from {from} first, which has more and does not take over"
            );
            told(Level::Info, "catch-up ordered", text)
        }
        Decision::VoteRequested(ask) => {
            let at = ask.position.as_ref().map_or(String::new(), |p| format!(", {}", position(p)));
            let loss = if ask.accepts_loss {
                "; it accepts a loss, for a better placed member can't stand"
            } else {
                ""
            };
            told(
                Level::Info,
                "vote requested",
                format!("{me} asks for votes in term {}{at}{loss}", ask.ask.term),
            )
        }
        Decision::ElectionWon { term, voters, until, kind, loss_bytes_max } => {
            elections::won(scene, *term, voters, *until, *kind, *loss_bytes_max)
        }
        Decision::PromotionOrdered { term } | Decision::PromotionOrderedOf { term, .. } => {
            told(Level::Warning, "promotion ordered", format!("{me} is promoted now: it won term {term}"))
        }
        Decision::PrimaryAnnounced(winner) => {
            told(Level::Info, "primary announced", format!("{me} announces: {}", w.winner(winner)))
        }
        Decision::AnnouncementAdopted(winner) => {
            told(Level::Info, "announcement adopted", format!("{me} learned that {}", w.winner(winner)))
        }
        // Promoter: following
        Decision::FollowOrdered { term, primary } => told(
            Level::Info,
            "follow ordered",
            format!("{me} follows {}, primary of term {term}", w.name(*primary)),
        ),
        Decision::FollowRefused { term, past_fork_bytes } => {
            let why = match past_fork_bytes {
                Some(bytes) => format!("it has {} bytes past the fork", grouped(*bytes)),
                None => "its line of history is not among the primary's".to_owned(),
            };
            let text = format!(
                "{me} can't follow the primary of term {term} as it is: {why}; it needs a rewind or a new base backup"
            );
            told(Level::Warning, "follow refused", text)
        }
        Decision::LineageConfirmed(line) => {
            told(Level::Info, "lineage confirmed", format!("{me} is on {}", lineage(line)))
        }
        // Witness
        Decision::HeartbeatSent(h) => {
            told(Level::Debug, "heartbeat sent", format!("{me} tells everybody: {}", w.holds(me, h.verdict)))
        }
        Decision::Testified { to, testimony: t } => told(
            Level::Info,
            "testified",
            format!("{me} testifies to {}: {}", w.name(*to), testimony(scene, me, t)),
        ),
        Decision::AdoptionForwarded { to } => told(
            Level::Info,
            "adoption forwarded",
            format!("{me} passes the operator's wish on to {}", w.name(*to)),
        ),
        Decision::HistoryRequested => told(
            Level::Info,
            "history requested",
            format!("{me} asks for all winners so far: it does not know the first"),
        ),
        Decision::VouchForwarded { to } => told(
            Level::Info,
            "adoption forwarded",
            format!(
                "{me} passes the operator's wish on to {}, and his word that nothing is left of the paused \
                 primary",
                w.name(*to)
            ),
        ),
        Decision::ResumeRepeated { to, pause } => told(
            Level::Info,
            "resume repeated",
            format!("{me} tells {} again that the pause of term {} is over", w.name(*to), pause.term),
        ),
        Decision::CandidacyClosed { term, .. } => told(
            Level::Info,
            "candidacy closed",
            format!("{me} no longer stands in term {term}; who voted for it need not wait"),
        ),
        Decision::RosterShared { to, roster } => told(
            Level::Info,
            "roster shared",
            format!("{me} tells {} roster {}, which it missed", w.name(*to), roster.number),
        ),
        Decision::HistoryShared { to, history } => {
            let text =
                format!("{me} tells {} the {} winners so far, which it missed", w.name(*to), history.len());
            told(Level::Info, "history shared", text)
        }
        Decision::AdoptionRefused { why } => told(
            Level::Warning,
            "adoption refused",
            format!("{me} can't do what the operator asked: {}", w.refusal(me, why)),
        ),
        // Any role's shell
        Decision::RoleFailed { role, why, quarantined } => {
            let role = Actor::from_number(*role).map_or("unknown role", Actor::name);
            let then = if *quarantined {
                "it is quarantined: no votes, no promotions until the daemon restarts"
            } else {
                "it was rebuilt from the log without that record"
            };
            let text = format!("the {role} of {me} failed ({why}); {then}");
            told(Level::Critical, "role failed", text)
        }
    }
}

fn verdict_changed(
    scene: &Scene<'_>,
    primary: MemberId,
    from: Verdict,
    to: Verdict,
    evidence: Option<&ProbeReport>,
) -> Told {
    let me = scene.me();
    let primary = match scene.words.name(primary) {
        own if own == me => "its own PostgreSQL",
        other => other,
    };
    let seen = evidence.map(report);
    let text = match to {
        Verdict::ConfirmedDown => {
            format!("{me} holds {primary} confirmed down: the daemon beside it says that no process is left")
        }
        Verdict::Unreachable => format!(
            "{me} holds {primary} unreachable: {}",
            seen.unwrap_or_else(|| "nothing answers".to_owned())
        ),
        Verdict::Reachable | Verdict::Suspect | Verdict::Unknown => {
            let seen = seen.map_or(String::new(), |seen| format!(": {seen}"));
            format!("{me} holds {primary} {} (before: {}){seen}", verdict(to), verdict(from))
        }
    };
    let level = if to.is_down() { Level::Warning } else { Level::Info };
    told(level, "verdict changed", text)
}

fn lease_granted(scene: &Scene<'_>, to: MemberId, ask: &LeaseAsk, first: bool) -> Told {
    let me = scene.me();
    let to = scene.words.itself(me, scene.words.name(to));
    if first {
        let text = format!(
            "{me} granted {to} the lease of term {}: it votes for nobody else for {}",
            ask.term, ask.duration
        );
        return told(Level::Info, "lease granted", text);
    }
    let text = format!("{me} granted {to} the lease of term {} again (request {})", ask.term, ask.number);
    told(Level::Debug, "lease granted", text)
}

fn fence_ordered(me: &str, term: Term, why: &FenceReason) -> Told {
    let text =
        format!("PostgreSQL on {me} is fenced, sealed and stopped{}: {}", in_term(term), fence_reason(why));
    told(Level::Critical, "fence ordered", text)
}
