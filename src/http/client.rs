//! The HTTP client of a run: pooled connections, redirects, deadlines.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use foldhash::fast::RandomState;
use futures::Stream;
use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::HttpInfo;
use hyper_util::client::proxy::matcher::Matcher;
use percent_encoding::{AsciiSet, percent_encode};
use reqwest::header::{
    CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
    TRANSFER_ENCODING,
};
use reqwest::{Request, StatusCode, Version};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::classify::{Stage, classify, classify_lookup, died_on_connection, requires_http1};
use super::content_encoding::{ContentCoding, ContentDecoder, DecodeError, content_coding};
use super::cookies::CookieJar;
use super::ip_scope::is_public;
use super::range::{self, ContentRange, Resume};
use super::request::Identity;
use super::resolver::{AddressFilter, DnsOptions, Family, Pinned, Resolver};
use super::tls::{self, Trust};
use super::{disposition, retry};
use crate::record::{ErrorKind, FetchError, RunError};
use crate::util::lock;
use crate::util::redact::{redacted, redacted_text};

/// Idle connections are closed after this time. Servers close them after 5 s (Apache) to 75 s (nginx). A connection
/// that both sides keep saves a handshake; one that the server has closed costs a second request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// An error page up to this size is read, so that its connection can be used again. A larger one costs more than a
/// handshake.
const MAX_DRAIN_BYTES: u64 = 64 * 1024;

/// An error page is read for at most this time, which is more than a handshake takes.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// While an answer is awaited over HTTP/2 and nothing at all has come for a quarter of `--stall-timeout`, the server is
/// sent a PING; not sooner than this, and not later than [`MAX_PING_INTERVAL`]. Servers take many control frames for an
/// attack.
const MIN_PING_INTERVAL: Duration = Duration::from_secs(1);
const MAX_PING_INTERVAL: Duration = Duration::from_secs(5);

/// A PING that is not answered within half of `--stall-timeout`, or within this time, ends its connection. That is
/// before the requests on it have been silent for too long, so they are sent again in the same attempt.
const MAX_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest URL that hyper can send. The URLs of a list have the same limit.
const MAX_URL_BYTES: usize = 65_534;

/// Characters of a URL from a server that messages show.
const MAX_SHOWN_URL_CHARS: usize = 300;

/// The settings of a [`Client`].
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches of the command line, each on its own")]
pub struct Options {
    /// The user agent, credentials and header fields that are sent.
    pub identity: Identity,
    /// `--proxy`; `Some("")` for none, `None` for those of the environment.
    pub proxy: Option<String>,
    /// `--cacert`.
    pub cacert: Option<std::path::PathBuf>,
    /// `--insecure`.
    pub insecure: bool,
    /// `--resolve`.
    pub pinned: Vec<Pinned>,
    /// `--dns-servers`; empty for those of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// `-4` or `-6`.
    pub family: Option<Family>,
    /// `--public-only`.
    pub public_only: bool,
    /// `--http1.1`.
    pub http1_only: bool,
    /// `--max-redirs`.
    pub max_redirects: u32,
    /// `--allow-downgrade`.
    pub allow_downgrade: bool,
    /// `--connect-timeout`.
    pub connect_timeout: Duration,
    /// `--stall-timeout`.
    pub stall_timeout: Duration,
    /// `--timeout`, for one attempt with its redirects and its body.
    pub attempt_timeout: Duration,
    /// Downloads at once, which bounds the number of idle connections.
    pub concurrency: usize,
}

/// Fetches URLs. There is one for the whole run, shared by all tasks.
#[derive(Debug)]
pub struct Client {
    options: Options,
    trust: Trust,
    resolver: Resolver,
    /// By whether TLS is used, because a list without `https:` never reads the system's certificates; and by the port
    /// that `--resolve` gives for the host, because reqwest does not tell the resolver the port.
    pools: HashMap<(bool, Option<u16>), ConnectionPool, RandomState>,
    proxy_speaks_tls: bool,
    /// The proxies of the environment.
    environment: Matcher,
    tls: OnceLock<Result<rustls::ClientConfig, String>>,
    used: UsedPorts,
}

