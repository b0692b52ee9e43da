//! The seal: a durable `standby.signal`, with which PostgreSQL can only come back read-only (L7). It uses no
//! runtime and no log, so that the guard can call it when nothing else works.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

const SIGNAL_FILE: &str = "standby.signal";

/// Creates the seal in `data_dir` and makes it durable, file and directory. Sealing twice is the same as once.
///
/// # Errors
/// When the file can't be created or synced: the node must then count as unsealed.
pub fn seal(data_dir: &Path) -> io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path(data_dir))?;
    file.sync_all()?;
    sync_directory(data_dir)
}

/// Returns whether `data_dir` is sealed.
///
/// # Errors
/// When the directory can't be read: that is not the same as "unsealed".
pub fn is_sealed(data_dir: &Path) -> io::Result<bool> {
    path(data_dir).try_exists()
}

/// Takes the seal off `data_dir`, durably. Where there is none, nothing happens.
///
/// # Errors
/// When the file can't be removed or the directory can't be synced.
pub fn unseal(data_dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(path(data_dir)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    sync_directory(data_dir)
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(SIGNAL_FILE)
}

fn sync_directory(data_dir: &Path) -> io::Result<()> {
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_put_on_and_taken_off_any_number_of_times() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_sealed(dir.path()).unwrap());
        seal(dir.path()).unwrap();
        seal(dir.path()).unwrap();
        assert!(is_sealed(dir.path()).unwrap());
        unseal(dir.path()).unwrap();
        unseal(dir.path()).unwrap();
        assert!(!is_sealed(dir.path()).unwrap());
    }

    #[test]
    fn a_missing_directory_is_an_error_of_sealing() {
        assert!(seal(Path::new("/nonexistent/data")).is_err());
    }
}
