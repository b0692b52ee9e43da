//! The model checker: over the roles themselves, every order of events up to a depth, within bounds. The
//! larger models are `make model`'s.

mod model_support;

use model_support::{Found, Reach, cut_off, explore, killed, log_lost};
use pgfo::cluster::model::{Bounds, ClusterModel};

/// One thread: nothing within the depth is left out.
fn check(bounds: Bounds, depth: usize, distinct_min: usize, marks: &'static [&'static str]) {
    let reach = Reach { depth, generated_max: 5_000_000, threads: 1, may: |_| true };
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
        "a voter restarted after its vote",
        "a member came back without what it had not flushed",
    ];
    check(killed(), KILLED_DEPTH, 200_000, marks);
}

#[test]
fn a_primary_that_was_cut_off_is_replaced_by_one() {
    check(cut_off(), CUT_OFF_DEPTH, 50_000, &["a voter restarted after its vote"]);
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
    check(bounds, ONE_CANDIDATE_DEPTH, 25_000, marks);
}

/// Actions of each sequence that is explored.
const ONE_CANDIDATE_DEPTH: usize = 15;
const KILLED_DEPTH: usize = 9;
const CUT_OFF_DEPTH: usize = 7;
const LOG_LOST_DEPTH: usize = 9;

#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;
    use pgfo::cluster::model::Action;
    use pgfo::core::{MemberId, Plant, Planting};
    use pgfo::events::{Deadline, Message};

    /// The switch belongs to the thread: each step sets it in whatever thread the checker takes, and the whole
    /// exploration has threads of its own.
    fn catch(plant: Plant, bounds: Bounds, may: fn(&Action) -> bool) -> Found {
        std::thread::spawn(move || {
            let model = ClusterModel::with(bounds, move || std::mem::forget(Planting::of(Some(plant))));
            explore(model, &[], Reach { depth: 20, generated_max: 500_000, threads: 1, may })
        })
        .join()
        .unwrap()
    }

    fn caught(plant: Plant, by: &[&str], bounds: Bounds, may: fn(&Action) -> bool) {
        let found = catch(plant, bounds, may);
        println!("{} ({})", plant.name(), plant.rule());
        found.tell();
        let (id, _, _) = found.broken.expect("it is caught");
        assert!(by.contains(&id), "{} is caught by {id}", plant.name());
    }

    /// Only the witness hears anything, and nobody gives up: it is asked by both candidates.
    fn at_the_witness(action: &Action) -> bool {
        match action {
            Action::Arrives(e) => {
                let matters = matches!(e.message, Message::VoteRequested(_) | Message::RosterCommitted(_));
                e.to == MemberId(3) && matters
            }
            Action::Deadline(_, d) => !matches!(d, Deadline::TestimonyEnds | Deadline::CandidacyEnds),
            Action::Hears(one, other) => [*one, *other].iter().all(|m| [1, 3].contains(&m.0)),
            Action::LooksAtOwn(_) | Action::Streams(_) | Action::Beats(_) => false,
            _ => true,
        }
    }

    fn asked_by_two() -> Bounds {
        Bounds { beating: 0, mortal: 0b1000, terms: 2, ticks: 3, ..killed() }
    }

    #[test]
    fn a_second_vote_in_a_term_is_caught() {
        caught(Plant::VotesTwice, &["S4"], Bounds { crashes: 0, ..asked_by_two() }, at_the_witness);
    }

    #[test]
    fn a_quorum_counted_wrong_is_caught() {
        caught(Plant::SeatLeftOut, &["S7"], one_candidate(), |_| true);
    }

    #[test]
    fn a_position_that_is_not_compared_is_caught() {
        let bounds = Bounds { behind: vec![0, 1, 0, 0], ..one_candidate() };
        caught(Plant::PositionNotCompared, &["S6"], bounds, |_| true);
    }

    #[test]
    fn a_vote_without_a_log_is_caught() {
        let bounds = Bounds { mortal: 0b1000, blind: 0b1000, beating: 0, gossip: true, ..log_lost() };
        caught(Plant::ForgetfulVotes, &["S8"], bounds, at_the_witness);
    }

    fn one_candidate() -> Bounds {
        Bounds { crashes: 0, candidates: 0b0010, beating: 0, ..killed() }
    }
}
