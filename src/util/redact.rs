//! Makes text from outside safe to show: control characters are escaped and secrets in URLs are redacted.
//!
//! Lists, HTTP headers and messages of servers are written by others. [`escaped`] keeps control and direction characters
//! away from the terminal; [`redacted`] keeps passwords and signatures out of logs, records and reports.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use serde::Serialize;
use url::{Position, Url};

use super::store::object_url::literal;

/// The text with every control character and every character that changes the direction of text escaped (`\u{1b}`).
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~');
    if text.as_bytes().iter().all(is_plain) || !text.chars().any(needs_escaping) {
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

/// The number of characters of a `data:` URL that are shown.
const MAX_DATA_CHARS: usize = 80;

/// A URL for messages. A `data:` URL holds the whole image, so only its beginning is shown.
#[must_use]
pub fn shortened_data(url: &str) -> Cow<'_, str> {
    match url.char_indices().nth(MAX_DATA_CHARS) {
        Some((end, _)) if url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) => {
            Cow::Owned(format!("{}…", &url[..end]))
        }
        _ => Cow::Borrowed(url),
    }
}

/// The URL as it may be shown and recorded: the password (or a user name without a password) and the values of the
/// parameters that sign or authorise are `***`, and so are those in URLs that the path, the query or the fragment holds.
#[must_use]
pub fn redacted(url: &Url) -> Cow<'_, str> {
    if let Cow::Owned(text) = literal(url) {
        // That of an object in a store has no user information.
        return Cow::Owned(without_secrets(&text).into_owned());
    }
    let tail = without_secrets(&url[Position::BeforePath..]);
    let has_user_info = url.password().is_some() || !url.username().is_empty();
    if !has_user_info && matches!(tail, Cow::Borrowed(_)) {
        return Cow::Borrowed(url.as_str());
    }
    let mut shown = String::with_capacity(url.as_str().len());
    shown.push_str(&url[..Position::BeforeUsername]);
    if url.password().is_some() {
        shown.push_str(url.username());
        shown.push_str(":***@");
    } else if has_user_info {
        shown.push_str("***@"); // without a password, it is often a token
    }
    shown.push_str(&url[Position::BeforeHost..Position::BeforePath]);
    shown.push_str(&tail);
    Cow::Owned(shown)
}

/// Like [`redacted`], for text that should be a URL but does not parse as one, so that its parts have to be guessed. What
/// may be user information is `***`: at the start of the text, and after any slashes that may begin a host.
#[must_use]
pub fn redacted_text(text: &str) -> String {
    // URL parsers skip tabs and line breaks (WHATWG URL, section 4.4), so these must not hide a secret.
    let stripped = text.replace(['\t', '\n', '\r'], "");
    let shown =
        if is_data(&stripped) { without_secrets(&stripped).into_owned() } else { redacted_authorities(&stripped) };
    if shown == stripped { text.to_owned() } else { shown }
}

/// Whether it is meant as a `data:` URL. Slashes and at signs of what it holds begin and end no authority.
fn is_data(text: &str) -> bool {
    let body = text.trim_start().split_at_checked(5).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("data:"));
    body.and_then(|(_, body)| body.split_once(','))
        .is_some_and(|(head, _)| !head.starts_with(['/', '\\']) && !head.contains('@'))
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
    without_secrets(&shown).into_owned()
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
    Ok(match String::from_utf8(plain) {
        Ok(plain) => match escaped_json(&plain) {
            Cow::Borrowed(_) => plain.into_bytes(),
            Cow::Owned(escaped) => escaped.into_bytes(),
        },
        Err(_) => unreachable!("JSON is UTF-8"),
    })
}

