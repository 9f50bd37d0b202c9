//! Connections that end before the answer does.

use std::io;

use super::Route;
use crate::common::server::{After, Exchange, Length, push_chunk};

/// The number of bytes that `/lies` announces and does not send.
const LIE: usize = 1000;

pub const ROUTES: &[Route] = &[
    Route::png("/cut/{n}/{m}[/name]", "closed after m of n bytes", |exchange| Box::pin(part(exchange, After::Cut))),
    Route::png("/cut-chunked/{n}/{m}[/name]", "closed inside a chunk after m bytes", |exchange| {
        Box::pin(cut_chunked(exchange))
    }),
    Route::png("/reset/{n}/{m}[/name]", "reset after m bytes", |exchange| Box::pin(part(exchange, After::Reset))),
    Route::png(
        "/flaky-cut/{times}/{n}[/name]",
        "cut in the middle the first `times` times, then whole; no ranges",
        |exchange| Box::pin(flaky_cut(exchange)),
    ),
    Route::png("/lies/{n}[/name]", "closed after n bytes of n + 1000", |exchange| Box::pin(lies(exchange))),
    Route::bodiless("/hang-up[/name]", "nothing, and closes", |_| Box::pin(async { Ok(After::Cut) })),
    Route::png(
        "/hang-up-once/{n}[/name]",
        "the same, once per target, when it is not the connection's first request",
        |exchange| Box::pin(hang_up_once(exchange)),
    ),
];

async fn part(exchange: &mut Exchange, after: After) -> io::Result<After> {
    let response = exchange.whole();
    exchange.send_part(&response, exchange.target.number("m"), after).await
}

async fn cut_chunked(exchange: &mut Exchange) -> io::Result<After> {
    let response = exchange.whole();
    let kept = exchange.target.number::<usize>("m");
    let mut bytes = response.head(Length::Chunked);
    let (first, second) = response.body[..kept].split_at(kept / 2);
    if !first.is_empty() {
        push_chunk(&mut bytes, first.len(), first);
        bytes.extend(b"\r\n");
    }
    push_chunk(&mut bytes, response.body.len() - first.len() + 1, second);
    exchange.finish(&bytes).await?;
    Ok(After::Cut)
}

async fn flaky_cut(exchange: &mut Exchange) -> io::Result<After> {
    if exchange.turn() >= exchange.target.number("times") {
        return exchange.send_whole().await;
    }
    let response = exchange.whole();
    exchange.send_part(&response, response.body.len() / 2, After::Cut).await
}

async fn lies(exchange: &mut Exchange) -> io::Result<After> {
    let response = exchange.whole();
    exchange.write(&response.head(Length::Bytes(response.body.len() + LIE))).await?;
    exchange.finish(&response.body).await?;
    Ok(After::Cut)
}

async fn hang_up_once(exchange: &mut Exchange) -> io::Result<After> {
    if exchange.connection.answered > 0 && exchange.takes_its_fault() {
        return Ok(After::Cut);
    }
    exchange.send_whole().await
}
