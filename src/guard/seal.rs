//! The seal: `standby.signal`, flushed, so that whoever starts this PostgreSQL gets a read-only one
//! (L7); and the mark that data was guarded (L9). Never decides when to seal.

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Name of the seal within the data directory.
pub const SEAL_FILE: &str = "standby.signal";

/// Name of the mark within the data directory that it was guarded. Base backups and rewinds take it along: a copy of a
/// former primary's data is one, too.
pub const MARK_FILE: &str = "pgfo.guarded";

/// Without this file a postmaster refuses to start: "is not a valid data directory" (PostgreSQL's
/// `ValidatePgVersion`).
const VERSION_FILE: &str = "PG_VERSION";

/// What sealing found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// The seal was not there, and is now.
    Created,
    /// It was there already; flushed again.
    Already,
    /// The directory holds no PostgreSQL that could be started, so there is nothing to seal: it is left
    /// as empty as whoever makes a base backup there needs it.
    Nothing,
}

/// Creates and flushes the seal, and flushes the directory's entry for it. Repeating it is harmless.
///
/// # Errors
/// When any step fails: the seal may or may not be there, and may not survive a power cut.
pub fn seal(data_dir: &Path) -> io::Result<Sealed> {
    put(data_dir, SEAL_FILE)
}

/// Leaves the mark that this data was guarded, flushed (L9); returns whether there is a PostgreSQL to be marked.
///
/// # Errors
/// When any step fails: the mark may or may not be there.
pub fn mark(data_dir: &Path) -> io::Result<bool> {
    Ok(put(data_dir, MARK_FILE)? != Sealed::Nothing)
}

/// Returns whether this data was ever guarded, here or where it was copied from: it may be a former primary's (L9).
///
/// # Errors
/// When the directory cannot be looked at.
pub fn is_marked(data_dir: &Path) -> io::Result<bool> {
    is_there(&open_dir(data_dir)?, MARK_FILE)
}

fn put(data_dir: &Path, name: &str) -> io::Result<Sealed> {
    let dir = open_dir(data_dir)?;
    if !is_there(&dir, VERSION_FILE)? {
        return Ok(Sealed::Nothing);
    }
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let new = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let found = match rustix::fs::openat(&dir, name, new, Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            give_to_owner_of(&dir, &file)?;
            rustix::fs::fsync(&file)?;
            Sealed::Created
        }
        Err(Errno::EXIST) => {
            let there = rustix::fs::openat(&dir, name, flags | OFlags::WRONLY, Mode::empty());
            match there {
                Ok(file) => rustix::fs::fsync(&file)?,
                // Another's, such as root's: that it is there is all that it says.
                Err(Errno::ACCESS) => {}
                Err(e) => return Err(e.into()),
            }
            Sealed::Already
        }
        Err(e) => return Err(e.into()),
    };
    rustix::fs::fsync(&dir)?;
    Ok(found)
}

/// A guard that runs as root must leave a file that PostgreSQL can open, and remove when promoted.
fn give_to_owner_of(dir: &OwnedFd, file: &OwnedFd) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = rustix::fs::fstat(dir)?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(owner.st_uid), rustix::fs::Gid::from_raw(owner.st_gid));
    rustix::fs::fchown(file, Some(uid), Some(gid))?;
    Ok(())
}

/// Returns whether the seal is there.
///
/// # Errors
/// When the directory cannot be looked at, or holds no PostgreSQL: unknown then, not unsealed.
pub fn is_sealed(data_dir: &Path) -> io::Result<bool> {
    let dir = open_dir(data_dir)?;
    if is_there(&dir, SEAL_FILE)? {
        return Ok(true);
    }
    if is_there(&dir, VERSION_FILE)? {
        return Ok(false);
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "it holds no PostgreSQL: there is no PG_VERSION in it"))
}

fn is_there(dir: &OwnedFd, name: &str) -> io::Result<bool> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Takes the seal off, flushed; before `pg_rewind`, whose single-user recovery refuses it. Returns
/// whether it was there. A guard that fenced puts it back: release the term first.
///
/// # Errors
/// When it cannot be removed or flushed.
pub fn unseal(data_dir: &Path) -> io::Result<bool> {
    let dir = open_dir(data_dir)?;
    let was_there = match rustix::fs::unlinkat(&dir, SEAL_FILE, AtFlags::empty()) {
        Ok(()) => true,
        Err(Errno::NOENT) => false,
        Err(e) => return Err(e.into()),
    };
    rustix::fs::fsync(&dir)?;
    Ok(was_there)
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Makes a directory that passes for a PostgreSQL's.
#[cfg(test)]
pub(super) fn stand_in() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(VERSION_FILE), "15\n").unwrap();
    dir
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_postgresql_is_left_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(seal(dir.path()).unwrap(), Sealed::Nothing);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(is_sealed(dir.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn seals_once_and_unseals_once() {
        let dir = stand_in();
        assert!(!is_sealed(dir.path()).unwrap());
        assert_eq!(seal(dir.path()).unwrap(), Sealed::Created);
        assert_eq!(seal(dir.path()).unwrap(), Sealed::Already);
        assert!(is_sealed(dir.path()).unwrap());
        assert!(unseal(dir.path()).unwrap());
        assert!(!unseal(dir.path()).unwrap());
        assert!(!is_sealed(dir.path()).unwrap());
    }

    #[test]
    fn data_that_was_guarded_stays_marked() {
        let dir = stand_in();
        assert!(!is_marked(dir.path()).unwrap());
        assert!(mark(dir.path()).unwrap() && mark(dir.path()).unwrap());
        assert!(is_marked(dir.path()).unwrap() && !is_sealed(dir.path()).unwrap());
        let empty = tempfile::tempdir().unwrap();
        assert!(!mark(empty.path()).unwrap());
        assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_directory_is_unknown_not_unsealed() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert!(seal(&missing).is_err());
        assert!(is_sealed(&missing).is_err());
        assert!(unseal(&missing).is_err());
    }

    #[test]
    fn a_seal_that_cannot_be_opened_is_an_error() {
        let dir = stand_in();
        // PostgreSQL follows it, and finds nothing.
        std::os::unix::fs::symlink("nowhere", dir.path().join(SEAL_FILE)).unwrap();
        assert!(seal(dir.path()).is_err());
    }
}
