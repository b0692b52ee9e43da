//! S2: never two PostgreSQL accept writes at one instant.
//!
//! The one exception: a host that was frozen within its lease runs its backends for an instant before
//! its guard, which fences at once.

use super::{Fact, Hearing, Invariant, World};
use crate::core::{MemberId, Nanos};

/// How long the exception may last.
const AFTER_THAW: Nanos = Nanos::from_millis(1_000);

/// The invariant.
pub(super) struct OneWriter;

impl Invariant for OneWriter {
    fn id(&self) -> &'static str {
        "S2"
    }
    fn says(&self) -> &'static str {
        "never two PostgreSQL accept writes at one instant"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        if !matches!(fact, Fact::WritabilityChanged) {
            return Ok(());
        }
        let writers: Vec<MemberId> = world
            .writers()
            .into_iter()
            .filter(|w| {
                let node = world.node(*w);
                let thawed = node.thawed_at.0 > 0 && world.now().since(node.thawed_at) < AFTER_THAW;
                // Its own thaw may still be queued at this very instant.
                !(thawed && (node.guard.fencing || node.thawed_at == world.now()))
            })
            .collect();
        if writers.len() > 1 { Err(format!("members {writers:?} accept writes")) } else { Ok(()) }
    }
}