/// JSON with every character escaped that [`needs_escaping`], but line feeds, which are between values in indented JSON.
#[must_use]
pub fn escaped_json(plain: &str) -> Cow<'_, str> {
    let is_unsafe = |character: char| needs_escaping(character) && character != '\n';
    if (plain.is_ascii() && !plain.as_bytes().contains(&0x7F)) || !plain.chars().any(is_unsafe) {
        return Cow::Borrowed(plain);
    }
    let mut escaped = String::with_capacity(plain.len() + 32);
    for character in plain.chars() {
        if is_unsafe(character) {
            // All of them are in the basic multilingual plane, so four digits are enough (RFC 8259, section 7).
            // Writing to a String cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// The text with `***` for the value of every parameter whose name [`is_secret_name`], and for the user information of
/// every URL in it.
///
/// Lists are copied out of HTML and JSON, and URLs hold other URLs. So a parameter may begin after `&`, `?`, `;`, `#`, `/`
/// or `~`, and these and the equals sign may be written as they are, percent-encoded any number of times, or as `&amp;` or
/// `\u0026`.
fn without_secrets(text: &str) -> Cow<'_, str> {
    if !may_have_secrets(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let (mut shown, mut copied) = (String::new(), 0);
    let mut hide = |range: Range<usize>| {
        shown.push_str(&text[copied..range.start]);
        shown.push_str("***");
        copied = range.end;
        range.end
    };
    let mut name = Some(Begin { at: 0, mark: b'&', level: 0 });
    let mut at = 0;
    while at < bytes.len() {
        let sign = Sign::read(bytes, at);
        let mut next = sign.end;
        match sign.byte {
            mark @ (b'&' | b'?' | b';' | b'#' | b'/' | b'~') => {
                name = Some(Begin { at: next, mark, level: sign.level });
            }
            b'=' => {
                if let Some(begin) = name.take().filter(|begin| is_secret_name(&text[begin.at..at])) {
                    let end = begin.end_of_value(bytes, next);
                    if end > next {
                        next = hide(next..end);
                    }
                }
            }
            b':' => {
                if let Some(user_info) = user_info(bytes, next).filter(|range| !range.is_empty()) {
                    next = hide(user_info);
                }
            }
            _ => {}
        }
        at = next;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[copied..]);
    Cow::Owned(shown)
}

/// Whether there is an equals sign, or a colon, in any notation. Most URLs of images have neither, and each is looked at
/// several times.
fn may_have_secrets(text: &[u8]) -> bool {
    let is_escape = |at: usize| text.get(at + 1..at + 3) == Some(b"00");
    memchr::memchr3(b'=', b':', b'%', text).is_some() || memchr::memchr2_iter(b'u', b'U', text).any(is_escape)
}

/// One ASCII character of a URL, or one byte of another character, in any of its notations.
struct Sign {
    byte: u8,
    /// How many times it is percent-encoded.
    level: usize,
    /// The position after it.
    end: usize,
}

impl Sign {
    /// The sign at a position that is not the end of the text.
    fn read(text: &[u8], at: usize) -> Self {
        let sign = Self::read_percent(text, at);
        match sign.byte {
            // `\u0026` in JSON. URL parsers make a slash of the backslash, except in the query.
            b'\\' | b'/' => match text.get(sign.end..sign.end + 5) {
                Some([b'u' | b'U', b'0', b'0', high, low]) => match hexadecimal(*high, *low) {
                    Some(byte @ (b'&' | b'=' | b'?' | b';' | b'#')) => Self { byte, end: sign.end + 5, ..sign },
                    _ => sign,
                },
                _ => sign,
            },
            b'&' => sign.with_entity(text),
            _ => sign,
        }
    }

    fn read_percent(text: &[u8], at: usize) -> Self {
        let raw = Self { byte: text[at], level: 0, end: at + 1 };
        if raw.byte != b'%' {
            return raw;
        }
        let (mut sign, mut from) = (raw, at + 1);
        // `%2526` is `%26`, percent-encoded once more.
        while let Some([high, low]) = text.get(from..from + 2)
            && let Some(byte) = hexadecimal(*high, *low)
        {
            from += 2;
            sign = Self { byte, level: sign.level + 1, end: from };
            if byte != b'%' {
                break;
            }
        }
        sign
    }

    /// The ampersand with what follows it in HTML: `amp;`, any number of times.
    fn with_entity(mut self, text: &[u8]) -> Self {
        'more: loop {
            for name in [&b"amp"[..], b"#38", b"#x26"] {
                let end = self.end + name.len();
                if text.get(self.end..end).is_some_and(|found| found.eq_ignore_ascii_case(name)) && end < text.len() {
                    let semicolon = Self::read_percent(text, end);
                    if semicolon.byte == b';' {
                        self.end = semicolon.end;
                        continue 'more;
                    }
                }
            }
            return self;
        }
    }
}

fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((digit(high)? << 4) | digit(low)?)
}

/// Where the name of a parameter begins: after this mark.
struct Begin {
    at: usize,
    mark: u8,
    level: usize,
}

