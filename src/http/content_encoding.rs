//! Bodies that come in a content coding nobody asked for (RFC 9110, section 8.4).
//!
//! Pictures are compressed already, so none is asked for. Some come compressed all the same, mostly SVG that was stored
//! that way; they are decoded, piece by piece, so that the limit on bytes holds for what comes out and a few kilobytes
//! that claim to be gigabytes cost neither memory nor disk.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;

use async_compression::tokio::bufread::{GzipDecoder, ZlibDecoder};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

use crate::record::{BoxError, ErrorKind, FetchError};

/// So much of what comes out is handed on at once, in bytes.
const OUTPUT_BUFFER_BYTES: usize = 32 * 1024;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    /// `gzip` (RFC 1952).
    Gzip,
    /// `deflate`, which is the zlib format (RFC 1950).
    Deflate,
}

impl ContentCoding {
    /// The first byte of everything compressed this way. No image format begins with it.
    const fn first_byte(self) -> u8 {
        match self {
            Self::Gzip => 0x1F,
            Self::Deflate => 0x78,
        }
    }
}

impl fmt::Display for ContentCoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        })
    }
}

/// The coding that the head of an answer speaks of, if it speaks of one. What is no coding at all (`utf-8`, `none`,
/// `binary`) is somebody's mistake and means nothing.
///
/// # Errors
/// When it is one that fetchimg cannot unpack, or several.
pub fn content_coding(headers: &HeaderMap) -> Result<Option<ContentCoding>, FetchError> {
    let mut found = None;
    let values = headers.get_all(CONTENT_ENCODING).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let names =
        values.flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()).collect::<Vec<_>>());
    for name in names {
        let coding = match &*name {
            "gzip" | "x-gzip" => ContentCoding::Gzip,
            "deflate" => ContentCoding::Deflate,
            // The others of the IANA's registry.
            "br" | "zstd" | "compress" | "x-compress" | "dcb" | "dcz" | "exi" | "aes128gcm" | "pack200-gzip" => {
                return Err(refused(&format!("the body is packed as {name}, which nobody asked for")));
            }
            _ => continue,
        };
        if found.replace(coding).is_some() {
            return Err(refused("the body is packed more than once, which nobody asked for"));
        }
    }
    Ok(found)
}

fn refused(clause: &str) -> FetchError {
    FetchError::new(ErrorKind::Protocol, clause)
}

/// Unpacks a body.
pub struct ContentDecoder {
    coding: ContentCoding,
    compressed: Option<CompressedReader>,
    decoded: Option<Pin<Box<dyn AsyncRead + Send>>>,
}

type CompressedReader = StreamReader<Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>, Bytes>;

/// Why there is nothing more.
pub enum DecodeError<E> {
    /// The body itself broke off.
    Body(E),
    /// What came is not compressed as it is said to be.
    Coding(FetchError),
}

impl fmt::Debug for ContentDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentDecoder({})", self.coding)
    }
}

impl ContentDecoder {
    /// Of the frames of a body.
    pub fn new<E: Into<BoxError>>(
        coding: ContentCoding,
        frames: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Self {
        let frames = frames.map(|frame| frame.map_err(io::Error::other));
        Self { coding, compressed: Some(StreamReader::new(Box::pin(frames))), decoded: None }
    }

    /// The next bytes that come out, some at a time; `None` at the end.
    pub async fn next<E: Error + Send + Sync + 'static>(&mut self) -> Result<Option<Bytes>, DecodeError<E>> {
        let mut bytes = Vec::with_capacity(OUTPUT_BUFFER_BYTES);
        let read = async {
            if let Some(mut compressed) = self.compressed.take() {
                // Some servers say gzip of what is none. Browsers fail; the bytes speak for themselves.
                let is_compressed = compressed.fill_buf().await?.first() == Some(&self.coding.first_byte());
                self.decoded = Some(match self.coding {
                    _ if !is_compressed => Box::pin(compressed),
                    ContentCoding::Gzip => {
                        let mut decoder = GzipDecoder::new(compressed);
                        decoder.multiple_members(true);
                        Box::pin(decoder)
                    }
                    ContentCoding::Deflate => Box::pin(ZlibDecoder::new(compressed)),
                });
            }
            match &mut self.decoded {
                Some(decoded) => decoded.read_buf(&mut bytes).await,
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
                    let clause = format!("the body is not packed as {}, though the answer says so", self.coding);
                    Err(DecodeError::Coding(refused(&clause).caused_by(error)))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use reqwest::header::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn codings_are_told_from_mistakes() {
        for (values, expected) in [
            (&[][..], None),
            (&["identity"], None),
            (&["utf-8"], None),
            (&["none, binary"], None),
            (&["GZip"], Some(ContentCoding::Gzip)),
            (&["x-gzip"], Some(ContentCoding::Gzip)),
            (&["identity", "deflate"], Some(ContentCoding::Deflate)),
        ] {
            assert_eq!(content_coding(&headers(values)).expect("understood"), expected, "{values:?}");
        }
        for values in [&["br"][..], &["gzip, gzip"], &["gzip", "deflate"], &["gzip,zstd"]] {
            assert_eq!(
                content_coding(&headers(values)).expect_err("refused").kind(),
                ErrorKind::Protocol,
                "{values:?}"
            );
        }
    }

    /// `abc` a thousand times, as gzip packs it.
    async fn compressed() -> Vec<u8> {
        let text = b"abc".repeat(1000);
        let mut encoder = async_compression::tokio::bufread::GzipEncoder::new(&text[..]);
        let mut compressed = Vec::new();
        encoder.read_to_end(&mut compressed).await.expect("memory takes everything");
        compressed
    }

    async fn decode(coding: ContentCoding, bytes: &[u8], by: usize) -> Result<Vec<u8>, DecodeError<Infallible>> {
        let frames = bytes.chunks(by).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)));
        let mut decoder = ContentDecoder::new(coding, futures::stream::iter(frames.collect::<Vec<_>>()));
        let mut all = Vec::new();
        while let Some(bytes) = decoder.next::<Infallible>().await? {
            assert!(bytes.len() <= OUTPUT_BUFFER_BYTES);
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn what_is_packed_is_unpacked_however_it_comes_and_the_rest_is_left_alone() {
        let compressed = compressed().await;
        for by in [1, 7, 4096] {
            assert!(decode(ContentCoding::Gzip, &compressed, by).await.is_ok_and(|all| all == b"abc".repeat(1000)));
            assert!(decode(ContentCoding::Gzip, b"\x89PNG", by).await.is_ok_and(|all| all == b"\x89PNG"), "it is none");
            assert!(decode(ContentCoding::Deflate, b"", by).await.is_ok_and(|all| all.is_empty()));
        }
        let twice = compressed.repeat(2);
        assert!(
            decode(ContentCoding::Gzip, &twice, 100).await.is_ok_and(|all| all.len() == 6000),
            "members follow each other"
        );
    }

    #[tokio::test]
    async fn what_is_torn_or_spoiled_is_an_error() {
        let mut compressed = compressed().await;
        let torn = decode(ContentCoding::Gzip, &compressed[..compressed.len() - 3], 10).await;
        assert!(matches!(torn, Err(DecodeError::Coding(error)) if error.kind() == ErrorKind::CutShort));
        compressed[12] ^= 0xFF;
        let spoiled = decode(ContentCoding::Gzip, &compressed, 10).await;
        assert!(matches!(spoiled, Err(DecodeError::Coding(error)) if error.kind() == ErrorKind::Protocol));
    }
}
