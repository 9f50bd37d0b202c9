//! A small web server with one route per way the world misbehaves.
//!
//! [`Server`] writes HTTP/1.1 by hand, because a library would not let it misbehave. Every instance has its own port,
//! state and thread, remembers every [`Request`], and stops when dropped. A handler that panics fails the test.
//!
//! Routes, `[name]` being any further path segments, which give the file its name:
//!
//! | route | answer |
//! |---|---|
//! | `/png/{n}[/name]` | a valid PNG of n bytes (at least 70), another one for every target |
//! | `/jpeg` `/gif` `/webp` `/bmp` `/svg` `/avif` `[/name]` | tiny images |
//! | `/sized/{width}/{height}[/name]` | a grey PNG of so many pixels |
//! | `/photo/{width}/{height}[/name]` | the same picture at any size, as JPEG |
//! | `/spoilt[/name]` `/png-bomb[/name]` | a PNG whose pixels cannot be unpacked; one that says it has 2.5 billion |
//! | `/png-bomb-of-pixels` `/png-bomb-of-profile` `[/name]` | PNGs of which a megabyte becomes a gigabyte |
//! | `/gif-of-many-frames` `/gif-larger-inside` `[/name]` | a GIF of 100,000 frames; one of more pixels than it says |
//! | `/sample/{name}` | that file of `tests/images` |
//! | `/half/{target...}` | the first half of `/{target...}`, and nothing that says so |
//! | `/echo[/name]` | a PNG, for tests which look at [`Server::requests`] |
//! | `/status/{code}[/name]` | that status with a small page |
//! | `/empty` `/page` `/json` `/text` `[/name]` | no bytes; about 5 KB of HTML; such bodies |
//! | `/chunked/{n}[/name]` | chunks of odd sizes |
//! | `/until-close/{n}[/name]` | no length, the body ends with the connection |
//! | `/close-after/{n}[/name]` | `Connection: close` |
//! | `/drip/{n}/{ms}[/name]` | one byte every ms milliseconds |
//! | `/slow/{ms}/{n}[/name]` | waits before the headers |
//! | `/gated/{n}[/name]` | waits for [`Server::open_gate`] before the headers |
//! | `/gated-middle/{n}[/name]` | the same in the middle of the body; with `ETag` and ranges |
//! | `/crowded/{limit}/{ms}/{n}[/name]` | `/slow`, but 503 at once when so many requests are being answered already |
//! | `/flaky/{code}/{times}/{n}[/name]` | `code` so many times for this target, then the image |
//! | `/wait/{code}/{seconds}/{times}/{n}[/name]` | the same with `Retry-After` in seconds |
//! | `/wait-date/{code}/{seconds}/{times}/{n}[/name]` | the same with a date at least that far ahead |
//! | `/redirect/{code}/{hops}/{target...}` | so many redirects, then `/{target...}` |
//! | `/redirect-to?url=...` | 302 to that URL |
//! | `/round` `/no-location` `/bad-location` | to itself; to nowhere; to `ftp:` |
//! | `/disposition/{n}?header=...` | that `Content-Disposition` |
//! | `/auth/{user}/{password}/{n}[/name]` | 401 without these |
//! | `/etag/{n}[/name]` | strong `ETag`, honours `Range` and `If-Range` |
//! | `/etag-drip/{ms}/{n}[/name]` | the same, a pause of ms milliseconds before every 16 KiB |
//! | `/etag-cut/{times}/{n}[/name]` | the same, cut in the middle so many times |
//! | `/etag-elsewhere/{n}[/name]` | a redirect to `/etag-cut/1/{n}/one.png`, and to `/etag/{n}/two.png` from then on |
//! | `/etag-short/{n}[/name]` | half of it in chunks with `ETag`; then ranges that end after 1000 bytes, in chunks |
//! | `/etag-changed/{times}/{n}[/name]` | the same, and afterwards it is another image |
//! | `/bad-range/{times}/{n}[/name]` | the same, and afterwards ranges are ten bytes off |
//! | `/slow-bad-range/{ms}/{n}[/name]` | cut once at once; then the same after ms milliseconds each time |
//! | `/encoded/{n}` | calls itself gzip and is not |
//! | `/packed/{coding}/{n}[/name]` | the image as gzip, said to be packed as {coding} |
//! | `/packed-cut/{n}[/name]` | the same without its last bytes, its end said by the connection's |
//! | `/bomb[/name]` | an image and zeros without end, as gzip, a kilobyte for a megabyte |
//! | `/typed/{n}?type=...` | that `Content-Type` |
//! | `/reason?text=...` | 404 with that reason phrase |
//! | `/204` `/206` | no content; the first half unasked |
//! | `/cut/{n}/{m}[/name]` | closed after m of n bytes |
//! | `/cut-chunked/{n}/{m}[/name]` | closed inside a chunk after m bytes |
//! | `/reset/{n}/{m}[/name]` | reset after m bytes |
//! | `/flaky-cut/{times}/{n}[/name]` | cut in the middle so many times, then whole; no ranges |
//! | `/lies/{n}[/name]` | closed after n bytes of n + 1000 |
//! | `/bad-chunk` `/garbage` `/bad-header` | not HTTP |
//! | `/stall/{m}[/name]` | m of 100000 bytes, then silence |
//! | `/stall-once/{n}[/name]` | half of it, then silence, once per target |
//! | `/silent[/name]` | nothing, and stays |
//! | `/hang-up[/name]` | nothing, and closes |
//! | `/hang-up-once/{n}[/name]` | the same, once per target, when it is not the connection's first request |
//! | `/endless[/name]` `/page-endless[/name]` | an image, a page without end |
//! | `/huge-length[/name]` | announces 99999999999 bytes, then silence |
//! | `/raw/{name}[/name]` | one of the answers of [`raw`], which are written byte for byte |
//! | `/panic` | a handler that panics |
//! | anything else | 404 |

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types::PrivatePkcs8KeyDer};
use url::Url;

use super::faults::raw::{self, Asked, Step};
use super::images;

/// How many bytes `/stall` announces.
const STALLED_SIZE: usize = 100_000;

/// How many bytes `/echo` has.
const ECHO_SIZE: usize = 100;

