//! The largest picture of an icon or a cursor, and its transparency.
//!
//! A picture of 32 bits per pixel has opacity of its own, and then its mask does not count. If its opacity is 0
//! everywhere, the picture was drawn without, and its mask counts, as it does for pictures of fewer bits. Chromium,
//! Firefox and Windows do so; `IcoDecoder` of image 0.25.10 lets both count, which makes such pictures vanish.

/// Bytes of the header that lists one picture.
const DIRECTORY_BYTES: usize = 22;

/// The bytes of the largest picture, of the deepest one where several are as large.
pub fn largest(bytes: &[u8]) -> Option<&[u8]> {
    let count = u16::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let side = |byte: u8| u32::from(byte.wrapping_sub(1)) + 1;
    let entries = bytes.get(6..)?.chunks_exact(16).take(count.into());
    let largest = entries.rev().max_by_key(|entry| {
        let depth = picture(bytes, entry).and_then(|picture| u16_at(picture, 14)).unwrap_or(0);
        (side(entry[0]) * side(entry[1]), depth)
    })?;
    picture(bytes, largest)
}

fn picture<'a>(bytes: &'a [u8], entry: &[u8]) -> Option<&'a [u8]> {
    let (length, start) = (usize::try_from(u32_at(entry, 8)?).ok()?, usize::try_from(u32_at(entry, 12)?).ok()?);
    bytes.get(start..start.checked_add(length)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A bitmap of an icon.
pub struct Bitmap<'a> {
    /// An icon with this picture alone and without its mask, which `IcoDecoder` takes.
    pub icon: Vec<u8>,
    has_own_alpha: bool,
    width: usize,
    mask: Option<&'a [u8]>,
}

