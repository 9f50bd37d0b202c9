//! Sorts every error of reqwest, hyper, h2, rustls and the sockets into an [`ErrorKind`], once.

use std::error::Error;
use std::io;

use hyper_util::client::legacy::connect::HttpInfo;
use url::Url;

use super::resolver::ResolveError;
use crate::record::{ErrorKind, FetchError};

/// Where the request was when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No response yet.
    Head,
    /// The head of the response has arrived.
    Body,
}

const ADDRESS_REFUSED: &str = "the address is refused (--public-only)";

/// Sorts an error of the HTTP client.
pub fn classify(error: &reqwest::Error, url: &Url, stage: Stage) -> FetchError {
    let (kind, clause) = kind(error, stage);
    let host = || match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let message = match kind {
        ErrorKind::Dns => format!("cannot resolve {}", url.host_str().unwrap_or_default()),
        ErrorKind::Connect if clause.is_empty() => format!("cannot connect to {}", host()),
        ErrorKind::Timeout if clause.is_empty() => format!("no connection to {} in time", host()),
        ErrorKind::Tls if clause.is_empty() => format!("no trusted connection to {}", host()),
        _ => clause.to_owned(),
    };
    // The outer errors say "error sending request" and the like; the innermost one has the reason.
    let shown = message.clone();
    let root = innermost(error).to_string();
    let error = FetchError::new(kind, message);
    if kind == ErrorKind::Timeout || shown.contains(&root) { error } else { error.caused_by(root) }
}

/// Sorts the failure of a lookup that was made before its request.
pub fn classify_lookup(error: &ResolveError, url: &Url) -> FetchError {
    let failed = |kind, message: String| FetchError::new(kind, message).caused_by(error.to_string());
    match error {
        ResolveError::Unresolved(_) => {
            failed(ErrorKind::Dns, format!("cannot resolve {}", url.host_str().unwrap_or_default()))
        }
        ResolveError::Forbidden(_) => failed(ErrorKind::ForbiddenAddress, ADDRESS_REFUSED.into()),
    }
}

/// The kind, with a clause where the kind alone does not say enough.
fn kind(error: &reqwest::Error, stage: Stage) -> (ErrorKind, &'static str) {
    let broken = match stage {
        Stage::Head => (ErrorKind::Connect, "the connection broke before an answer came"),
        Stage::Body => (ErrorKind::CutShort, "the connection broke before the body was complete"),
    };
    let mut io_kind = None;
    for cause in causes(error) {
        match cause.downcast_ref::<ResolveError>() {
            Some(ResolveError::Unresolved(_)) => return (ErrorKind::Dns, ""),
            Some(ResolveError::Forbidden(_)) => {
                return (ErrorKind::ForbiddenAddress, ADDRESS_REFUSED);
            }
            None => {}
        }
        match cause.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidMessage(_)) => return (ErrorKind::Tls, "the server speaks no TLS on this port"),
            Some(_) => return (ErrorKind::Tls, ""),
            None => {}
        }
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            // What the peer or the network did may work later; a breach of the protocol will not.
            let transient = error.is_io() || error.is_go_away() || (error.is_reset() && error.is_remote());
            return if transient { broken } else { (ErrorKind::Protocol, "the answer is no valid HTTP/2") };
        }
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            if error.is_parse() {
                return (ErrorKind::Protocol, unreadable_head(error));
            }
            // A PING was not answered in time: the other end is gone.
            let is_dead = error.is_timeout();
            if is_dead || error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
                return broken;
            }
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            io_kind = Some(error.kind());
        }
    }
    match io_kind {
        _ if error.is_timeout() => (ErrorKind::Timeout, ""),
        _ if error.is_connect() => (ErrorKind::Connect, ""),
        // hyper reports an invalid chunk size line or `Content-Length` as invalid input or data.
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
            (ErrorKind::Protocol, "the body is not framed as HTTP says")
        }
        Some(_) => broken,
        None => (ErrorKind::Protocol, "the answer cannot be understood"),
    }
}

/// What is wrong with a head that hyper refuses. Its errors have no kinds for it, and name no field but these.
fn unreadable_head(error: &hyper::Error) -> &'static str {
    let text = error.to_string();
    let described = [
        ("content-length", "the answer has a Content-Length that is no number, or two that differ"),
        ("transfer-encoding", "the answer has a Transfer-Encoding, which its version of HTTP has not"),
        ("header", "a header field of the answer holds a NUL byte or a bare carriage return"),
        ("too large", "the head of the answer is too large"),
    ];
    let found = described.iter().find(|(part, _)| text.contains(part));
    found.map_or("the answer is no valid HTTP", |(_, clause)| clause)
}

/// Whether the server wants the request over HTTP/1.1 (RFC 9113, section 7).
pub fn requires_http1(error: &reqwest::Error) -> bool {
    let mut reasons = causes(error).filter_map(|cause| cause.downcast_ref::<h2::Error>()?.reason());
    reasons.any(|reason| reason == h2::Reason::HTTP_1_1_REQUIRED)
}

/// Whether the proxy answered, and gave no tunnel. For all other failures to connect there is an error of the sockets, of
/// TLS, of the lookup or of a clock; for this one hyper-util has a type that it does not publish.
pub fn is_refused_tunnel(error: &reqwest::Error) -> bool {
    error.is_connect()
        && !error.is_timeout()
        && !causes(error)
            .any(|cause| cause.is::<io::Error>() || cause.is::<ResolveError>() || cause.is::<rustls::Error>())
}

/// The local port of the connection, if the request ended on one without a response.
///
/// A server may close a persistent connection at any time (RFC 9112, section 9.6); a request that was just being sent
/// on it may be sent again.
pub fn died_on_connection(error: &reqwest::Error) -> Option<u16> {
    let unanswered = causes(error).any(|cause| {
        let closed = cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(|e| e.is_incomplete_message() || e.is_canceled() || e.is_timeout());
        let reset = cause.downcast_ref::<io::Error>().is_some_and(|e| {
            matches!(
                e.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe
            )
        });
        let goodbye = cause.downcast_ref::<h2::Error>().is_some_and(|e| e.is_go_away() || e.is_io());
        closed || reset || goodbye
    });
    if !unanswered {
        return None;
    }
    let client = causes(error).find_map(|cause| cause.downcast_ref::<hyper_util::client::legacy::Error>())?;
    let mut extensions = http::Extensions::new();
    client.connect_info()?.get_extras(&mut extensions);
    Some(extensions.get::<HttpInfo>()?.local_addr().port())
}

/// The error and all its sources. `io::Error::source` skips the error that it wraps, so that one is looked up.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |error| source_of(*error))
}

fn source_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn innermost(error: &reqwest::Error) -> &(dyn Error + 'static) {
    causes(error).last().unwrap_or(error)
}
