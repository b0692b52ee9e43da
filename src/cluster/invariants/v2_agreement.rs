//! V2: once faults have ended, all agree on term and primary within a bound, and probe that one (D1): who
//! watches another would not notice when it dies.

use super::{Hearing, Invariant, World, is_live};

/// The invariant.
pub(super) struct Agreement;

impl Invariant for Agreement {
    fn id(&self) -> &'static str {
        "V2"
    }
    fn says(&self) -> &'static str {
        "once faults have ended, all agree on term and primary within a bound"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[]
    }
    fn at_end(&mut self, world: &World) -> Result<(), String> {
        if !is_live(world) {
            return Ok(());
        }
        let views: Vec<_> = world
            .nodes
            .iter()
            .map(|n| n.ledger().and_then(|l| l.announced().map(|a| (a.term, a.primary))))
            .collect();
        for node in &world.nodes {
            let watched = node.daemon.as_ref().and_then(|d| d.watch.winner()).map(|a| (a.term, a.primary));
            if watched != views[usize::from(node.id.0)] {
                return Err(format!("member {} probes the winner {watched:?}, of {views:?}", node.id.0));
            }
        }
        let agree = views.windows(2).all(|w| w[0] == w[1]);
        let writer = world.writers().first().copied();
        let right = views.first().copied().flatten().map(|(_, p)| p) == writer;
        if agree && right { Ok(()) } else { Err(format!("{views:?}, and {writer:?} accepts writes")) }
    }
}
