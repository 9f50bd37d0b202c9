//! Hosts that ask for fewer requests, for a while or above a limit.

use std::io;
use std::time::{Duration, SystemTime};

use httpdate::fmt_http_date;
use tokio::time::sleep;

use super::Route;
use crate::common::server::{After, Exchange, Response};

pub const ROUTES: &[Route] = &[
    Route::png(
        "/crowded/{limit}/{ms}/{n}[/name]",
        "waits before the headers, but 503 at once while `limit` requests wait",
        |exchange| Box::pin(crowded(exchange)),
    ),
    Route::png(
        "/flaky/{code}/{times}/{n}[/name]",
        "`code` the first `times` times for this target, then the image",
        |exchange| Box::pin(refuse(exchange, |_| None)),
    ),
    Route::png("/wait/{code}/{seconds}/{times}/{n}[/name]", "the same with `Retry-After` in seconds", |exchange| {
        Box::pin(refuse(exchange, |exchange| Some(exchange.target.segment("seconds").to_owned())))
    }),
    Route::png(
        "/wait-date/{code}/{seconds}/{times}/{n}[/name]",
        "the same with a date at least that far ahead",
        |exchange| Box::pin(refuse(exchange, |exchange| Some(date_ahead(exchange)))),
    ),
];

async fn crowded(exchange: &mut Exchange) -> io::Result<After> {
    // A refused request does not count, because on a busy machine it takes a while to answer it.
    if !exchange.takes_a_place(exchange.target.number("limit")) {
        return exchange.send(&Response::small(503)).await;
    }
    sleep(Duration::from_millis(exchange.target.number("ms"))).await;
    // Before the client can have the response and send the next request.
    exchange.gives_its_place_back();
    exchange.send_whole().await
}

/// Refuses a target `{times}` times with `{code}` and this `Retry-After`, if there is one.
async fn refuse(exchange: &mut Exchange, retry_after: fn(&Exchange) -> Option<String>) -> io::Result<After> {
    if exchange.turn() >= exchange.target.number("times") {
        return exchange.send_whole().await;
    }
    let mut response = Response::small(exchange.target.number("code"));
    if let Some(value) = retry_after(exchange) {
        response = response.header("Retry-After", value);
    }
    exchange.send(&response).await
}

fn date_ahead(exchange: &Exchange) -> String {
    // A date has whole seconds, so it is rounded up.
    fmt_http_date(SystemTime::now() + Duration::from_secs(exchange.target.number::<u64>("seconds") + 1))
}
