//! One request, and functions that answer it correctly or wrongly.

use std::io;
use std::sync::Arc;

use http::StatusCode;

use super::connection::{After, Connection};
use super::{Busy, Request, State, lock};
use crate::common::faults::Target;

/// One request and the connection it came on.
pub struct Exchange {
    pub request: Request,
    pub target: Target,
    pub connection: Connection,
    state: Arc<State>,
    busy: Option<Busy>,
}

impl Exchange {
    pub(super) fn new(
        state: &Arc<State>,
        connection: Connection,
        request: Request,
        target: Target,
        busy: Busy,
    ) -> Self {
        Self { request, target, connection, state: Arc::clone(state), busy: Some(busy) }
    }

    /// The connection for the next request.
    pub(super) fn into_connection(mut self) -> Connection {
        self.connection.answered += 1;
        self.connection
    }

    /// Status 200 with the body of this target.
    pub fn whole(&self) -> Response {
        let (content_type, body) = self.target.content();
        Response::new(200, content_type, body)
    }

    /// The body or the requested range of it, which may claim to start at another position.
    pub fn ranged(&self, tag: &str, shift: usize) -> Response {
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

    /// The number of earlier requests for this target.
    pub fn turn(&self) -> usize {
        let mut turns = lock(&self.state.turns);
        let turn = turns.entry(self.target.text().to_owned()).or_default();
        *turn += 1;
        *turn - 1
    }

    /// Whether this target has not had its one fault yet. From now on it has.
    pub fn takes_its_fault(&self) -> bool {
        lock(&self.state.faulty).insert(self.target.text().to_owned())
    }

    /// Takes one of `limit` places, if one is free.
    pub fn takes_a_place(&self, limit: usize) -> bool {
        let mut places = lock(&self.state.places);
        let is_free = *places < limit;
        *places += usize::from(is_free);
        is_free
    }

    pub fn gives_its_place_back(&self) {
        *lock(&self.state.places) -= 1;
    }

    pub async fn send_whole(&mut self) -> io::Result<After> {
        self.send(&self.whole()).await
    }

    pub async fn send(&mut self, response: &Response) -> io::Result<After> {
        let length = if response.has_body() { Length::Bytes(response.body.len()) } else { Length::Unsaid };
        let mut bytes = response.head(length);
        if self.request.method != "HEAD" && response.has_body() {
            bytes.extend(&response.body);
        }
        self.finish(&bytes).await?;
        Ok(After::Open)
    }

    /// Sends the first bytes of a response that announces all of them.
    pub async fn send_part(&mut self, response: &Response, kept: usize, after: After) -> io::Result<After> {
        assert!(kept <= response.body.len(), "{} keeps too much", self.request.target);
        self.write(&response.head(Length::Bytes(response.body.len()))).await?;
        self.finish(&response.body[..kept]).await?;
        Ok(after)
    }

    pub async fn redirect(&mut self, code: u16, location: impl Into<Vec<u8>>) -> io::Result<After> {
        self.send(&Response::small(code).header("Location", location)).await
    }

    /// Sends nothing more until the client closes the connection.
    pub async fn stay(&mut self) -> io::Result<After> {
        self.connection.client_leaves().await;
        Ok(After::Cut)
    }

    /// Waits until the gate opens or the client closes the connection.
    pub async fn pass_gate(&mut self) -> io::Result<()> {
        let mut gate = self.state.gate.subscribe();
        tokio::select! {
            opened = gate.wait_for(|open| *open) => {
                opened.expect("the state outlives its handlers");
                Ok(())
            }
            () = self.connection.client_leaves() => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// Writes a part of the response.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.write(bytes).await
    }

    /// Writes the last part of the response. The request counts as answered before the client can have received it.
    pub async fn finish(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (most, last) = bytes.split_at(bytes.len().saturating_sub(4096));
        if !most.is_empty() {
            self.write(most).await?;
        }
        self.busy = None;
        self.write(last).await
    }
}

/// How the length of a body is announced.
#[derive(Clone, Copy)]
pub enum Length {
    Bytes(usize),
    Chunked,
    Unsaid,
}

pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body }.header("Content-Type", content_type)
    }

    /// A status with a small page, if it may have a body.
    pub fn small(status: u16) -> Self {
        let reason = reason_of(status);
        let page = format!("<html><body><h1>{status} {reason}</h1></body></html>\n");
        Self::new(status, "text/html", page.into_bytes())
    }

    pub fn header(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn has_body(&self) -> bool {
        !matches!(self.status, 100..=199 | 204 | 304)
    }

    pub fn head(&self, length: Length) -> Vec<u8> {
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

fn reason_of(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Whatever")
}

/// The value of a `Range` header.
enum Range {
    /// From the first to the last byte, both included.
    Part(usize, usize),
    /// Beyond the end of the body.
    Beyond,
    /// A form that this server does not support and may ignore.
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

/// The first line of a chunk of this number of bytes.
pub fn push_chunk(bytes: &mut Vec<u8>, announced: usize, content: &[u8]) {
    bytes.extend(format!("{announced:x}\r\n").as_bytes());
    bytes.extend(content);
}
