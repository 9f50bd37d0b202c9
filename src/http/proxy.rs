//! Proxies: which requests go through one, and why one refuses a tunnel.
//!
//! reqwest talks to proxies; that a URL goes past them is decided here, by building its client without one. reqwest
//! knows no ports and no `*.` in `NO_PROXY`, and ignores the variable beside a proxy of its own.

use std::env;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::{Either, select};
use hyper::client::conn::http1;
use hyper::header::{HOST, PROXY_AUTHORIZATION, RETRY_AFTER};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::Options;
use super::response::status_line;
use super::retry::retry_after;
use crate::record::{ErrorKind, FetchError};

/// The host of a URL that no entry of a `NO_PROXY` names, but `*`.
const ANY_HOST: &str = "_";

/// The proxies of a run, from `--proxy` or the environment, and the hosts that are reached without one.
pub(super) struct Proxies {
    matcher: Matcher,
    exceptions: NoProxy,
    /// Whether there is any proxy.
    is_used: bool,
    /// Whether the connection to the proxy for `http` URLs is encrypted.
    pub(super) speaks_tls: bool,
}

impl Proxies {
    /// `given`: the value of `--proxy`; empty for none, `None` for the proxies of the environment.
    ///
    /// # Errors
    /// A sentence, if a variable of the environment names no proxy that can be used.
    pub(super) fn new(given: Option<&str>) -> Result<Self, String> {
        let matcher = match given {
            None => {
                check_variables()?;
                Matcher::from_system()
            }
            Some(proxy) => Matcher::builder().all(with_scheme(proxy)).build(),
        };
        let of_scheme = |scheme| matcher.intercept(&format!("{scheme}://{ANY_HOST}/").parse().ok()?);
        let (http, https) = (of_scheme("http"), of_scheme("https"));
        Ok(Self {
            is_used: http.is_some() || https.is_some(),
            speaks_tls: http.is_some_and(|proxy| proxy.uri().scheme_str() == Some("https")),
            exceptions: NoProxy::of_environment(),
            matcher,
        })
    }

    /// The proxy for the URL, if it goes through one.
    pub(super) fn of(&self, url: &Url) -> Option<Intercept> {
        if !self.is_used || self.exceptions.holds(url) {
            return None;
        }
        self.matcher.intercept(&url.as_str().parse().ok()?)
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").field("matcher", &self.matcher).finish_non_exhaustive()
    }
}

/// A proxy without a scheme is one of HTTP, as for reqwest.
fn with_scheme(proxy: &str) -> String {
    let proxy = if proxy.is_empty() || proxy.contains("://") { proxy.into() } else { format!("http://{proxy}") };
    Url::parse(&proxy).map_or(proxy, String::from)
}

/// The variables that name proxies, each in the spellings that are looked for, in this order. The first one that is set
/// counts, even if it is empty.
const VARIABLES: [[&str; 2]; 3] =
    [["HTTP_PROXY", "http_proxy"], ["HTTPS_PROXY", "https_proxy"], ["ALL_PROXY", "all_proxy"]];

/// What to write instead.
const EXAMPLES: &str = "write a URL such as http://127.0.0.1:3128 or socks5://127.0.0.1:1080";

