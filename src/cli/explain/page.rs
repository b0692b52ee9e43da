//! Owns the page about one incident, as data: which records it shows, in which part. What a record says is
//! the story's business; here is only what follows from several of them: distances, and who is missing.

use super::candidates::{Candidate, candidates};
use super::deeds::What;
use super::gather::{Gathered, Kept};
use super::incident::{Incident, Mark, kept};
use super::phases::{Phase, phases};
use crate::core::{Lsn, MemberId, Nanos};
use crate::events::story::grouped;
use crate::events::{Decision, Event, NoElection, Refusal, Settings};
use serde::Serialize;

/// What a page is about, in a word for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Another member took over.
    FailedOver,
    /// The primary stayed, or came back.
    PrimaryStayed,
    /// Nobody leads at the end of these logs.
    NobodyTookOver,
    /// A former primary was kept from writing.
    FormerPrimaryRefused,
}

/// A record that the page shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Since the first sign, nanoseconds.
    pub after_ns: i64,
    /// Whose log.
    pub member: String,
    /// Its number there.
    pub record: u64,
    /// The story's words.
    pub text: String,
    /// How often the same was said again.
    pub again: u64,
}

/// What may be lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loss {
    /// Bytes at most, as the winner reckoned from what it had heard; `None`: not known from these logs.
    pub bytes_max: Option<u64>,
    /// Bytes of WAL past the fork that the old primary's own daemon saw last, if its log is at hand.
    pub past_fork_bytes: Option<u64>,
    /// Bytes past the fork that the old primary found when it was to follow.
    pub found_bytes: Option<u64>,
    /// Where the new timeline forked off.
    pub forked_at: Option<String>,
}

/// The page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// Number among the incidents of these logs, from 1.
    pub number: usize,
    /// The cluster.
    pub cluster: String,
    /// What it is about.
    pub kind: Kind,
    /// Common time of the first sign, nanoseconds since 1970.
    pub began_ns: i64,
    /// The failed primary.
    pub primary: String,
    /// Its term.
    pub term: u64,
    /// Who took over.
    pub winner: Option<String>,
    /// In which term.
    pub won_term: Option<u64>,
    /// One sentence.
    pub headline: String,
    /// What was seen, by whom, in order.
    pub seen: Vec<Line>,
    /// Who would stand, and who did not, and why.
    pub stood: Vec<Line>,
    /// Why nobody was elected, where nobody was.
    pub why_not: Vec<String>,
    /// What was compared.
    pub candidates: Vec<Candidate>,
    /// Who voted how.
    pub votes: Vec<Line>,
    /// Election, promotion, announcement.
    pub taken_over: Vec<Line>,
    /// How long each phase took.
    pub phases: Vec<Phase>,
    /// What may be lost; only where another took over.
    pub loss: Option<Loss>,
    /// Followers, and the old primary.
    pub afterwards: Vec<Line>,
    /// Members whose logs are not at hand: of them only what they told is known.
    pub missing_logs: Vec<String>,
}

impl Page {
    /// Makes the page about the incident of a number.
    #[must_use]
    pub fn of(logs: &[Gathered], incident: &Incident, number: usize) -> Self {
        // An incident has marks, and a mark has a log whose settings were read.
        let settings = incident.marks.iter().find_map(|m| logs[m.log].settings()).cloned();
        let settings = settings.unwrap_or_else(|| unreachable!("a record is kept only under settings"));
        let view = View { logs, incident, settings: &settings };
        let winner = incident.winner.map(|(member, _)| settings.name(member).to_owned());
        let kind = view.kind();
        let missing_logs = settings.ids().map(|m| settings.name(m));
        let missing_logs = missing_logs
            .filter(|name| !logs.iter().any(|log| log.audit().member() == Some(name)))
            .map(str::to_owned)
            .collect();
        Self {
            number,
            cluster: settings.cluster.clone(),
            kind,
            began_ns: incident.began,
            primary: settings.name(incident.about.0).to_owned(),
            term: incident.about.1.0,
            headline: view.headline(kind),
            winner,
            won_term: incident.winner.map(|(_, term)| term.0),
            seen: view.lines(|k| view.is_seen(k)),
            stood: view.lines(|k| {
                matches!(
                    k.deed.what,
                    What::Planned
                        | What::Abandoned
                        | What::Withheld(_)
                        | What::Stood(_)
                        | What::Yielded
                        | What::CaughtUp
                )
            }),
            why_not: view.why_not(),
            candidates: candidates(logs, incident, &settings),
            votes: view.lines(|k| {
                matches!(k.deed.what, What::Voted { .. } | What::Refused { .. } | What::FreezeRefused)
            }),
            taken_over: view.lines(|k| {
                matches!(
                    k.deed.what,
                    What::Won { .. } | What::PromotionOrdered | What::Promoted { .. } | What::Announced
                )
            }),
            phases: phases(logs, incident),
            loss: incident.winner.map(|_| view.loss()),
            afterwards: view.lines(|k| view.is_afterwards(k)),
            missing_logs,
        }
    }
}

