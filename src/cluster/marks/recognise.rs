//! Recognises marks: from the batches that members record, and from facts. Each batch is looked at once, by the
//! kinds of its records; only votes, wins and the latest process need to be remembered.

use super::{Mark, Marks};
use crate::cluster::fact::Fact;
use crate::cluster::node::Node;
use crate::cluster::queue::Run;
use crate::cluster::world::World;
use crate::core::{BootNanos, Ledger, MemberId, Quorum, Term};
use crate::events::{
    CandidacyKind, Deadline, Decision, Event, FenceReason, FollowOutcome, GuardReport, LeaseAsk, Message,
    NoElection, Observation, ProbeReport, PromotionOutcome, Record, Refusal, Unelectable, Verdict,
};
use std::collections::BTreeMap;

/// The marks that a run has reached so far, and what is needed to tell some of them.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Noted {
    /// The marks.
    pub(in crate::cluster) reached: Marks,
    /// The last vote of each member.
    votes: BTreeMap<MemberId, LeaseAsk>,
    /// The last win of each member, and the process that won.
    wins: BTreeMap<MemberId, (Term, Run)>,
}

/// Returns the marks that a fact shows.
pub(in crate::cluster) fn of_fact(world: &World, fact: &Fact) -> Marks {
    let mut reached = Marks::default();
    let Fact::FenceBegan { member, by_guard: true, was_writable } = fact else { return reached };
    let (node, now) = (world.node(*member), world.now());
    if *was_writable && node.daemon.as_ref().is_none_or(|d| now < d.frozen.until) {
        reached.add(Mark::GuardFencedAlone);
    }
    if node.thawed_at == now && node.guard.marked {
        reached.add(Mark::ThawedTooLate);
    }
    if *was_writable && activity(node) == "standing" {
        reached.add(Mark::IncumbentExpired);
    }
    let stands = |n: &Node| matches!(activity(n), "waiting to stand" | "freezing" | "standing");
    if *was_writable && world.nodes.iter().any(|n| n.id != *member && stands(n)) {
        reached.add(Mark::LeaseEndedMeanwhile);
    }
    reached
}

fn activity(node: &Node) -> &'static str {
    node.daemon.as_ref().map_or("", |d| d.roles.activity())
}

impl Noted {
    /// Looks at a batch that a member has just recorded.
    pub(in crate::cluster) fn look(&mut self, node: &Node, batch: &[Record]) {
        for record in batch {
            if is_usual(record) {
                continue;
            }
            let Some(ledger) = node.ledger() else { return };
            match &record.event {
                Event::Observed(observation) => self.observed(node, ledger, observation, batch),
                Event::Decided(decision) => self.decided(node, ledger, decision, record.boot, batch),
            }
        }
    }

    fn observed(&mut self, node: &Node, ledger: &Ledger, observation: &Observation, batch: &[Record]) {
        let reached = match observation {
            Observation::ProbeCompleted { target, report, stalled, .. } => {
                let failed = !matches!(report, ProbeReport::Answered(_));
                Mark::ProbeDiscounted.when(stalled.0 > 0 && failed && ledger.primary() == Some(*target))
            }
            Observation::MessageReceived { message, .. } => match message {
                Message::ConfirmedDown { term, .. } => {
                    Mark::ConfirmationVoid.when(*term < ledger.announced_term())
                }
                Message::LeaseReleased { term, .. } => {
                    Mark::StaleRelease.when(*term < ledger.announced_term())
                }
                Message::CandidacyEnded { term, nonce } => {
                    let mine = ledger.voted.filter(|v| v.ask.term == *term && v.ask.process.nonce == *nonce);
                    Mark::VoteReturned.when(mine.is_some() && ledger.promise.is_none())
                }
                Message::VoteGranted(ask) => {
                    Mark::VoteTooLate.when(ledger.tenure != Some(ask.term) && activity(node) != "standing")
                }
                _ => None,
            },
            Observation::FenceCompleted(outcome) => Mark::FenceIncomplete.when(!outcome.nothing_left),
            Observation::CatchUpCompleted { outcome, .. } => match outcome {
                FollowOutcome::Streaming { .. } => Some(Mark::CaughtUp),
                _ => Some(Mark::CatchUpFailed),
            },
            Observation::PromotionCompleted { outcome, .. } => match outcome {
                PromotionOutcome::Unknown { .. } => Some(Mark::PromotionUnknown),
                PromotionOutcome::Failed { .. } | PromotionOutcome::Vetoed { .. } => {
                    Some(Mark::PromotionFailed)
                }
                PromotionOutcome::Promoted { .. } | PromotionOutcome::Refused { .. } => None,
            },
            Observation::GuardReported(GuardReport::Refused { .. }) => Some(Mark::GuardRefused),
            Observation::GuardReported(GuardReport::Present { armed: Some(_) }) => {
                let extends = |d: &Decision| matches!(d, Decision::LeaseExtended { .. });
                Mark::GuardOutlived.when(decides(batch, extends))
            }
            _ => None,
        };
        self.add(reached);
    }

