//! Boxes of ISO base media files (ISO/IEC 14496-12, section 4.2): a length, a type, and content, which may again be
//! boxes. HEIF, AVIF, JPEG 2000 and JPEG XL consist of them.

use super::integers::BigEndianReader;

/// A box, of which the end may be missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct IsoBox<'a> {
    pub(super) kind: [u8; 4],
    pub(super) content: &'a [u8],
    /// Whether the content is complete.
    pub(super) is_whole: bool,
    /// Offset of the end of the box in the slice that was searched; `None` if the box extends to the end of the file.
    pub(super) end: Option<u64>,
}

/// Iterates over the boxes of a file or of a box. A box with an impossible length ends the iteration.
pub(super) fn boxes(within: &[u8]) -> impl Iterator<Item = IsoBox<'_>> {
    let mut rest = Some(within);
    std::iter::from_fn(move || {
        let start = rest?;
        let mut fields = BigEndianReader(start);
        let short = fields.number(4)?;
        let kind = *fields.take(4)?.first_chunk()?;
        let length = match short {
            0 => None,
            1 => Some(fields.number(8)?),
            short => Some(short),
        };
        let header = start.len() - fields.0.len();
        let content = match length {
            Some(length) => length.checked_sub(header as u64)?,
            None => u64::MAX,
        };
        let at = within.len() - start.len();
        let there = usize::try_from(content).map_or(fields.0.len(), |content| content.min(fields.0.len()));
        let is_whole = there as u64 == content;
        rest = fields.0.get(there..).filter(|_| is_whole);
        Some(IsoBox {
            kind,
            content: &fields.0[..there],
            is_whole,
            end: length.and_then(|length| length.checked_add(at as u64)),
        })
    })
}

/// The content of the first box of this type, if it is complete.
pub(super) fn content(within: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    boxes(within).find(|boxed| boxed.kind == kind && boxed.is_whole).map(|boxed| boxed.content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_read_as_far_as_they_are_there() {
        let file = b"\0\0\0\x0Aftypav\0\0\0\x01free\0\0\0\0\0\0\0\x12..\0\0\0\x14mdat0123456789";
        let found = |bytes| boxes(bytes).map(|one| (one.kind, one.content, one.is_whole, one.end)).collect::<Vec<_>>();
        assert_eq!(
            found(file),
            [
                (*b"ftyp", &b"av"[..], true, Some(10)),
                (*b"free", b"..", true, Some(28)),
                (*b"mdat", b"0123456789", false, Some(48))
            ]
        );
        assert_eq!(found(b"\0\0\0\0mdat01"), [(*b"mdat", &b"01"[..], false, None)]);
        assert_eq!(found(b"\0\0\0\x07free.......").len(), 0, "shorter than its header");
        assert_eq!(found(b"\0\0\0\x01free\0\0\0\0\0\0\0\x0f").len(), 0);
        assert_eq!(content(file, *b"free"), Some(&b".."[..]));
        assert_eq!(content(file, *b"mdat"), None, "it is not whole");
    }
}
