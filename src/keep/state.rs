//! Owns how the roles' state is written into a checkpoint. It must never hand out a state that is not
//! exactly the one that was written.
//!
//! The state is JSON inside the sealed checkpoint: it names every field, so that a state of another
//! layout is seen to be one, where a dense encoding would be read as something else. What was read is
//! written again and compared, byte by byte, before it is believed.

use crate::core::{CORE_REVISION, Incarnation, States};
use crate::events::{Checkpoint, Hash};
use pgfo_replay::{BootNanos, Seq, WallNanos};

/// The layout of the state; bumped with each change of a field of a role or of the ledger. A release
/// that bumps it keeps a way to read the layout before, because a log that lost its oldest records
/// has no other beginning.
///
/// A new field that is left out while it has its default needs no bump: what was written before it was
/// known is read, and written again, as it was.
pub const LAYOUT: u16 = 1;

/// The record up to which a state is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub seq: Seq,
    /// Its hash.
    pub hash: Hash,
    /// Its boot-time clock.
    pub boot: BootNanos,
    /// Its wall clock.
    pub wall: WallNanos,
}

/// Returns the checkpoint of a state.
///
/// # Errors
/// In words; no state of a sane cluster has any.
pub fn seal_state(states: &States, at: Place, origin: Incarnation) -> Result<Checkpoint, String> {
    let state = serde_json::to_vec(states).map_err(|error| error.to_string())?;
    // The revision that wrote the records, not this one: an audit judges by it.
    let core_revision = states.start.as_ref().map_or(CORE_REVISION, |start| start.core_revision);
    let Place { seq, hash, boot, wall } = at;
    Ok(Checkpoint { layout: LAYOUT, core_revision, origin, seq, hash, boot, wall, state })
}

/// Returns the state that a checkpoint holds.
///
/// # Errors
/// In words, when it is of another layout.
pub fn open_state(checkpoint: &Checkpoint) -> Result<States, String> {
    if checkpoint.layout != LAYOUT {
        return Err(format!("its layout is {}, this release reads {LAYOUT}", checkpoint.layout));
    }
    let states: States = serde_json::from_slice(&checkpoint.state)
        .map_err(|error| format!("its layout is another: {error}"))?;
    let again = serde_json::to_vec(&states).map_err(|error| error.to_string())?;
    if again != checkpoint.state {
        return Err("its layout is another: it holds more, or less, than this release knows".to_owned());
    }
    Ok(states)
}
