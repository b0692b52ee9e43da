//! Owns the page about one incident, as data: which records it shows, in which part. What a record says is
//! the story's business; here is only what follows from several of them: distances, and who is missing.

use super::became::became;
use super::candidates::{Candidate, candidates};
use super::deeds::What;
use super::gather::{Gathered, Kept};
use super::incident::{Incident, Mark, kept};
use super::loss::{Loss, loss};
use super::outage::{Outage, outage, outage_words};
use super::phases::{Phase, phases};
use super::stretches::clock_words;
use super::why_not::why_not;
use crate::cli::replay::text::time;
use crate::core::{MemberId, Nanos};
use crate::events::story::fence_reason;
use crate::events::{FenceReason, Settings};
use pgfo_replay::WallNanos;
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
    /// These logs end before it was decided.
    LogsEnd,
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
    /// The same as RFC 3339, UTC, milliseconds.
    pub began: String,
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
    /// For how long nobody could write; only where somebody took over.
    pub write_outage: Option<Outage>,
    /// What may be lost; only where another took over.
    pub loss: Option<Loss>,
    /// Followers, and the old primary.
    pub afterwards: Vec<Line>,
    /// What became of the old primary; only where another took over.
    pub old_primary: Option<String>,
    /// Members whose logs are not at hand: of them only what they told is known.
    pub missing_logs: Vec<String>,
    /// Whose clock was set meanwhile, or off, and by how much; all times here are corrected.
    pub clocks: Vec<String>,
}

impl Page {
    /// Makes the page about the incident of a number.
    #[must_use]
    pub fn of(logs: &[Gathered], incident: &Incident, number: usize) -> Self {
        // An incident has marks, and a mark has a log whose settings were read.
        let settings = incident.marks.iter().find_map(|m| logs[m.log].settings()).cloned();
        let settings = settings.unwrap_or_else(|| unreachable!("a record is kept only under settings"));
        let write_outage = outage(logs, incident, &settings);
        let stopped = write_outage.as_ref().and_then(|o| Some(o.stopped_ns? + incident.began));
        let view = View { logs, incident, settings: &settings };
        let winner = incident.winner.map(|(member, _)| settings.name(member).to_owned());
        let kind = view.kind();
        let missing_logs = view.missing_logs().map(str::to_owned).collect();
        Self {
            number,
            cluster: settings.cluster.clone(),
            kind,
            began_ns: incident.began,
            began: time(WallNanos(incident.began)),
            primary: settings.name(incident.about.0).to_owned(),
            term: incident.about.1.0,
            headline: view.headline(kind, write_outage.as_ref()),
            winner,
            won_term: incident.winner.map(|(_, term)| term.0),
            seen: view.lines(|mark, k| view.is_seen(mark, k)),
            stood: view.lines(|mark, k| {
                !view.is_over(mark)
                    && matches!(
                        k.deed.what,
                        What::Planned
                            | What::Abandoned
                            | What::Withheld(_)
                            | What::Stood(_)
                            | What::Yielded
                            | What::CaughtUp
                    )
            }),
            why_not: why_not(logs, incident, &settings),
            candidates: candidates(logs, incident, &settings),
            votes: view.lines(|_, k| {
                matches!(k.deed.what, What::Voted { .. } | What::Refused { .. } | What::FreezeRefused)
            }),
            // An announcement of the failed primary itself may still be passed on.
            taken_over: view.lines(|_, k| {
                k.deed.term > Some(incident.about.1)
                    && matches!(
                        k.deed.what,
                        What::Won { .. } | What::PromotionOrdered | What::Promoted { .. } | What::Announced
                    )
            }),
            phases: phases(logs, incident),
            loss: loss(logs, incident, &settings, stopped),
            write_outage,
            old_primary: became(logs, incident, &settings),
            afterwards: view.lines(|mark, k| view.is_afterwards(mark, k)),
            missing_logs,
            clocks: clock_words(logs, incident.began, incident.ended),
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
            (None, true) if !self.incident.suspects(self.logs).is_empty() => Kind::LogsEnd,
            (None, true) => Kind::PrimaryStayed,
            (None, false) => Kind::NobodyTookOver,
        }
    }

