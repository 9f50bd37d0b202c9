//! What is one host: whose trouble an answer is, and what may be told to whom.

use url::Url;

/// Whether a redirect has led to another host or port. The usual ports of http and https count as one, as they do for
/// seats: who answers at both is one server with one patience.
#[must_use]
pub fn is_another_host(list_url: &Url, url: &Url) -> bool {
    // A URL keeps its port only where it is not the usual one of its scheme.
    (list_url.host(), list_url.port()) != (url.host(), url.port())
}

/// Whether what is meant for the host of `same_host` may go to `url` as well: the same host and port, or the same host with
/// plain HTTP turned into HTTPS on the usual ports.
pub fn may_receive_credentials(list_url: &Url, url: &Url) -> bool {
    let is_upgraded = url.scheme() == "https" && url.port().is_none();
    !is_another_host(list_url, url) && (list_url.scheme() == url.scheme() || is_upgraded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::HostKey;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn what_belongs_to_one_host_stays_there() {
        let list_url = url("http://a.example/x");
        for (other, allowed) in [
            ("http://a.example/y", true),
            ("http://a.example:80/y", true),
            ("https://a.example/y", true),
            ("https://a.example:443/y", true),
            ("http://a.example:8080/y", false),
            ("http://a.example:443/y", false),
            ("https://a.example:8443/y", false),
            ("https://a.example:80/y", false),
            ("http://b.example/x", false),
            ("http://www.a.example/x", false),
        ] {
            assert_eq!(may_receive_credentials(&list_url, &url(other)), allowed, "{other}");
        }
        assert!(
            !may_receive_credentials(&url("https://a.example/x"), &url("http://a.example/x")),
            "never from https to http"
        );
        assert!(!may_receive_credentials(&url("http://a.example:8080/x"), &url("https://a.example:8080/x")));
        assert!(!may_receive_credentials(&url("http://a.example:443/x"), &url("https://a.example/x")));
    }

    #[test]
    fn another_host_is_one_with_seats_of_its_own() {
        let places =
            ["a.example", "a.example:80", "a.example:443", "a.example:8080", "b.example", "[::1]", "127.0.0.1"];
        let urls =
            places.iter().flat_map(|place| [url(&format!("http://{place}/")), url(&format!("https://{place}/"))]);
        let urls = urls.collect::<Vec<_>>();
        for list_url in &urls {
            for other in &urls {
                let has_its_own = HostKey::of(list_url) != HostKey::of(other);
                assert_eq!(is_another_host(list_url, other), has_its_own, "{list_url} {other}");
                assert!(!may_receive_credentials(list_url, other) || !has_its_own, "{list_url} {other}");
            }
        }
        assert!(!is_another_host(&urls[0], &url("https://a.example/y")), "the upgrade to https is no other host");
    }
}
