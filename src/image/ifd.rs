//! Image file directories (IFDs) of TIFF (TIFF 6.0, section 2; `BigTIFF` has longer fields) and of Exif blocks.
//!
//! No number in the file is trusted: of an IFD at most [`MAX_ENTRIES`] entries are read, and of a value at most
//! [`MAX_VALUE_BYTES`] bytes, whatever its offset is.

use std::io::{self, Read, Seek, SeekFrom};

/// Entries of an IFD that are read. The largest IFDs of cameras have some 50.
const MAX_ENTRIES: u64 = 512;

/// Bytes of a value that are read. Texts are shorter; offsets of strips may be cut off.
const MAX_VALUE_BYTES: u64 = 65_536;

// Types of values (TIFF 6.0, section 2; IFD: TIFF Tech Note 1; the last two: `BigTIFF`). No other types are read.
const BYTE: u16 = 1;
const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;
const UNDEFINED: u16 = 7;
const SRATIONAL: u16 = 10;
const IFD: u16 = 13;
const LONG8: u16 = 16;
const IFD8: u16 = 18;

/// Tag that says what kind of picture an IFD describes.
const NEW_SUBFILE_TYPE: u16 = 254;

/// Why an IFD or a value cannot be read.
#[derive(Debug)]
pub(super) enum IfdError {
    /// It is missing, lies beyond the end of the file, or has an unknown type.
    Absent,
    /// The file cannot be read.
    Io(io::Error),
}

impl IfdError {
    /// `None` in place of what is absent.
    pub(super) fn if_absent<T>(self) -> Result<Option<T>, Self> {
        match self {
            Self::Absent => Ok(None),
            error @ Self::Io(_) => Err(error),
        }
    }
}

impl From<io::Error> for IfdError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // lseek(2) returns EINVAL for offsets that no file can have.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => Self::Absent,
            _ => Self::Io(error),
        }
    }
}

/// Reads IFDs from a TIFF file or an Exif block.
#[derive(Debug)]
pub(super) struct IfdReader<R> {
    source: R,
    is_little_endian: bool,
    is_big_tiff: bool,
}

/// The entries of one image file directory.
#[derive(Debug)]
pub(super) struct Ifd(Vec<IfdEntry>);

impl Ifd {
    /// Whether the IFD has a value under this tag, readable or not.
    pub(super) fn has(&self, tag: u16) -> bool {
        self.0.iter().any(|entry| entry.tag == tag)
    }

    /// Whether the IFD has integers under this tag, readable or not.
    pub(super) fn has_integers(&self, tag: u16) -> bool {
        self.0.iter().any(|entry| entry.tag == tag && matches!(entry.kind, SHORT | LONG | LONG8))
    }
}

#[derive(Clone, Copy, Debug)]
struct IfdEntry {
    tag: u16,
    kind: u16,
    count: u64,
    /// The value if it fits, otherwise its offset.
    field: [u8; 8],
}

/// A value, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum IfdValue {
    /// Text up to the first 0.
    Text(Vec<u8>),
    /// Bytes (BYTE or UNDEFINED).
    Bytes(Vec<u8>),
    Integers(Vec<u64>),
    /// Numerators and denominators.
    Rationals(Vec<(i64, i64)>),
}

impl<R: Read + Seek> IfdReader<R> {
    /// Reads the header. Returns the reader and the offset of the first IFD.
    pub(super) fn open(mut source: R) -> Result<(Self, u64), IfdError> {
        source.rewind()?;
        let mut header = [0; 4];
        source.read_exact(&mut header)?;
        let (is_little_endian, is_big_tiff) = match &header {
            // Raw files of Olympus and Panasonic have a mark of their own, and the rest of a TIFF.
            b"II\x2A\0" | b"IIRO" | b"IIRS" | b"II\x55\0" => (true, false),
            b"MM\0\x2A" | b"MMOR" => (false, false),
            b"II\x2B\0" => (true, true),
            b"MM\0\x2B" => (false, true),
            _ => return Err(IfdError::Absent),
        };
        let mut reader = Self { source, is_little_endian, is_big_tiff };
        let at = if is_big_tiff { 8 } else { 4 };
        let first = reader.read_at(at, at)?;
        let first = reader.number(&first);
        Ok((reader, first))
    }

    /// Reads the IFD at this offset.
    pub(super) fn ifd(&mut self, at: u64) -> Result<Ifd, IfdError> {
        let count = self.count(at)?;
        let (head, size, _) = self.sizes();
        let start = at.checked_add(head).ok_or(IfdError::Absent)?;
        let bytes = self.read_at(start, count.min(MAX_ENTRIES) * size)?;
        let entry = |bytes: &[u8]| {
            let number = |from: usize, to: usize| self.number(&bytes[from..to]);
            let mut field = [0; 8];
            let (count_end, field_end) = if self.is_big_tiff { (12, 20) } else { (8, 12) };
            field[..field_end - count_end].copy_from_slice(&bytes[count_end..field_end]);
            let short = |from| u16::try_from(number(from, from + 2)).unwrap_or_default();
            IfdEntry { tag: short(0), kind: short(2), count: number(4, count_end), field }
        };
        let entries = bytes.chunks_exact(usize::try_from(size).unwrap_or(12)).map(entry).collect();
        Ok(Ifd(entries))
    }

