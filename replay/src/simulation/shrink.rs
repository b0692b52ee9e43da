//! Shrinking (delta debugging): leaves out parts of what fails while it still fails. Draws are keyed, so
//! what is left out changes nothing else.

/// What shrinking came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk<T> {
    /// What is left.
    pub left: Vec<T>,
    /// How often it was tried.
    pub tries: usize,
    /// Whether nothing more can be left out, one by one; else the budget was spent.
    pub minimal: bool,
}

/// Leaves out items, half of them at a time at first and one by one at last, while `fails` says that
/// what is left still fails. `fails` says `None` when no more may be tried: then the least that failed
/// so far is returned.
///
/// The whole of `items` is taken to fail.
pub fn shrink<T: Clone>(items: &[T], mut fails: impl FnMut(&[T]) -> Option<bool>) -> Shrunk<T> {
    let mut left = items.to_vec();
    let mut tries = 0;
    let mut chunk = left.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        let mut left_out = false;
        while from < left.len() {
            let to = (from + chunk).min(left.len());
            let mut candidate = left.clone();
            candidate.drain(from..to);
            tries += 1;
            match fails(&candidate) {
                None => return Shrunk { left, tries, minimal: false },
                Some(true) => {
                    left = candidate;
                    left_out = true;
                }
                Some(false) => from = to,
            }
        }
        if chunk == 1 && !left_out {
            return Shrunk { left, tries, minimal: true };
        }
        chunk = (chunk / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_is_needed() {
        let items: Vec<u32> = (0..100).collect();
        let shrunk = shrink(&items, |some| Some([13, 14, 77].iter().all(|n| some.contains(n))));
        assert_eq!(shrunk.left, [13, 14, 77]);
        assert!(shrunk.minimal && shrunk.tries < 100, "{} tries", shrunk.tries);
    }

    #[test]
    fn a_budget_ends_it_with_something_that_fails() {
        let items: Vec<u32> = (0..64).collect();
        let mut budget = 3;
        let shrunk = shrink(&items, |some| {
            budget -= 1;
            (budget >= 0).then(|| some.contains(&40))
        });
        assert!(!shrunk.minimal && shrunk.left.contains(&40) && shrunk.left.len() < 64);
    }
}
