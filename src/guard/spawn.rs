//! Starts the guard process, so that it outlives the daemon. Decides nothing.

use super::client::{GuardClient, GuardEvents};
use super::error::GuardError;
use super::serve::{READY_LINE, REFUSED_PREFIX};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

/// Longest line expected from a starting guard, in bytes.
const LINE_BYTES_MAX: u64 = 4096;

/// Starts `exe args…`, which must call [`super::serve()`] with `detach` and `announce` set, waits until its
/// socket answers, and connects. The process is not ended when the caller is.
///
/// # Errors
/// [`GuardError::NotStarted`] with the process's own words; [`GuardError::Unknown`] when it said
/// nothing within the deadline: it may serve later.
pub async fn spawn<S: AsRef<OsStr>>(
    exe: &Path,
    args: impl IntoIterator<Item = S>,
    run_dir: &Path,
    within: Duration,
) -> Result<(GuardClient, GuardEvents), GuardError> {
    let start = async {
        let mut child = Command::new(exe)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(false)
            .spawn()
            .map_err(GuardError::system(format!("start {}", exe.display())))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout.take(LINE_BYTES_MAX))
                .read_line(&mut line)
                .await
                .map_err(GuardError::system("read what the guard process says"))?;
        }
        match line.trim_end() {
            READY_LINE => GuardClient::connect(run_dir).await,
            "" => {
                Err(GuardError::NotStarted { why: "it ended without a word; see its standard error".into() })
            }
            said => {
                let why = said.strip_prefix(REFUSED_PREFIX).unwrap_or(said).to_owned();
                Err(GuardError::NotStarted { why })
            }
        }
    };
    tokio::time::timeout(within, start).await.unwrap_or(Err(GuardError::Unknown { within }))
}
