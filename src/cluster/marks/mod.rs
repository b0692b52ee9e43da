//! Marks: rare states by name, and the set of those that a run reached. A campaign that never reaches one has
//! tested less than it seems. They are recognised from what members record and from facts about the world:
//! no role knows of them, and nothing is decided by them.

mod recognise;

pub(super) use recognise::{Noted, is_usual, of_fact};

macro_rules! marks {
    ($($name:ident, $rule:literal, $one_in:literal, $says:literal;)*) => {
        /// A rare state, named.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Mark {
            $(#[doc = $says] $name,)*
        }

        impl Mark {
            /// Every mark.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// Returns the rule whose code it proves reached, as `docs/protocol.md` counts.
            #[must_use]
            pub const fn rule(self) -> &'static str {
                match self {
                    $(Self::$name => $rule,)*
                }
            }

            /// Returns what happened, in one sentence.
            #[must_use]
            pub const fn says(self) -> &'static str {
                match self {
                    $(Self::$name => $says,)*
                }
            }

            /// Returns its rarity: one seed of the swarm in so many reaches it, as measured on the seeds 0 to
            /// 10 000; `None`: none of them does, only a scenario made for it.
            #[must_use]
            pub const fn one_in(self) -> Option<u64> {
                match self {
                    $(Self::$name => rarity($one_in),)*
                }
            }
        }
    };
}

marks! {
    StandbyAnswered, "D1", 7, "What answered where the primary should be was in recovery, and counted as down.";
    SignOfLifeCleared, "D2", 16, "An answer that was none, such as too many clients, cleared a suspicion.";
    SignOfLifeRanOut, "D2", 0, "A sign of life that nobody vouched for lasted too long.";
    MassageCleared, "D2", 2, "A heart massage was answered, and the suspicion was gone.";
    ConfirmationVoid, "D3", 19, "A primary was confirmed down to a member that knew a later one.";
    FenceIncomplete, "D3", 130, "A fence left a process behind, and nothing was confirmed.";
    ProbeDiscounted, "D4", 8, "A prober that had stood still itself did not count a failed probe.";
    PromiseKeptLonger, "L1", 17, "A shorter request came while a longer promise to the same holder stood.";
    LeaseRanOut, "L1", 7, "A primary's lease ran out by its own clock.";
    RefusedVoter, "L3", 19, "A lease was refused: its voter had voted for another in a later term.";
    RefusedWinner, "L3", 83, "A lease was refused: its voter knew another winner.";
    RefusedPromise, "L3", 8, "A lease was refused: a promise to another stood.";
    RefusedByQuorum, "L3", 7, "A lease was refused: a quorum held its primary down.";
    SilentAfterRestart, "L4", 3, "A restarted voter refused, since it may have promised another.";
    WinnerUnknown, "L5", 35, "A renewal was refused by who did not know yet what its primary had won.";
    GuardFencedAlone, "L6", 10, "A guard fenced a primary whose daemon was dead or frozen.";
    GuardOutlived, "L6", 8, "A new daemon took over the deadline that its guard had kept.";
    GuardRefused, "L6", 26, "A guard refused a deadline.";
    StopRefused, "L6", 130, "A primary's daemon stayed, since no quorum agreed to pause.";
    ThawedTooLate, "L6", 16, "A host thawed with a primary whose lease had run out, and its guard fenced it.";
    FencedByAgreement, "L7", 7, "A hung primary was fenced at once: a quorum held it down, too.";
    FencedForSuccessor, "L7", 43, "A primary was fenced for a later winner.";
    StaleRelease, "L8", 13, "The release of a tenure came to a member that knew a later winner.";
    VoteReturned, "L8", 14, "A candidacy ended, and the promise that came with a vote for it.";
    RefusedReleased, "L8", 11, "A request for a tenure came after its release, and was refused.";
    FencedWithoutLease, "L9", 18, "A PostgreSQL out of recovery without a lease was fenced.";
    VetoedInPreVote, "E1", 3, "A pre-vote ended because somebody still saw the primary.";
    TooFewHeard, "E1", 3, "A pre-vote ended because too few were heard.";
    TooFewAble, "E1", 12, "Enough held the primary down, but too few could vote.";
    PromisesAwaited, "E1", 3, "A candidate waited until enough promises had run out.";
    PrimaryBack, "E1", 280, "The primary was seen again while a candidacy was open.";
    SeerRefused, "E1", 45, "A voter that saw the primary refused to freeze or to vote.";
    LeaseEndedMeanwhile, "E1", 17, "A guard ended a lease while another member was about to stand, or stood.";
    FreezeUnobserved, "E2", 16, "A freeze was ordered and could not be observed.";
    FrozenAgain, "E2", 2, "A frozen member's PostgreSQL streamed again, and was frozen again.";
    OlderHistoryRefused, "E3", 14, "A candidate on an older history was refused.";
    DivergedRefused, "E3", 9, "A member off the announced history did not follow.";
    PastForkRefused, "E3", 7, "A member whose data went past the fork did not follow.";
    TimelinesCollided, "E3", 2500, "Two winners opened a timeline of the same number.";
    UnsettledRefused, "E4", 12, "A position did not count: its PostgreSQL had just been started.";
    Yielded, "E5", 5, "A candidate yielded to a better placed one.";
    BehindRefused, "E6", 260, "A vote was refused to a candidate that was behind its voter.";
    VoteSplit, "E6", 115, "A candidacy failed because voters had voted for another in the same term.";
    VoteRepeated, "E6", 48, "The same vote was given again.";
    VoteTooLate, "E6", 28, "A vote came for a candidacy that was over.";
    VoterPromised, "E6", 13, "A vote or a freeze was refused: a promise to another stood.";
    HigherTermFrozen, "E6", 120, "A candidate was refused for a higher term that its voter had frozen in.";
    WitnessDecided, "E6", 3, "An election was won by one vote, and a witness voted.";
    CaughtUp, "E7", 140, "A candidate had streamed what only a member that can't stand had.";
    CatchUpFailed, "E7", 0, "What only a member that can't stand had could not be streamed.";
    VotedAtALoss, "E7", 179, "A voter gave a vote to a candidate that lacked WAL it had.";
    PromotionUnknown, "E8", 62, "A promotion's outcome was unknown.";
    PromotionFailed, "E8", 63, "A promotion failed or was vetoed.";
    PromotionNotTold, "E8", 300, "A promotion was not told of in time, and was fenced.";
    LeaseLostPromoting, "E8", 720, "A winner's lease ran out before its promotion was told.";
    WinnerMissed, "E8", 3, "A member that had missed a winner was told.";
    IncumbentReelected, "E9", 220, "A lease holder was elected again, above a higher term.";
    IncumbentExpired, "E9", 0, "A lease ran out while its holder stood above a higher term.";
    NamedByOperator, "E10", 340, "The operator named a primary, and it was elected.";
    AdoptionRefused, "E10", 6, "An adoption was refused: somebody remembered a history, or was not heard.";
    PromotionResumed, "E11", 770, "A winner's next process promoted, with fresh grants.";
    ForgetfulRefused, "M1", 3, "A member that may have forgotten refused to bind itself.";
    StrangerRefused, "M1", 61, "A member whose log was not registered was refused.";
    UnheardRefused, "M1", 3, "Somebody was refused whose heartbeat had not been heard yet.";
    RegisteredAnew, "M1", 4, "A lost log was registered anew.";
    RosterRenumbered, "M1", 27, "A roster was proposed anew, under a higher number.";
    OtherConfiguration, "M2", 2, "A request under another configuration number was refused.";
    PausedByQuorum, "M3", 13, "A quorum agreed to pause.";
    PausedRefused, "M3", 2000, "Nobody stood, or nobody was voted for, within a pause.";
    PauseEndedOnReturn, "M3", 14, "A pause ended because its primary's daemon was back.";
    PauseEndedByDeath, "M3", 84, "A pause ended because its primary was confirmed down.";
    ResumeRepeated, "M3", 17, "A member that had missed the end of a pause was told.";
    LogStalled, "L5", 130, "A member whose log could not be written did not bind itself.";
    RoleRebuilt, "L4", 24, "A role failed, and was rebuilt from the log.";
    RoleQuarantined, "E6", 68, "A role failed too often, and its member was to bind itself no more.";
    QuarantinedRefused, "E6", 208, "A member with a quarantined role refused a request, or did not stand.";
}

