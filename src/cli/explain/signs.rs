//! Owns where an incident's count begins: with the first sign of a failure that nobody took back. It must never count
//! from words that only ask or answer, nor from a suspicion that a heart massage cleared.

use super::deeds::What;
use super::gather::Gathered;
use super::incident::{Incident, Mark, kept};

/// A connection that was lost this long before belongs to what follows.
pub(super) const BEFORE_NANOS: i64 = 3_000_000_000;

/// Returns the common time of the first sign; `None` where there is none but words.
#[must_use]
pub(super) fn first_sign(logs: &[Gathered], incident: &Incident) -> Option<i64> {
    let until = incident.taken_over_at(logs).unwrap_or(i64::MAX);
    let marks: Vec<Mark> = incident.marks.iter().copied().filter(|m| m.at <= until).collect();
    let signs = || marks.iter().enumerate().filter(|(_, m)| is_sign(&kept(logs, **m).deed.what));
    let standing = signs().find(|(at, m)| !is_taken_back(logs, **m, &marks[at + 1..]));
    // Where all was taken back, it is about just that.
    let (_, first) = standing.or_else(|| signs().next())?;
    let lost = marks.iter().find(|m| {
        let deed = kept(logs, **m).deed;
        let of_primary = deed.what == What::Lost(incident.about.0)
            || (deed.who == incident.about.0 && matches!(deed.what, What::Lost(_)));
        of_primary && (0..=BEFORE_NANOS).contains(&(first.at - m.at)) && !is_restored(logs, **m, first.at)
    });
    Some(lost.unwrap_or(first).at)
}

/// Whether it shows by itself that something is wrong with the primary.
const fn is_sign(what: &What) -> bool {
    matches!(
        what,
        What::Sign
            | What::HeldDown(_)
            | What::Expired
            | What::Fence(_)
            | What::Confirmed
            | What::Released
            | What::Stood(_)
    )
}

/// Whether the very member that saw it saw the primary again afterwards.
fn is_taken_back(logs: &[Gathered], mark: Mark, later: &[Mark]) -> bool {
    let deed = kept(logs, mark).deed;
    let is_opinion = matches!(deed.what, What::Sign | What::HeldDown(_));
    is_opinion
        && later.iter().any(|m| {
            let then = kept(logs, *m).deed;
            then.who == deed.who && then.what == What::SeenAgain
        })
}

/// Whether a connection that was lost was there again before `until`.
fn is_restored(logs: &[Gathered], mark: Mark, until: i64) -> bool {
    let (log, lost) = (&logs[mark.log], kept(logs, mark));
    let What::Lost(peer) = lost.deed.what else { return false };
    let mut met = log.met.iter().filter(|met| met.peer == peer && met.seq > lost.record.seq);
    met.next().is_some_and(|met| log.common(met.seq, met.wall) <= until)
}