impl Begin {
    /// The end of the value that begins at `from`. A mark that is encoded more often than the one before the name is a
    /// part of the value.
    fn end_of_value(&self, text: &[u8], from: usize) -> usize {
        let ends = |sign: &Sign| match sign.byte {
            b'&' | b'#' => true,
            // Anywhere else these may be a part of the value, as the slash is in Base64.
            byte @ (b';' | b'/' | b'~') => byte == self.mark,
            _ => false,
        };
        let mut at = from;
        while at < text.len() {
            let sign = Sign::read(text, at);
            if sign.level <= self.level && ends(&sign) {
                break;
            }
            at = sign.end;
        }
        at
    }
}

/// The user information after a colon that ends the scheme of a URL.
fn user_info(text: &[u8], colon_end: usize) -> Option<Range<usize>> {
    let mut begin = colon_end;
    let mut level = 0;
    for _ in 0..2 {
        let slash = (begin < text.len()).then(|| Sign::read_percent(text, begin))?;
        if !matches!(slash.byte, b'/' | b'\\') {
            return None;
        }
        (begin, level) = (slash.end, slash.level);
    }
    let (mut at, mut last) = (begin, None);
    while at < text.len() {
        let sign = Sign::read(text, at);
        if sign.level <= level {
            match sign.byte {
                b'/' | b'\\' | b'?' | b'#' | b'&' => break,
                b'@' => last = Some(at),
                _ => {}
            }
        }
        at = sign.end;
    }
    Some(begin..last?)
}

