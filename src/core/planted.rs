//! Planted bugs: each leaves out one rule of the protocol, so that it can be shown which check notices.
//! Without the feature `planted-bugs` none exists: [`planted`] is a constant `false`. The one place below
//! `src/core` that keeps state outside a machine, and only with that feature.

use serde::{Deserialize, Serialize};

macro_rules! plants {
    ($($name:ident, $rule:literal, $says:literal;)*) => {
        /// A bug that can be planted: a rule that is not kept.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Plant {
            $(#[doc = $says] $name,)*
        }

        impl Plant {
            /// Every bug that can be planted.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// Returns the rule it breaks, as `docs/protocol.md` counts.
            #[must_use]
            pub const fn rule(self) -> &'static str {
                match self {
                    $(Self::$name => $rule,)*
                }
            }

            /// Returns what goes wrong, in one sentence.
            #[must_use]
            pub const fn says(self) -> &'static str {
                match self {
                    $(Self::$name => $says,)*
                }
            }
        }
    };
}

plants! {
    RecoveryIsUp, "D1", "A PostgreSQL in recovery counts as a reachable primary.";
    WatchesAsTold, "D1", "The announcement of an old winner that comes late turns the probes to it.";
    ConfirmedWithoutScan, "D3", "A dead postmaster is confirmed down, and its lease released, before anybody looked for its backends.";
    WritesWithoutLease, "L1", "Nobody fences a primary whose lease ran out.";
    LeaseFromReceipt, "L1", "The primary counts a grant from its receipt instead of from its own sending.";
    PromiseShortened, "L1", "A shorter request shortens a promise that its holder still counts on.";
    GrantsAfterVote, "L3", "A voter grants a lease though it voted for another in a later term.";
    GrantsAgainstWinner, "L3", "A voter grants a lease though it knows another winner of that term or a later one.";
    GrantsAgainstPromise, "L3", "A voter grants a lease though its promise to another stands.";
    RepeatedVoteTakesPromise, "L3", "A vote request that is repeated takes the promise of a later holder.";
    OwnDurationPromised, "L4", "A voter promises its own duration instead of the one that was asked.";
    VotesAfterRestart, "L4", "A restarted voter votes at once.";
    FirstGrantUnflushed, "L5", "The first grant of a term is not flushed.";
    RenewalOvertakesFirst, "L5", "A renewal overtakes the flush of its term's first grant.";
    GuardForgets, "L6", "The guard does not fence at its deadline; the daemon alone does.";
    StartsUnsealed, "L9", "A former primary starts writable without a lease.";
    TenureOutlivesRelease, "L8", "A member that released its lease goes on asking for that term, and is granted it.";
    ReleaseClearsAny, "L8", "A release clears a promise of a later term or number.";
    SupersededUntold, "L8", "A candidacy that another's win, or freeze, ended is over without a word to its voters.";
    ReleasedThoughWritable, "L8", "A tenure is released without a fence when PostgreSQL is not known to be a standby.";
    VotesWhileSeeing, "E1", "A voter that sees the primary votes for another.";
    PreVotePositionCounts, "E1", "The position from before the freeze counts.";
    FreezeLeftOut, "E2", "A voter votes without freezing its WAL receiver.";
    FreezeNotObserved, "E2", "A freeze that was ordered counts as observed.";
    ThawsForOldPrimary, "E2", "A frozen standby streams from the old primary again.";
    TimelineIgnored, "E3", "Positions are compared without their line of history.";
    TimelineNumberTrusted, "E3", "A timeline's number names the winner's line, wherever the WAL came from.";
    DivergedFollows, "E3", "A member whose promotion was never announced counts as one that was not promoted.";
    UnsettledCounts, "E4", "The position of a restarted standby counts before it is settled.";
    ReceiveAlone, "E4", "A position is what was received since the start, whatever was replayed.";
    VotesTwice, "E6", "A voter votes for a second candidate of the same term.";
    VotesInOldTerm, "E6", "A voter accepts a term below its last vote.";
    VotesAgainstPromise, "E6", "A voter votes though its promise to another stands.";
    PositionNotCompared, "E6", "A voter votes for a candidate that is behind it.";
    RepeatedVoteForgetsLoss, "E7", "A vote that is repeated no longer tells the loss that it was cast on.";
    VoteUnflushed, "E6", "A vote leaves before it is flushed.";
    VoteForgotten, "E6", "A restarted voter has forgotten its vote.";
    CandidacyOutlivesProcess, "E6", "A candidacy goes on in another process than the one that opened it.";
    QuorumOfVisible, "E6", "The quorum is counted of the visible members.";
    SeatLeftOut, "E6", "The primary's seat is left out of the quorum.";
    UnknownIsFailure, "E8", "A promotion with an unknown outcome is taken for one that did not happen.";
    PromotesWhoeverRuns, "E8", "The order to promote goes to whichever postmaster runs when it arrives.";
    NoIncumbent, "E9", "A lease holder that learns of a higher voted term does not stand above it.";
    UnseenIsGone, "E10", "A PostgreSQL that its daemon has not looked at yet counts as one that does not run.";
    PromotesFromLog, "E11", "A restarted winner promotes by its log, without fresh grants.";
    ForgetfulVotes, "M1", "A member whose log was lost votes and grants at once.";
    VotesWhilePaused, "M3", "A paused voter votes.";
    PauseEndsBySilence, "M3", "A pause ends when its primary is out of sight.";
    OlderPauseAgreed, "M3", "An agreement to a pause that comes late takes the place of a newer one's.";
    PauseUnconfirmed, "M3", "A pause that no quorum agreed to keeps the primary from being fenced.";
    NamedWhilePaused, "M3", "The operator's word ends a pause, whoever may be left of the paused primary.";
    DeadlineActsEarly, "DESIGN 2", "A deadline that fires early, or twice, acts.";
}

/// Whether this build knows planted bugs.
pub const PLANTS_BUILT_IN: bool = cfg!(feature = "planted-bugs");

/// Returns whether a bug is planted in what this thread runs.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn planted(_: Plant) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use super::Plant;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Plant>> = const { Cell::new(None) };
    }

    /// Returns whether a bug is planted in what this thread runs.
    #[must_use]
    pub fn planted(plant: Plant) -> bool {
        PLANTED.get() == Some(plant)
    }

    /// While it lives, a bug is planted in what this thread runs.
    #[derive(Debug)]
    #[must_use = "the bug is gone as soon as this is dropped"]
    pub struct Planting {
        before: Option<Plant>,
    }

    impl Planting {
        /// Plants a bug, or none.
        pub fn of(plant: Option<Plant>) -> Self {
            Self { before: PLANTED.replace(plant) }
        }
    }

    impl Drop for Planting {
        fn drop(&mut self) {
            PLANTED.set(self.before);
        }
    }
}

#[cfg(feature = "planted-bugs")]
pub use switch::{Planting, planted};

#[cfg(all(test, feature = "planted-bugs"))]
mod tests {
    use super::*;

    #[test]
    fn one_bug_at_a_time_and_none_afterwards() {
        assert!(!planted(Plant::VotesTwice));
        {
            let _planting = Planting::of(Some(Plant::VotesTwice));
            assert!(planted(Plant::VotesTwice));
            assert!(!planted(Plant::VoteForgotten));
            let elsewhere = std::thread::spawn(|| planted(Plant::VotesTwice)).join();
            assert!(matches!(elsewhere, Ok(false)));
        }
        assert!(!planted(Plant::VotesTwice));
    }
}
