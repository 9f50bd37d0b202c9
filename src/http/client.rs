//! The client of a run: pooled connections, redirects, deadlines.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use foldhash::fast::RandomState;
use futures::Stream;
use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::HttpInfo;
use hyper_util::client::proxy::matcher::Matcher;
use percent_encoding::{AsciiSet, percent_encode};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::classify::{Stage, classify, died_on_connection, unresolved};
use super::content_encoding::{Coding, Trouble, Unpacker, coding};
use super::ip_scope::is_public;
use super::range::{self, ContentRange, Resume};
use super::request::Identity;
use super::resolver::{Asking, Family, Pinned, Resolver, Wanted};
use super::same_host::is_another_host;
use super::tls::{self, Trust};
use super::{disposition, retry};
use crate::record::{ErrorKind, FetchError, RunError};
use crate::util::redact::{redacted, redacted_text};

/// Connections that nobody has used for so long are closed. Servers give up after 5 s (Apache) to 75 s (nginx); a
/// connection that both sides mean to keep saves a handshake, one that the server has closed costs a resend.
const IDLE: Duration = Duration::from_secs(30);

/// What of an error page is read so that its connection can be used again. Larger ones cost more than a handshake.
const DRAINED: u64 = 64 * 1024;

/// And for so long: a handshake takes less.
const LONGEST_DRAIN: Duration = Duration::from_secs(1);

/// What can be sent: hyper keeps URLs of so many bytes. A list's are held to the same.
const LONGEST_URL: usize = 65_534;

/// Of a URL that a server has sent, messages show so many characters.
const SHOWN: usize = 300;

/// How the run speaks HTTP.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches of the command line, each on its own")]
pub struct Options {
    /// Who we say we are.
    pub identity: Identity,
    /// `--proxy`; `Some("")` uses none, `None` what the environment says.
    pub proxy: Option<String>,
    /// `--cacert`.
    pub cacert: Option<std::path::PathBuf>,
    /// `--insecure`.
    pub insecure: bool,
    /// `--resolve`.
    pub pinned: Vec<Pinned>,
    /// `--dns-servers`; none: those of the system.
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
    /// Downloads at once; bounds the connections that are kept idle.
    pub concurrency: usize,
}

/// Fetches URLs. One for the whole run; cheap to use from many tasks.
#[derive(Debug)]
pub struct Client {
    options: Options,
    trust: Trust,
    resolver: Resolver,
    /// By whether TLS is spoken: a list without `https:` never reads the system's certificates; and by the port that
    /// `--resolve` names for the host, since the client's resolver is not told the port.
    pools: HashMap<(bool, Option<u16>), Pool, RandomState>,
    proxy_speaks_tls: bool,
    /// The proxies of the environment.
    environment: Matcher,
    tls: OnceLock<Result<rustls::ClientConfig, String>>,
    used: UsedPorts,
}

impl Client {
    /// Reads what the options name (certificates) and checks them; connects to nobody.
    pub fn new(options: Options) -> Result<Self, RunError> {
        let trust = match (&options.cacert, options.insecure) {
            (_, true) => Trust::Anybody,
            (Some(file), false) => Trust::only(file)?,
            (None, false) => Trust::System,
        };
        let ports = options.pinned.iter().map(|pinned| Some(pinned.port)).chain([None]);
        let pools = ports.flat_map(|port| [((false, port), Pool::default()), ((true, port), Pool::default())]);
        let client = Self {
            proxy_speaks_tls: proxy_speaks_tls(options.proxy.as_deref()),
            trust,
            resolver: Resolver::new(
                Wanted { family: options.family, public_only: options.public_only },
                Asking { servers: options.dns_servers.clone(), patience: options.connect_timeout },
            ),
            environment: Matcher::from_system(),
            pools: pools.collect(),
            tls: OnceLock::new(),
            used: UsedPorts::default(),
            options,
        };
        // Wrong proxies and the like show now, not at the first download.
        client.build((false, None), true).map_err(|error| RunError::Client(error.to_string()))?;
        Ok(client)
    }

