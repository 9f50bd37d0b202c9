//! The routes of the test server: one row of a table for each, grouped by the kind of fault.
//!
//! `ROUTES.md` is printed from these tables. The test `the_list_of_routes_is_the_table` checks that it is up to date.

mod bodies;
mod cuts;
mod endless;
mod framing;
mod headers;
pub mod http2;
mod overload;
mod ranges;
pub mod raw;
mod redirects;
mod stalls;

use std::fmt::Write as _;
use std::io;
use std::str::FromStr;

use futures::future::BoxFuture;
use percent_encoding::percent_decode_str;

use super::images;
use super::server::{After, Exchange, Response};

/// All routes, by the kind of fault.
pub const GROUPS: [(&str, &[Route]); 11] = [
    ("Bodies, sent whole", bodies::ROUTES),
    ("Statuses and headers", headers::ROUTES),
    ("Lengths and encodings", framing::ROUTES),
    ("Redirects", redirects::ROUTES),
    ("Overload", overload::ROUTES),
    ("Delays and silence", stalls::ROUTES),
    ("Connections that end too early", cuts::ROUTES),
    ("Ranges", ranges::ROUTES),
    ("Answers without end", endless::ROUTES),
    ("Answers that break the rules of HTTP", raw::ROUTES),
    ("HTTP/2, by a server that speaks it; the whole over HTTP/1.1", http2::ROUTES),
];

/// The response at every other path.
const UNKNOWN: Route =
    Route::bodiless("", "404", |exchange| Box::pin(async move { exchange.send(&Response::small(404)).await }));

/// A content type and a body.
pub type Content = (&'static str, Vec<u8>);

/// Answers one request.
pub type Handler = for<'a> fn(&'a mut Exchange) -> BoxFuture<'a, io::Result<After>>;

/// A path, and how the server responds to requests for it.
pub struct Route {
    /// `{x}` is one segment of the path, `{x...}` all that follow. `[/name]` at the end allows further segments.
    /// A query is only documented here; the handler requires it.
    pub pattern: &'static str,
    /// What the server does, for `ROUTES.md`.
    pub does: &'static str,
    /// The whole body, for the handler, and for tests that compare with it.
    body: Option<fn(&Target) -> Content>,
    pub handler: Handler,
}

impl Route {
    /// Sends this body as it is.
    const fn plain(pattern: &'static str, does: &'static str, body: fn(&Target) -> Content) -> Self {
        Self { pattern, does, body: Some(body), handler: |exchange| Box::pin(exchange.send_whole()) }
    }

    /// Uses a PNG of `{n}` bytes, a different one for every target.
    const fn png(pattern: &'static str, does: &'static str, handler: Handler) -> Self {
        Self::of(pattern, does, |target| png(target, target.number("n")), handler)
    }

    /// Uses this body.
    const fn of(pattern: &'static str, does: &'static str, body: fn(&Target) -> Content, handler: Handler) -> Self {
        Self { pattern, does, body: Some(body), handler }
    }

    /// Has no body that a test can compare with.
    const fn bodiless(pattern: &'static str, does: &'static str, handler: Handler) -> Self {
        Self { pattern, does, body: None, handler }
    }

    /// The first segment of the path, which identifies the route.
    pub fn name(&self) -> &'static str {
        self.pattern.trim_start_matches('/').split(['/', '[', '?']).next().unwrap_or_default()
    }

    /// The segments of the pattern, and whether others may follow.
    fn segments(&self) -> (Vec<&'static str>, bool) {
        let path = self.pattern.split('?').next().unwrap_or_default();
        let (path, is_open) = path.strip_suffix("[/name]").map_or((path, false), |path| (path, true));
        (path.trim_start_matches('/').split('/').collect(), is_open || path.ends_with("...}"))
    }
}

/// A PNG of this number of bytes, different for every target.
fn png(target: &Target, size: usize) -> Content {
    ("image/png", images::png(size, images::seed_of(&target.text)))
}

/// A path with its query, and the route it is one of.
pub struct Target {
    text: String,
    pub route: &'static Route,
}

impl Target {
    /// A path that begins like a route and does not fit it is a mistake of the test and fails it.
    pub fn find(text: &str) -> Self {
        let given = segments_of(text);
        let mut routes = GROUPS.iter().flat_map(|(_, routes)| *routes);
        let route = routes.find(|route| route.name() == given[0]).unwrap_or(&UNKNOWN);
        let (segments, is_open) = route.segments();
        let fits = given.len() == segments.len() || is_open && given.len() > segments.len();
        assert!(fits || route.pattern.is_empty(), "{text} is not {}", route.pattern);
        Self { text: text.to_owned(), route }
    }

    /// The path with its query.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The segment with this name in the pattern.
    pub fn segment(&self, name: &str) -> &str {
        let position = self.route.segments().0.iter().position(|segment| is_called(segment, name));
        let position = position.unwrap_or_else(|| panic!("{} has no {name}", self.route.pattern));
        segments_of(&self.text)[position]
    }

    /// The same as a number. A path without it is a mistake of the test and fails it.
    pub fn number<T: FromStr>(&self, name: &str) -> T {
        let segment = self.segment(name);
        segment.parse().unwrap_or_else(|_| panic!("{}: {segment:?} is not a number this route takes", self.text))
    }

    /// What follows the fixed segments as a target of its own, with the query.
    pub fn rest(&self) -> String {
        let fixed = self.route.segments().0.len() - 1;
        let query = self.text.find('?').map_or("", |start| &self.text[start..]);
        format!("/{}{query}", segments_of(&self.text)[fixed..].join("/"))
    }

    /// A value of the query, decoded.
    pub fn query(&self, name: &str) -> Vec<u8> {
        let (_, query) = self.text.split_once('?').unwrap_or_default();
        let value = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(other, value)| (other == name).then_some(value))
            .unwrap_or_else(|| panic!("{} lacks ?{name}=", self.text));
        percent_decode_str(value).collect()
    }

    /// The whole body; asking for one where there is none is a mistake of the test and fails it.
    pub fn content(&self) -> Content {
        self.route.body.unwrap_or_else(|| panic!("{} has no body to compare with", self.text))(self)
    }
}

/// Whether a segment of a pattern is `{name}`.
fn is_called(segment: &str, name: &str) -> bool {
    segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) == Some(name)
}

fn segments_of(target: &str) -> Vec<&str> {
    let path = target.split('?').next().unwrap_or_default();
    path.trim_start_matches('/').split('/').collect()
}

/// The tables as `ROUTES.md` shows them.
pub fn rendered() -> String {
    let mut text = "# Routes of the test server\n\n\
        Written by `WRITE_ROUTES=1 cargo test --test it the_list_of_routes` from the tables in `tests/common/faults`;\n\
        change those, not this. `{x}` is one segment of the path, `{x...}` all that follow, and `[/name]` any further\n\
        ones, which give the file its name. Where nothing else is said, `{n}` is the size of the body in bytes: a PNG (of\n\
        at least 70 bytes), another one for every target. A path that begins in no such way is answered with 404.\n"
        .to_owned();
    for (title, routes) in GROUPS {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n## {title}\n\n| route | answer |\n|---|---|\n");
        for route in routes {
            let _ = writeln!(text, "| `{}` | {} |", route.pattern, route.does);
        }
    }
    text
}
