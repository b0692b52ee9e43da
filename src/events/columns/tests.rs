//! Whatever can be recorded comes back byte for byte, and whatever is done to a block's body is found.

use super::super::chain::Hash;
use super::super::codec::encode_frame;
use super::super::entry::{Entry, pack, pack_columns};
use super::super::{Actor, Event, LogReader};
use super::{compress, expand};
use pgfo_replay::{BootNanos, Record, Seq, WallNanos};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Deserialize as _;
use serde::de::{self, DeserializeSeed, IntoDeserializer as _, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const BEFORE: Hash = Hash([7; Hash::BYTES]);

/// Draws a value of any type from a seed: each variant of an enum, each width of a number.
struct Draw {
    rng: SmallRng,
    /// Of each enum met, its variants, and those that were drawn.
    seen: BTreeMap<&'static str, (usize, BTreeSet<u32>)>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

impl de::Error for Refused {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl Draw {
    fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), seen: BTreeMap::new() }
    }

    fn number(&mut self) -> u64 {
        let length = self.rng.random_range(0..=64_u32);
        if length == 0 { 0 } else { self.rng.random::<u64>() >> (64 - length) }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            let number = self.number();
            visitor.$visit(number as $type)
        })*
    };
}

impl<'de> de::Deserializer<'de> for &mut Draw {
    type Error = Refused;

    numbers!(deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64, deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64);

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        Err(Refused("a type that does not say what it is".to_string()))
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let upper = self.number();
        visitor.visit_u128(u128::from(upper) << 64 | u128::from(self.number()))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_bool(self.rng.random())
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_char('ß')
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let length = self.rng.random_range(0..300);
        let text = ['a', '7', ' ', 'ß', '\u{1}', '語', '😀'];
        visitor.visit_string((0..length).map(|_| text[self.rng.random_range(0..text.len())]).collect())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        if self.rng.random() { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let length = self.rng.random_range(0..4);
        visitor.visit_seq(Sequence(self, length))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(Sequence(self, length))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_seq(Sequence(self, fields.len()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let any = self.rng.random_range(0..variants.len() as u32);
        let (count, drawn) = self.seen.entry(name).or_default();
        *count = variants.len();
        // Those that were not met yet half of the time, so that each is met soon.
        let missing = (0..variants.len() as u32).find(|variant| !drawn.contains(variant));
        let variant = missing.filter(|_| self.rng.random()).unwrap_or(any);
        drawn.insert(variant);
        visitor.visit_enum(Variant(self, variant))
    }

    serde::forward_to_deserialize_any! { bytes byte_buf unit_struct tuple_struct map identifier ignored_any }
}

struct Sequence<'a>(&'a mut Draw, usize);

impl<'de> de::SeqAccess<'de> for Sequence<'_> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        let Some(left) = self.1.checked_sub(1) else { return Ok(None) };
        self.1 = left;
        seed.deserialize(&mut *self.0).map(Some)
    }
}

struct Variant<'a>(&'a mut Draw, u32);

impl<'de, 'a> de::EnumAccess<'de> for Variant<'a> {
    type Error = Refused;
    type Variant = &'a mut Draw;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, &'a mut Draw), Refused> {
        let number: de::value::U32Deserializer<Refused> = self.1.into_deserializer();
        Ok((seed.deserialize(number)?, self.0))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Draw {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Refused> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(Sequence(self, length))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_seq(Sequence(self, fields.len()))
    }
}

fn frames_of<'a>(records: impl IntoIterator<Item = &'a Record<Event>>) -> Vec<u8> {
    let mut frames = Vec::new();
    records
        .into_iter()
        .fold(BEFORE, |hash, record| encode_frame(record, hash, &mut frames).expect("a record that fits"));
    frames
}

fn last_hash(frames: &[u8]) -> Hash {
    Hash(*frames.last_chunk().expect("a frame"))
}

fn drawn(draw: &mut Draw, first: u64, count: u64) -> Vec<Record<Event>> {
    (first..first + count)
        .map(|seq| Record {
            seq: Seq(seq),
            boot: BootNanos(draw.number()),
            wall: WallNanos(draw.number() as i64),
            actor: Actor::ROLES[draw.rng.random_range(0..4)].number(),
            cause: draw.rng.random::<bool>().then(|| Seq(draw.number())),
            event: Event::deserialize(&mut *draw).expect("any event can be drawn"),
        })
        .collect()
}

