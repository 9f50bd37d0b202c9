//! Range requests: continues a body where an earlier attempt broke off (RFC 9110, sections 13.1.5 and 14).

use reqwest::header::{ACCEPT_RANGES, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};

/// The part of a body that an earlier attempt has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Bytes received so far.
    pub from: u64,
    /// The strong validator of the body.
    pub validator: HeaderValue,
}

impl Resume {
    /// Requests the rest, or the whole body if it has changed (`Range` with `If-Range`).
    pub(super) fn set_headers(&self, headers: &mut HeaderMap) {
        // Digits and a dash are always a valid value.
        if let Ok(range) = HeaderValue::try_from(format!("bytes={}-", self.from)) {
            headers.insert(RANGE, range);
            headers.insert(IF_RANGE, self.validator.clone());
        }
    }
}

/// The validator with which the rest of a body can be requested: a strong entity tag (section 8.8.3), unless the server
/// says that it supports no ranges. A date is not used, because two versions may have the same second.
pub(super) fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    if headers.get(ACCEPT_RANGES).is_some_and(|ranges| ranges.as_bytes().eq_ignore_ascii_case(b"none")) {
        return None;
    }
    headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"") && tag.len() > 2).cloned()
}

/// The range of a 206 response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The position of the first byte.
    pub first: u64,
    /// The position after the last byte.
    pub end: u64,
    /// The length of the whole body, if the server knows it.
    pub total: Option<u64>,
}

/// Parses `bytes 500-999/1000` (section 14.4). `None` for any other unit, for a contradiction, and for a range that
/// does not reach the end.
pub(super) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?);
    let total = match total.trim() {
        "*" => None,
        digits => Some(digits.parse::<u64>().ok()?),
    };
    // The rest was requested, so the range reaches the end.
    let end = last.checked_add(1)?;
    (first <= last && total.is_none_or(|total| end == total)).then_some(ContentRange { first, end, total })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn content_range_of(value: &str) -> Option<ContentRange> {
        let value = HeaderValue::from_str(value).expect("a value");
        content_range(&HeaderMap::from_iter([(CONTENT_RANGE, value)]))
    }

    /// Numbers at which sums and comparisons overflow, and others.
    fn position() -> impl Strategy<Value = u64> {
        prop_oneof![0..4_u64, (u64::MAX - 2)..=u64::MAX, any::<u64>()]
    }

    proptest! {
        // A fixed seed gives the same cases in every run.
        #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

        #[test]
        fn a_content_range_means_what_it_says(first in position(), last in position(), total in position()) {
            // In a type that does not overflow.
            let wide = |number: u64| u128::from(number);
            let is_rest = first <= last && wide(last) + 1 == wide(total);
            let expected = is_rest.then_some(ContentRange { first, end: total, total: Some(total) });
            prop_assert_eq!(content_range_of(&format!("bytes {first}-{last}/{total}")), expected);
            let open = (first <= last && last < u64::MAX).then(|| ContentRange { first, end: last + 1, total: None });
            prop_assert_eq!(content_range_of(&format!("bytes {first}-{last}/*")), open);
        }

        #[test]
        fn any_content_range_is_read_or_refused(value in "(bytes )?[ 0-9*+/-]{0,30}|[ -~]{0,30}") {
            if let Some(ContentRange { first, total: Some(total), .. }) = content_range_of(&value) {
                prop_assert!(first < total, "{}", value);
            }
        }
    }

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().expect("a name"), HeaderValue::from_static(value))])
    }

    #[test]
    fn only_a_range_to_the_end_is_understood() {
        let range = |first, end, total| Some(ContentRange { first, end, total });
        for (value, expected) in [
            ("bytes 500-999/1000", range(500, 1000, Some(1000))),
            ("bytes 500-999/*", range(500, 1000, None)),
            ("bytes 0-0/1", range(0, 1, Some(1))),
            ("bytes 500-998/1000", None),
            ("bytes 999-500/1000", None),
            ("bytes */1000", None),
            ("bytes 1-18446744073709551616/2", None),
            ("bytes 0-18446744073709551615/0", None),
            ("bytes 0-18446744073709551615/18446744073709551615", None),
            ("items 0-1/2", None),
            ("bytes 5-9", None),
            ("", None),
        ] {
            assert_eq!(content_range(&headers("content-range", value)), expected, "{value}");
        }
    }

    #[test]
    fn only_a_strong_entity_tag_is_a_validator() {
        assert_eq!(validator(&headers("etag", "\"a\"")), Some(HeaderValue::from_static("\"a\"")));
        for value in ["W/\"a\"", "a", "\"\""] {
            assert_eq!(validator(&headers("etag", value)), None, "{value}");
        }
        let mut refused = headers("etag", "\"a\"");
        refused.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
        assert_eq!(validator(&refused), None);
    }
}
