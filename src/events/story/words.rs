//! Owns the words for facts that many events share: names, positions, verdicts, reasons. It must
//! never look at more than the fact it is given and the settings.

use crate::core::{MemberId, Nanos, Term};
use crate::events::{
    Announcement, Answer, CommandRun, FenceReason, Lineage, Position, ProbeFailure, ProbeReport, Refusal,
    Settings, SignOfLife, Unelectable, Verdict,
};

/// Words of one member: settings resolve numbers to names, and "the primary" is the announced one.
pub(super) struct Words<'a> {
    pub(super) settings: &'a Settings,
    primary: Option<MemberId>,
}

impl<'a> Words<'a> {
    pub(super) fn new(settings: &'a Settings, primary: Option<MemberId>) -> Self {
        Self { settings, primary }
    }

    pub(super) fn me(&self) -> &'a str {
        self.settings.name(self.settings.me)
    }

    pub(super) fn name(&self, member: MemberId) -> &'a str {
        self.settings.name(member)
    }

    /// The announced primary's name.
    pub(super) fn primary(&self) -> &'a str {
        self.primary.map_or("the primary", |p| self.settings.name(p))
    }

    /// `node2, node3 and witness1`; `nobody` if there is none.
    pub(super) fn names(&self, members: &[MemberId]) -> String {
        match members {
            [] => "nobody".to_owned(),
            [one] => self.name(*one).to_owned(),
            [firsts @ .., last] => {
                let firsts: Vec<&str> = firsts.iter().map(|m| self.name(*m)).collect();
                format!("{} and {}", firsts.join(", "), self.name(*last))
            }
        }
    }

    /// `whom`, or `itself` if that is who does it.
    pub(super) fn itself<'b>(&self, who: &str, whom: &'b str) -> &'b str {
        self.unless_itself(who, whom, "itself")
    }

    fn unless_itself<'b>(&self, who: &str, whom: &'b str, itself: &'b str) -> &'b str {
        if who == whom { itself } else { whom }
    }

    pub(super) fn voters(&self) -> usize {
        self.settings.members.iter().filter(|m| m.votes).count()
    }

    /// What `who` holds of the primary, as a clause.
    pub(super) fn holds(&self, who: &str, verdict: Verdict) -> String {
        let primary = self.unless_itself(who, self.primary(), "its own PostgreSQL");
        match verdict {
            Verdict::Unknown => format!("{who} has no verdict about {primary} yet"),
            Verdict::Reachable => format!("{who} still sees {primary}"),
            Verdict::Suspect => format!("{who} only suspects {primary} so far"),
            Verdict::Unreachable => format!("{who} holds {primary} unreachable"),
            Verdict::ConfirmedDown => format!("{who} holds {primary} confirmed down"),
        }
    }

    /// Why `who` refused, as a clause.
    pub(super) fn refusal(&self, who: &str, why: &Refusal) -> String {
        match why {
            Refusal::NoVoter => format!("{who} has no vote in this cluster"),
            Refusal::SeesPrimary(verdict) => self.holds(who, *verdict),
            Refusal::VotedInTerm { term, candidate } => {
                format!("{who} voted for {} in term {term} already", self.name(*candidate))
            }
            Refusal::PromiseStands { holder, left } => {
                format!("{who}'s promise to {} stands for another {left}", self.name(*holder))
            }
            Refusal::SilentAfterRestart { left } => {
                format!(
                    "{who} restarted and keeps silent for another {left}, as long as it may have promised"
                )
            }
            Refusal::FrozenForTerm(term) => format!("{who} froze for the higher term {term}"),
            Refusal::OtherWinner { primary, term } => {
                format!("{who} knows {} as the winner of term {term}", self.name(*primary))
            }
            Refusal::Released(term) => format!("{who} knows that the terms up to {term} are over"),
            Refusal::LineageOlder { known } => {
                format!("the candidate's history is older than {}, which {who} knows", lineage(known))
            }
            Refusal::PositionBehind { own, electable } => {
                let can = if *electable { "can" } else { "can't" };
                format!(
                    "the candidate is behind {who}'s own {}; {who} {can} be promoted itself",
                    position(own)
                )
            }
            Refusal::Unsettled => "a position is not settled since PostgreSQL restarted".to_owned(),
            Refusal::FreezeNotObserved => format!("{who}'s position could not be seen to stand still"),
            Refusal::OtherConfiguration { own } => format!("the roster numbers differ: {who} has {own}"),
            Refusal::NotRegistered => format!("the log of {who}, or of who asked, is not registered"),
            Refusal::Paused => "the cluster is paused".to_owned(),
            Refusal::LogStalled => format!("{who}'s event log can't be written"),
            Refusal::Quarantined => format!("a role of {who} is quarantined"),
            Refusal::QuorumHoldsDown { holders } => {
                format!("{holders} of {} voters, a quorum, hold {} down", self.voters(), self.primary())
            }
            Refusal::OtherSystem => "the candidate belongs to another PostgreSQL cluster".to_owned(),
            Refusal::HistoryExists => "the cluster has a history already".to_owned(),
            Refusal::NotHeardYet => "its heartbeat was not heard yet since this member's start".to_owned(),
            Refusal::MemberUnheard { member } => {
                format!("{} is not heard, and may remember a primary", self.name(*member))
            }
            Refusal::PostgresUnknown { member } => {
                format!("it is not known yet whether the PostgreSQL of {} accepts writes", self.name(*member))
            }
            Refusal::WinnerUnknown => format!("{who} does not know yet that the asker was announced"),
        }
    }

    /// `node2 can vote`, or why not.
    pub(super) fn ability(&self, who: &str, able: &Result<(), Refusal>) -> String {
        match able {
            Ok(()) => format!("{who} can vote"),
            Err(why) => format!("{who} can't vote: {}", self.refusal(who, why)),
        }
    }

    /// `node2 won term 4 and writes timeline 2, forked off timeline 1 at 1/30001A8`.
    pub(super) fn winner(&self, winner: &Announcement) -> String {
        let fork = match &winner.forked {
            Some((parent, at)) => format!(", forked off timeline {} at {at}", parent.timeline),
            None => String::new(),
        };
        format!(
            "{} is the primary of term {} on timeline {}{fork}",
            self.name(winner.primary),
            winner.term,
            winner.lineage.timeline
        )
    }
}

