//! S3: the terms a member voted in never fall, across crashes too.

use super::{Fact, Hearing, Invariant, World};
use crate::cluster::fact::vote_of;
use crate::core::{MemberId, Term};
use std::collections::BTreeMap;

/// The invariant.
#[derive(Default)]
pub(super) struct TermsNeverFall(BTreeMap<MemberId, Term>);

impl Invariant for TermsNeverFall {
    fn id(&self) -> &'static str {
        "S3"
    }
    fn says(&self) -> &'static str {
        "the terms a member voted in never fall, across crashes too"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Sent { from, message, .. } => {
                if let Some(ask) = vote_of(message) {
                    let highest = self.0.entry(*from).or_default();
                    if ask.term < *highest {
                        return Err(format!("member {} voted in term {} after {highest}", from.0, ask.term));
                    }
                    *highest = ask.term;
                }
            }
            Fact::LogLost { member, .. } => {
                self.0.remove(member);
            }
            Fact::DaemonStarted { member, term_seen } => {
                let voted = self.0.get(member).copied().unwrap_or_default();
                if *term_seen < voted {
                    return Err(format!(
                        "member {} came back with term {term_seen}, but had voted in {voted}",
                        member.0
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
