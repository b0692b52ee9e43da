//! Watches the local postmaster by pidfd: its death is known within a millisecond.

use super::sequencer::Observer;
use crate::events::Observation;
use crate::guard::seal;
use crate::postgres::{DeathWatch, Postmaster, PostmasterError};
use slog::{Logger, warn};
use std::path::PathBuf;
use std::time::Duration;

/// How often to look for a postmaster while there is none.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Tells of each postmaster's appearance and death, for as long as the process lives.
pub async fn watch_postmaster(data_dir: PathBuf, observer: Observer, logger: Logger) {
    let sealed = || seal::is_sealed(&data_dir).unwrap_or(false);
    let mut told_gone = false;
    loop {
        match Postmaster::open(&data_dir) {
            Ok(postmaster) => {
                let pid = u32::try_from(postmaster.pid()).unwrap_or(0);
                match DeathWatch::new(postmaster) {
                    Ok(watch) => {
                        observer.tell(Observation::PostmasterSeen { pid, sealed: sealed() }).await;
                        if let Err(why) = watch.died().await {
                            warn!(logger, "can't wait for the postmaster's end"; "why" => %why);
                        }
                        told_gone = false;
                    }
                    Err(why) => warn!(logger, "can't watch the postmaster"; "why" => %why),
                }
            }
            Err(PostmasterError::NotRunning { .. }) => {}
            Err(why) => warn!(logger, "can't look for the postmaster"; "why" => %why),
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