/// A proxy that is written in a wrong way would be left out silently, and requests that were to go through it would be
/// sent without one.
fn check_variables() -> Result<(), String> {
    // A program that a web server starts has its variables from requests, and uses none of them.
    if env::var_os("REQUEST_METHOD").is_some() {
        return Ok(());
    }
    for spellings in VARIABLES {
        let Some((name, value)) = spellings.iter().find_map(|name| Some((name, env::var_os(name)?))) else { continue };
        let value = value.to_str().ok_or_else(|| format!("{name} is not UTF-8; {EXAMPLES}"))?;
        Options::check_proxy(value).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

impl Options {
    /// Checks that the text names a proxy that can be used; an empty text means no proxy.
    ///
    /// # Errors
    /// The reason and what to write instead, in words. Nothing of the text is in it, which may hold a password.
    pub fn check_proxy(proxy: &str) -> Result<(), String> {
        if proxy.is_empty() {
            return Ok(());
        }
        let scheme = proxy.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            None | Some("http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h") => {}
            Some(other) if other.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                return Err(format!("{other}: is no kind of proxy; {EXAMPLES}"));
            }
            Some(_) => return Err(format!("it is no URL; {EXAMPLES}")),
        }
        let matcher = Matcher::builder().all(proxy.to_owned()).build();
        let is_usable = format!("http://{ANY_HOST}/").parse().is_ok_and(|url| matcher.intercept(&url).is_some());
        match reqwest::Proxy::all(proxy) {
            Ok(_) if is_usable => Ok(()),
            _ if proxy.contains('@') => Err(format!(
                "it is no URL; {EXAMPLES}; in a user name and a password, write %23 for #, %2F for /, %40 for @ and %20 \
                 for a space"
            )),
            _ => Err(format!("it is no URL; {EXAMPLES}")),
        }
    }
}

/// The value of `NO_PROXY`: a list of hosts that are reached without a proxy, parted by commas or white space.
///
/// | entry | hosts |
/// |---|---|
/// | `*` | all |
/// | `example.com`, `.example.com` | the name, and all names below it, as in curl |
/// | `*.example.com` | all names below it |
/// | `192.0.2.1`, `fd00::1`, `[fd00::1]` | the address, where a URL has it for its host |
/// | `10.0.0.0/8`, `fd00::/8` | the addresses of the network |
///
/// Each but the last may end in a port, and names in a dot.
#[derive(Debug, Default, PartialEq, Eq)]
struct NoProxy(Vec<Exception>);

#[derive(Debug, PartialEq, Eq)]
struct Exception {
    hosts: Hosts,
    /// The only port that it is about.
    port: Option<u16>,
}

#[derive(Debug, PartialEq, Eq)]
enum Hosts {
    All,
    Name {
        name: String,
        only_below: bool,
    },
    /// The addresses whose first bits are those of this one.
    Network(IpAddr, u8),
}

impl NoProxy {
    /// Both spellings count.
    fn of_environment() -> Self {
        let lists = ["no_proxy", "NO_PROXY"].map(|name| env::var(name).unwrap_or_default());
        Self::parse(&lists.join(","))
    }

    fn parse(list: &str) -> Self {
        let entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        Self(entries.filter_map(Exception::parse).collect())
    }

    fn holds(&self, url: &Url) -> bool {
        let port = url.port_or_known_default();
        self.0
            .iter()
            .any(|entry| entry.port.is_none_or(|only| Some(only) == port) && entry.hosts.hold(url.host().as_ref()))
    }
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        if let Some((address, bits)) = entry.split_once('/') {
            let (address, bits) = (bare(address).parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
            let width = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= width).then_some(Self { hosts: Hosts::Network(address, bits), port: None });
        }
        if let Ok(address) = bare(entry).parse::<IpAddr>() {
            return Some(Self { hosts: Hosts::address(address), port: None });
        }
        // The colons of an IPv6 address with a port stand in brackets.
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
            None => (entry, None),
        };
        if host == "*" {
            return Some(Self { hosts: Hosts::All, port });
        }
        let only_below = host.starts_with("*.");
        let name = host.trim_start_matches("*.").trim_start_matches('.').trim_end_matches('.');
        let hosts = match Host::parse(name).ok()? {
            Host::Domain(name) => Hosts::Name { name, only_below },
            Host::Ipv4(address) => Hosts::address(address.into()),
            Host::Ipv6(address) => Hosts::address(address.into()),
        };
        Some(Self { hosts, port })
    }
}

impl Hosts {
    fn address(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self::Network(address, if address.is_ipv4() { 32 } else { 128 })
    }

