//! Owns which logs belong together: those named one by one are one set, and so are those in a folder.

use crate::events::{FLAT_MAGIC, HEAD_NAME, STORE_NAME};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Logs of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct LogSet {
    /// As it was named.
    pub(crate) name: String,
    /// The logs.
    pub(crate) logs: Vec<PathBuf>,
}

/// Sorts what was named into sets.
pub(crate) fn sets(named: &[PathBuf]) -> Result<Vec<LogSet>, String> {
    let mut sets = Vec::new();
    let mut single: Vec<PathBuf> = Vec::new();
    for path in named {
        if is_log(path) {
            single.push(path.clone());
        } else {
            sets.push(folder(path)?);
        }
    }
    if !single.is_empty() {
        let name = single[0].display().to_string();
        let more = single.len() - 1;
        let name = if more == 0 { name } else { format!("{name} and {more} more") };
        sets.insert(0, LogSet { name, logs: single });
    }
    Ok(sets)
}

/// Returns all logs that were named, one by one or by the folder that they lie in.
pub(crate) fn paths(named: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    Ok(sets(named)?.into_iter().flat_map(|set| set.logs).collect())
}

fn is_log(path: &Path) -> bool {
    !path.is_dir()
        || path.file_name().is_some_and(|name| name == STORE_NAME)
        || path.join(STORE_NAME).is_dir()
        // What is left of a damaged log, and a store under another name: the reader says what is wrong.
        || path.join(HEAD_NAME).is_file()
        || path.join("db").is_file()
}

/// Whether a file that was found, not named, may be a log: it begins as one, or is called so. What is wrong with that one
/// is the reader's to say; a file that can't be read is, too.
fn may_be_exported(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let is_called_so = path.extension().is_some_and(|ending| ending == "pgfo" || ending == "log");
    let begins_as_one = || {
        let mut beginning = [0; FLAT_MAGIC.len()];
        match std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut beginning)) {
            Ok(()) => beginning == *FLAT_MAGIC,
            Err(error) => error.kind() != std::io::ErrorKind::UnexpectedEof,
        }
    };
    !is_hidden && (is_called_so || begins_as_one())
}

/// A folder of logs, each a file, a log's directory, or a member's directory with its log in `log`.
fn folder(path: &Path) -> Result<LogSet, String> {
    let read = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(path).map_err(read)? {
        let entry = entry.map_err(read)?.path();
        let inner = entry.join("log");
        if entry.is_file() {
            if may_be_exported(&entry) {
                logs.push(entry);
            } else {
                anstream::eprintln!("note: {} is no log, and is left out", entry.display());
            }
        } else if entry.is_dir() && is_log(&entry) {
            logs.push(entry);
        } else if inner.is_dir() && is_log(&inner) {
            logs.push(inner);
        }
    }
    logs.sort();
    if logs.is_empty() {
        return Err(format!("{} is no log, and there is none in it", path.display()));
    }
    Ok(LogSet { name: path.display().to_string(), logs })
}
