//! Owns the check of a store when it is opened: where it ends, and that the chain holds. It must
//! never change the store.

use super::chain::{Hash, Verifier};
use super::damage::{Damage, DamageKind};
use super::entry::{Entry, Header};
use super::store::{Store, StoreError};
use super::walk::Walk;
use pgfo_replay::Seq;

/// Newest records whose every hash is verified at each open, about a second's work. Of older ones
/// only the blocks' chain is; an audit verifies all.
pub(crate) const VERIFY_RECORDS_MAX: u64 = 2_000_000;

/// What the check found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    pub(crate) header: Header,
    /// The last record and its hash; number 0 in an empty log.
    pub(crate) last: Seq,
    pub(crate) hash: Hash,
    /// The first record that is not packed; past the last if all are.
    pub(crate) hot_first: Seq,
    /// The hash of the record asked for, if it was met.
    pub(crate) met: Option<Hash>,
}

/// Why a store was not checked.
pub(crate) enum CheckError {
    /// It could not be read for a reason outside it.
    Environment(String),
    /// It is damaged.
    Damaged(Damage),
}

/// Turns a store's error into what it means for record `seq`.
pub(crate) fn store_damage(seq: Seq, error: StoreError) -> CheckError {
    match error {
        StoreError::Damaged(why) => CheckError::Damaged(Damage { seq, what: DamageKind::Store(why) }),
        StoreError::Environment(_) | StoreError::Locked => CheckError::Environment(error.to_string()),
    }
}

/// Verifies `store`, and looks up the hash of record `wanted`. `None`: it has no header.
pub(crate) fn check(store: &Store, wanted: Option<Seq>) -> Result<Option<Checked>, CheckError> {
    let Some(header) = store.header().map_err(|error| store_damage(Seq(1), error))? else {
        return Ok(None);
    };
    let header = Header::parse(&header)
        .map_err(|why| CheckError::Damaged(Damage { seq: Seq(1), what: DamageKind::Header(why) }))?;
    let base = store.base(&header).map_err(|error| store_damage(header.first, error))?;
    if let Some(Err(why)) = base {
        return Err(CheckError::Damaged(Damage { seq: header.first, what: DamageKind::Checkpoint(why) }));
    }
    let end = match store.last_entry().map_err(|error| store_damage(header.first, error))? {
        Some((first, value)) => first.0 + Entry::parse(&value).map_or(0, |entry| entry.count()),
        None => 0,
    };
    let full_from = Seq(end.saturating_sub(VERIFY_RECORDS_MAX));
    let mut walk = Walk::new(Verifier { next: header.first, previous: header.before })
        .map_err(|error| CheckError::Environment(error.to_string()))?;
    let mut hot_first = None;
    let mut value_bytes = 0;
    let mut met = None;
    let entries = store.entries(Seq(1)).map_err(|error| store_damage(header.first, error))?;
    for entry in entries {
        let due = walk.verifier().next;
        let (first, value) = entry.map_err(|error| store_damage(due, error))?;
        value_bytes += value.len() as u64;
        match Entry::parse(&value) {
            Ok(Entry::Packed(packed)) if due < full_from && first == due => {
                if packed.before != walk.verifier().previous {
                    let what = DamageKind::Block("it does not follow the block before it".to_string());
                    return Err(CheckError::Damaged(Damage { seq: due, what }));
                }
                let next = Seq(due.0 + u64::from(packed.count));
                walk = Walk::new(Verifier { next, previous: packed.last })
                    .map_err(|error| CheckError::Environment(error.to_string()))?;
            }
            parsed => {
                if hot_first.is_none() && matches!(parsed, Ok(Entry::Hot(_))) {
                    hot_first = Some(first);
                }
                walk.load(first, &value).map_err(CheckError::Damaged)?;
                while let Some(hash) = walk.next_with(|frame| frame.hash) {
                    let hash = hash.map_err(CheckError::Damaged)?;
                    if Some(walk.verifier().last().0) == wanted {
                        met = Some(hash);
                    }
                }
            }
        }
    }
    store.set_value_bytes(value_bytes);
    let verifier = walk.verifier();
    let (last, hash) = verifier.last();
    Ok(Some(Checked { header, last, hash, hot_first: hot_first.unwrap_or(verifier.next), met }))
}
