//! S12: queues and logs are bounded.

use super::{Hearing, Invariant, World};
use crate::core::Nanos;

/// Records a member may write a second and peer, on the average: heartbeats, probes, grants.
const RECORDS_PER_S_AND_MEMBER: u64 = 40;

/// Winners a member may keep.
const HISTORY_MAX: usize = 64;

/// The invariant.
pub(super) struct Bounds;

impl Invariant for Bounds {
    fn id(&self) -> &'static str {
        "S12"
    }
    fn says(&self) -> &'static str {
        "queues and logs are bounded"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[]
    }
    fn at_end(&mut self, world: &World) -> Result<(), String> {
        let scenario_s = Nanos::from_millis(world.scenario.timings.heartbeat_ms);
        let shortest = world.nodes.iter().map(|n| n.settings.heartbeat_interval).fold(scenario_s, Nanos::min);
        let heartbeats = world.now().0 / shortest.0.max(1_000_000) + 60;
        let bound = heartbeats * RECORDS_PER_S_AND_MEMBER * world.nodes.len() as u64;
        for node in &world.nodes {
            let records = node.log.records.len() as u64;
            if records > bound {
                return Err(format!("member {} wrote {records} records, more than {bound}", node.id.0));
            }
            if node.ledger().is_some_and(|l| l.history.len() > HISTORY_MAX) {
                return Err(format!("member {} keeps more than {HISTORY_MAX} winners", node.id.0));
            }
            let waiting = node.daemon.as_ref().map_or(0, |d| d.waiting.len());
            if waiting > 1_000 {
                return Err(format!("member {} has {waiting} effects waiting", node.id.0));
            }
        }
        Ok(())
    }
}
