//! Decodes compressed bodies, which were not asked for (RFC 9110, section 8.4).
//!
//! Images are compressed already, so requests ask for no content coding. Some bodies have one all the same, mostly SVG
//! that was stored compressed. They are decoded piece by piece, so that the limit on bytes holds for the decoded body,
//! and a few kilobytes that decode to gigabytes cost neither memory nor disk.

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

/// The largest number of decoded bytes that is returned at once.
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
    /// The first byte of every body with this coding. No image format begins with it.
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
            // The other content codings in the registry of IANA.
            "br" | "zstd" | "compress" | "x-compress" | "dcb" | "dcz" | "exi" | "aes128gcm" | "pack200-gzip" => {
                return Err(refused(&format!("the body is packed as {name}, though no compression was asked for")));
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
    decoded: Option<Pin<Box<dyn AsyncRead + Send>>>,
}

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
                // Some servers send `gzip` with a body that is not compressed. Browsers fail on it; here the bytes
                // decide.
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

    /// `abc` a thousand times, compressed with gzip.
    async fn compressed() -> Vec<u8> {
        let text = b"abc".repeat(1000);
        let mut encoder = async_compression::tokio::bufread::GzipEncoder::new(&text[..]);
        let mut compressed = Vec::new();
        encoder.read_to_end(&mut compressed).await.expect("memory takes everything");
        compressed
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
}
