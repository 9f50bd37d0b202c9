//! JPEG XL (ISO/IEC 18181): a codestream whose header is a sequence of bits, bare or in boxes.

use super::boxes::boxes;
use super::types::{HeaderInfo, sized};

/// The first bytes of a codestream.
const CODESTREAM_SIGNATURE: &[u8] = b"\xFF\x0A";

/// Bytes of a codestream that hold size and orientation: 2 bytes of signature and at most 85 bits.
const HEADER_BYTES: usize = 16;

/// Parses the beginning of a file; `is_final` says that no more of the file will be parsed.
pub(super) fn parse(head: &[u8], is_final: bool) -> Option<HeaderInfo> {
    if head.starts_with(CODESTREAM_SIGNATURE) {
        return codestream(head);
    }
    let mut boxed = HeaderInfo::default();
    let mut start = Vec::new();
    for found in boxes(head) {
        boxed.next_box = found.end;
        boxed.min_length = found.end.unwrap_or_default();
        let part = match &found.kind {
            b"jxlc" => found.content,
            // A part of the codestream, after its sequence number.
            b"jxlp" => found.content.get(4..).unwrap_or_default(),
            _ => continue,
        };
        start.extend_from_slice(&part[..part.len().min(HEADER_BYTES - start.len())]);
    }
    match codestream(&start) {
        Some(info) => Some(HeaderInfo { measures: info.measures, ..boxed }),
        None => is_final.then_some(boxed),
    }
}

fn codestream(bytes: &[u8]) -> Option<HeaderInfo> {
    let mut bits = BitReader { bytes: bytes.strip_prefix(CODESTREAM_SIGNATURE)?, at: 0 };
    let is_small = bits.flag()?;
    let height = bits.side(is_small)?;
    let width = match bits.number(3)? {
        0 => bits.side(is_small)?,
        ratio => {
            // Ratios of width to height (ISO/IEC 18181-1, annex D.2).
            const RATIOS: [(u64, u64); 7] = [(1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1)];
            let (wide, high) = RATIOS[usize::try_from(ratio - 1).ok()?];
            u32::try_from(u64::from(height) * wide / high).ok()?
        }
    };
    let mut measures = sized(width, height);
    // `all_default`, and then `extra_fields`, without which the orientation is 1.
    let is_plain = bits.flag()?;
    if !is_plain && bits.flag()? {
        measures.orientation = u8::try_from(bits.number(3)? + 1).ok().filter(|orientation| *orientation > 1);
    }
    Some(HeaderInfo { measures, ..HeaderInfo::default() })
}

/// Reads bits, the lowest of each byte first.
struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    fn number(&mut self, bits: u32) -> Option<u32> {
        (0..bits).try_fold(0, |number, bit| Some(number | u32::from(self.flag()?) << bit))
    }

    /// Width or height in pixels: a multiple of 8 in small images.
    fn side(&mut self, is_small: bool) -> Option<u32> {
        if is_small {
            return Some((self.number(5)? + 1) * 8);
        }
        let bits = [9, 13, 18, 30][usize::try_from(self.number(2)?).ok()?];
        Some(self.number(bits)? + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers with their lengths in bits; the expected width, height and orientation.
    type JxlCase<'a> = (&'a [(u32, u32)], u32, u32, Option<u8>);

    /// A codestream of these numbers, each with its length in bits.
    fn codestream_of(numbers: &[(u32, u32)]) -> Vec<u8> {
        let bits = numbers.iter().flat_map(|(number, bits)| (0..*bits).map(move |bit| number >> bit & 1 == 1));
        let bits = bits.collect::<Vec<_>>();
        let bytes = bits.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit)));
        CODESTREAM_SIGNATURE.iter().copied().chain(bytes).collect()
    }

    #[test]
    fn sizes_and_orientation_are_read_bit_by_bit() {
        let table: [JxlCase; 5] = [
            // Small, 3 x 8 high, as wide as high, all defaults.
            (&[(1, 1), (2, 5), (1, 3), (1, 1)], 24, 24, None),
            (&[(1, 1), (2, 5), (0, 3), (31, 5), (1, 1)], 256, 24, None),
            // 1080 pixels high, 16:9.
            (&[(0, 1), (1, 2), (1079, 13), (5, 3), (0, 1), (0, 1)], 1920, 1080, None),
            (
                &[(0, 1), (0, 2), (99, 9), (0, 3), (3, 2), (999_999, 30), (0, 1), (1, 1), (5, 3)],
                1_000_000,
                100,
                Some(6),
            ),
            (&[(0, 1), (0, 2), (99, 9), (2, 3), (0, 1), (1, 1), (0, 3)], 120, 100, None),
        ];
        for (numbers, width, height, orientation) in table {
            let file = codestream_of(numbers);
            let measures = parse(&file, true).expect("a size").measures;
            assert_eq!((measures.width, measures.height), (Some(width), Some(height)));
            assert_eq!(measures.orientation, orientation, "{width} x {height}");
            let cut = codestream(&file[..file.len() - 1]);
            assert!(cut.is_none(), "{cut:?}");
        }
    }
}
