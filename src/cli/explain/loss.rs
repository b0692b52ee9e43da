//! Owns what may be lost with the old primary. How far it had written when it was last heard is a lower
//! bound; an upper one is known only once somebody saw where its WAL ended. It must never make one of the
//! other.

use super::deeds::What;
use super::gather::{Gathered, Glance, Told};
use super::incident::{Incident, kept};
use super::page::span;
use crate::core::{Lsn, MemberId};
use crate::events::story::grouped;
use crate::events::{Decision, Event, Settings};
use serde::Serialize;

/// What may be lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loss {
    /// Bytes at least: of what the old primary was heard to have written; `None`: it was never heard.
    pub bytes_min: Option<u64>,
    /// Bytes at most; `None`: these logs do not tell where the old primary's WAL ended.
    pub bytes_max: Option<u64>,
    /// Where the old primary's WAL ended as it was last heard of before another took over.
    pub heard_at: Option<String>,
    /// Who heard of it.
    pub heard_by: Option<String>,
    /// When, since the first sign, nanoseconds.
    pub heard_after_ns: Option<i64>,
    /// How long before it stopped to write that was, if both are known, nanoseconds.
    pub heard_before_end_ns: Option<i64>,
    /// Bytes of WAL past the fork that the old primary's own daemon saw last, if its log is at hand.
    pub past_fork_bytes: Option<u64>,
    /// Bytes past the fork that the old primary found when it was to follow.
    pub found_bytes: Option<u64>,
    /// Where the new timeline forked off.
    pub forked_at: Option<String>,
}

/// Where the old primary's WAL ended, as somebody heard.
#[derive(Clone, Copy, Debug)]
struct Heard {
    at: i64,
    lsn: Lsn,
    /// Which log.
    by: usize,
}

/// Reckons what may be lost; `stopped` is the common time at which the old primary stopped to write.
#[must_use]
pub(super) fn loss(
    logs: &[Gathered],
    incident: &Incident,
    settings: &Settings,
    stopped: Option<i64>,
) -> Option<Loss> {
    let (winner, won) = incident.winner?;
    let (old, _) = incident.about;
    let marks = || incident.marks.iter().map(|m| (m.at, kept(logs, *m)));
    let reckoned = marks().find_map(|(_, k)| match k.deed.what {
        What::Won { loss_bytes } if k.deed.term == Some(won) => loss_bytes,
        _ => None,
    });
    let conceded = marks().filter_map(|(_, k)| match k.deed.what {
        What::Voted { loss_bytes, .. } if k.deed.term == Some(won) => Some(loss_bytes),
        _ => None,
    });
    let conceded = conceded.max().filter(|bytes| *bytes > 0);
    let forked = marks().find_map(|(_, k)| match &k.record.event {
        Event::Decided(Decision::PrimaryAnnounced(a) | Decision::AnnouncementAdopted(a)) if a.term == won => {
            a.forked.map(|(_, at)| at)
        }
        _ => None,
    });
    let end = marks()
        .find(|(_, k)| matches!(k.deed.what, What::Announced | What::Learned))
        .map_or(incident.ended, |(at, _)| at);
    let found = marks().find_map(|(_, k)| match k.deed.what {
        What::FollowRefused { past_fork_bytes } if k.deed.who == old => past_fork_bytes,
        _ => None,
    });
    let heard = last_heard(logs, old, end);
    let own = log_of(logs, settings.name(old));
    let past_fork = forked.and_then(|fork| Some(own?.last_answer(old, end)?.lsn?.bytes_since(fork)));
    let heard_past = heard.zip(forked).map(|(heard, fork)| heard.lsn.bytes_since(fork));
    let came_back_whole =
        winner == old || forked.is_some_and(|fork| ended_by(logs, incident, old, end, fork));
    // Before it has replayed all that it has, it can't tell where its WAL ends.
    let exact = found.filter(|_| settled(logs, old, end)).or_else(|| came_back_whole.then_some(0));
    let bytes_min = exact.or(reckoned.max(conceded).max(heard_past).max(past_fork).max(found));
    Some(Loss {
        bytes_min,
        bytes_max: exact,
        heard_at: heard.map(|h| h.lsn.to_string()),
        heard_by: heard.and_then(|h| logs[h.by].audit().member().map(str::to_owned)),
        heard_after_ns: heard.map(|h| h.at - incident.began),
        heard_before_end_ns: heard.zip(stopped).map(|(h, stopped)| (stopped - h.at).max(0)),
        past_fork_bytes: past_fork,
        found_bytes: found,
        forked_at: forked.map(|at| at.to_string()),
    })
}

