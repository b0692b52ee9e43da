//! Owns the thread that follows the log behind the daemon's loop: it folds what is on the disk, writes
//! incidents and checkpoints, and lets old records go. It must never hold up the loop, and tells each
//! failure: what it could not do, it tries again.

use super::incident::{self, IncidentName};
use super::recover::{fold_all, states_at};
use super::retention::{Limits, RETAIN_PACE, RetainError, retain};
use super::state::{Place, seal_state};
use super::watcher::{IncidentWatcher, Window};
use crate::core::{Incarnation, States};
use crate::events::{Event, EventLog, ExportError, Hash, Settings, UpkeepError};
use crate::os;
use pgfo_replay::{BootNanos, Seq, WallNanos};
use slog::{Logger, crit, debug, info, warn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How far the keeper may be behind the log: an incident is written this much after its end at the latest.
const PACE: Duration = Duration::from_secs(5);
/// A checkpoint is made after this many records: what a start has to fold, about half an hour's.
const CHECKPOINT_RECORDS: u64 = 20_000;
/// Fewer records than this need no checkpoint at the end.
const LAST_RECORDS_MIN: u64 = 1_000;
/// Incidents that could not be written and are tried again; older ones are given up, and told.
const PENDING_MAX: usize = 16;

/// What the keeper works with.
pub struct KeeperConfig {
    /// The log.
    pub log: Arc<EventLog<Event>>,
    /// The settings a log without records begins with.
    pub settings: Settings,
    /// Where incidents are written.
    pub incidents: PathBuf,
    /// How long all is kept.
    pub limits: Limits,
    /// The text log.
    pub logger: Logger,
}

/// The handle of the thread.
pub struct Keeper {
    limits: SyncSender<Limits>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, when there can be no thread.
    pub fn start(config: KeeperConfig) -> std::io::Result<Self> {
        let (limits, told) = sync_channel(1);
        let thread = std::thread::Builder::new().name("pgfo-keep".to_string()).spawn(move || {
            let logger = config.logger.clone();
            if catch_unwind(AssertUnwindSafe(|| run(config, &told))).is_err() {
                crit!(
                    logger,
                    "the keeper failed: no more checkpoints and incidents until the daemon starts again"
                );
            }
        })?;
        Ok(Self { limits, thread })
    }

    /// Gives the keeper other limits, from its next round on.
    pub fn set_limits(&self, limits: Limits) {
        // A full or closed channel: limits that were just set are about to be taken, or nobody is left.
        let _ = self.limits.try_send(limits);
    }

    /// Lets it take what is in the log now, and waits for its end. Blocks.
    pub fn stop(self) {
        drop(self.limits);
        // A panic was caught and told inside.
        let _ = self.thread.join();
    }
}

fn run(config: KeeperConfig, told: &Receiver<Limits>) {
    let Some(mut following) = Following::begin(config) else { return };
    loop {
        let stop = match told.recv_timeout(PACE) {
            Ok(limits) => {
                following.config.limits = limits;
                following.retained = None;
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        following.round(stop);
        if stop {
            return;
        }
    }
}

/// How far the log was followed.
struct Following {
    config: KeeperConfig,
    origin: Incarnation,
    states: States,
    place: Place,
    watcher: IncidentWatcher,
    /// The newest checkpoint that is on the disk.
    kept: Seq,
    pending: Vec<Window>,
    retained: Option<Instant>,
    /// The last trouble that was told: the same is not told each round.
    trouble: Option<String>,
}

impl Following {
    fn begin(config: KeeperConfig) -> Option<Self> {
        let origin = config.log.origin();
        // From the newest checkpoint on, so that an incident before a crash is seen after it.
        let newest = config.log.checkpoints().ok().and_then(|found| found.first().map(|c| c.seq));
        let at = newest.unwrap_or(Seq(0));
        let begun = match states_at(&config.log, &config.settings, at) {
            Ok(begun) => begun,
            Err(why) => {
                crit!(config.logger, "no checkpoints and incidents: the log can't be followed"; "why" => %why);
                return None;
            }
        };
        let nothing =
            Place { seq: Seq(0), hash: Hash::genesis(origin), boot: BootNanos(0), wall: WallNanos(0) };
        let place = begun.place.unwrap_or(nothing);
        let watcher = IncidentWatcher::new(begun.states.ledger.announced());
        Some(Self {
            config,
            origin,
            states: begun.states,
            place,
            watcher,
            kept: begun.from.unwrap_or(Seq(0)),
            pending: Vec::new(),
            retained: None,
            trouble: None,
        })
    }

    fn round(&mut self, last: bool) {
        let result = self
            .follow()
            .and_then(|()| self.write_incidents())
            .and_then(|()| self.keep_checkpoint(last))
            .and_then(|()| if last { Ok(()) } else { self.retain() });
        match result {
            Ok(()) => self.trouble = None,
            Err(why) if self.trouble.as_ref() == Some(&why) => {}
            Err(why) => {
                warn!(self.config.logger, "the log's upkeep failed; it is tried again"; "why" => &why);
                self.trouble = Some(why);
            }
        }
    }

    /// Folds what reached the disk since the last round.
    fn follow(&mut self) -> Result<(), String> {
        let flushed = self.config.log.stats().flushed;
        if flushed <= self.place.seq {
            return Ok(());
        }
        let mut records = self.config.log.records(self.place.seq.next());
        let (watcher, pending, place) = (&mut self.watcher, &mut self.pending, &mut self.place);
        let followed = fold_all(&mut self.states, &mut records, flushed, |batch, at| {
            pending.extend(watcher.see(batch));
            *place = at;
        });
        followed.map(|_| ()).map_err(|damage| damage.to_string())
    }

    fn write_incidents(&mut self) -> Result<(), String> {
        while self.pending.len() > PENDING_MAX {
            let given_up = self.pending.remove(0);
            warn!(self.config.logger, "an incident was not written"; "name" => IncidentName::of(&given_up).file_name());
        }
        while let Some(window) = self.pending.first().copied() {
            self.write_incident(&window)?;
            self.pending.remove(0);
        }
        Ok(())
    }

    fn write_incident(&self, window: &Window) -> Result<(), String> {
        let KeeperConfig { log, settings, incidents, limits, logger } = &self.config;
        let name = IncidentName::of(window).file_name();
        let first = window.first.max(log.stats().first);
        let before = Seq(first.0 - 1);
        let checkpoint = if before == Seq(0) {
            None
        } else {
            let begun = states_at(log, settings, before).map_err(|why| why.to_string())?;
            let place = begun.place.ok_or("the log is empty before the incident")?;
            Some(seal_state(&begun.states, place, self.origin)?)
        };
        let written = incident::write::<ExportError>(incidents, &name, |out| {
            log.export_to(first, Some(window.last), checkpoint.as_ref(), out).map(|_| ())
        });
        let (path, new) = written.map_err(|why| format!("incident {name}: {why}"))?;
        if new {
            info!(logger, "incident written"; "file" => %path.display(), "outcome" => window.outcome.word(),
                "records" => window.last.0 + 1 - first.0);
        }
        for gone in
            incident::bound(incidents, &limits.incidents).map_err(|why| format!("old incidents: {why}"))?
        {
            info!(logger, "old incident removed"; "file" => %gone.path.display());
        }
        Ok(())
    }

    fn keep_checkpoint(&mut self, last: bool) -> Result<(), String> {
        let records = self.place.seq.0 - self.kept.0.min(self.place.seq.0);
        let due = records >= CHECKPOINT_RECORDS || (last && records >= LAST_RECORDS_MIN);
        // An attempt under way must be seen from its beginning by who follows the log after a crash.
        if !due || !self.watcher.is_idle() || !self.pending.is_empty() {
            return Ok(());
        }
        let checkpoint = seal_state(&self.states, self.place, self.origin)?;
        self.config.log.keep_checkpoint(&checkpoint).map_err(|why| format!("checkpoint: {why}"))?;
        self.kept = self.place.seq;
        debug!(self.config.logger, "checkpoint kept"; "record" => self.place.seq.0);
        Ok(())
    }

    /// Lets old records go, behind a checkpoint that is on the disk.
    fn retain(&mut self) -> Result<(), String> {
        if self.retained.is_some_and(|at| at.elapsed() < RETAIN_PACE) {
            return Ok(());
        }
        let KeeperConfig { log, settings, limits, logger, .. } = &self.config;
        let began = log.stats().first;
        match retain(log, settings, self.kept, os::wall_now(), limits) {
            Ok(None) => {}
            Ok(Some(first)) => info!(logger, "old records removed"; "begins" => first.0, "began" => began.0),
            Err(RetainError::Log(UpkeepError::Busy)) => return Ok(()),
            Err(why) => return Err(format!("old records: {why}")),
        }
        self.retained = Some(Instant::now());
        Ok(())
    }
}
