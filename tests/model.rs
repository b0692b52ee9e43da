//! The model checker: over the roles themselves, every order of events up to a depth, within bounds. The
//! larger models are `make model`'s.

mod model_support;

use model_support::{Found, Reach, cut_off, explore, killed, log_lost};
use pgfo::cluster::model::{Bounds, ClusterModel};

/// One thread: nothing within the depth is left out.
fn check(bounds: Bounds, depth: usize, distinct_min: usize, marks: &'static [&'static str]) {
    let reach = Reach { depth, generated_max: 5_000_000, threads: 1 };
    let found = explore(ClusterModel::new(bounds), marks, reach);
    found.tell();
    assert!(found.broken.is_none(), "{:?}", found.broken);
    assert!(found.missed.is_empty(), "never reached: {:?}", found.missed);
    assert!(found.complete, "{} states within depth {depth} are too many", found.generated);
    assert!(found.distinct >= distinct_min, "{} distinct states", found.distinct);
}

#[test]
fn a_killed_primary_is_replaced_by_one() {
    let marks = &[
        "a vote was refused",
        "two members stood in one term",
        "a voter restarted after its vote",
        "a member came back without what it had not flushed",
    ];
    check(killed(), KILLED_DEPTH, 100_000, marks);
}

#[test]
fn a_primary_that_was_cut_off_is_replaced_by_one() {
    let marks = &["a voter restarted after its vote", "the guard fenced at the lease's end"];
    check(cut_off(), CUT_OFF_DEPTH, 100_000, marks);
}

#[test]
fn who_lost_its_log_binds_itself_to_nothing() {
    check(log_lost(), LOG_LOST_DEPTH, 10_000, &["a forgetful member was refused or refused"]);
}

#[test]
fn one_candidate_comes_to_its_end() {
    let bounds = Bounds {
        name: "one candidate",
        crashes: 0,
        candidates: 0b0010,
        beating: 0,
        promotion_faults: 1,
        ..killed()
    };
    let marks = &["a standby was elected", "a standby was promoted", "a promotion's outcome was not known"];
    check(bounds, ONE_CANDIDATE_DEPTH, 50_000, marks);
}

/// Actions of each sequence that is explored.
const ONE_CANDIDATE_DEPTH: usize = 14;
const KILLED_DEPTH: usize = 9;
const CUT_OFF_DEPTH: usize = 7;
const LOG_LOST_DEPTH: usize = 9;

#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;
    use pgfo::core::{Plant, Planting};

    /// The switch belongs to the thread: each step sets it in whatever thread the checker takes, and the whole
    /// exploration has threads of its own.
    fn catch(plant: Plant, bounds: Bounds, depth: usize) -> Found {
        std::thread::spawn(move || {
            let model = ClusterModel::with(bounds, move || std::mem::forget(Planting::of(Some(plant))));
            explore(model, &[], Reach { depth, generated_max: 1_500_000, threads: 1 })
        })
        .join()
        .unwrap()
    }

    fn caught(plant: Plant, by: &[&str], bounds: Bounds, depth: usize) {
        let found = catch(plant, bounds, depth);
        println!("{} ({})", plant.name(), plant.rule());
        found.tell();
        let (id, _, _) = found.broken.expect("it is caught");
        assert!(by.contains(&id), "{} is caught by {id}", plant.name());
    }

    #[test]
    fn a_forgotten_vote_is_caught() {
        caught(Plant::VoteForgotten, &["S3", "S4"], one_candidate(killed()), 9);
        caught(Plant::VoteUnflushed, &["S3", "S4"], one_candidate(killed()), 9);
    }

    #[test]
    fn a_second_vote_in_a_term_is_caught() {
        caught(Plant::VotesTwice, &["S4", "S1"], Bounds { crashes: 0, beating: 0, ..killed() }, 14);
    }

    #[test]
    fn a_quorum_counted_wrong_is_caught() {
        let quick = Bounds { crashes: 0, beating: 0, ..one_candidate(killed()) };
        caught(Plant::SeatLeftOut, &["S7"], quick, 14);
    }

    #[test]
    fn a_position_that_is_not_compared_is_caught() {
        let behind = Bounds { crashes: 0, beating: 0, behind: vec![0, 1, 0, 0], ..one_candidate(killed()) };
        caught(Plant::PositionNotCompared, &["S6"], behind, 14);
    }

    #[test]
    fn a_vote_without_a_log_is_caught() {
        caught(Plant::ForgetfulVotes, &["S8", "S4", "S3"], log_lost(), 12);
    }

    fn one_candidate(bounds: Bounds) -> Bounds {
        Bounds { candidates: 0b0010, beating: 0b0010, ..bounds }
    }
}