/// How many bytes `/lies` announces and does not have.
const LIE: usize = 1000;

/// The answer to what is no request.
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// What one client asked for.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// As it was sent, with its query.
    pub target: String,
    /// The `Host` header, with its port.
    pub host: String,
    /// In the order sent, the names as they were sent.
    pub headers: Vec<(String, String)>,
    /// The number of the connection it came on, the first being 1.
    pub connection: u64,
    /// When its last header had arrived.
    pub at: Instant,
}

impl Request {
    /// The value of a header, whose name may be in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The target without query.
    pub fn path(&self) -> &str {
        path_of(origin_form(&self.target))
    }
}

/// A server of one test.
pub struct Server {
    state: Arc<State>,
    address: SocketAddr,
    authority: Option<NamedTempFile>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A server that speaks plain HTTP.
    pub fn start() -> Self {
        Self::launch(None, Ipv4Addr::LOCALHOST, None)
    }

    /// The same at every address of this machine, so that `127.0.0.2` and all others up to `127.255.255.254` are hosts
    /// of their own (on Linux); see [`Self::url_for_host`].
    pub fn start_everywhere() -> Self {
        Self::launch(None, Ipv4Addr::UNSPECIFIED, None)
    }

    /// A server that speaks HTTPS as `localhost`, `images.test` and `127.0.0.1`, vouched for by [`Self::ca_pem_file`].
    pub fn start_tls() -> Self {
        Self::start_tls_with(Certificate::Good)
    }

    /// The same with another certificate; the authority is that of [`Self::ca_pem_file`] all the same.
    pub fn start_tls_with(certificate: Certificate) -> Self {
        Self::launch(Some(Identity::new(certificate)), Ipv4Addr::LOCALHOST, None)
    }

    /// A server that hears nobody out: it does to whoever connects what [`raw::greeting`] has under this name.
    pub fn start_greeting(name: &'static str) -> Self {
        Self::launch(None, Ipv4Addr::LOCALHOST, Some(name))
    }

    fn launch(identity: Option<Identity>, at: Ipv4Addr, greeting: Option<&'static str>) -> Self {
        let (acceptor, authority) = identity.map(|identity| (identity.acceptor, identity.authority)).unzip();
        let state = Arc::new(State { greeting, ..State::default() });
        let (stop, stopped) = oneshot::channel();
        let (bound, address) = mpsc::channel();
        let thread = std::thread::spawn({
            let state = Arc::clone(&state);
            move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .expect("the server gets its threads");
                runtime.block_on(async move {
                    let listener = listen(at).expect("a free port");
                    bound
                        .send(listener.local_addr().expect("a bound socket has an address"))
                        .expect("the test waits for the address");
                    serve(listener, acceptor, state, stopped).await;
                });
            }
        });
        let address = address.recv().expect("the server starts");
        Self { state, address, authority, stop: Some(stop), thread: Some(thread) }
    }

    /// The URL of a PNG with this `Content-Type`.
    pub fn typed(&self, size: usize, header: impl AsRef<[u8]>) -> String {
        self.url(&format!("/typed/{size}?type={}", percent_encoded(header.as_ref())))
    }

    /// The URL of a 404 with this reason phrase.
    pub fn reason(&self, text: impl AsRef<[u8]>) -> String {
        self.url(&format!("/reason?text={}", percent_encoded(text.as_ref())))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL of a target on `127.0.0.1`.
    pub fn url(&self, target: &str) -> String {
        self.url_for_host("127.0.0.1", target)
    }

    /// The URL of a target on another name for this server; see [`Self::resolve`].
    pub fn url_for_host(&self, host: &str, target: &str) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{host}:{}{target}", self.port())
    }

    /// The value for `--resolve` which leads a name to this server.
    pub fn resolve(&self, host: &str) -> String {
        format!("{host}:{}:{}", self.port(), self.address.ip())
    }

    /// The URL that redirects to another one.
    pub fn redirect_to(&self, url: &str) -> String {
        self.url(&format!("/redirect-to?url={}", percent_encoded(url.as_bytes())))
    }

    /// The URL of a PNG with this `Content-Disposition`.
    pub fn disposition(&self, size: usize, header: impl AsRef<[u8]>) -> String {
        self.url(&format!("/disposition/{size}?header={}", percent_encoded(header.as_ref())))
    }

    /// The certificate to trust, of a server started by [`Self::start_tls`].
    pub fn ca_pem_file(&self) -> &Path {
        self.authority.as_ref().expect("a server started by start_tls").path()
    }

    /// The whole body of a target, also where the route sends only a part of it; of a redirect, that of its end.
    pub fn body(&self, target: &str) -> Vec<u8> {
        let url = Url::parse(&self.url(target)).expect("a target starts with a slash");
        let sent = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let (_, body) = body_of(sent).unwrap_or_else(|| panic!("{target} has no body to compare with"));
        body
    }

    /// All requests so far, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state.requests).clone()
    }

    /// The requests for a path or, when it has a query, for a target.
    pub fn requests_for(&self, target: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| {
            let asked = if target.contains('?') { origin_form(&request.target) } else { request.path() };
            asked == target
        });
        requests
    }

    /// How many requests there were for a path or, when it has a query, for a target.
    pub fn hits(&self, target: &str) -> usize {
        self.requests_for(target).len()
    }

    /// How many requests there were, whatever for.
    pub fn hits_in_all(&self) -> usize {
        lock(&self.state.requests).len()
    }

    /// Waits until there were so many, whatever for; panics when there are not in time.
    #[track_caller]
    pub fn wait_for_hits_in_all(&self, count: usize, limit: Duration) {
        let too_few = |requests: &mut Vec<Request>| requests.len() < count;
        let waited = self.state.arrived.wait_timeout_while(lock(&self.state.requests), limit, too_few);
        let (requests, waited) = waited.expect("no handler panics with the requests in hand");
        let arrived = requests.len();
        drop(requests);
        assert!(!waited.timed_out(), "only {arrived} of {count} requests arrived within {limit:?}");
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        *lock(&self.state.connections)
    }

    /// The most requests being answered at once; one counts no more when its last bytes are about to leave.
    pub fn peak_in_flight(&self) -> usize {
        lock(&self.state.in_flight).peak
    }

    /// The most requests being answered at once for one name of this server, given without port.
    pub fn peak_in_flight_for(&self, host: &str) -> usize {
        lock(&self.state.in_flight_by_host).get(host).map_or(0, |count| count.peak)
    }

    /// Lets the requests for `/gated` and `/gated-middle` go on, those to come too.
    pub fn open_gate(&self) {
        self.state.gate.send_replace(true);
    }

    /// Holds the requests for `/gated` and `/gated-middle` from now on, as at the start.
    pub fn close_gate(&self) {
        self.state.gate.send_replace(false);
    }

    /// Waits until so many requests whose path starts like this have arrived; panics when they do not in time.
    #[track_caller]
    pub fn wait_for_hits(&self, path_prefix: &str, count: usize, limit: Duration) {
        let count_in = |requests: &[Request]| {
            let hits = requests.iter().filter(|request| request.path().starts_with(path_prefix));
            hits.count()
        };
        let (requests, waited) = self
            .state
            .arrived
            .wait_timeout_while(lock(&self.state.requests), limit, |requests| count_in(requests) < count)
            .expect("no handler panics with the requests in hand");
        let arrived = count_in(&requests);
        drop(requests);
        assert!(!waited.timed_out(), "only {arrived} of {count} requests for {path_prefix} arrived within {limit:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        if let Err(panic) = ended {
            lock(&self.state.failures).push(panic_message(&*panic));
        }
        let failures = lock(&self.state.failures).join("; ");
        assert!(failures.is_empty() || std::thread::panicking(), "the test server failed: {failures}");
    }
}

