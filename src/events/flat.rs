//! Owns the flat file: a log in one portable file, as the daemon serves it and incidents keep it. It
//! must never end without its trailer unless it was cut.
//!
//! Header: magic, version, origin, incarnation, first, last, hash before, check. From version 2 on, a
//! checkpoint follows: length `u32`, the sealed bytes. Chunks: length
//! `u32`, check (8 B), a packed block. Trailer: length 0, records `u64`, last hash, check.

use super::chain::{Hash, Verifier, digest};
use super::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint};
use super::codec::split_frame;
use super::damage::{Damage, DamageKind};
use super::entry::{BLOCK_RAW_BYTES_MAX, Entry, Header, pack};
use super::source::{EntrySource, FrameStream, Stored};
use crate::core::Incarnation;
use pgfo_replay::Seq;
use std::io::{self, Read, Write};

pub(crate) const FLAT_MAGIC: &[u8; 8] = b"pgfoflat";
/// Begins with the log's first record, or can't be audited.
const VERSION_PLAIN: u16 = 1;
/// Begins with a checkpoint.
const VERSION_CHECKPOINT: u16 = 2;
const HEADER_BODY_BYTES: usize = 8 + 2 + 4 * 8 + Hash::BYTES;
pub(crate) const HEADER_BYTES: usize = HEADER_BODY_BYTES + Hash::BYTES;
const TRAILER_BODY_BYTES: usize = 8 + Hash::BYTES;
const CHECK_BYTES: usize = 8;
/// Frames gathered for a chunk, bytes; with one more frame it stays below the bound of a block.
const CHUNK_RAW_BYTES: usize = BLOCK_RAW_BYTES_MAX / 2;
/// Bound of a chunk, bytes: what does not compress grows a little.
const CHUNK_BYTES_MAX: usize = 2 * BLOCK_RAW_BYTES_MAX;

/// Where a flat file begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlatHeader {
    pub(crate) origin: Incarnation,
    pub(crate) incarnation: Incarnation,
    pub(crate) first: Seq,
    /// `first - 1` if there are no records.
    pub(crate) last: Seq,
    pub(crate) before: Hash,
}

impl FlatHeader {
    fn encode(&self, version: u16) -> Vec<u8> {
        let mut bytes = FLAT_MAGIC.to_vec();
        bytes.extend_from_slice(&version.to_le_bytes());
        for number in [self.origin.0, self.incarnation.0, self.first.0, self.last.0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.before.0);
        let check = digest(&[&bytes]);
        bytes.extend_from_slice(&check.0);
        bytes
    }

    /// Reads and checks the header at the start of `input`.
    pub(crate) fn read(input: &mut impl Read) -> io::Result<Result<(Self, FlatBase), String>> {
        let mut bytes = [0; HEADER_BYTES];
        match input.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Err("the file is cut inside its header".to_string()));
            }
            Err(error) => return Err(error),
        }
        let (body, check) = bytes.split_at(HEADER_BODY_BYTES);
        if digest(&[body]).0 != check {
            return Ok(Err("it does not match its checksum".to_string()));
        }
        let version = u16::from_le_bytes([body[8], body[9]]);
        if version != VERSION_PLAIN && version != VERSION_CHECKPOINT {
            return Ok(Err(format!("file version {version} is unknown; use a newer release")));
        }
        let number = |index: usize| {
            let mut buffer = [0; 8];
            buffer.copy_from_slice(&body[10 + 8 * index..18 + 8 * index]);
            u64::from_le_bytes(buffer)
        };
        let mut before = [0; Hash::BYTES];
        before.copy_from_slice(&body[42..]);
        let header = Self {
            origin: Incarnation(number(0)),
            incarnation: Incarnation(number(1)),
            first: Seq(number(2)),
            last: Seq(number(3)),
            before: Hash(before),
        };
        let rooted = header.first > Seq(1) || header.before == Header::begin(header.origin).before;
        if !rooted || header.first == Seq(0) || header.last.0 == u64::MAX {
            return Ok(Err("its start does not follow from its incarnation".to_string()));
        }
        if version == VERSION_PLAIN {
            return Ok(Ok((header, None)));
        }
        let base = read_checkpoint(input)?.and_then(|base| {
            let fits =
                base.seq.next() == header.first && base.hash == header.before && base.origin == header.origin;
            if fits { Ok(base) } else { Err("it is of another record than the one before the first".into()) }
        });
        Ok(Ok((header, Some(base))))
    }
}

/// The checkpoint that a flat file begins with, or what is wrong with it; `None`: it has none.
pub(crate) type FlatBase = Option<Result<Checkpoint, String>>;

fn read_checkpoint(input: &mut impl Read) -> io::Result<Result<Checkpoint, String>> {
    let mut whole = |bytes: &mut [u8]| match input.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    };
    let mut length = [0; 4];
    let cut = || Ok(Err("the file is cut inside it".to_string()));
    if !whole(&mut length)? {
        return cut();
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > 2 * CHECKPOINT_BYTES_MAX {
        return Ok(Err(format!("it claims {length} bytes")));
    }
    let mut sealed = vec![0; length];
    if !whole(&mut sealed)? {
        return cut();
    }
    Ok(Checkpoint::open(&sealed))
}

/// Of which log, and up to where, a flat file is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) origin: Incarnation,
    pub(crate) incarnation: Incarnation,
    pub(crate) last: Seq,
}

/// What was exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The first record.
    pub first: Seq,
    /// The last record; one less than the first if there are none.
    pub last: Seq,
    /// The hash of the last record.
    pub hash: Hash,
}

