//! Watches the local postmaster by pidfd: its death is known within a millisecond.

use super::complaint::Complaint;
use super::sequencer::Observer;
use crate::events::Observation;
use crate::guard::procs::Watched;
use crate::guard::protocol::{Postmaster as Named, ProcessId, StartTicks};
use crate::guard::seal;
use crate::postgres::{DeathWatch, Postmaster, PostmasterError};
use pgfo_replay::BootNanos;
use slog::Logger;
use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// How often to look for a postmaster while there is none.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The kernel's clock ticks, in nanoseconds (proc(5): `starttime`, in units of 1/100 s).
const TICK_NANOS: u64 = 10_000_000;

/// The postmaster that is watched, held by a descriptor: it is known to live wherever its data directory has gone.
#[derive(Clone, Default)]
pub struct Held(Rc<RefCell<Option<Watched>>>);

impl Held {
    /// Returns the postmaster, held anew, if it lives.
    pub(super) fn living(&self) -> Option<Watched> {
        let held = self.0.borrow();
        let held = held.as_ref().filter(|held| !held.has_ended())?;
        // Without a descriptor to spare it is looked for as if it were not known.
        let pidfd = held.pidfd.try_clone().ok()?;
        Some(Watched { postmaster: held.postmaster, pidfd })
    }

    /// Returns the postmaster that a fence left alive which began at this instant; one that was started since is none.
    pub(super) fn survivor_of(&self, begun: BootNanos) -> Option<ProcessId> {
        let held = self.0.borrow();
        let held = held.as_ref().filter(|held| !held.has_ended())?;
        let before = held.postmaster.start.0.saturating_add(1).saturating_mul(TICK_NANOS) < begun.0;
        before.then_some(held.postmaster.pid)
    }

    fn take(&self, watched: Option<Watched>) {
        *self.0.borrow_mut() = watched;
    }
}

/// Tells of each postmaster's appearance and death, for as long as the process lives.
pub async fn watch_postmaster(data_dir: PathBuf, observer: Observer, held: Held, logger: Logger) {
    let sealed = || seal::is_sealed(&data_dir).unwrap_or(false);
    let complaint = Complaint::new(logger);
    let mut told_gone = false;
    loop {
        if let Some((watch, watched)) = find(&data_dir, &complaint) {
            held.take(Some(watched));
            let pid = u32::try_from(watch.pid()).unwrap_or(0);
            observer.tell(Observation::PostmasterSeen { pid, sealed: sealed() }).await;
            if let Err(why) = watch.died().await {
                complaint.say("can't wait for the postmaster's end", &why);
            }
            told_gone = false;
            held.take(None);
        }
        // Not being able to look is no evidence.
        let gone = matches!(Postmaster::open(&data_dir), Err(PostmasterError::NotRunning { .. }));
        if !told_gone && gone {
            observer.tell(Observation::PostmasterGone { sealed: sealed() }).await;
            told_gone = true;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Returns a watch over the postmaster that runs in `data_dir`, and a hold on it; `None` if none does, or it can't be
/// watched, which is said.
fn find(data_dir: &Path, complaint: &Complaint) -> Option<(DeathWatch, Watched)> {
    let found = Postmaster::open(data_dir).map(|postmaster| {
        let (pid, start) = (ProcessId(postmaster.pid()), StartTicks(postmaster.start_ticks()));
        let watch = DeathWatch::new(postmaster)?;
        let pidfd = watch.descriptor()?;
        Ok::<_, io::Error>((watch, Watched { postmaster: Named { pid, start }, pidfd }))
    });
    match found {
        Ok(Ok(found)) => {
            complaint.clear();
            return Some(found);
        }
        Err(PostmasterError::NotRunning { .. }) => complaint.clear(),
        Ok(Err(why)) => complaint.say("can't watch the postmaster", &why),
        Err(why) => complaint.say("can't look for the postmaster", &why),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::{Drain, Never, OwnedKVList, Record, o};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts what is said.
    struct Count(Arc<AtomicUsize>);

    impl Drain for Count {
        type Ok = ();
        type Err = Never;

        fn log(&self, _: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_torn_pid_file_is_complained_of_once_a_change() {
        let said = Arc::new(AtomicUsize::new(0));
        let complaint = Complaint::new(Logger::root(Count(said.clone()), o!()));
        let dir = tempfile::tempdir().unwrap();
        let look = |times: usize| {
            for _ in 0..times {
                assert!(find(dir.path(), &complaint).is_none());
            }
            said.load(Ordering::Relaxed)
        };
        let file = dir.path().join("postmaster.pid");
        assert_eq!(look(3), 0, "nothing runs, nothing is wrong");
        std::fs::write(&file, "\n").unwrap();
        assert_eq!(look(5), 1);
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert_eq!(look(5), 2, "something else is wrong");
        std::fs::remove_dir(&file).unwrap();
        assert_eq!(look(5), 2);
        std::fs::write(&file, "\n").unwrap();
        assert_eq!(look(5), 3, "it was well in between");
    }
}
