//! Decompresses lists that are compressed with gzip or zstd, whatever their names are.
//!
//! The first bytes tell the compression. A list is decompressed as it arrives: what its writer has flushed can be read
//! at once. Several gzip members or zstd frames in a row are one list, as `cat` and parallel compressors make them.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// The first bytes of every member of a gzip file (RFC 1952, section 2.3.1).
const GZIP_MAGIC: &[u8] = b"\x1F\x8B";

/// The first bytes of a zstd frame (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: &[u8] = b"\x28\xB5\x2F\xFD";

/// The last three bytes of the magic of a skippable frame, which parallel compressors put first (RFC 8878, section
/// 3.1.2). The byte before them is 0x50 to 0x5F.
const SKIPPABLE_MAGIC_TAIL: &[u8] = b"\x2A\x4D\x18";

/// The decompressed bytes of a list.
pub enum Decompressor<R: Read> {
    /// Not compressed.
    Plain(Peeked<R>),
    /// Compressed with gzip (RFC 1952).
    Gzip(MultiGzDecoder<BufReader<Peeked<R>>>),
    /// Compressed with zstd (RFC 8878).
    Zstd(zstd::Decoder<'static, BufReader<Peeked<R>>>),
}

/// The bytes that were read to detect the compression, then the rest.
type Peeked<R> = io::Chain<io::Cursor<Vec<u8>>, RetryInterrupted<R>>;

impl<R: Read> Decompressor<R> {
    /// Detects the compression from as few bytes as it takes: a pipe may bring them one by one.
    pub fn new(from: R) -> io::Result<Self> {
        let mut from = RetryInterrupted(from);
        let mut head = Vec::new();
        let mut compression = detect(&head);
        let mut byte = [0];
        while compression.is_err() && from.read(&mut byte)? > 0 {
            head.extend(byte);
            compression = detect(&head);
        }
        let peeked = io::Cursor::new(head).chain(from);
        Ok(match compression {
            Ok(None) | Err(NeedMoreBytes) => Self::Plain(peeked),
            Ok(Some(Compression::Gzip)) => Self::Gzip(MultiGzDecoder::new(BufReader::new(peeked))),
            Ok(Some(Compression::Zstd)) => Self::Zstd(zstd::Decoder::new(peeked)?),
        })
    }

    /// Whether the list is not compressed.
    pub const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (read, compression) = match self {
            Self::Plain(from) => return from.read(into),
            Self::Gzip(decoder) => (decoder.read(into), "gzip"),
            Self::Zstd(decoder) => (decoder.read(into), "zstd"),
        };
        read.map_err(|error| match error.kind() {
            _ if error.raw_os_error().is_some() => error,
            kind @ io::ErrorKind::UnexpectedEof => io::Error::new(kind, format!("its {compression} data is cut short")),
            kind => io::Error::new(kind, format!("its {compression} data is damaged: {error}")),
        })
    }
}

enum Compression {
    Gzip,
    Zstd,
}

/// More bytes are needed to detect the compression.
struct NeedMoreBytes;

/// The compression that these first bytes show; `Ok(None)`: none.
fn detect(head: &[u8]) -> Result<Option<Compression>, NeedMoreBytes> {
    let (skippable, rest) = head.split_first().map_or((false, head), |(first, rest)| (first >> 4 == 5, rest));
    match () {
        () if head.starts_with(GZIP_MAGIC) => Ok(Some(Compression::Gzip)),
        () if head.starts_with(ZSTD_MAGIC) || (skippable && rest.starts_with(SKIPPABLE_MAGIC_TAIL)) => {
            Ok(Some(Compression::Zstd))
        }
        () if GZIP_MAGIC.starts_with(head)
            || ZSTD_MAGIC.starts_with(head)
            || (skippable && SKIPPABLE_MAGIC_TAIL.starts_with(rest)) =>
        {
            Err(NeedMoreBytes)
        }
        () => Ok(None),
    }
}

/// A reader that tries again when a signal has interrupted a read; decoders take that for a failure.
pub struct RetryInterrupted<R>(R);

impl<R: Read> Read for RetryInterrupted<R> {
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
    use crate::input::testing::{ByteByByte, rows_as_text};
    use crate::input::{Options, rows_of};

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).expect("written");
        encoder.finish().expect("compressed")
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 0).expect("compressed")
    }

    #[test]
    fn compressed_lists_are_detected_by_content() {
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
            let rows = rows_as_text(&list, &Options::default());
            assert_eq!(rows, [r#"http://a.example/1 {"caption":"one"}"#, r#"http://a.example/2 {"caption":"two"}"#]);
        }
        assert_eq!(rows_as_text(&gzip(b""), &Options::default()), [""; 0]);
        // These begin as a signature does, and are text.
        for text in ["(http", "PAR", "P", "(\u{b5}/"] {
            assert_eq!(rows_of(text.as_bytes(), "list", &Options::default()).expect("rows").len(), 1, "{text}");
        }
    }

    #[test]
    fn data_that_is_cut_short_or_damaged_is_an_error() {
        let text = (0..1000).map(|row| format!("http://a.example/{}\n", row * row)).collect::<Vec<_>>().concat();
        for (list, what) in [(gzip(text.as_bytes()), "gzip"), (zstd(text.as_bytes()), "zstd")] {
            let error = rows_as_text(&list[..list.len() - 5], &Options::default());
            assert_eq!(error, [format!("cannot read the list list: its {what} data is cut short")]);
            let mut damaged = list.clone();
            let middle = damaged.len() / 2;
            damaged[middle..middle + 8].fill(0xFF);
            let error = rows_as_text(&damaged, &Options::default());
            assert!(error[0].contains(&format!("its {what} data is damaged: ")), "{error:?}");
        }
    }

    #[test]
    fn flushed_data_is_read_at_once() {
        struct NoMoreData;
        impl Read for NoMoreData {
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
        for peeked in [gzip.get_ref(), zstd.get_ref()] {
            let mut decompressor = Decompressor::new(peeked.chain(NoMoreData)).expect("read");
            let mut read = [0; 23];
            decompressor.read_exact(&mut read).expect("decompressed");
            assert_eq!(&read, line);
        }
    }

    #[test]
    fn no_more_bytes_are_read_than_the_detection_needs() {
        for (list, needed) in [("http://a.example/", 1), ("(h", 2), ("P*Mx", 4), ("\u{1f}x", 2)] {
            let Decompressor::Plain(peeked) = Decompressor::new(ByteByByte(list.as_bytes())).expect("read") else {
                panic!("{list}")
            };
            assert_eq!(peeked.get_ref().0.get_ref().len(), needed, "{list}");
        }
    }
}
