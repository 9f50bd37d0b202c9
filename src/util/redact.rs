//! Makes text from outside safe to show: control characters are escaped and secrets in URLs are redacted.
//!
//! Lists, HTTP headers and messages of servers are written by others. [`escaped`] keeps control and direction characters
//! away from the terminal; [`redacted`] keeps passwords and signatures out of logs, records and reports.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::percent_decode_str;
use serde::Serialize;
use url::Url;

/// The text with every control character and every character that changes the direction of text escaped (`\u{1b}`).
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(needs_escaping) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if needs_escaping(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Whether a character can move the cursor, change colours or change the reading direction: the C0 and C1 controls, the
/// line and paragraph separators, and the explicit directional formatting characters (Unicode Standard Annex 9).
#[must_use]
pub fn needs_escaping(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The URL as it may be shown and recorded: the password (or a user name without a password) and the values of the query
/// parameters that sign or authorise are `***`.
///
/// The fragment stays, because it is never sent to a server.
#[must_use]
pub fn redacted(url: &Url) -> Cow<'_, str> {
    let has_secret = url.query().is_some_and(|query| query.split('&').any(is_secret_pair));
    let has_user_info = url.password().is_some() || !url.username().is_empty();
    if !has_user_info && !has_secret {
        return Cow::Borrowed(url.as_str());
    }
    let mut shown = url.clone();
    // Neither call can fail: a URL with user information has a host.
    if url.password().is_some() {
        let _ = shown.set_password(Some("***"));
    } else if has_user_info {
        let _ = shown.set_username("***"); // without a password, it is often a token
    }
    if has_secret {
        shown.set_query(Some(&redacted_query(url.query().unwrap_or_default())));
    }
    Cow::Owned(shown.into())
}

/// Like [`redacted`], for text that should be a URL but does not parse as one, so that its parts have to be guessed. What
/// may be user information is `***`: at the start of the text, and after any slashes that may begin a host.
#[must_use]
pub fn redacted_text(text: &str) -> String {
    // URL parsers skip tabs and line breaks (WHATWG URL, section 4.4), so these must not hide a secret.
    let stripped = text.replace(['\t', '\n', '\r'], "");
    let shown = redacted_authorities(&stripped);
    if shown == stripped { text.to_owned() } else { shown }
}

fn redacted_authorities(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, authority, after)) = next_authority(rest, shown.is_empty()) {
        shown.push_str(before);
        // A question mark may be part of a password here, so it is not taken for the start of a query.
        shown.push_str(&authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("***@{host}")));
        rest = after;
    }
    shown.push_str(rest);
    let Some((before, query)) = shown.split_once('?') else { return shown };
    format!("{before}?{}", redacted_query(query))
}

/// Finds the next part of a text that may be an authority (user information and host): at the `start`, after two slashes
/// or more, or after a colon and a slash. Returns the text before it, the authority, and the text after it.
fn next_authority(text: &str, start: bool) -> Option<(&str, &str, &str)> {
    let is_slash = |character: char| matches!(character, '/' | '\\');
    let mut from = 0;
    loop {
        let Some(slash) = text[from..].find(is_slash).map(|at| from + at) else {
            return (start && from == 0 && !text.is_empty()).then_some(("", text, ""));
        };
        let end = text.len() - text[slash..].trim_start_matches(is_slash).len();
        let opens = end - slash > 1 || text[..slash].ends_with(':') || (start && slash == 0);
        let begin = match (start && from == 0, opens) {
            // Before the slashes there is a scheme; with an `@` in it, all of it may be user information.
            (true, true) if !text[..slash].contains('@') => end,
            (true, _) => 0,
            (false, true) => end,
            (false, false) => {
                from = end;
                continue;
            }
        };
        let rest = &text[begin..];
        let mut length = rest.find(is_slash).unwrap_or(rest.len());
        // A port is a number. Anything else after the colon is the start of a password that contains a slash.
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let is_cut = rest[..length].rsplit_once(':').is_some_and(|(_, port)| !is_port(port));
        if let (true, false, Some(at)) = (is_cut, rest[..length].contains('@'), rest.rfind('@')) {
            length = rest[at..].find(is_slash).map_or(rest.len(), |slash| at + slash);
        }
        return Some((&text[..begin], &rest[..length], &rest[length..]));
    }
}

