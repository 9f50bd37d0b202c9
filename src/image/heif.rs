//! HEIF, and AVIF in it (ISO/IEC 23008-12; AV1 Image File Format): a `meta` box tells of items and their properties, a
//! `moov` box of the frames of a sequence.

use super::boxes::{boxes, content};
use super::fields::{Fields, be32};
use super::header::Told;
use crate::record::Measures;

/// What the beginning of a file tells; `is_all` says that no more of it will be looked at.
pub(super) fn look(head: &[u8], is_all: bool) -> Option<Told> {
    let mut told = Told { lacks_data: true, ..Told::default() };
    let (mut is_described, mut has_all) = (false, is_all);
    for found in boxes(head) {
        told.next_box = found.end;
        told.least = found.end.unwrap_or_default();
        match &found.kind {
            // A sequence has one box more before its data.
            b"ftyp" => has_all |= !found.content.chunks_exact(4).any(|brand| SEQUENCES.contains(&brand)),
            b"meta" if found.is_whole && !is_described => {
                is_described = true;
                told.lacks_data &= found.content.get(4..).and_then(|meta| content(meta, *b"idat")).is_none();
                // Version and flags come first.
                if let Some(described) = found.content.get(4..).and_then(picture) {
                    let frames = told.measures.frames;
                    (told.measures, told.exif) = described;
                    told.measures.frames = frames;
                }
            }
            b"moov" if found.is_whole => {
                has_all = true;
                told.measures.frames = sequence(found.content).filter(|frames| *frames > 1);
            }
            b"mdat" => (has_all, told.lacks_data) = (true, false),
            _ => {}
        }
    }
    told.is_partial = !(is_described && has_all);
    (is_all || is_described).then_some(told)
}

/// Brands of files with sequences (AV1 Image File Format, 6.3; ISO/IEC 23008-12, annex B).
const SEQUENCES: [&[u8]; 4] = [b"avis", b"msf1", b"hevc", b"hevx"];

/// The primary item (`pitm`), and where the file's Exif block is.
fn picture(meta: &[u8]) -> Option<(Measures, Option<(u64, u64)>)> {
    let properties = content(meta, *b"iprp")?;
    let all = content(properties, *b"ipco")?;
    let primary = content(meta, *b"pitm").and_then(|pitm| {
        let mut fields = Fields(pitm);
        let version = fields.number(4)? >> 24;
        fields.number(if version == 0 { 2 } else { 4 })
    });
    let places = primary.and_then(|primary| {
        let mut associations = boxes(properties).filter(|found| &found.kind == b"ipma");
        associations.find_map(|found| associated(found.content, primary))
    });
    let mut measures = Measures::default();
    let mut turn = Turn::default();
    for place in places.into_iter().flatten() {
        // They are counted from 1.
        let Some(property) = usize::from(place).checked_sub(1).and_then(|place| boxes(all).nth(place)) else {
            continue;
        };
        match &property.kind {
            b"ispe" => (measures.width, measures.height) = size(property.content),
            b"irot" => turn.rotate(property.content.first().copied().unwrap_or_default() & 3),
            b"imir" => turn.mirror(property.content.first().copied().unwrap_or_default() & 1),
            _ => {}
        }
    }
    if measures.width.is_none() {
        // The largest of all, where it is not told which one it is.
        let sizes = boxes(all).filter(|property| &property.kind == b"ispe").map(|property| size(property.content));
        let largest =
            sizes.max_by_key(|(width, height)| width.map(u64::from).zip(height.map(u64::from)).map(|(w, h)| w * h));
        (measures.width, measures.height) = largest.unwrap_or_default();
    }
    measures.orientation = turn.orientation();
    Some((measures, exif(meta)))
}

fn size(ispe: &[u8]) -> (Option<u32>, Option<u32>) {
    let number = |at| be32(ispe, at).filter(|number| *number > 0);
    (number(4), number(8))
}

/// The properties of an item, by their places in `ipco` (ISO/IEC 23008-12, 9.3).
fn associated(ipma: &[u8], wanted: u64) -> Option<Vec<u16>> {
    let mut fields = Fields(ipma);
    let head = fields.number(4)?;
    let (version, is_wide) = (head >> 24, head & 1 == 1);
    for _ in 0..fields.number(4)? {
        let item = fields.number(if version == 0 { 2 } else { 4 })?;
        let count = fields.number(1)?;
        let places = fields.take(usize::try_from(count).ok()? * if is_wide { 2 } else { 1 })?;
        if item == wanted {
            // The highest bit says whether a reader has to understand it.
            let place = |bytes: &[u8]| match *bytes {
                [high, low] => u16::from_be_bytes([high & 0x7F, low]),
                [place] => u16::from(place & 0x7F),
                _ => 0,
            };
            return Some(places.chunks_exact(if is_wide { 2 } else { 1 }).map(place).collect());
        }
    }
    None
}