impl Client {
    /// A client with these options. Reads and checks the certificates that they name; makes no connection.
    ///
    /// # Errors
    /// [`RunError::Client`] if a certificate or the proxy cannot be used.
    pub fn new(options: Options) -> Result<Self, RunError> {
        let trust = match (&options.cacert, options.insecure) {
            (_, true) => Trust::Unchecked,
            (Some(file), false) => Trust::only(file)?,
            (None, false) => Trust::System,
        };
        let ports = options.pinned.iter().map(|pinned| Some(pinned.port)).chain([None]);
        let pools = ports
            .flat_map(|port| [((false, port), ConnectionPool::default()), ((true, port), ConnectionPool::default())]);
        let client = Self {
            proxy_speaks_tls: proxy_speaks_tls(options.proxy.as_deref()),
            trust,
            resolver: Resolver::new(
                AddressFilter { family: options.family, public_only: options.public_only },
                DnsOptions { servers: options.dns_servers.clone(), timeout: options.connect_timeout },
            ),
            environment: Matcher::from_system(),
            pools: pools.collect(),
            tls: OnceLock::new(),
            used: UsedPorts::default(),
            options,
        };
        // A wrong proxy is reported now, not at the first download.
        client.build((false, None), Kind::POOLED).map_err(|error| RunError::Client(error.to_string()))?;
        Ok(client)
    }

    /// The time that requests have waited for DNS lookups, all together.
    #[must_use]
    pub fn lookup_time(&self) -> Duration {
        self.resolver.waited()
    }

