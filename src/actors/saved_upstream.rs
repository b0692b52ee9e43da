//! What a freeze unties, kept beside the log until it is tied again: after a restart of the daemon it is
//! the only copy (E2). It may hold a password: only its owner can read it, and nothing here shows it.

use crate::postgres::{Setting, UpstreamSettings};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file's name, below the log's directory.
const NAME: &str = "upstream.saved";

#[derive(Serialize, Deserialize)]
struct Saved {
    primary_conninfo: SavedSetting,
    restore_command: SavedSetting,
    wal_retrieve_retry_interval: SavedSetting,
}

#[derive(Serialize, Deserialize)]
struct SavedSetting {
    value: String,
    set_by_alter_system: bool,
}

impl From<&Setting> for SavedSetting {
    fn from(s: &Setting) -> Self {
        Self { value: s.value.clone(), set_by_alter_system: s.set_by_alter_system }
    }
}

impl From<SavedSetting> for Setting {
    fn from(s: SavedSetting) -> Self {
        Self { value: s.value, set_by_alter_system: s.set_by_alter_system }
    }
}

/// Writes and flushes the settings.
pub(super) fn save(dir: &Path, settings: &UpstreamSettings) -> io::Result<()> {
    let saved = Saved {
        primary_conninfo: (&settings.primary_conninfo).into(),
        restore_command: (&settings.restore_command).into(),
        wal_retrieve_retry_interval: (&settings.wal_retrieve_retry_interval).into(),
    };
    let path = dir.join(NAME);
    let temporary = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec_pretty(&saved)?)?;
    file.sync_all()?;
    std::fs::rename(&temporary, &path)?;
    std::fs::File::open(dir)?.sync_all()
}

/// Reads what was saved; `None` if nothing is.
pub(super) fn load(dir: &Path) -> io::Result<Option<UpstreamSettings>> {
    let text = match std::fs::read(dir.join(NAME)) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    // The parser's own words would quote a value.
    let bad = |_| io::Error::new(io::ErrorKind::InvalidData, "not what a freeze writes");
    let saved: Saved = serde_json::from_slice(&text).map_err(bad)?;
    Ok(Some(UpstreamSettings {
        primary_conninfo: saved.primary_conninfo.into(),
        restore_command: saved.restore_command.into(),
        wal_retrieve_retry_interval: saved.wal_retrieve_retry_interval.into(),
        received_timeline: None,
    }))
}

/// Forgets what was saved, once it is tied again.
pub(super) fn forget(dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(dir.join(NAME)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn comes_back_as_it_was_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        let setting = |value: &str, set_by_alter_system| Setting { value: value.into(), set_by_alter_system };
        let settings = UpstreamSettings {
            primary_conninfo: setting("host=a password='it''s\nsecret'", true),
            restore_command: setting("cp \"/a b/%f\" %p", false),
            wal_retrieve_retry_interval: setting("5s", false),
            received_timeline: None,
        };
        save(dir.path(), &settings).unwrap();
        let mode = std::fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(load(dir.path()).unwrap(), Some(settings));
        forget(dir.path()).unwrap();
        forget(dir.path()).unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        std::fs::write(dir.path().join(NAME), "secret").unwrap();
        assert!(!load(dir.path()).unwrap_err().to_string().contains("secret"));
    }
}
