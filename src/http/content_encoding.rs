//! Decodes compressed bodies, which were not asked for (RFC 9110, section 8.4).
//!
//! Images are compressed already, so requests ask for no content coding. Some bodies have one all the same: SVG that was
//! stored compressed, and whatever a cache was asked for by others. They are decoded piece by piece, so that the limit on
//! bytes holds for the decoded body, and a few kilobytes that decode to gigabytes cost neither memory nor disk.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;

use async_compression::tokio::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress};
use futures::{Stream, StreamExt};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, Chain};
use tokio_util::io::StreamReader;

use crate::record::{BoxError, ErrorKind, FetchError};

/// The largest number of decoded bytes that is returned at once.
const OUTPUT_BUFFER_BYTES: usize = 32 * 1024;

/// The number of bytes at the beginning of a body that tell whether it is compressed.
const HEAD_BYTES: usize = 12;

/// The same for `deflate`, which has no signature where the zlib format is left out: an image must come out of them.
const DEFLATE_HEAD_BYTES: usize = 512;

/// The largest window of zstd, as a power of two: 8 MiB, which is the limit for HTTP (RFC 9659). A decoder keeps the window
/// in memory.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    /// `gzip` (RFC 1952).
    Gzip,
    /// `deflate`, which is the zlib format (RFC 1950). Some servers send what is inside of that format alone (RFC 1951).
    Deflate,
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
}

/// What the beginning of a body says about the coding that the header names.
enum Beginning {
    /// It may have the coding.
    Compressed,
    /// It is `deflate` without the zlib format around it.
    RawDeflate,
    /// It has none: some servers send `gzip` with a body that is not compressed. Browsers fail on it; here the bytes
    /// decide.
    Plain,
    /// It has the coding, with something in its header that cannot be decoded.
    Broken,
}

impl ContentCoding {
    /// The number of bytes that [`ContentCoding::beginning`] looks at.
    const fn head_bytes(self) -> usize {
        match self {
            Self::Deflate => DEFLATE_HEAD_BYTES,
            Self::Gzip | Self::Brotli | Self::Zstd => HEAD_BYTES,
        }
    }

    /// Looks at the first bytes of a body, or at all of a shorter one.
    fn beginning(self, head: &[u8]) -> Beginning {
        if head.is_empty() {
            return Beginning::Plain;
        }
        let is_image = begins_as_image(head);
        let (is_compressed, is_plain) = match self {
            // The three upper bits of the flags are reserved.
            Self::Gzip => (
                matches!(head, [0x1F] | [0x1F, 0x8B] | [0x1F, 0x8B, 8] | [0x1F, 0x8B, 8, 0..=31, ..]),
                !is_like_gzip(head),
            ),
            Self::Deflate if !is_image && !is_zlib(head) && is_deflated_image(head) => return Beginning::RawDeflate,
            Self::Deflate => (!is_image && is_zlib(head), true),
            // A frame, or one that is skipped.
            Self::Zstd => {
                (matches!(head, [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..]), is_image)
            }
            // Brotli has no signature. With this byte it would have a window of up to a gigabyte, which RFC 7932 does not
            // know and memory does not hold.
            Self::Brotli => (!is_image && head[0] & 0x7F != 0x11, is_image),
        };
        match (is_compressed, is_plain) {
            (true, _) => Beginning::Compressed,
            (false, true) => Beginning::Plain,
            (false, false) => Beginning::Broken,
        }
    }
}

/// Whether a body begins in the zlib format: the method is deflate, and the check of the first two bytes is right.
fn is_zlib(head: &[u8]) -> bool {
    match *head {
        [first] => first == 0x78,
        [first @ 0x08..=0x78, second, ..] => {
            first & 0x0F == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31)
        }
        _ => false,
    }
}

/// Whether an image comes out of the first bytes of a body by deflate (RFC 1951).
fn is_deflated_image(head: &[u8]) -> bool {
    let mut out = Vec::with_capacity(HEAD_BYTES);
    let decoded = Decompress::new(false).decompress_vec(head, &mut out, FlushDecompress::None);
    decoded.is_ok() && (begins_as_image(&out) || out.starts_with(b"BM"))
}

/// Whether bytes that are no valid header of gzip were meant as one: either half of the signature is there, or the method,
/// the flags, the level and the operating system have values that the format knows.
const fn is_like_gzip(head: &[u8]) -> bool {
    matches!(head, [0x1F, ..] | [_, 0x8B, ..] | [_, _, 8, 0..=31, _, _, _, _, 0 | 2 | 4, 0..=13 | 255, ..])
}

