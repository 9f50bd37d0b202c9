//! DNS resolver: addresses from `--resolve`, from the cache, or from the name servers, in this order.
//!
//! [`dns`] sends the queries, [`system`] reads the system's resolver settings, [`cache`] keeps the answers. Tasks that
//! ask for the same name at the same time share one lookup. It runs in a task of its own: the task that started it may
//! be cancelled before the answer arrives, and a lookup that is not polled would hold its slot for ever.

mod cache;
mod dns;
mod sockets;
mod system;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use futures::FutureExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use self::cache::{LookupCache, SharedLookup};
use self::dns::{DnsClient, LookupFailure, ResolvedAddresses};
use super::ip_scope::is_public;
use crate::util::lock;

/// The shortest time for which addresses are used, even if their time to live is shorter: a run returns to the same
/// host again and again, and this is short enough for load balancing by DNS.
const MIN_TTL: Duration = Duration::from_secs(30);

/// The longest time for which addresses are used.
const MAX_TTL: Duration = Duration::from_secs(3600);

/// The shortest time for which a negative answer is used. Its time to live comes from the zone (RFC 2308, section 5).
const MIN_NEGATIVE_TTL: Duration = Duration::from_secs(5);

/// The longest time for which a negative answer is used.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(300);

/// The time for which the addresses of one family are used when the query for the other has failed: the known ones may
/// be unreachable from here.
const PARTIAL_TTL: Duration = Duration::from_secs(1);

/// Further addresses of one family are not tried: the addresses share the time to connect.
const MAX_ADDRESSES_PER_FAMILY: usize = 8;

/// An address given by `--resolve HOST:PORT:ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The host name in lower case.
    pub host: String,
    /// The port of the URLs that it applies to.
    pub port: u16,
    /// The address to connect to, without a lookup. Port 0 stands for the URL's port.
    pub address: SocketAddr,
}

/// An address family (`-4`, `-6`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Whether the address belongs to the family.
    #[must_use]
    pub const fn holds(self, address: IpAddr) -> bool {
        matches!((self, address), (Self::V4, IpAddr::V4(_)) | (Self::V6, IpAddr::V6(_)))
    }
}

/// The name has no usable address.
#[derive(Clone, Debug)]
pub enum ResolveError {
    /// It has no address, or the lookup failed, for the given reason.
    Unresolved(Arc<str>),
    /// It has this address, which is not allowed.
    Forbidden(IpAddr),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(why) => f.write_str(why),
            Self::Forbidden(address) => write!(f, "{address} is not public"),
        }
    }
}

impl std::error::Error for ResolveError {}

/// Which addresses may be used.
#[derive(Clone, Copy, Debug)]
pub struct AddressFilter {
    /// Only addresses of this family.
    pub family: Option<Family>,
    /// Only addresses of the public internet.
    pub public_only: bool,
}

/// Which name servers are asked, and for how long.
#[derive(Clone, Debug)]
pub struct DnsOptions {
    /// `--dns-servers`; empty for those of the system.
    pub servers: Vec<SocketAddr>,
    /// The timeout of a lookup, without the wait for its turn.
    pub timeout: Duration,
    /// Whether a server that is silent is listened to until then, even if it was asked as often as `/etc/resolv.conf`
    /// says.
    pub is_patient: bool,
}

/// The result of a lookup, and how long it is used.
#[derive(Clone, Debug)]
pub struct CachedAnswer {
    addresses: Result<Arc<[SocketAddr]>, ResolveError>,
    /// A request after this time starts a new lookup.
    until: Instant,
}

/// Resolves names for the HTTP client.
#[derive(Debug)]
pub struct Resolver {
    pinned: HashMap<String, Vec<SocketAddr>>,
    filter: AddressFilter,
    shared: Arc<ResolverState>,
}

/// The state that all resolvers of a run share.
#[derive(Debug)]
struct ResolverState {
    options: DnsOptions,
    /// Made for the first name: a list of IP addresses does not read the system's settings.
    client: OnceLock<DnsClient>,
    cache: Mutex<LookupCache>,
    /// The time that requests have waited for lookups, all together, in microseconds.
    waited: AtomicU64,
}

impl Resolver {
    pub fn new(filter: AddressFilter, options: DnsOptions) -> Self {
        let shared =
            ResolverState { options, client: OnceLock::new(), cache: Mutex::default(), waited: AtomicU64::new(0) };
        Self { pinned: HashMap::new(), filter, shared: Arc::new(shared) }
    }

