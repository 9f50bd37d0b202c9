//! The tar format (POSIX.1-2017, `pax`): headers for writing, and a walk over the entries of a file.
//!
//! The same names and sizes always give the same bytes: the owner is 0, the time is 1970. A record of the extended format is
//! written only where a name or a size does not fit into the plain header.

use std::io::{self, Read, Seek, SeekFrom};

/// The size of a header, and the unit of all sizes in a tar file, in bytes.
pub const BLOCK: usize = 512;

/// The end of a tar file: two blocks of zeros.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The longest name that fits into a header, in bytes.
const MAX_NAME_BYTES: usize = 100;

/// The largest size that fits into a header, as eleven octal digits.
const MAX_SIZE: u64 = (1 << 33) - 1;

/// Appends the header of a file to `out`.
pub fn push_header(out: &mut Vec<u8>, name: &str, size: u64) {
    let mut extended = String::new();
    if name.len() > MAX_NAME_BYTES {
        extended.push_str(&extended_record("path", name));
    }
    if size > MAX_SIZE {
        extended.push_str(&extended_record("size", &size.to_string()));
    }
    if !extended.is_empty() {
        push_plain_header(out, "pax", extended.len() as u64, b'x');
        out.extend_from_slice(extended.as_bytes());
        pad(out, extended.len() as u64);
    }
    push_plain_header(out, name, size, b'0');
}

/// Fills the last block of a file of this size with zeros.
pub fn pad(out: &mut Vec<u8>, size: u64) {
    out.resize(out.len() + padding(size), 0);
}

/// The number of zeros after a file of this size.
pub fn padding(size: u64) -> usize {
    usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0)
}

/// A record of an extended header: its length in decimal digits, which counts itself, and the value.
fn extended_record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

fn push_plain_header(out: &mut Vec<u8>, name: &str, size: u64, kind: u8) {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, &name.as_bytes()[..name.len().min(MAX_NAME_BYTES)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", size.min(MAX_SIZE)).as_bytes());
    put(136, b"00000000000\0");
    // The sum is made with spaces in its own place.
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum = header.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&header);
}

/// A file in a tar file.
#[derive(Debug, PartialEq, Eq)]
pub struct TarEntry {
    /// Its name.
    pub name: String,
    /// Where its bytes begin.
    pub offset: u64,
    /// The number of its bytes.
    pub length: u64,
}

impl TarEntry {
    /// Where the next header begins.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.length + padding(self.length) as u64
    }
}

impl TarEntry {
    /// Whether it is the record of a sample, which is its last file.
    #[must_use]
    pub fn is_record(&self) -> bool {
        self.name.rsplit_once('.').is_some_and(|(_, extension)| extension == "json")
    }
}

/// How a walk over a tar file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TarEnd {
    /// With the two blocks of zeros, which begin here.
    Complete(u64),
    /// The file ends before an entry does, or what begins here is no header that `push_header` wrote.
    Torn(u64),
}

/// Calls `each` with each complete file of a tar file, in order.
pub fn walk(file: &mut (impl Read + Seek), length: u64, mut each: impl FnMut(&TarEntry)) -> io::Result<TarEnd> {
    let mut at = 0;
    loop {
        let begin = at;
        let (mut name, mut size) = (None, None);
        let entry = loop {
            let Some(header) = read_block(file, at, length)? else { return Ok(TarEnd::Torn(begin)) };
            if header == [0; BLOCK] {
                let is_end = at == begin && read_block(file, at + BLOCK as u64, length)? == Some([0; BLOCK]);
                return Ok(if is_end { TarEnd::Complete(begin) } else { TarEnd::Torn(begin) });
            }
            let Some((kind, plain_name, plain_size)) = parse_header(&header) else { return Ok(TarEnd::Torn(begin)) };
            let offset = at + BLOCK as u64;
            if kind == b'x' && plain_size < 1 << 20 && offset + plain_size <= length {
                let mut text = vec![0; usize::try_from(plain_size).unwrap_or(0)];
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut text)?;
                for line in String::from_utf8_lossy(&text).lines() {
                    match line.split_once(' ').and_then(|(_, record)| record.split_once('=')) {
                        Some(("path", path)) => name = Some(path.to_owned()),
                        Some(("size", bytes)) => size = bytes.parse().ok(),
                        _ => {}
                    }
                }
                at = offset + plain_size + padding(plain_size) as u64;
                continue;
            }
            if kind != b'0' {
                return Ok(TarEnd::Torn(begin));
            }
            break TarEntry { name: name.unwrap_or(plain_name), offset, length: size.unwrap_or(plain_size) };
        };
        if entry.end() > length {
            return Ok(TarEnd::Torn(begin));
        }
        at = entry.end();
        each(&entry);
    }
}

