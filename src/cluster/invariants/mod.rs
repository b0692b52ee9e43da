//! The invariants, one file each, and their registry (DESIGN section 3.6). They look at the world from
//! outside; no member knows what they know.

mod e11_fresh_grants;
mod e1_sees;
mod e2_frozen;
mod e3_spoilt;
mod h1_false_failover;
mod h2_one_per_cause;
mod h3_ping_pong;
mod l1_promise_kept;
mod l3_grants;
mod l5_lineage;
mod l8_release;
mod memory;
mod s10_recovery;
mod s11_audit;
mod s12_bounds;
mod s1_one_winner;
mod s2_one_writer;
mod s3_terms;
mod s4_one_vote;
mod s5_durable;
mod s6_position;
mod s7_quorum;
mod s8_forgetful;
mod s9_nothing_automatic;
mod v1_one_primary;
mod v2_agreement;
mod v3_standbys;
mod v4_refused;

use super::fact::{Fact, Hearing};
use super::world::World;
use crate::core::Quorum;

/// A property that must hold.
pub trait Invariant {
    /// Returns its name, as DESIGN section 3.6 and PROTOCOL.md count.
    fn id(&self) -> &'static str;

    /// Returns what it says, in one sentence.
    fn says(&self) -> &'static str;

    /// Returns which facts it looks at.
    fn hears(&self) -> &'static [Hearing] {
        Hearing::ALL
    }

    /// Looks at a fact just after it happened.
    ///
    /// # Errors
    /// What broke it.
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let _ = (world, fact);
        Ok(())
    }

    /// Looks at the end of the run.
    ///
    /// # Errors
    /// What broke it.
    fn at_end(&mut self, world: &World) -> Result<(), String> {
        let _ = world;
        Ok(())
    }
}

/// Returns whether PROTOCOL.md promises liveness at the end of this run: enough voters are registered (when
/// most logs are lost, the operator has to name who they are, M1), and somebody leads or may be elected.
pub(super) fn is_live(world: &World) -> bool {
    let Some(first) = world.nodes.first() else { return false };
    let quorum = Quorum::of(&first.settings);
    let newest = world.nodes.iter().filter_map(|n| n.ledger()).max_by_key(|l| l.roster.number);
    let registered = world
        .nodes
        .iter()
        .filter(|n| n.settings.votes(n.id))
        .filter(|n| {
            let known =
                newest.and_then(|l| l.roster.incarnations.get(usize::from(n.id.0)).copied().flatten());
            known == Some(n.log.incarnation)
        })
        .count();
    let ledgers = || world.nodes.iter().filter_map(|n| n.ledger());
    let lineage = ledgers().filter_map(|l| l.announced()).max_by_key(|a| a.term).map(|a| a.lineage);
    let electable = ledgers().any(|l| l.electable().is_ok() && l.lineage >= lineage);
    let someone = electable || !world.writers().is_empty();
    world.scenario.live && registered >= quorum.needed() && someone
}

/// Makes all invariants, in the order in which they look.
#[must_use]
pub fn registry() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(s1_one_winner::OneWinner::default()),
        Box::new(s2_one_writer::OneWriter),
        Box::new(s3_terms::TermsNeverFall::default()),
        Box::new(s4_one_vote::OneVote::default()),
        Box::new(s5_durable::Durable::default()),
        Box::new(s6_position::Position::default()),
        Box::new(s7_quorum::QuorumOfRegistered::default()),
        Box::new(s8_forgetful::Forgetful::default()),
        Box::new(s9_nothing_automatic::NothingAutomatic::default()),
        Box::new(s10_recovery::Recovery),
        Box::new(s12_bounds::Bounds),
        Box::new(l1_promise_kept::PromiseKept::default()),
        Box::new(l3_grants::GrantsToWhomItMay::default()),
        Box::new(l8_release::ReleaseEnds::default()),
        Box::new(e1_sees::WhoSeesRefuses::default()),
        Box::new(l5_lineage::Lineages::default()),
        Box::new(e2_frozen::StaysFrozen::default()),
        Box::new(e3_spoilt::Unspoilt),
        Box::new(e11_fresh_grants::FreshGrants::default()),
        Box::new(h1_false_failover::FalseFailover::default()),
        Box::new(h2_one_per_cause::OnePerCause::default()),
        Box::new(h3_ping_pong::PingPong::default()),
        Box::new(v1_one_primary::OnePrimary),
        Box::new(v2_agreement::Agreement),
        Box::new(v3_standbys::StandbysStream),
        Box::new(v4_refused::NobodyRefused::default()),
        Box::new(s11_audit::Audit),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_unique_and_said() {
        let all = super::registry();
        let ids: std::collections::BTreeSet<_> = all.iter().map(|i| i.id()).collect();
        assert_eq!(ids.len(), all.len());
        assert!(all.iter().all(|i| i.says().len() > 20));
    }
}