/// Why an export failed; what was written lacks its trailer and is found to be cut.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log is damaged or away.
    #[error("the log can't be exported: {0}")]
    Damaged(#[from] Damage),
    /// The log could not be read.
    #[error("the log can't be read: {0}")]
    Unreadable(String),
    /// The file could not be written.
    #[error("the export can't be written: {0}")]
    Io(#[from] io::Error),
}

/// Writes the records of `stream` as a flat file that begins with `base`, if there is one.
pub(crate) fn export(
    stream: &mut FrameStream,
    extent: Extent,
    base: Option<&Checkpoint>,
    out: &mut impl Write,
) -> Result<Exported, ExportError> {
    let Extent { origin, incarnation, last } = extent;
    let Verifier { next: first, previous: before } = stream.verifier();
    let last = last.max(Seq(first.0 - 1));
    let header = FlatHeader { origin, incarnation, first, last, before };
    match base {
        None => out.write_all(&header.encode(VERSION_PLAIN))?,
        Some(base) if base.seq.next() == first && base.hash == before => {
            let sealed = base.seal().map_err(ExportError::Unreadable)?;
            let length = u32::try_from(sealed.len()).map_err(io::Error::other)?;
            out.write_all(&header.encode(VERSION_CHECKPOINT))?;
            out.write_all(&length.to_le_bytes())?;
            out.write_all(&sealed)?;
        }
        Some(base) => {
            return Err(ExportError::Unreadable(format!(
                "the checkpoint of record {} is not of the one before {first}",
                base.seq
            )));
        }
    }
    let mut frames = Vec::with_capacity(CHUNK_RAW_BYTES);
    let mut count = 0;
    let mut chunk_before = before;
    while stream.verifier().next <= last {
        let due = stream.verifier().next;
        let frame = stream.next_with(|frame| {
            frames.extend_from_slice(frame.hashed);
            frames.extend_from_slice(&frame.hash.0);
        });
        frame.ok_or(Damage { seq: due, what: DamageKind::Missing { until: last.next() } })??;
        count += 1;
        if frames.len() >= CHUNK_RAW_BYTES {
            write_chunk(&frames, count, chunk_before, out)?;
            frames.clear();
            count = 0;
            chunk_before = stream.verifier().previous;
        }
    }
    if count > 0 {
        write_chunk(&frames, count, chunk_before, out)?;
    }
    let hash = stream.verifier().previous;
    out.write_all(&trailer(first, last, hash))?;
    out.flush()?;
    Ok(Exported { first, last, hash })
}

fn write_chunk(frames: &[u8], count: u32, before: Hash, out: &mut impl Write) -> io::Result<()> {
    let value = pack(frames, count, before)?;
    let length = u32::try_from(value.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&digest(&[&value]).0[..CHECK_BYTES])?;
    out.write_all(&value)
}

fn trailer(first: Seq, last: Seq, hash: Hash) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&(last.0 + 1 - first.0).to_le_bytes());
    bytes.extend_from_slice(&hash.0);
    let check = digest(&[&bytes]);
    bytes.extend_from_slice(&check.0);
    bytes
}

/// The entries of a flat file whose header was read.
pub(crate) struct FlatFile<R> {
    input: R,
    header: FlatHeader,
}

impl<R: Read> FlatFile<R> {
    pub(crate) const fn new(input: R, header: FlatHeader) -> Self {
        Self { input, header }
    }

    fn read_chunk(&mut self, due: Verifier) -> Result<Option<Stored>, DamageKind> {
        let mut length = [0; 4];
        self.read(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 {
            return self.read_trailer(due).map(|()| None);
        }
        if length > CHUNK_BYTES_MAX {
            return Err(DamageKind::Block(format!("a chunk that claims {length} bytes")));
        }
        let mut check = [0; CHECK_BYTES];
        self.read(&mut check)?;
        let mut value = vec![0; length];
        self.read(&mut value)?;
        // Where the chunk still decompresses, the walk names the very record that was altered; what
        // changes no record is an alteration all the same.
        if digest(&[&value]).0[..CHECK_BYTES] != check && !names_a_record(&value, due) {
            return Err(DamageKind::Block("it does not match its checksum".to_string()));
        }
        Ok(Some(Stored { first: due.next, value, before: None }))
    }

    fn read_trailer(&mut self, due: Verifier) -> Result<(), DamageKind> {
        let mut rest = [0; TRAILER_BODY_BYTES + Hash::BYTES];
        self.read(&mut rest)?;
        let (last, hash) = due.last();
        let expected = trailer(self.header.first, last, hash);
        let mut beyond = [0; 1];
        let ends = matches!(self.input.read(&mut beyond), Ok(0));
        if last != self.header.last || expected[4..] != rest || !ends {
            return Err(DamageKind::Trailer);
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), DamageKind> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => DamageKind::Cut,
            _ => DamageKind::Store(error.to_string()),
        })
    }
}

/// Returns whether the walk over the altered chunk `value` finds fault with some record.
fn names_a_record(value: &[u8], due: Verifier) -> bool {
    let Ok(Entry::Packed(packed)) = Entry::parse(value) else { return true };
    let Ok(mut unpacker) = zstd::bulk::Decompressor::new() else { return false };
    let mut raw = Vec::new();
    if packed.unpack(&mut unpacker, &mut raw).is_err() {
        return true;
    }
    let mut verifier = due;
    let mut rest = raw.as_slice();
    while !rest.is_empty() {
        match split_frame(rest) {
            Ok((frame, length)) if verifier.accept(&frame).is_ok() => rest = &rest[length..],
            _ => return true,
        }
    }
    false
}

impl<R: Read + Send> EntrySource for FlatFile<R> {
    fn next_entry(&mut self, due: Verifier) -> Option<Result<Stored, Damage>> {
        self.read_chunk(due).map_err(|what| Damage { seq: due.next, what }).transpose()
    }
}
