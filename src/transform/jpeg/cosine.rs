//! The inverse discrete cosine transform (ITU-T T.81, section A.3.3), at full size and reduced.
//!
//! A block of 8 x 8 coefficients can be turned into 8, 4, 2 pixels or 1 in each direction: the lower frequencies are
//! exactly those of the smaller picture. Everything is computed in single precision, eight or four columns at once, in
//! loops that the compiler makes vectors of.

use super::huffman::LAST;

/// What coefficients are multiplied with, and where they go.
pub struct Scaling<const N: usize> {
    /// By position in the block of `N` x `N`, columns first: the step of quantisation and the constants of the transform.
    factors: [[f32; N]; N],
}

impl<const N: usize> Scaling<N> {
    /// For a quantisation table in the order of the file.
    pub fn new(steps: &[u16; 64]) -> Self {
        let mut factors = [[0.0; N]; N];
        for (step, natural) in steps.iter().zip(ZIGZAG) {
            let (row, column) = (usize::from(natural / 8), usize::from(natural % 8));
            if row < N && column < N {
                factors[column][row] = f32::from(*step) * scale::<N>(row) * scale::<N>(column);
            }
        }
        Self { factors }
    }

    /// The pixels of a line of blocks, from their coefficients as [`places`] puts them.
    pub fn line(&self, blocks: &[[i16; 64]], pixels: &mut [u8]) {
        // For the widest instructions that the processor has.
        pulp::Arch::new().dispatch(Line { scaling: self, blocks, pixels });
    }

    #[inline(always)]
    fn block(&self, coefficients: &[i16; 64]) -> [[u8; N]; N] {
        let mut columns = [[0.0; N]; N];
        for ((column, factors), coefficients) in columns.iter_mut().zip(&self.factors).zip(coefficients.chunks_exact(N))
        {
            for ((value, factor), coefficient) in column.iter_mut().zip(factors).zip(coefficients) {
                *value = f32::from(*coefficient) * factor;
            }
        }
        let rows = inverse(transposed(inverse(columns)));
        let mut pixels = [[0; N]; N];
        for (pixels, row) in pixels.iter_mut().zip(&rows) {
            for (to, value) in pixels.iter_mut().zip(row) {
                *to = pixel(*value);
            }
        }
        pixels
    }
}

struct Line<'a, const N: usize> {
    scaling: &'a Scaling<N>,
    blocks: &'a [[i16; 64]],
    pixels: &'a mut [u8],
}

impl<const N: usize> pulp::NullaryFnOnce for Line<'_, N> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let stride = self.blocks.len() * N;
        for (index, block) in self.blocks.iter().enumerate() {
            let pixels = self.scaling.block(block);
            for (line, pixels) in self.pixels.chunks_exact_mut(stride).zip(&pixels) {
                if let Some(line) = line.get_mut(index * N..).and_then(<[u8]>::first_chunk_mut) {
                    *line = *pixels;
                }
            }
        }
    }
}

/// A sample as a pixel, rounded: the lowest bits of a number this large are whole ones.
#[inline(always)]
fn pixel(value: f32) -> u8 {
    const WHOLE: f32 = 12_582_912.0;
    let rounded = (value + (WHOLE + 128.0)).to_bits().cast_signed() - WHOLE.to_bits().cast_signed();
    rounded.clamp(0, 255) as u8
}

#[inline(always)]
fn transposed<const N: usize>(block: [[f32; N]; N]) -> [[f32; N]; N] {
    let mut other = [[0.0; N]; N];
    for (row, values) in block.iter().enumerate() {
        for (column, value) in values.iter().enumerate() {
            other[column][row] = *value;
        }
    }
    other
}

