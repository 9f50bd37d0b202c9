//! Flags of the group "HTTP".

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::units::seconds;
use super::{UsageError, usage};
use crate::cli::args::Args;
use crate::http::{self, Credentials, Family, HeaderName, HeaderValue, Identity, Pinned};

/// Options of connections and requests.
pub fn http_options(args: &Args) -> Result<http::Options, UsageError> {
    let family = match (args.ipv4, args.ipv6) {
        (true, _) => Some(Family::V4),
        (_, true) => Some(Family::V6),
        _ => None,
    };
    if args.public_only && args.proxy.as_deref().is_some_and(|proxy| !proxy.is_empty()) {
        return usage(
            "--public-only cannot be kept through a proxy, which looks names up by itself; leave out --proxy",
        );
    }
    let pinned = args.resolve.iter().map(|text| pinned(text)).collect::<Result<Vec<_>, _>>()?;
    if let Some(Err(error)) = args.proxy.as_deref().map(http::Options::check_proxy) {
        return usage(format!("--proxy: {error}"));
    }
    let connect_timeout = seconds("--connect-timeout", args.connect_timeout, false)?;
    Ok(http::Options {
        identity: identity(args)?,
        proxy: args.proxy.clone(),
        cacert: args.cacert.clone(),
        insecure: args.insecure,
        pinned,
        dns_servers: args.dns_servers.as_deref().map(dns_servers).transpose()?.unwrap_or_default(),
        family,
        public_only: args.public_only,
        http1_only: args.http1_1,
        max_redirects: args.max_redirs,
        allow_downgrade: args.allow_downgrade,
        connect_timeout,
        lookup_timeout: args.connect_timeout_is_given.then_some(connect_timeout),
        small_windows: args.limit_rate.is_some(),
        stall_timeout: seconds("--stall-timeout", args.stall_timeout, false)?,
        attempt_timeout: seconds("--timeout", args.timeout, false)?,
        ..http::Options::default()
    })
}

/// Headers and credentials that requests carry.
fn identity(args: &Args) -> Result<Identity, UsageError> {
    let value = |flag: &str, text: &str| {
        HeaderValue::from_str(text)
            .or_else(|_| HeaderValue::from_bytes(text.as_bytes()))
            .map_err(|_| UsageError(format!("{flag} {text:?} holds characters that cannot be sent in a header")))
    };
    let user_agent = value("--user-agent", args.user_agent.as_deref().unwrap_or(http::USER_AGENT))?;
    let referer = args.referer.as_deref().map(|text| value("--referer", text)).transpose()?;
    let cookie = match args.cookie.as_deref() {
        Some(text) if !text.contains('=') => {
            return usage(format!("--cookie {text} holds no NAME=VALUE; files of cookies are not read"));
        }
        text => text.map(|text| value("--cookie", text)).transpose()?,
    };
    let user = args.user.as_deref().map(|text| {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Credentials { user: user.to_owned(), password: password.to_owned() }
    });
    let netrc = if args.netrc {
        match netrc::Netrc::new() {
            Ok(netrc) => Some(Arc::new(netrc)),
            Err(error) => return usage(format!("--netrc: {error}")),
        }
    } else {
        None
    };
    let mut headers = Vec::with_capacity(args.headers.len());
    for header in &args.headers {
        // As in curl: "Name: value" sends a header, "Name:" removes it, "Name;" sends an empty one.
        let (name, text) = match (header.split_once(':'), header.strip_suffix(';')) {
            (Some((name, text)), _) => (name, Some(text.trim()).filter(|text| !text.is_empty())),
            (None, Some(name)) => (name, Some("")),
            (None, None) => return usage(format!("--header {header:?} is not of the form \"Name: value\"")),
        };
        let Ok(name) = HeaderName::from_bytes(name.trim().as_bytes()) else {
            return usage(format!("--header {header:?}: {name:?} is no name of a header"));
        };
        if name.as_str() == "accept" && text.is_none() {
            return usage(
                "--header \"Accept:\": an Accept is always sent; give it a value, such as \"Accept: image/*\"",
            );
        }
        headers.push((name, text.map(|text| value("--header", text)).transpose()?));
    }
    Ok(Identity { user_agent: Some(user_agent), referer, cookie, user, netrc, headers })
}

