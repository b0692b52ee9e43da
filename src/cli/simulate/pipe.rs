//! Where a rehearsal is told. Whoever reads it may have seen enough: a pipe that is closed is no error, and ends
//! what would only be told.

use std::io::{self, Write};

/// A writer that takes everything once its reader is gone.
pub(super) struct Pipe<W> {
    to: W,
    closed: bool,
}

impl<W: Write> Pipe<W> {
    pub(super) const fn new(to: W) -> Self {
        Self { to, closed: false }
    }

    /// Returns whether nobody reads any more.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    fn unless_closed<T>(&mut self, done: io::Result<T>, gone: T) -> io::Result<T> {
        match done {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(gone)
            }
            other => other,
        }
    }
}

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        let done = self.to.write(bytes);
        self.unless_closed(done, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let done = self.to.flush();
        self.unless_closed(done, ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Gone(io::ErrorKind);

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_is_gone_is_no_error_and_a_full_disk_is_one() {
        let mut pipe = Pipe::new(Gone(io::ErrorKind::BrokenPipe));
        assert!(!pipe.is_closed());
        writeln!(pipe, "one").unwrap();
        assert!(pipe.is_closed());
        writeln!(pipe, "another").unwrap();
        let mut full = Pipe::new(Gone(io::ErrorKind::StorageFull));
        assert!(writeln!(full, "one").is_err());
        assert!(!full.is_closed());
    }
}