struct View<'a> {
    logs: &'a [Gathered],
    incident: &'a Incident,
    settings: &'a Settings,
}

impl View<'_> {
    fn kind(&self) -> Kind {
        match (self.incident.winner, self.incident.down.is_empty()) {
            (Some(_), _) => Kind::FailedOver,
            _ if self.incident.is_of_former_primary(self.logs) => Kind::FormerPrimaryRefused,
            (None, true) => Kind::PrimaryStayed,
            (None, false) => Kind::NobodyTookOver,
        }
    }

    fn headline(&self, kind: Kind) -> String {
        let (primary, term) = self.incident.about;
        let old = self.settings.name(primary);
        match (kind, self.incident.winner) {
            (Kind::FailedOver, Some((winner, won))) => {
                let by = self.settings.name(winner);
                let after = self.time_of(|k| {
                    k.deed.term == Some(won) && matches!(k.deed.what, What::Announced | What::Learned)
                });
                let after = after.map_or(String::new(), |at| format!(", {} after the first sign", span(at)));
                if winner == primary {
                    return format!("{by} stayed the primary, by winning term {won} anew{after}");
                }
                format!("{by} took over from {old}, primary of term {term}, by winning term {won}{after}")
            }
            (Kind::NobodyTookOver, _) => format!(
                "nobody took over from {old}, primary of term {term}: at the end of these logs {} held it down",
                names(self.settings, self.incident.down.iter().copied())
            ),
            (Kind::FormerPrimaryRefused, _) => {
                let who =
                    self.marks().find(|k| matches!(k.deed.what, What::Fence(_) | What::FollowRefused { .. }));
                let who = who.map_or(primary, |k| k.deed.who);
                format!("{}, a former primary, was kept from writing", self.settings.name(who))
            }
            _ => {
                let why =
                    if self.incident.grave { "was held down, and seen again" } else { "was suspected only" };
                format!("no failover: {old} stayed the primary of term {term}; it {why}")
            }
        }
    }

    fn marks(&self) -> impl Iterator<Item = &Kept> {
        self.incident.marks.iter().map(|m| kept(self.logs, *m))
    }

    fn time_of(&self, is: impl Fn(&Kept) -> bool) -> Option<i64> {
        let mark = self.incident.marks.iter().find(|m| is(kept(self.logs, **m)))?;
        Some(mark.at - self.incident.began)
    }

    fn is_seen(&self, k: &Kept) -> bool {
        let old = k.deed.who == self.incident.about.0;
        let after_win = self.incident.winner.is_some() && k.known != Some(self.incident.about);
        match k.deed.what {
            What::Sign | What::HeldDown(_) | What::SeenAgain | What::Expired | What::Confirmed => true,
            What::Fence(_) | What::FenceEnded { .. } | What::Released => !after_win,
            What::Lost(peer) => peer == self.incident.about.0 || old,
            _ => false,
        }
    }

    fn is_afterwards(&self, k: &Kept) -> bool {
        let old = k.deed.who == self.incident.about.0;
        let after_win = self.incident.winner.is_some() && k.known != Some(self.incident.about);
        match k.deed.what {
            What::FollowOrdered | What::Followed { .. } | What::FollowRefused { .. } => true,
            What::Fence(_) | What::FenceEnded { .. } | What::Released => old && after_win,
            What::PostmasterSeen { .. } | What::Started => old,
            _ => false,
        }
    }

    /// The chosen records; what was said before in the same words is counted only.
    fn lines(&self, is: impl Fn(&Kept) -> bool) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        let mut last: Option<(Mark, What)> = None;
        for mark in &self.incident.marks {
            let k = kept(self.logs, *mark);
            if !is(k) {
                continue;
            }
            // Two logs that heard the same of a third, whose log is not at hand.
            let heard_twice = last.is_some_and(|(m, what)| {
                let before = kept(self.logs, m);
                k.deed.heard && what == k.deed.what && before.deed == k.deed && m.log != mark.log
            });
            last = Some((*mark, k.deed.what));
            let member = self.logs[mark.log].audit().member().unwrap_or("?").to_owned();
            if let Some(line) = lines.iter_mut().find(|l| l.text == k.text && l.member == member) {
                line.again += 1;
            } else if !heard_twice {
                lines.push(Line {
                    after_ns: mark.at - self.incident.began,
                    member,
                    record: k.record.seq.0,
                    text: k.text.clone(),
                    again: 0,
                });
            }
        }
        lines
    }

    /// The last word of each member that could not, and when those that refused had seen the primary last.
    fn why_not(&self) -> Vec<String> {
        if self.incident.winner.is_some() {
            return Vec::new();
        }
        let mut said: Vec<String> = Vec::new();
        for member in self.settings.ids() {
            let last = self.incident.marks.iter().rev().find(|m| {
                let k = kept(self.logs, **m);
                k.deed.who == member && matches!(k.deed.what, What::Abandoned | What::Withheld(_))
            });
            let Some(mark) = last else { continue };
            let k = kept(self.logs, *mark);
            let mut text = k.text.clone();
            for seer in seers(&k.record.event) {
                text.push_str(&self.saw_last(seer, mark.at));
            }
            said.push(text);
        }
        if said.is_empty() && !self.incident.down.is_empty() {
            said.push("nobody asked for votes within these logs".to_owned());
        }
        said
    }

    /// `; node3 had its last answer from node1 0.400 s before`, if its log is at hand.
    fn saw_last(&self, seer: MemberId, before: i64) -> String {
        let name = self.settings.name(seer);
        let log = self.logs.iter().find(|log| log.audit().member() == Some(name));
        let primary = self.incident.about.0;
        let seen = log.and_then(|log| Some(before - log.common(log.last_answer(primary, before)?.wall)));
        seen.map_or(String::new(), |ago| {
            format!("; {name} had its last answer from {} {} before", self.settings.name(primary), span(ago))
        })
    }

    fn loss(&self) -> Loss {
        let won = self.incident.winner.map(|(_, term)| term);
        let bytes_max = self.marks().find_map(|k| match k.deed.what {
            What::Won { loss_bytes_max } if k.deed.term == won => loss_bytes_max,
            _ => None,
        });
        let conceded = self.marks().filter_map(|k| match k.deed.what {
            What::Voted { loss_bytes, .. } if k.deed.term == won => Some(loss_bytes),
            _ => None,
        });
        let conceded = conceded.max().filter(|bytes| *bytes > 0);
        let forked = self.marks().find_map(|k| match &k.record.event {
            Event::Decided(Decision::PrimaryAnnounced(a) | Decision::AnnouncementAdopted(a))
                if Some(a.term) == won =>
            {
                a.forked.map(|(_, at)| at)
            }
            _ => None,
        });
        let found = self.marks().find_map(|k| match k.deed.what {
            What::FollowRefused { past_fork_bytes } if k.deed.who == self.incident.about.0 => past_fork_bytes,
            _ => None,
        });
        let past_fork = forked.and_then(|at| Some(self.old_primary_at()?.bytes_since(at)));
        Loss {
            bytes_max: bytes_max.max(conceded),
            past_fork_bytes: past_fork,
            found_bytes: found,
            forked_at: forked.map(|at| at.to_string()),
        }
    }

    /// Where the old primary's own daemon saw its WAL end last, before another took over.
    fn old_primary_at(&self) -> Option<Lsn> {
        let name = self.settings.name(self.incident.about.0);
        let log = self.logs.iter().find(|log| log.audit().member() == Some(name))?;
        let end =
            self.incident.began + self.time_of(|k| matches!(k.deed.what, What::Announced | What::Learned))?;
        log.last_answer(self.incident.about.0, end)?.answered?
    }
}

