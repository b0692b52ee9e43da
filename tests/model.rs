//! The model checker, over the roles themselves: models that are explored to their end, models that are complete
//! to a depth, and whether what is taken for one state has one future. The larger models are `make model`'s.

mod model_support;

use model_support::{Found, Reach, explore, failover, gone, killed, leases, log_lost};
use pgfo::cluster::model::{Action, Bounds, ClusterModel, LOST, REFUSED, RESTARTED, State, UNREGISTERED};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// More states than any of these models has.
const GENERATED_MAX: usize = 5_000_000;

fn check(bounds: Bounds, reach: Reach, distinct_min: usize, marks: &'static [&'static str]) {
    let found = explore(ClusterModel::new(bounds), marks, reach);
    found.tell();
    assert!(found.broken.is_none(), "{:?}", found.broken);
    assert!(found.missed.is_empty(), "never reached: {:?}", found.missed);
    assert!(found.complete, "{} states are too many", found.generated);
    assert!(found.distinct >= distinct_min, "{} distinct states", found.distinct);
}

/// It ends by itself: no state within the bounds is left out.
fn check_all(bounds: Bounds, distinct_min: usize, marks: &'static [&'static str]) {
    check(bounds, Reach::all(GENERATED_MAX), distinct_min, marks);
}

/// No sequence of so many actions is left out.
fn check_to(bounds: Bounds, depth: usize, distinct_min: usize, marks: &'static [&'static str]) {
    let reach = Reach { depth, deep: false, ..Reach::all(GENERATED_MAX) };
    check(bounds, reach, distinct_min, marks);
}

/// Three data members and a witness, two terms, one crash of anybody, a promotion that goes wrong.
#[test]
fn a_failover_with_a_crash_of_anybody_comes_to_its_end() {
    let marks = &[
        "two members stood in one term",
        "a standby was elected",
        "a standby was promoted",
        "a standby followed the winner",
        "a promotion's outcome was not known",
        RESTARTED,
        LOST,
        REFUSED,
    ];
    check_all(failover(), 230_000, marks);
}

#[test]
fn a_killed_primary_is_replaced_by_one() {
    let marks = &["two members stood in one term", RESTARTED, LOST];
    check_to(killed(), KILLED_DEPTH, 5_000, marks);
}

#[test]
fn who_lost_its_log_binds_itself_to_nothing() {
    check_to(log_lost(), LOG_LOST_DEPTH, 2_000, &[UNREGISTERED]);
}

/// Actions of each sequence that is explored.
const KILLED_DEPTH: usize = 8;
const LOG_LOST_DEPTH: usize = 8;

// ---- what is taken for one state ---------------------------------------------------------------

/// Takes pairs of states that differ but are taken for one, and compares what may become of each: the
/// successors must be taken for one again. Returns the number of pairs, or the first that differs.
fn merged_again(bounds: Bounds, left_out: Option<&'static str>, states: usize) -> Result<usize, String> {
    let model = ClusterModel::with(bounds, left_out, || {});
    let futures = |s: &State| {
        let mut actions = Vec::new();
        model.actions(s, &mut actions);
        let after = actions.into_iter().filter_map(|a| model.next(s, &a).map(|next| (next, a)));
        after.collect::<Vec<(State, Action)>>()
    };
    // What stays as it is has nothing to compare.
    let shapes = |s: &State| {
        let others = futures(s).into_iter().filter(|(next, _)| next.shape() != s.shape());
        others.map(|(next, action)| (next.shape(), format!("{action:?}"))).collect::<BTreeMap<u64, String>>()
    };
    let first = model.first();
    let mut seen = HashMap::from([(first.shape(), first.clone())]);
    let mut waiting = VecDeque::from([first]);
    let mut pairs = 0;
    while let Some(state) = waiting.pop_front() {
        if seen.len() > states {
            break;
        }
        assert!(state.roles_agree(), "the roles hold different ledgers: {state:?}");
        for (next, _) in futures(&state) {
            match seen.get(&next.shape()) {
                None => {
                    seen.insert(next.shape(), next.clone());
                    waiting.push_back(next);
                }
                Some(other) if other.identity() != next.identity() => {
                    pairs += 1;
                    let (one, two) = (shapes(other), shapes(&next));
                    let only = |a: &BTreeMap<u64, String>, b: &BTreeMap<u64, String>| {
                        let of_a = a.iter().filter(|(shape, _)| !b.contains_key(shape));
                        of_a.map(|(_, action)| action.clone()).collect::<Vec<String>>()
                    };
                    if one.keys().ne(two.keys()) {
                        let (one, two) = (only(&one, &two), only(&two, &one));
                        return Err(format!("{other:?}\nand\n{next:?}\ndiffer after {one:?} and {two:?}"));
                    }
                }
                Some(_) => {}
            }
        }
    }
    Ok(pairs)
}

/// The models in which states are compared, small ones of each kind.
fn compared() -> [Bounds; 4] {
    [
        failover(),
        Bounds { mortal: 0b1000, ticks: 1, leaps: true, ..gone() },
        leases(),
        Bounds { promotion_faults: 1, crashes: 0, candidates: 0b0010, beating: 0b0010, ..killed() },
    ]
}

