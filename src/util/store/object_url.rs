//! The URL of an object as the row of a list has it (`--store-urls`).
//!
//! The text of such a row is not that of a URL: what is behind the bucket is the key, letter by letter, as the programs of
//! the stores take it. `s3://b/a b%20c?d#e.jpg` names `a b%20c?d#e.jpg`. So that rows can be handled as all others are, a
//! row has a URL in which the key is encoded, and is shown as it stands in the list.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::{Scheme, StoreUrl};

/// What is encoded in a key: all that is not unreserved (RFC 3986, section 2.3), but slashes. Signatures of S3 are made of
/// the path in this form.
const IN_KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// The name of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// The protocol of its store.
    pub scheme: Scheme,
    /// The bucket, or the container of Azure.
    pub bucket: String,
    /// The key in the bucket, not encoded, without the slash before it.
    pub key: String,
}

impl ObjectName {
    /// The object that a URL names: one that [`parse`] has made, or another whose key is encoded likewise.
    ///
    /// # Errors
    /// A sentence that says why it names none.
    pub fn of(url: &Url) -> Result<Self, String> {
        let scheme = scheme(url).ok_or_else(|| format!("{}: is none of an object store", url.scheme()))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("a question mark and a number sign in the key must be encoded, as %3F and %23".to_owned());
        }
        let key = percent_decode_str(url.path()).decode_utf8().map_err(|_| "its key is not valid UTF-8".to_owned())?;
        let name = format!("{}{key}", &url[..url::Position::AfterPort]);
        named(scheme, &name).map(|(bucket, key)| Self { scheme, bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// The key as a part of an HTTP(S) URL.
    #[cfg(feature = "object-store")]
    pub(super) fn encoded_key(&self) -> String {
        utf8_percent_encode(&self.key, IN_KEY).to_string()
    }
}

/// Whether it is the URL of an object in a store.
#[must_use]
pub fn is_object_url(url: &Url) -> bool {
    scheme(url).is_some()
}

fn scheme(url: &Url) -> Option<Scheme> {
    Scheme::ALL.into_iter().find(|(name, _)| *name == url.scheme()).map(|(_, scheme)| scheme)
}

/// Whether a text begins as the URL of an object does.
#[must_use]
pub fn begins_as_object_url(text: &[u8]) -> bool {
    Scheme::ALL.iter().any(|(name, _)| {
        let head = text.get(..name.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(name.as_bytes())) && text[name.len()..].starts_with(b"://")
    })
}

/// The URL for a row. `None`: its text is not meant as that of an object.
///
/// # Errors
/// A sentence that says why it names no object.
#[must_use]
pub fn parse(text: &str) -> Option<Result<Url, String>> {
    if !begins_as_object_url(text.as_bytes()) {
        return None;
    }
    let (name, _) = text.split_once("://")?;
    let (_, scheme) = Scheme::ALL.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known))?;
    Some(named(scheme, text).and_then(|(bucket, key)| {
        let url = format!("{}://{bucket}/{}", scheme.name(), utf8_percent_encode(key, IN_KEY));
        Url::parse(&url).map_err(|error| error.to_string())
    }))
}

/// The bucket and the key of a text with this scheme.
fn named(scheme: Scheme, text: &str) -> Result<(&str, &str), String> {
    let (_, rest) = text.split_once("://").unwrap_or(("", text));
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    // It knows what is wrong with a bucket.
    StoreUrl::parse(&format!("{}://{bucket}", scheme.name()))
        .unwrap_or_else(|| Err("it names no bucket".to_owned()))?;
    if key.is_empty() {
        return Err(format!("it names no object; it is {}://BUCKET/KEY", scheme.name()));
    }
    // No URL of HTTP can ask for such a key (RFC 3986, section 5.2.4).
    if key.split('/').any(|part| matches!(part, "." | "..")) {
        return Err("its key has a dot or two dots as a part, which no request can ask for".to_owned());
    }
    if key.chars().any(char::is_control) {
        return Err("its key has a control character".to_owned());
    }
    Ok((bucket, key))
}

/// The text that stands in a list for the URL of an object, and any other URL as it is.
#[must_use]
pub fn literal(url: &Url) -> Cow<'_, str> {
    let text = url.as_str();
    // The way of nearly all URLs of nearly all lists.
    if text.starts_with("http") || !is_object_url(url) || url.query().is_some() || url.fragment().is_some() {
        return Cow::Borrowed(text);
    }
    match percent_decode_str(url.path()).decode_utf8() {
        Ok(path) if path != url.path() => Cow::Owned(format!("{}{path}", &url[..url::Position::BeforePath])),
        _ => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        parse(text).expect("of a store").unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn keys_are_taken_letter_by_letter() {
        for (text, encoded, key) in [
            ("s3://b/a b%20c?d#e.jpg", "s3://b/a%20b%2520c%3Fd%23e.jpg", "a b%20c?d#e.jpg"),
            ("S3A://b/a//c/", "s3://b/a//c/", "a//c/"),
            ("gs://b.c//a", "gs://b.c//a", "/a"),
            ("az://b/ä+'&.png", "az://b/%C3%A4%2B%27%26.png", "ä+'&.png"),
            ("s3://b/%2e%2e/a", "s3://b/%252e%252e/a", "%2e%2e/a"),
            ("s3://b/a..b/.c", "s3://b/a..b/.c", "a..b/.c"),
            ("s3://b/http://a.example/x:y@z", "s3://b/http%3A//a.example/x%3Ay%40z", "http://a.example/x:y@z"),
        ] {
            let url = url(text);
            assert_eq!(url.as_str(), encoded);
            let name = ObjectName::of(&url).expect(text);
            assert_eq!(name.key, key);
            let shown = text.replace("S3A", "s3");
            assert_eq!(literal(&url), shown);
            assert_eq!(parse(&literal(&url)), Some(Ok(url.clone())), "what is shown can be put into a list again");
        }
    }

    #[test]
    fn what_names_no_object_is_said() {
        for (text, part) in [
            ("s3://", "names no bucket"),
            ("s3:///a", "names no bucket"),
            ("s3://b", "s3://BUCKET/KEY"),
            ("s3a://b/", "s3://BUCKET/KEY"),
            ("s3://key:secret@b/a", "credentials and endpoints are not part of the URL"),
            ("s3://b/../a", "two dots"),
            ("gs://b/a/./c", "a dot"),
            ("az://b/a\u{1b}", "control character"),
        ] {
            let error = parse(text).expect(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        for text in ["http://b/a", "s3:b/a", "s3x://b/a", "file:///a", "s3", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
        // Of other programs.
        let other = |text| ObjectName::of(&Url::parse(text).expect("a URL"));
        assert_eq!(other("s3://b/a%20b").expect("a name").key, "a b");
        for text in ["s3://b/a?b", "s3://b/a#b", "s3://b/%FF", "http://b/a", "s3://b"] {
            other(text).expect_err(text);
        }
        assert_eq!(literal(&Url::parse("s3://b/%FF").expect("a URL")), "s3://b/%FF");
    }
}
