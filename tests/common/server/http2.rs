//! One connection of HTTP/2: a task for each stream, and what happens to the connection as a whole.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;

use super::{Busy, Request, State, lock};
use crate::common::faults::Target;
use crate::common::faults::http2::{Deed, deed};

/// The time in which half of a body leaves this machine. Whether it does makes no difference to the outcome.
const TIME_TO_SEND: Duration = Duration::from_millis(50);

/// What a stream does to its connection.
enum ToConnection {
    Nothing,
    GoAway(Reason),
    Cut,
}

/// Answers the requests of one connection, all at once.
pub(super) async fn serve(stream: TlsStream<TcpStream>, state: &Arc<State>, number: u64) {
    let mut builder = Builder::new();
    // Otherwise it, and not the client, would limit what can be sent.
    builder.max_send_buffer_size(64 << 20);
    if let Some(streams) = state.streams {
        builder.max_concurrent_streams(streams);
    }
    // An error means that the client has closed the connection, which it may do.
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let mut streams = JoinSet::new();
    let mut is_silent = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                let request = received(&request, number);
                let target = Target::find(&request.target);
                let busy = Busy::new(state, &request);
                lock(&state.requests).push(request);
                state.arrived.notify_all();
                let deed = if is_silent { Deed::Silence } else { due(state, &target) };
                match deed {
                    Deed::Silence => is_silent = true,
                    Deed::Deafness => std::future::pending().await,
                    _ => {}
                }
                streams.spawn(answer(respond, target, deed, busy, Arc::clone(state)));
            }
            Some(ended) = streams.join_next(), if !streams.is_empty() => {
                match ended.expect("no stream is cancelled, and none panics") {
                    ToConnection::Nothing => {}
                    ToConnection::GoAway(reason) => connection.abrupt_shutdown(reason),
                    ToConnection::Cut => return,
                }
            }
        }
    }
}

/// What is done for this target, if it has not been done as often as it should.
fn due(state: &State, target: &Target) -> Deed {
    let deed = deed(target);
    let key = if deed.is_once() { target.route.name() } else { target.text() };
    let is_over = (deed.is_once() || deed.is_once_per_target()) && !lock(&state.faulty).insert(key.to_owned());
    if is_over { Deed::Whole } else { deed }
}

fn received(request: &http::Request<RecvStream>, connection: u64) -> Request {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Request {
        method: request.method().to_string(),
        target: request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        host: request.uri().authority().map_or("", |authority| authority.as_str()).to_owned(),
        headers: request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        connection,
        at: Instant::now(),
    }
}

/// Answers one request. The client may have reset the stream or closed the connection, which is no error here.
async fn answer(
    mut respond: SendResponse<Bytes>,
    target: Target,
    deed: Deed,
    busy: Busy,
    state: Arc<State>,
) -> ToConnection {
    match deed {
        Deed::Silence => std::future::pending().await,
        Deed::Reset(reason) => {
            drop(busy);
            respond.send_reset(reason);
            return ToConnection::Nothing;
        }
        _ => {}
    }
    let (content_type, body) = target.content();
    let head = http::Response::builder().header("content-type", content_type).header("content-length", body.len());
    let head = head.body(()).expect("a valid head");
    let Ok(mut stream) = respond.send_response(head, false) else { return ToConnection::Nothing };
    if deed == Deed::Whole {
        drop(busy);
        stream.reserve_capacity(body.len());
        state.peak_window.fetch_max(stream.capacity(), Ordering::SeqCst);
        let _ = stream.send_data(body.into(), true);
        return ToConnection::Nothing;
    }
    let half = Bytes::copy_from_slice(&body[..body.len() / 2]);
    if stream.send_data(half, false).is_ok() {
        sleep(TIME_TO_SEND).await;
    }
    match deed {
        Deed::GoAway(reason) => return ToConnection::GoAway(reason),
        Deed::Cut => return ToConnection::Cut,
        Deed::ResetHalf(reason) => stream.send_reset(reason),
        _ => {}
    }
    ToConnection::Nothing
}