/// How the picture is to be turned: first so many quarters against the clock, then mirrored.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    quarters: u8,
    is_mirrored: bool,
}

impl Turn {
    fn rotate(&mut self, quarters: u8) {
        // Turning what is mirrored is mirroring what has been turned the other way.
        let quarters = if self.is_mirrored { 4 - quarters } else { quarters };
        self.quarters = (self.quarters + quarters) % 4;
    }

    /// Axis 0 swaps top and bottom, axis 1 left and right, which is the same upside down.
    fn mirror(&mut self, axis: u8) {
        let more = if axis == 1 { 2 } else { 0 };
        let more = if self.is_mirrored { 4 - more } else { more };
        self.is_mirrored = !self.is_mirrored;
        self.quarters = (self.quarters + more) % 4;
    }

    /// The same as Exif says it.
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

/// Where the file's Exif block is and how long it is, if it lies in one piece: the first item of that type (`iinf`), and
/// its place (`iloc`, ISO/IEC 14496-12, 8.11.3).
fn exif(meta: &[u8]) -> Option<(u64, u64)> {
    let mut items = Fields(content(meta, *b"iinf")?);
    let version = items.number(4)? >> 24;
    items.number(if version == 0 { 2 } else { 4 })?;
    let wanted = boxes(items.0).filter(|found| &found.kind == b"infe").find_map(|found| {
        let mut fields = Fields(found.content);
        let version = fields.number(4)? >> 24;
        let item = fields.number(if version < 3 { 2 } else { 4 })?;
        fields.number(2)?;
        (version >= 2 && fields.take(4)? == b"Exif").then_some(item)
    })?;

    let mut places = Fields(content(meta, *b"iloc")?);
    let version = places.number(4)? >> 24;
    let sizes = places.number(2)?;
    let size = |shift: u32| u8::try_from(sizes >> shift & 15).ok().filter(|size| *size <= 8);
    let (offset_size, length_size, base_size) = (size(12)?, size(8)?, size(4)?);
    let index_size = if version == 0 { 0 } else { size(0)? };
    for _ in 0..places.number(if version < 2 { 2 } else { 4 })? {
        let item = places.number(if version < 2 { 2 } else { 4 })?;
        let method = if version == 0 { 0 } else { places.number(2)? & 15 };
        // Where the data is: 0 is this file.
        let reference = places.number(2)?;
        let base = places.number(base_size)?;
        let extents = places.number(2)?;
        for _ in 0..extents {
            places.number(index_size)?;
            let (offset, length) = (places.number(offset_size)?, places.number(length_size)?);
            if item == wanted {
                return (method == 0 && reference == 0 && extents == 1).then_some((base.checked_add(offset)?, length));
            }
        }
    }
    None
}

/// The frames of a sequence: of its first track of pictures. Transparency has a track of its own.
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
    use super::super::header::sized;
    use super::super::inspector::testing::inspect;
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
    fn the_primary_item_tells_its_size_and_how_it_is_turned() {
        let (rotate, mirror) = (|quarters| boxed(*b"irot", &[quarters]), |axis| boxed(*b"imir", &[axis]));
        // As libavif maps them to Exif; the last two are the same turns the other way round.
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
    fn a_file_that_is_cut_is_refused() {
        let whole = file(&[]);
        for end in 0..whole.len() {
            assert_eq!(inspect(Format::Heic, &whole[..end]), Err("it ends before its data does"), "{end}");
            // The data itself is not looked at.
            let filled = [&whole[..end], &vec![0; whole.len() - end]].concat();
            assert_eq!(inspect(Format::Heic, &filled).is_ok(), end >= whole.len() - 40, "{end}");
        }
        // Boxes behind the first 128 KB count too, and bytes that are none do not.
        let long = [whole, boxed(*b"free", &vec![0; 300_000]), boxed(*b"free", &[0; 30])].concat();
        assert!(inspect(Format::Heic, &long).is_ok());
        assert!(inspect(Format::Heic, &[long.as_slice(), b"\0\0\0\x03more"].concat()).is_ok());
        assert_eq!(inspect(Format::Heic, &long[..long.len() - 1]), Err("it ends before its data does"));
        let wide = [long.as_slice(), b"\0\0\0\x01free\0\0\0\0\0\0\0\x14abc"].concat();
        assert_eq!(inspect(Format::Heic, &wide), Err("it ends before its data does"));
        assert!(inspect(Format::Heic, &[wide.as_slice(), b"d"].concat()).is_ok());
    }

    #[test]
    fn the_largest_size_counts_where_it_is_not_told_which() {
        let whole = file(&[]);
        let at = whole.windows(4).position(|window| window == b"pitm").expect("it is there");
        let without = [&whole[..at], b"free", &whole[at + 4..]].concat();
        assert_eq!(inspect(Format::Avif, &without).map(|found| found.measures), Ok(sized(99, 99)));
    }
}
