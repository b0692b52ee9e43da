//! Owns the copy of evidence: a store is copied before it is opened, because sled writes to what it
//! opens. It must never write to the original.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// sled's directories are two levels deep.
const DEPTH_MAX: usize = 2;

/// A copy of a directory in the system's directory for temporary files; removed when dropped.
pub(crate) struct Evidence {
    path: PathBuf,
}

impl Evidence {
    /// Copies the store in `original`.
    pub(crate) fn copy(original: &Path) -> io::Result<Self> {
        let name = format!("pgfo-evidence-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        // Made first, so that a failed copy is removed, too.
        let evidence = Self { path };
        copy_files(original, &evidence.path, DEPTH_MAX)?;
        Ok(evidence)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Copies regular files. `db` comes last: of a store that is being written to, everything else must
/// be older than it, because it may refer to a place in it.
fn copy_files(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    let mut entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| (entry.file_name() == "db", entry.file_name()));
    for entry in entries {
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() && depth > 1 {
            DirBuilder::new().mode(0o700).create(&target)?;
            copy_files(&entry.path(), &target, depth - 1)?;
        } else if kind.is_file() {
            match fs::copy(entry.path(), &target) {
                Ok(_) => {}
                // A live store removes files that it no longer needs.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

impl Drop for Evidence {
    fn drop(&mut self) {
        // Nobody is left to tell; the system clears its temporary files in the end.
        let _ = fs::remove_dir_all(&self.path);
    }
}