    /// How long requests have waited for host names to be looked up, all together.
    #[must_use]
    pub fn lookup_time(&self) -> Duration {
        self.resolver.waited()
    }

    /// Begins an attempt: until `--timeout` has passed everything has to come, whatever is asked for, bodies included.
    ///
    /// `gives_up` is asked now and then while nothing comes, with the time that nothing has come, and may end the
    /// attempt before `--stall-timeout` does. `next_slot` is waited for before each further request to the same host.
    #[must_use]
    pub fn deadline<'a>(&self, gives_up: Option<GivesUp<'a>>, next_slot: Option<NextSlot<'a>>) -> Deadline<'a> {
        let (whole, stall) = (self.options.attempt_timeout, self.options.stall_timeout);
        Deadline { at: Instant::now() + whole, whole, stall, gives_up, next_slot }
    }

    /// The answer to a GET of the URL, redirects followed, perhaps only for the rest of a body.
    pub async fn get<'a>(
        &self,
        url: &'a Url,
        resume: Option<&Resume>,
        mut deadline: Deadline<'a>,
    ) -> Result<Response<'a>, FetchError> {
        let mut current = Cow::Borrowed(url);
        let mut redirects = 0;
        loop {
            let sent = self.send(url, &current, resume, deadline).await;
            let answer = sent.map_err(|error| match redirects {
                0 => error,
                _ => error
                    .with_context(&format!("redirected to {}", shortened(&redacted(&current))))
                    .from_other_host(is_another_host(url, &current)),
            })?;
            if !matches!(answer.head.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Response::new(answer, current);
            }
            if redirects == self.options.max_redirects {
                let clause = format!("more than {redirects} redirects (--max-redirs)");
                return Err(FetchError::new(ErrorKind::Redirect, clause));
            }
            redirects += 1;
            let target = redirect_target(&current, answer.head.headers(), self.options.allow_downgrade)?;
            answer.body(None).drain(&current).await;
            if !is_another_host(url, &target) {
                deadline = deadline.with_next_slot().await;
            }
            current = Cow::Owned(target);
        }
    }

    /// One request and the head of its answer.
    async fn send<'a>(
        &self,
        home: &Url,
        url: &Url,
        resume: Option<&Resume>,
        deadline: Deadline<'a>,
    ) -> Result<Answer<'a>, FetchError> {
        self.check_address(url)?;
        if self.is_secure(url) {
            // The authorities are read while the name is looked up and the connection is made.
            self.tls();
        }
        self.look_up(url, deadline).await?;
        let request = || {
            let mut request = self.options.identity.request(home, url);
            if let Some(resume) = resume {
                resume.ask(request.headers_mut());
            }
            request
        };
        let lease = self.lease(url)?;
        let sent = in_time(deadline, NO_HEAD, lease.generation.client.execute(request())).await?;
        let sent = match sent {
            // The server closed a kept connection just as this request went out. That is the ordinary course of
            // HTTP: once more, at once, and on a connection of its own.
            Err(error) if died_on_connection(&error).is_some_and(|port| self.used.contains(port)) => {
                let fresh = self.build(self.pool_key(url), false)?;
                in_time(deadline, NO_HEAD, fresh.execute(request())).await?
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
        if let Some(info) = head.extensions().get::<HttpInfo>() {
            self.used.insert(info.local_addr().port());
        }
        Ok(Answer { head, deadline, lease })
    }

    /// Names are resolved to the wanted addresses; an address in the URL must be one of them by itself.
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

    /// Has the name resolved before the request goes out, whose deadlines for connecting and for silence do not count
    /// the time that the name waits for its turn. Where there is nothing to resolve, nothing is done.
    async fn look_up(&self, url: &Url, deadline: Deadline<'_>) -> Result<(), FetchError> {
        let Some(url::Host::Domain(host)) = url.host() else { return Ok(()) };
        if self.is_pinned(url) || self.is_proxied(url) {
            return Ok(());
        }
        match timeout_at(deadline.at, self.resolver.prepare(&host.to_ascii_lowercase())).await {
            Ok(resolved) => resolved.map_err(|error| unresolved(&error, url)),
            Err(_) => Err(deadline.passed()),
        }
    }

    /// Whether a proxy gets the request, and looks the name up by itself.
    fn is_proxied(&self, url: &Url) -> bool {
        match self.options.proxy.as_deref() {
            _ if self.options.public_only => false,
            Some(proxy) => !proxy.is_empty(),
            // The client asks the same matcher.
            None => url.as_str().parse::<http::Uri>().is_ok_and(|uri| self.environment.intercept(&uri).is_some()),
        }
    }

    /// Whether `--resolve` names the host and the port.
    fn is_pinned(&self, url: &Url) -> bool {
        let port = url.port_or_known_default();
        self.options.pinned.iter().any(|pinned| Some(pinned.port) == port && Some(&*pinned.host) == url.host_str())
    }

    /// Which pool serves the URL: see [`Client::pools`].
    fn pool_key(&self, url: &Url) -> (bool, Option<u16>) {
        (self.is_secure(url), url.port_or_known_default().filter(|_| self.is_pinned(url)))
    }

    fn is_secure(&self, url: &Url) -> bool {
        url.scheme() == "https" || self.proxy_speaks_tls
    }

    /// The settings for TLS, made when they are first needed.
    fn tls(&self) -> &Result<rustls::ClientConfig, String> {
        let make = || tls::config(&self.trust, !self.options.http1_only).map_err(|error| error.to_string());
        self.tls.get_or_init(make)
    }

    fn lease(&self, url: &Url) -> Result<Lease, FetchError> {
        let key = self.pool_key(url);
        let pool = self.pools.get(&key).ok_or_else(|| FetchError::new(ErrorKind::Internal, "no pool for this port"))?;
        pool.lease(url, self.options.concurrency, || self.build(key, true))
    }

    /// A client; `secure`: able to speak TLS, for which the authorities of the system are read the first time;
    /// `port`: with what `--resolve` says about that port.
    fn build(&self, (secure, port): (bool, Option<u16>), pooled: bool) -> Result<reqwest::Client, FetchError> {
        let options = &self.options;
        let tls = if secure {
            let made = self.tls().clone();
            made.map_err(|error| FetchError::new(ErrorKind::Tls, "cannot set up TLS").caused_by(error))?
        } else {
            tls::config(&Trust::Nobody, false).map_err(unbuildable)?
        };
        let pinned = options.pinned.iter().filter(|pinned| Some(pinned.port) == port);
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(if pooled { options.concurrency } else { 0 })
            .dns_resolver(Arc::new(self.resolver.with(pinned)))
            .tcp_nodelay(true)
            .tls_backend_preconfigured(tls);
        if !secure {
            // reqwest keeps a copy of each request for the case that it is refused unseen, which is a thing of HTTP/2
            // (RFC 9113, section 8.7), and that is spoken over TLS alone.
            builder = builder.retry(reqwest::retry::never());
        }
        if options.http1_only {
            builder = builder.http1_only();
        }
        builder = match options.family {
            Some(Family::V4) => builder.local_address(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            Some(Family::V6) => builder.local_address(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            None => builder,
        };
        builder = match options.proxy.as_deref() {
            // A proxy would look names up by itself, out of reach of the check.
            _ if options.public_only => builder.no_proxy(),
            None => builder,
            Some("") => builder.no_proxy(),
            Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy).map_err(unbuildable)?),
        };
        builder.build().map_err(unbuildable)
    }
}

