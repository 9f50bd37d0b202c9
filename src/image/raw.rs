//! Camera raw: what the sensor saw, mostly in a TIFF (TIFF/EP, DNG 1.7), whose first directory often describes a
//! thumbnail. The photo has a directory of its own, in the chain or under `SubIFDs`.
//!
//! The pixels are not looked at. A file counts as raw where its maker's signature or a directory with values of the
//! sensor says so, and its size is that of the photo as stored.

use std::io::{Cursor, Read, Seek, SeekFrom};

use super::boxes::{boxes, content};
use super::exif;
use super::ifd::{Ifd, IfdError, IfdReader, IfdValue};
use super::integers::{be16, be32};
use super::types::{HeaderInfo, TRUNCATED, sized};
use crate::record::{Format, Measures};

// Tags (TIFF 6.0, appendix A; TIFF Tech Note 1; DNG 1.7, chapter 4).
const NEW_SUBFILE_TYPE: u16 = 254;
const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const PHOTOMETRIC: u16 = 262;
const MAKE: u16 = 271;
const SUB_IFDS: u16 = 330;
const DNG_VERSION: u16 = 50_706;

/// Values of [`PHOTOMETRIC`] for what a sensor saw: one colour per pixel behind a filter, or all of them, linear.
const SENSOR_VALUES: [u64; 2] = [32_803, 34_892];

/// Tags of a Panasonic raw file in place of width and height: the sensor, and the borders of the photo on it.
const PANASONIC_SENSOR: [u16; 2] = [2, 3];
const PANASONIC_TOP_LEFT_BOTTOM_RIGHT: [u16; 4] = [4, 5, 6, 7];

/// The most directories of a chain, and of the list in one of them, that are searched for the photo. Cameras write up
/// to six.
const MAX_IFDS: usize = 12;

/// The photo in a raw file that consists of directories.
#[derive(Debug)]
pub(super) struct RawPhoto {
    pub(super) format: Format,
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
    /// The directory that describes it.
    pub(super) ifd: Ifd,
    /// Other directories with data of the photo: Canon describes it in one and has the data of the sensor in another.
    pub(super) more_data: Vec<Ifd>,
    /// All directories lie within the file.
    pub(super) is_whole: bool,
}

/// Finds the photo in a file whose first directory lies at `at`; `None` if the file is a TIFF and no raw file. `format`
/// is what the first bytes say.
pub(super) fn photo<R: Read + Seek>(
    reader: &mut IfdReader<R>,
    at: u64,
    format: Format,
) -> Result<Option<RawPhoto>, IfdError> {
    let (mut candidates, is_whole) = candidates(reader, at)?;
    let Some(first) = candidates.first() else { return Ok(None) };
    let is_sensor = candidates.iter().any(|candidate| candidate.has_sensor_values);
    let format = match format {
        Format::Tiff if first.ifd.has(DNG_VERSION) => Format::Dng,
        Format::Tiff if is_canon(reader)? => Format::Cr2,
        Format::Tiff if is_sensor => maker(reader, &first.ifd)?,
        Format::Tiff => return Ok(None),
        format => format,
    };
    if format == Format::Rw2
        && let Some(size) = panasonic(reader, &first.ifd)?
    {
        (candidates[0].width, candidates[0].height) = size;
    }
    candidates.sort_by_key(RawCandidate::rank);
    Ok(candidates.pop().map(|RawCandidate { width, height, ifd, .. }| {
        let side = |side| u32::try_from(side).ok().filter(|side| *side > 0);
        let more_data = candidates.into_iter().filter(|other| other.is_main).map(|other| other.ifd).collect();
        RawPhoto { format, width: side(width), height: side(height), ifd, more_data, is_whole }
    }))
}

/// A directory that may describe the photo.
struct RawCandidate {
    ifd: Ifd,
    width: u64,
    height: u64,
    /// `NewSubfileType` says that it is neither a smaller version nor a mask nor anything else beside the photo.
    is_main: bool,
    has_sensor_values: bool,
}

