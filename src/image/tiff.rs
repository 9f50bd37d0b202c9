//! TIFF 6.0 and `BigTIFF`. The image file directories (IFDs) may lie anywhere, mostly at the end, so they are read from
//! the stored file when it is complete.

use std::io::{Read, Seek};

use super::exif;
use super::ifd::{Ifd, IfdError, IfdReader, IfdValue};
use super::raw::{self, RawPhoto};
use super::types::{CorruptImage, InspectError, InspectOptions, Inspection};
use crate::record::{Format, Measures};

// Tags (TIFF 6.0, appendix A).
const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
/// Tags of offsets and of lengths of the image data, in strips or in tiles.
const DATA_TAGS: [(u16, u16); 2] = [(273, 279), (324, 325)];

/// Bits of `NewSubfileType` that mark a smaller version or the mask of another picture.
const NOT_A_PAGE: u64 = 1 | 4;

/// The most pages that are counted; each takes three small reads.
const MAX_PAGES: u32 = 10_000;

/// Inspects a file of `length` bytes, whose first bytes say that it has this format.
pub(super) fn inspect<R: Read + Seek>(
    source: R,
    length: u64,
    format: Format,
    options: InspectOptions,
) -> Result<Inspection, InspectError> {
    let parse = || {
        let (mut reader, at) = IfdReader::open(source)?;
        let first = reader.ifd(at)?;
        if let Some(photo) = raw::photo(&mut reader, at, format)? {
            return inspect_raw(&mut reader, &first, &photo, (length, options));
        }
        let number = |number| u32::try_from(number).ok().filter(|number| *number > 0);
        let (width, height) = (number(reader.integer(&first, WIDTH)?), number(reader.integer(&first, HEIGHT)?));
        let (pages, are_whole) = pages(&mut reader, at)?;
        let frames = Some(pages).filter(|pages| *pages > 1);
        let orientation = exif::orientation(&mut reader, &first);
        let corruption = if width.is_none() || height.is_none() {
            Some("it has no size")
        } else if !are_whole {
            Some("a page lies beyond its end")
        } else if !holds_data(&mut reader, &first, length)? {
            Some("its picture lies beyond its end")
        } else {
            None
        };
        let exif = if options.exif { exif::fields(&mut reader, &first) } else { serde_json::Map::new() };
        let measures = Measures { width, height, frames, orientation };
        Ok((Inspection { measures, exif, ..Inspection::default() }, corruption))
    };
    let (found, corruption) = match parse() {
        Ok(parsed) => parsed,
        Err(IfdError::Absent) => (Inspection::default(), Some("it has no directory that tells its size")),
        Err(IfdError::Io(error)) => return Err(error.into()),
    };
    match corruption.filter(|_| options.structure) {
        Some(what) => Err(CorruptImage(what).into()),
        None => Ok(found),
    }
}

/// Inspects a camera raw file of `length` bytes with its first directory and the photo in it. Returns what is wrong with
/// it, too.
fn inspect_raw<R: Read + Seek>(
    reader: &mut IfdReader<R>,
    first: &Ifd,
    photo: &RawPhoto,
    (length, options): (u64, InspectOptions),
) -> Result<(Inspection, Option<&'static str>), IfdError> {
    let &RawPhoto { format, width, height, ref ifd, ref more_data, is_whole } = photo;
    let mut holds_all = true;
    for part in std::iter::once(ifd).chain(more_data) {
        holds_all &= holds_data(reader, part, length)?;
    }
    let corruption = if !is_whole {
        Some("a directory lies beyond its end")
    } else if width.is_none() || height.is_none() {
        Some("it has no size")
    } else if !holds_all {
        Some("its picture lies beyond its end")
    } else {
        None
    };
    let orientation = exif::orientation(reader, first).or_else(|| exif::orientation(reader, ifd));
    let exif = if options.exif { exif::fields(reader, first) } else { serde_json::Map::new() };
    let measures = Measures { width, height, frames: None, orientation };
    Ok((Inspection { measures, exif, format: Some(format), doubt: None }, corruption))
}

/// Counts the pages from this IFD on, and says whether the whole chain lies within the file. Counting stops where the
/// chain forms a ring.
fn pages<R: Read + Seek>(reader: &mut IfdReader<R>, first: u64) -> Result<(u32, bool), IfdError> {
    let (mut at, mut pages) = (first, 0);
    // One offset that has been seen is kept, and replaced ever more rarely (Brent's algorithm): a ring is found without
    // keeping all offsets.
    let (mut kept, mut steps, mut limit) = (first, 0, 1);
    for _ in 0..MAX_PAGES {
        let (next, kind) = match reader.next_and_type(at) {
            Ok(next) => next,
            Err(IfdError::Absent) => return Ok((pages, false)),
            Err(error) => return Err(error),
        };
        pages += u32::from(kind & NOT_A_PAGE == 0);
        if next == 0 || next == kept {
            break;
        }
        steps += 1;
        if steps == limit {
            (kept, steps, limit) = (next, 0, limit * 2);
        }
        at = next;
    }
    Ok((pages, true))
}