#[test]
fn states_that_are_taken_for_one_have_one_future() {
    for bounds in compared() {
        let name = bounds.name;
        let pairs = merged_again(bounds, None, 4_000).unwrap_or_else(|e| panic!("{name}: {e}"));
        println!("{name}: {pairs} pairs");
        assert!(pairs >= 200, "{name}: {pairs} pairs show little");
    }
}

/// Each of these is left out of what tells states apart, and the comparison notices.
#[test]
fn what_is_left_out_of_a_state_is_noticed() {
    let parts = ["phase_ends", "silent_until", "promise_until", "verdict", "freeze_answers"];
    let unnoticed = |part: &&'static str| {
        let found = compared().into_iter().find_map(|b| {
            let name = b.name;
            merged_again(b, Some(*part), 3_000).err().map(|_| name)
        });
        println!("{part}: {found:?}");
        found.is_none()
    };
    let all: Vec<&str> = parts.into_iter().filter(unnoticed).collect();
    assert!(all.is_empty(), "left out without being noticed: {all:?}");
}

#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;
    use pgfo::core::{MemberId, Plant, Planting};
    use pgfo::events::{Deadline, Message};

    /// The switch belongs to the thread: each step sets it in whatever thread the checker takes, and the whole
    /// exploration has threads of its own.
    fn catch(plant: Plant, bounds: Bounds, may: fn(&Action) -> bool) -> Found {
        std::thread::spawn(move || {
            let model = ClusterModel::with(bounds, None, move || std::mem::forget(Planting::of(Some(plant))));
            let reach = Reach { depth: 40, generated_max: 3_000_000, threads: 1, may, deep: false };
            explore(model, &[], reach)
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

    /// The candidate is asked for no lease, and the primary does nothing but renew its own.
    fn at_the_voter(action: &Action) -> bool {
        match action {
            Action::Arrives(e) => {
                let lease = matches!(e.message, Message::LeaseRequested(_) | Message::RenewalRequested(_));
                !(matches!(e.message, Message::PrimaryAnnounced(_)) || lease && e.to == MemberId(1))
            }
            Action::Does(member, _) => *member == MemberId(1),
            Action::Streams(_) | Action::LooksAtOwn(_) => false,
            _ => true,
        }
    }

    #[test]
    fn a_second_vote_in_a_term_is_caught() {
        caught(Plant::VotesTwice, &["S4"], Bounds { crashes: 0, ..gone() }, |_| true);
    }

    #[test]
    fn a_vote_that_is_forgotten_is_caught() {
        caught(Plant::VoteForgotten, &["S3"], gone(), |_| true);
    }

    #[test]
    fn a_vote_that_is_not_flushed_is_caught() {
        caught(Plant::VoteUnflushed, &["S3"], gone(), |_| true);
    }

    #[test]
    fn a_lease_counted_from_receipt_is_caught() {
        caught(Plant::LeaseFromReceipt, &["S2"], Bounds { crashes: 0, ..leases() }, at_the_voter);
    }

    #[test]
    fn a_restarted_voter_that_votes_at_once_is_caught() {
        caught(Plant::VotesAfterRestart, &["S2"], leases(), at_the_voter);
    }

    #[test]
    fn a_vote_against_a_promise_is_caught() {
        caught(Plant::VotesAgainstPromise, &["S2"], Bounds { crashes: 0, ..leases() }, at_the_voter);
    }

    /// Of term 2, only the first candidate and who has no PostgreSQL to lose hear anything; of term 3, the second
    /// and they.
    fn one_after_the_other(action: &Action) -> bool {
        match action {
            Action::Arrives(e) => match &e.message {
                Message::FreezeRequested { .. } | Message::PrimaryAnnounced(_) => false,
                Message::VoteRequested(_) => [0, 3].contains(&e.to.0),
                Message::LeaseReleased { .. } => true,
                Message::VoteGranted(_) => true,
                _ => false,
            },
            Action::LooksAtOwn(_) | Action::Streams(_) => false,
            _ => true,
        }
    }

    #[test]
    fn an_unknown_outcome_taken_for_a_failure_is_caught() {
        let bounds = Bounds { crashes: 0, promotion_faults: 1, hasty: true, ..killed() };
        caught(Plant::UnknownIsFailure, &["S2"], bounds, one_after_the_other);
    }

    /// Two winners of a term share a voter, or one has too few: S4 or S7 notices before. S1 does so by itself, too.
    #[test]
    fn two_winners_of_a_term_are_caught() {
        let s7 = 1 << 5;
        let bounds = Bounds { crashes: 0, terms: 2, hasty: true, unjudged: s7, ..killed() };
        caught(Plant::SeatLeftOut, &["S1"], bounds, |action| match action {
            Action::Arrives(e) => matches!(e.message, Message::VoteRequested(_) | Message::VoteGranted(_)),
            _ => true,
        });
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
        Bounds { crashes: 0, candidates: 0b0010, beating: 0b0010, ..killed() }
    }
}
