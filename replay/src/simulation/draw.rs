//! Keyed draws: every random choice is a hash of (seed, domain, keys). Holds no state, so leaving one
//! fault out changes no other draw.

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

    /// Returns the draw of these keys; the domain says what it is for.
    #[must_use]
    pub fn draw(&self, domain: impl Into<u64>, keys: &[u64]) -> Draw {
        Draw(self.keyed(domain, keys).0)
    }

    /// Returns the draws that begin with these keys, to draw many of them.
    #[must_use]
    pub fn keyed(&self, domain: impl Into<u64>, keys: &[u64]) -> Keyed {
        let first = Keyed(mix(self.seed ^ domain.into().wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        keys.iter().fold(first, |keyed, key| Keyed(keyed.draw(*key).0))
    }
}

/// All draws whose first keys are the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keyed(u64);

impl Keyed {
    /// Returns the draw of one key more.
    #[must_use]
    #[inline]
    pub const fn draw(self, key: u64) -> Draw {
        Draw(mix(self.0.wrapping_add(key).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (self.0 >> 7)))
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
        assert_eq!(draws.draw(1_u64, &[1, 2, 3]), draws.draw(1_u64, &[1, 2, 3]));
        assert_ne!(draws.draw(1_u64, &[1, 2, 3]), draws.draw(1_u64, &[1, 3, 2]));
        assert_ne!(draws.draw(1_u64, &[1, 2, 3]), draws.draw(2_u64, &[1, 2, 3]));
        assert_ne!(draws.draw(1_u64, &[1]), Draws::new(8).draw(1_u64, &[1]));
        assert_eq!(draws.draw(1_u64, &[1, 2, 3]), draws.keyed(1_u64, &[1, 2]).draw(3));
    }

    #[test]
    fn bounds_hold() {
        let draws = Draws::new(1);
        for key in 0..1000 {
            let draw = draws.draw(11_u64, &[key]);
            assert!((3..=9).contains(&draw.between(3, 9)));
            assert!(draw.below(5) < 5);
        }
    }
}
