//! L8: a release comes when nothing writes any more, and ends the tenure: nobody is granted a term that its
//! holder asked for after releasing it.
//!
//! What was asked when is told by the process that asked, and only within it by the request's number: a log that was
//! rolled back counts on from a lower one, and a voter may still grant what an earlier process had asked for. A release
//! that ended with its process, before it was flushed, was told to nobody: it never was.

use super::{Fact, Hearing, Invariant, World};
use crate::core::{MemberId, Term};
use crate::events::{Decision, Event, Message, Observation};
use std::collections::BTreeMap;

/// The term, which process released it, and the number of its last request before.
type Release = (Term, usize, u64);

/// The invariant.
#[derive(Default)]
pub(super) struct ReleaseEnds {
    /// The processes of each member, in the order of their starts.
    processes: BTreeMap<MemberId, Vec<u64>>,
    /// The releases of each member, in the order of their decisions.
    released: BTreeMap<MemberId, Vec<Release>>,
}

impl ReleaseEnds {
    /// Returns which process of a member this is; one that was not seen to start is the latest.
    fn which(&self, member: MemberId, nonce: u64) -> usize {
        let seen = self.processes.get(&member).and_then(|all| all.iter().position(|n| *n == nonce));
        seen.unwrap_or(usize::MAX)
    }

    /// Forgets what a process released last, if that went with the unflushed end of its log.
    fn forget_lost(&mut self, world: &World, member: MemberId) {
        let Some(releases) = self.released.get_mut(&member) else { return };
        let latest = self.processes.get(&member).map_or(0, Vec::len).saturating_sub(1);
        let begins = |e: &Event| matches!(e, Event::Observed(Observation::ProcessStarted(_)));
        let own = world.node(member).log.records.iter().rev().take_while(|r| !begins(&r.event));
        let left: Vec<Term> = own
            .filter_map(|r| match &r.event {
                Event::Decided(Decision::LeaseReleased { term, .. }) => Some(*term),
                _ => None,
            })
            .collect();
        releases.retain(|(term, process, _)| *process < latest || left.contains(term));
    }
}

impl Invariant for ReleaseEnds {
    fn id(&self) -> &'static str {
        "L8"
    }
    fn says(&self) -> &'static str {
        "a tenure is released only once nothing writes any more, and its term is never asked for again"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Grant, Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Decided { member, decision } => {
                if let Decision::LeaseReleased { term, last_number } = &**decision {
                    if world.writers().contains(member) {
                        return Err(format!(
                            "member {} releases term {term}, and still accepts writes",
                            member.0
                        ));
                    }
                    let nonce = world.node(*member).daemon.as_ref().map_or(0, |d| d.process.nonce);
                    let release = (*term, self.which(*member, nonce), *last_number);
                    self.released.entry(*member).or_default().push(release);
                }
            }
            Fact::DaemonStarted { member, .. } => {
                let nonce = world.node(*member).daemon.as_ref().map(|d| d.process.nonce);
                self.processes.entry(*member).or_default().extend(nonce);
            }
            Fact::DaemonEnded { member, .. } => self.forget_lost(world, *member),
            Fact::LogLost { member, .. } => {
                self.released.remove(member);
            }
            Fact::Sent { from, to, message } => {
                let (Message::LeaseGranted(ask) | Message::VoteGranted(ask)) = message else {
                    return Ok(());
                };
                if let Some((term, process, number)) = self.released.get(to).and_then(|all| all.iter().max())
                    && ask.term <= *term
                    && (self.which(*to, ask.process.nonce), ask.number) > (*process, *number)
                {
                    return Err(format!(
                        "member {} released term {term}, asked for term {} afterwards, and {} granted it",
                        to.0, ask.term, from.0
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
