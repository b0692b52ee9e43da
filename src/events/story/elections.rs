//! Owns the telling of elections: who would stand, who voted, who won, and why not.

use super::words::{electable, grouped, left, lineage, position, report, unelectable};
use super::{Level, Scene, Told, told};
use crate::core::{BootNanos, MemberId, Term};
use crate::events::{CandidacyKind, NoElection, Placement, Position, Refusal, Unelectable, Verdict};

/// `node2 voted for node3 in term 4: its position ... is at least node2's own ...; node2 holds ...`.
pub(super) fn voted(
    scene: &Scene<'_>,
    candidate: MemberId,
    term: Term,
    (theirs, own): (Option<&Position>, Option<&Position>),
    verdict: Verdict,
    loss_bytes: u64,
) -> Told {
    let (me, name) = (scene.me(), scene.words.name(candidate));
    let whose = if candidate == scene.words.settings.me { "itself" } else { name };
    let compared = match (theirs, own) {
        (_, Some(own)) if loss_bytes > 0 => {
            format!(
                "it accepts that {} bytes are lost, for {me} has {} and can't be promoted",
                grouped(loss_bytes),
                own.lsn
            )
        }
        (_, None) if loss_bytes > 0 => {
            format!(
                "it accepts that {} bytes are lost, which {me} had when its PostgreSQL last answered",
                grouped(loss_bytes)
            )
        }
        (Some(theirs), Some(own)) if candidate == scene.words.settings.me && theirs == own => {
            format!("its own {}", position(own))
        }
        (Some(theirs), Some(own)) if theirs.lineage == own.lineage => {
            format!("its {} is at least {me}'s own {}", position(theirs), own.lsn)
        }
        (Some(theirs), Some(own)) => {
            format!("its {} is newer than {me}'s own {}", position(theirs), position(own))
        }
        (Some(theirs), None) => format!("its {}; {me} has none to compare", position(theirs)),
        (None, _) => "positions do not count here".to_owned(),
    };
    let kind = scene.memory.kind_of(candidate, term);
    let down = match kind {
        Some(CandidacyKind::FirstAdoption) => "all members agree on the first primary".to_owned(),
        Some(CandidacyKind::OperatorAdoption) => format!("the operator named {name}"),
        Some(CandidacyKind::OperatorVouched) => {
            format!("the operator named {name}, and vouches that nothing is left of the paused primary")
        }
        Some(CandidacyKind::Incumbent) => format!("{name} holds the lease and stands above a higher term"),
        Some(CandidacyKind::Failover) | None => held(scene, me, verdict),
    };
    let text = format!("{me} voted for {whose} in term {term}: {compared}; {down}");
    told(Level::Info, "vote granted", text)
}

fn held(scene: &Scene<'_>, me: &str, verdict: Verdict) -> String {
    let seen = match (verdict, scene.memory.evidence()) {
        (Verdict::Unreachable | Verdict::Suspect, Some(evidence)) => format!(" ({})", report(evidence)),
        _ => String::new(),
    };
    format!("{}{seen}", scene.words.holds(me, verdict))
}

pub(super) fn planned(
    scene: &Scene<'_>,
    at: BootNanos,
    free_at: BootNanos,
    rank: u8,
    holders: &[MemberId],
    placements: &[Placement],
) -> Told {
    let (me, w) = (scene.me(), &scene.words);
    let wait = left(scene.record, at);
    let promises = left(scene.record, free_at);
    let when = match (wait.0, promises.0) {
        (0, _) => "at once".to_owned(),
        (_, 0) => format!("in {wait}, after better placed members had their chance"),
        _ => format!("in {wait}; promises to the old primary stand for {promises}"),
    };
    let text = format!(
        "{me} will stand {when} (rank {rank}): {} of {} voters hold {} down ({}); compared {}",
        holders.len(),
        w.voters(),
        w.primary(),
        w.names(holders),
        placements_words(scene, placements)
    );
    told(Level::Warning, "election planned", text)
}

fn placements_words(scene: &Scene<'_>, placements: &[Placement]) -> String {
    let words: Vec<String> = placements
        .iter()
        .map(|p| {
            let at = p
                .position
                .as_ref()
                .map_or("no position".to_owned(), |at| format!("{} on {}", at.lsn, lineage(&at.lineage)));
            let can = match &p.electable {
                Ok(()) => String::new(),
                can => format!(", {}", electable(can)),
            };
            format!("{} at {at}, priority {}{can}", scene.words.name(p.member), p.priority)
        })
        .collect();
    words.join("; ")
}

