//! Owns what is taken out of a log for an inquiry: the records that matter to a failover, in the story's
//! own words, and every look at a primary. It audits on the way, and must never change a log.

use super::deeds::{Deed, deed};
use crate::cli::replay::{Audit, AuditOptions, Log, Seen, audit_path};
use crate::core::{Lsn, MemberId, Nanos, Term};
use crate::events::story::{StoryMemory, describe, tell};
use crate::events::{Decision, Event, Observation, ProbeKind, ProbeReport, ReadError, Record, Settings};
use pgfo_replay::{Seq, WallNanos};
use std::path::Path;

/// A record that matters to a failover.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The record.
    pub record: Record,
    /// Whose deed it shows, and which; more than one for few.
    pub deed: Deed,
    /// The story's words.
    pub text: String,
    /// The newest primary this member knew, and its term.
    pub known: Option<(MemberId, Term)>,
}

/// A probe, as short as it can be kept.
#[derive(Clone, Copy, Debug)]
pub struct Glance {
    /// The record.
    pub seq: Seq,
    /// When it ended.
    pub wall: WallNanos,
    /// Whose PostgreSQL.
    pub target: MemberId,
    /// Why it was made.
    pub kind: ProbeKind,
    /// How long it took.
    pub took: Nanos,
    /// Whether it was answered, and if so, where the WAL ended.
    pub answered: Option<Option<Lsn>>,
}

/// One log, audited and read.
#[derive(Debug)]
pub struct Gathered {
    /// The log, with its audit.
    pub log: Log,
    /// What matters, in order.
    pub kept: Vec<Kept>,
    /// All probes, in order.
    pub glances: Vec<Glance>,
    /// How far this member's clock is ahead of the common time.
    pub ahead_nanos: i64,
}

impl Gathered {
    /// Reads and audits the log at `path`.
    ///
    /// # Errors
    /// When there is no log, or it can't be read at all.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let mut gathering = Gathering::default();
        let options = AuditOptions { all: false, story: false, receipts: true };
        let audit = audit_path(path, options, |seen| gathering.take(seen))?;
        let log = Log { path: path.to_owned(), audit };
        Ok(Self { log, kept: gathering.kept, glances: gathering.glances, ahead_nanos: 0 })
    }

    /// Returns what the audit found.
    #[must_use]
    pub const fn audit(&self) -> &Audit {
        &self.log.audit
    }

    /// Returns the settings last recorded.
    #[must_use]
    pub const fn settings(&self) -> Option<&Settings> {
        self.log.audit.settings.as_ref()
    }

    /// Returns the member whose log this is.
    #[must_use]
    pub fn me(&self) -> Option<MemberId> {
        self.settings().map(|s| s.me)
    }

    /// Returns a stamp of this log as common time.
    #[must_use]
    pub const fn common(&self, wall: WallNanos) -> i64 {
        wall.0 - self.ahead_nanos
    }

    /// Returns the last answer that this member had from `target` before a common instant.
    #[must_use]
    pub fn last_answer(&self, target: MemberId, before: i64) -> Option<&Glance> {
        self.glances
            .iter()
            .rev()
            .find(|g| g.target == target && g.answered.is_some() && self.common(g.wall) <= before)
    }
}

#[derive(Default)]
struct Gathering {
    settings: Option<Settings>,
    memory: StoryMemory,
    known: Option<(MemberId, Term)>,
    kept: Vec<Kept>,
    glances: Vec<Glance>,
}

impl Gathering {
    fn take(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Beginning(states) => {
                let ledger = &states.ledger;
                self.settings = Some(ledger.settings.clone());
                self.known = ledger.announced().map(|a| (a.primary, a.term));
                self.memory.resume(&ledger.settings, self.known);
            }
            Seen::Record(record) => self.see(record),
        }
    }

    fn see(&mut self, record: &Record) {
        match &record.event {
            Event::Observed(Observation::ProcessStarted(start)) => {
                self.settings = Some(start.settings.clone())
            }
            Event::Observed(Observation::SettingsChanged { settings, .. }) => {
                self.settings = Some((**settings).clone());
            }
            Event::Observed(Observation::ProbeCompleted { target, kind, report, took, .. }) => {
                let answered = match report {
                    ProbeReport::Answered(answer) => Some(answer.lsn()),
                    ProbeReport::Alive(_) | ProbeReport::Failed(_) => None,
                };
                let (seq, wall) = (record.seq, record.wall);
                let (target, kind, took) = (*target, *kind, *took);
                self.glances.push(Glance { seq, wall, target, kind, took, answered });
            }
            Event::Observed(_) | Event::Decided(_) => {}
        }
        let Some(settings) = &self.settings else { return };
        let line = tell(record, settings, &mut self.memory);
        if let Some(deed) = deed(record, settings.me) {
            let text = line.unwrap_or_else(|| describe(record, settings, &self.memory)).text;
            self.kept.push(Kept { record: record.clone(), deed, text, known: self.known });
        }
        if let Event::Decided(Decision::PrimaryAnnounced(a) | Decision::AnnouncementAdopted(a)) =
            &record.event
            && self.known.is_none_or(|(_, term)| term < a.term)
        {
            self.known = Some((a.primary, a.term));
        }
    }
}