    /// The deadline of an attempt that begins now: everything must have arrived when `--timeout` has passed, redirects
    /// and bodies included.
    ///
    /// While nothing arrives, `should_give_up` is called once a second with the length of the silence, and may end the
    /// attempt before `--stall-timeout` does. `before_request` is awaited before each request but the first.
    #[must_use]
    pub fn deadline<'a>(
        &self,
        should_give_up: Option<GiveUpCheck<'a>>,
        before_request: Option<BeforeRequest<'a>>,
    ) -> Deadline<'a> {
        let (timeout, stall_timeout) = (self.options.attempt_timeout, self.options.stall_timeout);
        let (ends_at, connections) = (Instant::now() + timeout, Connections::Pooled);
        Deadline { ends_at, timeout, stall_timeout, should_give_up, before_request, connections }
    }

    /// Sends a GET for the URL, or for the rest of a body if `resume` is given, and follows redirects.
    ///
    /// # Errors
    /// The first failure, sorted by kind: of the lookup, the connection, TLS, a deadline, a redirect or the protocol.
    pub async fn get<'a>(
        &self,
        url: &'a Url,
        resume: Option<&Resume>,
        mut deadline: Deadline<'a>,
    ) -> Result<Response<'a>, FetchError> {
        let mut current = Cow::Borrowed(url);
        let mut redirects = 0;
        let mut cookies = CookieJar::default();
        loop {
            let request = || {
                let mut request = self.options.identity.request(url, &current);
                if let Some(value) = cookies.header(&current, request.headers().get(COOKIE)) {
                    request.headers_mut().insert(COOKIE, value);
                }
                if let Some(resume) = resume {
                    resume.set_headers(request.headers_mut());
                }
                request
            };
            let sent = self.send(&current, request, deadline).await;
            let response = sent.map_err(|error| match redirects {
                0 => error,
                _ => error.with_context(&format!("redirected to {}", shortened(&redacted(&current)))),
            })?;
            if !matches!(response.head.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Response::new(response, current);
            }
            if redirects == self.options.max_redirects {
                let clause = format!("more than {redirects} redirects (--max-redirs)");
                return Err(FetchError::new(ErrorKind::Redirect, clause));
            }
            redirects += 1;
            cookies.store(&current, response.head.headers());
            let target = redirect_target(&current, response.head.headers(), self.options.allow_downgrade)?;
            response.body(None).drain(&current).await;
            deadline = deadline.before_request(&target).await?;
            current = Cow::Owned(target);
        }
    }

    /// Sends the request for `url` and waits for the head of its response.
    async fn send<'a>(
        &self,
        url: &Url,
        request: impl Fn() -> Request,
        deadline: Deadline<'a>,
    ) -> Result<RawResponse<'a>, FetchError> {
        self.check_address(url)?;
        if self.is_secure(url) {
            // The certificates are read while the name is looked up and the connection is made.
            self.tls();
        }
        self.look_up(url, deadline).await?;
        let mut lease = self.lease(url, deadline.connections)?;
        let mut sent = lease.execute(request(), deadline).await?;
        if sent.as_ref().is_err_and(requires_http1) {
            lease.note_http1_required();
            lease = self.lease(url, deadline.connections)?;
            sent = lease.execute(request(), deadline).await?;
        }
        let sent = match sent {
            // The server closed a persistent connection just as this request was sent (RFC 9112, section 9.6). It is
            // sent once more, at once, on a connection of its own.
            Err(error) if died_on_connection(&error).is_some_and(|port| self.used.contains(port)) => {
                lease = self.lease(url, Connections::Own)?;
                lease.execute(request(), deadline).await?
            }
            other => other,
        };
        let head = sent.map_err(|error| {
            let error = classify(&error, url, Stage::Head);
            match self.options.proxy.as_deref() {
                Some(proxy) if !proxy.is_empty() => {
                    error.with_context(&format!("through the proxy {}", redacted_text(proxy)))
                }
                _ => error,
            }
        })?;
        lease.is_http1 |= head.version() < Version::HTTP_2;
        if let Some(info) = head.extensions().get::<HttpInfo>() {
            self.used.insert(info.local_addr().port());
        }
        Ok(RawResponse { head, deadline, lease })
    }

    /// The resolver filters the addresses of names; an address in the URL is checked here.
    fn check_address(&self, url: &Url) -> Result<(), FetchError> {
        let address = match url.host() {
            Some(url::Host::Ipv4(address)) => IpAddr::V4(address),
            Some(url::Host::Ipv6(address)) => IpAddr::V6(address),
            _ => return Ok(()),
        };
        if self.options.public_only && !is_public(address) {
            let clause = format!("the address is refused (--public-only): {address} is not public");
            return Err(FetchError::new(ErrorKind::ForbiddenAddress, clause));
        }
        match self.options.family {
            Some(family) if !family.holds(address) => {
                let flag = if family == Family::V4 { "-4" } else { "-6" };
                Err(FetchError::new(ErrorKind::Connect, format!("{address} is not of the family that {flag} asks for")))
            }
            _ => Ok(()),
        }
    }

    /// Resolves the name before the request is sent, because the deadlines for connecting and for silence must not
    /// count the time that the lookup waits for its turn. Does nothing where there is no name to resolve.
    async fn look_up(&self, url: &Url, deadline: Deadline<'_>) -> Result<(), FetchError> {
        let Some(url::Host::Domain(host)) = url.host() else { return Ok(()) };
        if self.is_pinned(url) || self.is_proxied(url) {
            return Ok(());
        }
        match timeout_at(deadline.ends_at, self.resolver.prepare(&host.to_ascii_lowercase())).await {
            Ok(resolved) => resolved.map_err(|error| classify_lookup(&error, url)),
            Err(_) => Err(deadline.timed_out()),
        }
    }

    /// Whether the request goes to a proxy, which resolves the name itself.
    fn is_proxied(&self, url: &Url) -> bool {
        match self.options.proxy.as_deref() {
            _ if self.options.public_only => false,
            Some(proxy) => !proxy.is_empty(),
            // reqwest asks the same matcher.
            None => url.as_str().parse::<http::Uri>().is_ok_and(|uri| self.environment.intercept(&uri).is_some()),
        }
    }

    /// Whether `--resolve` gives an address for the host and port.
    fn is_pinned(&self, url: &Url) -> bool {
        let port = url.port_or_known_default();
        self.options.pinned.iter().any(|pinned| Some(pinned.port) == port && Some(&*pinned.host) == url.host_str())
    }

    /// The key of [`Client::pools`] for the URL.
    fn pool_key(&self, url: &Url) -> (bool, Option<u16>) {
        (self.is_secure(url), url.port_or_known_default().filter(|_| self.is_pinned(url)))
    }

    fn is_secure(&self, url: &Url) -> bool {
        url.scheme() == "https" || self.proxy_speaks_tls
    }

    /// The TLS settings, made when they are first needed.
    fn tls(&self) -> &Result<rustls::ClientConfig, String> {
        let make = || tls::config(&self.trust, !self.options.http1_only).map_err(|error| error.to_string());
        self.tls.get_or_init(make)
    }

    fn lease(&self, url: &Url, connections: Connections) -> Result<ClientLease, FetchError> {
        let key = self.pool_key(url);
        let pool = self.pools.get(&key).ok_or_else(|| FetchError::new(ErrorKind::Internal, "no pool for this port"))?;
        pool.lease(url, connections, self.options.concurrency, |kind| self.build(key, kind))
    }

    /// Builds a reqwest client. `secure`: with TLS, for which the system's certificates are read the first time.
    /// `port`: with the addresses that `--resolve` gives for that port.
    fn build(&self, (secure, port): (bool, Option<u16>), kind: Kind) -> Result<reqwest::Client, FetchError> {
        let options = &self.options;
        let http1_only = options.http1_only || kind.http1_only;
        let tls = if secure {
            let made = self.tls().clone();
            let made = made.map_err(|error| FetchError::new(ErrorKind::Tls, "cannot set up TLS").caused_by(error))?;
            tls::offering(made, !http1_only)
        } else {
            tls::config(&Trust::Nothing, false).map_err(unbuildable)?
        };
        let pinned = options.pinned.iter().filter(|pinned| Some(pinned.port) == port);
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(if kind.pooled { options.concurrency } else { 0 })
            .http2_keep_alive_interval((options.stall_timeout / 4).clamp(MIN_PING_INTERVAL, MAX_PING_INTERVAL))
            .http2_keep_alive_timeout((options.stall_timeout / 2).min(MAX_PING_TIMEOUT))
            .dns_resolver(Arc::new(self.resolver.with(pinned)))
            .tcp_nodelay(true)
            // Browsers read such answers. A folded field is one with a space (RFC 9112, section 5.2); a line that is no
            // field is passed over. If it was to say how long the body is, the image has to be whole by itself.
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .tls_backend_preconfigured(tls);
        if !secure {
            // reqwest keeps a copy of each request in case the server refuses it without processing it, which is a
            // feature of HTTP/2 (RFC 9113, section 8.7); and HTTP/2 is only used over TLS.
            builder = builder.retry(reqwest::retry::never());
        }
        if http1_only {
            builder = builder.http1_only();
        }
        builder = match options.family {
            Some(Family::V4) => builder.local_address(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            Some(Family::V6) => builder.local_address(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            None => builder,
        };
        builder = match options.proxy.as_deref() {
            // A proxy would resolve names itself, and the addresses could not be checked.
            _ if options.public_only => builder.no_proxy(),
            None => builder,
            Some("") => builder.no_proxy(),
            Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy).map_err(unbuildable)?),
        };
        builder.build().map_err(unbuildable)
    }
}

