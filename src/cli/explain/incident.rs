//! Owns the splitting of logs into incidents: each begins with a first sign that a primary fails and ends
//! when another leads, or when nobody holds it down any more. It judges nothing.

use super::deeds::What;
use super::gather::{Gathered, Kept};
use super::signs::{BEFORE_NANOS, first_sign};
use crate::cli::replay::{Audit, Senders, Sent};
use crate::core::{MemberId, Term};
use crate::events::{CandidacyKind, Decision, Event, Message, Observation};
use std::collections::BTreeSet;

/// Without a sign for this long, and with nobody holding the primary down, what follows is another
/// incident: longer than any pause between two attempts at an election.
const QUIET_NANOS: i64 = 15_000_000_000;

/// One record of one log, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Common time.
    pub at: i64,
    /// Which log.
    pub log: usize,
    /// Which of its kept records.
    pub kept: usize,
}

/// What happened to one primary.
#[derive(Clone, Debug)]
pub struct Incident {
    /// The primary it is about, and its term.
    pub about: (MemberId, Term),
    /// Common time of the first sign that nobody took back; earlier ones may be among the marks.
    pub began: i64,
    /// Common time of the last mark.
    pub ended: i64,
    /// What belongs to it, in order of common time.
    pub marks: Vec<Mark>,
    /// Who took over, and in which term.
    pub winner: Option<(MemberId, Term)>,
    /// Members that hold the primary down at the end of the logs, or when another took over.
    pub down: BTreeSet<MemberId>,
    /// Members that suspected the primary, and did not come to a conclusion.
    suspected_by: BTreeSet<MemberId>,
    /// The highest term that somebody stood in.
    pub stood: Option<Term>,
    /// Whether more than a suspicion was seen.
    pub grave: bool,
}

impl Incident {
    fn begin(about: (MemberId, Term), at: i64) -> Self {
        Self {
            about,
            began: at,
            ended: at,
            marks: Vec::new(),
            winner: None,
            down: BTreeSet::new(),
            suspected_by: BTreeSet::new(),
            stood: None,
            grave: false,
        }
    }

    /// Returns whether it only tells of a former primary that was kept from being one.
    #[must_use]
    pub fn is_of_former_primary(&self, logs: &[Gathered]) -> bool {
        self.winner.is_none()
            && !self.marks.iter().any(|m| matches!(kept(logs, *m).deed.what, What::HeldDown(_) | What::Sign))
    }

    /// Returns the common time at which the winner was announced, or first heard to be, if somebody won.
    #[must_use]
    pub fn taken_over_at(&self, logs: &[Gathered]) -> Option<i64> {
        let (_, won) = self.winner?;
        let tells = |m: &&Mark| {
            let deed = kept(logs, **m).deed;
            deed.term == Some(won) && matches!(deed.what, What::Announced | What::Learned)
        };
        self.marks.iter().find(tells).map(|m| m.at)
    }

    /// Returns who suspected the primary when these logs end: neither came to a conclusion nor started anew.
    #[must_use]
    pub fn suspects(&self, logs: &[Gathered]) -> Vec<MemberId> {
        let started_anew = |who: MemberId| {
            let own = self.marks.iter().rev().find(|m| {
                let deed = kept(logs, **m).deed;
                deed.who == who && deed.what == What::Sign && !deed.heard
            });
            own.is_some_and(|m| logs[m.log].kept[m.kept..].iter().any(|k| k.deed.what == What::Started))
        };
        self.suspected_by.iter().copied().filter(|who| !started_anew(*who)).collect()
    }

    fn take(&mut self, mark: Mark, kept: &Kept) {
        self.marks.push(mark);
        self.ended = self.ended.max(mark.at);
        match kept.deed.what {
            What::HeldDown(_) | What::SeenAgain | What::Started => {
                self.suspected_by.remove(&kept.deed.who);
            }
            What::Sign if matches!(kept.record.event, Event::Decided(Decision::SuspicionRaised { .. })) => {
                self.suspected_by.insert(kept.deed.who);
            }
            _ => {}
        }
        match kept.deed.what {
            What::HeldDown(_) => {
                self.down.insert(kept.deed.who);
                self.grave = true;
            }
            What::SeenAgain if self.winner.is_none() => {
                self.down.remove(&kept.deed.who);
            }
            What::Fence(_) | What::FollowRefused { .. } => self.grave = true,
            What::Stood(_) => self.stood = self.stood.max(kept.deed.term),
            What::Announced | What::Learned => {
                if let Some(winner) = announced(kept).filter(|w| w.1 > self.about.1)
                    && self.winner.is_none_or(|w| w.1 < winner.1)
                {
                    self.winner = Some(winner);
                }
            }
            _ => {}
        }
    }
}

/// Returns the record of a mark.
#[must_use]
pub fn kept(logs: &[Gathered], mark: Mark) -> &Kept {
    &logs[mark.log].kept[mark.kept]
}

fn announced(kept: &Kept) -> Option<(MemberId, Term)> {
    match &kept.record.event {
        Event::Decided(Decision::PrimaryAnnounced(a) | Decision::AnnouncementAdopted(a))
        | Event::Observed(Observation::MessageReceived { message: Message::PrimaryAnnounced(a), .. }) => {
            Some((a.primary, a.term))
        }
        _ => None,
    }
}

