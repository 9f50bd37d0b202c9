//! The system's resolver settings: `/etc/resolv.conf` (resolv.conf(5)), and `getaddrinfo`.

use std::env;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::rr::Name;
use resolv_conf::ScopedIp;

use super::dns::{LookupFailure, ResolvedAddresses, name};

/// The port of name servers (RFC 1035, section 4.2).
const DNS_PORT: u16 = 53;

/// The time for which an answer of `getaddrinfo` is used, which has no time to live. Browsers use a minute.
const GETADDRINFO_TTL: Duration = Duration::from_secs(60);

/// The settings for lookups.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of resolv.conf")]
pub struct ResolvConf {
    /// The name servers, in the order in which they are asked. If there are none, the system's resolver is used.
    pub servers: Vec<SocketAddr>,
    /// The domains that are appended to a name with few dots.
    pub search: Vec<Name>,
    /// A name with at least this number of dots is complete.
    pub ndots: usize,
    /// The time after which the next server is asked.
    pub timeout: Duration,
    /// How often a server is asked that does not answer.
    pub attempts: usize,
    /// Whether the servers take turns.
    pub rotate: bool,
    /// Whether queries allow answers over UDP beyond 512 bytes (EDNS, RFC 6891).
    pub edns: bool,
    /// Whether to ask over TCP from the start.
    pub tcp_only: bool,
    /// Whether not to ask for IPv6 addresses.
    pub no_aaaa: bool,
}

impl ResolvConf {
    /// Reads `/etc/resolv.conf` and the environment variables that override it.
    pub fn read() -> Self {
        let mut text = fs::read("/etc/resolv.conf").unwrap_or_default();
        for (word, variable) in [("search", "LOCALDOMAIN"), ("options", "RES_OPTIONS")] {
            if let Ok(value) = env::var(variable) {
                text.extend(format!("\n{word} {}\n", value.replace(['\n', '\r'], " ")).as_bytes());
            }
        }
        Self::parse(&text)
    }

    /// Parses a file in that format.
    pub fn parse(text: &[u8]) -> Self {
        // Lines that cannot be parsed are ignored, as by the C library.
        let (mut parsed, _) = resolv_conf::Config::parse_with_errors(text);
        // Limits that the C library has, such as three servers, apply here too.
        parsed.glibc_normalize();
        let servers = parsed.nameservers.iter().filter_map(|server| match server {
            ScopedIp::V4(address) => Some(IpAddr::V4(*address)),
            ScopedIp::V6(address, None) => Some(IpAddr::V6(*address)),
            // hickory supports no scope identifiers.
            ScopedIp::V6(_, Some(_)) => None,
        });
        Self {
            servers: servers.map(|address| SocketAddr::new(address, DNS_PORT)).collect(),
            search: parsed.get_last_search_or_domain().filter_map(|domain| name(domain)).collect(),
            ndots: parsed.ndots.min(15) as usize,
            timeout: Duration::from_secs(parsed.timeout.clamp(1, 30).into()),
            attempts: parsed.attempts.clamp(1, 5) as usize,
            rotate: parsed.rotate,
            edns: parsed.edns0,
            tcp_only: parsed.use_vc,
            no_aaaa: parsed.no_aaaa,
        }
    }
}

/// Asks the system's resolver, which blocks a thread of tokio's blocking pool.
pub async fn getaddrinfo(host: &str) -> Result<ResolvedAddresses, LookupFailure> {
    match tokio::net::lookup_host((host, 0)).await {
        Ok(found) => Ok(ResolvedAddresses::complete(found.map(|address| address.ip()).collect(), GETADDRINFO_TTL)),
        Err(error) => Err(LookupFailure::Transient(describe(&error))),
    }
}

/// The system's message without its prefix: "Name or service not known".
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_parsed() {
        let conf = ResolvConf::parse(
            b"# a comment\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver fe80::1%eth0\nnameserver 192.0.2.4\n\
              domain ignored.example\nsearch one.example two.example\nnonsense here\n\
              options ndots:3 timeout:2 attempts:4 rotate edns0\n\noptions timeout:1\n",
        );
        // The C library reads three servers, and one of these has a scope identifier.
        let servers = ["192.0.2.1:53", "[2001:db8::1]:53"].map(|server| server.parse().expect(server));
        assert_eq!(conf.servers, servers);
        assert_eq!(conf.search, [name("one.example"), name("two.example")].map(|name| name.expect("a name")));
        assert_eq!((conf.ndots, conf.attempts, conf.timeout), (3, 4, Duration::from_secs(1)));
        assert!(conf.rotate && conf.edns && !conf.tcp_only && !conf.no_aaaa);
    }

    #[test]
    fn without_a_file_there_are_no_servers() {
        for text in ["", "options ndots:2\n", "nameserver nonsense\n"] {
            assert_eq!(ResolvConf::parse(text.as_bytes()).servers, [], "{text:?}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_clamped() {
        let conf = ResolvConf::parse(b"options timeout:0 attempts:0 ndots:99");
        assert_eq!((conf.timeout, conf.attempts, conf.ndots), (Duration::from_secs(1), 1, 15));
        let conf = ResolvConf::parse(b"options timeout:4000000 attempts:4000000");
        assert_eq!((conf.timeout, conf.attempts), (Duration::from_secs(30), 5));
    }
}