impl Options {
    /// Checks that the text names a proxy that can be used; an empty text means no proxy.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn check_proxy(proxy: &str) -> Result<(), String> {
        let scheme = proxy.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            _ if proxy.is_empty() => return Ok(()),
            // reqwest would silently ignore any other proxy, and send the request without one.
            None | Some("http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h") => {}
            Some(other) => return Err(format!("{other}: is no kind of proxy")),
        }
        reqwest::Proxy::all(proxy).map(drop).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.unwrap_or_else(|| error.to_string())
        })
    }
}

/// Whether the connection to the proxy is encrypted, for a proxy from the options or from the environment.
fn proxy_speaks_tls(given: Option<&str>) -> bool {
    let is_https = |proxy: &str| proxy.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("https:"));
    match given {
        Some(proxy) => is_https(proxy),
        None => ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
            .into_iter()
            .any(|name| std::env::var(name).is_ok_and(|proxy| is_https(&proxy))),
    }
}

fn unbuildable(error: impl std::error::Error + Send + Sync + 'static) -> FetchError {
    FetchError::new(ErrorKind::Internal, "cannot set up a client").caused_by(error)
}

/// The target of a redirect. It must be http or https, and http after https only if that is allowed.
fn redirect_target(from: &Url, headers: &HeaderMap, allow_downgrade: bool) -> Result<Url, FetchError> {
    let refuse = |clause: String| FetchError::new(ErrorKind::Redirect, clause);
    let location = headers.get(LOCATION).ok_or_else(|| refuse("a redirect without a valid Location".into()))?;
    let location = text_of(location);
    let target = from
        .join(&location)
        .map_err(|error| refuse(format!("a redirect to {}: {error}", shortened(&redacted_text(&location)))))?;
    if !matches!(target.scheme(), "http" | "https") {
        let shown = redacted(&target);
        return Err(refuse(format!("a redirect to {}, which is neither http nor https", shortened(&shown))));
    }
    if target.as_str().len() > MAX_URL_BYTES {
        let shown = redacted(&target);
        return Err(refuse(format!("a redirect to {}, which is longer than {MAX_URL_BYTES} bytes", shortened(&shown))));
    }
    // Anyone on the network path could replace the image.
    if from.scheme() == "https" && target.scheme() == "http" && !allow_downgrade {
        let clause =
            format!("a redirect from https to {}; --allow-downgrade follows it", shortened(&redacted(&target)));
        return Err(refuse(clause));
    }
    Ok(target)
}

