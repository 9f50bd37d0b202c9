//! The cookies of one chain of redirects.
//!
//! Some sites answer the first request with a redirect that sets a cookie and leads back to the same URL. Without the
//! cookie the redirects never end. Cookies are kept until the chain ends and are sent to the very host that set them
//! (RFC 6265 without `Domain`), so no row learns what another one was told, and no host what another host said.

use std::time::SystemTime;

use reqwest::header::{HeaderMap, HeaderValue, SET_COOKIE};
use url::Url;

/// The longest cookie that is kept, name and value (RFC 6265, section 6.1).
const MAX_COOKIE_BYTES: usize = 4096;

/// The most cookies of a chain, which bounds the size of a request.
const MAX_COOKIES: usize = 20;

/// The cookies that the answers of one chain of redirects have set.
#[derive(Debug, Default)]
pub struct CookieJar(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    host: String,
    path: String,
    is_secure: bool,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl CookieJar {
    /// Keeps the cookies that the answer for `url` sets. One with the name, host and path of another replaces it.
    pub fn store(&mut self, url: &Url, headers: &HeaderMap) {
        for field in headers.get_all(SET_COOKIE) {
            let Some((cookie, is_expired)) = Cookie::parse(url, field.as_bytes()) else { continue };
            self.0
                .retain(|other| (&other.name, &other.host, &other.path) != (&cookie.name, &cookie.host, &cookie.path));
            if !is_expired && self.0.len() < MAX_COOKIES {
                self.0.push(cookie);
            }
        }
    }

    /// The `Cookie` field for a request: the cookies that are `given` by the user, and those of the host. `None` if the
    /// host has set none, so that the request stays as it is.
    pub fn header(&self, url: &Url, given: Option<&HeaderValue>) -> Option<HeaderValue> {
        let mut set = self.0.iter().filter(|cookie| cookie.is_for(url)).collect::<Vec<_>>();
        if set.is_empty() {
            return None;
        }
        // The longest path comes first (RFC 6265, section 5.4).
        set.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let given = given.map(HeaderValue::as_bytes).unwrap_or_default();
        // What the host sets replaces what the user gave.
        let mut pairs = given
            .split(|byte| *byte == b';')
            .map(<[u8]>::trim_ascii)
            .filter(|pair| !pair.is_empty() && !set.iter().any(|cookie| cookie.name == name_and_value(pair).0))
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>();
        pairs.extend(set.iter().map(|cookie| [&*cookie.name, &*cookie.value].join(&b'=')));
        let mut header = HeaderValue::from_bytes(&pairs.join(&b"; "[..])).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

impl Cookie {
    /// The cookie of a `Set-Cookie` field, and whether it is one to be forgotten (RFC 6265, section 5.2).
    fn parse(url: &Url, field: &[u8]) -> Option<(Self, bool)> {
        let mut parts = field.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let pair = parts.next().filter(|pair| pair.contains(&b'=') && pair.len() <= MAX_COOKIE_BYTES)?;
        let (name, value) = name_and_value(pair);
        if name.is_empty() {
            return None;
        }
        let mut cookie = Self {
            host: url.host_str()?.to_owned(),
            path: folder_of(url.path()).to_owned(),
            is_secure: false,
            name: name.to_vec(),
            value: value.to_vec(),
        };
        let (mut max_age, mut is_past) = (None, false);
        for attribute in parts {
            let (name, value) = name_and_value(attribute);
            let value = String::from_utf8_lossy(value);
            match &*name.to_ascii_lowercase() {
                b"path" if value.starts_with('/') => cookie.path = value.into_owned(),
                b"secure" => cookie.is_secure = true,
                b"max-age" => max_age = value.parse::<i64>().ok(),
                // Older servers write the date with hyphens.
                b"expires" => {
                    let date = httpdate::parse_http_date(&value.replace('-', " "));
                    is_past = date.is_ok_and(|date| date <= SystemTime::now());
                }
                _ => {}
            }
        }
        let is_expired = max_age.map_or(is_past, |seconds| seconds <= 0);
        Some((cookie, is_expired))
    }

    fn is_for(&self, url: &Url) -> bool {
        let is_below = |path: &str| {
            let rest = path.strip_prefix(&*self.path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/'))
        };
        url.host_str() == Some(&*self.host) && (!self.is_secure || url.scheme() == "https") && is_below(url.path())
    }
}

fn name_and_value(pair: &[u8]) -> (&[u8], &[u8]) {
    let equals = pair.iter().position(|byte| *byte == b'=');
    let (name, value) = equals.map_or((pair, &pair[pair.len()..]), |at| (&pair[..at], &pair[at + 1..]));
    (name.trim_ascii(), value.trim_ascii())
}

/// The path without its last segment, which is where a cookie without `Path` belongs (RFC 6265, section 5.1.4).
fn folder_of(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(end) => &path[..end],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    /// The `Cookie` field for a URL, after an answer for another one.
    fn sent(set_by: &str, fields: &[&str], to: &str, given: Option<&'static str>) -> Option<String> {
        let mut jar = CookieJar::default();
        let headers = fields.iter().map(|field| (SET_COOKIE, HeaderValue::from_str(field).expect("a value")));
        jar.store(&url(set_by), &headers.collect());
        let header = jar.header(&url(to), given.map(HeaderValue::from_static).as_ref());
        header.map(|header| header.to_str().expect("text").to_owned())
    }

    #[test]
    fn cookies_go_back_to_their_host_and_path() {
        let at = "http://a.example/x/y.png";
        for (field, to, expected) in [
            ("s=1", "http://a.example/x/y.png", Some("s=1")),
            ("s=1", "http://a.example/x/z/a", Some("s=1")),
            ("s=1", "http://a.example/xx", None),
            ("s=1", "http://a.example/", None),
            ("s=1; path=/", "http://a.example/", Some("s=1")),
            ("s=1; PATH = /z ; HttpOnly", "http://a.example/z", Some("s=1")),
            ("s=1; path=/z", "http://a.example/z/1", Some("s=1")),
            ("s=1; path=/z", "http://a.example/zz", None),
            ("s=1; path=relative", "http://a.example/x/", Some("s=1")),
            ("s=1; path=/", "http://a.example:8080/", Some("s=1")),
            ("s=1; path=/", "http://b.example/", None),
            ("s=1; path=/; domain=example", "http://b.example/", None),
            ("s=1; path=/; domain=.a.example", "http://www.a.example/", None),
            ("s=1; path=/; domain=.a.example", "http://a.example/", Some("s=1")),
            ("s=1; path=/; secure", "http://a.example/", None),
            ("s=1; path=/; secure", "https://a.example/", Some("s=1")),
            ("s=a=b==; path=/", "http://a.example/", Some("s=a=b==")),
            ("s=; path=/", "http://a.example/", Some("s=")),
            ("s; path=/", "http://a.example/", None),
            ("=1; path=/", "http://a.example/", None),
            ("s=1; path=/; max-age=0", "http://a.example/", None),
            ("s=1; path=/; max-age=60; expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://a.example/", Some("s=1")),
            ("s=1; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://a.example/", None),
            ("s=1; path=/; expires=Thu, 01-Jan-1970 00:00:00 GMT", "http://a.example/", None),
            ("s=1; path=/; expires=soon", "http://a.example/", Some("s=1")),
        ] {
            assert_eq!(sent(at, &[field], to, None).as_deref(), expected, "{field} to {to}");
        }
    }

    #[test]
    fn cookies_replace_each_other_and_those_of_the_user() {
        let at = "http://a.example/x/y.png";
        let all = ["s=1; path=/", "t=2; path=/x", "s=3; path=/"];
        assert_eq!(sent(at, &all, at, None).as_deref(), Some("t=2; s=3"));
        assert_eq!(sent(at, &["s=1"], at, Some("a=b; s=0;c=d")).as_deref(), Some("a=b; c=d; s=1"));
        assert_eq!(sent(at, &["s=1; path=/", "s=; path=/; max-age=-1"], at, None), None);
        assert_eq!(sent(at, &[], at, Some("a=b")), None, "the request stays as it is");
        let many = (0..100).map(|number| format!("c{number}={}", "x".repeat(4000))).collect::<Vec<_>>();
        let sent = sent(at, &many.iter().map(String::as_str).collect::<Vec<_>>(), at, None).expect("cookies");
        assert!(sent.len() <= MAX_COOKIES * (MAX_COOKIE_BYTES + 2), "{}", sent.len());
    }
}
