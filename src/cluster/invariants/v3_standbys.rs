//! V3: in the end every standby streams from the primary, or from one that does (M4). One that was frozen for an election that
//! nobody won, and for ever, would be neither an error of one writer nor of agreement.

use super::{Hearing, Invariant, World, is_live};
use crate::core::MemberId;

/// The invariant.
pub(super) struct StandbysStream;

impl Invariant for StandbysStream {
    fn id(&self) -> &'static str {
        "V3"
    }
    fn says(&self) -> &'static str {
        "once faults end, every standby streams from the primary"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[]
    }
    fn at_end(&mut self, world: &World) -> Result<(), String> {
        // Without an operator who rebuilds them, diverged standbys stay as they are.
        let [writer] = world.writers()[..] else { return Ok(()) };
        if !is_live(world) || world.scenario.rebuild_ms.is_none() {
            return Ok(());
        }
        for node in &world.nodes {
            let Some(p) = node.postgres.as_ref().filter(|_| node.id != writer) else { continue };
            if !streams(world, node.id, writer) && !node.rebuild_queued {
                return Err(format!(
                    "member {} does not stream from {}: its upstream is {:?}, held {}, receiver {:?}",
                    node.id.0, writer.0, p.upstream, p.held, p.receiver
                ));
            }
        }
        Ok(())
    }
}

/// Whether WAL gets from the primary to a member, over other standbys or not.
fn streams(world: &World, id: MemberId, writer: MemberId) -> bool {
    let mut at = id;
    for _ in &world.nodes {
        if at == writer {
            return true;
        }
        let receiver = world.node(at).postgres.as_ref().and_then(|p| p.receiver).filter(|r| !r.loops);
        let Some(receiver) = receiver else { return false };
        at = receiver.source;
    }
    at == writer
}
