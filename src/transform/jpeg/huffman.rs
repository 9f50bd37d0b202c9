//! Huffman codes of JPEG (ITU-T T.81, annexes C and F), several bits at a time.
//!
//! [`Table`] answers the next ten bits with everything they say: mostly a whole coefficient, its code and its value. What
//! does not fit into ten bits takes the slow way, bit by bit of its length.

use super::Error;

/// So many bits are looked up at once. Tables of ten bits stay in the first cache beside the picture; eleven took as long.
const LOOKED_UP: u32 = 11;

/// The end of a block, as a number of coefficients to go on by: beyond any position, whatever came before.
pub const END: u32 = 256;
/// The same, added to the step to a last coefficient.
pub const LAST: u32 = 128;

/// One Huffman table.
pub struct Table {
    /// By the next bits: the bits that are used up (0 to 5), the coefficients to go on by (6 to 15; 0 for what takes the
    /// slow way) and the value (16 to 31).
    fast: Box<[u32; 1 << LOOKED_UP]>,
    /// By length: the first code, as if of 16 bits, that is longer.
    bounds: [u32; 17],
    /// By length: what to add to a code to find its symbol.
    offsets: [u32; 17],
    symbols: [u8; 256],
    /// The code that ends a block, and its length.
    end: (u32, u32),
}

/// What a table is for: how its symbols are to be understood.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Differences of mean values: a symbol is the number of bits that follow.
    Dc,
    /// The other coefficients: a symbol is a run of zeros and the number of bits that follow.
    Ac,
}

impl Table {
    /// A table from the number of codes by length, from 1 bit to 16, and the symbols (T.81, section B.2.4.2).
    pub fn new(class: Class, counts: &[u8; 16], listed: &[u8]) -> Result<Self, Error> {
        let mut symbols = [0; 256];
        symbols.get_mut(..listed.len()).ok_or(WRONG)?.copy_from_slice(listed);
        let (mut fast, mut bounds, mut offsets) = (Box::new([0; 1 << LOOKED_UP]), [0; 17], [0; 17]);
        let (mut code, mut index, mut end) = (0_u32, 0_u32, (0, 0));
        for (length, count) in (1..).zip(counts) {
            offsets[length as usize] = index.wrapping_sub(code);
            for _ in 0..*count {
                let symbol = *symbols.get(index as usize).ok_or(WRONG)?;
                if symbol == 0 {
                    end = (code, length);
                }
                if length <= LOOKED_UP {
                    let free = LOOKED_UP - length;
                    let first = (code << free) as usize;
                    let entries = fast.get_mut(first..first + (1 << free)).ok_or(WRONG)?;
                    for (rest, entry) in (0..).zip(entries) {
                        *entry = resolved(class, symbol, length, rest, free);
                    }
                }
                code += 1;
                index += 1;
            }
            if code > 1 << length {
                return Err(WRONG);
            }
            bounds[length as usize] = code << (16 - length);
            code <<= 1;
        }
        if class == Class::Ac {
            join_ends(&mut fast);
        }
        Ok(Self { fast, bounds, offsets, symbols, end })
    }

    /// What the next bits say, as [`Table::fast`] does.
    #[inline(always)]
    pub fn look(&self, bits: &Bits) -> Looked {
        Looked(self.fast[(bits.buffer >> (64 - LOOKED_UP)) as usize])
    }

    /// Takes back that the block has ended by its code.
    #[inline]
    pub fn take_back_end(&self, bits: &mut Bits) {
        let (code, length) = self.end;
        bits.buffer = bits.buffer >> length | u64::from(code) << (64 - length);
        bits.count += length;
    }

    /// The symbol of the next code and the length of that, where a look did not tell the whole.
    #[inline(always)]
    pub fn symbol(&self, looked: Looked, bits: &Bits) -> Result<(u32, u32), Error> {
        if looked.bits() > 0 { Ok((looked.0 >> 16, looked.bits())) } else { self.long(bits.peek()) }
    }

    /// The same for codes of more than ten bits, by the next 16.
    #[cold]
    #[inline(never)]
    fn long(&self, next: u32) -> Result<(u32, u32), Error> {
        let length = (1..17).find(|length| next < self.bounds[*length]).ok_or(UNKNOWN)?;
        let index = (next >> (16 - length)).wrapping_add(self.offsets[length]);
        Ok((u32::from(self.symbols[(index & 255) as usize]), length as u32))
    }
}