/// `--resolve`: `HOST:PORT:ADDRESS`, where ADDRESS is an IP address, in brackets or not, or an address with a port.
fn pinned(text: &str) -> Result<Pinned, UsageError> {
    let parsed = || {
        let (host, rest) = match text.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once("]:")?,
            None => text.split_once(':')?,
        };
        let (port, address) = rest.split_once(':')?;
        let port = port.parse::<u16>().ok()?;
        let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
        let address = match bare.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, 0),
            Err(_) => address.parse::<SocketAddr>().ok()?,
        };
        (!host.is_empty()).then(|| Pinned { host: host.to_ascii_lowercase(), port, address })
    };
    parsed().ok_or_else(|| {
        UsageError(format!("--resolve {text} is not of the form HOST:PORT:ADDRESS, such as example.org:443:127.0.0.1"))
    })
}

/// `--dns-servers`: addresses with or without a port. An IPv6 address with a port is in brackets.
fn dns_servers(list: &str) -> Result<Vec<SocketAddr>, UsageError> {
    let parsed = |text: &str| {
        let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        let server = match bare.unwrap_or(text).parse::<IpAddr>() {
            Ok(address) if bare.is_none() || address.is_ipv6() => SocketAddr::new(address, 53),
            _ => text.parse::<SocketAddr>().ok()?,
        };
        (server.port() != 0).then_some(server)
    };
    let servers = list.split(',').map(|text| {
        parsed(text.trim()).ok_or_else(|| {
            UsageError(format!(
                "--dns-servers {list}: {text:?} is no address of a name server; write a comma list such as \
                 192.0.2.53,127.0.0.1:5353,[2001:db8::53]:53"
            ))
        })
    });
    servers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config::tests::assert_refused;

    #[test]
    fn invalid_values_are_refused_with_a_hint() {
        assert_refused(&[
            ("list --resolve example.org:127.0.0.1", "HOST:PORT:ADDRESS"),
            ("list --dns-servers example.org", "127.0.0.1:5353"),
            ("list --dns-servers 127.0.0.1,", "127.0.0.1:5353"),
            ("list --dns-servers 127.0.0.1:0", "127.0.0.1:5353"),
            ("list --dns-servers 127.0.0.1:99999", "127.0.0.1:5353"),
            ("list --dns-servers [127.0.0.1]", "127.0.0.1:5353"),
            ("list -H nonsense", "Name: value"),
            ("list -b nonsense", "NAME=VALUE"),
            ("list --public-only -x http://p:1", "leave out --proxy"),
            ("list --proxy ::", "--proxy"),
            ("list --proxy ftp://127.0.0.1:1", "no kind of proxy"),
        ]);
    }

    #[test]
    fn name_servers_may_be_of_either_family_and_have_a_port() {
        let servers = dns_servers("127.0.0.1, 127.0.0.1:5353,::1,[::1],[::1]:5353").expect("addresses");
        let expected = ["127.0.0.1:53", "127.0.0.1:5353", "[::1]:53", "[::1]:53", "[::1]:5353"];
        assert_eq!(servers, expected.map(|server| server.parse().expect(server)));
    }

    #[test]
    fn a_pinned_address_may_be_of_either_family_and_have_a_port() {
        for (text, host, address) in [
            ("A.example:443:127.0.0.1", "a.example", "127.0.0.1:0"),
            ("a.example:443:127.0.0.1:8443", "a.example", "127.0.0.1:8443"),
            ("a.example:443:::1", "a.example", "[::1]:0"),
            ("a.example:443:[::1]", "a.example", "[::1]:0"),
            ("a.example:443:[::1]:8443", "a.example", "[::1]:8443"),
        ] {
            let expected = Pinned { host: host.into(), port: 443, address: address.parse().expect("an address") };
            assert_eq!(pinned(text).expect(text), expected);
        }
    }
}
