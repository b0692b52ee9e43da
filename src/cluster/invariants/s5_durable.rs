//! S5: no effect of a binding decision before the decision is durable.
//!
//! Which deeds bind is listed here and where they are performed, apart from what the core says that needs
//! a flush. Of grants only the first of a term has to be on the disk (L5).

use super::{Fact, Hearing, Invariant, World};
use crate::core::{MemberId, Term};
use crate::events::{Decision, Event, Message};
use std::collections::BTreeSet;

/// The invariant: the first grants that were found on the disk.
#[derive(Default)]
pub(super) struct Durable(BTreeSet<(MemberId, MemberId, Term)>);

impl Invariant for Durable {
    fn id(&self) -> &'static str {
        "S5"
    }
    fn says(&self) -> &'static str {
        "no effect of a binding decision before the decision is durable"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Grant, Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::EffectTooEarly { member, what } => Err(format!("member {}: {what}", member.0)),
            Fact::LogLost { member, .. } => {
                self.0.retain(|(from, ..)| from != member);
                Ok(())
            }
            Fact::Sent { from, to, message } => {
                let Message::LeaseGranted(ask) = message else { return Ok(()) };
                if self.0.contains(&(*from, *to, ask.term)) {
                    return Ok(());
                }
                let log = &world.node(*from).log;
                // What is looked for is mostly near the end.
                let on_disk = log.records.iter().take(log.flushed).rev().any(|r| match &r.event {
                    Event::Decided(Decision::LeaseGranted { to: holder, ask: a, .. }) => {
                        holder == to && a.term == ask.term
                    }
                    Event::Decided(Decision::VoteGranted { candidate, ask: a, .. }) => {
                        candidate == to && a.term == ask.term
                    }
                    _ => false,
                });
                if !on_disk {
                    return Err(format!(
                        "member {} grants {} term {}, and nothing of it is on its disk",
                        from.0, to.0, ask.term
                    ));
                }
                self.0.insert((*from, *to, ask.term));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
