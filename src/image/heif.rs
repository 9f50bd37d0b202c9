//! HEIF, and AVIF in it (ISO/IEC 23008-12; AV1 Image File Format): a `meta` box describes items and their properties, a
//! `moov` box the frames of a sequence.

use super::boxes::{boxes, content};
use super::integers::{BigEndianReader, be32};
use super::types::HeaderInfo;
use crate::record::Measures;

/// Parses the beginning of a file; `is_final` says that no more of the file will be parsed.
pub(super) fn parse(head: &[u8], is_final: bool) -> Option<HeaderInfo> {
    let mut info = HeaderInfo { lacks_data: true, ..HeaderInfo::default() };
    let (mut is_described, mut has_all) = (false, is_final);
    for found in boxes(head) {
        info.next_box = found.end;
        info.min_length = found.end.unwrap_or_default();
        match &found.kind {
            // A sequence has one more box before its data.
            b"ftyp" => has_all |= !found.content.chunks_exact(4).any(|brand| SEQUENCES.contains(&brand)),
            b"meta" if found.is_whole && !is_described => {
                is_described = true;
                info.lacks_data &= found.content.get(4..).and_then(|meta| content(meta, *b"idat")).is_none();
                // Version and flags come first.
                if let Some(described) = found.content.get(4..).and_then(picture) {
                    let frames = info.measures.frames;
                    (info.measures, info.exif) = described;
                    info.measures.frames = frames;
                }
            }
            b"moov" if found.is_whole => {
                has_all = true;
                info.measures.frames = sequence(found.content).filter(|frames| *frames > 1);
            }
            b"mdat" => (has_all, info.lacks_data) = (true, false),
            _ => {}
        }
    }
    info.is_partial = !(is_described && has_all);
    (is_final || is_described).then_some(info)
}

/// Brands of files with sequences (AV1 Image File Format, 6.3; ISO/IEC 23008-12, annex B).
const SEQUENCES: [&[u8]; 4] = [b"avis", b"msf1", b"hevc", b"hevx"];

/// Measures of the primary item (`pitm`), and offset and length of the file's Exif block.
fn picture(meta: &[u8]) -> Option<(Measures, Option<(u64, u64)>)> {
    let properties = content(meta, *b"iprp")?;
    let all = content(properties, *b"ipco")?;
    let primary = content(meta, *b"pitm").and_then(|pitm| {
        let mut fields = BigEndianReader(pitm);
        let version = fields.number(4)? >> 24;
        fields.number(if version == 0 { 2 } else { 4 })
    });
    let indices = primary.and_then(|primary| {
        let mut associations = boxes(properties).filter(|found| &found.kind == b"ipma");
        associations.find_map(|found| property_indices(found.content, primary))
    });
    let mut measures = Measures::default();
    let mut transform = DisplayTransform::default();
    let mut aperture = None;
    for index in indices.into_iter().flatten() {
        // Property indices start at 1.
        let Some(property) = usize::from(index).checked_sub(1).and_then(|index| boxes(all).nth(index)) else {
            continue;
        };
        match &property.kind {
            b"ispe" => (measures.width, measures.height) = size(property.content),
            b"clap" => aperture = Some(property.content),
            b"irot" => transform.rotate(property.content.first().copied().unwrap_or_default() & 3),
            b"imir" => transform.mirror(property.content.first().copied().unwrap_or_default() & 1),
            _ => {}
        }
    }
    if measures.width.is_none() {
        // The largest size of all, if the primary item is not known.
        let sizes = boxes(all).filter(|property| &property.kind == b"ispe").map(|property| size(property.content));
        let largest =
            sizes.max_by_key(|(width, height)| width.map(u64::from).zip(height.map(u64::from)).map(|(w, h)| w * h));
        (measures.width, measures.height) = largest.unwrap_or_default();
    }
    if let Some(aperture) = aperture
        && let Some(size) = measures.width.zip(measures.height)
        && let Some((width, height)) = clean_aperture(aperture, size)
    {
        (measures.width, measures.height) = (Some(width), Some(height));
    }
    measures.orientation = transform.orientation();
    Some((measures, exif_location(meta)))
}

fn size(ispe: &[u8]) -> (Option<u32>, Option<u32>) {
    let number = |at| be32(ispe, at).filter(|number| *number > 0);
    (number(4), number(8))
}

