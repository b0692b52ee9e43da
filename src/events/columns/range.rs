//! Owns the arithmetic coder: bits with adaptive probabilities, to bytes and back. It must never read
//! beyond its input, nor fail: damaged input yields other bits, which whoever asked must bound.

/// Probabilities have so many bits.
const PROBABILITY_BITS: u32 = 15;
/// Below this the range is widened by a byte.
const RANGE_MIN: u32 = 1 << 24;
/// How fast a probability follows, by how often it was used: at first by what was seen, later slowly.
const RATES: [u32; 48] = {
    let mut rates = [0; 48];
    let mut seen = 0;
    while seen < 48 {
        // 1 / (seen + 1.6), in 2¹⁶ths.
        rates[seen] = 655_360 / (10 * seen as u32 + 16);
        seen += 1;
    }
    rates
};

/// The probability that a bit is 0, as learned so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bit {
    zero: u16,
    seen: u16,
}

impl Bit {
    pub(super) const fn new() -> Self {
        Self { zero: 1 << (PROBABILITY_BITS - 1), seen: 0 }
    }

    fn learn(&mut self, bit: bool) {
        let rate = RATES[usize::from(self.seen)];
        self.seen = (self.seen + 1).min(RATES.len() as u16 - 1);
        let zero = u32::from(self.zero);
        let whole = 1 << PROBABILITY_BITS;
        let next = if bit { zero - ((zero * rate) >> 16) } else { zero + (((whole - zero) * rate) >> 16) };
        // Never certain: the range must not become empty.
        self.zero = next.clamp(16, whole - 16) as u16;
    }
}

/// Writes bits.
#[derive(Debug)]
pub(super) struct Encoder {
    low: u64,
    range: u32,
    out: Vec<u8>,
    /// The last byte that a carry may still change, and how many 0xFF follow it.
    pending: u8,
    carried: usize,
    begun: bool,
}

impl Encoder {
    pub(super) const fn new() -> Self {
        Self { low: 0, range: u32::MAX, out: Vec::new(), pending: 0, carried: 0, begun: false }
    }

    pub(super) fn bit(&mut self, model: &mut Bit, bit: bool) {
        let bound = (self.range >> PROBABILITY_BITS) * u32::from(model.zero);
        if bit {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.learn(bit);
        self.normalise();
    }

    /// Writes the lowest `count` bits of `value`, all equally probable.
    pub(super) fn plain(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            let now = left.min(16);
            left -= now;
            self.range >>= now;
            self.low += (value >> left & ((1 << now) - 1)) * u64::from(self.range);
            self.normalise();
        }
    }

    fn normalise(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.shift();
        }
    }

    fn shift(&mut self) {
        if self.low < 0xFF00_0000 || self.low > u64::from(u32::MAX) {
            let carry = (self.low >> 32) as u8;
            if self.begun {
                self.out.push(self.pending.wrapping_add(carry));
            }
            for _ in 0..self.carried {
                self.out.push(0xFF_u8.wrapping_add(carry));
            }
            self.carried = 0;
            self.pending = (self.low >> 24) as u8;
            self.begun = true;
        } else {
            self.carried += 1;
        }
        self.low = (self.low & 0x00FF_FFFF) << 8;
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        for _ in 0..5 {
            self.shift();
        }
        // Past its end the decoder reads zeros.
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

/// Reads bits.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    range: u32,
    code: u32,
    input: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        let mut decoder = Self { range: u32::MAX, code: 0, input };
        for _ in 0..4 {
            decoder.widen();
        }
        decoder
    }

    /// Returns whether all input was used.
    pub(super) const fn is_used_up(&self) -> bool {
        self.input.is_empty()
    }

    fn normalise(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.widen();
        }
    }

    fn widen(&mut self) {
        let next = match self.input.split_first() {
            Some((&next, rest)) => {
                self.input = rest;
                next
            }
            None => 0,
        };
        self.code = self.code << 8 | u32::from(next);
    }

    pub(super) fn bit(&mut self, model: &mut Bit) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * u32::from(model.zero);
        let bit = self.code >= bound;
        if bit {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.learn(bit);
        self.normalise();
        bit
    }

    /// Reads `count` bits that were all equally probable.
    pub(super) fn plain(&mut self, count: u32) -> u64 {
        let mut value = 0;
        let mut left = count;
        while left > 0 {
            let now = left.min(16);
            left -= now;
            self.range >>= now;
            // Damaged input may be beyond the range.
            let part = (self.code / self.range).min((1 << now) - 1);
            self.code = self.code.wrapping_sub(part * self.range);
            value = value << now | u64::from(part);
            self.normalise();
        }
        value
    }
}

/// Numbers of any length: how many bits they have is learned, the bits themselves are plain but for
/// the highest two.
#[derive(Clone, Debug)]
pub(super) struct Number {
    length: [Bit; 128],
    high: [[Bit; 3]; 65],
}

impl Number {
    pub(super) const fn new() -> Self {
        Self { length: [Bit::new(); 128], high: [[Bit::new(); 3]; 65] }
    }