impl<'a> Bitmap<'a> {
    /// The bitmap in an icon; `None` if it is of a kind that is left to the decoder.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        const CORE_HEADER_BYTES: usize = 12;
        const INFO_HEADER_BYTES: usize = 40;
        const BIT_FIELDS: u32 = 3;
        let picture = largest(bytes)?;
        let header = usize::try_from(u32_at(picture, 0)?).ok()?;
        let width = u32_at(picture, 4)?;
        // Of both the picture and the mask.
        let height = i32::try_from(u32_at(picture, 8)?).ok()?.unsigned_abs() / 2;
        let (depth, compression) = (u16_at(picture, 14)?, u32_at(picture, 16)?);
        let is_known = header > CORE_HEADER_BYTES && matches!(compression, 0 | BIT_FIELDS);
        if !is_known || !(1..=1024).contains(&width) || !(1..=1024).contains(&height) {
            return None;
        }
        let colours = match (depth, usize::try_from(u32_at(picture, 32)?).ok()?) {
            (..=8, 0) => 1 << depth,
            (..=8, colours) => colours,
            _ => 0,
        };
        let fields = if header == INFO_HEADER_BYTES && compression == BIT_FIELDS { 12 } else { 0 };
        let (width, height) = (width as usize, height as usize);
        let row = (width * usize::from(depth)).div_ceil(32) * 4;
        let end = header.checked_add(fields)?.checked_add(colours.checked_mul(4)?)?.checked_add(row * height)?;
        let (pixels, rest) = picture.split_at_checked(end)?;
        let mask = rest.get(..width.div_ceil(32) * 4 * height);
        let side = |side: usize| u8::try_from(side).unwrap_or(0);
        let length = u32::try_from(end).ok()?.to_le_bytes();
        let mut icon = vec![0, 0, 1, 0, 1, 0, side(width), side(height), 0, 0, 1, 0];
        icon.extend(depth.to_le_bytes());
        icon.extend(length);
        icon.extend(u32::try_from(DIRECTORY_BYTES).ok()?.to_le_bytes());
        icon.extend(pixels);
        Some(Self { icon, has_own_alpha: depth == 32, width, mask })
    }

    /// Gives decoded pixels of four values the opacity that they are shown with.
    pub fn apply_mask(&self, pixels: &mut [u8]) {
        if self.has_own_alpha && pixels.iter().skip(3).step_by(4).any(|alpha| *alpha != 0) {
            return;
        }
        pixels.iter_mut().skip(3).step_by(4).for_each(|alpha| *alpha = 255);
        let Some(mask) = self.mask else { return };
        // The rows of the mask come from below, padded to four bytes.
        let mask_rows = mask.chunks_exact(self.width.div_ceil(32) * 4).rev();
        for (row, mask) in pixels.chunks_exact_mut(self.width * 4).zip(mask_rows) {
            for (at, pixel) in row.chunks_exact_mut(4).enumerate() {
                if mask[at / 8] & (0x80 >> (at % 8)) != 0 {
                    pixel[3] = 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pixel_buffer::Colour;
    use super::super::{Limits, decode};
    use crate::record::Format;

    /// A bitmap of 2 x 2 pixels, with a mask that hides the pixel below on the left.
    fn bitmap(depth: u16, rows: &[u8], mask: &[u8]) -> Vec<u8> {
        let mut bytes = [40_u32, 2, 4].map(u32::to_le_bytes).concat();
        bytes.extend([1, 0]);
        bytes.extend(depth.to_le_bytes());
        bytes.resize(40, 0);
        [bytes.as_slice(), rows, mask].concat()
    }

    fn icon(kind: u8, pictures: &[(&[u8], [u16; 2])]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, 0, u8::try_from(pictures.len()).expect("few"), 0];
        let mut start = 6 + 16 * pictures.len();
        for (picture, spot) in pictures {
            bytes.extend([picture[4], picture[8] / 2, 0, 0]);
            bytes.extend(spot.map(u16::to_le_bytes).concat());
            bytes.extend(
                [picture.len(), start].map(|number| u32::try_from(number).expect("small").to_le_bytes()).concat(),
            );
            start += picture.len();
        }
        bytes.extend(pictures.iter().flat_map(|(picture, _)| *picture));
        bytes
    }

    #[track_caller]
    fn opacity(icon: &[u8]) -> Vec<u8> {
        let opened = decode::open(icon, Format::Ico, &Limits::default()).expect("a header");
        let picture = opened.decode(None).expect("a picture");
        assert_eq!((picture.width, picture.height), (2, 2));
        if picture.colour == Colour::Rgbx {
            return vec![255; 4];
        }
        picture.data.iter().skip(3).step_by(4).copied().collect()
    }

    /// The left pixel of the row below.
    const MASK: &[u8] = &[0x80, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn the_mask_counts_unless_the_picture_has_opacity_of_its_own() {
        // Rows come from below. What Chromium and Firefox show.
        let clear = [1, 2, 3, 0].repeat(4);
        let own = [[1, 2, 3, 0].repeat(3), vec![1, 2, 3, 90]].concat();
        let three = [[1, 2, 3, 1, 2, 3, 0, 0], [1, 2, 3, 1, 2, 3, 0, 0]].concat();
        let one_bit = [&[0, 0, 0, 0, 9, 9, 9, 0][..], &[0x40, 0, 0, 0, 0x40, 0, 0, 0]].concat();
        let table = [
            (32, &*clear, MASK, [255, 255, 0, 255]),
            (32, &clear, &[], [255; 4]),
            (32, &own, MASK, [0, 90, 0, 0]),
            (32, &own, &[], [0, 90, 0, 0]),
            (24, &three, MASK, [255, 255, 0, 255]),
            (1, &one_bit, MASK, [255, 255, 0, 255]),
        ];
        for (depth, rows, mask, expected) in table {
            let picture = bitmap(depth, rows, mask);
            assert_eq!(opacity(&icon(1, &[(&picture, [1, depth])])), expected, "{depth} bits, {mask:?}");
            // The place of the hot spot stands where an icon has planes and depth.
            assert_eq!(opacity(&icon(2, &[(&picture, [300, 400])])), expected, "{depth} bits, a cursor");
        }
    }

    #[test]
    fn the_largest_picture_is_taken_and_of_these_the_deepest() {
        let deep = bitmap(32, &[1, 2, 3, 50].repeat(4), MASK);
        let shallow = bitmap(24, &[1, 2, 3, 1, 2, 3, 0, 0].repeat(2), MASK);
        let mut small = [40_u32, 1, 2].map(u32::to_le_bytes).concat();
        small.extend([1, 0, 32, 0]);
        small.resize(40 + 4 + 4, 0);
        for order in [[&deep, &shallow, &small], [&small, &shallow, &deep], [&shallow, &deep, &small]] {
            let pictures = order.map(|picture| (picture.as_slice(), [1, 32]));
            assert_eq!(opacity(&icon(1, &pictures)), [50; 4]);
        }
    }

    #[test]
    fn a_cut_icon_is_an_error() {
        let whole = icon(1, &[(&bitmap(32, &[1, 2, 3, 0].repeat(4), MASK), [1, 32])]);
        for end in 0..whole.len() - MASK.len() {
            let opened = decode::open(&whole[..end], Format::Ico, &Limits::default());
            assert!(opened.and_then(|opened| opened.decode(None)).is_err(), "cut at {end}");
        }
    }
}