/// Width and height of the part of a picture that is shown (ISO/IEC 14496-12, 12.1.4; ISO/IEC 23000-22, 7.3.6.7);
/// `None` if the values describe no whole pixels within the picture, as libavif has it.
fn clean_aperture(clap: &[u8], (width, height): (u32, u32)) -> Option<(u32, u32)> {
    // A numerator and a denominator each: width, height, and the distances between the middles.
    let side = |at: usize, stored: u32| {
        let number = |at| be32(clap, at).map(i128::from);
        let (shown, of, middle_of) = (number(at)?, number(at + 4)?, number(at + 20)?);
        let middle = i128::from(be32(clap, at + 16)?.cast_signed());
        if of == 0 || middle_of == 0 || shown % of != 0 {
            return None;
        }
        let shown = shown / of;
        let gap = i128::from(stored) - shown;
        // Twice the distance from the left or upper edge.
        let start = gap * middle_of + 2 * middle;
        let is_within = start % (2 * middle_of) == 0 && (0..=2 * gap * middle_of).contains(&start);
        u32::try_from(shown).ok().filter(|shown| is_within && *shown > 0)
    };
    side(0, width).zip(side(8, height))
}

/// Indices in `ipco` of the properties of an item, counted from 1 (ISO/IEC 23008-12, 9.3).
fn property_indices(ipma: &[u8], wanted: u64) -> Option<Vec<u16>> {
    let mut fields = BigEndianReader(ipma);
    let head = fields.number(4)?;
    let (version, is_wide) = (head >> 24, head & 1 == 1);
    for _ in 0..fields.number(4)? {
        let item = fields.number(if version == 0 { 2 } else { 4 })?;
        let count = fields.number(1)?;
        let indices = fields.take(usize::try_from(count).ok()? * if is_wide { 2 } else { 1 })?;
        if item == wanted {
            // The highest bit says whether the property is essential.
            let index = |bytes: &[u8]| match *bytes {
                [high, low] => u16::from_be_bytes([high & 0x7F, low]),
                [low] => u16::from(low & 0x7F),
                _ => 0,
            };
            return Some(indices.chunks_exact(if is_wide { 2 } else { 1 }).map(index).collect());
        }
    }
    None
}

/// How a picture is to be displayed: rotated anticlockwise by quarter turns, then mirrored top to bottom.
#[derive(Clone, Copy, Debug, Default)]
struct DisplayTransform {
    quarters: u8,
    is_mirrored: bool,
}

impl DisplayTransform {
    fn rotate(&mut self, quarters: u8) {
        // Rotating a mirrored picture equals mirroring a picture rotated the other way.
        let quarters = if self.is_mirrored { 4 - quarters } else { quarters };
        self.quarters = (self.quarters + quarters) % 4;
    }

    /// Axis 0 swaps top and bottom. Axis 1 swaps left and right, which is the same and half a turn.
    fn mirror(&mut self, axis: u8) {
        let more = if axis == 1 { 2 } else { 0 };
        let more = if self.is_mirrored { 4 - more } else { more };
        self.is_mirrored = !self.is_mirrored;
        self.quarters = (self.quarters + more) % 4;
    }

    /// The Exif orientation, from 2 to 8; `None` if upright.
    fn orientation(self) -> Option<u8> {
        match (self.is_mirrored, self.quarters) {
            (false, 0) => None,
            (false, 1) => Some(8),
            (false, 2) => Some(3),
            (false, _) => Some(6),
            (true, 0) => Some(4),
            (true, 1) => Some(5),
            (true, 2) => Some(2),
            (true, _) => Some(7),
        }
    }
}

