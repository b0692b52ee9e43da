//! Owns the audit of one log: every decision is derived again from the settings and observations that
//! the log itself holds, and the story is told on the way. It must survive a role that panics.

use crate::cli::exit::Exit;
use crate::core::{CORE_REVISION, Incarnation, MemberId, Role, States, SystemId, roles};
use crate::events::story::{Folded, Line, StoryMemory, describe, tell};
use crate::events::{
    Actor, Checkpoint, Damage, Decision, Event, Observation, ProcessIdentity, ProcessStart, Record, Settings,
};
use crate::keep::open_state;
use pgfo_replay::{Auditor, BootNanos, Divergence, Ensemble, Seq, WallNanos};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Differences that are kept to be shown: after the first, the others are mostly its consequences.
pub const DIVERGENCES_KEPT_MAX: usize = 10;

/// What an audit is to keep besides its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// The story with all that says nothing new.
    pub all: bool,
    /// The story.
    pub story: bool,
    /// What is needed to merge this log with others.
    pub receipts: bool,
}

/// One told record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoryLine {
    /// Its number.
    pub seq: Seq,
    /// Wall clock of its member.
    pub wall: WallNanos,
    /// Boot-time clock of its member.
    pub boot: BootNanos,
    /// The record it answers.
    pub cause: Option<Seq>,
    /// What was left out since the line before.
    pub folded: Folded,
    /// The text.
    pub line: Line,
}

/// A message that this log received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The record that received it.
    pub seq: Seq,
    /// Who sent it.
    pub from: MemberId,
    /// The sender's record that sent it.
    pub sent_by: Seq,
    /// The process that sent it, if its handshake was recorded.
    pub process: Option<ProcessIdentity>,
}

/// A place where the recorded decision and the derived one differ, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// The record, or for a missing decision the one before which it is missing.
    pub seq: Seq,
    /// The record that was answered.
    pub cause: Seq,
    /// What the log holds; `None`: nothing.
    pub recorded: Option<String>,
    /// What is derived; `None`: nothing.
    pub derived: Option<String>,
    /// The revision of the core that recorded it.
    pub revision: u32,
}

/// How an audit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All was read, and every decision derived again is the one recorded.
    Identical,
    /// Some differ.
    Diverged,
    /// Some differ, but another core revision recorded them.
    DivergedFromOtherRevision,
    /// Some of the log can't be read, or not be derived because its beginning is missing.
    Unreadable,
}

impl Verdict {
    /// Returns the exit code.
    #[must_use]
    pub const fn exit(self) -> Exit {
        match self {
            Self::Identical => Exit::Ok,
            Self::Diverged => Exit::Degraded,
            Self::DivergedFromOtherRevision => Exit::OtherRevision,
            Self::Unreadable => Exit::Unreadable,
        }
    }

    /// Returns the word for machines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::Diverged => "diverged",
            Self::DivergedFromOtherRevision => "diverged-from-other-revision",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What the audit of one log found.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// The settings last recorded; `None`: no process start was read.
    pub settings: Option<Settings>,
    /// Releases that recorded it, in order of appearance.
    pub versions: Vec<String>,
    /// Revisions of the core that recorded it.
    pub revisions: Vec<u32>,
    /// Identities of this log, in order of appearance.
    pub incarnations: Vec<Incarnation>,
    /// The processes that wrote it, each with its first record here, in order of appearance.
    pub processes: Vec<(Seq, ProcessIdentity)>,
    /// The PostgreSQL clusters whose primaries it tells of, in order of appearance.
    pub system_ids: Vec<SystemId>,
    /// Process starts in it.
    pub starts: u64,
    /// Records read.
    pub records: u64,
    /// The first record.
    pub first: Option<(Seq, WallNanos)>,
    /// The last good record.
    pub last: Option<(Seq, WallNanos)>,
    /// Decisions derived again and compared.
    pub decisions_checked: u64,
    /// The first differences, at most [`DIVERGENCES_KEPT_MAX`].
    pub divergences: Vec<Deviation>,
    /// How many differ.
    pub divergence_count: u64,
    /// Where and how the log is damaged.
    pub damage: Option<Damage>,
    /// From this record on nothing was derived: a role panicked there.
    pub derived_until: Option<Seq>,
    /// The log lacks its beginning: it starts neither with a process start nor with a checkpoint.
    pub headless: bool,
    /// The record of the checkpoint that the log begins behind.
    pub checkpoint: Option<Seq>,
    /// Why that checkpoint tells nothing to this release.
    pub checkpoint_unused: Option<String>,
    /// What was told.
    pub story: Vec<StoryLine>,
    /// What was left out of the story.
    pub folded: Folded,
    /// Wall clock of every record, if asked for.
    pub walls: Vec<WallNanos>,
    /// Messages received, if asked for.
    pub receipts: Vec<Receipt>,
    own_revision_diverged: bool,
}

