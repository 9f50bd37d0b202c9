//! DNS client: asks one name server after the other, for both address families at once, with a bounded number of
//! queries.
//!
//! hickory exchanges messages with one server: sockets with random ports and query identifiers, a packet resent after a
//! third of a second, truncated answers asked for again over TCP (RFC 7766), aliases followed. Which server is
//! asked, how often, and for which names is decided here, as the C library decides it: hickory-resolver 0.26.3 asks two
//! servers at a time, and takes SERVFAIL or REFUSED from one of them for the answer (`try_send` in
//! `name_server_pool.rs`).

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, Resolver};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::sockets::ConnectedRuntime;
use super::system::{ResolvConf, getaddrinfo};
use super::{DnsOptions, Family};
use crate::util::lock;

/// Queries in flight, for all names together. A forwarding server in a router has a limit of its own, 150 with dnsmasq,
/// and drops queries beyond it. With half of this limit, names that take 100 ms each held up 256 downloads: 4,000 of
/// them took 13 s instead of 6.6 s.
const MAX_QUERIES_IN_FLIGHT: u32 = 128;

/// The time that IPv6 addresses are waited for once IPv4 addresses are there, because some servers never answer for
/// records that they do not have. RFC 8305, section 3, gives 50 ms, for a person who waits.
const RESOLUTION_DELAY: Duration = Duration::from_millis(300);

/// A server that could not be reached is asked last for this time.
const AVOID_TIME: Duration = Duration::from_secs(30);

/// The time for which the addresses from `/etc/hosts` are used.
const HOSTS_FILE_TTL: Duration = Duration::from_secs(3600);

/// The addresses of a name.
#[derive(Debug, PartialEq, Eq)]
pub struct ResolvedAddresses {
    pub addresses: Vec<IpAddr>,
    pub ttl: Duration,
    /// Whether the addresses of one family are missing, because their query failed.
    pub is_partial: bool,
}

impl ResolvedAddresses {
    /// Addresses of all families that were asked for.
    pub const fn complete(addresses: Vec<IpAddr>, ttl: Duration) -> Self {
        Self { addresses, ttl, is_partial: false }
    }
}

/// Why there are no addresses.
#[derive(Debug, PartialEq, Eq)]
pub enum LookupFailure {
    /// The name does not exist (NXDOMAIN), for the given time to live.
    NxDomain(Duration),
    /// The name has no address (NODATA, RFC 2308), for the given time to live.
    NoData(Duration),
    /// No server gave an answer, for the given reason.
    Transient(String),
}

/// Looks up the addresses of names.
#[derive(Debug)]
pub struct DnsClient {
    servers: Vec<NameServer>,
    hosts: Hosts,
    conf: ResolvConf,
    /// Whether the servers were given by `--dns-servers`.
    servers_given: bool,
    timeout: Duration,
    /// [`DnsOptions::is_patient`].
    is_patient: bool,
    /// One slot for each query in flight.
    query_slots: Semaphore,
    next_server: AtomicUsize,
}

/// One name server.
#[derive(Debug)]
struct NameServer {
    address: SocketAddr,
    client: Resolver<ConnectedRuntime>,
    avoided_until: Mutex<Option<Instant>>,
}

impl DnsClient {
    /// Reads the resolver settings of the system.
    pub fn new(options: &DnsOptions) -> Self {
        let mut conf = ResolvConf::read();
        let servers_given = !options.servers.is_empty();
        if servers_given {
            conf.servers.clone_from(&options.servers);
        }
        let servers = conf.servers.iter().filter_map(|address| NameServer::new(*address, &conf, options.timeout));
        let servers = servers.collect();
        Self {
            servers,
            hosts: hosts(),
            conf,
            servers_given,
            timeout: options.timeout,
            is_patient: options.is_patient,
            query_slots: Semaphore::new(MAX_QUERIES_IN_FLIGHT as usize),
            next_server: AtomicUsize::new(0),
        }
    }

