//! Owns the head: a small synced file that says which record was flushed last, so that a lost tail
//! is told from an end. It must never be written before the flush it speaks of.
//!
//! Two slots in different pages are written in turn, each with a checksum: a write torn by a power
//! cut spoils the older of the two, and the other still holds.

use super::chain::{Hash, digest};
use crate::core::Incarnation;
use pgfo_replay::Seq;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Distance of the slots, bytes: one page, the largest unit that common disks tear.
const SLOT_STRIDE_BYTES: u64 = 4096;
const MAGIC: &[u8; 8] = b"pgfohead";
const VERSION: u16 = 1;
/// Magic, version, generation, incarnation, origin, seq, hash.
const BODY_BYTES: usize = 8 + 2 + 8 + 8 + 8 + 8 + Hash::BYTES;
const SLOT_BYTES: usize = BODY_BYTES + Hash::BYTES;

/// What the head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The log's present incarnation; changes when a tail was lost.
    pub(crate) incarnation: Incarnation,
    /// The incarnation that the log began with; the chain starts from it.
    pub(crate) origin: Incarnation,
    /// The last flushed record; 0 before the first.
    pub(crate) last: Seq,
    /// Its hash.
    pub(crate) hash: Hash,
}

/// What was found where the head should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadFound {
    /// No file.
    Absent,
    /// A file without a valid slot.
    Damaged,
    /// The newest valid slot, and its generation.
    Present(Head, u64),
}

impl HeadFound {
    /// Returns the head, if there is a usable one.
    pub(crate) const fn head(self) -> Option<Head> {
        match self {
            Self::Present(head, _) => Some(head),
            Self::Absent | Self::Damaged => None,
        }
    }
}

/// Reads the head at `path` without changing anything.
pub(crate) fn read_head(path: &Path) -> io::Result<HeadFound> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HeadFound::Absent),
        Err(error) => return Err(error),
    };
    let mut best = None;
    for slot in 0..2 {
        let mut bytes = [0; SLOT_BYTES];
        match file.read_exact_at(&mut bytes, slot * SLOT_STRIDE_BYTES) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error),
        }
        if let Some((head, generation)) = decode(&bytes)
            && best.is_none_or(|(_, newest)| generation > newest)
        {
            best = Some((head, generation));
        }
    }
    Ok(best.map_or(HeadFound::Damaged, |(head, generation)| HeadFound::Present(head, generation)))
}

/// The head file of a live log.
#[derive(Debug)]
pub(crate) struct HeadFile {
    file: File,
    generation: u64,
}

impl HeadFile {
    /// Opens or creates the file at full length, so that a later write changes no metadata and its
    /// sync needs no journal commit. `after` is the generation found before. Syncs the directory.
    pub(crate) fn open(path: &Path, after: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let length = 2 * SLOT_STRIDE_BYTES;
        if file.metadata()?.len() < length {
            // Real zeroes: a sparse file would allocate blocks, thus write metadata, later.
            let have = file.metadata()?.len();
            let zeroes = vec![0; usize::try_from(length - have).unwrap_or(0)];
            file.write_all_at(&zeroes, have)?;
        }
        file.sync_all()?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { file, generation: after })
    }

    /// Writes `head` over the older slot and syncs it.
    pub(crate) fn write(&mut self, head: &Head) -> io::Result<()> {
        // Counted after the write only: a retry goes to the same slot, never over the good one.
        let generation = self.generation + 1;
        let bytes = encode(head, generation);
        self.file.write_all_at(&bytes, (generation & 1) * SLOT_STRIDE_BYTES)?;
        self.file.sync_data()?;
        self.generation = generation;
        Ok(())
    }
}

fn encode(head: &Head, generation: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    for number in [generation, head.incarnation.0, head.origin.0, head.last.0] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&head.hash.0);
    let check = digest(&[&bytes]);
    bytes.extend_from_slice(&check.0);
    bytes
}

fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<(Head, u64)> {
    let (body, check) = bytes.split_at(BODY_BYTES);
    if digest(&[body]).0 != check || &body[..8] != MAGIC || body[8..10] != VERSION.to_le_bytes() {
        return None;
    }
    let number = |index: usize| {
        let mut buffer = [0; 8];
        buffer.copy_from_slice(&body[10 + 8 * index..18 + 8 * index]);
        u64::from_le_bytes(buffer)
    };
    let mut hash = [0; Hash::BYTES];
    hash.copy_from_slice(&body[42..]);
    let head = Head {
        incarnation: Incarnation(number(1)),
        origin: Incarnation(number(2)),
        last: Seq(number(3)),
        hash: Hash(hash),
    };
    Some((head, number(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(last: u64) -> Head {
        Head {
            incarnation: Incarnation(11),
            origin: Incarnation(12),
            last: Seq(last),
            hash: Hash([last as u8; 16]),
        }
    }

    #[test]
    fn the_newest_slot_wins_and_a_torn_one_falls_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("head");
        assert_eq!(read_head(&path).unwrap(), HeadFound::Absent);
        let mut file = HeadFile::open(&path, 0).unwrap();
        assert_eq!(read_head(&path).unwrap(), HeadFound::Damaged);
        for last in 1..=5 {
            file.write(&head(last)).unwrap();
            assert_eq!(read_head(&path).unwrap(), HeadFound::Present(head(last), last));
        }
        // Generation 5 stands in slot 1: every torn prefix of its successor leaves it, and every
        // flipped byte of it leaves generation 4.
        let whole = std::fs::read(&path).unwrap();
        let next = encode(&head(6), 6);
        for torn in 0..SLOT_BYTES {
            let mut bytes = whole.clone();
            bytes[..torn].copy_from_slice(&next[..torn]);
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(read_head(&path).unwrap().head(), Some(head(5)), "torn at {torn}");
            let mut bytes = whole.clone();
            bytes[SLOT_STRIDE_BYTES as usize + torn] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(read_head(&path).unwrap().head(), Some(head(4)), "flipped at {torn}");
        }
    }
}
