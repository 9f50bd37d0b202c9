//! The picture data of one scan that holds all components, block by block.

use memchr::memchr;

use super::cosine::{Scaling, places};
use super::huffman::{Bits, END, LAST, Table, extended};
use super::{Component, Error, Head};
use crate::transform::picture::Plane;

const ENDS_TOO_SOON: Error = Error::Corrupt("the picture data ends too soon");

/// A component as the scan goes through it.
struct Part<'a, const N: usize> {
    component: &'a Component,
    dc: &'a Table,
    ac: &'a Table,
    scaling: Scaling<N>,
    /// The last mean value.
    mean: i32,
    /// Blocks side by side.
    blocks: usize,
    /// The coefficients of one row of units, line by line of blocks.
    coefficients: Vec<Block>,
    /// The pixels of one line of blocks.
    strip: Vec<u8>,
    plane: Plane,
}

/// The coefficients of a block in the order of [`places`].
type Block = [i16; 64];

/// Decodes the scan. Every block becomes `N` x `N` pixels; none at all if `N` is 0, which tells whether the data is sound.
pub fn planes<const N: usize>(head: &Head<'_>) -> Result<Vec<Plane>, Error> {
    let (columns, rows) = head.units();
    let mut parts =
        head.components.iter().map(|component| part::<N>(head, component, columns)).collect::<Result<Vec<_>, _>>()?;
    let mut segments = Segments { data: head.scan, position: 0, next: 0, buffer: Vec::with_capacity(head.scan.len()) };
    segments.advance();
    let mut left = head.restart_interval;
    let mut bits = Bits::default();
    for row in 0..rows {
        for column in 0..columns {
            if head.restart_interval > 0 && left == 0 {
                if bits.is_overrun(&segments.buffer) {
                    return Err(ENDS_TOO_SOON);
                }
                segments.restart()?;
                bits = Bits::default();
                left = head.restart_interval;
                parts.iter_mut().for_each(|part| part.mean = 0);
            }
            left = left.wrapping_sub(1);
            for part in &mut parts {
                part.unit(&segments.buffer, &mut bits, column)?;
            }
        }
        if bits.is_overrun(&segments.buffer) {
            return Err(ENDS_TOO_SOON);
        }
        for part in &mut parts {
            part.keep(row);
        }
    }
    Ok(parts.into_iter().map(|part| part.plane).collect())
}

fn part<'a, const N: usize>(
    head: &'a Head<'_>,
    component: &'a Component,
    columns: usize,
) -> Result<Part<'a, N>, Error> {
    let (horizontal, vertical) = head.share(component);
    let blocks = columns * component.horizontal;
    let (width, height) = (horizontal * N as f64 / 8.0, vertical * N as f64 / 8.0);
    let table = |tables: &'a [Option<Table>; 4], index: usize| {
        tables.get(index).and_then(Option::as_ref).ok_or(Error::Corrupt("a Huffman table is missing"))
    };
    let steps = head.steps.get(component.steps).and_then(Option::as_ref);
    Ok(Part {
        component,
        dc: table(&head.dc, component.dc)?,
        ac: table(&head.ac, component.ac)?,
        scaling: Scaling::new(steps.ok_or(Error::Corrupt("a quantisation table is missing"))?),
        mean: 0,
        blocks,
        coefficients: if N == 0 { vec![[0; 64]] } else { vec![[0; 64]; blocks * component.vertical] },
        strip: vec![0; blocks * N * N],
        plane: Plane::with_room((width, height)),
    })
}