/// What the handlers and the test share.
#[derive(Default)]
struct State {
    requests: Mutex<Vec<Request>>,
    arrived: Condvar,
    connections: Mutex<usize>,
    in_flight: Mutex<InFlight>,
    in_flight_by_host: Mutex<HashMap<String, InFlight>>,
    turns: Mutex<HashMap<String, usize>>,
    hung_up: Mutex<HashSet<String>>,
    gate: watch::Sender<bool>,
    failures: Mutex<Vec<String>>,
    greeting: Option<&'static str>,
}

impl State {
    fn note(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            lock(&self.failures).push(panic_message(&*panic));
        }
    }
}

#[derive(Default)]
struct InFlight {
    now: usize,
    peak: usize,
}

impl InFlight {
    fn enter(&mut self) {
        self.now += 1;
        self.peak = self.peak.max(self.now);
    }
}

/// Held while a request is being answered.
struct Busy {
    state: Arc<State>,
    host: String,
}

impl Busy {
    fn new(state: &Arc<State>, request: &Request) -> Self {
        let host = request.host.rsplit_once(':').map_or(&*request.host, |(host, _)| host);
        lock(&state.in_flight).enter();
        lock(&state.in_flight_by_host).entry(host.to_owned()).or_default().enter();
        Self { state: Arc::clone(state), host: host.to_owned() }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.state.in_flight).now -= 1;
        if let Some(count) = lock(&self.state.in_flight_by_host).get_mut(&self.host) {
            count.now -= 1;
        }
    }
}

/// What is right or wrong with the certificate of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Nothing is wrong.
    Good,
    /// It was valid until 2001.
    Expired,
    /// It will be valid from 2100 on.
    NotYetValid,
    /// It vouches for itself.
    SelfSigned,
}

/// A certificate for this server and the authority that signed it.
struct Identity {
    acceptor: TlsAcceptor,
    authority: NamedTempFile,
}

impl Identity {
    fn new(kind: Certificate) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names are good names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "authority of the test server");
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let authority = parameters.self_signed(&key).expect("a certificate");
        let issuer = Issuer::new(parameters, key);

        let names = ["localhost", "images.test", "127.0.0.1"].map(String::from);
        let mut parameters = CertificateParams::new(names).expect("good names");
        parameters.distinguished_name.push(DnType::CommonName, "the test server");
        parameters.use_authority_key_identifier_extension = true;
        match kind {
            Certificate::Good | Certificate::SelfSigned => {}
            Certificate::Expired => parameters.not_after = date_time_ymd(2001, 1, 1),
            Certificate::NotYetValid => parameters.not_before = date_time_ymd(2100, 1, 1),
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = match kind {
            Certificate::SelfSigned => parameters.self_signed(&key),
            _ => parameters.signed_by(&key, &issuer),
        };
        let certificate = certificate.expect("a certificate");

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows the protocols")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .expect("the key belongs to the certificate");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];

        let file = NamedTempFile::with_suffix(".pem").expect("a temporary file");
        std::fs::write(file.path(), authority.pem()).expect("the temporary file can be written");
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), authority: file }
    }
}

fn listen(at: Ipv4Addr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((at, 0)))?;
    socket.listen(4096)
}

async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    state: Arc<State>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => state.note(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tasks.spawn(attend(stream, acceptor.clone(), Arc::clone(&state)));
                }
                Err(error) => {
                    lock(&state.failures).push(format!("cannot accept a connection: {error}"));
                    sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    tasks.abort_all();
    while let Some(ended) = tasks.join_next().await {
        state.note(ended);
    }
}

/// Answers the requests of one connection, one after the other.
async fn attend(stream: TcpStream, acceptor: Option<TlsAcceptor>, state: Arc<State>) {
    let number = {
        let mut connections = lock(&state.connections);
        *connections += 1;
        *connections
    };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let wire = match acceptor {
        None => Wire::Plain(stream),
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => Wire::Secure(Box::new(stream)),
            Err(_) => return, // the client does not trust this server
        },
    };
    let mut connection = Connection { wire, received: Vec::new(), answered: 0 };
    if let Some(name) = state.greeting {
        let steps = raw::greeting(name).unwrap_or_else(|| panic!("there is no greeting {name}"));
        // An error means that the client has left, which is its right.
        if let Ok(after) = connection.play(steps).await {
            connection.end(after).await;
        }
        return;
    }
    let number = u64::try_from(number).expect("not that many connections");
    // An error means that the client has left, which is its right.
    while let Ok(Some(request)) = connection.read_request(number).await {
        let keep = keeps_alive(&request);
        let busy = Some(Busy::new(&state, &request));
        lock(&state.requests).push(request.clone());
        state.arrived.notify_all();
        let mut exchange = Exchange { state: &state, connection: &mut connection, request, busy };
        let after = Box::pin(exchange.answer()).await;
        exchange.busy = None;
        connection.answered += 1;
        match after {
            Ok(After::Open) if keep => {}
            Ok(after) => return connection.end(after).await,
            Err(_) => return,
        }
    }
}