impl RawCandidate {
    fn new<R: Read + Seek>(reader: &mut IfdReader<R>, ifd: Ifd) -> Result<Self, IfdError> {
        let mut number = |tag| reader.integer(&ifd, tag).map_or_else(IfdError::if_absent, |number| Ok(Some(number)));
        let (width, height) = (number(WIDTH)?.unwrap_or_default(), number(HEIGHT)?.unwrap_or_default());
        let is_main = number(NEW_SUBFILE_TYPE)?.unwrap_or_default() == 0;
        let has_sensor_values = number(PHOTOMETRIC)?.is_some_and(|kind| SENSOR_VALUES.contains(&kind));
        Ok(Self { ifd, width, height, is_main, has_sensor_values })
    }

    /// The photo is the one with the highest rank. Its preview as a JPEG may have a few pixels more.
    fn rank(&self) -> (bool, bool, u64) {
        let area = self.width.saturating_mul(self.height);
        (self.is_main && area > 0, self.has_sensor_values && area > 0, area)
    }
}

/// The directories of the chain that begins at `at`, each followed by those under its `SubIFDs`, and whether all of
/// them lie within the file.
fn candidates<R: Read + Seek>(reader: &mut IfdReader<R>, at: u64) -> Result<(Vec<RawCandidate>, bool), IfdError> {
    let (mut found, mut is_whole, mut next) = (Vec::new(), true, at);
    for _ in 0..MAX_IFDS {
        let mut places = vec![next];
        let mut index = 0;
        while let Some(place) = places.get(index) {
            let ifd = match reader.ifd(*place) {
                Ok(ifd) => ifd,
                Err(IfdError::Absent) => {
                    is_whole = false;
                    index += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if index == 0 {
                match reader.value(&ifd, SUB_IFDS) {
                    Ok(IfdValue::Integers(inner)) => places.extend(inner.iter().take(MAX_IFDS)),
                    Ok(_) | Err(IfdError::Absent) => {}
                    Err(error) => return Err(error),
                }
            }
            found.push(RawCandidate::new(reader, ifd)?);
            index += 1;
        }
        next = match reader.next_and_type(next) {
            Ok((next, _)) => next,
            Err(IfdError::Absent) => break,
            Err(error) => return Err(error),
        };
        if next == 0 || next == at {
            break;
        }
    }
    Ok((found, is_whole))
}

/// Canon's CR2 is a TIFF with its name and version behind the header.
fn is_canon<R: Read + Seek>(reader: &mut IfdReader<R>) -> Result<bool, IfdError> {
    reader
        .bytes_at(8, 4)
        .map_or_else(|error| error.if_absent().map(|_: Option<()>| false), |mark| Ok(mark.starts_with(b"CR\x02")))
}

/// The format of the maker whose name the directory has.
fn maker<R: Read + Seek>(reader: &mut IfdReader<R>, first: &Ifd) -> Result<Format, IfdError> {
    const MAKERS: [(&[u8], Format); 6] = [
        (b"NIKON", Format::Nef),
        (b"SONY", Format::Arw),
        (b"PENTAX", Format::Pef),
        (b"RICOH", Format::Pef),
        (b"SAMSUNG", Format::Srw),
        (b"OLYMPUS", Format::Orf),
    ];
    let make = match reader.value(first, MAKE) {
        Ok(IfdValue::Text(make)) => make.to_ascii_uppercase(),
        Ok(_) | Err(IfdError::Absent) => Vec::new(),
        Err(error) => return Err(error),
    };
    let known = MAKERS.iter().find(|(name, _)| make.trim_ascii_start().starts_with(name));
    Ok(known.map_or(Format::Raw, |(_, format)| *format))
}

/// Width and height in a Panasonic file.
fn panasonic<R: Read + Seek>(reader: &mut IfdReader<R>, first: &Ifd) -> Result<Option<(u64, u64)>, IfdError> {
    let mut number = |tag| reader.integer(first, tag).map_or_else(IfdError::if_absent, |number| Ok(Some(number)));
    let [mut sides, mut borders] = [Vec::new(), Vec::new()];
    for tag in PANASONIC_TOP_LEFT_BOTTOM_RIGHT {
        borders.extend(number(tag)?);
    }
    for tag in PANASONIC_SENSOR {
        sides.extend(number(tag)?);
    }
    Ok(match (borders[..].first_chunk(), sides[..].first_chunk()) {
        (Some([top, left, bottom, right]), _) if bottom > top && right > left => Some((right - left, bottom - top)),
        (_, Some([width, height])) => Some((*width, *height)),
        _ => None,
    })
}

/// Canon's CR3 consists of boxes. A box of the maker in `moov` holds the directory that describes the photo.
pub(super) fn canon(head: &[u8], is_final: bool) -> Option<HeaderInfo> {
    /// Length of the identifier of its kind, in bytes.
    const UUID_BYTES: usize = 16;
    let mut info = HeaderInfo { lacks_data: true, ..HeaderInfo::default() };
    let mut has_all = is_final;
    for found in boxes(head) {
        info.next_box = found.end;
        info.min_length = found.end.unwrap_or_default();
        match &found.kind {
            b"moov" if found.is_whole || is_final => {
                has_all = true;
                let mut maker = boxes(found.content).filter(|inner| &inner.kind == b"uuid");
                let first = maker.find_map(|inner| content(inner.content.get(UUID_BYTES..)?, *b"CMT1"));
                info.measures = first.and_then(directory).unwrap_or_default();
            }
            b"mdat" => (has_all, info.lacks_data) = (true, false),
            _ => {}
        }
    }
    info.is_partial = !has_all;
    has_all.then_some(info)
}

/// The measures that the first directory of a TIFF in memory states.
fn directory(tiff: &[u8]) -> Option<Measures> {
    let (mut reader, at) = IfdReader::open(Cursor::new(tiff)).ok()?;
    let first = reader.ifd(at).ok()?;
    let mut side = |tag| reader.integer(&first, tag).ok().and_then(|side| u32::try_from(side).ok()).unwrap_or_default();
    let measures = sized(side(WIDTH), side(HEIGHT));
    Some(Measures { orientation: exif::orientation(&mut reader, &first), ..measures })
}

/// Fujifilm's RAF: a header with the places of a JPEG, of a list of values and of the sensor's data. Returns the size
/// of the photo, and what is wrong with a file of `length` bytes.
pub(super) fn fujifilm<R: Read + Seek>(
    mut source: R,
    length: u64,
) -> std::io::Result<(Measures, Option<&'static str>)> {
    const HEADER_BYTES: u64 = 108;
    /// Offset and length of each of the three parts, in the header.
    const PARTS: [usize; 3] = [84, 92, 100];
    /// The list of values has some hundred bytes.
    const MAX_LIST_BYTES: u64 = 65_536;
    source.rewind()?;
    let mut header = Vec::new();
    source.by_ref().take(HEADER_BYTES).read_to_end(&mut header)?;
    let part = |at| Some((u64::from(be32(&header, at)?), u64::from(be32(&header, at + 4)?)));
    let Some([_, (list, list_length), _]) =
        PARTS.map(part)[..].first_chunk().and_then(|parts: &[_; 3]| Some([parts[0]?, parts[1]?, parts[2]?]))
    else {
        return Ok((Measures::default(), Some(TRUNCATED)));
    };
    let is_cut = PARTS.into_iter().filter_map(part).any(|(offset, size)| offset + size > length);
    let mut values = Vec::new();
    if list < length {
        source.seek(SeekFrom::Start(list))?;
        source.take(list_length.min(MAX_LIST_BYTES)).read_to_end(&mut values)?;
    }
    let measures = fujifilm_size(&values).map_or_else(Measures::default, |(width, height)| sized(width, height));
    let lacks_size = measures.width.is_none() || measures.height.is_none();
    let corruption = if is_cut { Some(TRUNCATED) } else { lacks_size.then_some("it has no size") };
    Ok((measures, corruption))
}

/// Width and height from a list of values, each behind its number and its length: of the photo, or of the sensor.
fn fujifilm_size(list: &[u8]) -> Option<(u32, u32)> {
    const SENSOR: u16 = 0x100;
    const PHOTO: u16 = 0x111;
    let mut rest = list.get(4..)?;
    let mut size = None;
    for _ in 0..be32(list, 0)? {
        let Some((number, length)) = be16(rest, 0).zip(be16(rest, 2)) else { break };
        let Some(value) = rest.get(4..4 + usize::from(length)) else { break };
        // The height comes first.
        let sides = be16(value, 2).zip(be16(value, 0)).map(|(width, height)| (width.into(), height.into()));
        match number {
            PHOTO => return sides,
            SENSOR => size = sides,
            _ => {}
        }
        rest = &rest[4 + value.len()..];
    }
    size
}
