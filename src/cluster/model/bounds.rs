//! How far a model goes: its members, its faults, its clocks. It holds numbers only.

use crate::core::{MemberId, Nanos};
use crate::events::{Fencing, MemberSettings, Settings};

/// Where a model begins. What came before went as it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The primary leads and everybody sees it; its lease was just granted.
    #[default]
    Adopted,
    /// The primary's postmaster died; its daemon fenced, confirmed and released, and everybody heard.
    Killed,
    /// Nobody else sees the primary since its lease ran out; its guard has fenced it, which its daemon is yet
    /// to notice.
    CutOff,
}

/// The bounds of a model. Within them it is explored without gaps.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// What it is about, for people.
    pub name: &'static str,
    /// Where it begins.
    pub start: Start,
    /// Members with PostgreSQL; the first is the primary of term 1.
    pub data: u8,
    /// Members without.
    pub witnesses: u8,
    /// The highest term that may be stood in; term 1 is the adoption.
    pub terms: u64,
    /// Members that may stand, as bits.
    pub candidates: u8,
    /// Members that may lose sight of the primary, as bits.
    pub blind: u8,
    /// How often all of those lose sight of the primary together; 0: each does by itself.
    pub outages: u8,
    /// Members whose host is gone, as bits: nothing happens there, and nobody hears of them.
    pub gone: u8,
    /// Members that may crash, as bits.
    pub mortal: u8,
    /// Crashes of a daemon; it comes back with what it had flushed, or with everything.
    pub crashes: u8,
    /// Whether a crash may take the host along.
    pub hosts: bool,
    /// Logs that are lost, and noticed to be.
    pub log_losses: u8,
    /// Deaths of the primary's postmaster.
    pub deaths: u8,
    /// Starts of a PostgreSQL that went down.
    pub starts: u8,
    /// Steps of the clock.
    pub ticks: u8,
    /// Writes of clients, each one a position further.
    pub writes: u8,
    /// Promotions whose outcome is told wrong or not at all.
    pub promotion_faults: u8,
    /// Whether the clock moves to the next instant that anybody waits for at once, or by half a lease at most.
    pub leaps: bool,
    /// Heartbeats of each member between two steps of the clock; 0: any number.
    pub beats: u8,
    /// Members whose heartbeat falls due, as bits.
    pub beating: u8,
    /// Whether what concerns nobody else takes no time: a pre-vote is answered by all at once, a receiver is
    /// stopped when that was promised, who comes back hears everybody.
    pub prompt: bool,
    /// Whether a daemon sees at once what has become of its PostgreSQL, unless that died.
    pub looks: bool,
    /// Whether who may stand after a pre-vote does so at once: its messages may come as late as they like.
    pub hasty: bool,
    /// Whether a pre-vote is answered by all at once, or by each in its turn or not at all.
    pub answers_at_once: bool,
    /// Whether members hear each other's heartbeats again and again, or only after a restart.
    pub gossip: bool,
    /// Whether who lost sight of the primary may see it again.
    pub sight: bool,
    /// Invariants that are not judged, as bits by their place: to see that another one notices by itself.
    pub unjudged: u8,
    /// The rate of each member's clock, in percent; missing ones are 100.
    pub rates: Vec<u64>,
    /// How far each standby is behind the primary at first; missing ones are 0.
    pub behind: Vec<u64>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            name: "",
            start: Start::Adopted,
            data: 3,
            witnesses: 1,
            terms: 3,
            candidates: 0xFF,
            blind: 0xFF,
            outages: 0,
            gone: 0,
            mortal: 0xFF,
            crashes: 1,
            hosts: false,
            log_losses: 0,
            deaths: 1,
            starts: 0,
            ticks: 0,
            writes: 0,
            promotion_faults: 0,
            leaps: false,
            beats: 0,
            beating: 0xFF,
            prompt: true,
            looks: true,
            hasty: false,
            answers_at_once: true,
            gossip: false,
            sight: false,
            unjudged: 0,
            rates: Vec::new(),
            behind: Vec::new(),
        }
    }
}

/// What every clock shows at the beginning, so that "long ago" exists.
pub(super) const BOOT_ORIGIN: u64 = 1_000_000_000;
/// The promise of a lease.
pub(super) const LEASE: Nanos = Nanos::from_millis(100);
/// The clock moves at most so far in one step, so that a lease may be renewed half-way.
pub(super) const STEP_MAX: u64 = LEASE.0 / 2;
/// Instants closer than this are one: what is not a lease waits for single nanoseconds.
pub(super) const MOMENT: u64 = 1_000;
/// Longer than any run: a heartbeat that was heard stays fresh until another one is.
const FRESH: Nanos = Nanos::from_millis(1_000_000_000);

impl Bounds {
    /// Returns every member.
    pub fn ids(&self) -> impl Iterator<Item = MemberId> + use<> {
        (0..self.data + self.witnesses).map(MemberId)
    }

    /// Returns the rate of a member's clock, in percent.
    pub(super) fn rate(&self, member: MemberId) -> u64 {
        self.rates.get(usize::from(member.0)).copied().unwrap_or(100)
    }

    /// Returns every member whose host is there.
    pub(super) fn there(&self) -> impl Iterator<Item = MemberId> + use<> {
        let gone = self.gone;
        self.ids().filter(move |m| !Self::within(gone, *m))
    }

    /// Returns whether a member is among those in `bits`.
    pub(super) const fn within(bits: u8, member: MemberId) -> bool {
        bits >> member.0 & 1 == 1
    }

    /// Returns one member's settings: every length of time is nothing beside the lease, so that any
    /// deadline may fire at any moment.
    #[must_use]
    pub fn settings(&self, me: MemberId) -> Settings {
        let members = self
            .ids()
            .map(|m| MemberSettings {
                name: format!("{}{}", if m.0 < self.data { "node" } else { "witness" }, m.0 + 1),
                witness: m.0 >= self.data,
                votes: true,
            })
            .collect();
        let none = Nanos(0);
        let instant = Nanos(1);
        Settings {
            cluster: "model".to_owned(),
            members,
            me,
            automatic: true,
            priority: 100,
            lag_bytes_max: None,
            heartbeat_interval: FRESH,
            escalation_attempts: 1,
            escalation_interval: none,
            sign_of_life_max: none,
            testimony_timeout: instant,
            rank_delay: none,
            retry_interval: none,
            freeze_timeout: instant,
            lease_duration: LEASE,
            fence_reserve: none,
            fencing: Fencing::Guard,
            promote_timeout: instant,
            follow_timeout: none,
        }
    }
}