/// Whether the data of a picture lies within the file, as far as its offsets are given. A truncated file lacks its data
/// if the IFD comes first, and its IFD if that comes last.
fn holds_data<R: Read + Seek>(reader: &mut IfdReader<R>, picture: &Ifd, length: u64) -> Result<bool, IfdError> {
    for (offsets, lengths) in DATA_TAGS {
        let mut integers = |tag| match reader.value(picture, tag) {
            Ok(IfdValue::Integers(integers)) => Ok(Some(integers)),
            // The list itself lies beyond the end of the file.
            Err(IfdError::Absent) if picture.has_integers(tag) => Ok(None),
            Ok(_) | Err(IfdError::Absent) => Ok(Some(Vec::new())),
            Err(error) => Err(error),
        };
        let (Some(offsets), Some(lengths)) = (integers(offsets)?, integers(lengths)?) else { return Ok(false) };
        if offsets.iter().zip(&lengths).any(|(offset, size)| offset.checked_add(*size).is_none_or(|end| end > length)) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::inspector::testing::{inspect, measure};
    use super::{InspectError, InspectOptions};
    use crate::record::{Format, Measures};

    /// An IFD of short values with the offset of the next one.
    fn directory(values: &[(u16, u16)], next: u32) -> Vec<u8> {
        let mut bytes = u16::try_from(values.len()).expect("a few").to_le_bytes().to_vec();
        for (tag, value) in values {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(b"\x03\0\x01\0\0\0");
            bytes.extend(value.to_le_bytes());
            bytes.extend([0, 0]);
        }
        bytes.extend(next.to_le_bytes());
        bytes
    }

    const SIZE: [(u16, u16); 2] = [(256, 10), (257, 20)];

    fn tiff(directories: &[Vec<u8>]) -> Vec<u8> {
        [b"II\x2A\0\x08\0\0\0".as_slice(), &directories.concat()].concat()
    }

    fn of(frames: Option<u32>) -> Measures {
        Measures { width: Some(10), height: Some(20), frames, orientation: None }
    }

    #[test]
    fn pages_are_counted_without_small_versions_of_them() {
        // An IFD of three values is 42 bytes long, of two 30.
        let small = directory(&[(254, 1), SIZE[0], SIZE[1]], 80);
        let file = tiff(&[directory(&SIZE, 38), small, directory(&SIZE, 110), directory(&SIZE, 0)]);
        assert_eq!(inspect(Format::Tiff, &file).map(|found| found.measures), Ok(of(Some(3))));
        assert_eq!(measure(Format::Tiff, &file), of(Some(3)));
    }

    #[test]
    fn a_chain_without_an_end_is_left() {
        for (file, frames) in [
            // The chain leads to itself, to an earlier IFD, and beyond the end.
            (tiff(&[directory(&SIZE, 8)]), None),
            (tiff(&[directory(&SIZE, 38), directory(&SIZE, 68), directory(&SIZE, 38)]), Some(3)),
            (tiff(&[directory(&SIZE, 0xFFFF_FFFF)]), None),
        ] {
            assert_eq!(measure(Format::Tiff, &file), of(frames));
        }
        let nowhere = tiff(&[directory(&SIZE, 0xFFFF_FFFF)]);
        assert_eq!(inspect(Format::Tiff, &nowhere), Err("a page lies beyond its end"));
        // 11,000 overlapping IFDs, none of which is seen twice.
        let mut endless = tiff(&[directory(&SIZE, 38)]);
        for at in 0..11_000_u32 {
            endless.extend(b"\0\0");
            endless.extend((38 + 6 * (at + 1)).to_le_bytes());
        }
        endless.extend([0; 64]);
        let frames = measure(Format::Tiff, &endless).frames;
        assert!(frames.is_some_and(|frames| frames <= 10_000), "{frames:?}");
    }

    #[test]
    fn a_file_that_is_cut_within_its_list_of_strips_is_refused() {
        // Two strips, whose offsets and lengths do not fit into the entries of the IFD.
        let mut file = tiff(&[directory(&[SIZE[0], SIZE[1], (273, 0), (279, 0)], 0)]);
        for (entry, place) in [(2, 62_u32), (3, 70)] {
            let at = 8 + 2 + 12 * entry;
            file[at + 2..at + 12].copy_from_slice(&[b"\x04\0\x02\0\0\0".as_slice(), &place.to_le_bytes()].concat());
        }
        for number in [78_u32, 80, 2, 3] {
            file.extend(number.to_le_bytes());
        }
        file.extend(b"12345");
        assert_eq!(inspect(Format::Tiff, &file).map(|found| found.measures), Ok(of(None)));
        for end in 62..file.len() {
            assert_eq!(inspect(Format::Tiff, &file[..end]), Err("its picture lies beyond its end"), "{end}");
        }
    }

    #[test]
    fn an_impossible_offset_is_no_error_of_the_disk() {
        // A BigTIFF whose first IFD has an offset that no file can have.
        let far = [b"II\x2B\0\x08\0\0\0".as_slice(), &[0xFF; 8]].concat();
        let file = tempfile::tempfile().expect("a file");
        (&file).write_all(&far).expect("written");
        let found =
            super::inspect(&file, far.len() as u64, Format::Tiff, InspectOptions { structure: true, exif: true });
        assert!(matches!(found, Err(InspectError::Corrupt(_))), "{found:?}");
        assert_eq!(measure(Format::Tiff, &far), Measures::default());
    }

    #[test]
    fn a_file_that_lacks_something_is_refused() {
        let file = tiff(&[directory(&[SIZE[0], SIZE[1], (273, 62), (279, 5)], 0), b"12345".to_vec()]);
        assert_eq!(inspect(Format::Tiff, &file).map(|found| found.measures), Ok(of(None)));
        assert_eq!(inspect(Format::Tiff, &file[..file.len() - 1]), Err("its picture lies beyond its end"));
        let flat = tiff(&[directory(&[(256, 10), (257, 0)], 0)]);
        assert_eq!(inspect(Format::Tiff, &flat), Err("it has no size"));
        for cut in [&file[..4], &file[..9], &file[..50]] {
            assert_eq!(inspect(Format::Tiff, cut), Err("it has no directory that tells its size"));
            assert_eq!(measure(Format::Tiff, cut), Measures::default());
        }
    }
}
