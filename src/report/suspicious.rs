//! URLs that can be fetched and seem to be a mistake of the list: two URLs on one line, a comment behind one, or `&amp;`
//! from a web page. They are fetched as given, counted, and told once with an example.

use serde::Serialize;
use url::Url;

use crate::record::recorded_url;
use crate::util::store::object_url::is_object_url;

/// What a URL seems to be instead.
const KINDS: [&str; 3] = ["two_urls", "comment", "html"];

/// Rows whose URLs seem to be the same mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuspiciousKind {
    /// `two_urls`, `comment` or `html`.
    pub kind: &'static str,
    /// The number of rows.
    pub count: u64,
    /// The URL of the first of them, secrets redacted.
    pub example: String,
}

impl SuspiciousKind {
    /// What is wrong with these rows, and what to do, with a place for the example.
    pub(super) const fn words(&self) -> (&'static str, &'static str) {
        match self.kind.as_bytes() {
            b"two_urls" => ("a second http in the URL", "a line of a list is one URL"),
            b"comment" => ("a # behind the URL", "a comment is a line of its own that begins with #"),
            _ => ("&amp; in the URL, which is & in HTML", "write & in the list"),
        }
    }
}

/// The URLs of a list that seem to be mistakes, by kind.
#[derive(Clone, Debug, Default)]
pub struct SuspiciousUrls([Option<SuspiciousKind>; 3]);

impl SuspiciousUrls {
    /// Looks at the URL of the next row.
    pub fn add(&mut self, url: &Url) {
        let Some(place) = suspicion(url) else { return };
        match &mut self.0[place] {
            Some(kind) => kind.count += 1,
            none => {
                let example = recorded_url(url).0.into_owned();
                *none = Some(SuspiciousKind { kind: KINDS[place], count: 1, example });
            }
        }
    }

    /// What was found, the most frequent first.
    #[must_use]
    pub fn kinds(&self) -> Vec<SuspiciousKind> {
        let mut kinds = self.0.iter().flatten().cloned().collect::<Vec<_>>();
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
        kinds
    }
}

/// The place of the kind that a URL seems to be, if it seems to be none.
fn suspicion(url: &Url) -> Option<usize> {
    // What a data: URL holds may well have URLs in it, and so may the key of an object.
    if url.scheme() == "data" || is_object_url(url) {
        return None;
    }
    if has_second_url(url) {
        return Some(0);
    }
    // White space is percent-encoded by now.
    if url.fragment().is_some_and(|fragment| fragment.starts_with("%20"))
        && url[..url::Position::AfterQuery].ends_with("%20")
    {
        return Some(1);
    }
    url[url::Position::BeforePath..].contains("&amp;").then_some(2)
}

/// Whether a second URL follows the first. Archives and proxies have the URL of an image as a part of the path or as a
/// parameter: there it follows a `/`, a `=` or the like.
fn has_second_url(url: &Url) -> bool {
    // `http://http://a.example/` has a host of that name.
    if matches!(url.host_str(), Some("http" | "https")) {
        return true;
    }
    let rest = &url[url::Position::BeforePath..];
    let mut places = ["http://", "https://"].into_iter().flat_map(|scheme| rest.match_indices(scheme));
    places.any(|(place, _)| {
        let before = &rest[..place];
        let is_part = before.ends_with(['/', '=', '?', '&', ':', '+', '#', '@', '!', '~'])
            || ["%2F", "%2f", "%3D", "%3d"].iter().any(|encoded| before.ends_with(encoded));
        !is_part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_seem_to_be_something_else_are_told_from_those_that_are_odd() {
        for (text, place) in [
            ("http://a.example/1.png http://b.example/2.png", Some(0)),
            ("http://a.example/1.png,https://b.example/2.png", Some(0)),
            ("http://a.example/1.pnghttp://b.example/2.png", Some(0)),
            ("http://https://a.example/1.png", Some(0)),
            ("https://web.archive.org/web/2020/https://a.example/1.png", None),
            ("https://proxy.example/?url=https://a.example/1.png", None),
            ("https://proxy.example/?https://a.example/1.png", None),
            ("https://proxy.example/w_300,h_200/https://a.example/1.png", None),
            ("https://proxy.example/?url%3Dhttps://a.example/1.png", None),
            ("http://a.example/1.png # a cat", Some(1)),
            ("http://a.example/1.png?w=1 # a cat", Some(1)),
            ("http://a.example/1.png#part", None),
            ("http://a.example/1.png# part", None),
            ("http://a.example/1.png?w=1&amp;h=2", Some(2)),
            ("http://a.example/a&amp;b.png", Some(2)),
            ("http://a.example/1.png?w=1&h=2", None),
        ] {
            assert_eq!(suspicion(&Url::parse(text).expect(text)), place, "{text}");
        }
    }

    #[test]
    fn each_kind_has_a_count_and_its_first_url_without_secrets() {
        let mut urls = SuspiciousUrls::default();
        for text in ["http://ann:pw@a.example/?a=1&amp;b=2", "http://a.example/1 # x", "http://b.example/?a&amp;b"] {
            urls.add(&Url::parse(text).expect(text));
        }
        let kinds = urls.kinds();
        assert_eq!(kinds.iter().map(|kind| (kind.kind, kind.count)).collect::<Vec<_>>(), [("html", 2), ("comment", 1)]);
        assert!(!kinds[0].example.contains("pw") && kinds[0].example.contains("a.example"), "{kinds:?}");
    }
}