/// Whether a body begins as the usual image formats and pages do. Compressed bytes do so once in millions of bodies.
fn begins_as_image(head: &[u8]) -> bool {
    const SIGNATURES: [&[u8]; 11] = [
        b"\x89PNG",
        b"\xFF\xD8\xFF",
        b"GIF8",
        b"RIFF",
        b"II*\0",
        b"MM\0*",
        b"\0\0\x01\0",
        b"<svg",
        b"<?xml",
        b"<!DOCTYPE",
        b"<html",
    ];
    SIGNATURES.iter().any(|signature| head.starts_with(signature)) || head.get(4..8) == Some(b"ftyp")
}

impl fmt::Display for ContentCoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        })
    }
}

/// The content coding that the header names, if any. Values that are no content coding (`utf-8`, `none`, `binary`) are
/// mistakes of the server and are ignored.
///
/// # Errors
/// If there are several codings, or one that fetchimg cannot decode.
pub fn content_coding(headers: &HeaderMap) -> Result<Option<ContentCoding>, FetchError> {
    let mut found = None;
    let values = headers.get_all(CONTENT_ENCODING).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let names =
        values.flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()).collect::<Vec<_>>());
    for name in names {
        let coding = match &*name {
            "gzip" | "x-gzip" => ContentCoding::Gzip,
            "deflate" => ContentCoding::Deflate,
            "br" => ContentCoding::Brotli,
            "zstd" => ContentCoding::Zstd,
            // The other content codings in the registry of IANA.
            "compress" | "x-compress" | "dcb" | "dcz" | "exi" | "aes128gcm" | "pack200-gzip" => {
                return Err(refused(&format!("the body is compressed as {name}, though no compression was asked for")));
            }
            _ => continue,
        };
        if found.replace(coding).is_some() {
            return Err(refused("the body is compressed more than once, though no compression was asked for"));
        }
    }
    Ok(found)
}

fn refused(clause: &str) -> FetchError {
    FetchError::new(ErrorKind::Protocol, clause)
}

/// Decodes a body.
pub struct ContentDecoder {
    coding: ContentCoding,
    compressed: Option<CompressedReader>,
    decoded: Option<Decoded>,
}

/// What decodes a body whose beginning has been seen.
enum Decoded {
    /// gzip, whose members follow each other.
    Members(Option<Box<GzipDecoder<WholeReader>>>),
    /// Anything else.
    Reader(Pin<Box<dyn AsyncRead + Send>>),
}

impl Decoded {
    fn new(coding: ContentCoding, beginning: &Beginning, whole: WholeReader) -> io::Result<Self> {
        Ok(Self::Reader(match (beginning, coding) {
            (Beginning::Plain, _) => Box::pin(whole),
            (Beginning::Broken, _) => return Err(io::Error::other("its header is broken")),
            (Beginning::RawDeflate, _) => Box::pin(DeflateDecoder::new(whole)),
            (Beginning::Compressed, ContentCoding::Gzip) => {
                return Ok(Self::Members(Some(Box::new(GzipDecoder::new(whole)))));
            }
            (Beginning::Compressed, ContentCoding::Deflate) => Box::pin(ZlibDecoder::new(whole)),
            (Beginning::Compressed, ContentCoding::Brotli) => Box::pin(BrotliDecoder::new(whole)),
            (Beginning::Compressed, ContentCoding::Zstd) => {
                let limits = [DParameter::window_log_max(MAX_ZSTD_WINDOW_LOG)];
                let mut decoder = ZstdDecoder::with_params(whole, &limits);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
        }))
    }

    /// Reads into a buffer. Returns 0 at the end.
    async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            let members = match self {
                Self::Reader(reader) => return reader.read_buf(buffer).await,
                Self::Members(members) => members,
            };
            let Some(member) = members else { return Ok(0) };
            match member.read_buf(buffer).await? {
                0 => {}
                count => return Ok(count),
            }
            // What follows a member is another one, or something that curl and gzip pass over, too, such as zeros.
            if member.get_mut().fill_buf().await?.first() != Some(&GZIP_FIRST) {
                return Ok(0);
            }
            *members = members.take().map(|member| Box::new(GzipDecoder::new(member.into_inner())));
        }
    }
}

/// The byte with which a member of gzip begins.
const GZIP_FIRST: u8 = 0x1F;

/// A body whose beginning has been read.
type WholeReader = Chain<io::Cursor<Vec<u8>>, CompressedReader>;

type CompressedReader = StreamReader<Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>, Bytes>;

/// Why no more bytes can be decoded.
pub enum DecodeError<E> {
    /// Reading the body failed.
    Body(E),
    /// The body is not compressed as the header says.
    Coding(FetchError),
}

impl fmt::Debug for ContentDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentDecoder({})", self.coding)
    }
}