/// Offset and length of the file's Exif block, if it lies in one piece: the first item of that type (`iinf`) and its
/// location (`iloc`, ISO/IEC 14496-12, 8.11.3).
fn exif_location(meta: &[u8]) -> Option<(u64, u64)> {
    let mut items = BigEndianReader(content(meta, *b"iinf")?);
    let version = items.number(4)? >> 24;
    items.number(if version == 0 { 2 } else { 4 })?;
    let wanted = boxes(items.0).filter(|found| &found.kind == b"infe").find_map(|found| {
        let mut fields = BigEndianReader(found.content);
        let version = fields.number(4)? >> 24;
        let item = fields.number(if version < 3 { 2 } else { 4 })?;
        fields.number(2)?;
        (version >= 2 && fields.take(4)? == b"Exif").then_some(item)
    })?;

    let mut locations = BigEndianReader(content(meta, *b"iloc")?);
    let version = locations.number(4)? >> 24;
    let sizes = locations.number(2)?;
    let size = |shift: u32| u8::try_from(sizes >> shift & 15).ok().filter(|size| *size <= 8);
    let (offset_size, length_size, base_size) = (size(12)?, size(8)?, size(4)?);
    let index_size = if version == 0 { 0 } else { size(0)? };
    for _ in 0..locations.number(if version < 2 { 2 } else { 4 })? {
        let item = locations.number(if version < 2 { 2 } else { 4 })?;
        let method = if version == 0 { 0 } else { locations.number(2)? & 15 };
        // Data reference: 0 means this file.
        let reference = locations.number(2)?;
        let base = locations.number(base_size)?;
        let extents = locations.number(2)?;
        for _ in 0..extents {
            locations.number(index_size)?;
            let (offset, length) = (locations.number(offset_size)?, locations.number(length_size)?);
            if item == wanted {
                return (method == 0 && reference == 0 && extents == 1).then_some((base.checked_add(offset)?, length));
            }
        }
    }
    None
}

/// Number of frames of a sequence: those of its first picture track. Transparency has a track of its own.
fn sequence(moov: &[u8]) -> Option<u32> {
    boxes(moov).filter(|found| &found.kind == b"trak").find_map(|track| {
        let media = content(track.content, *b"mdia")?;
        let handler = content(media, *b"hdlr")?;
        if !matches!(handler.get(8..12)?, b"pict" | b"vide") {
            return None;
        }
        let samples = content(content(media, *b"minf")?, *b"stbl")?;
        be32(content(samples, *b"stsz")?, 8)
    })
}

#[cfg(test)]
mod tests {
    use super::super::inspector::testing::inspect;
    use super::super::types::sized;
    use super::*;
    use crate::record::Format;

