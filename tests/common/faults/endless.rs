//! Responses that go on as long as the client reads them.

use std::io;

use super::Route;
use crate::common::images;
use crate::common::server::{After, Exchange, Length, Response, push_chunk};

pub const ROUTES: &[Route] = &[
    Route::bodiless("/endless[/name]", "an image without end", |exchange| {
        Box::pin(send_for_ever(exchange, "image/png", images::png_start(), |seed| images::pattern(16 * 1024, seed)))
    }),
    Route::bodiless("/page-endless[/name]", "a page without end", |exchange| {
        Box::pin(send_for_ever(exchange, "text/html", images::page(), |_| images::page()))
    }),
];

async fn send_for_ever(
    exchange: &mut Exchange,
    content_type: &str,
    start: Vec<u8>,
    filling: fn(u64) -> Vec<u8>,
) -> io::Result<After> {
    let response = Response::new(200, content_type, Vec::new());
    let mut bytes = response.head(Length::Chunked);
    push_chunk(&mut bytes, start.len(), &start);
    bytes.extend(b"\r\n");
    exchange.write(&bytes).await?;
    for seed in 0.. {
        let filling = filling(seed);
        bytes.clear();
        push_chunk(&mut bytes, filling.len(), &filling);
        bytes.extend(b"\r\n");
        exchange.write(&bytes).await?;
    }
    Ok(After::Cut)
}