impl ContentDecoder {
    /// A decoder for the frames of a body.
    pub fn new<E: Into<BoxError>>(
        coding: ContentCoding,
        frames: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Self {
        let frames = frames.map(|frame| frame.map_err(io::Error::other));
        Self { coding, compressed: Some(StreamReader::new(Box::pin(frames))), decoded: None }
    }

    /// The next decoded bytes; `None` at the end.
    pub async fn next<E: Error + Send + Sync + 'static>(&mut self) -> Result<Option<Bytes>, DecodeError<E>> {
        let mut bytes = Vec::with_capacity(OUTPUT_BUFFER_BYTES);
        let read = async {
            if let Some(mut compressed) = self.compressed.take() {
                let mut head = Vec::with_capacity(self.coding.head_bytes());
                (&mut compressed).take(self.coding.head_bytes() as u64).read_to_end(&mut head).await?;
                let beginning = self.coding.beginning(&head);
                let whole = io::Cursor::new(head).chain(compressed);
                self.decoded = Some(Decoded::new(self.coding, &beginning, whole)?);
            }
            match &mut self.decoded {
                Some(decoded) => decoded.read(&mut bytes).await,
                None => Ok(0),
            }
        };
        match read.await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(bytes.into())),
            Err(error) => match error.downcast::<E>() {
                Ok(body) => Err(DecodeError::Body(body)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    let clause = format!("the {} of the body ended before its end", self.coding);
                    Err(DecodeError::Coding(FetchError::new(ErrorKind::CutShort, clause)))
                }
                Err(error) => {
                    let clause = format!("the body is not compressed as {}, though the answer says so", self.coding);
                    Err(DecodeError::Coding(refused(&clause).caused_by(error)))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use async_compression::tokio::bufread;
    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn content_codings_are_distinguished_from_mistakes() {
        for (values, expected) in [
            (&[][..], None),
            (&["identity"], None),
            (&["utf-8"], None),
            (&["none, binary"], None),
            (&["GZip"], Some(ContentCoding::Gzip)),
            (&["x-gzip"], Some(ContentCoding::Gzip)),
            (&["identity", "deflate"], Some(ContentCoding::Deflate)),
            (&["br"], Some(ContentCoding::Brotli)),
            (&["ZSTD"], Some(ContentCoding::Zstd)),
        ] {
            assert_eq!(content_coding(&headers(values)).expect("understood"), expected, "{values:?}");
        }
        for values in [&["compress"][..], &["gzip, gzip"], &["gzip", "deflate"], &["gzip,zstd"], &["br", "br"]] {
            assert_eq!(
                content_coding(&headers(values)).expect_err("refused").kind(),
                ErrorKind::Protocol,
                "{values:?}"
            );
        }
    }

    const ALL: [ContentCoding; 4] =
        [ContentCoding::Gzip, ContentCoding::Deflate, ContentCoding::Brotli, ContentCoding::Zstd];

    /// `abc` a thousand times, compressed.
    async fn compressed_as(coding: ContentCoding) -> Vec<u8> {
        let text = b"abc".repeat(1000);
        let mut encoder: Pin<Box<dyn AsyncRead>> = match coding {
            ContentCoding::Gzip => Box::pin(bufread::GzipEncoder::new(&text[..])),
            ContentCoding::Deflate => Box::pin(bufread::ZlibEncoder::new(&text[..])),
            ContentCoding::Brotli => Box::pin(bufread::BrotliEncoder::new(&text[..])),
            ContentCoding::Zstd => Box::pin(bufread::ZstdEncoder::new(&text[..])),
        };
        let mut compressed = Vec::new();
        encoder.read_to_end(&mut compressed).await.expect("memory takes everything");
        compressed
    }

    async fn compressed() -> Vec<u8> {
        compressed_as(ContentCoding::Gzip).await
    }

    async fn decode(
        coding: ContentCoding,
        bytes: &[u8],
        piece_size: usize,
    ) -> Result<Vec<u8>, DecodeError<Infallible>> {
        let frames = bytes.chunks(piece_size).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)));
        let mut decoder = ContentDecoder::new(coding, futures::stream::iter(frames.collect::<Vec<_>>()));
        let mut all = Vec::new();
        while let Some(bytes) = decoder.next::<Infallible>().await? {
            assert!(bytes.len() <= OUTPUT_BUFFER_BYTES);
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn compressed_bodies_are_decoded_in_any_pieces_and_others_left_alone() {
        let compressed = compressed().await;
        for piece_size in [1, 7, 4096] {
            assert!(
                decode(ContentCoding::Gzip, &compressed, piece_size).await.is_ok_and(|all| all == b"abc".repeat(1000))
            );
            assert!(
                decode(ContentCoding::Gzip, b"\x89PNG", piece_size).await.is_ok_and(|all| all == b"\x89PNG"),
                "it is not compressed"
            );
            assert!(decode(ContentCoding::Deflate, b"", piece_size).await.is_ok_and(|all| all.is_empty()));
        }
        let twice = compressed.repeat(2);
        assert!(
            decode(ContentCoding::Gzip, &twice, 100).await.is_ok_and(|all| all.len() == 6000),
            "members follow each other"
        );
        for behind in [&[0; 700][..], b"\r\n", b"more"] {
            let padded = [&twice, behind].concat();
            for piece_size in [1, 100] {
                let decoded = decode(ContentCoding::Gzip, &padded, piece_size).await;
                assert!(decoded.is_ok_and(|all| all.len() == 6000), "{behind:?}");
            }
        }
    }

    #[tokio::test]
    async fn deflate_without_the_zlib_format_is_known_by_the_image_inside() {
        let noise = std::iter::repeat_with(|| fastrand::u8(..64)).take(1000);
        let image = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".iter().copied().chain(noise).collect::<Vec<_>>();
        let mut raw = Vec::new();
        bufread::DeflateEncoder::new(&image[..]).read_to_end(&mut raw).await.expect("memory takes everything");
        for piece_size in [1, 4096] {
            assert!(decode(ContentCoding::Deflate, &raw, piece_size).await.is_ok_and(|all| all == image));
            for plain in [&b"BM\x3a\0\0\0\0\0"[..], b"Not found", b"{\"error\": 1}", b"P6\n1 1\n255\nabc", b"\x08\x1e"]
            {
                let decoded = decode(ContentCoding::Deflate, plain, piece_size).await;
                assert!(decoded.is_ok_and(|all| all == plain), "{plain:?}");
            }
        }
        for length in (200..raw.len()).step_by(50) {
            let cut = decode(ContentCoding::Deflate, &raw[..length], 10).await;
            let Err(DecodeError::Coding(error)) = cut else { panic!("{length} bytes were enough") };
            assert!(matches!(error.kind(), ErrorKind::CutShort | ErrorKind::Protocol), "{error}");
        }
    }

    #[tokio::test]
    async fn a_truncated_or_corrupt_body_is_an_error() {
        let mut compressed = compressed().await;
        let truncated = decode(ContentCoding::Gzip, &compressed[..compressed.len() - 3], 10).await;
        assert!(matches!(truncated, Err(DecodeError::Coding(error)) if error.kind() == ErrorKind::CutShort));
        compressed[12] ^= 0xFF;
        let corrupt = decode(ContentCoding::Gzip, &compressed, 10).await;
        assert!(matches!(corrupt, Err(DecodeError::Coding(error)) if error.kind() == ErrorKind::Protocol));
    }

    #[tokio::test]
    async fn every_coding_is_decoded_refused_when_cut_and_left_alone_when_only_claimed() {
        for coding in ALL {
            let compressed = compressed_as(coding).await;
            for piece_size in [1, 5, 4096] {
                let decoded = decode(coding, &compressed, piece_size).await;
                assert!(decoded.is_ok_and(|all| all == b"abc".repeat(1000)), "{coding}");
                for plain in [&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], b"\xFF\xD8\xFF\xE0", b"GIF89a", b"<svg/>", b""] {
                    let decoded = decode(coding, plain, piece_size).await;
                    assert!(decoded.is_ok_and(|all| all == plain), "{coding}: {plain:?}");
                }
            }
            for length in 1..compressed.len() {
                let cut = decode(coding, &compressed[..length], 10).await;
                let Err(DecodeError::Coding(error)) = cut else { panic!("{coding}: {length} bytes were enough") };
                assert!(matches!(error.kind(), ErrorKind::CutShort | ErrorKind::Protocol), "{coding}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn a_broken_header_is_refused() {
        let good = compressed().await;
        for (position, byte) in [(0, 0), (0, 0x1E), (1, 0), (1, 0x8A), (2, 7), (2, 0), (3, 0x20), (3, 0xE0), (3, 2)] {
            let mut broken = good.clone();
            broken[position] = byte;
            for piece_size in [1, 4096] {
                let refused = decode(ContentCoding::Gzip, &broken, piece_size).await;
                let Err(DecodeError::Coding(error)) = refused else { panic!("{position}: {byte} was taken") };
                assert_eq!(error.kind(), ErrorKind::Protocol, "{position}: {byte}: {error}");
            }
        }
        let mut both = good.clone();
        both[..2].fill(0);
        assert!(decode(ContentCoding::Gzip, &both, 100).await.is_err());
        // A window of a gigabyte, in Brotli and in zstd.
        for (coding, head) in [
            (ContentCoding::Brotli, &b"\x11\x1e\0\0\0\0\0\0"[..]),
            (ContentCoding::Zstd, b"\x28\xB5\x2F\xFD\x00\xA0\x01\0\0"),
            (ContentCoding::Zstd, b"{\"error\": 1}"),
        ] {
            let Err(DecodeError::Coding(error)) = decode(coding, head, 100).await else { panic!("{coding} was taken") };
            assert_eq!(error.kind(), ErrorKind::Protocol, "{coding}: {error}");
        }
    }
}
