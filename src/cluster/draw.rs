//! Keyed draws: every random choice is a hash of (seed, domain, keys). Holds no state, so leaving one
//! fault out changes no other draw.

/// What a draw is for; part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Domain {
    /// Delay of a message: (from, to, number).
    Delay = 1,
    /// Whether a message is lost, repeated or late: (from, to, number).
    Fate = 2,
    /// Time of a flush: (member, sequence number).
    Flush = 3,
    /// What a crash leaves of the unflushed log: (member, crash number).
    Crash = 4,
    /// Times of PostgreSQL: (member, number).
    Postgres = 5,
    /// Network of a probe: (member, number).
    Probe = 6,
    /// Clock of a host.
    Clock = 7,
    /// Identities: (member, number).
    Identity = 8,
    /// WAL written by clients: (member, number).
    Write = 9,
    /// WAL streaming: (standby, number).
    Stream = 10,
    /// The swarm's configuration.
    Swarm = 11,
    /// The swarm's faults: (number, what).
    Fault = 12,
    /// Processes starting: (member, number).
    Start = 13,
    /// Peer connections: (member, peer, number).
    Connect = 14,
}

/// A value drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw(u64);

/// The source of draws of one run.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    seed: u64,
}

const fn mix(mut z: u64) -> u64 {
    // splitmix64's finaliser: every bit of the input reaches every bit of the output.
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Draws {
    /// Makes the draws of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed: mix(seed.wrapping_add(0x9E37_79B9_7F4A_7C15)) }
    }

    /// Returns the draw of these keys.
    #[must_use]
    pub fn draw(&self, domain: Domain, keys: &[u64]) -> Draw {
        let mut z = mix(self.seed ^ (domain as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for key in keys {
            z = mix(z.wrapping_add(*key).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (z >> 7));
        }
        Draw(z)
    }
}

impl Draw {
    /// Returns the bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns a number below `bound`, 0 if `bound` is 0.
    #[must_use]
    pub const fn below(self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { ((self.0 as u128 * bound as u128) >> 64) as u64 }
    }

    /// Returns a number from `low` to `high`, both included.
    #[must_use]
    pub const fn between(self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Returns whether something that happens in `permille` of 1000 cases happens.
    #[must_use]
    pub const fn happens(self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// Returns another draw, derived from this one.
    #[must_use]
    pub const fn again(self) -> Self {
        Self(mix(self.0.wrapping_add(0x9E37_79B9_7F4A_7C15)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_every_key_and_on_nothing_else() {
        let draws = Draws::new(7);
        assert_eq!(draws.draw(Domain::Delay, &[1, 2, 3]), draws.draw(Domain::Delay, &[1, 2, 3]));
        assert_ne!(draws.draw(Domain::Delay, &[1, 2, 3]), draws.draw(Domain::Delay, &[1, 3, 2]));
        assert_ne!(draws.draw(Domain::Delay, &[1, 2, 3]), draws.draw(Domain::Fate, &[1, 2, 3]));
        assert_ne!(draws.draw(Domain::Delay, &[1]), Draws::new(8).draw(Domain::Delay, &[1]));
    }

    #[test]
    fn bounds_hold() {
        let draws = Draws::new(1);
        for key in 0..1000 {
            let draw = draws.draw(Domain::Swarm, &[key]);
            assert!((3..=9).contains(&draw.between(3, 9)));
            assert!(draw.below(5) < 5);
        }
    }
}