/// Returns all incidents that the logs tell of, in order of their beginning.
#[must_use]
pub fn incidents(logs: &[Gathered]) -> Vec<Incident> {
    let audits: Vec<&Audit> = logs.iter().map(Gathered::audit).collect();
    let senders = Senders::of(&audits);
    let mut marks: Vec<Mark> = Vec::new();
    for (log, gathered) in logs.iter().enumerate() {
        marks.extend(
            gathered
                .kept
                .iter()
                .enumerate()
                .filter(|(i, _)| counts(logs, &senders, log, *i))
                .map(|(i, k)| Mark { at: gathered.common(k.record.seq, k.record.wall), log, kept: i }),
        );
    }
    // Stable: records of one log keep their order.
    marks.sort_by_key(|m| m.at);
    let mut all: Vec<Incident> = Vec::new();
    // A lost connection alone is no incident, but the first sign of one that follows.
    let mut before: Vec<Mark> = Vec::new();
    for mark in marks {
        let kept = kept(logs, mark);
        match home(&all, mark, kept) {
            Some(at) => all[at].take(mark, kept),
            None if opens(kept) => {
                let Some(about) = kept.known else { continue };
                all.push(begin(logs, about, mark, &mut before));
            }
            None if matches!(kept.deed.what, What::Lost(_)) => before.push(mark),
            None => {}
        }
    }
    for incident in &mut all {
        incident.began = first_sign(logs, incident).unwrap_or(incident.began);
    }
    all.sort_by_key(|incident| incident.began);
    all
}

fn begin(logs: &[Gathered], about: (MemberId, Term), mark: Mark, before: &mut Vec<Mark>) -> Incident {
    let first = |m: &Mark| {
        let k = kept(logs, *m);
        let of_primary = k.deed.what == What::Lost(about.0) || k.deed.who == about.0;
        of_primary && k.known == Some(about) && mark.at - m.at <= BEFORE_NANOS
    };
    let signs: Vec<Mark> = before.drain(..).filter(first).chain([mark]).collect();
    let mut incident = Incident::begin(about, signs[0].at);
    for sign in signs {
        incident.take(sign, kept(logs, sign));
    }
    incident
}

/// Whether a record counts at all: what only echoes a record that is at hand does not, nor does the end of
/// a process that nobody drew a conclusion from.
fn counts(logs: &[Gathered], senders: &Senders<'_>, log: usize, at: usize) -> bool {
    let gathered = &logs[log];
    let kept = &gathered.kept[at];
    if kept.deed.heard {
        return !matches!(senders.find_at(log, kept.record.seq), Sent::Here(_));
    }
    let is_observed_sign = kept.deed.what == What::Sign && kept.record.cause.is_none();
    !is_observed_sign
        || gathered.kept.get(at + 1).is_some_and(|next| next.record.cause == Some(kept.record.seq))
}

/// Returns the incident that a record belongs to, if it is known yet.
fn home(all: &[Incident], mark: Mark, kept: &Kept) -> Option<usize> {
    let (primary, term) = kept.known?;
    let deed = &kept.deed;
    let won = |term: Term| all.iter().rposition(|i| i.winner.is_some_and(|(_, t)| t == term));
    let of_former = matches!(
        deed.what,
        What::Fence(_)
            | What::FenceEnded { .. }
            | What::Released
            | What::PostmasterSeen { .. }
            | What::Started
    );
    match deed.what {
        What::FollowOrdered | What::Followed { .. } | What::FollowRefused { .. } => {
            return deed.term.and_then(won);
        }
        What::Learned
        | What::Announced
        | What::Won { .. }
        | What::Promoted { .. }
        | What::PromotionOrdered => {
            if let Some(at) = deed.term.and_then(won) {
                return Some(at);
            }
        }
        _ if of_former && deed.who != primary => {
            // A member that follows: of interest only where it was the primary before.
            return won(term).filter(|at| all[*at].about.0 == deed.who);
        }
        _ => {}
    }
    let at = all.iter().rposition(|i| i.about == (primary, term))?;
    let incident = &all[at];
    let recent = mark.at - incident.ended <= QUIET_NANOS;
    let open = incident.winner.is_none() && !(incident.down.is_empty() && incident.suspected_by.is_empty());
    // Whoever was replaced can't fail again in that term: what is still told of it is told by those who have
    // not learned yet.
    let is_replaced = incident.winner.is_some();
    (recent || open || is_replaced).then_some(at)
}

/// Whether a record begins an incident.
fn opens(kept: &Kept) -> bool {
    let primary = kept.known.map(|(p, _)| p);
    match kept.deed.what {
        What::Sign | What::HeldDown(_) | What::Expired | What::FollowRefused { .. } => true,
        What::Fence(_) => true,
        What::Stood(CandidacyKind::Failover) | What::Asked => true,
        What::Stood(kind) if kind.is_by_name() => true,
        What::Lost(_) | What::Started => false,
        What::PostmasterSeen { sealed } => sealed && primary == Some(kept.deed.who),
        _ => false,
    }
}
