//! Faults that a test asks for: a process that dies at a step, a role that panics on an event. Only
//! with the feature `fault-injection`; must never decide anything.
//!
//! `PGFO_DIE=AFTER:VoteGranted:2` kills the process with the second batch that holds such a decision
//! or observation, `PGFO_PANIC=voter:VoteRequested:9` makes a role panic on the first nine of such
//! records. A value `@FILE` names a file with the wish, which may come and go while the daemon runs;
//! the file of a death is removed by it, so that it strikes once.

use crate::events::{Actor, Event, Record};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// After the effects were handed over: long enough for a message to leave, short against a failover.
const EFFECTS_MAX: Duration = Duration::from_millis(20);

/// At which moment of a batch the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Decided, and nothing of it is stored or done.
    Before,
    /// Handed to the log, perhaps not stored, no ordered effect begun.
    Appended,
    /// As durable as it must be, no ordered effect begun.
    Stored,
    /// The effects were begun.
    After,
}

/// The step at which this batch ends the process, if any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doom(Option<Step>);

impl Doom {
    /// Reads what was wished for this batch.
    pub(super) fn of(batch: &[Record]) -> Self {
        static SEEN: AtomicU32 = AtomicU32::new(0);
        let Some(wish) = wish("PGFO_DIE") else { return Self(None) };
        let mut parts = wish.trim().split(':');
        let step = match parts.next() {
            Some("BEFORE") => Step::Before,
            Some("APPENDED") => Step::Appended,
            Some("STORED") => Step::Stored,
            Some("AFTER") => Step::After,
            _ => return Self(None),
        };
        let name = parts.next().unwrap_or("");
        let nth: u32 = parts.next().and_then(|n| n.parse().ok()).unwrap_or(1);
        let found = batch.iter().any(|record| says(&record.event, name));
        Self((found && SEEN.fetch_add(1, Ordering::Relaxed) + 1 == nth).then_some(step))
    }

    /// Returns whether this batch ends the process at some step.
    pub(super) const fn is_wished(self) -> bool {
        self.0.is_some()
    }

    /// Ends the process if this is the step.
    pub(super) fn strike(self, step: Step) {
        if self.0 != Some(step) {
            return;
        }
        if step == Step::After {
            std::thread::spawn(|| {
                std::thread::sleep(EFFECTS_MAX);
                die();
            });
        } else {
            die();
        }
    }
}

/// Makes a role panic, if that was wished for this record.
pub(super) fn panic_if_wished(role: Actor, record: &Record) {
    static DONE: Mutex<(String, u32)> = Mutex::new((String::new(), 0));
    let Some(wish) = wish("PGFO_PANIC") else { return };
    let mut parts = wish.trim().split(':');
    let (who, word) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let times: u32 = parts.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let wanted = role.name().replace(' ', "-") == who && format!("{:?}", record.event).contains(word);
    if !wanted {
        return;
    }
    // Another wish counts anew.
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if done.0 != wish {
        *done = (wish.clone(), 0);
    }
    done.1 += 1;
    if done.1 <= times {
        drop(done);
        panic!("a fault was injected into the {}", role.name());
    }
}

fn wish(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok()?;
    match value.strip_prefix('@') {
        None => Some(value),
        Some(file) => std::fs::read_to_string(file).ok(),
    }
}

/// True if the observation or decision has this name, or begins with this text.
fn says(event: &Event, name: &str) -> bool {
    let text = format!("{event:?}");
    let inner = text.split_once('(').map_or("", |(_, inner)| inner);
    inner.strip_prefix(name).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
}

fn die() {
    if let Ok(value) = std::env::var("PGFO_DIE")
        && let Some(file) = value.strip_prefix('@')
    {
        // A file that stays would only kill the next process, too.
        let _removed = std::fs::remove_file(file);
    }
    // The signal takes effect before the call returns.
    let _dead = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort();
}