    pub(super) fn encode(&mut self, out: &mut Encoder, value: u64) {
        let length = 64 - value.leading_zeros();
        let mut node = 1;
        for at in (0..7).rev() {
            let bit = length >> at & 1 == 1;
            out.bit(&mut self.length[node], bit);
            node = node << 1 | usize::from(bit);
        }
        let mut left = length.saturating_sub(1);
        let mut node = 0;
        while left > 0 && node < 3 {
            left -= 1;
            let bit = value >> left & 1 == 1;
            out.bit(&mut self.high[length as usize][node], bit);
            node = 2 * node + 1 + usize::from(bit);
        }
        out.plain(value, left);
    }

    pub(super) fn decode(&mut self, input: &mut Decoder<'_>) -> u64 {
        let mut node = 1;
        for _ in 0..7 {
            node = node << 1 | usize::from(input.bit(&mut self.length[node]));
        }
        // 65 to 127 are never written.
        let length = (node & 127).min(64) as u32;
        if length == 0 {
            return 0;
        }
        let mut value = 1;
        let mut left = length - 1;
        let mut node = 0;
        while left > 0 && node < 3 {
            left -= 1;
            let bit = input.bit(&mut self.high[length as usize][node]);
            value = value << 1 | u64::from(bit);
            node = 2 * node + 1 + usize::from(bit);
        }
        // Of 64 bits, at most 63 are left.
        if left == 0 { value } else { value << left | input.plain(left) }
    }
}

/// One of so many symbols, each learned.
#[derive(Clone, Debug)]
pub(super) struct Symbol {
    nodes: Vec<Bit>,
    bits: u32,
}

impl Symbol {
    /// A symbol below `count`, which is at least 1.
    pub(super) fn new(count: usize) -> Self {
        let bits = count.next_power_of_two().trailing_zeros();
        Self { nodes: vec![Bit::new(); 1 << bits], bits }
    }

    pub(super) fn encode(&mut self, out: &mut Encoder, symbol: usize) {
        let mut node = 1;
        for at in (0..self.bits).rev() {
            let bit = symbol >> at & 1 == 1;
            out.bit(&mut self.nodes[node], bit);
            node = node << 1 | usize::from(bit);
        }
    }

    /// Returns a symbol, of damaged input perhaps one that is not below the count.
    pub(super) fn decode(&mut self, input: &mut Decoder<'_>) -> usize {
        let mut node = 1;
        for _ in 0..self.bits {
            node = node << 1 | usize::from(input.bit(&mut self.nodes[node]));
        }
        node & ((1 << self.bits) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};

    /// Numbers of every length, in runs, with whatever carries they cause.
    fn numbers(seed: u64) -> Vec<u64> {
        let mut draw = SmallRng::seed_from_u64(seed);
        let mut all = Vec::new();
        for _ in 0..200 {
            let length = draw.random_range(0..=64_u32);
            let mask = if length == 0 { 0 } else { u64::MAX >> (64 - length) };
            for _ in 0..draw.random_range(1..20) {
                all.push(match draw.random_range(0..4) {
                    0 => mask,
                    1 => mask & !(mask >> 1),
                    _ => draw.random::<u64>() & mask,
                });
            }
        }
        all
    }

    #[test]
    fn what_is_written_is_read() {
        for seed in 0..50 {
            let numbers = numbers(seed);
            let mut out = Encoder::new();
            let (mut number, mut symbol, mut bit) = (Number::new(), Symbol::new(5), Bit::new());
            for &value in &numbers {
                number.encode(&mut out, value);
                symbol.encode(&mut out, (value % 5) as usize);
                out.bit(&mut bit, value % 7 == 0);
                out.plain(value, 64);
            }
            let bytes = out.finish();
            let mut input = Decoder::new(&bytes);
            let (mut number, mut symbol, mut bit) = (Number::new(), Symbol::new(5), Bit::new());
            for &value in &numbers {
                assert_eq!(number.decode(&mut input), value, "seed {seed}");
                assert_eq!(symbol.decode(&mut input), (value % 5) as usize);
                assert_eq!(input.bit(&mut bit), value % 7 == 0);
                assert_eq!(input.plain(64), value);
            }
            assert!(input.is_used_up());
        }
    }

    #[test]
    fn what_always_comes_costs_next_to_nothing() {
        let mut out = Encoder::new();
        let mut number = Number::new();
        (0..10_000).for_each(|_| number.encode(&mut out, 0));
        assert!(out.finish().len() < 80);
    }

    #[test]
    fn any_input_is_read_to_its_end_and_beyond() {
        let mut draw = SmallRng::seed_from_u64(1);
        for length in 0..40 {
            let bytes: Vec<u8> = (0..length).map(|_| draw.random()).collect();
            let mut input = Decoder::new(&bytes);
            let (mut number, mut symbol) = (Number::new(), Symbol::new(9));
            for _ in 0..500 {
                number.decode(&mut input);
                input.plain(64);
                assert!(symbol.decode(&mut input) < 16);
            }
        }
    }
}