fn read_block(file: &mut (impl Read + Seek), at: u64, length: u64) -> io::Result<Option<[u8; BLOCK]>> {
    if at + BLOCK as u64 > length {
        return Ok(None);
    }
    let mut block = [0; BLOCK];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut block)?;
    Ok(Some(block))
}

/// The kind, the name and the size in a header, if its sum is right.
fn parse_header(header: &[u8; BLOCK]) -> Option<(u8, String, u64)> {
    let octal = |field: &[u8]| {
        let text = std::str::from_utf8(field).ok()?;
        u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
    };
    let sum = header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) });
    if octal(&header[148..156])? != sum.sum::<u64>() {
        return None;
    }
    let name = header[..MAX_NAME_BYTES].split(|byte| *byte == 0).next()?;
    // A name that goes on in an extended header may be cut within a character.
    Some((header[156], String::from_utf8_lossy(name).into_owned(), octal(&header[124..136])?))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn file(entries: &[(&str, usize)]) -> Vec<u8> {
        let mut tar = Vec::new();
        for (name, size) in entries {
            push_header(&mut tar, name, *size as u64);
            tar.extend(std::iter::repeat_n(b'x', *size));
            pad(&mut tar, *size as u64);
        }
        tar.extend_from_slice(&END);
        tar
    }

    fn walked(tar: &[u8]) -> (Vec<(String, u64)>, TarEnd) {
        let mut found = Vec::new();
        let end = walk(&mut Cursor::new(tar), tar.len() as u64, |entry| {
            assert!(tar[usize::try_from(entry.offset).expect("small")..].starts_with(b"x") || entry.length == 0);
            found.push((entry.name.clone(), entry.length));
        });
        (found, end.expect("read"))
    }

    #[test]
    fn what_is_written_is_found_again_however_long_its_name() {
        let long = format!("{}.json", "k".repeat(180));
        let entries = [("a.jpg", 1000), (long.as_str(), 3), ("empty", 0), ("whole", 512)];
        let tar = file(&entries);
        let (found, end) = walked(&tar);
        assert_eq!(found, entries.map(|(name, size)| (name.to_owned(), size as u64)));
        assert_eq!(end, TarEnd::Complete(tar.len() as u64 - 1024));
        assert!(tar.len().is_multiple_of(BLOCK));
        assert_eq!(tar, file(&entries), "the same bytes in make the same tar");
    }

    #[test]
    fn a_torn_end_is_found_at_every_length() {
        let tar = file(&[("a", 700), ("b", 10)]);
        let second = 512 + 1024;
        for length in 0..tar.len() {
            let (found, end) = walked(&tar[..length]);
            let whole = usize::from(length >= second) + usize::from(length >= second + 1024);
            assert_eq!(found.len(), whole, "{length}");
            let at = [0, second, second + 1024][whole];
            assert_eq!(end, TarEnd::Torn(at as u64), "{length}");
        }
        let mut damaged = tar.clone();
        damaged[second + 3] = b'!';
        assert_eq!(walked(&damaged).1, TarEnd::Torn(second as u64));
    }

    #[test]
    fn a_size_beyond_eight_gigabytes_has_a_record_of_its_own() {
        let mut header = Vec::new();
        push_header(&mut header, "a", 1 << 40);
        assert_eq!(header.len(), 3 * BLOCK);
        assert!(String::from_utf8_lossy(&header).contains("22 size=1099511627776\n"));
        for length in [90, 91, 92, 93, 94, 95, 990, 991, 992] {
            let record = extended_record("path", &"x".repeat(length));
            assert_eq!(record.split(' ').next(), Some(&*record.len().to_string()), "{length}");
        }
    }
}