/// Returns `node2 can vote`, or why it can't.
#[must_use]
pub fn ability(settings: &Settings, member: MemberId, able: &Result<(), Refusal>) -> String {
    Words::new(settings, None).ability(settings.name(member), able)
}

/// Returns `timeline 2 (opened in term 4)`.
#[must_use]
pub fn lineage(lineage: &Lineage) -> String {
    if *lineage == Lineage::UNKNOWN {
        return "a line of history that nobody knows".to_owned();
    }
    format!("timeline {} (opened in term {})", lineage.timeline, lineage.opened)
}

/// Returns `position 1/30001A8 on timeline 2 (opened in term 4)`.
#[must_use]
pub fn position(position: &Position) -> String {
    format!("position {} on {}", position.lsn, lineage(&position.lineage))
}

/// Returns `can be promoted`, or why not.
#[must_use]
pub fn electable(electable: &Result<(), Unelectable>) -> String {
    match electable {
        Ok(()) => "can be promoted".to_owned(),
        Err(why) => format!("can't be promoted: {}", unelectable(why)),
    }
}

/// Why a member can't be promoted, as a clause that fits behind "but" and a colon.
pub(super) fn unelectable(why: &Unelectable) -> String {
    match why {
        Unelectable::Witness => "it is a witness".to_owned(),
        Unelectable::PriorityZero => "priority is 0".to_owned(),
        Unelectable::Manual => "mode is manual".to_owned(),
        Unelectable::Paused => "the cluster is paused".to_owned(),
        Unelectable::PostgresDown => "its PostgreSQL does not answer as a standby".to_owned(),
        Unelectable::OtherSystem => "its PostgreSQL belongs to another cluster".to_owned(),
        Unelectable::LineageUnknown => "its line of history is not known yet".to_owned(),
        Unelectable::Diverged => "it ordered a promotion that is not the announced one".to_owned(),
        Unelectable::Unsettled => "its position is not settled since PostgreSQL restarted".to_owned(),
        Unelectable::Lagging { behind_bytes } => {
            format!("it is {} bytes behind the primary, more than lag_max", grouped(*behind_bytes))
        }
        Unelectable::NotRegistered => "its event log is not registered, or may have forgotten".to_owned(),
        Unelectable::LogStalled => "its event log can't be written".to_owned(),
        Unelectable::Quarantined => "one of its roles is quarantined".to_owned(),
        Unelectable::Primary => "it is the primary itself".to_owned(),
        Unelectable::PromotionFailed => "its last promotion failed".to_owned(),
    }
}