    /// Looks up the addresses of the host, of one family or of both.
    pub async fn ask(&self, host: &str, family: Option<Family>) -> Result<ResolvedAddresses, LookupFailure> {
        let types: &[RecordType] = match family {
            Some(Family::V4) => &[RecordType::A],
            Some(Family::V6) => &[RecordType::AAAA],
            None if self.conf.no_aaaa => &[RecordType::A],
            None => &[RecordType::A, RecordType::AAAA],
        };
        let slots = u32::try_from(types.len()).unwrap_or(MAX_QUERIES_IN_FLIGHT);
        let Ok(_slots) = self.query_slots.acquire_many(slots).await else {
            return Err(LookupFailure::Transient("the run has ended".into()));
        };
        // The timeout starts here: it does not count the wait for a slot.
        let deadline = Instant::now() + self.timeout;
        if self.is_left_to_system(host) {
            let asked = timeout_at(deadline, getaddrinfo(host)).await;
            return asked.unwrap_or_else(|_| Err(LookupFailure::Transient("no answer from the system in time".into())));
        }
        let Some(name) = name(host) else {
            return Err(LookupFailure::Transient(
                "DNS knows no such names: a part is 1 to 63 bytes long, all are 253".into(),
            ));
        };
        if let Some(found) = self.in_hosts_file(&name) {
            return Ok(found);
        }
        let mut negative = LookupFailure::NxDomain(Duration::MAX);
        for name in self.candidates(host, name) {
            match self.addresses(&name, types, deadline).await {
                // The name as it was given is asked for last, and its answer counts.
                Err(failure @ (LookupFailure::NxDomain(_) | LookupFailure::NoData(_))) => negative = failure,
                ended => return ended,
            }
        }
        Err(negative)
    }

    /// Without name servers, lookups are left to the system's resolver, and never to a public server that the user did
    /// not choose. Names of the local link are resolved by multicast DNS (RFC 6762, section 3), which the system knows
    /// about.
    fn is_left_to_system(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.servers.is_empty() || (!self.servers_given && host.rsplit_once('.').is_some_and(|(_, top)| top == "local"))
    }

    /// An entry in `/etc/hosts` holds for both families, as with the C library.
    fn in_hosts_file(&self, name: &Name) -> Option<ResolvedAddresses> {
        let lookups = [RecordType::A, RecordType::AAAA]
            .map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)));
        let addresses = lookups.iter().flatten().flat_map(addresses).collect::<Vec<_>>();
        (!addresses.is_empty()).then_some(ResolvedAddresses::complete(addresses, HOSTS_FILE_TTL))
    }

    /// The names to ask for in turn. A name with enough dots is complete and is not tried in the search domains, where
    /// the C library would go on: a match there would be another host than the list means.
    fn candidates(&self, host: &str, name: Name) -> Vec<Name> {
        let complete = host.ends_with('.') || host.matches('.').count() >= self.conf.ndots;
        let search = if complete { &[][..] } else { &self.conf.search };
        let mut names = search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).collect::<Vec<_>>();
        names.push(name);
        names
    }

    async fn addresses(
        &self,
        name: &Name,
        types: &[RecordType],
        deadline: Instant,
    ) -> Result<ResolvedAddresses, LookupFailure> {
        if let [only] = types {
            return self.query(name, *only, deadline).await;
        }
        let v4 = pin!(self.query(name, RecordType::A, deadline));
        let v6 = pin!(self.query(name, RecordType::AAAA, deadline));
        let (v4, v6) = match select(v4, v6).await {
            Either::Left((v4 @ Ok(_), v6)) => {
                let late = || Err(LookupFailure::Transient("no answer in time".into()));
                (v4, timeout(RESOLUTION_DELAY, v6).await.unwrap_or_else(|_| late()))
            }
            Either::Left((v4, v6)) => (v4, v6.await),
            // IPv6 addresses alone are of no use on a machine without IPv6.
            Either::Right((v6, v4)) => (v4.await, v6),
        };
        merge(v6, v4)
    }

    /// Asks the servers in turn until one gives an answer, each as often as `attempts` says. A server that is silent for
    /// the time of one query is still listened to while the next one is asked, as the C library does: it may be slow.
    async fn query(
        &self,
        name: &Name,
        kind: RecordType,
        deadline: Instant,
    ) -> Result<ResolvedAddresses, LookupFailure> {
        let servers = self.in_order();
        let mut asked = FuturesUnordered::new();
        let mut failures = Failures::default();
        for server in std::iter::repeat_n(&servers, self.conf.attempts).flatten() {
            // An immediate second query would get the same error.
            if failures.servers.contains(&server.address) || Instant::now() >= deadline {
                continue;
            }
            asked.push(async move { (*server, server.ask(name, kind, deadline).await) });
            let until = deadline.min(Instant::now() + self.conf.timeout);
            if let Some(answer) = listen(&mut asked, until, Some(server.address), &mut failures).await {
                return answer;
            }
            if !failures.servers.contains(&server.address) {
                server.avoid(Some(Instant::now() + AVOID_TIME));
            }
        }
        if self.is_patient
            && let Some(answer) = listen(&mut asked, deadline, None, &mut failures).await
        {
            return answer;
        }
        Err(LookupFailure::Transient(failures.first.unwrap_or_else(|| describe_timeout(&servers))))
    }

    /// All servers, with those last that could not be reached recently.
    fn in_order(&self) -> Vec<&NameServer> {
        let first =
            if self.conf.rotate { self.next_server.fetch_add(1, Ordering::Relaxed) % self.servers.len() } else { 0 };
        let mut servers = self.servers[first..].iter().chain(&self.servers[..first]).collect::<Vec<_>>();
        let now = Instant::now();
        servers.sort_by_key(|server| server.is_avoided(now));
        servers
    }
}

