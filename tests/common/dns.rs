//! A small name server for the tests, with the faults that real name servers have.
//!
//! [`Dns`] writes packets by hand (RFC 1035, section 4), because a library would not let it break the rules. A test
//! gives it a function from a [`Question`] to a [`Reply`]; it listens over UDP and TCP on one port of 127.0.0.1,
//! remembers what it was asked, and stops when dropped.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    A,
    Aaaa,
    Other(u16),
}

impl Kind {
    const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Other(number) => number,
        }
    }
}

/// A query.
#[derive(Clone, Debug)]
pub struct Question {
    /// In lower case, without the last dot.
    pub name: String,
    pub kind: Kind,
    /// How often this has been asked, this time included.
    pub times: usize,
    /// Whether it came over TCP.
    pub tcp: bool,
}

/// The answer to a query.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The addresses of the requested family, with a time to live in seconds. None of them: there are no such records.
    Addresses(Vec<IpAddr>, u32),
    /// An alias of the first name for the second, and the reply for the second.
    Alias(String, String, Box<Reply>),
    /// There is no such name. With the time to live in seconds.
    NoName(u32),
    /// There are no such records. With the time to live in seconds.
    NoRecords(u32),
    /// An error: only a response code.
    Code(u8),
    /// No reply.
    Silence,
    /// A truncated reply, which has to be requested over TCP.
    Truncated,
    /// Invalid bytes after the right identifier.
    Garbage,
    /// The first reply with a wrong identifier and for a wrong question, then the second one.
    Forged(Box<Reply>, Box<Reply>),
    /// A reply after some time.
    Slow(Duration, Box<Reply>),
}

impl Reply {
    /// One address with a time to live of an hour.
    pub fn address(address: impl Into<IpAddr>) -> Self {
        Self::Addresses(vec![address.into()], 3600)
    }

    /// The address of this machine, where the web servers of the tests are.
    pub fn here() -> Self {
        Self::address(Ipv4Addr::LOCALHOST)
    }
}

type Zone = dyn Fn(&Question) -> Reply + Send + Sync;

/// A name server of one test.
pub struct Dns {
    state: Arc<State>,
    address: SocketAddr,
}

struct State {
    zone: Box<Zone>,
    asked: Mutex<Asked>,
    stop: AtomicBool,
}

#[derive(Default)]
struct Asked {
    times: HashMap<(String, Kind), usize>,
    over_tcp: usize,
    in_flight: HashSet<(String, Kind)>,
    peak: usize,
}

impl Dns {
    /// Starts a server whose replies come from a function.
    pub fn start(zone: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> Self {
        let (udp, tcp) = same_port();
        let address = udp.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State { zone: Box::new(zone), asked: Mutex::default(), stop: AtomicBool::new(false) });
        let (udp_state, tcp_state) = (Arc::clone(&state), Arc::clone(&state));
        thread::spawn(move || serve_udp(&udp_state, &udp));
        thread::spawn(move || serve_tcp(&tcp_state, &tcp));
        Self { state, address }
    }

    /// Starts a server that gives every name the address of this machine.
    pub fn here() -> Self {
        Self::start(|_| Reply::here())
    }

    /// The value for `--dns-servers`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The number of queries for this name and type.
    pub fn times(&self, name: &str, kind: Kind) -> usize {
        self.asked().times.get(&(name.to_owned(), kind)).copied().unwrap_or(0)
    }

    /// The number of all queries.
    pub fn total(&self) -> usize {
        self.asked().times.values().sum()
    }

    /// The number of queries over TCP.
    pub fn over_tcp(&self) -> usize {
        self.asked().over_tcp
    }

    /// The largest number of queries in flight at once. A query that is sent again counts once.
    pub fn peak_in_flight(&self) -> usize {
        self.asked().peak
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.state.asked()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // A connection and a packet wake the threads up.
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[], self.address));
        let _ = TcpStream::connect(self.address);
    }
}

/// An address where packets are received and never answered, as long as the socket is kept.
pub fn silent() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("a bound socket has an address").to_string();
    (socket, address)
}

/// The number of packets that were sent to a silent address, including those that were sent again.
pub fn packets(socket: &UdpSocket) -> usize {
    socket.set_nonblocking(true).expect("a socket need not block");
    std::iter::repeat_with(|| socket.recv(&mut [0; 512])).take_while(Result::is_ok).count()
}

/// Opens sockets for UDP and TCP on one port. Another program may use the chosen port for the other protocol, so this
/// tries several.
fn same_port() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = udp.local_addr().expect("a bound socket has an address");
        if let Ok(tcp) = TcpListener::bind(address) {
            return (udp, tcp);
        }
    }
}

fn serve_udp(state: &Arc<State>, socket: &UdpSocket) {
    let mut packet = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut packet) {
        if state.stop.load(Ordering::SeqCst) {
            return;
        }
        let query = packet[..length].to_vec();
        let answer = socket.try_clone().expect("a socket can be cloned");
        state.answer(query, false, move |packet| answer.send_to(packet, from).map(drop));
    }
}

