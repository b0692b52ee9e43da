//! Quorum arithmetic: `Q = V/2 + 1` of the registered voters, never of the visible ones, and the
//! blocking set `K = V - Q + 1`, which every quorum meets.

use crate::events::Settings;

/// The sizes that follow from the registered membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    /// Registered voters, the primary's seat included.
    pub voters: usize,
}

impl Quorum {
    /// Counts the registered voters.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self { voters: settings.members.iter().filter(|m| m.votes).count() }
    }

    /// Returns `Q`: how many votes elect.
    #[must_use]
    pub const fn needed(self) -> usize {
        self.voters / 2 + 1
    }

    /// Returns `K`: how many grants hold a lease (L2).
    #[must_use]
    pub const fn blocking(self) -> usize {
        self.voters + 1 - self.needed()
    }

    /// Returns `Q` as records carry it.
    #[must_use]
    pub fn needed_u8(self) -> u8 {
        u8::try_from(self.needed()).unwrap_or(u8::MAX)
    }
}

/// Returns the `k`-th largest of `values`, counted from 1; `None` if there are fewer.
///
/// There are as many values as members: counting takes no memory, and this is done with every grant.
#[must_use]
pub fn kth_largest<T: Ord + Copy>(values: impl Iterator<Item = T> + Clone, k: usize) -> Option<T> {
    let below_k = k.checked_sub(1)?;
    values.clone().find(|value| {
        let above = values.clone().filter(|other| other > value).count();
        let equal = values.clone().filter(|other| other == value).count();
        above <= below_k && below_k < above + equal
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quorum_meets_every_blocking_set() {
        for voters in 1..=9 {
            let q = Quorum { voters };
            assert!(q.needed() + q.blocking() > voters, "V = {voters}");
            assert!(2 * q.needed() > voters, "two quorums of {voters} meet");
        }
    }

    #[test]
    fn kth_largest_counts_from_one() {
        let kth = |values: &[u8], k| kth_largest(values.iter().copied(), k);
        assert_eq!(kth(&[3, 9, 5], 1), Some(9));
        assert_eq!(kth(&[3, 9, 5], 2), Some(5));
        assert_eq!(kth(&[3, 9, 5], 4), None);
        assert_eq!(kth(&[3], 0), None);
        let tied = [4, 7, 4, 7, 1, 4];
        let mut sorted = tied;
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        for k in 1..=tied.len() {
            assert_eq!(kth(&tied, k), sorted.get(k - 1).copied(), "k = {k}");
        }
    }
}