/// The servers that failed.
#[derive(Default)]
struct Failures {
    servers: Vec<SocketAddr>,
    /// The first failure, in words.
    first: Option<String>,
}

/// Waits for the answer of one of the servers that were asked, or for the failure of `last`, the one that was asked last.
async fn listen<'a>(
    asked: &mut FuturesUnordered<impl Future<Output = (&'a NameServer, Result<Lookup, NetError>)>>,
    until: Instant,
    last: Option<SocketAddr>,
    failures: &mut Failures,
) -> Option<Result<ResolvedAddresses, LookupFailure>> {
    while let Ok(Some((server, answer))) = timeout_at(until, asked.next()).await {
        match answer {
            Ok(lookup) => return Some(resolved(&lookup)),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => return Some(Err(no_records(&none))),
            Err(NetError::Timeout) => {}
            Err(error) => {
                failures.servers.push(server.address);
                failures.first.get_or_insert_with(|| describe(server.address, &error));
            }
        }
        if last == Some(server.address) {
            break;
        }
    }
    None
}

impl NameServer {
    /// `timeout`: how long an answer is listened to.
    fn new(address: SocketAddr, conf: &ResolvConf, timeout: Duration) -> Option<Self> {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        if conf.tcp_only {
            connections.remove(0);
        }
        for connection in &mut connections {
            connection.port = address.port();
        }
        let server = NameServerConfig::new(address.ip(), true, connections);
        let mut builder =
            Resolver::builder_with_config(ResolverConfig::from_name_servers(vec![server]), ConnectedRuntime::default());
        let resolver_options = builder.options_mut();
        resolver_options.timeout = timeout;
        resolver_options.edns0 = conf.edns;
        // All of these are done here instead.
        resolver_options.attempts = 0;
        resolver_options.cache_size = 0;
        resolver_options.use_hosts_file = ResolveHosts::Never;
        resolver_options.num_concurrent_reqs = 1;
        resolver_options.preserve_intermediates = false;
        // On one TCP connection; there are never more.
        resolver_options.max_active_requests = MAX_QUERIES_IN_FLIGHT as usize;
        Some(Self { address, client: builder.build().ok()?, avoided_until: Mutex::default() })
    }

    /// Sends one query, which ends by the deadline.
    async fn ask(&self, name: &Name, kind: RecordType, deadline: Instant) -> Result<Lookup, NetError> {
        if Instant::now() >= deadline {
            return Err(NetError::Timeout);
        }
        let once = async || {
            let asked = timeout_at(deadline, self.client.lookup(name.clone(), kind)).await;
            asked.unwrap_or(Err(NetError::Timeout))
        };
        let mut asked = once().await;
        // The connection ended while the query waited for its turn on it, or the queue was full. That says nothing
        // about the server, and the query is sent on another connection (RFC 7766, section 6.2.4).
        if matches!(asked, Err(NetError::Busy | NetError::Message(_) | NetError::Msg(_))) {
            asked = once().await;
        }
        let unreachable = matches!(asked, Err(NetError::Timeout | NetError::Io(_) | NetError::NoConnections));
        self.avoid(unreachable.then(|| Instant::now() + AVOID_TIME));
        asked
    }

    fn avoid(&self, until: Option<Instant>) {
        *lock(&self.avoided_until) = until;
    }