const UNKNOWN: Error = Error::Corrupt("a code that does not exist");
const WRONG: Error = Error::Corrupt("a Huffman table is wrong");

/// The entry for a symbol of `length` bits followed by `free` bits that are `rest`.
fn resolved(class: Class, symbol: u8, length: u32, rest: u32, free: u32) -> u32 {
    let (run, size) = match class {
        Class::Dc => (0, u32::from(symbol)),
        Class::Ac => (u32::from(symbol >> 4), u32::from(symbol & 15)),
    };
    match (class, run, size) {
        (Class::Ac, 15, 0) => length | 16 << 6,
        (Class::Ac, _, 0) => length | END << 6,
        _ if size > free => length | u32::from(symbol) << 16,
        _ => {
            let value = extended(rest >> (free - size), size);
            (length + size) | (run + 1) << 6 | (value as u32) << 16
        }
    }
}

/// Lets a look tell that a coefficient is the last one of its block, where the code that says so fits in too.
fn join_ends(fast: &mut [u32; 1 << LOOKED_UP]) {
    let plain = *fast;
    for (next, entry) in fast.iter_mut().enumerate() {
        let looked = Looked(*entry);
        let behind = Looked(plain[next << looked.bits() & ((1 << LOOKED_UP) - 1)]);
        let bits = looked.bits() + behind.bits();
        if looked.value() != 0 && (1..=16).contains(&looked.step()) && behind.step() == END && bits <= LOOKED_UP {
            *entry = *entry & 0xFFFF_0000 | looked.step() + LAST << 6 | bits;
        }
    }
}

/// A value from the bits that follow its size (T.81, figure F.12).
#[inline(always)]
pub const fn extended(bits: u32, size: u32) -> i32 {
    // Without a branch: whether a value is negative cannot be foretold.
    let is_positive = (bits << 1 >> size & 1) as i32;
    bits as i32 + (is_positive - 1 & 1 - (1 << size))
}

/// What a look into a table tells.
#[derive(Clone, Copy)]
pub struct Looked(u32);

impl Looked {
    /// So many bits belong to it.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0 & 63
    }

    /// So many coefficients on is the next position. None if it has to be found the slow way.
    #[inline(always)]
    pub const fn step(self) -> u32 {
        self.0 >> 6 & 1023
    }

    /// The value of the coefficient before that position.
    #[inline(always)]
    pub const fn value(self) -> i32 {
        self.0 as i32 >> 16
    }
}

/// A position in the bits of a segment of picture data, from which JPEG's own additions have been taken out.
#[derive(Clone, Copy, Default)]
pub struct Bits {
    position: usize,
    /// The next bits, the first one highest.
    buffer: u64,
    /// So many of them are valid.
    count: u32,
}

impl Bits {
    /// Makes sure that there are at least 56 bits to look at; behind the end, they are zeros.
    #[inline(always)]
    pub fn refill(&mut self, data: &[u8]) {
        let word = match data.get(self.position..).and_then(<[u8]>::first_chunk) {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => last(data, self.position),
        };
        self.buffer |= word >> self.count;
        let bytes = (63 - self.count) >> 3;
        self.position += bytes as usize;
        self.count += bytes << 3;
    }

    /// Goes on by fewer than 64 bits that are there.
    #[inline(always)]
    pub fn drop(&mut self, bits: u32) {
        self.buffer <<= bits & 63;
        self.count = self.count.wrapping_sub(bits);
    }

    /// The next bits, 15 at most, as a number.
    #[inline(always)]
    pub fn take(&mut self, bits: u32) -> u32 {
        let taken = (self.buffer >> 1 >> (63 - (bits & 63))) as u32;
        self.drop(bits);
        taken
    }

    /// The next 16 bits as a number, without going on.
    #[inline(always)]
    pub const fn peek(&self) -> u32 {
        (self.buffer >> 48) as u32
    }

    /// Whether more bits were taken than there are.
    #[inline]
    pub fn is_overrun(&self, data: &[u8]) -> bool {
        self.position * 8 > data.len() * 8 + self.count as usize
    }
}

/// The last bytes, filled up with zeros.
#[cold]
fn last(data: &[u8], position: usize) -> u64 {
    let mut bytes = [0; 8];
    let rest = data.get(position..).unwrap_or_default();
    if let Some(bytes) = bytes.get_mut(..rest.len()) {
        bytes.copy_from_slice(rest);
    }
    u64::from_be_bytes(bytes)
}
