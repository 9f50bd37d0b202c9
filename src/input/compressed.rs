//! Takes gzip and zstd off a list, whatever it is called.
//!
//! What a list is packed with is told by its first bytes. It is unpacked as it comes: what its writer has flushed can
//! be read at once. Several members or frames in a row are one list, as `cat` and parallel compressors make them.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// The first bytes of every member of a gzip file (RFC 1952, section 2.3.1).
const GZIP: &[u8] = b"\x1F\x8B";

/// The first bytes of a zstd frame (RFC 8878, section 3.1.1).
const ZSTD: &[u8] = b"\x28\xB5\x2F\xFD";

/// The last bytes of the four that begin a skippable frame, which parallel compressors put first (RFC 8878, section
/// 3.1.2). The one before them is from 0x50 to 0x5F.
const SKIPPABLE: &[u8] = b"\x2A\x4D\x18";

/// The bytes of a list, unpacked.
pub enum Unpacked<R: Read> {
    /// As it came.
    Plain(Begun<R>),
    /// Packed as gzip.
    Gzip(MultiGzDecoder<BufReader<Begun<R>>>),
    /// Packed as zstd.
    Zstd(zstd::Decoder<'static, BufReader<Begun<R>>>),
}

/// What had to be looked at, and the rest.
type Begun<R> = io::Chain<io::Cursor<Vec<u8>>, Uninterrupted<R>>;

impl<R: Read> Unpacked<R> {
    /// Looks at as few bytes as tell how they are packed: a pipe may bring them one by one.
    pub fn new(from: R) -> io::Result<Self> {
        let mut from = Uninterrupted(from);
        let mut head = Vec::new();
        let mut packing = recognise(&head);
        let mut byte = [0];
        while packing.is_err() && from.read(&mut byte)? > 0 {
            head.extend(byte);
            packing = recognise(&head);
        }
        let begun = io::Cursor::new(head).chain(from);
        Ok(match packing {
            Ok(None) | Err(Unclear) => Self::Plain(begun),
            Ok(Some(Packing::Gzip)) => Self::Gzip(MultiGzDecoder::new(BufReader::new(begun))),
            Ok(Some(Packing::Zstd)) => Self::Zstd(zstd::Decoder::new(begun)?),
        })
    }

    /// Whether the bytes are those of the list itself.
    pub const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (read, packing) = match self {
            Self::Plain(from) => return from.read(into),
            Self::Gzip(decoder) => (decoder.read(into), "gzip"),
            Self::Zstd(decoder) => (decoder.read(into), "zstd"),
        };
        read.map_err(|error| match error.kind() {
            _ if error.raw_os_error().is_some() => error,
            kind @ io::ErrorKind::UnexpectedEof => io::Error::new(kind, format!("its {packing} data is cut short")),
            kind => io::Error::new(kind, format!("its {packing} data is damaged: {error}")),
        })
    }
}

enum Packing {
    Gzip,
    Zstd,
}

/// More bytes have to be seen.
struct Unclear;

fn recognise(head: &[u8]) -> Result<Option<Packing>, Unclear> {
    let (skippable, rest) = head.split_first().map_or((false, head), |(first, rest)| (first >> 4 == 5, rest));
    match () {
        () if head.starts_with(GZIP) => Ok(Some(Packing::Gzip)),
        () if head.starts_with(ZSTD) || (skippable && rest.starts_with(SKIPPABLE)) => Ok(Some(Packing::Zstd)),
        () if GZIP.starts_with(head) || ZSTD.starts_with(head) || (skippable && SKIPPABLE.starts_with(rest)) => {
            Err(Unclear)
        }
        () => Ok(None),
    }
}

/// Reads on when a signal has interrupted it: decoders take that for a failure.
pub struct Uninterrupted<R>(R);

impl<R: Read> Read for Uninterrupted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::input::testing::{ByteByByte, told};
    use crate::input::{Options, rows_of};

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).expect("written");
        encoder.finish().expect("packed")
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 0).expect("packed")
    }

    #[test]
    fn what_is_packed_is_unpacked_whatever_it_is_called() {
        let (one, two): (&[u8], &[u8]) = (b"url,caption\nhttp://a.example/1,one\nhttp://a.", b"example/2,two\n");
        let skippable = [&b"\x5A\x2A\x4D\x18\x03\0\0\0any"[..], &zstd(&[one, two].concat())].concat();
        let plain = [one, two].concat();
        for list in [
            plain,
            gzip(&[one, two].concat()),
            [gzip(one), gzip(two)].concat(),
            [zstd(one), zstd(two)].concat(),
            skippable,
        ] {
            let rows = told(&list, &Options::default());
            assert_eq!(rows, [r#"http://a.example/1 {"caption":"one"}"#, r#"http://a.example/2 {"caption":"two"}"#]);
        }
        assert_eq!(told(&gzip(b""), &Options::default()), [""; 0]);
        // What only begins as packed data does is text.
        for text in ["(http", "PAR", "P", "(\u{b5}/"] {
            assert_eq!(rows_of(text.as_bytes(), "list", &Options::default()).expect("rows").len(), 1, "{text}");
        }
    }

    #[test]
    fn what_is_cut_short_or_damaged_says_so() {
        let text = (0..1000).map(|row| format!("http://a.example/{}\n", row * row)).collect::<Vec<_>>().concat();
        for (list, what) in [(gzip(text.as_bytes()), "gzip"), (zstd(text.as_bytes()), "zstd")] {
            let error = told(&list[..list.len() - 5], &Options::default());
            assert_eq!(error, [format!("cannot read the list list: its {what} data is cut short")]);
            let mut damaged = list.clone();
            let middle = damaged.len() / 2;
            damaged[middle..middle + 8].fill(0xFF);
            let error = told(&damaged, &Options::default());
            assert!(error[0].contains(&format!("its {what} data is damaged: ")), "{error:?}");
        }
    }

    #[test]
    fn what_has_been_flushed_is_read_at_once() {
        struct Nothing;
        impl Read for Nothing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("the writer has not gone on")
            }
        }
        let line = b"http://a.example/1.png\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        let mut zstd = zstd::Encoder::new(Vec::new(), 0).expect("an encoder");
        for encoder in [&mut gzip as &mut dyn Write, &mut zstd] {
            encoder.write_all(line).and_then(|()| encoder.flush()).expect("written");
        }
        for begun in [gzip.get_ref(), zstd.get_ref()] {
            let mut unpacked = Unpacked::new(begun.chain(Nothing)).expect("read");
            let mut read = [0; 23];
            unpacked.read_exact(&mut read).expect("unpacked");
            assert_eq!(&read, line);
        }
    }

    #[test]
    fn no_more_is_read_than_tells_how_it_is_packed() {
        for (list, needed) in [("http://a.example/", 1), ("(h", 2), ("P*Mx", 4), ("\u{1f}x", 2)] {
            let Unpacked::Plain(begun) = Unpacked::new(ByteByByte(list.as_bytes())).expect("read") else {
                panic!("{list}")
            };
            assert_eq!(begun.get_ref().0.get_ref().len(), needed, "{list}");
        }
    }
}