/// Whether the text names a proxy that can be used; empty, it names none on purpose.
///
/// # Errors
/// The reason, in words.
pub fn check_proxy(proxy: &str) -> Result<(), String> {
    let scheme = proxy.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        _ if proxy.is_empty() => return Ok(()),
        // reqwest would pass over any other in silence, and the request would go out without a proxy.
        None | Some("http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h") => {}
        Some(other) => return Err(format!("{other}: is no kind of proxy")),
    }
    reqwest::Proxy::all(proxy).map(drop).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        cause.unwrap_or_else(|| error.to_string())
    })
}

/// Whether the way to the proxy is encrypted, for a proxy given or taken from the environment.
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

/// Where a redirect leads: only to http and https, and from https to http only if that is allowed.
fn redirect_target(from: &Url, headers: &HeaderMap, allow_downgrade: bool) -> Result<Url, FetchError> {
    let refuse = |clause: String| FetchError::new(ErrorKind::Redirect, clause);
    let location = headers.get(LOCATION).ok_or_else(|| refuse("a redirect without Location".into()))?;
    let location = text_of(location);
    let target = from
        .join(&location)
        .map_err(|error| refuse(format!("a redirect to {}: {error}", shortened(&redacted_text(&location)))))?;
    if !matches!(target.scheme(), "http" | "https") {
        let shown = redacted(&target);
        return Err(refuse(format!("a redirect to {}, which is neither http nor https", shortened(&shown))));
    }
    if target.as_str().len() > LONGEST_URL {
        let shown = redacted(&target);
        return Err(refuse(format!("a redirect to {}, which is longer than {LONGEST_URL} bytes", shortened(&shown))));
    }
    // Whoever sits on the way could put in a picture of their own.
    if from.scheme() == "https" && target.scheme() == "http" && !allow_downgrade {
        let clause =
            format!("a redirect from https to {}; --allow-downgrade follows it", shortened(&redacted(&target)));
        return Err(refuse(clause));
    }
    Ok(target)
}

