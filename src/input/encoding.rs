//! Reads lists that are not written in UTF-8 (`--input-encoding`), by the tables of the WHATWG Encoding Standard.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use encoding_rs::{DecoderResult, Encoding, UTF_8};

use super::READ_BLOCK_BYTES;

/// An encoding of text, by one of its names in the WHATWG Encoding Standard (section 4.2), such as `windows-1252`,
/// `latin1`, `utf-16` or `shift_jis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextEncoding(&'static Encoding);

impl Default for TextEncoding {
    fn default() -> Self {
        Self(UTF_8)
    }
}

impl FromStr for TextEncoding {
    type Err = UnknownEncoding;

    fn from_str(name: &str) -> Result<Self, UnknownEncoding> {
        Encoding::for_label_no_replacement(name.as_bytes()).map(Self).ok_or(UnknownEncoding)
    }
}

impl fmt::Display for TextEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// No encoding has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownEncoding;

/// A byte that is never part of UTF-8. It stands for what cannot be read in the encoding of the list, so that this is
/// told of as it is in a list in UTF-8: a URL with it is invalid, and in another column it becomes U+FFFD.
const UNREADABLE: u8 = 0xFF;

/// Converts what it reads to UTF-8. A byte-order mark wins over the encoding that was named.
pub struct Transcoder<R> {
    from: R,
    /// `None`: the text is in UTF-8 and passes as it is.
    decoder: Option<encoding_rs::Decoder>,
    raw: Vec<u8>,
    converted: Vec<u8>,
    /// The number of bytes of `converted` that have been read.
    taken: usize,
    is_at_end: bool,
}

impl<R: Read> Transcoder<R> {
    /// Reads text in the given encoding.
    pub fn new(from: R, encoding: TextEncoding) -> Self {
        let decoder = (encoding != TextEncoding::default()).then(|| encoding.0.new_decoder());
        let raw = vec![0; if decoder.is_some() { READ_BLOCK_BYTES } else { 0 }];
        Self { from, decoder, raw, converted: Vec::new(), taken: 0, is_at_end: false }
    }

    /// What it reads from, if its bytes pass as they are.
    pub fn untouched(self) -> Option<R> {
        self.decoder.is_none().then_some(self.from)
    }
}

impl<R: Read> Read for Transcoder<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.decoder else { return self.from.read(into) };
        // The first half of a character gives no text yet.
        while self.taken == self.converted.len() && !self.is_at_end {
            let length = self.from.read(&mut self.raw)?;
            self.is_at_end = length == 0;
            self.converted.clear();
            self.taken = 0;
            convert(decoder, &self.raw[..length], self.is_at_end, &mut self.converted);
        }
        let rest = &self.converted[self.taken..];
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }
}

/// Appends the text to `into`. `is_last`: nothing follows, so half a character at the end cannot be read.
fn convert(decoder: &mut encoding_rs::Decoder, mut text: &[u8], is_last: bool, into: &mut Vec<u8>) {
    /// Room for the longest character.
    const MIN_FREE_BYTES: usize = 16;
    loop {
        let begin = into.len();
        let free = decoder.max_utf8_buffer_length_without_replacement(text.len()).unwrap_or_default();
        into.resize(begin + free.max(MIN_FREE_BYTES), 0);
        let (result, read, written) = decoder.decode_to_utf8_without_replacement(text, &mut into[begin..], is_last);
        into.truncate(begin + written);
        text = &text[read..];
        match result {
            DecoderResult::InputEmpty => return,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => into.push(UNREADABLE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that returns at most this number of bytes at once.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(into.len()).min(self.0.len());
            let (piece, rest) = self.0.split_at(length);
            into[..length].copy_from_slice(piece);
            self.0 = rest;
            Ok(length)
        }
    }

    #[test]
    fn text_is_the_same_however_it_arrives() {
        let table: [(&str, &[u8], &[u8]); 12] = [
            ("windows-1252", b"caf\xe9 \x80\x93", "caf\u{e9} \u{20ac}\u{201c}".as_bytes()),
            ("Latin1", b"\xa0\xff", "\u{a0}\u{ff}".as_bytes()),
            ("iso-8859-15", b"\xa4", "\u{20ac}".as_bytes()),
            ("shift_jis", b"\x93\xfa\x96\x7b\n", "\u{65e5}\u{672c}\n".as_bytes()),
            ("gbk", b"\xc4\xe3,\xba\xc3", "\u{4f60},\u{597d}".as_bytes()),
            ("utf-16", b"h\0\xe9\0\x3d\xd8\x00\xde", "h\u{e9}\u{1f600}".as_bytes()),
            ("utf-16be", b"\0h\0\xe9", "h\u{e9}".as_bytes()),
            ("utf-16", b"\xfe\xff\0h", b"h"),
            ("windows-1252", b"\xff\xfeh\0", b"h"),
            ("utf-8", b"caf\xe9", b"caf\xe9"),
            ("shift_jis", b"\x93\n\x93", b"\xff\n\xff"),
            ("utf-16", b"h\0\x00\xd8x\0y", b"h\xffx\xff"),
        ];
        for (name, text, expected) in table {
            let encoding = name.parse().expect("an encoding");
            for piece in 1..=text.len() {
                let mut read = Vec::new();
                Transcoder::new(Pieces(text, piece), encoding).read_to_end(&mut read).expect("a text");
                assert_eq!(read, expected, "{name} in pieces of {piece}: {}", read.escape_ascii());
            }
        }
    }

    #[test]
    fn text_that_grows_needs_no_more_room_than_the_reader_has() {
        let text = vec![0xe4; 3 * READ_BLOCK_BYTES];
        let mut from = Transcoder::new(&text[..], "latin1".parse().expect("an encoding"));
        let (mut read, mut piece) = (0, [0; 1000]);
        loop {
            let length = from.read(&mut piece).expect("a text");
            if length == 0 {
                break;
            }
            read += length;
        }
        assert_eq!(read, 2 * text.len());
    }

    #[test]
    fn names_are_those_of_the_standard() {
        for name in ["", "utf-32", "iso-2022-kr", "nosuch"] {
            assert_eq!(name.parse::<TextEncoding>(), Err(UnknownEncoding), "{name}");
        }
        assert_eq!(
            "ISO-8859-1".parse::<TextEncoding>().map(|encoding| encoding.to_string()),
            Ok("windows-1252".into())
        );
    }
}