fn log_of<'a>(logs: &'a [Gathered], name: &str) -> Option<&'a Gathered> {
    logs.iter().find(|log| log.audit().member() == Some(name))
}

/// The last that any log at hand heard of where a primary's WAL ended, by a probe or a heartbeat.
fn last_heard(logs: &[Gathered], old: MemberId, end: i64) -> Option<Heard> {
    let of = |(by, log): (usize, &Gathered)| {
        let probe = log.last_answer(old, end).and_then(|g| Some((log.common(g.seq, g.wall), g.lsn?)));
        let is_before =
            |told: &&Told| told.from == old && told.lsn.is_some() && log.common(told.seq, told.wall) <= end;
        let told = log.told.iter().rev().find(is_before);
        let told = told.and_then(|told| Some((log.common(told.seq, told.wall), told.lsn?)));
        let newest = probe.into_iter().chain(told).max_by_key(|(at, lsn)| (*lsn, *at))?;
        Some(Heard { at: newest.0, lsn: newest.1, by })
    };
    logs.iter().enumerate().filter_map(of).max_by_key(|heard| (heard.lsn, heard.at))
}

/// Whether the old primary came back and was seen to have replayed all that it has.
fn settled(logs: &[Gathered], old: MemberId, end: i64) -> bool {
    let Some(log) = logs.iter().find(|log| log.me() == Some(old)) else { return false };
    let is_settled = |g: &Glance| g.target == old && g.in_recovery && g.waits_for_wal;
    log.glances.iter().any(|g| is_settled(g) && end < log.common(g.seq, g.wall))
}

/// Whether the old primary came back, and had replayed all that it has, and that ends at the fork or
/// before: seen by its own daemon before it was attached to the new timeline.
fn ended_by(logs: &[Gathered], incident: &Incident, old: MemberId, end: i64, fork: Lsn) -> bool {
    let Some(log) = logs.iter().find(|log| log.me() == Some(old)) else { return false };
    let ordered = incident.marks.iter().find(|m| {
        let deed = kept(logs, **m).deed;
        deed.who == old && deed.what == What::FollowOrdered
    });
    let until = ordered.map_or(i64::MAX, |m| m.at);
    let last = log.glances.iter().rev().find(|g| {
        let at = log.common(g.seq, g.wall);
        g.target == old && g.in_recovery && g.waits_for_wal && end < at && at <= until
    });
    last.and_then(|g| g.lsn).is_some_and(|lsn| lsn <= fork)
}

/// What was lost, in words.
#[must_use]
pub(super) fn loss_words(loss: &Loss, old: &str) -> Vec<String> {
    let mut words = Vec::new();
    let at = loss.forked_at.as_deref().unwrap_or("the fork");
    match (loss.bytes_max, loss.bytes_min) {
        (Some(0), _) => {
            words.push(format!(
                "nothing: the WAL of {old} was seen not to go past {at}, where the new timeline begins"
            ));
            return words;
        }
        (Some(bytes), _) => {
            words.push(format!(
                "{} bytes of WAL: so far past {at}, where the new timeline begins, {old} was when it was to follow",
                grouped(bytes)
            ));
            return words;
        }
        (None, Some(0)) => words.push(format!("nothing that {old} was last heard to have written")),
        (None, Some(bytes)) => {
            words.push(format!("at least {} bytes of what {old} was heard to have written", grouped(bytes)));
        }
        (None, None) => words.push(format!("how much {old} had written last is not in these logs")),
    }
    if let (Some(heard), Some(by), Some(after)) = (&loss.heard_at, &loss.heard_by, loss.heard_after_ns) {
        let when = match loss.heard_before_end_ns {
            Some(before) => format!("{} before it stopped", span(before)),
            None if after < 0 => format!("{} before the first sign", span(-after)),
            None => format!("{} after the first sign", span(after)),
        };
        words.push(format!(
            "{old} was last heard at {heard} by {by}, {when}; the new timeline begins at {at}"
        ));
        words.push(format!(
            "what {old} wrote after that is not known until it comes back, unless replication was synchronous: no upper \
             bound follows from these logs"
        ));
    }
    if let Some(bytes) = loss.found_bytes {
        words.push(format!(
            "when it was to follow, {old} held {} bytes past {at}, and had not replayed all yet",
            grouped(bytes)
        ));
    }
    if let Some(bytes @ 1..) = loss.past_fork_bytes {
        words.push(format!("its own daemon had last seen {} bytes past {at}", grouped(bytes)));
    }
    words
}