/// A URL for a message: somebody else wrote it, and it may be as long as he likes.
fn shortened(url: &str) -> Cow<'_, str> {
    match url.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &url[..end]).into(),
        None => url.into(),
    }
}

/// A field's value as a URL's text. What is not UTF-8 stands for itself, byte by byte, as servers with names in Latin-1
/// expect it back.
fn text_of(value: &HeaderValue) -> Cow<'_, str> {
    let bytes = value.as_bytes();
    std::str::from_utf8(bytes).map_or_else(|_| percent_encode(bytes, NOT_ASCII).to_string().into(), Cow::Borrowed)
}

/// Nothing of ASCII is encoded; the bytes beyond it always are.
const NOT_ASCII: &AsciiSet = &AsciiSet::EMPTY;

/// A pool of connections that forgets.
///
/// reqwest bounds idle connections per host, not in all: a list over 20,000 hosts would keep 20,000 sockets. So when the
/// connections that a client may keep idle (for each host as many as were in use at once, less those in use now) are
/// twice as many as the downloads that there may be, a new client takes over; the old one closes its connections when
/// its last request has ended.
#[derive(Debug, Default)]
struct Pool(Mutex<Option<Arc<Generation>>>);

#[derive(Debug)]
struct Generation {
    client: reqwest::Client,
    /// By the hash of a host and its port.
    hosts: Mutex<HashMap<u64, InUse, RandomState>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct InUse {
    now: usize,
    most: usize,
}

/// A client for one request and its answer.
#[derive(Debug)]
struct Lease {
    generation: Arc<Generation>,
    host: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut hosts = self.generation.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(in_use) = hosts.get_mut(&self.host) {
            in_use.now -= 1;
        }
    }
}

