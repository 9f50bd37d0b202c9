//! Reads `data:` URLs, which hold what they name (RFC 2397), as a browser does (WHATWG Fetch Standard, "data: URL
//! processor").

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode_str;
use url::{Position, Url};

/// What a `data:` URL holds.
#[derive(Debug, PartialEq, Eq)]
pub struct DataUrl {
    /// The media type, as the URL writes it. Without one, that of plain text.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What stands for the media type where there is none (RFC 2397, section 2).
const PLAIN_TEXT: &str = "text/plain;charset=US-ASCII";

/// Padding may be missing, and bits behind the last byte may be set.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Whether it is a `data:` URL.
#[must_use]
pub fn is_data_url(url: &Url) -> bool {
    url.scheme() == "data"
}

/// Reads a `data:` URL. The fragment is not part of what it holds.
///
/// # Errors
/// A clause for the user: there is no comma, or what follows `;base64` is no Base64.
pub fn decode(url: &Url) -> Result<DataUrl, String> {
    let text = &url[Position::AfterScheme..Position::AfterQuery];
    let text = text.strip_prefix(':').unwrap_or(text);
    let Some((head, body)) = text.split_once(',') else {
        return Err("the data: URL has no comma before its data".to_owned());
    };
    let bytes = percent_decode_str(body).collect::<Vec<u8>>();
    let head = head.trim_matches(' ');
    let is_base64 = |mark: &str| mark.trim_start_matches(' ').eq_ignore_ascii_case("base64");
    let (media_type, bytes) = match head.rsplit_once(';').filter(|(_, mark)| is_base64(mark)) {
        Some((media_type, _)) => {
            let plain = bytes.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>();
            let decoded = FORGIVING.decode(plain);
            (media_type, decoded.map_err(|_| "the data: URL holds no valid Base64".to_owned())?)
        }
        None => (head, bytes),
    };
    let media_type = match media_type {
        "" => PLAIN_TEXT.to_owned(),
        parameters if parameters.starts_with(';') => format!("text/plain{parameters}"),
        media_type => media_type.to_owned(),
    };
    Ok(DataUrl { media_type, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_urls_are_read_as_a_browser_reads_them() {
        for (url, media_type, bytes) in [
            ("data:image/png;base64,iVBORw0KGgo=", "image/png", &b"\x89PNG\r\n\x1a\n"[..]),
            ("DATA:image/png;base64,iVBORw0KGgo", "image/png", b"\x89PNG\r\n\x1a\n"),
            ("data:image/png; BASE64 ,iVBO%0A Rw0K%20Ggo%3D", "image/png", b"\x89PNG\r\n\x1a\n"),
            (
                "data:image/svg+xml;charset=utf-8,%3Csvg%20a='b,c'/>?x",
                "image/svg+xml;charset=utf-8",
                b"<svg a='b,c'/>?x",
            ),
            ("data:image/svg+xml,<svg/>#part", "image/svg+xml", b"<svg/>"),
            ("data:,a%20b", PLAIN_TEXT, b"a b"),
            ("data:;base64,YQ==", PLAIN_TEXT, b"a"),
            ("data:;charset=utf-8,a", "text/plain;charset=utf-8", b"a"),
            ("data:a/b;base64;c,YQ==", "a/b;base64;c", b"YQ=="),
            ("data:a/b,%", "a/b", b"%"),
            ("data:a/b,", "a/b", b""),
        ] {
            let decoded = decode(&Url::parse(url).expect("a URL"));
            assert_eq!(decoded, Ok(DataUrl { media_type: media_type.to_owned(), bytes: bytes.to_vec() }), "{url}");
        }
        for (url, clause) in [
            ("data:", "no comma"),
            ("data:image/png;base64", "no comma"),
            ("data:image/png;base64,iVBO*", "no valid Base64"),
            ("data:image/png;base64,iVBORw0KG", "no valid Base64"),
            ("data:image/png;base64,iVBOR===", "no valid Base64"),
            ("data:image/png;base64,-_-_", "no valid Base64"),
        ] {
            let error = decode(&Url::parse(url).expect("a URL")).expect_err(url);
            assert!(error.contains(clause), "{url}: {error}");
        }
    }
}
