//! Owns what is taken out of a log for an inquiry: the records that matter to a failover, in the story's
//! own words, and every look at a primary. It audits on the way, and must never change a log.

use super::deeds::{Deed, deed};
use super::stretches::{ClockWatch, Stretch, stretch_of};
use crate::cli::replay::{Audit, AuditOptions, Log, Seen, audit_path};
use crate::core::{Lsn, MemberId, Nanos, Term};
use crate::events::story::{StoryMemory, describe, tell};
use crate::events::{
    Ability, Answer, Decision, Event, Heartbeat, Message, Observation, ProbeKind, ProbeReport, ReadError,
    Record, Settings, Unelectable,
};
use pgfo_replay::{Seq, WallNanos};
use std::collections::BTreeMap;
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
    /// Whether it was answered.
    pub answered: bool,
    /// Where the WAL ended, if the answer said.
    pub lsn: Option<Lsn>,
    /// Whether it was in recovery.
    pub in_recovery: bool,
    /// Whether it had replayed all that it has.
    pub waits_for_wal: bool,
}

/// A heartbeat that was heard, as short as it can be kept.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// The record.
    pub seq: Seq,
    /// When it came.
    pub wall: WallNanos,
    /// Who sent it.
    pub from: MemberId,
    /// Where the WAL of a PostgreSQL that is no standby ended.
    pub lsn: Option<Lsn>,
}

/// What a member said last of what it can do.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The record.
    pub seq: Seq,
    /// When.
    pub wall: WallNanos,
    /// Whether it can vote.
    pub able: Ability,
    /// Whether it can be promoted.
    pub electable: Result<(), Unelectable>,
}

/// A connection that was made, or a stream of WAL that was seen, as short as it can be kept.
#[derive(Clone, Copy, Debug)]
pub struct Met {
    /// The record.
    pub seq: Seq,
    /// When.
    pub wall: WallNanos,
    /// With whom.
    pub peer: MemberId,
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
    /// All heartbeats that were heard, in order.
    pub told: Vec<Told>,
    /// All connections that were made, in order.
    pub met: Vec<Met>,
    /// From whom its WAL receiver was seen to stream, in order.
    pub streamed: Vec<Met>,
    /// What each member was heard to say last of what it can do, this one included.
    pub standings: BTreeMap<MemberId, Standing>,
    /// How its clock went, in order.
    pub stretches: Vec<Stretch>,
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
        Ok(Self {
            log,
            kept: gathering.kept,
            glances: gathering.glances,
            told: gathering.told,
            met: gathering.met,
            streamed: gathering.streamed,
            standings: gathering.standings,
            stretches: gathering.clock.stretches,
        })
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

    /// Returns the stamps of a record of this log as common time.
    #[must_use]
    pub fn common(&self, seq: Seq, wall: WallNanos) -> i64 {
        let stretch = stretch_of(&self.stretches, seq).map(|at| &self.stretches[at]);
        wall.0 - stretch.map_or(0, |stretch| stretch.ahead_nanos)
    }

    /// Returns how far this member's clock is ahead of the common time at the end of its log, nanoseconds.
    #[must_use]
    pub fn ahead_nanos(&self) -> i64 {
        self.stretches.last().map_or(0, |stretch| stretch.ahead_nanos)
    }

    /// Returns the common time of its last record.
    #[must_use]
    pub fn end(&self) -> Option<i64> {
        self.audit().last.map(|(seq, wall)| self.common(seq, wall))
    }

    /// Returns the last answer that this member had from `target` before a common instant.
    #[must_use]
    pub fn last_answer(&self, target: MemberId, before: i64) -> Option<&Glance> {
        let is_meant = |g: &&Glance| g.target == target && g.answered && self.common(g.seq, g.wall) <= before;
        self.glances.iter().rev().find(is_meant)
    }
}

#[derive(Default)]
struct Gathering {
    settings: Option<Settings>,
    clock: ClockWatch,
    memory: StoryMemory,
    known: Option<(MemberId, Term)>,
    kept: Vec<Kept>,
    glances: Vec<Glance>,
    told: Vec<Told>,
    met: Vec<Met>,
    streamed: Vec<Met>,
    standings: BTreeMap<MemberId, Standing>,
}

impl Gathering {
    fn take(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Beginning(states) => {
                let ledger = &states.ledger;
                self.clock.resume(states);
                self.settings = Some(ledger.settings.clone());
                self.known = ledger.announced().map(|a| (a.primary, a.term));
                self.memory.resume(&ledger.settings, self.known);
            }
            Seen::Record(record) => self.see(record),
        }
    }

    fn stands(&mut self, record: &Record, who: MemberId, h: &Heartbeat) {
        let Record { seq, wall, .. } = *record;
        self.standings.insert(who, Standing { seq, wall, able: h.able, electable: h.electable });
    }

    fn see(&mut self, record: &Record) {
        self.clock.see(record);
        match &record.event {
            Event::Observed(Observation::ProcessStarted(start)) => {
                self.settings = Some(start.settings.clone())
            }
            Event::Observed(Observation::SettingsChanged { settings, .. }) => {
                self.settings = Some((**settings).clone());
            }
            Event::Observed(Observation::ProbeCompleted { target, kind, report, took, .. }) => {
                let answer = match report {
                    ProbeReport::Answered(answer) => Some(answer),
                    ProbeReport::Alive(_) | ProbeReport::Failed(_) => None,
                };
                self.glances.push(Glance {
                    seq: record.seq,
                    wall: record.wall,
                    target: *target,
                    kind: *kind,
                    took: *took,
                    answered: answer.is_some(),
                    lsn: answer.and_then(Answer::lsn),
                    in_recovery: answer.is_some_and(|a| a.in_recovery),
                    waits_for_wal: answer.is_some_and(|a| a.waits_for_wal),
                });
            }
            Event::Observed(Observation::MessageReceived {
                from, message: Message::Heartbeat(h), ..
            }) => {
                let writes = h.postgres.filter(|p| p.in_recovery == Some(false));
                let lsn = writes.and_then(|p| p.received.max(p.replayed));
                self.stands(record, *from, h);
                self.told.push(Told { seq: record.seq, wall: record.wall, from: *from, lsn });
            }
            Event::Observed(Observation::PeerConnected { member, .. }) => {
                self.met.push(Met { seq: record.seq, wall: record.wall, peer: *member });
            }
            Event::Observed(Observation::ReceiverSeen { from: Some(peer) }) => {
                self.streamed.push(Met { seq: record.seq, wall: record.wall, peer: *peer });
            }
            Event::Decided(Decision::HeartbeatSent(h)) => {
                if let Some(me) = self.settings.as_ref().map(|s| s.me) {
                    self.stands(record, me, h);
                }
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
