//! Owns the copy of a live log: the daemon that holds it is asked for a consistent one. It must never open
//! the evidence for writing.

use crate::cli::LIVE_LOG_LINK;
use crate::control::{Client, Request, StreamPart};
use crate::events::STORE_NAME;
use pgfo_replay::Seq;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A copy that is removed when it is dropped.
pub(crate) struct Copy {
    path: PathBuf,
}

impl Copy {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // A temporary file that stays behind hurts nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Returns a copy of the log at `path`, if a daemon holds it and answers; else the caller reads the
/// files themselves, by copying them.
pub(crate) fn copy(path: &Path) -> Option<Copy> {
    let dir = if path.file_name().is_some_and(|name| name == STORE_NAME) { path.parent()? } else { path };
    let mut client = Client::connect(&dir.join(LIVE_LOG_LINK)).ok()?;
    let name = format!("pgfo-replay-{}-{:016x}", std::process::id(), rand::random::<u64>());
    let copy = Copy { path: std::env::temp_dir().join(name) };
    let mut out = BufWriter::new(File::create_new(copy.path()).ok()?);
    let request = Request::Export { from: Seq(1), to: None };
    let streamed = client.stream(&request, |part| match part {
        StreamPart::Bytes(bytes) => out.write_all(bytes),
        StreamPart::Item(_) => Ok(()),
    });
    streamed.ok()?;
    out.flush().ok()?;
    drop(out);
    Some(copy)
}