pub(super) fn abandoned(scene: &Scene<'_>, term: Option<Term>, why: &NoElection) -> Told {
    let (me, w) = (scene.me(), &scene.words);
    let what = match term {
        None => format!("{me} did not stand"),
        Some(term) => format!("{me} gave up term {term}"),
    };
    let why = match why {
        NoElection::TooFewHoldItDown { holders, seers, silent, needed } => {
            too_few_hold_it_down(scene, holders, seers, silent, *needed)
        }
        NoElection::TooFewCanVote { unable, needed } => format!(
            "enough voters hold {} down, but too few can vote, {needed} are needed: {}",
            w.primary(),
            refusals(scene, unable)
        ),
        NoElection::PrimaryBack(verdict) => {
            format!("{} is no longer down: {}", w.primary(), w.holds(me, *verdict))
        }
        NoElection::NotElectable(why) => format!("it can't be promoted any more, {}", unelectable(why)),
        NoElection::NotFrozen => "its own position could not be seen to stand still".to_owned(),
        NoElection::TooFewVotes { granted, refused, needed } => {
            let refused = match refused.as_slice() {
                [] => "nobody refused, the others did not answer in time".to_owned(),
                some => refusals(scene, some),
            };
            format!(
                "only {} of {} voters voted for it ({}), {needed} are needed; {refused}",
                granted.len(),
                w.voters(),
                w.names(granted)
            )
        }
    };
    told(Level::Warning, "election abandoned", format!("{what}: {why}"))
}

/// `only 1 of 3 voters hold node1 down (node2); witness1 still sees it; 2 are needed`.
fn too_few_hold_it_down(
    scene: &Scene<'_>,
    holders: &[MemberId],
    seers: &[MemberId],
    silent: &[MemberId],
    needed: u8,
) -> String {
    let w = &scene.words;
    let mut text = format!(
        "only {} of {} voters hold{} {} down ({})",
        holders.len(),
        w.voters(),
        if holders.len() == 1 { "s" } else { "" },
        w.primary(),
        w.names(holders)
    );
    if !seers.is_empty() {
        text.push_str(&format!(
            "; {} still see{} it",
            w.names(seers),
            if seers.len() == 1 { "s" } else { "" }
        ));
    }
    if !silent.is_empty() {
        text.push_str(&format!("; {} did not answer", w.names(silent)));
    }
    text.push_str(&format!("; {needed} are needed"));
    text
}

fn refusals(scene: &Scene<'_>, refused: &[(MemberId, Refusal)]) -> String {
    let words: Vec<String> =
        refused.iter().map(|(member, why)| scene.words.refusal(scene.words.name(*member), why)).collect();
    words.join("; ")
}

pub(super) fn withheld(scene: &Scene<'_>, why: &Unelectable, holders: &[MemberId], rank: u8) -> Told {
    let (me, w) = (scene.me(), &scene.words);
    let down = format!(
        "{} of {} voters hold {} down ({})",
        holders.len(),
        w.voters(),
        w.primary(),
        w.names(holders)
    );
    let text = match why {
        Unelectable::Manual => format!(
            "{me} would have stood (rank {rank}) but mode is manual: {down}; promote it by `pgfo adopt {me}`, or wait for the primary"
        ),
        Unelectable::Witness
        | Unelectable::PriorityZero
        | Unelectable::Paused
        | Unelectable::PostgresDown
        | Unelectable::OtherSystem
        | Unelectable::LineageUnknown
        | Unelectable::Diverged
        | Unelectable::Unsettled
        | Unelectable::Lagging { .. }
        | Unelectable::NotRegistered
        | Unelectable::LogStalled
        | Unelectable::Quarantined
        | Unelectable::Primary
        | Unelectable::PromotionFailed => format!("{me} does not stand: {}; {down}", unelectable(why)),
    };
    told(Level::Warning, "candidacy withheld", text)
}

pub(super) fn won(
    scene: &Scene<'_>,
    term: Term,
    voters: &[MemberId],
    until: BootNanos,
    kind: CandidacyKind,
    loss_bytes_max: Option<u64>,
) -> Told {
    let (me, w) = (scene.me(), &scene.words);
    let loss = match (kind, loss_bytes_max) {
        (CandidacyKind::Failover, Some(0)) => {
            "; it has all that the old primary was last heard to have written".to_owned()
        }
        (CandidacyKind::Failover, Some(bytes)) => {
            format!(
                "; at least {} bytes are lost, of what the old primary was heard to have written",
                grouped(bytes)
            )
        }
        (CandidacyKind::Failover, None) => {
            "; how much the old primary had written last is not known".to_owned()
        }
        (
            CandidacyKind::Incumbent
            | CandidacyKind::FirstAdoption
            | CandidacyKind::OperatorAdoption
            | CandidacyKind::OperatorVouched,
            _,
        ) => String::new(),
    };
    let text = format!(
        "{me} won term {term}: {} of {} voters voted for it ({}); its lease stands for {}{loss}",
        voters.len(),
        w.voters(),
        w.names(voters),
        left(scene.record, until)
    );
    let level = if kind == CandidacyKind::Failover { Level::Warning } else { Level::Info };
    told(level, "election won", text)
}
