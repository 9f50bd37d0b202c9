//! Responses: what their heads say, and their bodies, frame by frame.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::Stream;
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING};
use reqwest::{StatusCode, Version};
use tokio::time::timeout;
use url::Url;

use super::classify::{Stage, classify, requires_http1};
use super::content_encoding::{ContentCoding, ContentDecoder, DecodeError, content_coding};
use super::deadline::{Deadline, within_deadline};
use super::pool::ClientLease;
use super::range::{self, ContentRange};
use super::{disposition, retry};
use crate::record::FetchError;
use crate::util::store::Refusal;

/// An error page up to this size is read, so that its connection can be used again. A larger one costs more than a
/// handshake.
const MAX_DRAIN_BYTES: u64 = 64 * 1024;

/// An error page is read for at most this time, which is more than a handshake takes.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The head of a response, and access to its body.
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// The URL of the response, after redirects.
    pub final_url: Cow<'a, Url>,
    /// The `Content-Type` as sent.
    pub content_type: Option<String>,
    /// The file name from `Content-Disposition`.
    pub filename: Option<String>,
    /// The announced length of the body, in bytes.
    pub length: Option<u64>,
    /// Whether nothing but the end of the connection ends the body.
    pub ends_with_connection: bool,
    /// The wait that the server asks for in `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The strong validator of the body, if its rest can be requested later.
    pub validator: Option<HeaderValue>,
    /// The position of the bytes, if they are a part of the body.
    pub range: Option<ContentRange>,
    /// What the answer of a store means that is not the object.
    pub refusal: Option<Refusal>,
    body: ResponseBody<'a>,
}

impl<'a> Response<'a> {
    /// # Errors
    /// If the body of a success has a content coding that cannot be decoded.
    pub(super) fn new(response: RawResponse<'a>, url: Cow<'a, Url>) -> Result<Self, FetchError> {
        let head = &response.head;
        let headers = head.headers();
        let coding = if head.status().is_success() { content_coding(headers)? } else { None };
        let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Ok(Self {
            status: head.status().as_u16(),
            content_type: text(CONTENT_TYPE),
            filename: headers.get(CONTENT_DISPOSITION).and_then(|value| disposition::filename(value.as_bytes())),
            // Lengths, ranges and validators of a compressed body do not apply to the decoded one.
            length: body_length(head).filter(|_| coding.is_none()),
            ends_with_connection: coding.is_none() && ends_with_connection(head),
            retry_after: text(RETRY_AFTER).and_then(|value| retry::retry_after(&value, SystemTime::now())),
            validator: range::validator(headers).filter(|_| coding.is_none()),
            range: range::content_range(headers).filter(|_| coding.is_none()),
            refusal: None,
            final_url: url,
            body: response.body(coding),
        })
    }

    /// The next bytes, as many as the connection has ready; `None` at the end.
    ///
    /// # Errors
    /// If the body ends before its announced length or without its last chunk (RFC 9112, section 8), or a deadline
    /// passes.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        self.body.next(&self.final_url).await
    }

    /// Reads the beginning of a body that says why there is no image: at most so many bytes, as far as they come soon.
    pub(super) async fn beginning(&mut self, max_bytes: usize) -> Vec<u8> {
        let mut beginning = Vec::new();
        let read = async {
            while beginning.len() < max_bytes {
                let Ok(Some(frame)) = self.body.next(&self.final_url).await else { break };
                beginning.extend_from_slice(&frame);
            }
        };
        let _ = timeout(DRAIN_TIMEOUT, read).await;
        self.body.lease.fell_silent = false;
        beginning.truncate(max_bytes);
        beginning
    }

    /// Reads a short rest of the body, so that the connection can be used again; drops a long one with its connection.
    pub async fn drain(self) {
        self.body.drain(&self.final_url).await;
    }

    /// The deadline of the attempt.
    #[must_use]
    pub const fn deadline(&self) -> Deadline<'a> {
        self.body.deadline
    }

    /// The status for a message: `404 Not Found`, or `status 599` for a status without a known name.
    #[must_use]
    pub fn status_line(&self) -> String {
        status_line(self.status)
    }
}

/// The status for a message, with its name if it has one.
pub(super) fn status_line(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    match reason.or(retry::cloudflare_reason(status)) {
        Some(reason) => format!("{status} {reason}"),
        None => format!("status {status}"),
    }
}

/// A response of which the head has arrived.
pub(super) struct RawResponse<'a> {
    pub head: reqwest::Response,
    pub deadline: Deadline<'a>,
    pub lease: ClientLease,
}

