//! Owns the answer about one incident: what happened, what would have, and whether that is worse.

use super::changes::Changes;
use super::modelled::{Model, Outcomes};
use super::recorded::{Recorded, recorded};
use crate::cli::explain::{Delays, Gathered, Incident, Kind, Page};
use serde::Serialize;

/// A take-over this much later, and by this share, counts as worse: less is the simulator's noise.
const LATER_NANOS: u64 = 100_000_000;
const LATER_PERCENT: u64 = 10;
/// More bytes at risk than this count as worse: a write more or less is the simulator's noise.
const MORE_BYTES: u64 = 65_536;

/// What happened, as recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Happened {
    /// Who took over.
    pub promoted: Option<String>,
    /// From the first sign until it was announced, nanoseconds.
    pub after_ns: Option<i64>,
    /// Bytes lost at least, of what the old primary was heard to have written.
    pub lost_bytes_min: Option<u64>,
    /// Bytes lost at most; `None`: the logs do not tell where the old primary's WAL ended.
    pub lost_bytes_max: Option<u64>,
}

/// In what the changed configuration does worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Worse {
    /// Nobody, or more seldom somebody, takes over.
    NoTakeOver,
    /// Somebody takes over where the primary had stayed.
    FalseFailover,
    /// It takes longer.
    Later,
    /// More bytes are lost.
    MoreLost,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// The incident's number among those of its logs.
    pub number: usize,
    /// Common time of its first sign, nanoseconds since 1970.
    pub began_ns: i64,
    /// The incident, in one sentence.
    pub headline: String,
    /// What happened.
    pub happened: Happened,
    /// Recorded part, one member after the other.
    pub recorded: Vec<Recorded>,
    /// The fault of the modelled part, in words.
    pub fault: Option<String>,
    /// Modelled, under the configuration of the record: shows how far the model is to be trusted.
    pub modelled_as_recorded: Option<Outcomes>,
    /// Modelled, under the changed one.
    pub modelled_what_if: Option<Outcomes>,
    /// Why nothing was modelled.
    pub not_modelled: Option<String>,
    /// Why the model tells nothing of this incident, though it was played: it does not come out as the record.
    pub not_reproduced: Option<String>,
    /// In what the changed configuration does worse; empty too where that is not known.
    pub worse: Vec<Worse>,
}

impl Asked {
    /// Returns whether there is no answer: nothing was modelled, or the model is not like the record.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        self.modelled_what_if.is_none() || self.not_reproduced.is_some()
    }
}

/// Answers.
pub(super) fn ask(
    logs: &[Gathered],
    incident: &Incident,
    page: &Page,
    delays: &Delays,
    changes: &Changes,
    runs: u64,
) -> Result<Asked, String> {
    let mut parts = Vec::new();
    let stays =
        |log: &&Gathered| !log.audit().member().is_some_and(|m| changes.removed.iter().any(|r| r == m));
    for log in logs.iter().filter(stays) {
        parts.push(recorded(log, changes, incident.began).map_err(|error| error.to_string())?);
    }
    let happened = Happened {
        promoted: page.winner.clone(),
        after_ns: incident.taken_over_at(logs).map(|at| at - incident.began),
        lost_bytes_min: page.loss.as_ref().and_then(|loss| loss.bytes_min),
        lost_bytes_max: page.loss.as_ref().and_then(|loss| loss.bytes_max),
    };
    let model = match page.kind {
        Kind::FormerPrimaryRefused => Err("it tells of a former primary only".to_owned()),
        Kind::LogsEnd => Err("these logs end before it was decided".to_owned()),
        _ => Model::of(logs, incident, delays),
    };
    let (fault, old, new, not_modelled) = match model {
        Err(why) => (None, None, None, Some(why)),
        Ok(model) => {
            let changed = model.changed(changes)?;
            let (old, new) = (model.play(runs), changed.play(runs));
            (Some(model.fault), Some(old), Some(new), None)
        }
    };
    let not_reproduced = old.as_ref().and_then(|old| differs_from_record(page.kind, old));
    let comparable = old.as_ref().zip(new.as_ref()).filter(|_| not_reproduced.is_none());
    let worse = comparable.map_or_else(Vec::new, |(old, new)| worse(page.kind, old, new));
    Ok(Asked {
        number: page.number,
        began_ns: page.began_ns,
        headline: page.headline.clone(),
        happened,
        recorded: parts,
        fault,
        modelled_as_recorded: old,
        modelled_what_if: new,
        not_modelled,
        not_reproduced,
        worse,
    })
}

/// Says how the model comes out, if mostly not as the record: then it tells nothing of another configuration.
fn differs_from_record(kind: Kind, old: &Outcomes) -> Option<String> {
    let took_over = kind == Kind::FailedOver;
    let alike = if took_over { old.promoted } else { old.runs.saturating_sub(old.promoted) };
    let record = if took_over { "somebody took over" } else { "nobody took over" };
    (alike * 2 < old.runs).then(|| {
        format!(
            "the model does not come out as the record: there {record}, modelled as it was in {alike} of {} simulations",
            old.runs
        )
    })
}

/// Like is compared with like: model with model, in as many runs.
fn worse(kind: Kind, old: &Outcomes, new: &Outcomes) -> Vec<Worse> {
    let mut worse = Vec::new();
    if kind == Kind::PrimaryStayed {
        if new.promoted > old.promoted {
            worse.push(Worse::FalseFailover);
        }
        return worse;
    }
    if new.promoted < old.promoted {
        worse.push(Worse::NoTakeOver);
    }
    let later = |old: u64, new: u64| new > old + LATER_NANOS && new > old + old * LATER_PERCENT / 100;
    if old.median_ns.zip(new.median_ns).is_some_and(|(old, new)| later(old, new)) {
        worse.push(Worse::Later);
    }
    let more = |old: u64, new: u64| new > old + MORE_BYTES;
    if old.lost_median_bytes.zip(new.lost_median_bytes).is_some_and(|(old, new)| more(old, new)) {
        worse.push(Worse::MoreLost);
    }
    worse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_not_like_the_record_tells_nothing() {
        let of = |promoted| Outcomes { runs: 20, promoted, ..Outcomes::default() };
        for (kind, promoted, is_alike) in [
            (Kind::FailedOver, 0, false),
            (Kind::FailedOver, 9, false),
            (Kind::FailedOver, 10, true),
            (Kind::FailedOver, 20, true),
            (Kind::PrimaryStayed, 0, true),
            (Kind::PrimaryStayed, 20, false),
            (Kind::NobodyTookOver, 11, false),
            (Kind::NobodyTookOver, 0, true),
        ] {
            assert_eq!(
                differs_from_record(kind, &of(promoted)).is_none(),
                is_alike,
                "{kind:?}, {promoted} of 20"
            );
        }
    }
}
