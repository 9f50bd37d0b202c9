//! Responses to range requests, right and wrong.

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use super::{Route, png};
use crate::common::images;
use crate::common::server::{After, Exchange, Length, Response, push_chunk};

/// The entity tag of a body that does not change.
const TAG: &str = "\"whole\"";

pub const ROUTES: &[Route] = &[
    Route::of(
        "/206",
        "the first half of 200 bytes unasked",
        |target| png(target, 200),
        |exchange| Box::pin(half_unasked(exchange)),
    ),
    Route::png("/etag/{n}[/name]", "strong `ETag`, honours `Range` and `If-Range`", |exchange| {
        Box::pin(async move { exchange.send(&exchange.ranged(TAG, 0)).await })
    }),
    Route::png("/etag-drip/{ms}/{n}[/name]", "the same, a pause of ms milliseconds before every 16 KiB", |exchange| {
        Box::pin(drip(exchange))
    }),
    Route::png("/etag-cut/{times}/{n}[/name]", "the same, cut in the middle the first `times` times", |exchange| {
        Box::pin(cut(exchange))
    }),
    Route::bodiless(
        "/etag-elsewhere/{n}[/name]",
        "a redirect to `/etag-cut/1/{n}/one.png`, and to `/etag/{n}/two.png` from then on",
        |exchange| Box::pin(elsewhere(exchange)),
    ),
    Route::png(
        "/etag-short/{n}[/name]",
        "half of it in chunks with `ETag`; then ranges that end after 1000 bytes, in chunks",
        |exchange| Box::pin(short(exchange)),
    ),
    Route::png(
        "/etag-changed/{times}/{n}[/name]",
        "like `/etag-cut`, and afterwards it is another image",
        |exchange| Box::pin(changed(exchange)),
    ),
    Route::png(
        "/bad-range/{times}/{n}[/name]",
        "like `/etag-cut`, and afterwards ranges are ten bytes off",
        |exchange| Box::pin(bad_range(exchange)),
    ),
    Route::png(
        "/slow-bad-range/{ms}/{n}[/name]",
        "cut once at once; then ranges are ten bytes off, after ms milliseconds each time",
        |exchange| Box::pin(slow_bad_range(exchange)),
    ),
    Route::png(
        "/gated-middle/{n}[/name]",
        "waits for `Server::open_gate` in the middle of the body; with `ETag` and ranges",
        |exchange| Box::pin(gated_middle(exchange)),
    ),
];

async fn half_unasked(exchange: &mut Exchange) -> io::Result<After> {
    let body = exchange.whole().body;
    let half = body.len() / 2;
    let range = format!("bytes 0-{}/{}", half - 1, body.len());
    let response = Response::new(206, "image/png", body[..half].to_vec());
    exchange.send(&response.header("Content-Range", range)).await
}

async fn drip(exchange: &mut Exchange) -> io::Result<After> {
    let pause = Duration::from_millis(exchange.target.number("ms"));
    let response = exchange.ranged("\"drip\"", 0);
    exchange.write(&response.head(Length::Bytes(response.body.len()))).await?;
    for piece in response.body.chunks(16 * 1024) {
        sleep(pause).await;
        exchange.write(piece).await?;
    }
    Ok(After::Open)
}

/// Sends half of a response.
async fn send_half(exchange: &mut Exchange, response: &Response) -> io::Result<After> {
    exchange.send_part(response, response.body.len() / 2, After::Cut).await
}

async fn cut(exchange: &mut Exchange) -> io::Result<After> {
    let response = exchange.ranged(TAG, 0);
    if exchange.turn() < exchange.target.number("times") {
        return send_half(exchange, &response).await;
    }
    exchange.send(&response).await
}

async fn elsewhere(exchange: &mut Exchange) -> io::Result<After> {
    let size = exchange.target.segment("n");
    let (first, second) = (format!("/etag-cut/1/{size}/one.png"), format!("/etag/{size}/two.png"));
    let location = if exchange.turn() == 0 { first } else { second };
    exchange.redirect(302, location).await
}

async fn short(exchange: &mut Exchange) -> io::Result<After> {
    let response = exchange.ranged(TAG, 0);
    let is_part = response.status == 206;
    let kept = if is_part { 1000 } else { response.body.len() / 2 };
    let mut bytes = response.head(Length::Chunked);
    push_chunk(&mut bytes, kept, &response.body[..kept]);
    bytes.extend(if is_part { &b"\r\n0\r\n\r\n"[..] } else { b"\r\n" });
    exchange.finish(&bytes).await?;
    Ok(if is_part { After::Open } else { After::Cut })
}

async fn changed(exchange: &mut Exchange) -> io::Result<After> {
    if exchange.turn() >= exchange.target.number("times") {
        return exchange.send(&exchange.ranged(TAG, 0)).await;
    }
    let seed = images::seed_of(exchange.target.text()).wrapping_add(1);
    let former = images::png(exchange.target.number("n"), seed);
    let response = Response::new(200, "image/png", former).header("ETag", "\"former\"");
    send_half(exchange, &response.header("Accept-Ranges", "bytes")).await
}

async fn bad_range(exchange: &mut Exchange) -> io::Result<After> {
    if exchange.turn() < exchange.target.number("times") {
        return send_half(exchange, &exchange.ranged(TAG, 0)).await;
    }
    exchange.send(&exchange.ranged(TAG, 10)).await
}

async fn slow_bad_range(exchange: &mut Exchange) -> io::Result<After> {
    let response = exchange.ranged(TAG, 10);
    if exchange.turn() == 0 {
        return send_half(exchange, &response).await;
    }
    sleep(Duration::from_millis(exchange.target.number("ms"))).await;
    exchange.send(&response).await
}

async fn gated_middle(exchange: &mut Exchange) -> io::Result<After> {
    let response = exchange.ranged("\"gated\"", 0);
    exchange.write(&response.head(Length::Bytes(response.body.len()))).await?;
    let (first, second) = response.body.split_at(response.body.len() / 2);
    exchange.write(first).await?;
    exchange.pass_gate().await?;
    exchange.finish(second).await?;
    Ok(After::Open)
}