#[test]
fn every_kind_of_event_comes_back() {
    let mut draw = Draw::new(11);
    for first in 1..40 {
        let records = drawn(&mut draw, first * 100, 100);
        let frames = frames_of(&records);
        let mut again = Vec::new();
        // A byte of its own may look like the beginning of a number that it isn't: such a block is left
        // to the other packing, and a smaller one tells whether that is the reason.
        for record in &records {
            let frames = frames_of([record]);
            let Some(body) = compress(&frames, record.seq) else {
                assert!(record_has_large_byte(&frames), "{record:?}");
                continue;
            };
            let hash = expand(&body, 1, BEFORE, frames.len(), &mut again).expect("expands");
            assert_eq!((hash, &again), (last_hash(&frames), &frames), "{record:?}");
        }
        if let Some(body) = compress(&frames, Seq(first * 100)) {
            let hash = expand(&body, 100, BEFORE, frames.len(), &mut again).expect("expands");
            assert_eq!((hash, &again), (last_hash(&frames), &frames));
        }
    }
    for (name, (count, drawn)) in &draw.seen {
        assert_eq!(drawn.len(), *count, "not every variant of {name} was drawn");
    }
    assert!(draw.seen.len() > 20, "{:?}", draw.seen.keys());
}

/// Bytes from 251 on begin a longer number, where they are not a number of one byte themselves.
fn record_has_large_byte(frame: &[u8]) -> bool {
    frame[6..frame.len() - Hash::BYTES].iter().any(|byte| *byte >= 251)
}

/// Frames of a recorded log, in blocks.
fn recorded() -> Vec<(Seq, u32, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logs");
    let mut blocks = Vec::new();
    for name in ["format_1_node1.log", "format_1_node2.log", "format_1_node3.log"] {
        let reader = LogReader::<Event>::open(dir.join(name)).expect("a log");
        let records: Vec<_> = reader.map(|record| record.expect("an undamaged record")).collect();
        for block in records.chunks(300) {
            blocks.push((block[0].seq, block.len() as u32, frames_of(block)));
        }
    }
    blocks
}

#[test]
fn recorded_logs_come_back_and_are_smaller() {
    let (mut columns, mut zstd) = (0, 0);
    for (first, count, frames) in recorded() {
        let value = pack_columns(&frames, first, count, BEFORE).expect("splits");
        let other = pack(&frames, count, BEFORE).expect("packs");
        columns += value.len();
        zstd += other.len();
        let mut unpacker = zstd::bulk::Decompressor::new().expect("memory");
        for value in [value, other] {
            let Ok(Entry::Packed(packed)) = Entry::parse(&value) else { panic!("a packed block") };
            let mut raw = Vec::new();
            packed.unpack(&mut unpacker, &mut raw).expect("unpacks");
            assert!(raw == frames);
        }
    }
    assert!(columns * 3 < zstd * 2, "{columns} bytes of columns, {zstd} of zstd");
}

/// The same records, whatever the writer does by then: this block was written by the first release that
/// wrote columns.
#[test]
fn the_first_block_of_columns_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logs/columns_1.block");
    let value = std::fs::read(path).expect("the block");
    let (_, count, frames) = recorded().swap_remove(0);
    let Ok(Entry::Packed(packed)) = Entry::parse(&value) else { panic!("a packed block") };
    assert_eq!((packed.count, packed.before, packed.columns), (count, BEFORE, true));
    let mut raw = Vec::new();
    packed.unpack(&mut zstd::bulk::Decompressor::new().expect("memory"), &mut raw).expect("unpacks");
    assert!(raw == frames);
}

/// Returns whether damage of the body was found, or changed nothing.
fn is_found(body: &[u8], count: u32, frames: &[u8], again: &mut Vec<u8>) -> bool {
    match expand(body, count, BEFORE, frames.len(), again) {
        Err(_) => true,
        Ok(hash) => hash != last_hash(frames) || again.as_slice() == frames,
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let (first, count, frames) = recorded().swap_remove(0);
    let body = compress(&frames, first).expect("splits");
    let mut again = Vec::new();
    let mut unharmed = 0;
    for at in 0..body.len() {
        let mut flipped = body.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(is_found(&flipped, count, &frames, &mut again), "byte {at}");
        unharmed += usize::from(again == frames);
        assert!(is_found(&body[..at], count, &frames, &mut again), "cut at {at}");
    }
    // Only the last bytes of the code may hold bits that nothing hangs on.
    assert!(unharmed < 8, "{unharmed}");
}

#[test]
fn hostile_bodies_are_bounded() {
    let mut draw = Draw::new(3);
    let mut raw = Vec::new();
    for _ in 0..3000 {
        let length = draw.rng.random_range(0..400);
        let mut body: Vec<u8> = (0..length).map(|_| draw.rng.random()).collect();
        if draw.rng.random() {
            // Past the number of the first record, so that the preface says something.
            body.splice(0..0, [0, 0, 0, 0, 0, 0, 0, 1]);
        }
        let (count, raw_bytes) = (draw.rng.random_range(0..9000), draw.rng.random_range(0..200_000));
        assert!(expand(&body, count, BEFORE, raw_bytes, &mut raw).is_err() || count == 0 || !raw.is_empty());
        assert!(raw.len() <= raw_bytes + 40 * 1024 + super::COLUMNS_MAX * 9);
    }
    assert!(expand(&[0; 9], u32::MAX, BEFORE, 1024, &mut raw).is_err());
}