/// A URL for a message, shortened: a server wrote it, and it may be of any length.
fn shortened(url: &str) -> Cow<'_, str> {
    match url.char_indices().nth(MAX_SHOWN_URL_CHARS) {
        Some((end, _)) => format!("{}…", &url[..end]).into(),
        None => url.into(),
    }
}

/// The text of a header field that holds a URL. Bytes that are not UTF-8 are percent-encoded one by one, as servers
/// with names in Latin-1 expect them back.
fn text_of(value: &HeaderValue) -> Cow<'_, str> {
    let bytes = value.as_bytes();
    std::str::from_utf8(bytes).map_or_else(|_| percent_encode(bytes, NOT_ASCII).to_string().into(), Cow::Borrowed)
}

/// ASCII is not encoded; all bytes beyond it are.
const NOT_ASCII: &AsciiSet = &AsciiSet::EMPTY;

/// A connection pool with a bound on idle connections.
///
/// reqwest bounds idle connections per host, not in total (<https://github.com/hyperium/hyper/issues/2236>): a list
/// over 20,000 hosts would keep 20,000 sockets open. The connections that a client may keep idle are, for each host,
/// the peak of those in use less those in use now. When they reach twice the number of downloads at once, a new reqwest
/// client takes over, and the old one closes its connections when its last request has ended.
#[derive(Debug, Default)]
struct ConnectionPool(Mutex<Option<Arc<ClientGeneration>>>);

#[derive(Debug)]
struct ClientGeneration {
    client: reqwest::Client,
    /// By the hash of the host and port.
    hosts: Mutex<HashMap<u64, HostConnections, RandomState>>,
}

#[derive(Debug, Default)]
struct HostConnections {
    in_use: usize,
    peak: usize,
    /// Instead of the client of the generation, once there was reason to mistrust its connections to this host.
    own_client: Option<reqwest::Client>,
    /// How often the connections were given up.
    renewals: u32,
    /// The connections have been given up, and the next request makes a client.
    wants_own_client: bool,
    /// It answers over HTTP/1.1, where no request shares a connection with another.
    is_http1: bool,
    /// It refuses HTTP/2 (`HTTP_1_1_REQUIRED`; RFC 9113, section 7).
    requires_http1: bool,
}

impl HostConnections {
    /// No request goes out on the connections that the host has by now. Those that are in use end with their requests.
    fn give_up(&mut self) {
        self.renewals = self.renewals.wrapping_add(1);
        self.own_client = None;
        self.wants_own_client = true;
    }
}

/// Which connection a request goes out on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// One that is there, if there is one.
    #[default]
    Pooled,
    /// A new one, which no other request shares: the last attempt fell silent, perhaps for its connection alone.
    Own,
    /// A new one, which later requests to the host share; those that are there are given up.
    Renewed,
}

/// What a client of reqwest is built for.
#[derive(Clone, Copy)]
struct Kind {
    /// Whether it keeps its connections.
    pooled: bool,
    http1_only: bool,
}

impl Kind {
    const POOLED: Self = Self { pooled: true, http1_only: false };
}

/// A reqwest client for one request and its response.
#[derive(Debug)]
struct ClientLease {
    client: reqwest::Client,
    generation: Arc<ClientGeneration>,
    host: u64,
    /// [`HostConnections::renewals`] when the lease began; `None` if the client is for this request alone.
    renewals: Option<u32>,
    /// It is known to use HTTP/1.1.
    is_http1: bool,
    /// A deadline passed. For all that is known, the connection is dead.
    fell_silent: bool,
}

impl ClientLease {
    async fn execute(
        &mut self,
        request: reqwest::Request,
        deadline: Deadline<'_>,
    ) -> Result<reqwest::Result<reqwest::Response>, FetchError> {
        let sent = within_deadline(deadline, MISSING_HEAD, self.client.execute(request)).await;
        self.fell_silent = sent.is_err();
        sent
    }

    /// From now on requests to the host use HTTP/1.1.
    fn note_http1_required(&self) {
        let mut hosts = lock(&self.generation.hosts);
        let host = hosts.entry(self.host).or_default();
        if !host.requires_http1 {
            host.requires_http1 = true;
            host.give_up();
        }
    }
}

impl Drop for ClientLease {
    fn drop(&mut self) {
        let Some(renewals) = self.renewals else { return };
        let mut hosts = lock(&self.generation.hosts);
        if let Some(host) = hosts.get_mut(&self.host) {
            host.in_use -= 1;
            host.is_http1 |= self.is_http1;
            // Over HTTP/1.1 the connection ends with its request. Over HTTP/2 all requests to the host would go on using
            // it, and fall silent one after the other.
            if self.fell_silent && !host.is_http1 && host.renewals == renewals {
                host.give_up();
            }
        }
    }
}

