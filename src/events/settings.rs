//! The settings that decisions depend on, as each process start records them. No secrets, no paths.

use crate::core::{MemberId, Nanos};
use serde::{Deserialize, Serialize};

/// One registered member, as every member's configuration must name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemberSettings {
    /// Name, unique in the cluster.
    pub name: String,
    /// Whether it has no PostgreSQL.
    pub witness: bool,
    /// Whether its vote counts.
    pub votes: bool,
}

/// How this node's PostgreSQL is kept from writing without a lease (L6, L10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fencing {
    /// By a process of its own.
    Guard,
    /// By a thread of the daemon: a dead daemon leaves PostgreSQL unguarded.
    Daemon,
    /// Not at all: neither lease nor seal.
    Off,
}

/// What `decide` may depend on besides the events: recorded in full at each process start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settings {
    /// Name of the cluster.
    pub cluster: String,
    /// Registered members, sorted by name; a [`MemberId`] is an index into this.
    pub members: Vec<MemberSettings>,
    /// This member.
    pub me: MemberId,
    /// Whether this member may promote by itself.
    pub automatic: bool,
    /// Preference between equally placed standbys; 0: never promoted.
    pub priority: u32,
    /// A standby further behind the last heard primary position is not electable.
    pub lag_bytes_max: Option<u64>,
    /// Time between heartbeats.
    pub heartbeat_interval: Nanos,
    /// Heart massages before a primary counts as unreachable.
    pub escalation_attempts: u8,
    /// Time between two massages.
    pub escalation_interval: Nanos,
    /// How long signs of life that are no answer count, unless the daemon beside vouches (D2).
    pub sign_of_life_max: Nanos,
    /// How long a candidate waits for testimonies and for freeze reports.
    pub testimony_timeout: Nanos,
    /// Delay between two ranks of candidates (E5).
    pub rank_delay: Nanos,
    /// Pause between two attempts at an election.
    pub retry_interval: Nanos,
    /// How long a freeze may take until it counts as not observed.
    pub freeze_timeout: Nanos,
    /// How long a grant promises (L1).
    pub lease_duration: Nanos,
    /// Kept inside the lease for the fence itself (L7).
    pub fence_reserve: Nanos,
    /// How this node is fenced.
    pub fencing: Fencing,
    /// How long a promotion may take until its outcome counts as unknown (E8).
    pub promote_timeout: Nanos,
    /// How long following a new primary may take until it is tried again.
    pub follow_timeout: Nanos,
}

impl Settings {
    /// Returns this member's entry.
    #[must_use]
    pub fn my_member(&self) -> Option<&MemberSettings> {
        self.members.get(usize::from(self.me.0))
    }

    /// Returns whether this member has a PostgreSQL beside it.
    #[must_use]
    pub fn has_postgres(&self) -> bool {
        self.my_member().is_some_and(|m| !m.witness)
    }

    /// Returns a member's name, or a placeholder for a number outside the membership.
    #[must_use]
    pub fn name(&self, member: MemberId) -> &str {
        self.members.get(usize::from(member.0)).map_or("(unknown member)", |m| m.name.as_str())
    }

    /// Returns every member's number.
    pub fn ids(&self) -> impl Iterator<Item = MemberId> + Clone + use<> {
        (0..self.members.len()).filter_map(|i| u8::try_from(i).ok()).map(MemberId)
    }

    /// Returns every other member's number.
    pub fn others(&self) -> impl Iterator<Item = MemberId> + Clone + use<> {
        let me = self.me;
        self.ids().filter(move |m| *m != me)
    }

    /// Returns whether a member's vote counts.
    #[must_use]
    pub fn votes(&self, member: MemberId) -> bool {
        self.members.get(usize::from(member.0)).is_some_and(|m| m.votes)
    }

    /// Returns whether a member is a witness.
    #[must_use]
    pub fn is_witness(&self, member: MemberId) -> bool {
        self.members.get(usize::from(member.0)).is_some_and(|m| m.witness)
    }
}