impl Pool {
    fn lease(
        &self,
        url: &Url,
        most: usize,
        build: impl FnOnce() -> Result<reqwest::Client, FetchError>,
    ) -> Result<Lease, FetchError> {
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let host = xxhash_rust::xxh3::xxh3_64(authority.as_bytes());
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(generation) = current.as_ref() {
            let mut hosts = generation.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            let in_use = hosts.get(&host).copied().unwrap_or_default();
            let opens = in_use.now == in_use.most;
            if !opens || hosts.values().map(|in_use| in_use.most - in_use.now).sum::<usize>() < 2 * most {
                hosts.insert(host, InUse { now: in_use.now + 1, most: in_use.most.max(in_use.now + 1) });
                drop(hosts);
                return Ok(Lease { generation: Arc::clone(generation), host });
            }
        }
        let hosts = Mutex::new(HashMap::from_iter([(host, InUse { now: 1, most: 1 })]));
        let generation = Arc::new(Generation { client: build()?, hosts });
        *current = Some(Arc::clone(&generation));
        Ok(Lease { generation, host })
    }
}

/// The local ports of connections that have carried an answer: one bit each. A port that has been used again by
/// another connection costs at most one resend more.
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

/// Asked with the time that nothing has come: whether that is too long.
pub type GivesUp<'a> = &'a (dyn Fn(Duration) -> bool + Sync);

/// Comes when one more request may go to the host.
pub type NextSlot<'a> = &'a (dyn Fn() -> BoxFuture<'a, ()> + Sync);

/// How often [`GivesUp`] is asked.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// Until when an attempt has to be over, for how long it may be silent, and when it may make another request.
#[derive(Clone, Copy)]
pub struct Deadline<'a> {
    at: Instant,
    whole: Duration,
    stall: Duration,
    gives_up: Option<GivesUp<'a>>,
    next_slot: Option<NextSlot<'a>>,
}

impl Deadline<'_> {
    /// Waits until the host may get a further request. That is no time of the attempt's.
    pub async fn with_next_slot(mut self) -> Self {
        if let Some(next_slot) = self.next_slot {
            let begun = Instant::now();
            next_slot().await;
            self.at += begun.elapsed();
        }
        self
    }

    fn passed(self) -> FetchError {
        FetchError::new(ErrorKind::Timeout, format!("not complete after {} s", self.whole.as_secs_f64()))
    }
}

/// What has not come when the head of an answer has not come whole.
const NO_HEAD: &str = "no whole head of an answer";

/// What comes of the future before the silence lasts too long or the attempt is over. `missing` says what did not come.
async fn in_time<T>(deadline: Deadline<'_>, missing: &str, future: impl Future<Output = T>) -> Result<T, FetchError> {
    let mut future = pin!(future);
    let begun = Instant::now();
    let step = deadline.gives_up.map_or(deadline.stall, |_| ASKED_EVERY);
    let mut silence = Duration::ZERO;
    loop {
        silence = (silence + step).min(deadline.stall);
        let quiet_until = begun + silence;
        if let Ok(come) = timeout_at(quiet_until.min(deadline.at), future.as_mut()).await {
            return Ok(come);
        }
        if deadline.at <= quiet_until {
            return Err(deadline.passed());
        }
        if silence == deadline.stall || deadline.gives_up.is_some_and(|gives_up| gives_up(silence)) {
            let clause = format!("{missing} came within {} s", silence.as_secs_f64());
            return Err(FetchError::new(ErrorKind::Stalled, clause));
        }
    }
}

/// The head of an answer, and the way to its body.
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// The URL that answered, after redirects.
    pub final_url: Cow<'a, Url>,
    /// The `Content-Type`, as sent.
    pub content_type: Option<String>,
    /// The file name that the server proposes.
    pub filename: Option<String>,
    /// The announced length of the body.
    pub length: Option<u64>,
    /// How long the server asks us to stay away.
    pub retry_after: Option<Duration>,
    /// The strong validator of the body, if the rest of it can be asked for later.
    pub validator: Option<HeaderValue>,
    /// Where the bytes belong, if they are a part.
    pub range: Option<ContentRange>,
    body: Body<'a>,
}

