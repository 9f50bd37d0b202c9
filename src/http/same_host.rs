//! Whether two URLs belong to the same host: which one may receive credentials.

use url::Url;

/// Whether a redirect leads to another host or port. The default ports of http and https count as one, as they do for
/// the limiter: both belong to one server with one limit.
fn is_another_host(list_url: &Url, url: &Url) -> bool {
    // A parsed URL keeps its port only if it is not the default of its scheme.
    (list_url.host(), list_url.port()) != (url.host(), url.port())
}

/// Whether credentials, cookies and custom fields for the host of `list_url` may be sent to `url` as well: it has the
/// same host and port, or the same host with HTTPS instead of plain HTTP on the default ports.
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
    fn credentials_stay_at_their_host() {
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
    fn another_host_is_one_with_a_limit_of_its_own() {
        let hosts = ["a.example", "a.example:80", "a.example:443", "a.example:8080", "b.example", "[::1]", "127.0.0.1"];
        let urls = hosts.iter().flat_map(|host| [url(&format!("http://{host}/")), url(&format!("https://{host}/"))]);
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