impl Audit {
    /// Returns the name of the member whose log this is.
    #[must_use]
    pub fn member(&self) -> Option<&str> {
        self.settings.as_ref().map(|s| s.name(s.me))
    }

    /// Returns the name of its cluster.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        self.settings.as_ref().map(|s| s.cluster.as_str())
    }

    /// Returns the verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.damage.is_some() || self.headless, self.divergence_count, self.own_revision_diverged) {
            (true, ..) => Verdict::Unreadable,
            (false, 0, _) => Verdict::Identical,
            (false, _, true) => Verdict::Diverged,
            (false, _, false) => Verdict::DivergedFromOtherRevision,
        }
    }
}

/// Audits the records of a log, and tells its story.
pub fn audit_reader(reader: impl Iterator<Item = Result<Record, Damage>>, options: AuditOptions) -> Audit {
    audit_with(reader, options, roles)
}

/// As [`audit_reader`], of a log that begins behind a checkpoint, if there is one.
pub fn audit_from(
    checkpoint: Option<&Checkpoint>,
    reader: impl Iterator<Item = Result<Record, Damage>>,
    options: AuditOptions,
) -> Audit {
    let mut auditing = Auditing::new(options, roles);
    if let Some(checkpoint) = checkpoint {
        auditing.audit.checkpoint = Some(checkpoint.seq);
        match open_state(checkpoint) {
            Ok(states) => auditing.resume(&states),
            Err(why) => auditing.audit.checkpoint_unused = Some(why),
        }
    }
    auditing.run(reader)
}

/// As [`audit_reader`], with machines of the caller's choice.
pub fn audit_with(
    reader: impl Iterator<Item = Result<Record, Damage>>,
    options: AuditOptions,
    machines: impl Fn(&Settings) -> Ensemble<Role>,
) -> Audit {
    Auditing::new(options, machines).run(reader)
}

struct Auditing<F> {
    options: AuditOptions,
    machines: F,
    auditor: Option<Auditor<Role>>,
    batch: Vec<Record>,
    found: Vec<Divergence<Event>>,
    memory: StoryMemory,
    revision: u32,
    /// The process that each peer named in its last handshake.
    peers: Vec<Option<ProcessIdentity>>,
    audit: Audit,
}

impl<F: Fn(&Settings) -> Ensemble<Role>> Auditing<F> {
    fn new(options: AuditOptions, machines: F) -> Self {
        let memory = if options.all { StoryMemory::telling_all() } else { StoryMemory::new() };
        Self {
            options,
            machines,
            auditor: None,
            batch: Vec::new(),
            found: Vec::new(),
            memory,
            revision: CORE_REVISION,
            peers: Vec::new(),
            audit: Audit::default(),
        }
    }

    fn run(mut self, reader: impl Iterator<Item = Result<Record, Damage>>) -> Audit {
        for item in reader {
            match item {
                Ok(record) => self.take(record),
                Err(damage) => self.audit.damage = Some(damage),
            }
        }
        self.end()
    }