    /// Offset of the IFD that follows the one at `at` (0 if there is none), and the bits of `NewSubfileType` of the one
    /// at `at`. That tag is the lowest and therefore the first entry.
    pub(super) fn next_and_type(&mut self, at: u64) -> Result<(u64, u64), IfdError> {
        let count = self.count(at)?;
        let (head, size, offset_size) = self.sizes();
        let start = at.checked_add(head).ok_or(IfdError::Absent)?;
        let next = self.read_at(start.checked_add(count * size).ok_or(IfdError::Absent)?, offset_size);
        // Some writers leave out the offset of the next IFD after the last one.
        let next = next.map_or(0, |next| self.number(&next));
        let first = self.read_at(start, size)?;
        let field = if self.is_big_tiff { 12..16 } else { 8..12 };
        let has_type = self.number(&first[..2]) == u64::from(NEW_SUBFILE_TYPE);
        Ok((next, if has_type { self.number(&first[field]) } else { 0 }))
    }

    /// Reads the value of a tag.
    pub(super) fn value(&mut self, ifd: &Ifd, tag: u16) -> Result<IfdValue, IfdError> {
        let entry = *ifd.0.iter().find(|entry| entry.tag == tag).ok_or(IfdError::Absent)?;
        let size = match entry.kind {
            BYTE | ASCII | UNDEFINED => 1,
            SHORT => 2,
            LONG | IFD => 4,
            RATIONAL | SRATIONAL | LONG8 | IFD8 => 8,
            _ => return Err(IfdError::Absent),
        };
        let length = entry.count.saturating_mul(size).min(MAX_VALUE_BYTES);
        let field_size = if self.is_big_tiff { 8 } else { 4 };
        let bytes = if length <= field_size {
            entry.field[..usize::try_from(length).unwrap_or_default()].to_vec()
        } else {
            let at = self.number(&entry.field[..usize::try_from(field_size).unwrap_or_default()]);
            self.read_at(at, length)?
        };
        let integer = |bytes: &[u8]| self.number(bytes);
        let part = |bytes: &[u8]| {
            let part = u32::try_from(self.number(bytes)).unwrap_or_default();
            if entry.kind == SRATIONAL { i64::from(part.cast_signed()) } else { i64::from(part) }
        };
        Ok(match entry.kind {
            ASCII => IfdValue::Text(bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()),
            BYTE | UNDEFINED => IfdValue::Bytes(bytes),
            RATIONAL | SRATIONAL => {
                IfdValue::Rationals(bytes.chunks_exact(8).map(|pair| (part(&pair[..4]), part(&pair[4..]))).collect())
            }
            _ => IfdValue::Integers(bytes.chunks_exact(usize::try_from(size).unwrap_or(1)).map(integer).collect()),
        })
    }

    /// Reads the first integer of the value of a tag.
    pub(super) fn integer(&mut self, ifd: &Ifd, tag: u16) -> Result<u64, IfdError> {
        match self.value(ifd, tag)? {
            IfdValue::Integers(numbers) => numbers.first().copied().ok_or(IfdError::Absent),
            _ => Err(IfdError::Absent),
        }
    }

    /// Reads bytes of the file.
    pub(super) fn bytes_at(&mut self, at: u64, length: u64) -> Result<Vec<u8>, IfdError> {
        self.read_at(at, length)
    }

    /// Reads the number of entries of the IFD at this offset.
    fn count(&mut self, at: u64) -> Result<u64, IfdError> {
        let (head, ..) = self.sizes();
        let count = self.read_at(at, head)?;
        Ok(self.number(&count).min(u16::MAX.into()))
    }

    /// Lengths in bytes of the number of entries, of an entry, and of the offset of the next IFD.
    const fn sizes(&self) -> (u64, u64, u64) {
        if self.is_big_tiff { (8, 20, 8) } else { (2, 12, 4) }
    }

    fn read_at(&mut self, at: u64, length: u64) -> Result<Vec<u8>, IfdError> {
        self.source.seek(SeekFrom::Start(at))?;
        let mut bytes = Vec::new();
        // The memory grows with the bytes that are read, not with the stated length.
        self.source.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(IfdError::Absent) }
    }

    fn number(&self, bytes: &[u8]) -> u64 {
        let shift = |number: u64, digit: &u8| number << 8 | u64::from(*digit);
        if self.is_little_endian { bytes.iter().rev().fold(0, shift) } else { bytes.iter().fold(0, shift) }
    }
}
