//! S9: nothing automatic while paused or manual.

use super::{Fact, Hearing, Invariant, World};
use crate::cluster::fact::replaces;
use crate::cluster::fault::Fault;
use crate::events::{Decision, PauseId};

/// The invariant: the pause that a quorum agreed to.
#[derive(Default)]
pub(super) struct NothingAutomatic(Option<PauseId>);

impl Invariant for NothingAutomatic {
    fn id(&self) -> &'static str {
        "S9"
    }
    fn says(&self) -> &'static str {
        "nothing automatic while paused or manual"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Decided { member, decision } = fact else { return Ok(()) };
        match &**decision {
            Decision::PauseConfirmed { pause, .. } => self.0 = Some(*pause),
            Decision::PauseEnded(pause) if pause.primary == *member => {
                self.0 = self.0.filter(|p| p > pause);
            }
            Decision::DownConfirmed { .. } => self.0 = self.0.filter(|p| p.primary != *member),
            Decision::ElectionWon { kind, term, .. } if replaces(*kind) => {
                let by_name = |f: &Fault| matches!(f, Fault::Adopt { .. } | Fault::AdoptVouched { .. });
                let named = world.scenario.faults.iter().any(|f| by_name(&f.fault));
                let settings = &world.node(*member).settings;
                if !named && (!settings.automatic || settings.priority == 0) {
                    return Err(format!("member {} may not be promoted, and won term {term}", member.0));
                }
                if let Some(pause) = self.0.filter(|_| !named) {
                    return Err(format!("member {} won term {term} within pause {pause:?}", member.0));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
