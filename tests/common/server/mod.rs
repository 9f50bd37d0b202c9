//! A small web server for the tests, with a route for every fault that real servers have.
//!
//! [`Server`] writes HTTP/1.1 by hand, because a library would not let it break the rules; HTTP/2 is that of h2. Every
//! instance has its own port, state and thread, remembers every [`Request`], and stops when dropped. A handler that
//! panics fails the test.
//!
//! Its routes are in the tables of [`super::faults`], and listed in `tests/common/faults/ROUTES.md`.

mod connection;
mod exchange;
mod http2;
mod identity;

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, PercentEncode, percent_encode};
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::HandshakeKind;
use tokio_rustls::server::TlsStream;
use url::Url;

use self::connection::{Connection, Wire};
use self::identity::Identity;
use super::faults::{Target, raw};

pub use self::connection::After;
pub use self::exchange::{Exchange, Length, Response, push_chunk};
pub use self::identity::Certificate;

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// As it was sent, with its query.
    pub target: String,
    /// The `Host` header, with its port.
    pub host: String,
    /// In the order in which they were sent, with the names as they were sent.
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
        Self::launch(None, Ipv4Addr::LOCALHOST, State::default())
    }

    /// The same at every address of this machine, so that `127.0.0.2` and all others up to `127.255.255.254` are hosts
    /// of their own (on Linux); see [`Self::url_for_host`].
    pub fn start_everywhere() -> Self {
        Self::launch(None, Ipv4Addr::UNSPECIFIED, State::default())
    }

    /// A server that speaks HTTPS as `localhost`, `images.test` and `127.0.0.1`, with a certificate that
    /// [`Self::ca_pem_file`] signed.
    pub fn start_tls() -> Self {
        Self::start_tls_with(Certificate::Good)
    }

    /// The same with another certificate; the authority is that of [`Self::ca_pem_file`] all the same.
    pub fn start_tls_with(certificate: Certificate) -> Self {
        Self::launch(Some(Identity::new(certificate)), Ipv4Addr::LOCALHOST, State::default())
    }

    /// The same with HTTP/2 for clients that want it, without a redirect or anything else but images.
    pub fn start_http2() -> Self {
        let identity = Identity::new(Certificate::Good).with_http2();
        Self::launch(Some(identity), Ipv4Addr::LOCALHOST, State::default())
    }

    /// The same, and each connection carries this number of streams at once.
    pub fn start_http2_with_streams(streams: u32) -> Self {
        let identity = Identity::new(Certificate::Good).with_http2();
        let state = State { streams: Some(streams), ..State::default() };
        Self::launch(Some(identity), Ipv4Addr::LOCALHOST, state)
    }

    /// A server that sends before it reads: for every client that connects, it takes the steps of [`raw::greeting`]
    /// with this name.
    pub fn start_greeting(name: &'static str) -> Self {
        Self::launch(None, Ipv4Addr::LOCALHOST, State { greeting: Some(name), ..State::default() })
    }

    fn launch(identity: Option<Identity>, at: Ipv4Addr, state: State) -> Self {
        let (acceptor, authority) = identity.map(Identity::into_parts).unzip();
        let state = Arc::new(state);
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
        self.url(&format!("/typed/{size}?type={}", encoded(header.as_ref())))
    }

    /// The URL of a 404 with this reason phrase.
    pub fn reason(&self, text: impl AsRef<[u8]>) -> String {
        self.url(&format!("/reason?text={}", encoded(text.as_ref())))
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

    /// The value for `--resolve` that maps a name to this server.
    pub fn resolve(&self, host: &str) -> String {
        format!("{host}:{}:{}", self.port(), self.address.ip())
    }

    /// The URL that redirects to another one.
    pub fn redirect_to(&self, url: &str) -> String {
        self.url(&format!("/redirect-to?url={}", encoded(url.as_bytes())))
    }

    /// The URL of a PNG with this `Content-Disposition`.
    pub fn disposition(&self, size: usize, header: impl AsRef<[u8]>) -> String {
        self.url(&format!("/disposition/{size}?header={}", encoded(header.as_ref())))
    }

    /// The number of connections over TLS that resumed the session of an earlier one.
    pub fn resumed_connections(&self) -> usize {
        self.state.resumed.load(Ordering::SeqCst)
    }

    /// The most bytes that could be sent on a stream of HTTP/2 before the client had to ask for more.
    pub fn peak_window(&self) -> usize {
        self.state.peak_window.load(Ordering::SeqCst)
    }

    /// The certificate to trust, of a server started by [`Self::start_tls`].
    pub fn ca_pem_file(&self) -> &Path {
        self.authority.as_ref().expect("a server started by start_tls").path()
    }

    /// The whole body of a target, even if the route sends only a part of it. For a redirect, that of its final target.
    pub fn body(&self, target: &str) -> Vec<u8> {
        let url = Url::parse(&self.url(target)).expect("a target starts with a slash");
        let sent = &url[url::Position::BeforePath..url::Position::AfterQuery];
        Target::find(sent).content().1
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

    /// The number of requests for a path or, if it has a query, for a target.
    pub fn hits(&self, target: &str) -> usize {
        self.requests_for(target).len()
    }

    /// The number of all requests.
    pub fn hits_in_all(&self) -> usize {
        lock(&self.state.requests).len()
    }

    /// Waits until there were this many requests in all. Panics if that takes too long.
    #[track_caller]
    pub fn wait_for_hits_in_all(&self, count: usize, limit: Duration) {
        let too_few = |requests: &mut Vec<Request>| requests.len() < count;
        let waited = self.state.arrived.wait_timeout_while(lock(&self.state.requests), limit, too_few);
        let (requests, waited) = waited.expect("no handler panics with the requests in hand");
        let arrived = requests.len();
        drop(requests);
        assert!(!waited.timed_out(), "only {arrived} of {count} requests arrived within {limit:?}");
    }

    /// The number of accepted connections.
    pub fn connections(&self) -> usize {
        *lock(&self.state.connections)
    }

    /// The largest number of requests that were in progress at once. A request ends just before its last bytes are
    /// sent.
    pub fn peak_in_flight(&self) -> usize {
        lock(&self.state.in_flight).peak
    }

    /// The same for one host name of this server, without the port.
    pub fn peak_in_flight_for(&self, host: &str) -> usize {
        lock(&self.state.in_flight_by_host).get(host).map_or(0, |count| count.peak)
    }

    /// Lets waiting and future requests for `/gated` and `/gated-middle` go on.
    pub fn open_gate(&self) {
        self.state.gate.send_replace(true);
    }

    /// Holds the requests for `/gated` and `/gated-middle` from now on, as at the start.
    pub fn close_gate(&self) {
        self.state.gate.send_replace(false);
    }

    /// Waits until this many requests have arrived whose path starts with this prefix. Panics if that takes too long.
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

/// The state that handlers and the test share.
#[derive(Default)]
struct State {
    requests: Mutex<Vec<Request>>,
    arrived: Condvar,
    connections: Mutex<usize>,
    in_flight: Mutex<InFlight>,
    in_flight_by_host: Mutex<HashMap<String, InFlight>>,
    /// Taken by requests for `/crowded`.
    places: Mutex<usize>,
    turns: Mutex<HashMap<String, usize>>,
    /// Targets that have had their one fault.
    faulty: Mutex<HashSet<String>>,
    gate: watch::Sender<bool>,
    failures: Mutex<Vec<String>>,
    greeting: Option<&'static str>,
    /// Of each connection of HTTP/2, at once.
    streams: Option<u32>,
    /// The most bytes that could be sent on a stream of HTTP/2 before the client had to ask for more.
    peak_window: AtomicUsize,
    /// Connections over TLS that resumed a session.
    resumed: AtomicUsize,
}

impl State {
    fn note_handshake(&self, stream: &TlsStream<TcpStream>) {
        let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        self.resumed.fetch_add(usize::from(is_resumed), Ordering::SeqCst);
    }

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
    let number = u64::try_from(number).expect("not that many connections");
    let wire = match acceptor {
        None => Wire::Plain(stream),
        Some(acceptor) => match acceptor.accept(stream).await.inspect(|stream| state.note_handshake(stream)) {
            Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                return http2::serve(stream, &state, number).await;
            }
            Ok(stream) => Wire::Secure(Box::new(stream)),
            Err(_) => return, // the client does not trust this server
        },
    };
    let mut connection = Connection::new(wire);
    if let Some(name) = state.greeting {
        let steps = raw::greeting(name).unwrap_or_else(|| panic!("there is no greeting {name}"));
        // An error means that the client has closed the connection, which it may do.
        if let Ok(after) = connection.play(steps).await {
            connection.end(after).await;
        }
        return;
    }
    // An error means that the client has closed the connection, which it may do.
    while let Ok(Some(request)) = connection.read_request(number).await {
        let keep = keeps_alive(&request);
        let busy = Busy::new(&state, &request);
        lock(&state.requests).push(request.clone());
        state.arrived.notify_all();
        let target = Target::find(origin_form(&request.target));
        let answer = target.route.handler;
        let mut exchange = Exchange::new(&state, connection, request, target, busy);
        let after = answer(&mut exchange).await;
        connection = exchange.into_connection();
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

/// A target without scheme and authority, which a request to a proxy has.
fn origin_form(target: &str) -> &str {
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |start| &rest[start..]),
        _ => target,
    }
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// Bytes as the value of a query.
fn encoded(bytes: &[u8]) -> PercentEncode<'_> {
    percent_encode(bytes, NON_ALPHANUMERIC)
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
