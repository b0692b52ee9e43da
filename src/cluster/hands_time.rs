//! Lengths of time of what no setting governs, as measured on PostgreSQL 15 or usual there.

use crate::core::Nanos;

/// A guard looks again at a fence that left something behind.
pub(super) const FENCE_RETRY: Nanos = Nanos::from_millis(200);
/// A WAL receiver tries again.
pub(super) const RECEIVER_RETRY: Nanos = Nanos::from_millis(2_000);
/// A WAL receiver gives a silent source up (`wal_receiver_timeout`, shortened).
pub(super) const RECEIVER_TIMEOUT: Nanos = Nanos::from_millis(10_000);
/// A peer link gives a silent peer up.
pub(super) const LINK_IDLE: Nanos = Nanos::from_millis(3_000);