    /// Begins in the state of a checkpoint instead of with the log's first process start.
    fn resume(&mut self, states: &States) {
        let (audit, ledger) = (&mut self.audit, &states.ledger);
        if let Some(start) = &states.start {
            self.revision = start.core_revision;
            audit.versions.push(start.version.clone());
            audit.revisions.push(start.core_revision);
            audit.incarnations.push(start.process.incarnation);
            let first = audit.checkpoint.map_or(Seq(1), Seq::next);
            audit.processes.push((first, start.process));
        }
        audit.settings = Some(ledger.settings.clone());
        self.peers = ledger.peers.iter().map(|peer| peer.process).collect();
        if let Some(announced) = ledger.announced()
            && !audit.system_ids.contains(&announced.system_id)
        {
            audit.system_ids.push(announced.system_id);
        }
        self.memory.resume(&ledger.settings, ledger.announced().map(|a| (a.primary, a.term)));
        self.auditor = Some(Auditor::new(states.roles()));
    }

    fn take(&mut self, record: Record) {
        if record.cause.is_none() {
            self.finish(true);
        }
        self.batch.push(record);
    }

    fn end(mut self) -> Audit {
        // Damage may have cut the last batch: what it lacks is no divergence.
        let whole = self.audit.damage.is_none();
        self.finish(whole);
        self.audit.decisions_checked = self.auditor.as_ref().map_or(0, Auditor::decisions_checked);
        add(&mut self.audit.folded, self.memory.take_folded());
        self.audit
    }