    fn is_avoided(&self, now: Instant) -> bool {
        lock(&self.avoided_until).is_some_and(|until| now < until)
    }
}

/// A host as a complete DNS name. Hosts of URLs may hold more than letters, digits and hyphens.
pub fn name(host: &str) -> Option<Name> {
    let host = host.strip_suffix('.').unwrap_or(host);
    Name::from_labels(host.split('.').map(str::as_bytes)).ok()
}

/// The entries of `/etc/hosts`, if it can be read.
fn hosts() -> Hosts {
    let mut hosts = Hosts::default();
    let text = std::fs::read("/etc/hosts").unwrap_or_default();
    // A line in another encoding must not invalidate the others. Reading from memory does not fail.
    let _ = hosts.read_hosts_conf(String::from_utf8_lossy(&text).as_bytes());
    hosts
}

fn addresses(lookup: &Lookup) -> impl Iterator<Item = IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr())
}

fn resolved(lookup: &Lookup) -> Result<ResolvedAddresses, LookupFailure> {
    let records = lookup.answers().iter().filter(|record| record.data.ip_addr().is_some());
    match records.map(|record| record.ttl).min() {
        Some(ttl) => Ok(ResolvedAddresses::complete(addresses(lookup).collect(), Duration::from_secs(ttl.into()))),
        None => Err(LookupFailure::NoData(Duration::ZERO)),
    }
}

fn no_records(none: &NoRecords) -> LookupFailure {
    // Without the zone's SOA record the time to live is unknown.
    let ttl = Duration::from_secs(none.negative_ttl.unwrap_or(0).into());
    if none.response_code == ResponseCode::NXDomain { LookupFailure::NxDomain(ttl) } else { LookupFailure::NoData(ttl) }
}

/// Merges the answers for the two families.
fn merge(
    first: Result<ResolvedAddresses, LookupFailure>,
    second: Result<ResolvedAddresses, LookupFailure>,
) -> Result<ResolvedAddresses, LookupFailure> {
    use LookupFailure::{NoData, NxDomain, Transient};
    match (first, second) {
        (Ok(mut first), Ok(second)) => {
            first.addresses.extend(second.addresses);
            Ok(ResolvedAddresses { ttl: first.ttl.min(second.ttl), ..first })
        }
        (Ok(found), Err(Transient(_))) | (Err(Transient(_)), Ok(found)) => {
            Ok(ResolvedAddresses { is_partial: true, ..found })
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(NxDomain(first)), Err(NxDomain(second))) => Err(NxDomain(first.min(second))),
        // A name that does not exist has no records of any type (RFC 8020).
        (Err(NxDomain(ttl)), _) | (_, Err(NxDomain(ttl))) => Err(NxDomain(ttl)),
        (Err(Transient(why)), _) | (_, Err(Transient(why))) => Err(Transient(why)),
        (Err(NoData(first)), Err(NoData(second))) => Err(NoData(first.min(second))),
    }
}

/// The server for a message.
fn server_name(address: SocketAddr) -> String {
    if address.port() == 53 { address.ip().to_string() } else { address.to_string() }
}

fn describe(server: SocketAddr, error: &NetError) -> String {
    let server = server_name(server);
    match error {
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => {
            format!("the name server {server} failed (SERVFAIL)")
        }
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => {
            format!("the name server {server} refused to answer (REFUSED)")
        }
        NetError::Dns(DnsError::ResponseCode(code)) => {
            format!("the name server {server} failed (code {})", u16::from(*code))
        }
        // hickory reports `NoConnections` for a server that refuses connections.
        NetError::Io(_) | NetError::NoConnections => format!("cannot reach the name server {server}"),
        _ => format!("the name server {server} gave no valid answer"),
    }
}