    fn boxed(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len() + 8).expect("a short one").to_be_bytes();
        [length.as_slice(), &kind, content].concat()
    }

    /// A file whose primary item, the second one, has these properties besides its size.
    fn file(more: &[Vec<u8>]) -> Vec<u8> {
        let size = |width, height| boxed(*b"ispe", &[0, 0, 0, 0, 0, 0, 0, width, 0, 0, 0, height]);
        let places = (2..more.len() + 3).map(|place| u8::try_from(place).expect("a few")).collect::<Vec<_>>();
        let count = u8::try_from(places.len()).expect("a few");
        let ipma = [&[0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 1, 1, 0, 2, count], places.as_slice()].concat();
        let ipco = [size(99, 99), size(10, 20), more.concat()].concat();
        let iprp = [boxed(*b"ipco", &ipco), boxed(*b"ipma", &ipma)].concat();
        let meta = [vec![0; 4], boxed(*b"pitm", &[0, 0, 0, 0, 0, 2]), boxed(*b"iprp", &iprp)].concat();
        [boxed(*b"ftyp", b"avif\0\0\0\0mif1"), boxed(*b"meta", &meta), boxed(*b"mdat", &[7; 40])].concat()
    }

    #[test]
    fn size_and_orientation_of_the_primary_item_are_read() {
        let (rotate, mirror) = (|quarters| boxed(*b"irot", &[quarters]), |axis| boxed(*b"imir", &[axis]));
        // The first eight as libavif maps them to Exif.
        let table: [(&[Vec<u8>], Option<u8>); 12] = [
            (&[], None),
            (&[mirror(1)], Some(2)),
            (&[rotate(2)], Some(3)),
            (&[mirror(0)], Some(4)),
            (&[rotate(1), mirror(0)], Some(5)),
            (&[rotate(3)], Some(6)),
            (&[rotate(3), mirror(0)], Some(7)),
            (&[rotate(1)], Some(8)),
            (&[rotate(2), mirror(0)], Some(2)),
            (&[rotate(1), mirror(1)], Some(7)),
            (&[mirror(0), rotate(3)], Some(5)),
            (&[mirror(0), mirror(1)], Some(3)),
        ];
        for (properties, orientation) in table {
            let expected = Measures { orientation, ..sized(10, 20) };
            assert_eq!(inspect(Format::Avif, &file(properties)).map(|found| found.measures), Ok(expected));
        }
    }

    #[test]
    fn a_clean_aperture_is_the_size_if_it_lies_within_the_picture() {
        let clap = |numbers: [i32; 8]| boxed(*b"clap", &numbers.map(i32::to_be_bytes).concat());
        // As avifdec (libavif 0.11.1) takes or refuses them; of those that it takes, heif-convert (libheif 1.15.1) makes
        // pictures of these sizes.
        let table = [
            ([6, 1, 12, 1, 0, 1, 0, 1], (6, 12)),
            ([12, 2, 36, 3, 0, 1, 0, 1], (6, 12)),
            ([6, 1, 12, 1, -2, 1, 4, 1], (6, 12)),
            ([9, 1, 19, 1, 1, 2, -1, 2], (9, 19)),
            ([10, 1, 20, 1, 0, 7, 0, 7], (10, 20)),
            ([6, 1, 12, 1, 3, 1, 0, 1], (10, 20)),
            ([6, 1, 12, 1, 0, 1, -5, 1], (10, 20)),
            ([9, 1, 20, 1, 0, 1, 0, 1], (10, 20)),
            ([12, 1, 12, 1, 0, 1, 0, 1], (10, 20)),
            ([13, 2, 12, 1, 0, 1, 0, 1], (10, 20)),
            ([6, 0, 12, 1, 0, 1, 0, 1], (10, 20)),
            ([6, 1, 12, 1, 0, 0, 0, 1], (10, 20)),
            ([0, 1, 12, 1, 0, 1, 0, 1], (10, 20)),
            ([-1, -1, -1, -1, -1, -1, i32::MIN, -1], (10, 20)),
        ];
        for (numbers, (width, height)) in table {
            let measures = inspect(Format::Avif, &file(&[clap(numbers)])).map(|found| found.measures);
            assert_eq!(measures, Ok(sized(width, height)), "{numbers:?}");
            let turned = inspect(Format::Heic, &file(&[clap(numbers), boxed(*b"irot", &[1])]));
            let expected = Measures { orientation: Some(8), ..sized(width, height) };
            assert_eq!(turned.map(|found| found.measures), Ok(expected), "{numbers:?}");
        }
        let short = boxed(*b"clap", &[0, 0, 0, 6, 0, 0, 0, 1]);
        assert_eq!(inspect(Format::Avif, &file(&[short])).map(|found| found.measures), Ok(sized(10, 20)));
    }

    #[test]
    fn a_file_that_is_cut_is_refused() {
        let whole = file(&[]);
        for end in 0..whole.len() {
            assert_eq!(inspect(Format::Heic, &whole[..end]), Err("it ends before its data does"), "{end}");
            // The data itself is not parsed.
            let filled = [&whole[..end], &vec![0; whole.len() - end]].concat();
            assert_eq!(inspect(Format::Heic, &filled).is_ok(), end >= whole.len() - 40, "{end}");
        }
        // Boxes behind the first 128 KB count too; trailing bytes that are no boxes do not.
        let long = [whole, boxed(*b"free", &vec![0; 300_000]), boxed(*b"free", &[0; 30])].concat();
        assert!(inspect(Format::Heic, &long).is_ok());
        assert!(inspect(Format::Heic, &[long.as_slice(), b"\0\0\0\x03more"].concat()).is_ok());
        assert_eq!(inspect(Format::Heic, &long[..long.len() - 1]), Err("it ends before its data does"));
        let wide = [long.as_slice(), b"\0\0\0\x01free\0\0\0\0\0\0\0\x14abc"].concat();
        assert_eq!(inspect(Format::Heic, &wide), Err("it ends before its data does"));
        assert!(inspect(Format::Heic, &[wide.as_slice(), b"d"].concat()).is_ok());
    }

    #[test]
    fn the_largest_size_counts_where_the_primary_item_is_not_named() {
        let whole = file(&[]);
        let at = whole.windows(4).position(|window| window == b"pitm").expect("it is there");
        let without = [&whole[..at], b"free", &whole[at + 4..]].concat();
        assert_eq!(inspect(Format::Avif, &without).map(|found| found.measures), Ok(sized(99, 99)));
    }
}
