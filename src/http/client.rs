//! The HTTP client of a run: which requests are sent, and where redirects lead.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::fast::RandomState;
use hyper_util::client::legacy::connect::HttpInfo;
use hyper_util::client::proxy::matcher::Intercept;
use percent_encoding::{AsciiSet, percent_encode};
use reqwest::dns::Resolve as _;
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Request, Version};
use tokio::time::{Instant, timeout_at};
use url::{Position, Url};

use super::classify::{Stage, classify, classify_lookup, died_on_connection, is_refused_tunnel, requires_http1};
use super::cookies::CookieJar;
use super::deadline::{BeforeRequest, Deadline, GiveUpCheck};
use super::ip_scope::is_public;
use super::pool::{ClientLease, ConnectionPool, Connections, Kind, UsedPorts};
use super::proxy::{self, Proxies, TunnelAnswer};
use super::range::Resume;
use super::request::Identity;
use super::resolver::{AddressFilter, DnsOptions, Family, Pinned, Resolver};
use super::response::{RawResponse, Response};
use super::suspension::Suspensions;
use super::tls::{self, Trust};
use crate::record::{ErrorKind, FetchError, RunError};
use crate::util::redact::{escaped, redacted, redacted_text};
use crate::util::store::Requests;
use crate::util::store::object_url::is_object_url;

/// Idle connections are closed after this time. Servers close them after 5 s (Apache) to 75 s (nginx). A connection
/// that both sides keep saves a handshake; one that the server has closed costs a second request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// While an answer is awaited over HTTP/2 and nothing at all has come for a quarter of `--stall-timeout`, the server is
/// sent a PING; not sooner than this, and not later than [`MAX_PING_INTERVAL`]. Servers take many control frames for an
/// attack.
const MIN_PING_INTERVAL: Duration = Duration::from_secs(1);
const MAX_PING_INTERVAL: Duration = Duration::from_secs(5);

/// A PING that is not answered within half of `--stall-timeout`, or within this time, ends its connection. That is
/// before the requests on it have been silent for too long, so they are sent again in the same attempt.
const MAX_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server may send over HTTP/2 before it is told that bytes have been read (RFC 9113, section 6.9), in bytes:
/// what fills a gigabit per second at a round trip of 50 ms. It becomes memory only where images are read more slowly than
/// they come.
const STREAM_WINDOW_BYTES: u32 = 6 << 20;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

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
    /// How long name servers are listened to, if that was said: otherwise as long as `/etc/resolv.conf` says, and
    /// [`Options::connect_timeout`] at most.
    pub lookup_timeout: Option<Duration>,
    /// Servers may send little over HTTP/2 before what has come is read. For `--limit-rate`, where it would wait in
    /// memory.
    pub small_windows: bool,
    /// `--stall-timeout`.
    pub stall_timeout: Duration,
    /// `--timeout`, for one attempt with its redirects and its body.
    pub attempt_timeout: Duration,
    /// Downloads at once, which bounds the number of idle connections.
    pub concurrency: usize,
}

/// How a URL is reached. reqwest makes a client for each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Reach {
    /// With TLS: a list without `https:` never reads the system's certificates.
    secure: bool,
    /// Through a proxy: reqwest does not know all exceptions.
    proxied: bool,
    /// The port that `--resolve` gives for the host: reqwest does not tell the resolver the port.
    pinned_port: Option<u16>,
}

/// Fetches URLs. There is one for the whole run, shared by all tasks.
#[derive(Debug)]
pub struct Client {
    pub(super) options: Options,
    trust: Trust,
    resolver: Resolver,
    pools: HashMap<Reach, ConnectionPool, RandomState>,
    proxies: Proxies,
    tls: OnceLock<Result<rustls::ClientConfig, String>>,
    used: UsedPorts,
    suspensions: Suspensions,
    pub(super) objects: Requests,
    /// For the endpoint of S3, if the environment names its certificates.
    pub(super) of_s3: OnceLock<Result<Box<Client>, String>>,
}

impl Client {
    /// A client with these options. Reads and checks the certificates that they name; makes no connection.
    ///
    /// # Errors
    /// [`RunError::Client`] if a certificate or the proxy cannot be used.
    pub fn new(options: Options) -> Result<Self, RunError> {
        let trust = match (&options.cacert, options.insecure) {
            (_, true) => Trust::Unchecked,
            (Some(file), false) => Trust::only(file, "--cacert")?,
            (None, false) => Trust::System,
        };
        Self::trusting(trust, options)
    }