    #[allow(clippy::too_many_lines, reason = "a table")]
    fn decided(
        &mut self,
        node: &Node,
        ledger: &Ledger,
        decision: &Decision,
        now: BootNanos,
        batch: &[Record],
    ) {
        let reached = match decision {
            Decision::LeaseGranted { ask, until, .. } => {
                Mark::PromiseKeptLonger.when(*until > now.plus_nanos(ask.duration.0))
            }
            Decision::VerdictChanged { from, to, evidence, .. } => match (from, to, evidence) {
                (_, Verdict::Unreachable, Some(ProbeReport::Failed(f))) => {
                    Mark::StandbyAnswered.when(*f == crate::events::ProbeFailure::InRecovery)
                }
                (_, Verdict::Unreachable, Some(ProbeReport::Alive(_))) => {
                    Mark::SignOfLifeRanOut.when(ledger.released < ledger.announced_term())
                }
                (Verdict::Suspect, Verdict::Reachable, Some(ProbeReport::Alive(_))) => {
                    Some(Mark::SignOfLifeCleared)
                }
                (Verdict::Suspect, Verdict::Reachable, Some(ProbeReport::Answered(_))) => {
                    Some(Mark::MassageCleared)
                }
                _ => None,
            },
            Decision::LeaseRefused { why, .. } => refused_lease(ledger, why),
            Decision::FreezeRefused { why, .. } | Decision::VoteRefused { why, .. } => {
                refused_candidate(ledger, why)
            }
            Decision::VoteGranted { ask, loss_bytes, .. } => {
                let repeated = self.votes.insert(node.id, **ask) == Some(**ask);
                self.add(Mark::VoteRepeated.when(repeated));
                Mark::VotedAtALoss.when(*loss_bytes > 0)
            }
            Decision::LeaseExpired { term, .. } => {
                self.add(Mark::LeaseLostPromoting.when(*term > ledger.announced_term()));
                Some(Mark::LeaseRanOut)
            }
            Decision::FenceOrdered { why, .. } => match why {
                FenceReason::HungAndQuorumAgrees => Some(Mark::FencedByAgreement),
                FenceReason::Superseded { .. } => Some(Mark::FencedForSuccessor),
                FenceReason::NoLease => Some(Mark::FencedWithoutLease),
                FenceReason::PromotionUnknown => Mark::PromotionNotTold.when(begins(batch, |o| {
                    matches!(o, Observation::DeadlinePassed(Deadline::PromotionEnds))
                })),
                _ => None,
            },
            Decision::StopRefused { .. } => Some(Mark::StopRefused),
            Decision::ElectionAbandoned { term, why } => match why {
                NoElection::TooFewHoldItDown { seers, .. } if seers.is_empty() => Some(Mark::TooFewHeard),
                NoElection::TooFewHoldItDown { .. } => Some(Mark::VetoedInPreVote),
                NoElection::TooFewCanVote { .. } => Some(Mark::TooFewAble),
                NoElection::PrimaryBack(_) => Mark::PrimaryBack.when(term.is_some()),
                NoElection::TooFewVotes { refused, .. } => {
                    let same = |why: &Refusal| {
                        matches!(why, Refusal::VotedInTerm { term: t, candidate }
                            if Some(*t) == *term && *candidate != node.id)
                    };
                    Mark::VoteSplit.when(refused.iter().any(|(_, why)| same(why)))
                }
                NoElection::NotFrozen | NoElection::NotElectable(_) => None,
            },
            Decision::ElectionPlanned { free_at, .. } => Mark::PromisesAwaited.when(*free_at > now),
            Decision::CandidacyWithheld { why, .. } => match why {
                Unelectable::LogStalled => Some(Mark::LogStalled),
                Unelectable::Paused => Some(Mark::PausedRefused),
                Unelectable::Quarantined => Some(Mark::QuarantinedRefused),
                _ => None,
            },
            Decision::CandidacyYielded { .. } => Some(Mark::Yielded),
            Decision::FreezePromised { .. } => {
                Mark::FrozenAgain.when(begins(batch, |o| matches!(o, Observation::ProbeCompleted { .. })))
            }
            Decision::FollowRefused { past_fork_bytes, .. } => {
                Some(past_fork_bytes.map_or(Mark::DivergedRefused, |_| Mark::PastForkRefused))
            }
            Decision::AnnouncementAdopted(a) | Decision::PrimaryAnnounced(a) => {
                let collides = |b: &crate::events::Announcement| {
                    b.lineage.timeline == a.lineage.timeline && b.lineage.opened != a.lineage.opened
                };
                Mark::TimelinesCollided.when(ledger.history.iter().any(collides))
            }
            Decision::ElectionWon { term, voters, kind, .. } => {
                self.wins.insert(node.id, (*term, node.daemon_run().unwrap_or_default()));
                let needed = Quorum::of(&node.settings).needed();
                let witness = voters.iter().any(|m| node.settings.is_witness(*m));
                self.add(Mark::WitnessDecided.when(witness && voters.len() == needed));
                match kind {
                    CandidacyKind::Incumbent => Some(Mark::IncumbentReelected),
                    CandidacyKind::OperatorAdoption | CandidacyKind::OperatorVouched => {
                        Some(Mark::NamedByOperator)
                    }
                    CandidacyKind::Failover | CandidacyKind::FirstAdoption => None,
                }
            }
            Decision::PromotionOrdered { term } | Decision::PromotionOrderedOf { term, .. } => {
                let run = node.daemon_run().unwrap_or_default();
                Mark::PromotionResumed
                    .when(self.wins.get(&node.id).is_some_and(|w| w.0 == *term && w.1 != run))
            }
            Decision::HistoryShared { .. } => Some(Mark::WinnerMissed),
            Decision::AdoptionRefused { .. } => Some(Mark::AdoptionRefused),
            Decision::RosterCommitted(roster) => Mark::RegisteredAnew.when(roster.number > 1),
            Decision::RosterProposed(roster) => {
                Mark::RosterRenumbered.when(roster.number > ledger.roster.number.saturating_add(1))
            }
            Decision::PauseConfirmed { .. } => Some(Mark::PausedByQuorum),
            Decision::PauseEnded(pause) => {
                let back =
                    begins(batch, |o| matches!(o, Observation::GuardReported(GuardReport::Armed { .. })));
                let dead =
                    |d: &Decision| matches!(d, Decision::VerdictChanged { to: Verdict::ConfirmedDown, .. });
                self.add(Mark::PauseEndedOnReturn.when(back && pause.primary == node.id));
                Mark::PauseEndedByDeath.when(decides(batch, dead))
            }
            Decision::ResumeRepeated { .. } => Some(Mark::ResumeRepeated),
            Decision::RoleFailed { quarantined, .. } => {
                self.add(Mark::RoleQuarantined.when(*quarantined));
                Some(Mark::RoleRebuilt)
            }
            _ => None,
        };
        self.add(reached);
    }