fn describe_timeout(servers: &[&NameServer]) -> String {
    let mut text = "no answer from the name server".to_owned();
    if servers.len() > 1 {
        text.push('s');
    }
    for (index, server) in servers.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = write!(text, "{} {}", if index > 0 { "," } else { "" }, server_name(server.address));
    }
    text + " in time"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &[u8]) -> DnsClient {
        let conf = ResolvConf::parse(text);
        DnsClient {
            servers: conf
                .servers
                .iter()
                .filter_map(|address| NameServer::new(*address, &conf, Duration::from_secs(1)))
                .collect(),
            hosts: Hosts::default(),
            conf,
            servers_given: false,
            timeout: Duration::from_secs(1),
            is_patient: false,
            query_slots: Semaphore::new(1),
            next_server: AtomicUsize::new(0),
        }
    }

    #[test]
    fn short_names_are_looked_for_in_the_search_domains_and_complete_ones_are_not() {
        let client = client(b"nameserver 192.0.2.1\nsearch one.example two.example\noptions ndots:2");
        for (host, expected) in [
            ("a", vec!["a.one.example.", "a.two.example.", "a."]),
            ("a.b", vec!["a.b.one.example.", "a.b.two.example.", "a.b."]),
            ("a.b.c", vec!["a.b.c."]),
            ("a.", vec!["a."]),
            ("my_host.x_.example", vec!["my_host.x_.example."]),
        ] {
            let names = client.candidates(host, name(host).expect(host));
            assert_eq!(names.iter().map(Name::to_ascii).collect::<Vec<_>>(), expected, "{host}");
        }
        for host in ["", "a..b", &"x".repeat(64), &"x.".repeat(200)] {
            assert_eq!(name(host), None, "{host}");
        }
    }

    #[test]
    fn some_names_are_left_to_the_system() {
        let client = client(b"nameserver 192.0.2.1");
        assert!(client.is_left_to_system("printer.local") && client.is_left_to_system("printer.local."));
        assert!(!client.is_left_to_system("local.example") && !client.is_left_to_system("mylocal"));
        assert!(super::tests::client(b"").is_left_to_system("example.org"));
        assert!(!DnsClient { servers_given: true, ..client }.is_left_to_system("printer.local"));
    }

    #[test]
    fn servers_keep_their_order_take_turns_or_are_asked_last() {
        let last = |servers: Vec<&NameServer>| -> Vec<u8> {
            servers.iter().map(|server| server.address.to_string().as_bytes()[8] - b'0').collect()
        };
        let three = b"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let fixed = client(three);
        assert_eq!([last(fixed.in_order()), last(fixed.in_order())], [[1, 2, 3]; 2]);
        fixed.servers[0].avoid(Some(Instant::now() + AVOID_TIME));
        assert_eq!(last(fixed.in_order()), [2, 3, 1]);
        fixed.servers[0].avoid(Some(Instant::now()));
        assert_eq!(last(fixed.in_order()), [1, 2, 3]);
        let rotating = client(&[three, &b"options rotate"[..]].concat());
        let orders = [rotating.in_order(), rotating.in_order(), rotating.in_order(), rotating.in_order()].map(last);
        assert_eq!(orders, [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]);
    }

    #[test]
    fn one_family_is_enough() {
        let found = |address: &str, ttl| {
            ResolvedAddresses::complete(vec![address.parse().expect(address)], Duration::from_secs(ttl))
        };
        let (v6, v4) = (|| found("::1", 60), || found("127.0.0.1", 40));
        let transient = || LookupFailure::Transient("no".into());
        let ttl = Duration::from_secs;
        let whole =
            ResolvedAddresses { addresses: [v6().addresses, v4().addresses].concat(), ttl: ttl(40), is_partial: false };
        for (first, second, expected) in [
            (Ok(v6()), Ok(v4()), Ok(whole)),
            (Ok(v6()), Err(transient()), Ok(ResolvedAddresses { is_partial: true, ..v6() })),
            (Err(transient()), Ok(v4()), Ok(ResolvedAddresses { is_partial: true, ..v4() })),
            (Err(LookupFailure::NoData(ttl(9))), Ok(v4()), Ok(v4())),
            (Err(LookupFailure::NoData(ttl(9))), Err(transient()), Err(transient())),
            (Err(LookupFailure::NxDomain(ttl(9))), Err(transient()), Err(LookupFailure::NxDomain(ttl(9)))),
            (
                Err(LookupFailure::NxDomain(ttl(9))),
                Err(LookupFailure::NxDomain(ttl(5))),
                Err(LookupFailure::NxDomain(ttl(5))),
            ),
            (
                Err(LookupFailure::NoData(ttl(9))),
                Err(LookupFailure::NoData(ttl(5))),
                Err(LookupFailure::NoData(ttl(5))),
            ),
        ] {
            assert_eq!(merge(first, second), expected);
        }
    }
}
