//! Numbers at places of a slice. Where the slice ends before them, there is none.

/// So many bytes from `at` on.
pub(super) fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk().copied()
}

pub(super) fn le16(from: &[u8], at: usize) -> Option<u16> {
    bytes(from, at).map(u16::from_le_bytes)
}