    fn add(&mut self, mark: Option<Mark>) {
        if let Some(mark) = mark {
            self.reached.add(mark);
        }
    }
}

/// L3 and what stands beside it.
fn refused_lease(ledger: &Ledger, why: &Refusal) -> Option<Mark> {
    match why {
        Refusal::VotedInTerm { .. } => Some(Mark::RefusedVoter),
        Refusal::OtherWinner { .. } => Some(Mark::RefusedWinner),
        Refusal::PromiseStands { .. } => Some(Mark::RefusedPromise),
        Refusal::QuorumHoldsDown { .. } => Some(Mark::RefusedByQuorum),
        Refusal::WinnerUnknown => Some(Mark::WinnerUnknown),
        Refusal::Released(_) => Some(Mark::RefusedReleased),
        _ => refused_anybody(ledger, why),
    }
}

/// E6 and what stands beside it, for freezes as for votes.
fn refused_candidate(ledger: &Ledger, why: &Refusal) -> Option<Mark> {
    match why {
        Refusal::SeesPrimary(_) => Some(Mark::SeerRefused),
        Refusal::FreezeNotObserved => Some(Mark::FreezeUnobserved),
        Refusal::LineageOlder { .. } => Some(Mark::OlderHistoryRefused),
        Refusal::Unsettled => Some(Mark::UnsettledRefused),
        Refusal::PositionBehind { .. } => Some(Mark::BehindRefused),
        Refusal::PromiseStands { .. } => Some(Mark::VoterPromised),
        Refusal::FrozenForTerm(_) => Some(Mark::HigherTermFrozen),
        Refusal::HistoryExists | Refusal::PostgresUnknown { .. } => Some(Mark::AdoptionRefused),
        Refusal::Paused => Some(Mark::PausedRefused),
        _ => refused_anybody(ledger, why),
    }
}