fn redacted_query(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret_pair(pair) => format!("{name}=***"),
        _ => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Initial capacity, in bytes, of the buffer for a value in JSON. Few records are longer.
const JSON_CAPACITY: usize = 512;

/// A value as JSON, without a line feed at the end, and with every character escaped that [`needs_escaping`]. JSON itself
/// requires that only for the C0 controls; the others (DEL, C1, direction) are allowed in strings, and the JSON may be
/// printed on a terminal.
///
/// # Errors
/// When the value cannot be serialised.
pub fn json(value: &impl Serialize, pretty: bool) -> serde_json::Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(JSON_CAPACITY);
    if pretty {
        serde_json::to_writer_pretty(&mut plain, value)?;
    } else {
        serde_json::to_writer(&mut plain, value)?;
    }
    if plain.is_ascii() && !plain.contains(&0x7F) {
        return Ok(plain);
    }
    let mut escaped = String::with_capacity(plain.len() + 32);
    for character in String::from_utf8_lossy(&plain).chars() {
        if needs_escaping(character) && character != '\n' {
            // All of them are in the basic multilingual plane, so four digits are enough (RFC 8259, section 7).
            // Writing to a String cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    Ok(escaped.into_bytes())
}

/// Query parameters whose value gives access to the resource: the signatures and credentials of Amazon S3, `CloudFront`,
/// Google Cloud Storage, Azure (`sig`) and Alibaba, and the usual names for tokens and keys.
const SECRET_PARAMETERS: [&str; 20] = [
    "access_token",
    "api_key",
    "apikey",
    "auth",
    "auth_token",
    "awsaccesskeyid",
    "client_secret",
    "hmac",
    "password",
    "policy",
    "secret",
    "sig",
    "sign",
    "signature",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-credential",
    "x-goog-signature",
];

fn is_secret_pair(pair: &str) -> bool {
    let Some((name, value)) = pair.split_once('=') else { return false };
    // Servers decode parameter names, so a percent-encoded name must match too.
    let name = percent_decode_str(name).decode_utf8_lossy();
    !value.is_empty() && SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_escaped() {
        assert_eq!(escaped("plain ünïcode"), "plain ünïcode");
        assert_eq!(escaped("a\u{1b}[2Jb\r\n"), "a\\u{1b}[2Jb\\u{d}\\u{a}");
        assert_eq!(escaped("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
    }

    #[test]
    fn secrets_are_redacted_in_text_that_is_not_a_url() {
        let table = [
            ("", ""),
            ("7\thttps:/x", "7\thttps:/x"),
            ("not a url", "not a url"),
            ("ftp://ann:pw@example.org/a@b", "ftp://***@example.org/a@b"),
            ("http://ann:pw@exa mple.test/x.png?sig=1&w=2", "http://***@exa mple.test/x.png?sig=***&w=2"),
            ("https://t0k3n@[zz/a", "https://***@[zz/a"),
            ("//ann:p@w@host", "//***@host"),
            ("mail@example.org?token=x", "***@example.org?token=***"),
            ("http:/ann:pw@exa mple.test/x", "http:/***@exa mple.test/x"),
            ("ann:pw@example.org/x.png", "***@example.org/x.png"),
            ("http://ann:p?w@exa mple/", "http://***@exa mple/"),
            ("http:\\\\ann:pw@[zz", "http:\\\\***@[zz"),
            ("example.org/a@b.png", "example.org/a@b.png"),
            ("\"http://ann:pw@example.org/a.png\"", "\"http://***@example.org/a.png\""),
            ("7,https://ann:pw@example.org/a.png?sig=1", "7,https://***@example.org/a.png?sig=***"),
            ("ht\ttp:/\n/ann:pw@[zz/a", "http://***@[zz/a"),
            ("http://ann:p/w@example.org/a.png", "http://***@example.org/a.png"),
            ("/ann:pw@example.org", "/***@example.org"),
            ("x@y https://ann:pw@z/a", "***@y https://***@z/a"),
            ("http://proxy.example/http://ann:pw@[zz/a", "http://proxy.example/http://***@[zz/a"),
        ];
        for (text, shown) in table {
            assert_eq!(redacted_text(text), shown);
        }
    }

    #[test]
    fn json_contains_no_character_that_needs_escaping() {
        let text = "a\u{1b}\u{7f}\u{9b}\u{202e}é\n";
        for pretty in [false, true] {
            let written = json(&[text], pretty).expect("JSON");
            let shown = String::from_utf8(written).expect("UTF-8");
            assert!(!shown.chars().any(|character| needs_escaping(character) && character != '\n'), "{shown}");
            assert_eq!(serde_json::from_str::<Vec<String>>(&shown).expect("JSON"), [text]);
        }
    }

    #[test]
    fn secrets_in_urls_are_redacted_and_the_rest_is_kept() {
        let table = [
            ("https://example.org/a.png?w=3&h=4", "https://example.org/a.png?w=3&h=4"),
            ("https://ann:pw@example.org/a.png", "https://ann:***@example.org/a.png"),
            ("https://t0k3n@example.org/a.png", "https://***@example.org/a.png"),
            ("https://b.example/a?sv=1&sig=abc%3D&w=2", "https://b.example/a?sv=1&sig=***&w=2"),
            (
                "https://b.example/a?X-Amz-Signature=0f&X-Amz-Date=1",
                "https://b.example/a?X-Amz-Signature=***&X-Amz-Date=1",
            ),
            ("https://b.example/a?%73ig=abc&To%6Ben=x", "https://b.example/a?%73ig=***&To%6Ben=***"),
            ("https://b.example/a?signature", "https://b.example/a?signature"),
        ];
        for (url, shown) in table {
            assert_eq!(redacted(&Url::parse(url).expect("a URL")), shown);
        }
    }
}
