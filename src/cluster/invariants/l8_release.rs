//! L8: a release comes when nothing writes any more, and ends the tenure: nobody is granted a term that its
//! holder asked for after releasing it.
//!
//! A release that the log has lost again, because its process ended before the flush, was none: nobody was told.
//!
//! What was asked when is told by the process that asked, and only within it by the request's number: a log that was
//! rolled back counts on from a lower one, and a voter may still grant what an earlier process had asked for.

use super::{Fact, Hearing, Invariant, World};
use crate::core::{MemberId, Term};
use crate::events::{Decision, Message};
use std::collections::BTreeMap;

/// A release.
struct Release {
    term: Term,
    /// Which process released, and the number of its last request before.
    process: usize,
    number: u64,
    /// How many records the log held before it.
    behind: usize,
}

/// The invariant.
#[derive(Default)]
pub(super) struct ReleaseEnds {
    /// The processes of each member, in the order of their starts.
    processes: BTreeMap<MemberId, Vec<u64>>,
    /// The releases of each member.
    released: BTreeMap<MemberId, Vec<Release>>,
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
                    let (process, behind) =
                        (self.which(*member, nonce), world.node(*member).log.records.len());
                    let release = Release { term: *term, process, number: *last_number, behind };
                    self.released.entry(*member).or_default().push(release);
                }
            }
            Fact::DaemonStarted { member, .. } => {
                let nonce = world.node(*member).daemon.as_ref().map(|d| d.process.nonce);
                self.processes.entry(*member).or_default().extend(nonce);
            }
            Fact::DaemonEnded { member, .. } => {
                if let Some(releases) = self.released.get_mut(member) {
                    let kept = world.node(*member).log.records.len();
                    releases.retain(|r| r.behind < kept);
                }
            }
            Fact::LogLost { member, .. } => {
                self.released.remove(member);
            }
            Fact::Sent { from, to, message } => {
                let (Message::LeaseGranted(ask) | Message::VoteGranted(ask)) = message else {
                    return Ok(());
                };
                let asked = (self.which(*to, ask.process.nonce), ask.number);
                let before = |r: &&Release| ask.term <= r.term && asked > (r.process, r.number);
                if let Some(release) = self.released.get(to).and_then(|all| all.iter().find(before)) {
                    return Err(format!(
                        "member {} released term {}, asked for term {} afterwards, and {} granted it",
                        to.0, release.term, ask.term, from.0
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
