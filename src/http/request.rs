//! Builds requests: which header fields and credentials are sent, and to which hosts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use netrc::Netrc;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, REFERER, USER_AGENT,
};
use reqwest::{Method, Request};
use url::Url;

use super::same_host::may_receive_credentials;

/// A user name and a password for basic authentication (RFC 7617).
#[derive(Clone)]
pub struct Credentials {
    /// The user, without a colon.
    pub user: String,
    /// The password, possibly empty.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}:***)", self.user)
    }
}

/// The user agent, credentials and header fields of all requests.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// `-A`; `None` sends no `User-Agent`.
    pub user_agent: Option<HeaderValue>,
    /// `-e`.
    pub referer: Option<HeaderValue>,
    /// `-b`.
    pub cookie: Option<HeaderValue>,
    /// `-u`.
    pub user: Option<Credentials>,
    /// `--netrc`, by host.
    pub netrc: Option<std::sync::Arc<Netrc>>,
    /// `-H`, in the order given; `None` removes the field.
    pub headers: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl Identity {
    /// The request for `url`, to which `list_url`, the URL in the list, has led. Credentials, cookies and custom fields
    /// are meant for the host of `list_url`; after a redirect to another host they are not sent.
    pub fn request(&self, list_url: &Url, url: &Url) -> Request {
        let is_trusted = may_receive_credentials(list_url, url);
        let mut url = url.clone();
        let from_url = take_credentials(&mut url).or_else(|| {
            let is_for_target = is_trusted && has_user_information(list_url);
            is_for_target.then(|| take_credentials(&mut list_url.clone()))?
        });
        let mut headers = HeaderMap::with_capacity(8);
        // Without this field a server may choose any content coding (RFC 9110, section 12.5.3).
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(agent) = &self.user_agent {
            headers.insert(USER_AGENT, agent.clone());
        }
        if let Some(referer) = &self.referer {
            headers.insert(REFERER, referer.clone());
        }
        let from_netrc = || {
            // After a redirect from https to http, credentials would be sent unencrypted.
            if list_url.scheme() == "https" && url.scheme() == "http" {
                return None;
            }
            let entry = self.netrc.as_ref()?.hosts.get(url.host_str()?)?;
            Some(Credentials { user: entry.login.clone(), password: entry.password.clone() })
        };
        let credentials = from_url.or_else(|| self.user.clone().filter(|_| is_trusted)).or_else(from_netrc);
        if let Some(value) = credentials.as_ref().and_then(basic) {
            headers.insert(AUTHORIZATION, value);
        }
        if is_trusted {
            if let Some(cookie) = &self.cookie {
                headers.insert(COOKIE, cookie.clone());
            }
            for (name, _) in &self.headers {
                headers.remove(name);
            }
            for (name, value) in &self.headers {
                if let Some(value) = value {
                    headers.append(name, value.clone());
                }
            }
        }
        let mut request = Request::new(Method::GET, url);
        *request.headers_mut() = headers;
        request
    }
}

impl Identity {
    /// The fields of a request for an object of a store, before it is authorised. What this has for other servers, such as
    /// credentials, cookies and a referer, is not sent there.
    pub fn object_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.extend(self.user_agent.clone().map(|agent| (USER_AGENT, agent)));
        headers
    }
}

fn has_user_information(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Takes the user information out of a URL (RFC 3986, section 3.2.1): it is not sent as part of the target.
fn take_credentials(url: &mut Url) -> Option<Credentials> {
    if !has_user_information(url) {
        return None;
    }
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let credentials =
        Credentials { user: decode(url.username()), password: decode(url.password().unwrap_or_default()) };
    // Neither can fail: an http(s) URL has a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(credentials)
}

fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    let pair = format!("{}:{}", credentials.user, credentials.password);
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn credentials_of_the_url_come_first_and_leave_the_target() {
        let identity = Identity {
            user: Some(Credentials { user: "run".into(), password: "pw".into() }),
            cookie: Some(HeaderValue::from_static("a=b")),
            headers: vec![(HeaderName::from_static("x-key"), Some(HeaderValue::from_static("1"))), (USER_AGENT, None)],
            user_agent: Some(HeaderValue::from_static("fetchimg")),
            ..Identity::default()
        };
        let list_url = url("http://ann:p%40w@a.example/x");
        let request = identity.request(&list_url, &list_url);
        assert_eq!(request.headers()[AUTHORIZATION], "Basic YW5uOnBAdw==");
        assert_eq!(request.url().as_str(), "http://a.example/x");
        assert_eq!(request.headers()["x-key"], "1");
        assert!(!request.headers().contains_key(USER_AGENT));
        let again = identity.request(&list_url, &url("http://a.example/y"));
        assert_eq!(again.headers()[AUTHORIZATION], "Basic YW5uOnBAdw==");
        let plain = identity.request(&url("http://a.example/x"), &url("http://a.example/x"));
        assert_eq!(plain.headers()[AUTHORIZATION], "Basic cnVuOnB3");
        let away = identity.request(&list_url, &url("http://b.example/x"));
        assert!(!away.headers().contains_key(AUTHORIZATION) && !away.headers().contains_key(COOKIE));
        assert!(!away.headers().contains_key("x-key"));
        assert_eq!(away.headers()[USER_AGENT], "fetchimg");
    }
}