impl<'a> RawResponse<'a> {
    pub(super) fn body(self, coding: Option<ContentCoding>) -> ResponseBody<'a> {
        // A body of unknown length may be endless.
        let is_short = self.head.content_length().is_some_and(|length| length <= MAX_DRAIN_BYTES);
        let received = ReceivedBody { rest: unframed_length(&self.head), response: self.head };
        let frames = match coding {
            None => BodyFrames::Plain(received),
            Some(coding) => BodyFrames::Compressed(ContentDecoder::new(coding, frames(received))),
        };
        ResponseBody { frames, is_short, deadline: self.deadline, lease: self.lease }
    }
}

/// The body of a response, frame by frame.
pub(super) struct ResponseBody<'a> {
    frames: BodyFrames,
    is_short: bool,
    deadline: Deadline<'a>,
    lease: ClientLease,
}

#[derive(Debug)]
enum BodyFrames {
    Plain(ReceivedBody),
    Compressed(ContentDecoder),
}

fn frames(body: ReceivedBody) -> impl Stream<Item = reqwest::Result<Bytes>> {
    futures::stream::try_unfold(body, |mut body| async move { Ok(body.frame().await?.map(|frame| (frame, body))) })
}

/// The body as it was sent.
#[derive(Debug)]
struct ReceivedBody {
    response: reqwest::Response,
    /// The bytes to come, if hyper does not count them.
    rest: Option<u64>,
}

impl ReceivedBody {
    async fn frame(&mut self) -> reqwest::Result<Option<Bytes>> {
        if self.rest == Some(0) {
            return Ok(None);
        }
        let mut frame = self.response.chunk().await?;
        if let (Some(rest), Some(frame)) = (&mut self.rest, &mut frame) {
            frame.truncate(usize::try_from(*rest).unwrap_or(usize::MAX));
            *rest -= frame.len() as u64;
        }
        Ok(frame)
    }
}

/// Whether the body has neither a length nor chunks (RFC 9112, section 6.3). HTTP/2 has frames.
fn ends_with_connection(head: &reqwest::Response) -> bool {
    let mut codings =
        head.headers().get_all(TRANSFER_ENCODING).iter().map(|value| value.as_bytes().to_ascii_lowercase());
    head.version() <= Version::HTTP_11
        && body_length(head).is_none()
        && !codings.any(|coding| coding.windows(7).any(|word| word == b"chunked"))
}

/// The length of the body as it is sent.
fn body_length(head: &reqwest::Response) -> Option<u64> {
    head.content_length().or_else(|| unframed_length(head))
}

/// The length beside `Transfer-Encoding: identity`, which older servers send where there is no coding. It no longer exists,
/// so hyper reads such a body until the connection closes, whatever its length (RFC 9112, section 6.3).
fn unframed_length(head: &reqwest::Response) -> Option<u64> {
    let headers = head.headers();
    let parts = |value: &HeaderValue| {
        let parts = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect::<Vec<_>>()
    };
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().flat_map(parts).peekable();
    codings.peek()?;
    if !codings.all(|name| name.is_empty() || name.eq_ignore_ascii_case("identity")) {
        return None;
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().flat_map(parts);
    let first = lengths.next().filter(|first| first.bytes().all(|byte| byte.is_ascii_digit()))?;
    if lengths.all(|length| length == first) { first.parse().ok() } else { None }
}

impl ResponseBody<'_> {
    /// The next bytes; `url` is their source.
    async fn next(&mut self, url: &Url) -> Result<Option<Bytes>, FetchError> {
        let next = async {
            match &mut self.frames {
                BodyFrames::Plain(body) => body.frame().await.map_err(DecodeError::Body),
                BodyFrames::Compressed(decoder) => decoder.next::<reqwest::Error>().await,
            }
        };
        let received = within_deadline(self.deadline, "nothing", next).await;
        self.lease.fell_silent = received.is_err();
        received?.map_err(|error| match error {
            DecodeError::Body(error) => {
                if requires_http1(&error) {
                    self.lease.note_http1_required();
                }
                classify(&error, url, Stage::Body)
            }
            DecodeError::Coding(error) => error,
        })
    }

    pub(super) async fn drain(mut self, url: &Url) {
        if self.is_short {
            let drained = async { while let Ok(Some(_)) = self.next(url).await {} };
            // What did not come in this time closes the connection.
            let _ = timeout(DRAIN_TIMEOUT, drained).await;
            // That was not long enough to say anything about the connection.
            self.lease.fell_silent = false;
        }
    }
}
