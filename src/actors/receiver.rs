//! Watches the local WAL receiver by pidfd: its end is known within a millisecond (D1). It must never tell an end that
//! the kernel did not tell, nor one twice.

use super::complaint::Complaint;
use super::sequencer::Observer;
use crate::events::Observation;
use crate::postgres::{DeathWatch, Postmaster, PostmasterError, Receiver};
use slog::Logger;
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Watches the WAL receiver that the prober found last.
pub struct ReceiverWatch {
    data_dir: PathBuf,
    observer: Observer,
    complaint: Complaint,
    /// Whom a task waits for.
    watched: Cell<Option<i32>>,
}

/// A receiver, and the postmaster that it runs under.
type Held = (Receiver, Postmaster);

impl ReceiverWatch {
    /// Returns a watch over the WAL receivers of the PostgreSQL in `data_dir`.
    #[must_use]
    pub fn new(data_dir: PathBuf, observer: Observer, logger: Logger) -> Rc<Self> {
        Rc::new(Self { data_dir, observer, complaint: Complaint::new(logger), watched: Cell::default() })
    }

    /// Notes that PostgreSQL displays the receiver `pid`, and tells when it ends.
    pub(super) fn found(self: &Rc<Self>, pid: i32) {
        if self.watched.replace(Some(pid)) != Some(pid) {
            let this = self.clone();
            actix::spawn(async move { this.watch(pid).await });
        }
    }

    async fn watch(&self, pid: i32) {
        let ended = self.await_end(pid).await;
        // The probe found the next one before the kernel told the end of this: what it said since is newer.
        if self.watched.get() != Some(pid) {
            return;
        }
        self.watched.set(None);
        match ended {
            Ok(lost) => {
                self.complaint.clear();
                if lost {
                    self.observer.tell(Observation::ReceiverEnded).await;
                }
            }
            Err(why) => self.complaint.say("can't watch the WAL receiver", &why),
        }
    }

    /// Waits for the receiver's end; returns whether it says that the stream was lost. One that was gone before it could be
    /// looked at was not seen to end, and one whose postmaster died says nothing of its upstream.
    async fn await_end(&self, pid: i32) -> io::Result<bool> {
        let data_dir = self.data_dir.clone();
        // A file system that hangs must not hold up the probes.
        let held =
            tokio::task::spawn_blocking(move || open(&data_dir, pid)).await.map_err(io::Error::other)?;
        let Some((receiver, postmaster)) = held? else { return Ok(false) };
        DeathWatch::of_receiver(receiver)?.died().await?;
        Ok(!postmaster.has_died()?)
    }
}

fn open(data_dir: &Path, pid: i32) -> io::Result<Option<Held>> {
    let Some(receiver) = Receiver::open(data_dir, pid)? else { return Ok(None) };
    match Postmaster::open(data_dir) {
        Ok(postmaster) => Ok(Some((receiver, postmaster))),
        Err(PostmasterError::NotRunning { .. }) => Ok(None),
        Err(why) => Err(io::Error::other(why)),
    }
}