    /// A resolver with the same cache, and these addresses pinned.
    pub fn with<'a>(&self, pinned: impl Iterator<Item = &'a Pinned>) -> Self {
        let mut by_host = HashMap::<String, Vec<SocketAddr>>::new();
        for entry in pinned {
            by_host.entry(entry.host.clone()).or_default().push(entry.address);
        }
        Self { pinned: by_host, filter: self.filter, shared: Arc::clone(&self.shared) }
    }

    /// Waits until the name has been looked up. Does nothing if it was looked up before, since a connection may still
    /// be open.
    ///
    /// The time to connect is limited, and must not pass while other lookups are ahead in the queue.
    pub async fn prepare(&self, host: &str) -> Result<(), ResolveError> {
        let lookup = {
            let mut cache = self.cache();
            match cache.get(host) {
                Some(lookup) if lookup.peek().is_some_and(|answer| answer.addresses.is_ok()) => return Ok(()),
                _ => self.lookup(&mut cache, host),
            }
        };
        let begun = Instant::now();
        let answer = lookup.await;
        let waited = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.shared.waited.fetch_add(waited, Ordering::Relaxed);
        answer.addresses.map(drop)
    }

    /// The time that requests have waited for lookups, all together.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.shared.waited.load(Ordering::Relaxed))
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, LookupCache> {
        lock(&self.shared.cache)
    }

    fn lookup(&self, cache: &mut LookupCache, host: &str) -> SharedLookup {
        if let Some(lookup) = cache.get(host).filter(is_current) {
            return lookup;
        }
        let (shared, filter, name) = (Arc::clone(&self.shared), self.filter, host.to_owned());
        let asked = tokio::spawn(async move { shared.ask(&name, filter).await });
        let asked = asked.map(|answer| answer.unwrap_or_else(|_| CachedAnswer::fails("the lookup ended early")));
        let lookup = asked.boxed().shared();
        cache.insert(host, lookup.clone());
        lookup
    }
}

/// Whether the lookup is in flight, or its answer may still be used.
fn is_current(lookup: &SharedLookup) -> bool {
    lookup.peek().is_none_or(|answer| Instant::now() < answer.until)
}

impl ResolverState {
    async fn ask(&self, host: &str, filter: AddressFilter) -> CachedAnswer {
        if is_localhost(host) {
            let found = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
            return CachedAnswer::of(Ok(ResolvedAddresses::complete(found, MAX_TTL)), filter);
        }
        let client = self.client.get_or_init(|| DnsClient::new(&self.options));
        CachedAnswer::of(client.ask(host, filter.family).await, filter)
    }
}

/// `localhost` and the names below it are this machine, and no name server is asked (RFC 6761, section 6.3).
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host == "localhost" || host.ends_with(".localhost")
}

impl CachedAnswer {
    fn of(asked: Result<ResolvedAddresses, LookupFailure>, filter: AddressFilter) -> Self {
        let unresolved = |why: &str| Err(ResolveError::Unresolved(why.into()));
        let (addresses, ttl) = match asked {
            Ok(found) if found.is_partial => (allowed(&found.addresses, filter), PARTIAL_TTL),
            Ok(found) => (allowed(&found.addresses, filter), found.ttl.clamp(MIN_TTL, MAX_TTL)),
            Err(LookupFailure::NxDomain(ttl)) => {
                (unresolved("no such name (NXDOMAIN)"), ttl.clamp(MIN_NEGATIVE_TTL, MAX_NEGATIVE_TTL))
            }
            Err(LookupFailure::NoData(ttl)) => {
                let why = match filter.family {
                    None => "the name has no address",
                    Some(Family::V4) => "the name has no IPv4 address",
                    Some(Family::V6) => "the name has no IPv6 address",
                };
                (unresolved(why), ttl.clamp(MIN_NEGATIVE_TTL, MAX_NEGATIVE_TTL))
            }
            Err(LookupFailure::Transient(why)) => return Self::fails(&why),
        };
        Self { addresses, until: Instant::now() + ttl }
    }

    /// A failure may be transient: the tasks that wait for this lookup share it, and the next one starts a new lookup.
    fn fails(why: &str) -> Self {
        Self { addresses: Err(ResolveError::Unresolved(why.into())), until: Instant::now() }
    }
}