impl ConnectionPool {
    fn lease(
        &self,
        url: &Url,
        connections: Connections,
        max_downloads: usize,
        build: impl Fn(Kind) -> Result<reqwest::Client, FetchError>,
    ) -> Result<ClientLease, FetchError> {
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let host = xxhash_rust::xxh3::xxh3_64(authority.as_bytes());
        let is_http1 = url.scheme() == "http";
        let mut current = lock(&self.0);
        let new = || Ok(Arc::new(ClientGeneration { client: build(Kind::POOLED)?, hosts: Mutex::default() }));
        let mut generation = match &*current {
            Some(generation) => Arc::clone(generation),
            None => Arc::clone(current.insert(new()?)),
        };
        let mut hosts = lock(&generation.hosts);
        if connections == Connections::Own {
            let http1_only = hosts.get(&host).is_some_and(|host| host.requires_http1);
            drop((hosts, current));
            let client = build(Kind { pooled: false, http1_only })?;
            return Ok(ClientLease { client, generation, host, renewals: None, is_http1, fell_silent: false });
        }
        if !has_room(&hosts, host, max_downloads) {
            drop(hosts);
            generation = new()?;
            *current = Some(Arc::clone(&generation));
            hosts = lock(&generation.hosts);
        }
        let entry = hosts.entry(host).or_default();
        if connections == Connections::Renewed {
            entry.give_up();
        }
        if entry.wants_own_client {
            entry.own_client = Some(build(Kind { pooled: true, http1_only: entry.requires_http1 })?);
            entry.wants_own_client = false;
        }
        entry.in_use += 1;
        entry.peak = entry.peak.max(entry.in_use);
        let client = entry.own_client.as_ref().unwrap_or(&generation.client).clone();
        let renewals = Some(entry.renewals);
        drop(hosts);
        Ok(ClientLease { client, generation, host, renewals, is_http1, fell_silent: false })
    }
}

/// Whether one more request to the host may go out with the client of these hosts.
fn has_room(hosts: &HashMap<u64, HostConnections, RandomState>, host: u64, max_downloads: usize) -> bool {
    let opens_connection = hosts.get(&host).is_none_or(|connections| connections.in_use == connections.peak);
    let idle = || hosts.values().map(|connections| connections.peak - connections.in_use).sum::<usize>();
    !opens_connection || hosts.is_empty() || idle() < 2 * max_downloads
}

/// The local ports of connections that have carried a response, one bit each. A port that another connection uses again
/// costs at most one more request.
#[derive(Debug)]
struct UsedPorts(Box<[AtomicU64]>);

impl Default for UsedPorts {
    fn default() -> Self {
        Self(std::iter::repeat_with(AtomicU64::default).take(1 << 10).collect())
    }
}

impl UsedPorts {
    fn insert(&self, port: u16) {
        self.0[usize::from(port >> 6)].fetch_or(1 << (port & 63), Ordering::Relaxed);
    }

    fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port >> 6)].load(Ordering::Relaxed) & (1 << (port & 63)) != 0
    }
}

/// Called with the length of the silence so far; returns whether that is too long.
pub type GiveUpCheck<'a> = &'a (dyn Fn(Duration) -> bool + Sync);

/// Completes when one more request may be sent to this URL, and says on which connection.
pub type BeforeRequest<'a> = &'a (dyn Fn(&Url) -> BoxFuture<'a, Result<Connections, FetchError>> + Sync);

/// How often [`GiveUpCheck`] is called.
const GIVE_UP_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// When an attempt must be over, how long it may be silent, and when it may send another request on which connection.
#[derive(Clone, Copy)]
pub struct Deadline<'a> {
    ends_at: Instant,
    timeout: Duration,
    stall_timeout: Duration,
    should_give_up: Option<GiveUpCheck<'a>>,
    before_request: Option<BeforeRequest<'a>>,
    connections: Connections,
}

impl Deadline<'_> {
    /// Sends the requests of the attempt on such connections.
    #[must_use]
    pub const fn on(self, connections: Connections) -> Self {
        Self { connections, ..self }
    }

    /// Waits until another request may be sent to this URL. The attempt's time does not run meanwhile.
    ///
    /// # Errors
    /// If no request may be sent there.
    pub async fn before_request(mut self, url: &Url) -> Result<Self, FetchError> {
        if let Some(before_request) = self.before_request {
            let begun = Instant::now();
            self.connections = before_request(url).await?;
            self.ends_at += begun.elapsed();
        }
        Ok(self)
    }

    fn timed_out(self) -> FetchError {
        FetchError::new(ErrorKind::Timeout, format!("not complete after {} s", self.timeout.as_secs_f64()))
    }
}

