//! E3: whose data is on the winner's line of history follows, however the news of that line came, or was lost.

mod simulate_support;

use simulate_support::*;

/// E11: an order to promote would tell the fork of long ago as that of a new line, which all standbys are past.
#[test]
fn a_running_primary_that_was_just_looked_for_is_not_promoted() {
    replay("111_running_primary_restarted_before_it_announced", |o| {
        some(o, "m0 DECIDED ElectionWon { term: Term(4)");
        never(o, "FollowRefused");
    });
}

/// E8: the parent of the fork is the line that was promoted, though a restart came between.
#[test]
fn the_parent_of_a_fork_outlives_a_restart() {
    replay("112_restarted_between_promotion_and_announcement", |o| {
        never(o, "m3 DECIDED FollowRefused");
    });
}

/// E7: catching up from a standby leaves it on the line that it was on.
#[test]
fn who_caught_up_is_still_electable() {
    replay("113_caught_up_off_an_unconfirmed_line", |o| {
        let promoted = when(o, "DECIDED PrimaryAnnounced");
        assert!(promoted.iter().any(|at| (16_000.0..60_000.0).contains(at)), "{promoted:?}\n{}", tail(o));
        never(o, "why: Diverged");
    });
}

/// E9: each re-election is one more winner of the same line; the forks are what must be remembered.
#[test]
fn the_own_promotion_is_not_forgotten_over_re_elections() {
    replay("114_re_elected_sixty_times", |o| {
        assert!(when(o, "DECIDED PrimaryAnnounced").len() > 64, "{}", tail(o));
        never(o, "LineageOlder");
    });
}

/// E3: who hears of the newest winner first asks for those before it.
#[test]
fn who_was_away_for_two_failovers_follows() {
    replay("115_away_for_two_failovers", |o| {
        some(o, "m3 DECIDED FollowOrdered");
        never(o, "m3 DECIDED FollowRefused");
    });
}

/// E3: the freeze that looks at a standby ends its receiver, which alone told whose line it is on.
#[test]
fn what_a_freeze_finds_is_of_whom_it_streamed_from() {
    replay("120_frozen_just_after_it_went_over", |o| {
        some(o, "m0 DECIDED FreezePromised { term: Term(5), candidate: MemberId(0)");
        never(o, "m0 DECIDED FollowRefused");
    });
}
