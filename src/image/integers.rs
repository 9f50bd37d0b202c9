//! Reads integers from byte slices. Every function returns `None` where the slice ends before the integer does.

/// The `N` bytes from offset `at` on.
pub(super) fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk().copied()
}

pub(super) fn be16(from: &[u8], at: usize) -> Option<u16> {
    bytes(from, at).map(u16::from_be_bytes)
}

pub(super) fn le16(from: &[u8], at: usize) -> Option<u16> {
    bytes(from, at).map(u16::from_le_bytes)
}

pub(super) fn be32(from: &[u8], at: usize) -> Option<u32> {
    bytes(from, at).map(u32::from_be_bytes)
}

pub(super) fn be64(from: &[u8], at: usize) -> Option<u64> {
    bytes(from, at).map(u64::from_be_bytes)
}

pub(super) fn le32(from: &[u8], at: usize) -> Option<u32> {
    bytes(from, at).map(u32::from_le_bytes)
}

/// Three bytes, the lowest first.
pub(super) fn le24(from: &[u8], at: usize) -> Option<u32> {
    bytes(from, at).map(|[low, middle, high]| u32::from_le_bytes([low, middle, high, 0]))
}

/// Reads big-endian integers one after the other, as boxes of ISO base media files hold them.
#[derive(Clone, Copy, Debug)]
pub(super) struct BigEndianReader<'a>(pub &'a [u8]);

impl<'a> BigEndianReader<'a> {
    /// The next integer, of `size` bytes (at most eight); 0 if `size` is 0.
    pub(super) fn number(&mut self, size: u8) -> Option<u64> {
        let digits = self.take(usize::from(size))?;
        Some(digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)))
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}
