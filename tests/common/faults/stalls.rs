//! Responses that are slow, and responses that never come.

use std::io;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Route, png};
use crate::common::images;
use crate::common::server::{After, Exchange, Length, Response};

/// The number of bytes that `/stall` announces.
const STALLED_SIZE: usize = 100_000;

pub const ROUTES: &[Route] = &[
    Route::png("/drip/{n}/{ms}[/name]", "one byte every ms milliseconds", |exchange| Box::pin(drip(exchange))),
    Route::png("/slow/{ms}/{n}[/name]", "waits before the headers", |exchange| Box::pin(slow(exchange))),
    Route::png("/gated/{n}[/name]", "waits for `Server::open_gate` before the headers", |exchange| {
        Box::pin(gated(exchange))
    }),
    Route::of(
        "/stall/{m}[/name]",
        "m of 100000 bytes, then silence",
        |target| png(target, STALLED_SIZE),
        |exchange| Box::pin(stall(exchange, exchange.target.number("m"))),
    ),
    Route::png("/stall-once/{n}[/name]", "half of it, then silence, once per target", |exchange| {
        Box::pin(stall_once(exchange))
    }),
    Route::bodiless("/silent[/name]", "nothing, and stays", |exchange| Box::pin(exchange.stay())),
    Route::bodiless("/huge-length[/name]", "announces 99999999999 bytes, then silence", |exchange| {
        Box::pin(huge_length(exchange))
    }),
];

async fn drip(exchange: &mut Exchange) -> io::Result<After> {
    let pause = Duration::from_millis(exchange.target.number("ms"));
    let response = exchange.whole();
    exchange.write(&response.head(Length::Bytes(response.body.len()))).await?;
    let (last, before) = response.body.split_last().expect("a PNG has bytes");
    for byte in before {
        exchange.write(&[*byte]).await?;
        sleep(pause).await;
    }
    exchange.finish(&[*last]).await?;
    Ok(After::Open)
}

async fn slow(exchange: &mut Exchange) -> io::Result<After> {
    let pause = Duration::from_millis(exchange.target.number("ms"));
    if timeout(pause, exchange.connection.client_leaves()).await.is_ok() {
        return Ok(After::Cut);
    }
    exchange.send_whole().await
}

async fn gated(exchange: &mut Exchange) -> io::Result<After> {
    exchange.pass_gate().await?;
    exchange.send_whole().await
}

async fn stall(exchange: &mut Exchange, sent: usize) -> io::Result<After> {
    let response = exchange.whole();
    exchange.write(&response.head(Length::Bytes(response.body.len()))).await?;
    exchange.write(&response.body[..sent]).await?;
    exchange.stay().await
}

async fn stall_once(exchange: &mut Exchange) -> io::Result<After> {
    if exchange.takes_its_fault() {
        return stall(exchange, exchange.whole().body.len() / 2).await;
    }
    exchange.send_whole().await
}

async fn huge_length(exchange: &mut Exchange) -> io::Result<After> {
    let response = Response::new(200, "image/png", images::png_start());
    exchange.write(&response.head(Length::Bytes(99_999_999_999))).await?;
    exchange.write(&response.body).await?;
    exchange.stay().await
}