/// `unreachable`.
pub(super) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unknown => "unknown",
        Verdict::Reachable => "reachable",
        Verdict::Suspect => "suspect",
        Verdict::Unreachable => "unreachable",
        Verdict::ConfirmedDown => "confirmed down",
    }
}

/// What a probe met, as a short clause.
pub(super) fn report(report: &ProbeReport) -> String {
    match report {
        ProbeReport::Answered(a) => answer(a),
        ProbeReport::Alive(sign) => format!("alive, but no answer ({})", sign_of_life(sign)),
        ProbeReport::Failed(failure) => probe_failure(failure),
    }
}

fn answer(a: &Answer) -> String {
    let role = match (a.in_recovery, a.streaming) {
        (false, _) => "answered as a primary",
        (true, true) => "answered as a streaming standby",
        (true, false) => "answered as a standby that does not stream",
    };
    let at = a.lsn().map_or(String::new(), |lsn| format!(" at {lsn}"));
    let timeline = a.timeline.map_or(String::new(), |t| format!(" on timeline {t}"));
    format!("{role}{at}{timeline}")
}

fn sign_of_life(sign: &SignOfLife) -> String {
    match sign {
        SignOfLife::TooManyClients => "too many clients".to_owned(),
        SignOfLife::AuthenticationFailed => "authentication failed".to_owned(),
        SignOfLife::StartingUp => "starting up".to_owned(),
        SignOfLife::ShuttingDown => "shutting down".to_owned(),
        SignOfLife::TlsFailed => "TLS could not be agreed".to_owned(),
        SignOfLife::ServerError(state) => format!("SQLSTATE {}", String::from_utf8_lossy(state)),
    }
}

fn probe_failure(failure: &ProbeFailure) -> String {
    match failure {
        ProbeFailure::Refused => "connection refused".to_owned(),
        ProbeFailure::Reset => "connection reset".to_owned(),
        ProbeFailure::TimedOut => "timed out".to_owned(),
        ProbeFailure::Unreachable => "no route, or its name does not resolve".to_owned(),
        ProbeFailure::OtherSystem(id) => format!("another cluster's PostgreSQL, system identifier {}", id.0),
        ProbeFailure::InRecovery => "in recovery, so no primary".to_owned(),
        ProbeFailure::ReceiverLost => "the WAL receiver lost its connection".to_owned(),
        ProbeFailure::PostmasterGone => "its postmaster process ended".to_owned(),
        ProbeFailure::Other => "an error that is no sign of life".to_owned(),
    }
}

/// Returns why a node is fenced, as a clause.
#[must_use]
pub fn fence_reason(why: &FenceReason) -> String {
    match why {
        FenceReason::LeaseExpired => "its lease ran out".to_owned(),
        FenceReason::PostmasterGone => "the postmaster process ended; what is left of it is swept".to_owned(),
        FenceReason::HungAndQuorumAgrees => "it does not answer, and a quorum holds it down".to_owned(),
        FenceReason::NoLease => "it runs as a primary without a standing lease of this boot".to_owned(),
        FenceReason::PromotionFailed => "its promotion failed".to_owned(),
        FenceReason::PromotionUnknown => {
            "its promotion's outcome is unknown; it may yet leave recovery".to_owned()
        }
        FenceReason::Superseded { term } => format!("another member won the later term {term}"),
        FenceReason::GuardDecided => "the guard did so by itself at the lease's end".to_owned(),
        FenceReason::FoundDown => "PostgreSQL was down already when the daemon started".to_owned(),
    }
}

/// `; promote_command exited with 0 after 1.200 s`, for each command; empty without any.
pub(super) fn commands(runs: &[CommandRun]) -> String {
    let mut text = String::new();
    for run in runs {
        let end = match (run.exit_code, run.signal) {
            _ if run.timed_out => "ran into its deadline".to_owned(),
            (Some(code), _) => format!("exited with {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        text.push_str(&format!("; {} {end} after {}", run.name, run.took));
        if run.exit_code != Some(0) && !run.output.is_empty() {
            text.push_str(&format!(" and said: {}", run.output.trim()));
        }
    }
    text
}

/// The time from a record to a later instant of the same clock.
pub(super) fn left(record: &crate::events::Record, until: pgfo_replay::BootNanos) -> Nanos {
    Nanos(until.nanos_since(record.boot))
}

/// ` in term 4`; empty for term 0.
pub(super) fn in_term(term: Term) -> String {
    if term.0 == 0 { String::new() } else { format!(" in term {term}") }
}

/// Returns a number with its thousands set apart: `12 345`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
