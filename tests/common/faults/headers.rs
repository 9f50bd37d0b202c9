//! Statuses and header fields.

use std::io;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use percent_encoding::percent_decode_str;

use super::Route;
use crate::common::server::{After, Exchange, Response};

pub const ROUTES: &[Route] = &[
    Route::bodiless("/status/{code}[/name]", "that status with a small page", |exchange| Box::pin(status(exchange))),
    Route::bodiless("/204", "no content", |exchange| {
        Box::pin(async move { exchange.send(&Response::small(204)).await })
    }),
    Route::bodiless("/reason?text=...", "404 with that reason phrase", |exchange| Box::pin(reason(exchange))),
    Route::png("/typed/{n}?type=...", "that `Content-Type`", |exchange| Box::pin(typed(exchange))),
    Route::png("/disposition/{n}[/name]?header=...", "that `Content-Disposition`", |exchange| {
        Box::pin(disposition(exchange))
    }),
    Route::png("/auth/{user}/{password}/{n}[/name]", "401 without these", |exchange| Box::pin(auth(exchange))),
];

async fn status(exchange: &mut Exchange) -> io::Result<After> {
    exchange.send(&Response::small(exchange.target.number("code"))).await
}

async fn reason(exchange: &mut Exchange) -> io::Result<After> {
    let mut answer = b"HTTP/1.1 404 ".to_vec();
    answer.extend(exchange.target.query("text"));
    answer.extend(b"\r\nContent-Length: 0\r\n\r\n");
    exchange.finish(&answer).await?;
    Ok(After::Open)
}

async fn typed(exchange: &mut Exchange) -> io::Result<After> {
    let mut response = exchange.whole();
    response.headers = vec![("Content-Type", exchange.target.query("type"))];
    exchange.send(&response).await
}

async fn disposition(exchange: &mut Exchange) -> io::Result<After> {
    let value = exchange.target.query("header");
    exchange.send(&exchange.whole().header("Content-Disposition", value)).await
}

async fn auth(exchange: &mut Exchange) -> io::Result<After> {
    let decoded = |name| percent_decode_str(exchange.target.segment(name)).collect::<Vec<u8>>();
    let secret = [decoded("user"), decoded("password")].join(&b':');
    let expected = format!("Basic {}", BASE64_STANDARD.encode(secret));
    let response = match exchange.request.header("authorization") {
        Some(sent) if sent == expected => exchange.whole(),
        _ => Response::small(401).header("WWW-Authenticate", "Basic realm=\"images\""),
    };
    exchange.send(&response).await
}