fn keeps_alive(request: &Request) -> bool {
    !request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

/// What becomes of the connection after an answer.
enum After {
    /// The next request may come.
    Open,
    /// It is closed, as an end.
    Close,
    /// It is closed in the middle of something, over TLS without the word for an end.
    Cut,
    /// It is torn down.
    Reset,
}

enum Wire {
    Plain(TcpStream),
    Secure(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

struct Connection {
    wire: Wire,
    received: Vec<u8>,
    answered: usize,
}

impl Connection {
    /// The next request, or none when the client is done; its body, if any, is dropped.
    async fn read_request(&mut self, number: u64) -> io::Result<Option<Request>> {
        let end = loop {
            let found = self.received.windows(4).position(|four| four == b"\r\n\r\n");
            match found {
                Some(position) => break position + 4,
                // Whoever speaks TLS to a plain server would wait for ever; web servers answer in plain words.
                None if self.received.first().is_some_and(|byte| !byte.is_ascii_uppercase()) => {
                    self.write(BAD_REQUEST).await?;
                    return Ok(None);
                }
                None if self.receive().await? == 0 => return Ok(None),
                None => {}
            }
        };
        let head: Vec<u8> = self.received.drain(..end).collect();
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            self.write(BAD_REQUEST).await?;
            return Ok(None);
        };
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let mut request = Request {
            method: method.to_owned(),
            target: target.to_owned(),
            host: String::new(),
            headers,
            connection: number,
            at: Instant::now(),
        };
        request.host = request.header("host").unwrap_or_default().to_owned();
        let length = request.header("content-length").and_then(|text| text.parse().ok());
        self.skip(length.unwrap_or(0)).await?;
        Ok(Some(request))
    }

    async fn skip(&mut self, length: usize) -> io::Result<()> {
        while self.received.len() < length {
            if self.receive().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.received.drain(..length);
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Plain(stream) => stream.read_buf(&mut self.received).await,
            Wire::Secure(stream) => stream.read_buf(&mut self.received).await,
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Plain(stream) => stream.write_all(bytes).await,
            Wire::Secure(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Does one thing after the other.
    async fn play(&mut self, steps: Vec<Step>) -> io::Result<After> {
        for step in steps {
            match step {
                Step::Send(bytes) => self.write(&bytes).await?,
                Step::Drip(bytes, pause) => {
                    for byte in bytes {
                        sleep(pause).await;
                        self.write(&[byte]).await?;
                    }
                }
                Step::Flood(bytes) => loop {
                    self.write(&bytes).await?;
                },
                Step::Trickle(bytes) => loop {
                    self.write(&bytes).await?;
                    sleep(Duration::from_millis(2)).await;
                },
                Step::Deaf => std::future::pending().await,
                Step::Stay => {
                    self.client_leaves().await;
                    return Ok(After::Cut);
                }
                Step::Close => return Ok(After::Close),
                Step::Cut => return Ok(After::Cut),
                Step::Reset => return Ok(After::Reset),
            }
        }
        Ok(After::Open)
    }

    async fn end(self, after: After) {
        match after {
            After::Open | After::Close => self.close().await,
            After::Cut => self.cut().await,
            After::Reset => self.reset(),
        }
    }

    /// Waits until the client closes the connection.
    async fn client_leaves(&mut self) {
        while self.receive().await.is_ok_and(|count| count > 0) {}
    }

    /// Says that this was all, and gives the client time to read it.
    async fn close(mut self) {
        let said = match &mut self.wire {
            Wire::Plain(stream) => stream.shutdown().await,
            Wire::Secure(stream) => stream.shutdown().await,
        };
        if said.is_ok() {
            // Whether the client leaves in time makes no difference.
            let _ = timeout(Duration::from_secs(1), self.client_leaves()).await;
        }
    }

    /// Closes the connection beneath whatever was being said.
    async fn cut(mut self) {
        let stream = match &mut self.wire {
            Wire::Plain(stream) => stream,
            Wire::Secure(stream) => stream.get_mut().0,
        };
        // A client that has left already is no worse.
        let _ = stream.shutdown().await;
    }

    fn reset(self) {
        let stream = match &self.wire {
            Wire::Plain(stream) => stream,
            Wire::Secure(stream) => stream.get_ref().0,
        };
        stream.set_zero_linger().expect("a socket can be told to reset when closed");
    }
}

/// One request and the way to answer it.
struct Exchange<'a> {
    state: &'a Arc<State>,
    connection: &'a mut Connection,
    request: Request,
    busy: Option<Busy>,
}

impl Exchange<'_> {
    /// The routes of a server that behaves, though slowly, unwillingly or in an old fashion.
    async fn answer(&mut self) -> io::Result<After> {
        let target = self.target().to_owned();
        let segments: Vec<&str> = segments_of(&target);
        match segments.as_slice() {
            ["close-after", ..] => {
                self.send(&self.whole().header("Connection", "close")).await?;
                Ok(After::Close)
            }
            ["status", code, ..] => self.send(&Response::small(number(code))).await,
            ["204"] => self.send(&Response::small(204)).await,
            ["206"] => {
                let body = self.body();
                let half = body.len() / 2;
                let range = format!("bytes 0-{}/{}", half - 1, body.len());
                let response = Response::new(206, "image/png", body[..half].to_vec());
                self.send(&response.header("Content-Range", range)).await
            }
            ["chunked", ..] => self.send_chunked().await,
            ["until-close", ..] => {
                let response = self.whole();
                self.write(&response.head(Length::Unsaid)).await?;
                self.finish(&response.body).await?;
                Ok(After::Close)
            }
            ["drip", _, milliseconds, ..] => self.drip(Duration::from_millis(number(milliseconds))).await,
            ["slow", milliseconds, ..] => {
                let pause = Duration::from_millis(number(milliseconds));
                if timeout(pause, self.connection.client_leaves()).await.is_ok() {
                    return Ok(After::Cut);
                }
                self.send(&self.whole()).await
            }
            ["crowded", limit, milliseconds, ..] => {
                // This one counts.
                if lock(&self.state.in_flight).now > number(limit) {
                    return self.send(&Response::small(503)).await;
                }
                sleep(Duration::from_millis(number(milliseconds))).await;
                self.send(&self.whole()).await
            }
            ["gated", ..] => {
                self.pass_gate().await?;
                self.send(&self.whole()).await
            }
            ["flaky", code, times, ..] if self.turn() < number(times) => {
                self.send(&Response::small(number(code))).await
            }
            ["wait", code, seconds, times, ..] if self.turn() < number(times) => {
                let response = Response::small(number(code)).header("Retry-After", *seconds);
                self.send(&response).await
            }
            ["wait-date", code, seconds, times, ..] if self.turn() < number(times) => {
                // A date has whole seconds, so the one begun is added.
                let date = http_date(SystemTime::now() + Duration::from_secs(number::<u64>(seconds) + 1));
                let response = Response::small(number(code)).header("Retry-After", date);
                self.send(&response).await
            }
            ["redirect", code, hops, rest @ ..] => {
                let query = target.find('?').map_or("", |start| &target[start..]);
                let rest = rest.join("/");
                let location = match number::<u32>(hops) {
                    0 => panic!("{target}: at least one hop"),
                    1 => format!("/{rest}{query}"),
                    hops => format!("/redirect/{code}/{}/{rest}{query}", hops - 1),
                };
                self.redirect(number(code), location).await
            }
            ["redirect-to"] => self.redirect(302, query_value(&target, "url")).await,
            ["round"] => self.redirect(302, "/round").await,
            ["no-location"] => self.send(&Response::small(302)).await,
            ["bad-location"] => self.redirect(302, "ftp://example.org/x").await,
            ["disposition", ..] => {
                let value = query_value(&target, "header");
                self.send(&self.whole().header("Content-Disposition", value)).await
            }
            ["auth", user, password, ..] => {
                let secret = [percent_decoded(user), percent_decoded(password)].join(&b':');
                let expected = format!("Basic {}", base64(&secret));
                let response = match self.request.header("authorization") {
                    Some(sent) if sent == expected => self.whole(),
                    _ => Response::small(401).header("WWW-Authenticate", "Basic realm=\"images\""),
                };
                self.send(&response).await
            }
            ["typed", size] => {
                let body = images::png(number(size), images::seed_of(&target));
                let mut response = Response::new(200, "", body);
                response.headers = vec![("Content-Type", query_value(&target, "type"))];
                self.send(&response).await
            }
            ["reason"] => {
                let mut answer = b"HTTP/1.1 404 ".to_vec();
                answer.extend(query_value(&target, "text"));
                answer.extend(b"\r\nContent-Length: 0\r\n\r\n");
                self.finish(&answer).await?;
                Ok(After::Open)
            }
            ["encoded", ..] => self.send(&self.whole().header("Content-Encoding", "gzip")).await,
            ["packed" | "packed-cut" | "bomb", ..] => self.send_packed(&segments).await,
            _ => self.faults(&segments).await,
        }
    }

    /// The routes whose bodies come as gzip.
    async fn send_packed(&mut self, segments: &[&str]) -> io::Result<After> {
        match segments {
            ["packed", coding, ..] => {
                let packed = gzip(&self.body()).await;
                let response = Response::new(200, "image/png", packed).header("Content-Encoding", *coding);
                self.send(&response.header("ETag", "\"packed\"")).await
            }
            ["packed-cut", ..] => {
                let mut packed = gzip(&self.body()).await;
                packed.truncate(packed.len() - 5);
                let response = Response::new(200, "image/png", packed).header("Content-Encoding", "gzip");
                self.write(&response.head(Length::Unsaid)).await?;
                self.finish(&response.body).await?;
                Ok(After::Close)
            }
            _ => {
                let response = Response::new(200, "image/png", Vec::new()).header("Content-Encoding", "gzip");
                self.write(&response.head(Length::Unsaid)).await?;
                self.write(&gzip(&images::png_start()).await).await?;
                // Packed data may follow packed data (RFC 1952, section 2.2).
                let zeros = gzip(&vec![0; 1 << 20]).await;
                loop {
                    self.write(&zeros).await?;
                }
            }
        }
    }

    /// The routes with ranges that need more than a line.
    async fn send_ranged(&mut self, segments: &[&str]) -> io::Result<After> {
        match segments {
            ["etag-elsewhere", size, ..] => {
                let first = self.turn() == 0;
                let target =
                    if first { format!("/etag-cut/1/{size}/one.png") } else { format!("/etag/{size}/two.png") };
                self.redirect(302, target).await
            }
            ["etag-short", ..] => {
                let response = self.ranged("\"whole\"", 0);
                let is_part = response.status == 206;
                let kept = if is_part { 1000 } else { response.body.len() / 2 };
                let mut bytes = response.head(Length::Chunked);
                push_chunk(&mut bytes, kept, &response.body[..kept]);
                bytes.extend(if is_part { &b"\r\n0\r\n\r\n"[..] } else { b"\r\n" });
                self.finish(&bytes).await?;
                Ok(if is_part { After::Open } else { After::Cut })
            }
            ["etag-drip", milliseconds, ..] => {
                let pause = Duration::from_millis(number(milliseconds));
                let response = self.ranged("\"drip\"", 0);
                self.write(&response.head(Length::Bytes(response.body.len()))).await?;
                for piece in response.body.chunks(16 * 1024) {
                    sleep(pause).await;
                    self.write(piece).await?;
                }
                Ok(After::Open)
            }
            ["slow-bad-range", milliseconds, ..] => {
                let response = self.ranged("\"whole\"", 10);
                if self.turn() == 0 {
                    return self.send_part(&response, response.body.len() / 2, After::Cut).await;
                }
                sleep(Duration::from_millis(number(milliseconds))).await;
                self.send(&response).await
            }
            _ => panic!("{} is no such route", self.request.target),
        }
    }

    /// The routes that break off, break the rules or never end, those with ranges to pick up from there, and the rest.
    async fn faults(&mut self, segments: &[&str]) -> io::Result<After> {
        match segments {
            ["cut", _, kept, ..] => self.send_part(&self.whole(), number(kept), After::Cut).await,
            ["reset", _, kept, ..] => self.send_part(&self.whole(), number(kept), After::Reset).await,
            ["cut-chunked", _, kept, ..] => self.cut_chunked(number(kept)).await,
            ["lies", ..] => {
                let response = self.whole();
                let announced = response.body.len() + LIE;
                self.write(&response.head(Length::Bytes(announced))).await?;
                self.finish(&response.body).await?;
                Ok(After::Cut)
            }
            ["flaky-cut", times, ..] if self.turn() < number(times) => {
                let response = self.whole();
                self.send_part(&response, response.body.len() / 2, After::Cut).await
            }
            ["etag", ..] => self.send(&self.ranged("\"whole\"", 0)).await,
            ["etag-elsewhere" | "etag-short" | "etag-drip" | "slow-bad-range", ..] => self.send_ranged(segments).await,
            ["gated-middle", ..] => {
                let response = self.ranged("\"gated\"", 0);
                self.write(&response.head(Length::Bytes(response.body.len()))).await?;
                let (first, second) = response.body.split_at(response.body.len() / 2);
                self.write(first).await?;
                self.pass_gate().await?;
                self.finish(second).await?;
                Ok(After::Open)
            }
            ["etag-cut" | "etag-changed" | "bad-range", times, ..] => {
                let cut = self.turn() < number(times);
                let response = match (segments[0], cut) {
                    ("etag-changed", true) => Response::new(200, "image/png", self.former_body())
                        .header("ETag", "\"former\"")
                        .header("Accept-Ranges", "bytes"),
                    ("bad-range", false) => self.ranged("\"whole\"", 10),
                    _ => self.ranged("\"whole\"", 0),
                };
                if cut {
                    self.send_part(&response, response.body.len() / 2, After::Cut).await
                } else {
                    self.send(&response).await
                }
            }
            ["hang-up", ..] => Ok(After::Cut),
            ["hang-up-once", ..]
                if self.connection.answered > 0 && lock(&self.state.hung_up).insert(self.target().to_owned()) =>
            {
                Ok(After::Cut)
            }
            ["silent", ..] => self.stay().await,
            ["stall", kept, ..] => {
                let response = self.whole();
                let kept = &response.body[..number(kept)];
                self.write(&response.head(Length::Bytes(response.body.len()))).await?;
                self.write(kept).await?;
                self.stay().await
            }
            ["stall-once", ..] if lock(&self.state.hung_up).insert(self.target().to_owned()) => {
                let response = self.whole();
                self.write(&response.head(Length::Bytes(response.body.len()))).await?;
                self.write(&response.body[..response.body.len() / 2]).await?;
                self.stay().await
            }
            ["huge-length", ..] => {
                let response = Response::new(200, "image/png", images::png_start());
                self.write(&response.head(Length::Bytes(99_999_999_999))).await?;
                self.write(&response.body).await?;
                self.stay().await
            }
            ["endless", ..] => self.send_for_ever("image/png", &images::png_start()).await,
            ["page-endless", ..] => self.send_for_ever("text/html", &images::page()).await,
            ["garbage", ..] => {
                self.finish(b"SSH-2.0-OpenSSH_9.6\r\n\0\0\x05\xdc\x0a\x14\r\n\r\n").await?;
                Ok(After::Close)
            }
            ["bad-header", ..] => {
                self.finish(b"HTTP/1.1 200 OK\r\nContent-Type image/png\r\n\x01: \r\nContent-Length: 0\r\n\r\n")
                    .await?;
                Ok(After::Close)
            }
            ["bad-chunk", ..] => {
                let response = Response::new(200, "image/png", Vec::new());
                self.write(&response.head(Length::Chunked)).await?;
                self.finish(b"zebra\r\n\x89PNG\r\n0\r\n\r\n").await?;
                Ok(After::Close)
            }
            ["raw", name, ..] => {
                let (body, turn, host) = (self.body(), self.turn(), self.request.host.clone());
                let steps = raw::answer(name, &Asked { body: &body, host: &host, turn });
                let steps = steps.unwrap_or_else(|| panic!("there is no answer {name}"));
                self.connection.play(steps).await
            }
            ["panic", ..] => panic!("a handler panicked, as {} asks for", self.request.target),
            _ if body_of(self.target()).is_some() => self.send(&self.whole()).await,
            _ => self.send(&Response::small(404)).await,
        }
    }

    fn target(&self) -> &str {
        origin_form(&self.request.target)
    }

    fn body(&self) -> Vec<u8> {
        self.whole().body
    }

    /// Status 200 with the body of this target.
    fn whole(&self) -> Response {
        let (content_type, body) =
            body_of(self.target()).unwrap_or_else(|| panic!("{} has no body", self.request.target));
        Response::new(200, content_type, body)
    }

    /// What `/etag-changed` was before it changed.
    fn former_body(&self) -> Vec<u8> {
        images::png(self.body().len(), images::seed_of(self.target()).wrapping_add(1))
    }

    /// The body or the range of it that was asked for, which may claim to start somewhere else.
    fn ranged(&self, tag: &str, shift: usize) -> Response {
        let whole = self.whole().header("ETag", tag).header("Accept-Ranges", "bytes");
        let fresh = self.request.header("if-range").is_none_or(|value| value == tag);
        let asked = self.request.header("range").filter(|_| fresh);
        let size = whole.body.len();
        match asked.map(|range| range_of(range, size)) {
            None | Some(Range::Unclear) => whole,
            Some(Range::Beyond) => Response::small(416).header("Content-Range", format!("bytes */{size}")),
            Some(Range::Part(first, last)) => {
                let shifted = (first + shift).min(last);
                Response::new(206, "image/png", whole.body[shifted..=last].to_vec())
                    .header("ETag", tag)
                    .header("Accept-Ranges", "bytes")
                    .header("Content-Range", format!("bytes {shifted}-{last}/{size}"))
            }
        }
    }

    /// How often this very target was asked for before.
    fn turn(&self) -> usize {
        let mut turns = lock(&self.state.turns);
        let turn = turns.entry(self.target().to_owned()).or_default();
        *turn += 1;
        *turn - 1
    }

    async fn send(&mut self, response: &Response) -> io::Result<After> {
        let length = if response.has_body() { Length::Bytes(response.body.len()) } else { Length::Unsaid };
        let mut bytes = response.head(length);
        if self.request.method != "HEAD" && response.has_body() {
            bytes.extend(&response.body);
        }
        self.finish(&bytes).await?;
        Ok(After::Open)
    }

    async fn send_part(&mut self, response: &Response, kept: usize, after: After) -> io::Result<After> {
        assert!(kept <= response.body.len(), "{} keeps too much", self.request.target);
        self.write(&response.head(Length::Bytes(response.body.len()))).await?;
        self.finish(&response.body[..kept]).await?;
        Ok(after)
    }

    async fn redirect(&mut self, code: u16, location: impl Into<Vec<u8>>) -> io::Result<After> {
        self.send(&Response::small(code).header("Location", location)).await
    }

    async fn drip(&mut self, pause: Duration) -> io::Result<After> {
        let response = self.whole();
        self.write(&response.head(Length::Bytes(response.body.len()))).await?;
        let (last, before) = response.body.split_last().expect("a PNG has bytes");
        for byte in before {
            self.write(&[*byte]).await?;
            sleep(pause).await;
        }
        self.finish(&[*last]).await?;
        Ok(After::Open)
    }

    async fn send_chunked(&mut self) -> io::Result<After> {
        let response = self.whole();
        let mut bytes = response.head(Length::Chunked);
        let mut rest = response.body.as_slice();
        for size in [1, 3, 17, 255, 1, 4099, 511, 13].into_iter().cycle() {
            let (piece, later) = rest.split_at(size.min(rest.len()));
            push_chunk(&mut bytes, piece.len(), piece);
            bytes.extend(b"\r\n");
            rest = later;
            if piece.is_empty() {
                break; // the empty chunk is the last
            }
        }
        self.finish(&bytes).await?;
        Ok(After::Open)
    }

    async fn cut_chunked(&mut self, kept: usize) -> io::Result<After> {
        let response = self.whole();
        let mut bytes = response.head(Length::Chunked);
        let (first, second) = response.body[..kept].split_at(kept / 2);
        if !first.is_empty() {
            push_chunk(&mut bytes, first.len(), first);
            bytes.extend(b"\r\n");
        }
        push_chunk(&mut bytes, response.body.len() - first.len() + 1, second);
        self.finish(&bytes).await?;
        Ok(After::Cut)
    }

    async fn send_for_ever(&mut self, content_type: &str, piece: &[u8]) -> io::Result<After> {
        let response = Response::new(200, content_type, Vec::new());
        let mut bytes = response.head(Length::Chunked);
        push_chunk(&mut bytes, piece.len(), piece);
        bytes.extend(b"\r\n");
        self.write(&bytes).await?;
        for seed in 0.. {
            let filling = match content_type {
                "text/html" => images::page(),
                _ => images::pattern(16 * 1024, seed),
            };
            bytes.clear();
            push_chunk(&mut bytes, filling.len(), &filling);
            bytes.extend(b"\r\n");
            self.write(&bytes).await?;
        }
        Ok(After::Cut)
    }

    /// Says nothing more until the client leaves.
    async fn stay(&mut self) -> io::Result<After> {
        self.connection.client_leaves().await;
        Ok(After::Cut)
    }

    /// Waits for the gate to open, or for the client to leave.
    async fn pass_gate(&mut self) -> io::Result<()> {
        let mut gate = self.state.gate.subscribe();
        tokio::select! {
            opened = gate.wait_for(|open| *open) => {
                opened.expect("the state outlives its handlers");
                Ok(())
            }
            () = self.connection.client_leaves() => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// Writes a part of the answer.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.write(bytes).await
    }

    /// Writes the last part of the answer: before the client can have it all, the request counts as answered.
    async fn finish(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (most, last) = bytes.split_at(bytes.len().saturating_sub(4096));
        if !most.is_empty() {
            self.write(most).await?;
        }
        self.busy = None;
        self.write(last).await
    }
}

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut encoder = async_compression::tokio::bufread::GzipEncoder::new(bytes);
    encoder.read_to_end(&mut packed).await.expect("memory takes everything");
    packed
}

/// How the length of a body is said.
#[derive(Clone, Copy)]
enum Length {
    Bytes(usize),
    Chunked,
    Unsaid,
}

struct Response {
    status: u16,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

impl Response {
    fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body }.header("Content-Type", content_type)
    }

    /// A status with a small page, where it may have one.
    fn small(status: u16) -> Self {
        let reason = reason_of(status);
        let page = format!("<html><body><h1>{status} {reason}</h1></body></html>\n");
        Self::new(status, "text/html", page.into_bytes())
    }

    fn header(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn has_body(&self) -> bool {
        !matches!(self.status, 100..=199 | 204 | 304)
    }

    fn head(&self, length: Length) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason_of(self.status)).into_bytes();
        for (name, value) in &self.headers {
            head.extend(name.as_bytes());
            head.extend(b": ");
            head.extend(value);
            head.extend(b"\r\n");
        }
        let length = match length {
            Length::Bytes(count) => format!("Content-Length: {count}\r\n"),
            Length::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            Length::Unsaid => String::new(),
        };
        head.extend(length.as_bytes());
        head.extend(b"\r\n");
        head
    }
}

/// The content type and the whole body of a target that has one.
fn body_of(target: &str) -> Option<(&'static str, Vec<u8>)> {
    let png = |size: usize| ("image/png", images::png(size, images::seed_of(target)));
    let found = match segments_of(target).as_slice() {
        [
            "png" | "cut" | "cut-chunked" | "reset" | "lies" | "chunked" | "until-close" | "drip" | "hang-up-once"
            | "stall-once" | "close-after" | "disposition" | "gated" | "gated-middle" | "etag" | "etag-short"
            | "encoded" | "packed-cut",
            size,
            ..,
        ]
        | [
            "slow" | "slow-bad-range" | "packed" | "flaky-cut" | "etag-drip" | "etag-cut" | "etag-changed"
            | "bad-range",
            _,
            size,
            ..,
        ]
        | ["crowded" | "flaky" | "auth", _, _, size, ..]
        | ["wait" | "wait-date", _, _, _, size, ..] => png(number(size)),
        ["stall", ..] => png(STALLED_SIZE),
        ["echo", ..] => png(ECHO_SIZE),
        ["206"] => png(200),
        ["raw", ..] => png(raw::SIZE),
        ["jpeg", ..] => ("image/jpeg", images::jpeg()),
        ["gif", ..] => ("image/gif", images::gif()),
        ["webp", ..] => ("image/webp", images::webp()),
        ["bmp", ..] => ("image/bmp", images::bmp()),
        ["svg", ..] => ("image/svg+xml", images::svg()),
        ["avif", ..] => ("image/avif", images::avif()),
        ["sized", width, height, ..] => ("image/png", images::png_sized(number(width), number(height))),
        ["photo", width, height, ..] => ("image/jpeg", images::photo(number(width), number(height))),
        ["spoilt", ..] => ("image/png", images::png_spoilt()),
        ["png-bomb", ..] => ("image/png", images::png_bomb()),
        ["png-bomb-of-pixels", ..] => ("image/png", images::png_bomb_of_pixels()),
        ["png-bomb-of-profile", ..] => ("image/png", images::png_bomb_of_profile()),
        ["gif-of-many-frames", ..] => ("image/gif", images::gif_of_many_frames()),
        ["gif-larger-inside", ..] => ("image/gif", images::gif_larger_inside()),
        ["sample", name] => (content_type_of(name), images::sample(name)),
        ["half", rest @ ..] => {
            let (content_type, mut body) = body_of(&format!("/{}", rest.join("/")))?;
            body.truncate(body.len() / 2);
            (content_type, body)
        }
        ["empty", ..] => ("image/png", Vec::new()),
        ["page", ..] => ("text/html; charset=utf-8", images::page()),
        ["json", ..] => ("application/json", b"{\"error\":\"no such image\"}\n".to_vec()),
        ["text", ..] => ("text/plain", b"There is no image here.\n".to_vec()),
        ["redirect", _, _, rest @ ..] => {
            let query = target.find('?').map_or("", |start| &target[start..]);
            return body_of(&format!("/{}{query}", rest.join("/")));
        }
        _ => return None,
    };
    Some(found)
}

/// A target without the scheme and authority that a proxy is given.
fn origin_form(target: &str) -> &str {
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |start| &rest[start..]),
        _ => target,
    }
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