    fn hold(&self, host: Option<&Host<&str>>) -> bool {
        let address = match host {
            Some(Host::Domain(host)) => return self.hold_name(host.trim_end_matches('.')),
            Some(Host::Ipv4(address)) => IpAddr::V4(*address),
            Some(Host::Ipv6(address)) => IpAddr::V6(*address).to_canonical(),
            None => return false,
        };
        match self {
            Self::All => true,
            Self::Name { .. } => false,
            Self::Network(network, bits) => {
                network.is_ipv4() == address.is_ipv4() && first_bits(*network, *bits) == first_bits(address, *bits)
            }
        }
    }

    fn hold_name(&self, host: &str) -> bool {
        match self {
            Self::All => true,
            Self::Name { name, only_below } => match host.strip_suffix(&**name) {
                Some("") => !only_below,
                Some(labels) => labels.ends_with('.'),
                None => false,
            },
            Self::Network(..) => false,
        }
    }
}

/// An address without the brackets that it may have.
pub(super) fn bare(address: &str) -> &str {
    address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address)
}

fn first_bits(address: IpAddr, bits: u8) -> u128 {
    let (number, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    number.checked_shr(width - u32::from(bits)).unwrap_or(0)
}

/// Whether it is a proxy that is asked for a tunnel (`CONNECT`) to such a URL.
pub(super) fn tunnels(proxy: &Intercept, url: &Url) -> bool {
    url.scheme() == "https" && matches!(proxy.uri().scheme_str(), Some("http" | "https"))
}

/// Whether the proxy looks the names of URLs up, so that only its own is looked up here.
pub(super) fn looks_names_up(proxy: &Intercept) -> bool {
    !matches!(proxy.uri().scheme_str(), Some("socks4" | "socks5"))
}

/// The proxy for a message, without credentials.
pub(super) fn shown(proxy: &Intercept) -> String {
    proxy.uri().to_string().trim_end_matches('/').to_owned()
}

/// The answer of a proxy to `CONNECT`.
#[derive(Clone, Copy)]
pub(super) struct TunnelAnswer {
    status: u16,
    retry_after: Option<Duration>,
}

impl TunnelAnswer {
    /// Asks the proxy for a tunnel to the host of the URL, and closes the connection with the answer.
    ///
    /// reqwest tells that a tunnel was refused and not how: its error has neither the status nor `Retry-After`.
    /// `addresses` are those of the proxy; `tls` the settings for it, if its connections are encrypted.
    pub(super) async fn ask(
        proxy: &Intercept,
        addresses: &[SocketAddr],
        tls: Option<ClientConfig>,
        url: &Url,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(addresses).await?;
        let Some(mut tls) = tls else { return Self::receive(stream, proxy, url).await };
        tls.alpn_protocols.clear();
        let host = proxy.uri().host().unwrap_or_default();
        let name = ServerName::try_from(bare(host).to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await?;
        Self::receive(stream, proxy, url).await
    }

    async fn receive(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        proxy: &Intercept,
        url: &Url,
    ) -> io::Result<Self> {
        let target = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(443));
        let mut request = http::Request::connect(&target).header(HOST, &target);
        if let Some(credentials) = proxy.basic_auth() {
            request = request.header(PROXY_AUTHORIZATION, credentials);
        }
        let request = request.body(String::new()).map_err(io::Error::other)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let answered = Box::pin(sender.send_request(request));
        let answer = match select(answered, connection).await {
            Either::Left((answer, _)) => answer,
            Either::Right((_, answered)) => answered.await,
        };
        let answer = answer.map_err(io::Error::other)?;
        let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = asked.and_then(|value| retry_after(value, SystemTime::now()));
        Ok(Self { status: answer.status().as_u16(), retry_after })
    }

    /// The error of a request whose tunnel was refused; `None` if it is not refused any more.
    pub(super) fn error(self, proxy: &Intercept) -> Option<FetchError> {
        let Self { status, retry_after } = self;
        if (200..300).contains(&status) {
            return None;
        }
        let mut clause = format!("the proxy {} answered {} to CONNECT", shown(proxy), status_line(status));
        if status == 407 {
            clause += match proxy.basic_auth() {
                None => ": it wants credentials, as in --proxy http://USER:PASSWORD@HOST:PORT",
                Some(_) => ": it does not accept the user and password that its URL gives (--proxy)",
            };
        }
        let error = FetchError::new(ErrorKind::HttpStatus(status), clause);
        Some(error.with_retry_after(retry_after).that_may_pass(retry_after.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_exceptions(list: &str, without_proxy: &[&str], through_it: &[&str]) {
        let exceptions = NoProxy::parse(list);
        let holds = |url: &str| exceptions.holds(&Url::parse(url).expect(url));
        for url in without_proxy {
            assert!(holds(url), "{list:?} should hold {url}");
        }
        for url in through_it {
            assert!(!holds(url), "{list:?} should not hold {url}");
        }
    }

    #[test]
    fn names_hold_for_what_is_below_them() {
        let (itself, below) = ("http://example.com/a.png", "https://cdn.Example.com./a.png");
        let others = ["http://notexample.com/", "http://example.com.test/", "http://com/", "http://10.0.0.1/"];
        for list in ["example.com", ".example.com", "EXAMPLE.COM.", " a.test ,\texample.com , ", "a.test example.com"] {
            assert_exceptions(list, &[itself, below], &others);
        }
        assert_exceptions("*.example.com", &[below], &[itself, others[0]]);
        assert_exceptions("bücher.example", &["http://bücher.example/", "http://a.xn--bcher-kva.example/"], &[]);
    }

    #[test]
    fn a_port_narrows_an_entry_down() {
        assert_exceptions("example.com:8080", &["http://a.example.com:8080/"], &["http://example.com/"]);
        assert_exceptions("example.com:443", &["https://example.com/"], &["http://example.com/"]);
        assert_exceptions("127.0.0.1:80", &["http://127.0.0.1/"], &["http://127.0.0.1:8080/"]);
        assert_exceptions("[::1]:8080", &["http://[::1]:8080/"], &["http://[::1]/"]);
        assert_exceptions("*:8080", &["http://a.test:8080/"], &["http://a.test/"]);
    }

    #[test]
    fn addresses_and_networks_hold_for_hosts_that_are_addresses() {
        assert_exceptions("10.0.0.0/8", &["http://10.255.0.1/"], &["http://11.0.0.1/", "http://10.example/"]);
        assert_exceptions("192.0.2.129/25", &["http://192.0.2.255/"], &["http://192.0.2.1/"]);
        assert_exceptions("0.0.0.0/0", &["http://1.2.3.4/"], &["http://[::1]/", "http://a.test/"]);
        assert_exceptions("fd00::/8", &["http://[fdff::1]:81/"], &["http://[fe00::1]/", "http://253.0.0.1/"]);
        assert_exceptions("::1,[fd00::2]", &["http://[::1]/", "http://[fd00::2]/"], &["http://[fd00::1]/"]);
        assert_exceptions("127.0.0.1", &["http://127.0.0.1:81/", "http://[::ffff:127.0.0.1]/"], &["http://127.0.0.2/"]);
    }

    #[test]
    fn a_star_alone_holds_for_all_and_nonsense_for_nothing() {
        let some = ["http://a.test/", "https://10.0.0.1/", "http://[::1]:81/"];
        assert_exceptions("a.example, *", &some, &[]);
        for list in ["", ",, ,", "10.0.0.0/33", "fd00::/129", "10.0.0.0/x", "a.test:port", "a.test:", ":80", "*b.test"]
        {
            assert_exceptions(list, &[], &some);
        }
    }
}
