//! JPEG 2000 (ISO/IEC 15444-1): a codestream, bare or in boxes.

use super::boxes::{boxes, content};
use super::integers::be32;
use super::types::{HeaderInfo, sized};

/// The first bytes of a codestream: its start marker and the marker of the segment that has to follow (A.5.1).
const CODESTREAM_SIGNATURE: &[u8] = b"\xFF\x4F\xFF\x51";

/// Parses the beginning of a file; `is_final` says that no more of the file will be parsed.
pub(super) fn parse(head: &[u8], is_final: bool) -> Option<HeaderInfo> {
    if head.starts_with(CODESTREAM_SIGNATURE) {
        return codestream(head)
            .map(|(width, height)| HeaderInfo { measures: sized(width, height), ..HeaderInfo::default() });
    }
    let mut info = HeaderInfo { lacks_data: true, ..HeaderInfo::default() };
    for found in boxes(head) {
        info.next_box = found.end;
        info.min_length = found.end.unwrap_or_default();
        let size = match &found.kind {
            // The height comes first (I.5.3.1).
            b"jp2h" if found.is_whole => {
                content(found.content, *b"ihdr").and_then(|header| be32(header, 4).zip(be32(header, 0)))
            }
            b"jp2c" => {
                info.lacks_data = false;
                codestream(found.content)
            }
            _ => None,
        };
        if let Some((width, height)) = size.filter(|_| info.measures.width.is_none()) {
            info.measures = sized(width, height);
        }
    }
    (is_final || info.measures.width.is_some()).then_some(info)
}

/// Size from the SIZ segment: the extent of the reference grid less the offset of the image in it (A.5.1).
fn codestream(bytes: &[u8]) -> Option<(u32, u32)> {
    let side = |end, start| be32(bytes, end)?.checked_sub(be32(bytes, start)?);
    side(8, 16).zip(side(12, 20)).filter(|_| bytes.starts_with(CODESTREAM_SIGNATURE))
}
