//! V1: once faults have ended, there is exactly one writable primary within a bound.

use super::{Hearing, Invariant, World, is_live};

/// The invariant.
pub(super) struct OnePrimary;

impl Invariant for OnePrimary {
    fn id(&self) -> &'static str {
        "V1"
    }
    fn says(&self) -> &'static str {
        "once faults have ended, there is exactly one writable primary within a bound"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[]
    }
    fn at_end(&mut self, world: &World) -> Result<(), String> {
        let writers = world.writers();
        if !is_live(world) || writers.len() == 1 {
            return Ok(());
        }
        Err(format!("at the end, {writers:?} accept writes"))
    }
}