fn refused_anybody(ledger: &Ledger, why: &Refusal) -> Option<Mark> {
    match why {
        Refusal::NotRegistered if ledger.roster.number == 0 && !ledger.forgetful => {
            Some(Mark::AdoptionRefused)
        }
        Refusal::NotRegistered if !ledger.registered() => Some(Mark::ForgetfulRefused),
        Refusal::NotRegistered => Some(Mark::StrangerRefused),
        Refusal::SilentAfterRestart { .. } => Some(Mark::SilentAfterRestart),
        Refusal::NotHeardYet => Some(Mark::UnheardRefused),
        Refusal::OtherConfiguration { .. } => Some(Mark::OtherConfiguration),
        Refusal::LogStalled => Some(Mark::LogStalled),
        Refusal::Quarantined => Some(Mark::QuarantinedRefused),
        _ => None,
    }
}

/// Most of what is recorded, which shows no mark: told apart first, since it is most of what a run records.
#[inline]
pub(in crate::cluster) fn is_usual(record: &Record) -> bool {
    match &record.event {
        Event::Observed(observation) => match observation {
            Observation::HeartbeatDue { .. } => true,
            Observation::ProbeCompleted { stalled, .. } => stalled.0 == 0,
            Observation::MessageReceived { message, .. } => matches!(
                message,
                Message::Heartbeat(_)
                    | Message::LeaseRequested(_)
                    | Message::RenewalRequested(_)
                    | Message::LeaseGranted(_)
            ),
            _ => false,
        },
        Event::Decided(decision) => match decision {
            Decision::HeartbeatSent(_)
            | Decision::LeaseRequested(_)
            | Decision::RenewalRequested(_)
            | Decision::LeaseExtended { .. } => true,
            Decision::LeaseGranted { ask, until, .. } => *until <= record.boot.plus_nanos(ask.duration.0),
            _ => false,
        },
    }
}

fn begins(batch: &[Record], with: impl Fn(&Observation) -> bool) -> bool {
    batch.first().is_some_and(|r| matches!(&r.event, Event::Observed(o) if with(o)))
}

fn decides(batch: &[Record], what: impl Fn(&Decision) -> bool) -> bool {
    batch.iter().any(|r| matches!(&r.event, Event::Decided(d) if what(d)))
}

impl Mark {
    fn when(self, reached: bool) -> Option<Self> {
        reached.then_some(self)
    }
}
