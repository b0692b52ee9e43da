//! Whose PostgreSQL is probed and followed: the newest winner's. Hands keep it; it is no state of a role.

use crate::core::{MemberId, Plant, planted};
use crate::events::Announcement;

/// The newest winner that a hand was told. Announcements come in any order: whoever missed some is told of
/// them after the newest.
#[derive(Clone, Debug, Default)]
pub struct Watch(Option<Announcement>);

impl Watch {
    /// Begins with the newest winner that the log knows.
    #[must_use]
    pub const fn new(winner: Option<Announcement>) -> Self {
        Self(winner)
    }

    /// Turns to a winner, unless a newer one is watched. Returns whether it did.
    pub fn turn_to(&mut self, winner: Announcement) -> bool {
        let newer = self.0.is_none_or(|watched| watched.term < winner.term) || planted(Plant::WatchesAsTold);
        if newer {
            self.0 = Some(winner);
        }
        newer
    }

    /// Returns whom to probe.
    #[must_use]
    pub fn primary(&self) -> Option<MemberId> {
        self.0.map(|winner| winner.primary)
    }

    /// Returns the winner.
    #[must_use]
    pub const fn winner(&self) -> Option<&Announcement> {
        self.0.as_ref()
    }
}
