//! V3: in the end every standby streams from the primary. One that was frozen for an election that
//! nobody won, and for ever, would be neither an error of one writer nor of agreement.

use super::{Invariant, World, is_live};

/// The invariant.
pub(super) struct StandbysStream;

impl Invariant for StandbysStream {
    fn id(&self) -> &'static str {
        "V3"
    }
    fn says(&self) -> &'static str {
        "once faults end, every standby streams from the primary"
    }
    fn at_end(&mut self, world: &World) -> Result<(), String> {
        // Without an operator who rebuilds them, diverged standbys stay as they are.
        let [writer] = world.writers()[..] else { return Ok(()) };
        if !is_live(world) || world.scenario.rebuild_ms.is_none() {
            return Ok(());
        }
        for node in &world.nodes {
            let Some(p) = node.postgres.as_ref().filter(|_| node.id != writer) else { continue };
            let streams = p.receiver.is_some_and(|r| r.source == writer && !r.loops);
            if !streams && !node.rebuild_queued {
                return Err(format!("member {} does not stream from {}: held {}", node.id.0, writer.0, p.held));
            }
        }
        Ok(())
    }
}
