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
    Route::png("/cookie-wall/{n}[/name]", "302 to itself with a cookie, until the cookie comes back", |exchange| {
        Box::pin(cookie_wall(exchange))
    }),
    Route::bodiless("/cookie-redirect?url=...", "302 to that URL, with a cookie", |exchange| {
        Box::pin(async move {
            let location = exchange.target.query("url");
            let response = Response::small(302).header("Location", location);
            exchange.send(&response.header("Set-Cookie", "seen=1; path=/; domain=test")).await
        })
    }),
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

async fn cookie_wall(exchange: &mut Exchange) -> io::Result<After> {
    let cookies = exchange.request.header("cookie").unwrap_or_default();
    let response = if cookies.split("; ").any(|cookie| cookie == "seen=1") {
        exchange.whole()
    } else {
        let back = exchange.request.target.clone();
        Response::small(302).header("Location", back).header("Set-Cookie", "seen=1; path=/; HttpOnly")
    };
    exchange.send(&response).await
}

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