/// Names the missing part when the head of a response has not arrived completely.
const MISSING_HEAD: &str = "no whole head of an answer";

/// Awaits the future until the silence lasts too long or the attempt is over. `missing` names what did not arrive.
async fn within_deadline<T>(
    deadline: Deadline<'_>,
    missing: &str,
    future: impl Future<Output = T>,
) -> Result<T, FetchError> {
    let mut future = pin!(future);
    let begun = Instant::now();
    let step = deadline.should_give_up.map_or(deadline.stall_timeout, |_| GIVE_UP_CHECK_INTERVAL);
    let mut silence = Duration::ZERO;
    loop {
        silence = (silence + step).min(deadline.stall_timeout);
        let quiet_until = begun + silence;
        if let Ok(value) = timeout_at(quiet_until.min(deadline.ends_at), future.as_mut()).await {
            return Ok(value);
        }
        if deadline.ends_at <= quiet_until {
            return Err(deadline.timed_out());
        }
        if silence == deadline.stall_timeout
            || deadline.should_give_up.is_some_and(|should_give_up| should_give_up(silence))
        {
            let clause = format!("{missing} came within {} s", silence.as_secs_f64());
            return Err(FetchError::new(ErrorKind::Stalled, clause));
        }
    }
}

/// The head of a response, and access to its body.
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// The URL of the response, after redirects.
    pub final_url: Cow<'a, Url>,
    /// The `Content-Type` as sent.
    pub content_type: Option<String>,
    /// The file name from `Content-Disposition`.
    pub filename: Option<String>,
    /// The announced length of the body, in bytes.
    pub length: Option<u64>,
    /// Whether nothing but the end of the connection ends the body.
    pub ends_with_connection: bool,
    /// The wait that the server asks for in `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The strong validator of the body, if its rest can be requested later.
    pub validator: Option<HeaderValue>,
    /// The position of the bytes, if they are a part of the body.
    pub range: Option<ContentRange>,
    body: ResponseBody<'a>,
}

impl<'a> Response<'a> {
    /// # Errors
    /// If the body of a success has a content coding that cannot be decoded.
    fn new(response: RawResponse<'a>, url: Cow<'a, Url>) -> Result<Self, FetchError> {
        let head = &response.head;
        let headers = head.headers();
        let coding = if head.status().is_success() { content_coding(headers)? } else { None };
        let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Ok(Self {
            status: head.status().as_u16(),
            content_type: text(CONTENT_TYPE),
            filename: headers.get(CONTENT_DISPOSITION).and_then(|value| disposition::filename(value.as_bytes())),
            // Lengths, ranges and validators of a compressed body do not apply to the decoded one.
            length: body_length(head).filter(|_| coding.is_none()),
            ends_with_connection: coding.is_none() && ends_with_connection(head),
            retry_after: text(RETRY_AFTER).and_then(|value| retry::retry_after(&value, SystemTime::now())),
            validator: range::validator(headers).filter(|_| coding.is_none()),
            range: range::content_range(headers).filter(|_| coding.is_none()),
            final_url: url,
            body: response.body(coding),
        })
    }

    /// The next bytes, as many as the connection has ready; `None` at the end.
    ///
    /// # Errors
    /// If the body ends before its announced length or without its last chunk (RFC 9112, section 8), or a deadline
    /// passes.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        self.body.next(&self.final_url).await
    }

    /// Reads a short rest of the body, so that the connection can be used again; drops a long one with its connection.
    pub async fn drain(self) {
        self.body.drain(&self.final_url).await;
    }

    /// The deadline of the attempt.
    #[must_use]
    pub const fn deadline(&self) -> Deadline<'a> {
        self.body.deadline
    }

    /// The status for a message: `404 Not Found`, or `status 599` for a status without a known name.
    #[must_use]
    pub fn status_line(&self) -> String {
        let reason = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        match reason.or(retry::cloudflare_reason(self.status)) {
            Some(reason) => format!("{} {reason}", self.status),
            None => format!("status {}", self.status),
        }
    }
}

/// A response of which the head has arrived.
struct RawResponse<'a> {
    head: reqwest::Response,
    deadline: Deadline<'a>,
    lease: ClientLease,
}

