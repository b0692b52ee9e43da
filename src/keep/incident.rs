//! Owns the files of incidents: their names, their directory, how many there may be. It must never leave
//! half a file under a final name, nor remove what it did not write.

use super::retention::IncidentLimits;
use super::watcher::{Outcome, Window};
use crate::core::Term;
use pgfo_replay::WallNanos;
use std::fs::{DirBuilder, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// The directory of incidents, in the log's.
pub const INCIDENTS_DIR: &str = "incidents";
const ENDING: &str = "pgfo";
const PREFIX: &str = "incident";

/// What a file's name says: when the first suspicion was, the term, how it ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentName {
    /// `20260131T120000Z`, in UTC.
    pub time: String,
    /// The term that was won, or tried for.
    pub term: Term,
    /// How it ended.
    pub outcome: Outcome,
}

impl IncidentName {
    /// Returns the name of an incident.
    #[must_use]
    pub fn of(window: &Window) -> Self {
        Self { time: compact(window.at), term: window.term, outcome: window.outcome }
    }

    /// Returns the file's name.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{PREFIX}-{}-t{}-{}.{ENDING}", self.time, self.term, self.outcome.word())
    }

    /// Returns what a file's name says, if it is one of an incident.
    #[must_use]
    pub fn parse(file_name: &str) -> Option<Self> {
        let stem = file_name.strip_suffix(ENDING)?.strip_suffix('.')?;
        let mut parts = stem.split('-');
        let (prefix, time, term, word) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.word() == word)?;
        let name = Self { time: time.to_owned(), term: Term(term.strip_prefix('t')?.parse().ok()?), outcome };
        (prefix == PREFIX && parts.next().is_none() && name.file_name() == file_name).then_some(name)
    }
}

fn compact(wall: WallNanos) -> String {
    let since = Duration::from_nanos(u64::try_from(wall.0).unwrap_or(0));
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
    text.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

/// A file of an incident.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IncidentFile {
    /// What its name says.
    pub name: IncidentName,
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// Returns the incidents in a directory, the oldest first; none if there is no directory.
///
/// # Errors
/// The system's.
pub fn list(dir: &Path) -> io::Result<Vec<IncidentFile>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().and_then(IncidentName::parse) {
            found.push(IncidentFile { name, path: entry.path(), bytes: entry.metadata()?.len() });
        }
    }
    found.sort();
    Ok(found)
}

/// Writes a file by `fill`, durable and whole, or not at all; one that is there already is left as it is
/// and counts as written. Returns its path, and whether it is new.
///
/// # Errors
/// Those of `fill` and of the system; nothing is left then under the final name.
pub fn write<X: From<io::Error>>(
    dir: &Path,
    name: &str,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<(), X>,
) -> Result<(PathBuf, bool), X> {
    let path = dir.join(name);
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if path.try_exists()? {
        return Ok((path, false));
    }
    let draft = dir.join(format!(".{name}.draft"));
    let open =
        || std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
    let written = open().map_err(X::from).and_then(|file| {
        let mut out = BufWriter::new(file);
        fill(&mut out)?;
        let file = out.into_inner().map_err(|error| X::from(error.into_error()))?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        File::open(dir)?.sync_all()?;
        Ok(())
    });
    match written {
        Ok(()) => Ok((path, true)),
        Err(error) => {
            // The draft is written over at the next attempt, if it can't be removed now.
            let _ = std::fs::remove_file(&draft);
            Err(error)
        }
    }
}

/// Removes the oldest incidents until the limits hold, but never the newest; returns the removed.
///
/// # Errors
/// The system's.
pub fn bound(dir: &Path, limits: &IncidentLimits) -> io::Result<Vec<IncidentFile>> {
    let mut files = list(dir)?;
    let mut removed = Vec::new();
    let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
    while files.len() > 1
        && (files.len() as u64 > u64::from(limits.count_max) || bytes > limits.size_bytes_max)
    {
        let oldest = files.remove(0);
        std::fs::remove_file(&oldest.path)?;
        bytes -= oldest.bytes;
        removed.push(oldest);
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(second: u64) -> IncidentName {
        let at = WallNanos(1_769_860_800_000_000_000 + second as i64 * 1_000_000_000);
        IncidentName { time: compact(at), term: Term(second), outcome: Outcome::Failover }
    }

    #[test]
    fn names_are_read_back_and_foreign_files_are_none() {
        assert_eq!(name(5).file_name(), "incident-20260131T120005Z-t5-failover.pgfo");
        assert_eq!(IncidentName::parse(&name(5).file_name()), Some(name(5)));
        for foreign in
            ["incident-1-t5-failover", "incident-1-5-failover.pgfo", "x-1-t5-failover.pgfo", ".pgfo"]
        {
            assert_eq!(IncidentName::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn files_are_whole_and_bounded_and_the_newest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join(INCIDENTS_DIR);
        let put = |second: u64, bytes: usize| {
            write::<io::Error>(&dir, &name(second).file_name(), |out| {
                io::Write::write_all(out, &vec![0; bytes])
            })
        };
        for second in 1..=5 {
            assert!(put(second, 10).unwrap().1);
        }
        assert!(!put(5, 99).unwrap().1, "what is there is left as it is");
        std::fs::write(dir.join("note.txt"), "mine").unwrap();
        let failed = write::<io::Error>(&dir, "incident-x", |_| Err(io::Error::other("full")));
        assert!(failed.is_err());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 6, "no draft is left");
        let removed = bound(&dir, &IncidentLimits { count_max: 3, size_bytes_max: 1000 }).unwrap();
        assert_eq!(removed.iter().map(|file| file.name.term.0).collect::<Vec<_>>(), [1, 2]);
        bound(&dir, &IncidentLimits { count_max: 3, size_bytes_max: 25 }).unwrap();
        assert_eq!(list(&dir).unwrap().len(), 2);
        bound(&dir, &IncidentLimits { count_max: 3, size_bytes_max: 1 }).unwrap();
        assert_eq!(list(&dir).unwrap()[0].name, name(5));
        assert!(dir.join("note.txt").exists());
    }
}