    /// Audits and tells the batch that is complete, or as complete as it will ever be.
    fn finish(&mut self, whole: bool) {
        let batch = std::mem::take(&mut self.batch);
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return };
        if self.audit.records == 0 {
            self.audit.first = Some((first.seq, first.wall));
            let starts = matches!(first.event, Event::Observed(Observation::ProcessStarted(_)));
            self.audit.headless = self.auditor.is_none() && !starts;
        }
        self.audit.records += batch.len() as u64;
        for record in &batch {
            if let Event::Decided(Decision::PrimaryAnnounced(a) | Decision::AnnouncementAdopted(a)) =
                &record.event
            {
                self.knows(a.system_id);
            }
        }
        self.audit.last = Some((last.seq, last.wall));
        match &first.event {
            Event::Observed(Observation::ProcessStarted(start)) => self.start(start, first.seq),
            Event::Observed(Observation::SettingsChanged { settings, .. }) => {
                self.audit.settings = Some((**settings).clone());
            }
            Event::Observed(_) | Event::Decided(_) => {}
        }
        self.check(&batch, whole);
        self.tell(&batch);
        if self.options.receipts {
            self.keep_receipts(&batch);
        }
        // Keeps its capacity for the next batch.
        self.batch = batch;
        self.batch.clear();
    }

    fn knows(&mut self, system_id: SystemId) {
        if !self.audit.system_ids.contains(&system_id) {
            self.audit.system_ids.push(system_id);
        }
    }

    fn start(&mut self, start: &ProcessStart, seq: Seq) {
        let audit = &mut self.audit;
        audit.starts += 1;
        self.revision = start.core_revision;
        if !audit.versions.contains(&start.version) {
            audit.versions.push(start.version.clone());
        }
        if !audit.revisions.contains(&start.core_revision) {
            audit.revisions.push(start.core_revision);
        }
        if !audit.incarnations.contains(&start.process.incarnation) {
            audit.incarnations.push(start.process.incarnation);
        }
        audit.processes.push((seq, start.process));
        self.peers = vec![None; start.settings.members.len()];
        let begins = audit.first.is_some_and(|(first, _)| first == seq);
        // Later starts reach the machines as the events they are.
        if begins && self.auditor.is_none() {
            self.auditor = Some(Auditor::new((self.machines)(&start.settings)));
        }
        audit.settings = Some(start.settings.clone());
    }

    fn check(&mut self, batch: &[Record], whole: bool) {
        if self.audit.derived_until.is_some() {
            return;
        }
        let Some(auditor) = &mut self.auditor else { return };
        let found = &mut self.found;
        let checked = catch_unwind(AssertUnwindSafe(|| auditor.check(batch, found)));
        if let Err(panic) = checked {
            let (seq, cause) = (batch[0].seq, batch[0].seq);
            let derived = Some(format!("a role panicked: {}", panic_text(panic.as_ref())));
            let recorded = Some("no failure of a role".to_owned());
            self.found.clear();
            self.audit.derived_until = Some(seq);
            self.count(Deviation { seq, cause, recorded, derived, revision: self.revision });
            return;
        }
        let mut found = std::mem::take(&mut self.found);
        for divergence in found.drain(..).filter(|d| whole || d.recorded.is_some()) {
            let deviation = self.in_words(batch, divergence);
            self.count(deviation);
        }
        self.found = found;
    }

    fn count(&mut self, deviation: Deviation) {
        self.audit.divergence_count += 1;
        self.audit.own_revision_diverged |= deviation.revision == CORE_REVISION;
        if self.audit.divergences.len() < DIVERGENCES_KEPT_MAX {
            self.audit.divergences.push(deviation);
        }
    }

    fn in_words(&self, batch: &[Record], divergence: Divergence<Event>) -> Deviation {
        let Divergence { seq, cause, recorded, derived } = divergence;
        let words = |side: &Option<(u8, Event)>, exact: bool| {
            let (actor, event) = side.as_ref()?;
            let role = Actor::from_number(*actor).map_or("unknown actor", Actor::name);
            let stamps = &batch[0];
            let (boot, wall) = (stamps.boot, stamps.wall);
            let record = Record { seq, boot, wall, actor: *actor, cause: Some(cause), event: event.clone() };
            Some(match &self.audit.settings {
                Some(settings) if !exact => {
                    format!("{role}: {}", describe(&record, settings, &self.memory).text)
                }
                _ => format!("{role}: {event:?}"),
            })
        };
        let exact = words(&recorded, false) == words(&derived, false);
        let (recorded, derived) = (words(&recorded, exact), words(&derived, exact));
        Deviation { seq, cause, recorded, derived, revision: self.revision }
    }

    fn tell(&mut self, batch: &[Record]) {
        let (true, Some(settings)) = (self.options.story, &self.audit.settings) else { return };
        for record in batch {
            if let Some(line) = tell(record, settings, &mut self.memory) {
                let folded = self.memory.take_folded();
                add(&mut self.audit.folded, folded);
                let Record { seq, wall, boot, cause, .. } = *record;
                self.audit.story.push(StoryLine { seq, wall, boot, cause, folded, line });
            }
        }
    }

    fn keep_receipts(&mut self, batch: &[Record]) {
        self.audit.walls.extend(batch.iter().map(|r| r.wall));
        match &batch[0].event {
            Event::Observed(Observation::PeerConnected { member, process }) => {
                if let Some(peer) = self.peers.get_mut(usize::from(member.0)) {
                    *peer = Some(*process);
                }
            }
            Event::Observed(Observation::MessageReceived { from, sent_by, .. }) => {
                let process = self.peers.get(usize::from(from.0)).copied().flatten();
                let (seq, from, sent_by) = (batch[0].seq, *from, *sent_by);
                self.audit.receipts.push(Receipt { seq, from, sent_by, process });
            }
            Event::Observed(_) | Event::Decided(_) => {}
        }
    }
}

fn add(total: &mut Folded, more: Folded) {
    total.heartbeats += more.heartbeats;
    total.renewals += more.renewals;
    total.probes += more.probes;
    total.steps += more.steps;
    total.repeats += more.repeats;
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