/// Of the scaling of each coefficient, what belongs to one direction.
fn scale<const N: usize>(frequency: usize) -> f32 {
    use std::f64::consts::{FRAC_1_SQRT_2, PI};
    let plain = if frequency == 0 { 0.5 * FRAC_1_SQRT_2 } else { 0.5 };
    let folded = match (N, frequency) {
        // The transform of eight is that of Arai, Agui and Nakajima, which leaves all but five multiplications to us.
        (8, 1..) => (frequency as f64 * PI / 16.0).cos(),
        (4, 2) | (2, 1) => FRAC_1_SQRT_2,
        _ => 1.0,
    };
    (plain * folded) as f32
}

/// One direction, of all lines at once: `lines[k][i]` is the k-th value of line i.
#[inline(always)]
fn inverse<const N: usize>(lines: [[f32; N]; N]) -> [[f32; N]; N] {
    let mut out = lines;
    match N {
        8 => {
            let [a, b, c, d, e, f, g, h] =
                [lines[0], lines[1], lines[2], lines[3], lines[4], lines[5], lines[6], lines[7]];
            // Even frequencies ...
            let (sum, difference) = (add(a, e), sub(a, e));
            let outer = add(c, g);
            let inner = sub(times(sub(c, g), 1.414_213_6), outer);
            let even = [add(sum, outer), add(difference, inner), sub(difference, inner), sub(sum, outer)];
            // ... and odd ones.
            let (z13, z10) = (add(f, d), sub(f, d));
            let (z11, z12) = (add(b, h), sub(b, h));
            let odd7 = add(z11, z13);
            let middle = times(sub(z11, z13), 1.414_213_6);
            let z5 = times(add(z10, z12), 1.847_759_1);
            let odd6 = sub(sub(z5, times(z10, 2.613_126)), odd7);
            let odd5 = sub(middle, odd6);
            let odd4 = sub(sub(z5, times(z12, 1.082_392_2)), odd5);
            let odd = [odd7, odd6, odd5, odd4];
            for k in 0..4 {
                out[k] = add(even[k], odd[k]);
                out[7 - k] = sub(even[k], odd[k]);
            }
        }
        4 => {
            let [a, b, c, d] = [lines[0], lines[1], lines[2], lines[3]];
            let (even, other) = (add(a, c), sub(a, c));
            let odd = add(times(b, 0.923_879_5), times(d, 0.382_683_43));
            let rest = sub(times(b, 0.382_683_43), times(d, 0.923_879_5));
            (out[0], out[1], out[2], out[3]) = (add(even, odd), add(other, rest), sub(other, rest), sub(even, odd));
        }
        2 => (out[0], out[1]) = (add(lines[0], lines[1]), sub(lines[0], lines[1])),
        _ => {}
    }
    out
}

#[inline(always)]
fn add<const N: usize>(mut a: [f32; N], b: [f32; N]) -> [f32; N] {
    for (a, b) in a.iter_mut().zip(&b) {
        *a += b;
    }
    a
}

#[inline(always)]
fn sub<const N: usize>(mut a: [f32; N], b: [f32; N]) -> [f32; N] {
    for (a, b) in a.iter_mut().zip(&b) {
        *a -= b;
    }
    a
}

#[inline(always)]
fn times<const N: usize>(mut a: [f32; N], factor: f32) -> [f32; N] {
    for a in &mut a {
        *a *= factor;
    }
    a
}

/// By position in the file: row times eight and column (T.81, figure A.6).
pub const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// By position in the file: where a coefficient goes in a block of `N` x `N`, columns first, followed by a place for those
/// that are not needed. Positions beyond the block lead there too.
pub const fn places<const N: usize>() -> [u8; 512] {
    let nowhere = if N == 8 { 63 } else { (N * N) as u8 };
    let mut places = [nowhere; 512];
    let mut position = 0;
    while position < 64 {
        let (row, column) = ((ZIGZAG[position] / 8) as usize, (ZIGZAG[position] % 8) as usize);
        if row < N && column < N {
            places[position] = (column * N + row) as u8;
            places[LAST as usize + position] = places[position];
        }
        position += 1;
    }
    places
}