impl<const N: usize> Part<'_, N> {
    const PLACES: [u8; 512] = places::<N>();

    /// The blocks of one unit (T.81, section A.2).
    #[inline(always)]
    fn unit(&mut self, data: &[u8], bits: &mut Bits, column: usize) -> Result<(), Error> {
        for line in 0..self.component.vertical {
            for block in 0..self.component.horizontal {
                let at = if N == 0 { 0 } else { line * self.blocks + column * self.component.horizontal + block };
                let block = self.coefficients.get_mut(at).ok_or(ENDS_TOO_SOON)?;
                block[..N * N].fill(0);
                decode(self.dc, self.ac, &Self::PLACES, data, bits, &mut self.mean, block)?;
            }
        }
        Ok(())
    }

    /// Moves the pixels of a row of units into the plane, without what lies beyond the picture.
    fn keep(&mut self, row: usize) {
        if N == 0 {
            return;
        }
        let mut left = (self.plane.height as usize).saturating_sub(row * N * self.component.vertical);
        for blocks in self.coefficients.chunks_exact(self.blocks) {
            self.scaling.line(blocks, &mut self.strip);
            for line in self.strip.chunks_exact(self.blocks * N).take(left) {
                self.plane.push(line);
            }
            left = left.saturating_sub(N);
        }
    }
}

/// The coefficients of one block.
#[inline(never)]
fn decode(
    dc: &Table,
    ac: &Table,
    places: &[u8; 512],
    data: &[u8],
    position: &mut Bits,
    mean: &mut i32,
    coefficients: &mut Block,
) -> Result<(), Error> {
    let mut bits = *position;
    bits.refill(data);
    let looked = dc.look(&bits);
    let difference = if looked.step() > 0 {
        bits.drop(looked.bits());
        looked.value()
    } else {
        let (size, length) = dc.symbol(looked, &bits)?;
        bits.drop(length);
        if size > 15 {
            return Err(Error::Corrupt("a value that is too large"));
        }
        let value = extended(bits.take(size), size);
        bits.refill(data);
        value
    };
    *mean = mean.wrapping_add(difference);
    coefficients[0] = *mean as i16;
    let mut next = 1;
    loop {
        // 56 bits: of three coefficients two at most are of those that take up to ten, and one takes 31 at most.
        bits.refill(data);
        for _ in 0..3 {
            let looked = ac.look(&bits);
            let (step, value) = if looked.step() > 0 {
                bits.drop(looked.bits());
                (looked.step(), looked.value())
            } else {
                let (symbol, length) = ac.symbol(looked, &bits)?;
                bits.drop(length);
                let (run, size) = (symbol >> 4, symbol & 15);
                let value = extended(bits.take(size), size);
                bits.refill(data);
                (if run < 15 && size == 0 { END } else { run + 1 }, value)
            };
            next += step;
            coefficients[usize::from(places[(next as usize - 1) & 511] & 63)] = value as i16;
            if next > 63 {
                if next == LAST + 64 {
                    ac.take_back_end(&mut bits);
                }
                *position = bits;
                return if next == 64 || (LAST..=LAST + 64).contains(&next) || next > END {
                    Ok(())
                } else {
                    Err(Error::Corrupt("a block with too many values"))
                };
            }
        }
    }
}

/// The parts of the data between restart markers (T.81, section B.2.1), freed from the zeros behind each byte FF.
struct Segments<'a> {
    data: &'a [u8],
    position: usize,
    /// The number of the next restart marker.
    next: u8,
    buffer: Vec<u8>,
}

impl Segments<'_> {
    /// Goes past a restart marker to the segment behind it.
    fn restart(&mut self) -> Result<(), Error> {
        match self.data.get(self.position..) {
            Some([0xFF, marker, ..]) if *marker == 0xD0 + self.next => {}
            _ => return Err(ENDS_TOO_SOON),
        }
        self.next = (self.next + 1) % 8;
        self.position += 2;
        self.advance();
        Ok(())
    }

    /// Gathers what comes before the next marker, or all there is.
    fn advance(&mut self) {
        self.buffer.clear();
        loop {
            let rest = self.data.get(self.position..).unwrap_or_default();
            let Some(end) = memchr(0xFF, rest) else {
                self.buffer.extend_from_slice(rest);
                self.position = self.data.len();
                return;
            };
            self.buffer.extend_from_slice(&rest[..end]);
            self.position += end;
            match rest.get(end + 1) {
                Some(0) => {
                    self.buffer.push(0xFF);
                    self.position += 2;
                }
                // Any marker may have such bytes before it.
                Some(0xFF) => self.position += 1,
                _ => return,
            }
        }
    }
}