fn segments_of(target: &str) -> Vec<&str> {
    path_of(target).trim_start_matches('/').split('/').collect()
}

fn query_value(target: &str, name: &str) -> Vec<u8> {
    let (_, query) = target.split_once('?').unwrap_or_default();
    let value = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(other, value)| (other == name).then_some(value))
        .unwrap_or_else(|| panic!("{target} lacks ?{name}="));
    percent_decoded(value)
}

/// A number in a path; a path without it is a mistake of the test and fails it.
/// What a server says of a file by its name.
fn content_type_of(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("jpg") => "image/jpeg",
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        _ => "application/octet-stream",
    }
}

fn number<T: std::str::FromStr>(segment: &str) -> T {
    segment.parse().unwrap_or_else(|_| panic!("{segment:?} is not a number this route takes"))
}

/// What a `Range` header asks for.
enum Range {
    /// From the first to the last byte, both included.
    Part(usize, usize),
    /// Nothing that is there.
    Beyond,
    /// Something this server does not do, and may ignore.
    Unclear,
}

fn range_of(header: &str, size: usize) -> Range {
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Range::Unclear;
    };
    let end = size.saturating_sub(1);
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), _) if first >= size => Range::Beyond,
        (Ok(first), Ok(last)) if last >= first => Range::Part(first, last.min(end)),
        (Ok(first), Err(_)) if last.is_empty() => Range::Part(first, end),
        (Err(_), Ok(0)) if first.is_empty() => Range::Beyond,
        (Err(_), Ok(count)) if first.is_empty() => Range::Part(size.saturating_sub(count), end),
        _ => Range::Unclear,
    }
}