/// Whether the value of the parameter with this name gives access to the resource: the signatures and credentials of Amazon
/// S3, `CloudFront`, Google Cloud Storage, Azure, Alibaba, Akamai, Discord (`hm`) and Facebook (`oh`, `__gda__`), and the
/// usual names for tokens and keys. Case and punctuation do not count.
fn is_secret_name(name: &str) -> bool {
    const PARTS: [&str; 6] = ["signature", "token", "hmac", "secret", "password", "credential"];
    const NAMES: [&str; 14] = [
        "accesskey",
        "accesskeyid",
        "apikey",
        "auth",
        "authkey",
        "awsaccesskeyid",
        "gda",
        "hm",
        "key",
        "oh",
        "ossaccesskeyid",
        "passwd",
        "policy",
        "sign",
    ];
    if name.len() < 2 {
        return false;
    }
    let mut plain = Vec::with_capacity(name.len());
    let mut at = 0;
    while at < name.len() {
        let sign = Sign::read_percent(name.as_bytes(), at);
        if sign.byte.is_ascii_alphanumeric() {
            plain.push(sign.byte.to_ascii_lowercase());
        }
        at = sign.end;
    }
    let plain = String::from_utf8_lossy(&plain);
    plain.ends_with("sig") || NAMES.contains(&&*plain) || PARTS.iter().any(|part| plain.contains(part))
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
            (" Data:image/png;base64,iV//B@O/w?sig=1*", " Data:image/png;base64,iV//B@O/w?sig=***"),
            ("data:ann:pw@example.org/a,b", "***@example.org/a,b"),
            ("data://ann:p,w@example.org/a", "data://***@example.org/a"),
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

    #[test]
    fn secrets_are_redacted_however_their_parameters_are_written() {
        for (tail, shown) in [
            // HTML and JSON.
            ("?w=1&amp;sig=s3cr3t&amp;h=2", "?w=1&amp;sig=***&amp;h=2"),
            ("?w=1&amp;amp;token=s3cr3t", "?w=1&amp;amp;token=***"),
            ("?w=1&#38;sig=s3cr3t", "?w=1&#38;sig=***"),
            ("?w=1;signature=s3cr3t;h=2", "?w=1;signature=***;h=2"),
            (r"?w=1\u0026X-Amz-Signature=s3cr3t\u0026h=2", r"?w=1\u0026X-Amz-Signature=***\u0026h=2"),
            (r"?w=1\u0026sig\u003ds3cr3t\u0026h=2", r"?w=1\u0026sig\u003d***\u0026h=2"),
            ("?w=1%5Cu0026sig=s3cr3t", "?w=1%5Cu0026sig=***"),
            ("/a.png/u0026sig=s3cr3t", "/a.png/u0026sig=***"),
            // URLs in a query, in a path and in a fragment.
            ("?url=https://c.example/x?token=s3cr3t&w=1", "?url=https://c.example/x?token=***&w=1"),
            (
                "?url=https%3A%2F%2Fc.example%2Fx%3Fw%3D1%26Signature%3Ds3%252Bcr3t%26h%3D2&q=3",
                "?url=https%3A%2F%2Fc.example%2Fx%3Fw%3D1%26Signature%3D***%26h%3D2&q=3",
            ),
            (
                "?u=https%253A%252F%252Fc.example%252Fx%253Fsig%253ds3cr3t%2526h%253D2&q=3",
                "?u=https%253A%252F%252Fc.example%252Fx%253Fsig%253d***%2526h%253D2&q=3",
            ),
            ("?u=x%3Fw%3D1%26amp%3Bsig%3Ds3cr3t", "?u=x%3Fw%3D1%26amp%3Bsig%3D***"),
            ("/https%3A%2F%2Fc.example%2Fx%3Ftoken%3Ds3cr3t/w", "/https%3A%2F%2Fc.example%2Fx%3Ftoken%3D***"),
            ("#access_token=s3cr3t&w=1", "#access_token=***&w=1"),
            ("?url=https://ann:s3cr3t@c.example/x@y", "?url=https://***@c.example/x@y"),
            ("?url=https%3A%2F%2Fann%3As3cr3t%40c.example%2Fx", "?url=https%3A%2F%2F***%40c.example%2Fx"),
            ("/x/https://ann:s3cr3t@c.example/x", "/x/https://***@c.example/x"),
            // Parts of a value.
            ("?sig=s3/cr;3t=?x&w=1", "?sig=***&w=1"),
            ("?sig=s3%26cr3t&w=1", "?sig=***&w=1"),
            ("?sig%3Ds3cr3t&w=1", "?sig%3D***&w=1"),
            ("?sig=s3cr3t#top", "?sig=***#top"),
            ("?hdnts=exp=17~acl=/*~hmac=s3cr3t", "?hdnts=exp=17~acl=/*~hmac=***"),
            ("/bcdn_token=s3cr3t&expires=17/a.png", "/bcdn_token=***&expires=17/a.png"),
            ("/bcdn_token=s3cr3t/a.png", "/bcdn_token=***/a.png"),
            // Names.
            ("?ex=1&is=2&hm=s3cr3t&", "?ex=1&is=2&hm=***&"),
            ("?oh=s3cr3t&oe=5&__gda__=s3cr3t", "?oh=***&oe=5&__gda__=***"),
            ("?key=s3cr3t&api_key=s3cr3t&auth-key=s3cr3t", "?key=***&api_key=***&auth-key=***"),
            ("?user[password]=s3cr3t&X%2DGoog-Credential=s3cr3t", "?user[password]=***&X%2DGoog-Credential=***"),
            ("?OSSAccessKeyId=s3cr3t&MyClientSecret=s3cr3t", "?OSSAccessKeyId=***&MyClientSecret=***"),
            ("?x_sig=s3cr3t&verify_hmac_sha=s3cr3t", "?x_sig=***&verify_hmac_sha=***"),
        ] {
            let url = Url::parse(&format!("https://b.example{tail}")).expect("a URL");
            assert!(url.as_str().ends_with(tail), "the parser changed it to {url}");
            let expected = format!("{}{shown}", url.as_str().strip_suffix(tail).unwrap_or_default());
            assert_eq!(redacted(&url), expected);
            assert!(redacted_text(&format!("https://[zz{tail}")).ends_with(shown), "{tail} in text");
            let again = Url::parse(&expected).expect("a URL");
            assert_eq!(redacted(&again), expected, "once is enough");
        }
    }

    #[test]
    fn ordinary_urls_stay_readable() {
        for url in [
            "https://b.example/a.png?w=640&h=480&fit=crop&q=75&fm=jpg",
            "https://b.example/wiki/File:A_key=B.jpg?uselang=de",
            "https://b.example/keys/monkey.png?keyword=donkey&keys=3&design=new&signal=2&ohm=5&hmm=1",
            "https://b.example/cdn-cgi/image/width=80,quality=75/x.jpg",
            "https://b.example/a.png?Expires=17&Key-Pair-Id=K1&X-Amz-Date=20240101T000000Z&X-Amz-Expires=60",
            "https://b.example/a.png?url=https%3A%2F%2Fc.example%2F%40ann%2Fx.png%3Fw%3D1",
            "https://b.example/@ann/a.png?author=ann@example.org&ratio=16:9",
            "https://b.example/a.png?token=&sig&x==",
            "https://b.example/100%25/%zz%2.png?%=%&\\u00=1#%25",
        ] {
            let parsed = Url::parse(url).expect("a URL");
            assert_eq!(redacted(&parsed), parsed.as_str());
            assert!(matches!(redacted(&parsed), Cow::Borrowed(_)), "{url}");
        }
    }
}
