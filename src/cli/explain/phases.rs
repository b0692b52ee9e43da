//! Owns how long each phase of a failover took, from the marks of an incident. It must never guess: a
//! phase whose ends are not both in the logs is left out.

use super::deeds::What;
use super::gather::Gathered;
use super::incident::{Incident, Mark, kept};
use crate::core::MemberId;
use serde::Serialize;

/// A shorter stretch between two phases is the records' own granularity.
const GAP_NANOS: i64 = 100_000_000;

/// One phase.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// From the first sign to its beginning, nanoseconds.
    pub begins_ns: i64,
    /// How long it took, nanoseconds.
    pub took_ns: i64,
    /// From what to what.
    pub what: String,
}

/// Returns the phases in the order in which they begin.
#[must_use]
pub(super) fn phases(logs: &[Gathered], incident: &Incident) -> Vec<Phase> {
    let sign = incident.began;
    let candidate = incident.winner.map(|(member, _)| member);
    let first = |by: Option<MemberId>, is: &dyn Fn(&What) -> bool| first(logs, incident, by, is);
    let last = |by: Option<MemberId>, is: &dyn Fn(&What) -> bool| last(logs, incident, by, is);
    let old = Some(incident.about.0);
    let down = first(candidate, &|w| matches!(w, What::HeldDown(_)))
        .or_else(|| first(None, &|w| matches!(w, What::HeldDown(_))));
    // One at its return belongs to what came afterwards.
    let taken = incident.taken_over_at(logs);
    let fence =
        first(old, &|w| matches!(w, What::Fence(_))).filter(|at| taken.is_none_or(|taken| *at <= taken));
    let over = first(old, &|w| matches!(w, What::Released | What::Confirmed))
        .or_else(|| first(old, &|w| matches!(w, What::FenceEnded { complete: true })));
    let stood = incident.winner.and_then(|(member, term)| {
        marks(incident).find(|m| {
            let deed = kept(logs, *m).deed;
            deed.who == member && deed.term == Some(term) && matches!(deed.what, What::Stood(_))
        })
    });
    let before = |at: Option<i64>, is: &dyn Fn(&What) -> bool| {
        let at = at?;
        let marks = marks(incident).rev().filter(|m| m.at <= at);
        find(logs, marks, candidate, is).map(|m| m.at)
    };
    let stood = stood.map(|m| m.at);
    let planned = before(stood, &|w| *w == What::Planned);
    let asked = before(planned.or(stood), &|w| *w == What::Asked);
    let votes = last(candidate, &|w| *w == What::AskedForVotes);
    let won = last(candidate, &|w| matches!(w, What::Won { .. }));
    let ordered = last(candidate, &|w| *w == What::PromotionOrdered);
    let promoted = last(candidate, &|w| matches!(w, What::Promoted { done: true }));
    // Where the winner's records are missing, who learned first is all that is known of its announcement.
    let learned = last(None, &|w| *w == What::Learned).filter(|at| promoted.is_some() || taken < Some(*at));
    let followed = last(None, &|w| matches!(w, What::Followed { streams: true }));
    // A candidacy in a lower term came to nothing.
    let tried = incident.winner.and_then(|(_, term)| {
        let lower = |d: &super::deeds::Deed| matches!(d.what, What::Stood(_)) && d.term < Some(term);
        marks(incident).find(|m| lower(&kept(logs, *m).deed)).map(|m| m.at)
    });
    let spans = [
        ("earlier tries", tried, asked, "candidacies that were given up, or found too few votes"),
        ("detection", Some(sign), down, "from the first sign until it was held down"),
        ("fence", fence, over, "until no process was left and its tenure was given up"),
        ("pre-vote", asked, planned, "from asking what the others hold until a candidacy was planned"),
        ("waiting", planned, stood, "for promises to the old primary to run out, and for better ranks"),
        ("freeze", stood, votes, "until the positions stood still"),
        ("vote", votes, won, "until a quorum had voted"),
        ("arming", won, ordered, "until the guard held the deadline of the new term"),
        ("promotion", ordered, promoted, "until PostgreSQL had left recovery"),
        ("announcement", taken.or(promoted), learned, "until the last member had learned of it"),
        ("others follow", taken.or(promoted), followed, "until the last standby streamed from it"),
    ];
    let mut phases: Vec<Phase> = spans
        .into_iter()
        .filter_map(|(name, from, to, what)| {
            let (from, to) = (from?, to?);
            let what = what.to_owned();
            (to >= from).then_some(Phase { name, begins_ns: from - sign, took_ns: to - from, what })
        })
        .collect();
    phases.sort_by_key(|p| p.begins_ns);
    let is_told = won.is_some() || incident.winner.is_none();
    let gap = if is_told {
        let what = "none of these: too few held it down, or it still wrote, or nobody could stand".to_owned();
        ("undecided", what)
    } else {
        ("not told", not_told(logs, candidate))
    };
    fill(&mut phases, taken.map(|taken| taken - sign), gap);
    phases
}

/// Why election and promotion are not in these logs.
fn not_told(logs: &[Gathered], candidate: Option<MemberId>) -> String {
    let settings = logs.iter().find_map(Gathered::settings);
    let name = settings.zip(candidate).map_or("who won", |(settings, member)| settings.name(member));
    let why = if logs.iter().any(|log| log.me() == candidate) {
        "lost its records of then"
    } else {
        "is not at hand"
    };
    format!("election and promotion: the log of {name} {why}")
}

/// Tells of each stretch that no phase covers, up to the take-over if there was one.
fn fill(phases: &mut Vec<Phase>, taken_ns: Option<i64>, (name, what): (&'static str, String)) {
    let mut filled: Vec<Phase> = Vec::new();
    let mut until = 0;
    let gap = |until: i64, to: i64| {
        let took_ns = to - until;
        (took_ns >= GAP_NANOS).then(|| Phase { name, begins_ns: until, took_ns, what: what.clone() })
    };
    for phase in phases.drain(..) {
        filled.extend(gap(until, phase.begins_ns.min(taken_ns.unwrap_or(i64::MAX))));
        until = until.max(phase.begins_ns + phase.took_ns);
        filled.push(phase);
    }
    filled.extend(taken_ns.and_then(|taken| gap(until, taken)));
    filled.sort_by_key(|p| p.begins_ns);
    *phases = filled;
}

/// What came before the first sign was taken back, and is no part of any phase.
fn marks(incident: &Incident) -> impl DoubleEndedIterator<Item = Mark> {
    incident.marks.iter().copied().filter(|m| incident.began <= m.at)
}

fn find(
    logs: &[Gathered],
    mut marks: impl Iterator<Item = Mark>,
    by: Option<MemberId>,
    is: &dyn Fn(&What) -> bool,
) -> Option<Mark> {
    marks.find(|m| {
        let deed = kept(logs, *m).deed;
        by.is_none_or(|by| deed.who == by) && is(&deed.what)
    })
}

fn first(
    logs: &[Gathered],
    incident: &Incident,
    by: Option<MemberId>,
    is: &dyn Fn(&What) -> bool,
) -> Option<i64> {
    find(logs, marks(incident), by, is).map(|m| m.at)
}

fn last(
    logs: &[Gathered],
    incident: &Incident,
    by: Option<MemberId>,
    is: &dyn Fn(&What) -> bool,
) -> Option<i64> {
    find(logs, marks(incident).rev(), by, is).map(|m| m.at)
}
