//! Host names to addresses: what `--resolve` pins first, then the system's resolver.
//!
//! Tasks that ask for the same name at the same time share one lookup, and a found address is kept for a while: the
//! system's resolver blocks a thread for each question and keeps nothing.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::public::is_public;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// How long an answer is used. The system's resolver does not tell the time to live; a minute is what browsers take.
const KEPT: Duration = Duration::from_secs(60);

/// An address given by `--resolve HOST:PORT:ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The host name in lower case.
    pub host: String,
    /// The port of the URLs that it holds for.
    pub port: u16,
    /// Where to connect instead of asking. Port 0 stands for the URL's port.
    pub address: SocketAddr,
}

/// One of the two families of addresses (`-4`, `-6`).
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
    /// There is none, or the lookup failed.
    None(Arc<str>),
    /// There is this one, which is not allowed.
    Forbidden(IpAddr),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None(why) => f.write_str(why),
            Self::Forbidden(address) => write!(f, "{address} is not public"),
        }
    }
}

impl std::error::Error for ResolveError {}

/// Which addresses may be used.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Of one family alone.
    pub family: Option<Family>,
    /// Of the public internet alone.
    pub public_only: bool,
}

type Answer = Result<Arc<[SocketAddr]>, ResolveError>;
type Lookup = Shared<BoxFuture<'static, Answer>>;

/// Resolves names for the HTTP client.
#[derive(Debug)]
pub struct Resolver {
    pinned: HashMap<String, Vec<SocketAddr>>,
    wanted: Wanted,
    known: Arc<Mutex<HashMap<String, (Instant, Lookup)>>>,
}

impl Resolver {
    pub fn new(wanted: Wanted) -> Self {
        Self { pinned: HashMap::new(), wanted, known: Arc::default() }
    }

    /// The same resolver with the same memory, and these addresses fixed.
    pub fn with<'a>(&self, pinned: impl Iterator<Item = &'a Pinned>) -> Self {
        let mut by_host = HashMap::<String, Vec<SocketAddr>>::new();
        for entry in pinned {
            by_host.entry(entry.host.clone()).or_default().push(entry.address);
        }
        Self { pinned: by_host, wanted: self.wanted, known: Arc::clone(&self.known) }
    }

    fn lookup(&self, host: &str) -> Lookup {
        if let Some(addresses) = self.pinned.get(host) {
            return futures::future::ready(allowed(addresses.iter().copied(), self.wanted)).boxed().shared();
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, lookup)) = known.get(host) {
            // A failed lookup is shared by those who wait for it and then asked anew: failures pass.
            let failed = lookup.peek().is_some_and(Result::is_err);
            if since.elapsed() < KEPT && !failed {
                return lookup.clone();
            }
        }
        if known.len() >= MANY && known.len() == known.capacity() {
            // Before it would grow, so that a sweep pays for itself however many names there are.
            known.retain(|_, (since, lookup)| since.elapsed() < KEPT && !lookup.peek().is_some_and(Result::is_err));
        }
        let lookup = ask_system(host.to_owned(), self.wanted).boxed().shared();
        known.insert(host.to_owned(), (Instant::now(), lookup.clone()));
        lookup
    }
}

/// From so many kept answers on, old ones are dropped before another is added.
const MANY: usize = 1024;

async fn ask_system(host: String, wanted: Wanted) -> Answer {
    let found = tokio::net::lookup_host((host, 0)).await;
    allowed(found.map_err(|error| ResolveError::None(words(&error).into()))?, wanted)
}

/// What the system says, without its wrapping: "Name or service not known".
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").map_or(text.clone(), str::to_owned)
}

/// The addresses that may be connected to. The connection is made to one of these and to no other, so nothing can change
/// between the look and the connection.
fn allowed(found: impl Iterator<Item = SocketAddr>, wanted: Wanted) -> Answer {
    let mut forbidden = None;
    let mut addresses = Vec::new();
    for address in found.filter(|found| wanted.family.is_none_or(|family| family.holds(found.ip()))) {
        if wanted.public_only && !is_public(address.ip()) {
            forbidden = Some(address.ip());
        } else {
            addresses.push(address);
        }
    }
    match (addresses.is_empty(), forbidden) {
        (false, _) => Ok(addresses.into()),
        (true, Some(address)) => Err(ResolveError::Forbidden(address)),
        (true, None) => Err(ResolveError::None("no address of the wanted family".into())),
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = self.lookup(&name.as_str().to_ascii_lowercase());
        Box::pin(async move {
            let addresses = lookup.await?;
            Ok(Box::new((0..addresses.len()).map(move |index| addresses[index])) as Addrs)
        })
    }
}