fn serve_tcp(state: &Arc<State>, listener: &TcpListener) {
    for connection in listener.incoming() {
        let Ok(mut connection) = connection else { return };
        if state.stop.load(Ordering::SeqCst) {
            return;
        }
        let state = Arc::clone(state);
        thread::spawn(move || {
            let mut length = [0; 2];
            while connection.read_exact(&mut length).is_ok() {
                let mut query = vec![0; u16::from_be_bytes(length).into()];
                if connection.read_exact(&mut query).is_err() {
                    return;
                }
                let mut answer = connection.try_clone().expect("a connection can be cloned");
                state.answer(query, true, move |packet| {
                    let length = u16::try_from(packet.len()).expect("short answers");
                    answer.write_all(&[&length.to_be_bytes(), packet].concat())
                });
            }
        });
    }
}

impl State {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(
        self: &Arc<Self>,
        query: Vec<u8>,
        tcp: bool,
        mut send: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) {
        let Some((name, kind)) = question(&query) else { return };
        let key = (name.clone(), kind);
        let times = {
            let mut asked = self.asked();
            let times = asked.times.entry(key.clone()).or_default();
            *times += 1;
            let times = *times;
            asked.over_tcp += usize::from(tcp);
            // A query that is sent again because the reply is late counts as the same query.
            if times == 1 {
                asked.in_flight.insert(key.clone());
            }
            asked.peak = asked.peak.max(asked.in_flight.len());
            times
        };
        let mut reply = (self.zone)(&Question { name, kind, times, tcp });
        let state = Arc::clone(self);
        let mut finish = move |reply: &Reply| {
            state.asked().in_flight.remove(&key);
            for packet in packets_of(&query, &key.0, kind, reply) {
                // A client that has its reply may have closed the connection.
                let _ = send(&packet);
            }
        };
        if let Reply::Slow(delay, then) = reply {
            reply = *then;
            thread::spawn(move || {
                thread::sleep(delay);
                finish(&reply);
            });
        } else {
            finish(&reply);
        }
    }
}

/// The name and the type that are asked for.
fn question(query: &[u8]) -> Option<(String, Kind)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = match u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]) {
        1 => Kind::A,
        28 => Kind::Aaaa,
        other => Kind::Other(other),
    };
    Some((labels.join("."), kind))
}

fn packets_of(query: &[u8], name: &str, kind: Kind, reply: &Reply) -> Vec<Vec<u8>> {
    match reply {
        Reply::Silence => Vec::new(),
        Reply::Garbage => vec![[&query[..2], &[0x81, 0x80, 0, 1, 0, 9, 0, 0, 0, 0, 0xC0, 0xFF, 0x77]].concat()],
        Reply::Forged(false_one, true_one) => {
            let mut strange = response(query, name, kind, false_one);
            strange[0] ^= 0xFF;
            let mut other = response(query, name, kind, false_one);
            other[13] ^= 1;
            [vec![strange, other], packets_of(query, name, kind, true_one)].concat()
        }
        reply => vec![response(query, name, kind, reply)],
    }
}

/// A whole packet: header, the question, and records.
fn response(query: &[u8], name: &str, kind: Kind, reply: &Reply) -> Vec<u8> {
    let mut answers = Vec::new();
    let mut authority = Vec::new();
    let mut code = 0;
    let mut truncated = 0;
    let (mut name, mut reply) = (name.to_owned(), reply);
    while let Reply::Alias(from, to, then) = reply {
        answers.push(record(from, 5, 3600, &encoded(to)));
        (name, reply) = (to.clone(), then);
    }
    let zone = |minimum: u32| {
        let numbers = [1_u32, 3600, 600, 86400, minimum].map(u32::to_be_bytes).concat();
        record("test", 6, minimum, &[encoded("ns.test"), encoded("admin.test"), numbers].concat())
    };
    match reply {
        Reply::Addresses(addresses, ttl) => {
            for address in addresses {
                match address {
                    IpAddr::V4(address) if kind == Kind::A => answers.push(record(&name, 1, *ttl, &address.octets())),
                    IpAddr::V6(address) if kind == Kind::Aaaa => {
                        answers.push(record(&name, 28, *ttl, &address.octets()));
                    }
                    _ => {}
                }
            }
            if answers.is_empty() {
                authority.push(zone(*ttl));
            }
        }
        Reply::NoName(minimum) => {
            code = 3;
            authority.push(zone(*minimum));
        }
        Reply::NoRecords(minimum) => authority.push(zone(*minimum)),
        Reply::Code(number) => code = *number,
        Reply::Truncated => truncated = 2,
        // An alias with nothing known about its target.
        Reply::Silence => {}
        other => panic!("{other:?} cannot stand inside another reply"),
    }
    let count = |records: &[Vec<u8>]| u16::try_from(records.len()).expect("few records").to_be_bytes();
    let question = [encoded_as_asked(query), kind.number().to_be_bytes().to_vec(), vec![0, 1]].concat();
    let mut packet = [&query[..2], &[0x81 | truncated, 0x80 | code, 0, 1]].concat();
    packet.extend([count(&answers), count(&authority), [0, 0]].concat());
    packet.extend(question);
    packet.extend(answers.concat());
    packet.extend(authority.concat());
    packet
}

/// The name of the question, byte for byte.
fn encoded_as_asked(query: &[u8]) -> Vec<u8> {
    let end = query[12..].iter().position(|byte| *byte == 0).expect("a question was found") + 13;
    query[12..end].to_vec()
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("short labels"));
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

fn record(name: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("short data");
    let mut bytes = encoded(name);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(ttl.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(data);
    bytes
}
