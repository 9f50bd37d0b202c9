//! Redirects.

use std::io;

use super::{Route, Target};
use crate::common::server::{After, Exchange, Response};

pub const ROUTES: &[Route] = &[
    Route::of(
        "/redirect/{code}/{hops}/{target...}",
        "`hops` redirects, then `/{target...}`, whose body counts as that of the route",
        |target| Target::find(&target.rest()).content(),
        |exchange| Box::pin(redirect(exchange)),
    ),
    Route::bodiless("/redirect-to?url=...", "302 to that URL", |exchange| {
        Box::pin(async move { exchange.redirect(302, exchange.target.query("url")).await })
    }),
    Route::bodiless("/round", "302 to itself", |exchange| Box::pin(exchange.redirect(302, "/round"))),
    Route::bodiless("/no-location", "302 to nowhere", |exchange| {
        Box::pin(async move { exchange.send(&Response::small(302)).await })
    }),
    Route::bodiless("/bad-location", "302 to `ftp:`", |exchange| {
        Box::pin(exchange.redirect(302, "ftp://example.org/x"))
    }),
];

async fn redirect(exchange: &mut Exchange) -> io::Result<After> {
    let target = &exchange.target;
    let code = target.number("code");
    let location = match target.number::<u32>("hops") {
        0 => panic!("{}: at least one hop", target.text()),
        1 => target.rest(),
        hops => format!("/redirect/{code}/{}{}", hops - 1, target.rest()),
    };
    exchange.redirect(code, location).await
}
