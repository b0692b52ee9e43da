//! L8: a release comes when nothing writes any more, and ends the tenure: nobody is granted a term that its
//! holder asked for after releasing it.
//!
//! What was asked when is told by the process that asked, and only within it by the request's number: a log that was
//! rolled back counts on from a lower one, and a voter may still grant what an earlier process had asked for.

use super::{Fact, Hearing, Invariant, World};
use crate::core::{MemberId, Term};
use crate::events::{Decision, Message};
use std::collections::BTreeMap;

/// The invariant.
#[derive(Default)]
pub(super) struct ReleaseEnds {
    /// The processes of each member, in the order of their starts.
    processes: BTreeMap<MemberId, Vec<u64>>,
    /// The releases of each member: the term, which process, and the number of its last request before. The highest
    /// is the last.
    released: BTreeMap<MemberId, Vec<(Term, usize, u64)>>,
}

impl ReleaseEnds {
    /// Returns which process of a member this is; one that was not seen to start is the latest.
    fn which(&self, member: MemberId, nonce: u64) -> usize {
        let seen = self.processes.get(&member).and_then(|all| all.iter().position(|n| *n == nonce));
        seen.unwrap_or(usize::MAX)
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
                    let releases = self.released.entry(*member).or_default();
                    if releases.last().is_none_or(|last| *last < release) {
                        releases.push(release);
                    }
                }
            }
            Fact::DaemonStarted { member, .. } => {
                let nonce = world.node(*member).daemon.as_ref().map(|d| d.process.nonce);
                self.processes.entry(*member).or_default().extend(nonce);
                // One that a crash took from its log before it was flushed was told to nobody: the tenure goes on.
                let kept = world.node(*member).ledger().map_or(Term(0), |l| l.released);
                self.released.entry(*member).and_modify(|all| all.retain(|(term, ..)| *term <= kept));
            }
            Fact::LogLost { member, .. } => {
                self.released.remove(member);
            }
            Fact::Sent { from, to, message } => {
                let (Message::LeaseGranted(ask) | Message::VoteGranted(ask)) = message else {
                    return Ok(());
                };
                if let Some((term, process, number)) = self.released.get(to).and_then(|all| all.last())
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
