//! S11: deciding the log again gives every recorded decision.

use super::{Hearing, Invariant, World};
use crate::cluster::role::sim_roles;
use pgfo_replay::Auditor;

/// An audit costs as much as the run: of the seeds, one in so many is audited.
const ONE_SEED_IN: u64 = 8;

/// The invariant.
pub(super) struct Audit;

impl Invariant for Audit {
    fn id(&self) -> &'static str {
        "S11"
    }
    fn says(&self) -> &'static str {
        "deciding the log again gives every recorded decision"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[]
    }
    fn at_end(&mut self, world: &World) -> Result<(), String> {
        if !world.scenario.seed.is_multiple_of(ONE_SEED_IN) {
            return Ok(());
        }
        for node in &world.nodes {
            let mut auditor = Auditor::new(sim_roles(&node.settings));
            let mut found = Vec::new();
            let records = &node.log.records;
            let mut begin = 0;
            for end in 1..=records.len() {
                if records.get(end).is_none_or(|r| r.cause.is_none()) {
                    auditor.check(&records[begin..end], &mut found);
                    begin = end;
                }
                if let Some(d) = found.first() {
                    return Err(format!("member {}: {d:?}", node.id.0));
                }
            }
        }
        Ok(())
    }
}