    fn headline(&self, kind: Kind, outage: Option<&Outage>) -> String {
        let (primary, term) = self.incident.about;
        let old = self.settings.name(primary);
        match (kind, self.incident.winner) {
            (Kind::FailedOver, Some((winner, won))) => {
                let by = self.settings.name(winner);
                let after = self.time_of(|k| {
                    k.deed.term == Some(won) && matches!(k.deed.what, What::Announced | What::Learned)
                });
                let mut after =
                    after.map_or(String::new(), |at| format!(", {} after the first sign", span(at)));
                if let Some(words) = outage.and_then(outage_words) {
                    after = format!("{after}; {words}");
                }
                if winner == primary {
                    return format!("{by} stayed the primary, by winning term {won} anew{after}");
                }
                format!("{by} took over from {old}, primary of term {term}, by winning term {won}{after}")
            }
            (Kind::NobodyTookOver, _) => {
                let down = names(self.settings, self.incident.down.iter().copied());
                if self.missing_logs().next().is_some() {
                    return format!(
                        "nobody took over from {old}, primary of term {term}, as far as these logs tell: at their end \
                         {down} held it down"
                    );
                }
                format!(
                    "nobody took over from {old}, primary of term {term}: at the end of these logs {down} held it down"
                )
            }
            (Kind::LogsEnd, _) => format!(
                "not known: these logs end while {old}, primary of term {term}, was suspected by {}",
                names(self.settings, self.incident.suspects(self.logs).into_iter())
            ),
            (Kind::FormerPrimaryRefused, _) => {
                let kept = self.marks().find(|k| kept_from_writing(&k.deed.what).is_some());
                let who = kept.map_or(primary, |k| k.deed.who);
                let why = kept.and_then(|k| kept_from_writing(&k.deed.what));
                let why = why.map_or(String::new(), |why| format!(": {why}"));
                let name = self.settings.name(who);
                if who == primary {
                    return format!(
                        "{name}, primary of term {term} until then, was kept from writing{why}; nobody had taken over"
                    );
                }
                format!("{name}, a former primary, was kept from writing{why}")
            }
            _ => {
                let why =
                    if self.incident.grave { "was held down, and seen again" } else { "was suspected only" };
                format!("no failover: {old} stayed the primary of term {term}; it {why}")
            }
        }
    }

    /// Members whose logs are not at hand.
    fn missing_logs(&self) -> impl Iterator<Item = &str> {
        let names = self.settings.ids().map(|m| self.settings.name(m));
        names.filter(|name| !self.logs.iter().any(|log| log.audit().member() == Some(name)))
    }

    fn marks(&self) -> impl Iterator<Item = &Kept> {
        self.incident.marks.iter().map(|m| kept(self.logs, *m))
    }

    fn time_of(&self, is: impl Fn(&Kept) -> bool) -> Option<i64> {
        let mark = self.incident.marks.iter().find(|m| is(kept(self.logs, **m)))?;
        Some(mark.at - self.incident.began)
    }

    /// Whether another had taken over by then: what is seen later led to nothing any more.
    fn is_over(&self, mark: Mark) -> bool {
        self.incident.taken_over_at(self.logs).is_some_and(|taken| mark.at > taken)
    }

    fn is_seen(&self, mark: Mark, k: &Kept) -> bool {
        let old = k.deed.who == self.incident.about.0;
        match k.deed.what {
            What::Sign
            | What::HeldDown(_)
            | What::SeenAgain
            | What::Expired
            | What::Confirmed
            | What::Fence(_)
            | What::FenceEnded { .. }
            | What::Released => !self.is_over(mark),
            What::Lost(peer) => (peer == self.incident.about.0 || old) && !self.is_over(mark),
            _ => false,
        }
    }

    fn is_afterwards(&self, mark: Mark, k: &Kept) -> bool {
        let old = k.deed.who == self.incident.about.0;
        let after_win = self.is_over(mark);
        match k.deed.what {
            What::FollowOrdered | What::Followed { .. } | What::FollowRefused { .. } => true,
            What::Fence(_) | What::FenceEnded { .. } | What::Released => old && after_win,
            What::PostmasterSeen { .. } | What::Started => old,
            _ => false,
        }
    }

    /// The chosen records; what was said before in the same words is counted only.
    fn lines(&self, is: impl Fn(Mark, &Kept) -> bool) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        let mut last: Option<(Mark, What)> = None;
        for mark in &self.incident.marks {
            let k = kept(self.logs, *mark);
            if !is(*mark, k) {
                continue;
            }
            // Two logs that heard the same of a third, whose log is not at hand.
            let heard_twice = last.is_some_and(|(m, what)| {
                let before = kept(self.logs, m);
                k.deed.heard && what == k.deed.what && before.deed == k.deed && m.log != mark.log
            });
            last = Some((*mark, k.deed.what));
            let member = self.logs[mark.log].audit().member().unwrap_or("?").to_owned();
            let after_ns = mark.at - self.incident.began;
            // The first sign has a line of its own, whatever was said and taken back before it.
            let is_same = |l: &Line| (l.after_ns < 0) == (after_ns < 0) && l.text == k.text;
            if let Some(line) = lines.iter_mut().find(|l| l.member == member && is_same(l)) {
                line.again += 1;
            } else if !heard_twice {
                lines.push(Line { after_ns, member, record: k.record.seq.0, text: k.text.clone(), again: 0 });
            }
        }
        lines
    }
}

/// What kept a former primary from writing, and why.
fn kept_from_writing(what: &What) -> Option<String> {
    match what {
        What::Fence(Some(why)) => Some(format!("it was fenced, because {}", because(why))),
        What::Fence(None) => Some("its guard fenced it".to_owned()),
        What::FollowRefused { .. } => {
            Some("its WAL went past the fork, it needs a rewind or a new base backup".to_owned())
        }
        What::PostmasterSeen { sealed: true } => {
            Some("standby.signal, which its fence had left, lets it run read-only".to_owned())
        }
        _ => None,
    }
}

/// A reason in words, without what follows from it.
fn because(why: &FenceReason) -> String {
    let words = fence_reason(why);
    words.split_once("; ").map_or(words.clone(), |(reason, _)| reason.to_owned())
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