    /// A client with these options, and other certificates than they say.
    pub(super) fn trusting(trust: Trust, options: Options) -> Result<Self, RunError> {
        let ports = options.pinned.iter().map(|pinned| Some(pinned.port)).chain([None]);
        let pools = ports.flat_map(|pinned_port| {
            let ways = [(false, false), (false, true), (true, false), (true, true)];
            ways.map(|(secure, proxied)| (Reach { secure, proxied, pinned_port }, ConnectionPool::default()))
        });
        // A proxy would resolve names itself, and the addresses could not be checked.
        let proxy = if options.public_only { Some("") } else { options.proxy.as_deref() };
        let client = Self {
            proxies: Proxies::new(proxy).map_err(RunError::Client)?,
            trust,
            resolver: Resolver::new(
                AddressFilter { family: options.family, public_only: options.public_only },
                DnsOptions {
                    servers: options.dns_servers.clone(),
                    timeout: options.lookup_timeout.unwrap_or(options.connect_timeout),
                    is_patient: options.lookup_timeout.is_some(),
                },
            ),
            pools: pools.collect(),
            tls: OnceLock::new(),
            used: UsedPorts::default(),
            suspensions: Suspensions::new(options.stall_timeout),
            objects: Requests::default(),
            of_s3: OnceLock::new(),
            options,
        };
        // A wrong proxy is reported now, not at the first download.
        client
            .build(Reach { secure: false, proxied: true, pinned_port: None }, Kind::POOLED)
            .map_err(|error| RunError::Client(error.to_string()))?;
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
        &'a self,
        should_give_up: Option<GiveUpCheck<'a>>,
        before_request: Option<BeforeRequest<'a>>,
    ) -> Deadline<'a> {
        let (timeout, stall_timeout) = (self.options.attempt_timeout, self.options.stall_timeout);
        let (ends_at, connections) = (Instant::now() + timeout, Connections::Pooled);
        let suspensions = &self.suspensions;
        suspensions.watch();
        Deadline { ends_at, timeout, stall_timeout, should_give_up, before_request, connections, suspensions }
    }

    /// Whether the failure of an attempt that began then says nothing about the host: the program was stopped or its
    /// machine slept, during the attempt or shortly before.
    #[must_use]
    pub fn was_suspended(&self, began: std::time::Instant) -> bool {
        self.suspensions.disturbed(began)
    }

    /// Sends a GET for the URL, or for the rest of a body if `resume` is given, and follows redirects. Objects of stores are
    /// asked for as `objects` says.
    ///
    /// # Errors
    /// The first failure, sorted by kind: of the lookup, the connection, TLS, a deadline, a redirect or the protocol.
    pub async fn get<'a>(
        &self,
        url: &'a Url,
        resume: Option<&Resume>,
        mut deadline: Deadline<'a>,
    ) -> Result<Response<'a>, FetchError> {
        if is_object_url(url) {
            // Boxed, because every download would be moved with room for it.
            return Box::pin(self.get_object(url, resume, deadline)).await;
        }
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
            trace_request(&current);
            let sent = self.send(&current, request, deadline).await;
            let response = sent.map_err(|error| match redirects {
                0 => error,
                _ => error.with_context(&format!("redirected to {}", shortened(&redacted(&current)))),
            })?;
            trace_response(&current, &response);
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
    pub(super) async fn send<'a>(
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
        let head = match sent {
            Ok(head) => head,
            // Boxed, because every download would be moved with room for the question to a proxy.
            Err(error) => return Err(Box::pin(self.failure(&error, url, deadline)).await),
        };
        lease.is_http1 |= head.version() < Version::HTTP_2;
        if let Some(info) = head.extensions().get::<HttpInfo>() {
            self.used.insert(info.local_addr().port());
        }
        Ok(RawResponse { head, deadline, lease })
    }

    /// Sorts the error of a request, and asks the proxy that refused its tunnel for the reason.
    async fn failure(&self, error: &reqwest::Error, url: &Url, deadline: Deadline<'_>) -> FetchError {
        let failure = classify(error, url, Stage::Head);
        let Some(proxy) = self.proxies.of(url) else { return failure };
        if proxy::tunnels(&proxy, url) && is_refused_tunnel(error) {
            let until = deadline.ends_at.min(Instant::now() + self.options.connect_timeout);
            let answer = timeout_at(until, self.ask_for_tunnel(&proxy, url)).await;
            if let Some(refusal) = answer.ok().flatten().and_then(|answer| answer.error(&proxy)) {
                return refusal;
            }
        }
        let own = (failure.kind() == ErrorKind::Dns && proxy::looks_names_up(&proxy))
            .then(|| Url::parse(&proxy.uri().to_string()).ok())
            .flatten();
        let failure = own.map_or(failure, |own| classify(error, &own, Stage::Head));
        failure.with_context(&format!("through the proxy {}", proxy::shown(&proxy)))
    }

    async fn ask_for_tunnel(&self, proxy: &Intercept, url: &Url) -> Option<TunnelAnswer> {
        let uri = proxy.uri();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let host = uri.host()?;
        let addresses = if let Ok(address) = proxy::bare(host).parse::<IpAddr>() {
            vec![SocketAddr::new(address, port)]
        } else {
            let found = self.resolver.with(std::iter::empty()).resolve(host.parse().ok()?).await.ok()?;
            found.map(|address| SocketAddr::new(address.ip(), port)).collect()
        };
        let tls = if secure { Some(self.tls().clone().ok()?) } else { None };
        TunnelAnswer::ask(proxy, &addresses, tls, url).await.ok()
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
        if self.is_pinned(url) || self.proxies.of(url).is_some() {
            return Ok(());
        }
        let resolved = deadline.bound(self.resolver.prepare(&host.to_ascii_lowercase())).await?;
        resolved.map_err(|error| classify_lookup(&error, url))
    }

    /// Whether `--resolve` gives an address for the host and port.
    fn is_pinned(&self, url: &Url) -> bool {
        let port = url.port_or_known_default();
        self.options.pinned.iter().any(|pinned| Some(pinned.port) == port && Some(&*pinned.host) == url.host_str())
    }

    fn reach(&self, url: &Url) -> Reach {
        let pinned_port = url.port_or_known_default().filter(|_| self.is_pinned(url));
        Reach { secure: self.is_secure(url), proxied: self.proxies.of(url).is_some(), pinned_port }
    }

    fn is_secure(&self, url: &Url) -> bool {
        url.scheme() == "https" || self.proxies.speaks_tls
    }

    /// The TLS settings, made when they are first needed.
    fn tls(&self) -> &Result<rustls::ClientConfig, String> {
        let make = || tls::config(&self.trust, !self.options.http1_only).map_err(|error| error.to_string());
        self.tls.get_or_init(make)
    }

    fn lease(&self, url: &Url, connections: Connections) -> Result<ClientLease, FetchError> {
        let reach = self.reach(url);
        let pool =
            self.pools.get(&reach).ok_or_else(|| FetchError::new(ErrorKind::Internal, "no pool for this port"))?;
        pool.lease(url, connections, self.options.concurrency, |kind| self.build(reach, kind))
    }

    /// Builds a reqwest client. The first one with TLS reads the system's certificates.
    fn build(&self, reach: Reach, kind: Kind) -> Result<reqwest::Client, FetchError> {
        let Reach { secure, proxied, pinned_port: port } = reach;
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
            .http2_initial_stream_window_size((!options.small_windows).then_some(STREAM_WINDOW_BYTES))
            .http2_initial_connection_window_size((!options.small_windows).then_some(CONNECTION_WINDOW_BYTES))
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
            _ if options.public_only || !proxied => builder.no_proxy(),
            None => builder,
            Some("") => builder.no_proxy(),
            Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy).map_err(unbuildable)?),
        };
        builder.build().map_err(unbuildable)
    }
}

/// Logs a request (`-vv`).
pub(super) fn trace_request(url: &Url) {
    tracing::trace!(
        target: "fetchimg",
        event = "request",
        url = &*escaped(&redacted(url)),
        host = &url[Position::BeforeHost..Position::AfterPort],
        "> GET {}",
        escaped(&redacted(url)),
    );
}

/// Logs the head of a response: its status, the type of its body and the length, as far as it says them.
pub(super) fn trace_response(url: &Url, response: &RawResponse<'_>) {
    let head = &response.head;
    let (status, length) = (head.status().as_u16(), head.content_length());
    let content_type = || head.headers().get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    tracing::trace!(
        target: "fetchimg",
        event = "response",
        url = &*escaped(&redacted(url)),
        host = &url[Position::BeforeHost..Position::AfterPort],
        http_status = status,
        content_type = content_type().as_deref().map(escaped).as_deref(),
        bytes = length,
        "< {status} {} {} from {}",
        escaped(content_type().as_deref().unwrap_or("-")),
        length.map_or_else(|| "-".to_owned(), |length| length.to_string()),
        escaped(&redacted(url)),
    );
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
