//! What servers do to streams and connections of HTTP/2.
//!
//! They do it over TLS to clients that speak HTTP/2, at [`Server::start_http2`](crate::common::Server::start_http2); to
//! all others they send the whole.

use h2::Reason;

use super::{Route, Target, png};

/// What a server does with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Sends the whole.
    Whole,
    /// Resets the stream.
    Reset(Reason),
    /// Sends half of the body, and resets the stream.
    ResetHalf(Reason),
    /// Sends half of the body, and ends the connection for this reason.
    GoAway(Reason),
    /// Sends half of the body, and closes the connection without a word.
    Cut,
    /// Sends nothing more on the connection but answers to PING.
    Silence,
    /// Neither sends nor reads anything more on the connection.
    Deafness,
}

impl Deed {
    /// Whether the server does it only once to each target.
    pub const fn is_once_per_target(self) -> bool {
        matches!(
            self,
            Self::Reset(Reason::INTERNAL_ERROR) | Self::ResetHalf(Reason::INTERNAL_ERROR) | Self::GoAway(_) | Self::Cut
        )
    }

    /// Whether the server does it only once, however many targets there are.
    pub const fn is_once(self) -> bool {
        matches!(self, Self::Silence | Self::Deafness)
    }
}

/// What the server does for a route; whatever is not in the table of this file is sent whole.
pub fn deed(target: &Target) -> Deed {
    match target.route.name() {
        "h2-silent" => Deed::Silence,
        "h2-deaf" => Deed::Deafness,
        "h2-reset" => Deed::Reset(Reason::INTERNAL_ERROR),
        "h2-reset-half" => Deed::ResetHalf(Reason::INTERNAL_ERROR),
        "h2-refused" => Deed::Reset(Reason::REFUSED_STREAM),
        "h2-required" => Deed::Reset(Reason::HTTP_1_1_REQUIRED),
        "h2-required-half" => Deed::ResetHalf(Reason::HTTP_1_1_REQUIRED),
        "h2-goaway" => Deed::GoAway(Reason::NO_ERROR),
        "h2-calm" => Deed::GoAway(Reason::ENHANCE_YOUR_CALM),
        "h2-cut" => Deed::Cut,
        _ => Deed::Whole,
    }
}

const fn route(pattern: &'static str, does: &'static str) -> Route {
    Route::plain(pattern, does, |target| png(target, target.number("n")))
}

pub const ROUTES: &[Route] = &[
    route("/h2-silent/{n}[/name]", "nothing more on the connection but answers to PING, once"),
    route("/h2-deaf/{n}[/name]", "neither sends nor reads more on the connection, once"),
    route("/h2-reset/{n}[/name]", "RST_STREAM, once per target"),
    route("/h2-reset-half/{n}[/name]", "half of it, then RST_STREAM, once per target"),
    route("/h2-refused/{n}[/name]", "RST_STREAM with REFUSED_STREAM"),
    route("/h2-required/{n}[/name]", "RST_STREAM with HTTP_1_1_REQUIRED"),
    route("/h2-required-half/{n}[/name]", "half of it, then RST_STREAM with HTTP_1_1_REQUIRED"),
    route("/h2-goaway/{n}[/name]", "half of it, then GOAWAY, and closes, once per target"),
    route("/h2-calm/{n}[/name]", "half of it, then GOAWAY with ENHANCE_YOUR_CALM, and closes, once per target"),
    route("/h2-cut/{n}[/name]", "half of it, then closes, once per target"),
];