impl<'a> RawResponse<'a> {
    fn body(self, coding: Option<ContentCoding>) -> ResponseBody<'a> {
        // A body of unknown length may be endless.
        let is_short = self.head.content_length().is_some_and(|length| length <= MAX_DRAIN_BYTES);
        let received = ReceivedBody { rest: unframed_length(&self.head), response: self.head };
        let frames = match coding {
            None => BodyFrames::Plain(received),
            Some(coding) => BodyFrames::Compressed(ContentDecoder::new(coding, frames(received))),
        };
        ResponseBody { frames, is_short, deadline: self.deadline, lease: self.lease }
    }
}

/// The body of a response, frame by frame.
struct ResponseBody<'a> {
    frames: BodyFrames,
    is_short: bool,
    deadline: Deadline<'a>,
    lease: ClientLease,
}

#[derive(Debug)]
enum BodyFrames {
    Plain(ReceivedBody),
    Compressed(ContentDecoder),
}

fn frames(body: ReceivedBody) -> impl Stream<Item = reqwest::Result<Bytes>> {
    futures::stream::try_unfold(body, |mut body| async move { Ok(body.frame().await?.map(|frame| (frame, body))) })
}

/// The body as it was sent.
#[derive(Debug)]
struct ReceivedBody {
    response: reqwest::Response,
    /// The bytes to come, if hyper does not count them.
    rest: Option<u64>,
}

impl ReceivedBody {
    async fn frame(&mut self) -> reqwest::Result<Option<Bytes>> {
        if self.rest == Some(0) {
            return Ok(None);
        }
        let mut frame = self.response.chunk().await?;
        if let (Some(rest), Some(frame)) = (&mut self.rest, &mut frame) {
            frame.truncate(usize::try_from(*rest).unwrap_or(usize::MAX));
            *rest -= frame.len() as u64;
        }
        Ok(frame)
    }
}

/// Whether the body has neither a length nor chunks (RFC 9112, section 6.3). HTTP/2 has frames.
fn ends_with_connection(head: &reqwest::Response) -> bool {
    let mut codings =
        head.headers().get_all(TRANSFER_ENCODING).iter().map(|value| value.as_bytes().to_ascii_lowercase());
    head.version() <= Version::HTTP_11
        && body_length(head).is_none()
        && !codings.any(|coding| coding.windows(7).any(|word| word == b"chunked"))
}

/// The length of the body as it is sent.
fn body_length(head: &reqwest::Response) -> Option<u64> {
    head.content_length().or_else(|| unframed_length(head))
}

/// The length beside `Transfer-Encoding: identity`, which older servers send where there is no coding. It no longer exists,
/// so hyper reads such a body until the connection closes, whatever its length (RFC 9112, section 6.3).
fn unframed_length(head: &reqwest::Response) -> Option<u64> {
    let headers = head.headers();
    let parts = |value: &HeaderValue| {
        let parts = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect::<Vec<_>>()
    };
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().flat_map(parts).peekable();
    codings.peek()?;
    if !codings.all(|name| name.is_empty() || name.eq_ignore_ascii_case("identity")) {
        return None;
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().flat_map(parts);
    let first = lengths.next().filter(|first| first.bytes().all(|byte| byte.is_ascii_digit()))?;
    if lengths.all(|length| length == first) { first.parse().ok() } else { None }
}

impl ResponseBody<'_> {
    /// The next bytes; `url` is their source.
    async fn next(&mut self, url: &Url) -> Result<Option<Bytes>, FetchError> {
        let next = async {
            match &mut self.frames {
                BodyFrames::Plain(body) => body.frame().await.map_err(DecodeError::Body),
                BodyFrames::Compressed(decoder) => decoder.next::<reqwest::Error>().await,
            }
        };
        let received = within_deadline(self.deadline, "nothing", next).await;
        self.lease.fell_silent = received.is_err();
        received?.map_err(|error| match error {
            DecodeError::Body(error) => {
                if requires_http1(&error) {
                    self.lease.note_http1_required();
                }
                classify(&error, url, Stage::Body)
            }
            DecodeError::Coding(error) => error,
        })
    }

    async fn drain(mut self, url: &Url) {
        if self.is_short {
            self.deadline.ends_at = self.deadline.ends_at.min(Instant::now() + DRAIN_TIMEOUT);
            while let Ok(Some(_)) = self.next(url).await {}
            // That was not long enough to say anything about the connection.
            self.lease.fell_silent = false;
        }
    }
}