/// The addresses that may be connected to, IPv6 first (RFC 8305, section 4). The connection is made to one of these and
/// to no other, so nothing can change between the check and the connection.
///
/// The connector first tries the family of the first address; after 300 ms, or at once if there is no route, it tries
/// the other family in parallel.
fn allowed(found: &[IpAddr], filter: AddressFilter) -> Result<Arc<[SocketAddr]>, ResolveError> {
    let mut forbidden = None;
    let mut addresses = Vec::new();
    for family in [Family::V6, Family::V4] {
        if filter.family.is_some_and(|only| only != family) {
            continue;
        }
        let mut usable = found.iter().copied().filter(|address| family.holds(*address)).collect::<Vec<_>>();
        if filter.public_only {
            usable.retain(|address| {
                let public = is_public(*address);
                forbidden = forbidden.or((!public).then_some(*address));
                public
            });
        }
        addresses.extend(usable.into_iter().take(MAX_ADDRESSES_PER_FAMILY).map(|address| SocketAddr::new(address, 0)));
    }
    match (addresses.is_empty(), forbidden) {
        (false, _) => Ok(addresses.into()),
        (true, Some(address)) => Err(ResolveError::Forbidden(address)),
        (true, None) => Err(ResolveError::Unresolved("no address of the wanted family".into())),
    }
}

/// The addresses given by `--resolve`, in their order, with the ports that they may have.
fn allowed_pins(pins: &[SocketAddr], filter: AddressFilter) -> Result<Arc<[SocketAddr]>, ResolveError> {
    let addresses = pins.iter().map(SocketAddr::ip).collect::<Vec<_>>();
    let allowed = allowed(&addresses, filter)?;
    let is_allowed = |pin: &&SocketAddr| allowed.iter().any(|address| address.ip() == pin.ip());
    Ok(pins.iter().filter(is_allowed).copied().collect())
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_ascii_lowercase();
        let addresses = match self.pinned.get(&host) {
            Some(pins) => std::future::ready(allowed_pins(pins, self.filter)).left_future(),
            None => self.lookup(&mut self.cache(), &host).map(|answer| answer.addresses).right_future(),
        };
        Box::pin(async move {
            let addresses = addresses.await?;
            Ok(Box::new((0..addresses.len()).map(move |index| addresses[index])) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: AddressFilter = AddressFilter { family: None, public_only: false };

    fn kept(asked: Result<ResolvedAddresses, LookupFailure>) -> u64 {
        let answer = CachedAnswer::of(asked, ANY);
        // Rounded up, because a little of the time has passed already.
        (answer.until.saturating_duration_since(Instant::now()) + Duration::from_millis(900)).as_secs()
    }

    #[test]
    fn times_to_live_are_kept_within_bounds() {
        let secs = |ttl: u32| Duration::from_secs(ttl.into());
        for (ttl, seconds) in [(0, 30), (29, 30), (60, 60), (3600, 3600), (u32::MAX, 3600)] {
            let found = ResolvedAddresses::complete(vec![Ipv4Addr::LOCALHOST.into()], secs(ttl));
            assert_eq!(kept(Ok(found)), seconds, "{ttl}");
        }
        for (ttl, seconds) in [(0, 5), (60, 60), (86400, 300), (u32::MAX, 300)] {
            assert_eq!(kept(Err(LookupFailure::NxDomain(secs(ttl)))), seconds, "{ttl}");
            assert_eq!(kept(Err(LookupFailure::NoData(secs(ttl)))), seconds, "{ttl}");
        }
        let half = ResolvedAddresses {
            is_partial: true,
            ..ResolvedAddresses::complete(vec![Ipv4Addr::LOCALHOST.into()], secs(600))
        };
        assert_eq!(kept(Ok(half)), 1);
        assert_eq!(kept(Err(LookupFailure::Transient("no answer".into()))), 0);
    }

    #[test]
    fn localhost_and_what_is_below_it_is_this_machine() {
        for host in ["localhost", "localhost.", "a.localhost", "a.b.localhost."] {
            assert!(is_localhost(host), "{host}");
        }
        for host in ["mylocalhost", "localhost.example", "localhos"] {
            assert!(!is_localhost(host), "{host}");
        }
    }

    #[test]
    fn ipv6_comes_first_and_neither_family_is_long() {
        let v4 = (1..=20).map(|last| IpAddr::from([10, 0, 0, last]));
        let v6 = (1..=20).map(|last| IpAddr::from([0, 0, 0, 0, 0, 0, 0, last]));
        let addresses = allowed(&v4.chain(v6).collect::<Vec<_>>(), ANY).expect("addresses");
        let families = addresses.iter().map(SocketAddr::is_ipv6).collect::<Vec<_>>();
        assert_eq!(families, [[true; 8], [false; 8]].concat());
        assert_eq!(addresses[8], "10.0.0.1:0".parse().expect("an address"));
    }
}
