//! Owns what a run tells people, when asked: the members' records in the words of every other story, and between them
//! what happens around the members, which no log holds. It must never change what happens.

use super::time::SimNanos;
use crate::core::{MemberId, Term};
use crate::events::story::{self, Level, StoryMemory};
use crate::events::{Record, Settings};

/// One line of a run's story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When, in true time.
    pub at: SimNanos,
    /// The member that recorded it, or to whose host it happened; none: faults, and what operators do.
    pub member: Option<MemberId>,
    /// The term it is about, if it is about one.
    pub term: Option<Term>,
    /// How much it matters.
    pub level: Level,
    /// What, in one line.
    pub text: String,
}

/// A run's story so far.
#[derive(Debug)]
pub(super) struct Telling {
    told: Vec<Told>,
    memories: Vec<StoryMemory>,
}

impl Telling {
    pub(super) fn new(members: usize) -> Self {
        Self { told: Vec::new(), memories: vec![StoryMemory::new(); members] }
    }

    pub(super) fn into_told(self) -> Vec<Told> {
        self.told
    }

    /// A member recorded something.
    pub(super) fn record(&mut self, at: SimNanos, member: MemberId, record: &Record, settings: &Settings) {
        let Some(memory) = self.memories.get_mut(usize::from(member.0)) else { return };
        if let Some(line) = story::tell(record, settings, memory) {
            let (term, level, text) = (line.term, line.level, line.text);
            self.told.push(Told { at, member: Some(member), term, level, text });
        }
    }

    /// Something happened around the members: `m1 …` to the host of the second one, `-- …` to nobody in particular.
    pub(super) fn happening(&mut self, at: SimNanos, line: &str, settings: &Settings) {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let member = number(first);
        let text = named(rest, settings);
        let level = if member.is_some() { Level::Info } else { Level::Warning };
        self.told.push(Told { at, member, term: None, level, text });
    }
}

/// The number of `m1`.
fn number(word: &str) -> Option<MemberId> {
    word.strip_prefix('m').and_then(|digits| digits.parse().ok()).map(MemberId)
}

/// Returns a text with the members' names where it has their numbers: `m1`, `MemberId(1)`.
#[must_use]
pub fn named(text: &str, settings: &Settings) -> String {
    let known = |id: MemberId| settings.members.get(usize::from(id.0)).map(|m| m.name.as_str());
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let debug = rest.strip_prefix("MemberId(").and_then(|after| after.split_once(')'));
        if let Some((name, after)) =
            debug.and_then(|(id, after)| Some((known(MemberId(id.parse().ok()?))?, after)))
        {
            out.push_str(name);
            rest = after;
            continue;
        }
        let ends = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        // What is no part of a word is taken one by one.
        let (word, after) = match ends {
            0 => rest.split_at(rest.chars().next().map_or(1, char::len_utf8)),
            ends => rest.split_at(ends),
        };
        out.push_str(number(word).and_then(known).unwrap_or(word));
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Scenario;

    #[test]
    fn numbers_become_names() {
        let settings = Scenario::default().settings(MemberId(0));
        let said = |text| named(text, &settings);
        assert_eq!(said("operator rebuilds m1 from m0"), "operator rebuilds node2 from node1");
        assert_eq!(
            said("fault: Split { one: [MemberId(0)], other: [MemberId(1), MemberId(2)], for_ms: 5 }"),
            "fault: Split { one: [node1], other: [node2, node3], for_ms: 5 }"
        );
        assert_eq!(said("MemberId(9) m9 m1x mé — m2"), "MemberId(9) m9 m1x mé — node3");
    }
}
