//! E3: whose data is on the winner's line of history follows, however the news of that line came, or was lost.

mod simulate_support;

use pgfo::cluster::Scenario;
use simulate_support::*;

fn kept(name: &str) -> Scenario {
    let path = format!("{}/tests/scenarios/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// E11: an order to promote would tell the fork of long ago as that of a new line, which all standbys are past.
#[test]
fn a_running_primary_that_was_just_looked_for_is_not_promoted() {
    play(&kept("111_running_primary_restarted_before_it_announced"), |o, _| {
        some(o, "ElectionWon");
        never(o, "FollowRefused");
    });
}

/// E8: the parent of the fork is the line that was promoted, though a restart came between.
#[test]
fn the_parent_of_a_fork_outlives_a_restart() {
    play(&kept("112_restarted_between_promotion_and_announcement"), |o, _| {
        never(o, "m3 DECIDED FollowRefused");
    });
}

/// E7: catching up from a standby leaves it on the line that it was on.
#[test]
fn who_caught_up_is_still_electable() {
    play(&kept("113_caught_up_off_an_unconfirmed_line"), |o, _| {
        let promoted = when(o, "DECIDED PrimaryAnnounced");
        assert!(promoted.iter().any(|at| (16_000.0..60_000.0).contains(at)), "{promoted:?}\n{}", tail(o));
        never(o, "why: Diverged");
    });
}

/// E9: each re-election is one more winner of the same line; the forks are what must be remembered.
#[test]
fn the_own_promotion_is_not_forgotten_over_re_elections() {
    play_seeds(&kept("114_re_elected_sixty_times"), 2, |o, _| {
        assert!(when(o, "DECIDED PrimaryAnnounced").len() > 64, "{}", tail(o));
        never(o, "LineageOlder");
    });
}

/// E3: who hears of the newest winner first asks for those before it.
#[test]
fn who_was_away_for_two_failovers_follows() {
    play(&kept("115_away_for_two_failovers"), |o, _| {
        some(o, "m3 DECIDED HistoryRequested");
        some(o, "m3 DECIDED FollowOrdered");
        never(o, "m3 DECIDED FollowRefused");
    });
}
