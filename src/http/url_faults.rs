//! What a refused URL itself says about the refusal.
//!
//! Lists grow old and pass through HTML. Servers answer 403 to a signature that has run out and to a query that was copied
//! with `&amp;` in it, as they do to whatever else they refuse.

use std::time::{Duration, SystemTime};

use url::Url;

/// Why a server may have refused the URL with this status, if the URL tells.
#[must_use]
pub fn fault_of(url: &Url, status: u16, now: SystemTime) -> Option<String> {
    if !matches!(status, 400 | 401 | 403 | 404 | 410) {
        return None;
    }
    if url.query().is_some_and(|query| query.contains("&amp;")) {
        return Some("the URL holds &amp;, which is & in HTML".to_owned());
    }
    let expired = expiry(url).filter(|expiry| *expiry <= now)?;
    Some(format!("the URL expired on {}", httpdate::fmt_http_date(expired)))
}

/// When the signature of the URL runs out.
fn expiry(url: &Url) -> Option<SystemTime> {
    let pairs = url.query_pairs().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect::<Vec<_>>();
    let value = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value);
    // A date, and how many seconds it holds from there: Amazon S3, Google Cloud Storage, Alibaba.
    let spans = ["amz", "goog", "oss"].into_iter().find_map(|service| {
        let begun = date(value(&format!("x-{service}-date"))?)?;
        begun.checked_add(Duration::from_secs(value(&format!("x-{service}-expires"))?.parse().ok()?))
    });
    // Azure.
    let azure = || value("sig").and(value("se")).and_then(date);
    // Seconds since 1970: CloudFront and many others, and within a token of Akamai.
    let akamai = || {
        let mut parts = pairs.iter().flat_map(|(_, value)| value.split('~'));
        parts.find_map(|part| seconds(part.strip_prefix("exp=")?, 10))
    };
    let plain = || ["expires", "expire", "x-expires"].into_iter().find_map(|name| seconds(value(name)?, 10));
    // The same in hexadecimal: Discord, Facebook.
    let hexadecimal =
        || [("hm", "ex"), ("oh", "oe")].into_iter().find_map(|(sign, name)| seconds(value(sign).and(value(name))?, 16));
    spans.or_else(azure).or_else(plain).or_else(akamai).or_else(hexadecimal)
}

/// A time in seconds since 1970. Numbers that would lie before 2001 or after 5138 are something else.
fn seconds(text: &str, radix: u32) -> Option<SystemTime> {
    let seconds = u64::from_str_radix(text, radix).ok()?;
    let is_time = (1_000_000_000..100_000_000_000).contains(&seconds);
    is_time.then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// A date as `2024-01-31T08:30:00Z`, `2024-01-31` or `20240131T083000Z`, in UTC.
fn date(text: &str) -> Option<SystemTime> {
    let digits = text.bytes().filter(u8::is_ascii_digit).map(|byte| u64::from(byte - b'0')).collect::<Vec<_>>();
    if !text.bytes().all(|byte| byte.is_ascii_digit() || b"-:TZ".contains(&byte))
        || !matches!(digits.len(), 8 | 12 | 14)
    {
        return None;
    }
    let number =
        |from: usize, to: usize| digits.get(from..to).map(|part| part.iter().fold(0, |sum, digit| sum * 10 + digit));
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let clock = [(8, 10), (10, 12), (12, 14)].map(|(from, to)| number(from, to).unwrap_or(0));
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The year begins in March, so that the leap day is its last.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    // The days from March of the year 0 to the beginning of 1970.
    let seconds = (days.checked_sub(719_468)? * 24 + clock[0]) * 3600 + clock[1] * 60 + clock[2];
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_tells_when_it_expired_and_that_it_was_copied_from_html() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_717_243_200); // 1 June 2024, 12:00
        let day = |text: &str| Some(format!("the URL expired on {text} GMT"));
        for (query, expected) in [
            ("X-Amz-Date=20240531T120000Z&X-Amz-Expires=3600&X-Amz-Signature=1", day("Fri, 31 May 2024 13:00:00")),
            ("X-Amz-Date=20240601T113000Z&X-Amz-Expires=3600&X-Amz-Signature=1", None),
            ("X-Goog-Date=20200229T235959Z&X-Goog-Expires=1&X-Goog-Signature=1", day("Sun, 01 Mar 2020 00:00:00")),
            ("X-Amz-Date=20240531T120000Z&X-Amz-Expires=99999999999999999999", None),
            ("X-Amz-Date=yesterday&X-Amz-Expires=1", None),
            ("Expires=1700000000&Signature=1&Key-Pair-Id=2", day("Tue, 14 Nov 2023 22:13:20")),
            ("Expires=1800000000&Signature=1", None),
            ("expires=3600&w=1", None),
            ("se=2024-01-31T08%3A30%3A00Z&sp=r&sig=1", day("Wed, 31 Jan 2024 08:30:00")),
            ("se=2024-01-31&sig=1", day("Wed, 31 Jan 2024 00:00:00")),
            ("se=2024-01-31", None),
            ("se=2024-99-31&sig=1", None),
            ("hdnts=exp=1700000000~acl=/*~hmac=1", day("Tue, 14 Nov 2023 22:13:20")),
            ("ex=65d903de&is=65c68ede&hm=1", day("Fri, 23 Feb 2024 20:45:18")),
            ("oh=1&oe=6553F100", day("Tue, 14 Nov 2023 22:13:20")),
            ("w=1&amp;sig=1", Some("the URL holds &amp;, which is & in HTML".to_owned())),
            ("w=1&h=2", None),
        ] {
            let url = Url::parse(&format!("https://b.example/a.png?{query}")).expect("a URL");
            assert_eq!(fault_of(&url, 403, now), expected, "{query}");
            assert_eq!(fault_of(&url, 500, now), None, "{query}");
        }
    }
}