impl<'a> Response<'a> {
    /// # Errors
    /// When the body of a good answer is packed in a way that it cannot be unpacked.
    fn new(answer: Answer<'a>, url: Cow<'a, Url>) -> Result<Self, FetchError> {
        let head = &answer.head;
        let headers = head.headers();
        let coding = if head.status().is_success() { coding(headers)? } else { None };
        let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Ok(Self {
            status: head.status().as_u16(),
            content_type: text(CONTENT_TYPE),
            filename: headers.get(CONTENT_DISPOSITION).and_then(|value| disposition::filename(value.as_bytes())),
            // Lengths, ranges and validators of what is packed say nothing about what comes out.
            length: head.content_length().filter(|_| coding.is_none()),
            retry_after: text(RETRY_AFTER).and_then(|value| retry::retry_after(&value, SystemTime::now())),
            validator: range::validator(headers).filter(|_| coding.is_none()),
            range: range::content_range(headers).filter(|_| coding.is_none()),
            final_url: url,
            body: answer.body(coding),
        })
    }

    /// The next bytes, as many as the connection had ready; `None` at the end. A body that ends before its announced
    /// length or without its last chunk is an error (RFC 9112, section 8).
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        self.body.next(&self.final_url).await
    }

    /// Reads a short rest, so that the connection can serve the next request; drops a long one with its connection.
    pub async fn drain(self) {
        self.body.drain(&self.final_url).await;
    }

    /// What is left of the attempt's time.
    #[must_use]
    pub const fn deadline(&self) -> Deadline<'a> {
        self.body.deadline
    }

    /// The status as a person reads it: `404 Not Found`, or `status 522` where there are no words for it.
    #[must_use]
    pub fn status_line(&self) -> String {
        let reason = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        match reason {
            Some(reason) => format!("{} {reason}", self.status),
            None => format!("status {}", self.status),
        }
    }
}

/// An answer of which the head has come.
struct Answer<'a> {
    head: reqwest::Response,
    deadline: Deadline<'a>,
    lease: Lease,
}

impl<'a> Answer<'a> {
    fn body(self, coding: Option<Coding>) -> Body<'a> {
        // Bodies of unknown length may be endless.
        let is_short = self.head.content_length().is_some_and(|length| length <= DRAINED);
        let frames = match coding {
            None => Frames::Plain(self.head),
            Some(coding) => Frames::Packed(Unpacker::new(coding, frames(self.head))),
        };
        Body { frames, is_short, deadline: self.deadline, _lease: self.lease }
    }
}

/// The body of an answer, frame by frame.
struct Body<'a> {
    frames: Frames,
    is_short: bool,
    deadline: Deadline<'a>,
    _lease: Lease,
}

#[derive(Debug)]
enum Frames {
    Plain(reqwest::Response),
    Packed(Unpacker),
}

fn frames(answer: reqwest::Response) -> impl Stream<Item = reqwest::Result<Bytes>> {
    futures::stream::try_unfold(
        answer,
        |mut answer| async move { Ok(answer.chunk().await?.map(|frame| (frame, answer))) },
    )
}

impl Body<'_> {
    /// The next bytes; `url` is where they come from.
    async fn next(&mut self, url: &Url) -> Result<Option<Bytes>, FetchError> {
        let next = async {
            match &mut self.frames {
                Frames::Plain(answer) => answer.chunk().await.map_err(Trouble::Body),
                Frames::Packed(unpacker) => unpacker.next::<reqwest::Error>().await,
            }
        };
        in_time(self.deadline, "nothing", next).await?.map_err(|trouble| match trouble {
            Trouble::Body(error) => classify(&error, url, Stage::Body),
            Trouble::Packing(error) => error,
        })
    }

    async fn drain(mut self, url: &Url) {
        if self.is_short {
            self.deadline.at = self.deadline.at.min(Instant::now() + LONGEST_DRAIN);
            while let Ok(Some(_)) = self.next(url).await {}
        }
    }
}
