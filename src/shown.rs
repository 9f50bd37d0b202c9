//! Text from outside, made fit to be shown.
//!
//! A list of URLs is somebody else's text, and so are headers and the messages of servers. [`harmless`] keeps control
//! and direction characters from a terminal; [`masked`] keeps passwords and signatures from logs, records and reports.

use std::borrow::Cow;

use url::Url;

/// The text with every control and direction-changing character escaped (`\u{1b}`).
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_harmful(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Characters that move the cursor, change colours or turn the reading direction: the C0 and C1 controls, the line
/// and paragraph separators, and the explicit directional formatting characters (Unicode Standard Annex 9).
#[must_use]
pub fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The URL as it may be shown and recorded: the password (or a user name that stands alone) and the
/// values of signing parameters are `***`.
///
/// The fragment stays: it is the user's, and never sent.
#[must_use]
pub fn masked(url: &Url) -> Cow<'_, str> {
    let has_secret = url.query().is_some_and(|query| query.split('&').any(is_secret_pair));
    let has_user_info = url.password().is_some() || !url.username().is_empty();
    if !has_user_info && !has_secret {
        return Cow::Borrowed(url.as_str());
    }
    let mut shown = url.clone();
    // Neither can fail: a URL that carries user info has a host.
    if url.password().is_some() {
        let _ = shown.set_password(Some("***"));
    } else if has_user_info {
        let _ = shown.set_username("***"); // alone, it is often a token
    }
    if has_secret {
        let query = url.query().unwrap_or_default();
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if is_secret_pair(pair) => format!("{name}=***"),
            _ => pair.to_owned(),
        });
        shown.set_query(Some(&pairs.collect::<Vec<_>>().join("&")));
    }
    Cow::Owned(shown.into())
}

/// Query parameters whose value lets anybody do what the URL's owner may: the signatures and credentials of Amazon S3,
/// `CloudFront`, Google Cloud Storage, Azure (`sig`), Alibaba, and the usual names for tokens and keys.
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
    !value.is_empty() && SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_is_escaped() {
        assert_eq!(harmless("plain ünïcode"), "plain ünïcode");
        assert_eq!(harmless("a\u{1b}[2Jb\r\n"), "a\\u{1b}[2Jb\\u{d}\\u{a}");
        assert_eq!(harmless("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
    }

    #[test]
    fn secrets_are_masked_and_the_rest_is_left_alone() {
        let table = [
            ("https://example.org/a.png?w=3&h=4", "https://example.org/a.png?w=3&h=4"),
            ("https://ann:pw@example.org/a.png", "https://ann:***@example.org/a.png"),
            ("https://t0k3n@example.org/a.png", "https://***@example.org/a.png"),
            ("https://b.example/a?sv=1&sig=abc%3D&w=2", "https://b.example/a?sv=1&sig=***&w=2"),
            (
                "https://b.example/a?X-Amz-Signature=0f&X-Amz-Date=1",
                "https://b.example/a?X-Amz-Signature=***&X-Amz-Date=1",
            ),
            ("https://b.example/a?signature", "https://b.example/a?signature"),
        ];
        for (url, shown) in table {
            assert_eq!(masked(&Url::parse(url).expect("a URL")), shown);
        }
    }
}