fn seers(event: &Event) -> Vec<MemberId> {
    match event {
        Event::Decided(Decision::ElectionAbandoned {
            why: NoElection::TooFewHoldItDown { seers, .. },
            ..
        }) => seers.clone(),
        Event::Decided(Decision::ElectionAbandoned {
            why: NoElection::TooFewVotes { refused, .. }, ..
        }) => refused
            .iter()
            .filter(|(_, why)| matches!(why, Refusal::SeesPrimary(_)))
            .map(|(member, _)| *member)
            .collect(),
        _ => Vec::new(),
    }
}

fn names(settings: &Settings, members: impl Iterator<Item = MemberId>) -> String {
    let names: Vec<&str> = members.map(|m| settings.name(m)).collect();
    match names.as_slice() {
        [] => "nobody".to_owned(),
        [one] => (*one).to_owned(),
        [firsts @ .., last] => format!("{} and {last}", firsts.join(", ")),
    }
}

/// A length of time as the stories write it.
#[must_use]
pub fn span(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    format!("{sign}{}", Nanos(nanos.unsigned_abs()))
}

/// What was lost at most, in words.
#[must_use]
pub(super) fn loss_words(loss: &Loss, old: &str) -> Vec<String> {
    let mut words = Vec::new();
    words.push(match loss.bytes_max {
        Some(0) => format!("nothing that {old} was heard to have written before"),
        Some(bytes) => format!("at most {} bytes of what {old} was heard to have written", grouped(bytes)),
        None => format!("how much {old} had written last is not in these logs"),
    });
    let at = loss.forked_at.as_deref().unwrap_or("the fork");
    match loss.past_fork_bytes {
        Some(0) => words
            .push(format!("its own daemon had last seen nothing past {at}, where the new timeline begins")),
        Some(bytes) => words.push(format!("its own daemon had last seen {} bytes past {at}", grouped(bytes))),
        None => {}
    }
    if let Some(bytes) = loss.found_bytes {
        words.push(format!("when it was to follow, {old} held {} bytes past the fork", grouped(bytes)));
    }
    words
}