/// The start of a chunk that announces so many bytes.
fn push_chunk(bytes: &mut Vec<u8>, announced: usize, content: &[u8]) {
    bytes.extend(format!("{announced:x}\r\n").as_bytes());
    bytes.extend(content);
}

fn reason_of(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        410 => "Gone",
        416 => "Range Not Satisfiable",
        425 => "Too Early",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Whatever",
    }
}

/// A time as HTTP headers say it.
pub fn http_date(time: SystemTime) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970").as_secs();
    let (mut days, clock) = (seconds / 86_400, seconds % 86_400);
    let weekday = WEEKDAYS.into_iter().cycle().nth(usize::try_from(days % 7).unwrap_or_default());
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month_name = "";
    for (name, length) in MONTHS {
        month_name = name;
        let length = length + u64::from(name == "Feb" && is_leap(year));
        if days < length {
            break;
        }
        days -= length;
    }
    format!(
        "{}, {:02} {month_name} {year} {:02}:{:02}:{:02} GMT",
        weekday.unwrap_or_default(),
        days + 1,
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}

/// Bytes as the value of a query, everything but letters and digits encoded.
pub fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes everything");
        }
    }
    text
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, later @ ..] = rest {
        let code = later
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &later[2..] } else { later };
    }
    bytes
}

/// Bytes in base64, as `Authorization: Basic` wants them.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, index| (bits << 8) | usize::from(three.get(index).copied().unwrap_or(0)));
        for index in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * index)) & 63];
            text.push(if index <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a handler panicked".to_owned())
}

/// No handler panics with a lock in hand.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no handler panics with a lock in hand")
}