/// 0 in the registry: no seed is known to reach it.
const fn rarity(one_in: u64) -> Option<u64> {
    if one_in == 0 { None } else { Some(one_in) }
}

/// A set of marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Marks(u128);

const _: () = assert!(Mark::ALL.len() <= 128);

impl Marks {
    /// Adds a mark.
    pub const fn add(&mut self, mark: Mark) {
        self.0 |= 1 << mark as u8;
    }

    /// Adds all marks of another set.
    pub const fn add_all(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Returns whether a mark is in it.
    #[must_use]
    pub const fn has(self, mark: Mark) -> bool {
        self.0 & (1 << mark as u8) != 0
    }

    /// Returns the marks in it, in the order of the registry.
    pub fn iter(self) -> impl Iterator<Item = Mark> {
        Mark::ALL.iter().copied().filter(move |m| self.has(*m))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_well_kept() {
        let names: std::collections::BTreeSet<_> = Mark::ALL.iter().map(|m| m.name()).collect();
        assert_eq!(names.len(), Mark::ALL.len());
        for mark in Mark::ALL {
            assert!(mark.says().ends_with('.') && mark.says().len() > 20, "{}", mark.name());
            assert!("DLEM".contains(&mark.rule()[..1]), "{}", mark.name());
            assert!(mark.one_in() != Some(0), "{}", mark.name());
        }
    }

    #[test]
    fn a_set_holds_what_was_added() {
        let mut marks = Marks::default();
        assert_eq!(marks.iter().count(), 0);
        marks.add(Mark::ALL[0]);
        let mut more = Marks::default();
        more.add(Mark::VoteSplit);
        more.add(Mark::VoteSplit);
        marks.add_all(more);
        assert_eq!(marks.iter().collect::<Vec<_>>(), [Mark::ALL[0], Mark::VoteSplit]);
        assert!(!marks.has(Mark::Yielded));
    }
}
