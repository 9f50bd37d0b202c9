//! Which connections requests go out on: pools with a bound on idle connections, and what is known of their hosts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use foldhash::fast::RandomState;
use url::Url;

use super::deadline::{Deadline, MISSING_HEAD, within_deadline};
use crate::record::FetchError;
use crate::util::lock;

/// A connection pool with a bound on idle connections.
///
/// reqwest bounds idle connections per host, not in total (<https://github.com/hyperium/hyper/issues/2236>): a list
/// over 20,000 hosts would keep 20,000 sockets open. The connections that a client may keep idle are, for each host,
/// the peak of those in use less those in use now. When they reach twice the number of downloads at once, a new reqwest
/// client takes over, and the old one closes its connections when its last request has ended.
#[derive(Debug, Default)]
pub(super) struct ConnectionPool(Mutex<Option<Arc<ClientGeneration>>>);

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
pub(super) struct Kind {
    /// Whether it keeps its connections.
    pub(super) pooled: bool,
    pub(super) http1_only: bool,
}

impl Kind {
    pub(super) const POOLED: Self = Self { pooled: true, http1_only: false };
}

/// A reqwest client for one request and its response.
#[derive(Debug)]
pub(super) struct ClientLease {
    client: reqwest::Client,
    generation: Arc<ClientGeneration>,
    host: u64,
    /// [`HostConnections::renewals`] when the lease began; `None` if the client is for this request alone.
    renewals: Option<u32>,
    /// It is known to use HTTP/1.1.
    pub(super) is_http1: bool,
    /// A deadline passed. For all that is known, the connection is dead.
    pub(super) fell_silent: bool,
}

impl ClientLease {
    pub(super) async fn execute(
        &mut self,
        request: reqwest::Request,
        deadline: Deadline<'_>,
    ) -> Result<reqwest::Result<reqwest::Response>, FetchError> {
        let sent = within_deadline(deadline, MISSING_HEAD, self.client.execute(request)).await;
        self.fell_silent = sent.is_err();
        sent
    }

    /// From now on requests to the host use HTTP/1.1.
    pub(super) fn note_http1_required(&self) {
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
    pub(super) fn lease(
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
pub(super) struct UsedPorts(Box<[AtomicU64]>);

impl Default for UsedPorts {
    fn default() -> Self {
        Self(std::iter::repeat_with(AtomicU64::default).take(1 << 10).collect())
    }
}

impl UsedPorts {
    pub(super) fn insert(&self, port: u16) {
        self.0[usize::from(port >> 6)].fetch_or(1 << (port & 63), Ordering::Relaxed);
    }

    pub(super) fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port >> 6)].load(Ordering::Relaxed) & (1 << (port & 63)) != 0
    }
}
