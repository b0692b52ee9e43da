//! Owns which logs belong together: those named one by one are one set, and so are those in a folder.

use crate::events::STORE_NAME;
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
}

/// A folder of logs, each a file, a log's directory, or a member's directory with its log in `log`.
fn folder(path: &Path) -> Result<LogSet, String> {
    let read = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(path).map_err(read)? {
        let entry = entry.map_err(read)?.path();
        let inner = entry.join("log");
        if entry.is_file() || (entry.is_dir() && is_log(&entry)) {
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
