//! The socket file: made so that it is the owner's alone from the moment it can be found, taken
//! over when its process is dead, and never from one that lives.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The control socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A daemon listens there.
    #[error("another daemon listens on {}: stop it first, or give this one another socket", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error("{} exists and is no socket: move it away", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot make the control socket {}: {cause}; its directory must exist, be writable and have a short name", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// Connects without waiting: a daemon that is stopped and has a full backlog must not hang the
/// caller. The stream blocks afterwards.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A socket file that is removed when dropped, if it is still the same.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // A file that stays is found stale by the next start.
            let _stale = fs::remove_file(&self.path);
        }
    }
}

/// Listens on `path` with mode 0600.
///
/// A socket's mode comes from the umask, which belongs to the whole process. So it is made in a
/// directory that only the owner can enter, and then renamed into place.
pub(crate) fn listen(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let io_error = |cause| SocketError::Io { path: path.to_owned(), cause };
    make_room(path)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let nursery = parent.join(format!(".pgfo-{:08x}", rand::random::<u32>()));
    fs::DirBuilder::new().mode(0o700).create(&nursery).map_err(io_error)?;
    let born = nursery.join("s");
    let made = UnixListener::bind(&born).and_then(|listener| {
        fs::set_permissions(&born, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        fs::rename(&born, path)?;
        Ok(listener)
    });
    if made.is_err() {
        // Only there if the failure came after the bind.
        let _absent = fs::remove_file(&born);
    }
    fs::remove_dir(&nursery).map_err(io_error)?;
    let listener = made.map_err(io_error)?;
    let identity = identity(path).map_err(io_error)?;
    Ok((listener, SocketFile { path: path.to_owned(), identity }))
}

/// Checks that nobody listens on `path`; a stale socket is left for the rename to replace.
fn make_room(path: &Path) -> Result<(), SocketError> {
    let io_error = |cause| SocketError::Io { path: path.to_owned(), cause };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io_error(e)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match connect(path) {
        // A full backlog has an owner, too.
        Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(e) if Errno::from_io_error(&e) == Some(Errno::AGAIN) => {
            Err(SocketError::InUse { path: path.to_owned() })
        }
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io_error(e)),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}
