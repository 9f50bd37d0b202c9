//! The table: what servers do, and what comes of it.

use serde_json::json;

use super::common::Certificate;

/// One fault.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    /// What the server does, as a clause without subject.
    pub does: &'static str,
    pub at: Where,
    /// Options beside the usual ones.
    pub flags: &'static [&'static str],
    pub outcome: Outcome,
    /// How many requests there are, where that is determined.
    pub requests: Option<usize>,
    /// A clause that the message of the record holds.
    pub says: &'static str,
    /// Another image is fetched from the same host afterwards.
    pub next: bool,
    /// What else there is to know.
    pub note: &'static str,
}

/// Which server has the fault, and at which path.
#[derive(Clone, Copy)]
pub enum Where {
    /// The common server, at this path; empty: at `/raw/{name}`. The file is called as the case.
    Path(&'static str),
    /// The same with a path that has no file name.
    Nameless(&'static str),
    /// A server that does this to every connection.
    Greeting(&'static str),
    /// The same, asked for HTTPS.
    GreetingTls(&'static str),
    /// A server with this certificate, asked by this name, at this path; empty: at one that is good.
    Tls(Certificate, &'static str, &'static str),
    /// A server that speaks HTTP/2, at this path.
    Http2(&'static str),
    /// A server whose certificate is signed by an unknown authority.
    TlsUnknown,
    /// The common server, asked for HTTPS.
    TlsOnPlain,
    /// A server that speaks HTTPS, asked for plain HTTP.
    PlainOnTls,
}

#[derive(Clone, Copy)]
pub enum Outcome {
    /// `name`: empty for that of the case.
    Saved {
        name: &'static str,
        body: Body,
    },
    Failed {
        error: &'static str,
        http_status: Option<u16>,
        retried: bool,
    },
    /// By a wish of the user.
    Refused {
        error: &'static str,
    },
}

/// What the file should hold.
#[derive(Clone, Copy)]
pub enum Body {
    /// The image.
    Whole,
    /// The image of another target.
    Of(&'static str),
    /// Whatever was sent.
    Sent,
}

/// Something is fetched and stored.
const fn saved(name: &'static str, does: &'static str) -> Case {
    Case {
        name,
        does,
        at: Where::Path(""),
        flags: &[],
        outcome: Outcome::Saved { name: "", body: Body::Whole },
        requests: Some(1),
        says: "",
        next: false,
        note: "",
    }
}

/// Something fails, for good.
const fn fails(name: &'static str, error: &'static str, does: &'static str) -> Case {
    Case { outcome: Outcome::Failed { error, http_status: None, retried: false }, ..saved(name, does) }
}

/// Something is refused, because the user wishes so.
const fn refuses(name: &'static str, error: &'static str, does: &'static str) -> Case {
    Case { outcome: Outcome::Refused { error }, ..saved(name, does) }
}

/// Something fails, and again.
const fn retried(name: &'static str, error: &'static str, does: &'static str) -> Case {
    Case {
        outcome: Outcome::Failed { error, http_status: None, retried: true },
        requests: Some(2),
        ..saved(name, does)
    }
}

/// Something fails by its status.
const fn status(name: &'static str, code: u16, retried: bool, does: &'static str) -> Case {
    let requests = Some(if retried { 2 } else { 1 });
    let outcome = Outcome::Failed { error: "http_status", http_status: Some(code), retried };
    Case { outcome, requests, ..saved(name, does) }
}

/// The rest of a body is asked for, what comes is of no use, and the whole is asked for at once.
const fn begun_anew(name: &'static str, does: &'static str) -> Case {
    let note = "at the second try, which asks once more, from the beginning";
    Case { requests: Some(3), note, ..saved(name, does) }
}

impl Case {
    const fn at(self, path: &'static str) -> Self {
        Self { at: Where::Path(path), ..self }
    }

    const fn by(self, at: Where) -> Self {
        Self { at, ..self }
    }

    const fn with(self, flags: &'static [&'static str]) -> Self {
        Self { flags, ..self }
    }

    const fn requests(self, requests: usize) -> Self {
        Self { requests: Some(requests), ..self }
    }

    const fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    const fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    const fn then_another(self) -> Self {
        Self { next: true, ..self }
    }

    const fn holding(self, body: Body) -> Self {
        Self { outcome: Outcome::Saved { name: "", body }, ..self }
    }

    /// The URL has no file name, and the server's becomes this one.
    const fn named(self, name: &'static str) -> Self {
        Self { outcome: Outcome::Saved { name, body: Body::Whole }, at: Where::Nameless(""), ..self }
    }

    /// What is asked for.
    pub fn target(&self) -> String {
        let name = self.name;
        match self.at {
            Where::Path("") => format!("/raw/{name}/{name}.png"),
            Where::Tls(_, _, "") => format!("/png/400/{name}.png"),
            Where::Path(path) | Where::Tls(_, _, path) | Where::Http2(path) => format!("{path}/{name}.png"),
            Where::Nameless("") => format!("/raw/{name}/"),
            Where::Nameless(path) => path.to_owned(),
            _ => format!("/png/400/{name}.png"),
        }
    }

    /// The name by which a server with a certificate is asked.
    pub fn host(&self) -> Option<&'static str> {
        match self.at {
            Where::Tls(_, host, _) => Some(host),
            Where::Http2(_) => Some("images.test"),
            _ => None,
        }
    }

    /// What programs act on in the record.
    pub fn told(&self) -> String {
        let attempts = match self.outcome {
            Outcome::Saved { .. } => 1 + u8::from(self.note.contains("at the second try")),
            Outcome::Failed { retried, .. } => 1 + u8::from(retried),
            Outcome::Refused { .. } => 1,
        };
        match self.outcome {
            Outcome::Saved { .. } => json!(["saved", attempts]).to_string(),
            Outcome::Refused { error } => json!(["refused", error, null, false, attempts]).to_string(),
            Outcome::Failed { error, http_status, retried } => {
                let may_pass = retried || self.note.contains("another run may succeed");
                json!(["failed", error, http_status, may_pass, attempts]).to_string()
            }
        }
    }

    /// What the document says about it.
    pub fn outcome_in_words(&self) -> String {
        let outcome = match self.outcome {
            Outcome::Saved { body: Body::Sent, .. } => "saves it as it came".to_owned(),
            Outcome::Saved { name: "", .. } => "saves it".to_owned(),
            Outcome::Saved { name, .. } => format!("saves it as `{name}`"),
            Outcome::Refused { error } => format!("refuses it as `{error}`"),
            Outcome::Failed { error, http_status, retried } => {
                let status = http_status.map_or_else(String::new, |code| format!(" {code}"));
                format!("`{error}`{status}, {}", if retried { "tried again" } else { "at once" })
            }
        };
        let flags = if self.flags.is_empty() { String::new() } else { format!("with `{}`: ", self.flags.join(" ")) };
        let note = if self.note.is_empty() { String::new() } else { format!("; {}", self.note) };
        format!("{flags}{outcome}{note}")
    }
}

const QUICK: &[&str] = &["--stall-timeout", "0.6"];

const SHORT: &[&str] = &["--timeout", "1"];

const SMALL: &[&str] = &["--max-bytes", "1MiB"];

const ONE_BY_ONE: &[&str] = &["--sequential"];

/// The whole table.
pub const SECTIONS: &[(&str, &[Case])] = &[
    ("The length of a body", LENGTHS),
    ("Chunks", CHUNKS),
    ("Heads", HEADS),
    ("Before the answer", INTERIM),
    ("Statuses", STATUSES),
    ("Asking to wait", WAITS),
    ("Contents", CONTENTS),
    ("Too much", ENDLESS),
    ("Redirects", REDIRECTS),
    ("File names", DISPOSITIONS),
    ("Connections that break", BREAKS),
    ("Connections that are slow", SLOW),
    ("Going on with a body", RESUMED),
    ("TLS", TLS),
    ("HTTP/2", HTTP2),
];

const LENGTHS: &[Case] = &[
    retried("length-too-large", "cut_short", "announces more than it has, and closes").at("/lies/400"),
    fails("length-too-small", "corrupt_image", "announces 150 of the 400 bytes it sends")
        .then_another()
        .note("the rest is no answer to anything"),
    fails("length-negative", "protocol", "announces -1 bytes"),
    fails("length-word", "protocol", "announces `many` bytes"),
    fails("length-empty", "protocol", "announces a length that is empty"),
    fails("length-overflow", "protocol", "announces a length of 26 digits"),
    fails("length-hexadecimal", "protocol", "announces `0x190` bytes"),
    fails("length-signed", "protocol", "announces `+400` bytes"),
    saved("length-twice", "announces the same length twice"),
    fails("length-twice-different", "protocol", "announces two different lengths"),
    saved("length-list", "announces `400, 400` bytes"),
    fails("length-list-different", "protocol", "announces `400, 70` bytes"),
    saved("length-unsaid", "announces no length, and closes at the end").at("/until-close/400"),
    fails(
        "unsaid-length-early-end",
        "corrupt_image",
        "announces no length, and closes in the middle as if that were the end",
    )
    .note("nothing but the image itself tells that more was to come"),
    retried("unsaid-length-reset", "cut_short", "announces no length, and resets the connection in the middle"),
    retried("unsaid-length-stall", "stalled", "announces no length, and falls silent in the middle").with(QUICK),
    saved("unsaid-length-open", "announces no length, and closes nothing at the end")
        .with(&["--stall-timeout", "2"])
        .note("an image that has its end is whole"),
    saved("length-control", "writes a control character into the length, and closes nothing")
        .with(&["--stall-timeout", "2"]),
    saved("coding-identity-open", "announces `Transfer-Encoding: identity` alone, and closes nothing")
        .with(&["--stall-timeout", "2"]),
    saved("coding-identity", "announces the length beside `Transfer-Encoding: identity`, and closes nothing")
        .then_another()
        .note("the length counts"),
    saved("coding-identity-twice", "says both twice"),
    saved("coding-empty", "announces the length beside an empty `Transfer-Encoding`"),
    fails("coding-identity-too-long", "corrupt_image", "announces 150 of 400 bytes beside that")
        .then_another()
        .note("the rest is no answer to anything"),
    retried("coding-identity-cut", "cut_short", "announces more than it has beside that, and closes"),
    fails("length-huge", "too_large", "announces 99999999999 bytes").at("/huge-length").says("--max-bytes"),
];

const CHUNKS: &[Case] = &[
    saved("chunk-sizes-odd", "sends chunks of odd sizes").at("/chunked/5000"),
    saved("chunk-every-byte", "sends every byte as a chunk"),
    saved("chunk-and-length", "announces chunks and a length as well (request smuggling)").note("the chunks count"),
    saved("chunk-twice", "calls the body chunked twice").note("once is what it is"),
    saved("chunk-in-two-fields", "spreads the coding over two fields"),
    fails("chunk-misspelt", "not_an_image", "calls the coding `xchunked`").note("the body lasts until the end"),
    fails("chunk-not-last", "not_an_image", "calls the chunked body compressed once more")
        .note("the body lasts until the end"),
    fails("chunk-http-1.0", "protocol", "sends chunks in HTTP/1.0, which has none"),
    fails("chunk-size-overflow", "protocol", "announces a chunk of 2^64 bytes and some"),
    retried("chunk-size-huge", "cut_short", "announces a chunk of 2^63 bytes, and closes"),
    fails("chunk-size-negative", "protocol", "announces a chunk of -190 bytes"),
    fails("chunk-size-prefixed", "protocol", "announces a chunk of `0x190` bytes"),
    fails("chunk-size-empty", "protocol", "announces no size of a chunk"),
    fails("chunk-size-word", "protocol", "announces a chunk of `zebra` bytes").at("/bad-chunk"),
    saved("chunk-size-zeros", "writes zeros before the size of a chunk"),
    fails("chunk-bare-line-feed", "protocol", "ends the lines of chunks by a line feed alone"),
    fails("chunk-too-long", "protocol", "sends more bytes than the chunk was to have"),
    fails("chunk-too-short", "protocol", "sends fewer bytes than the chunk was to have"),
    saved("chunk-extension", "adds extensions to the size of a chunk"),
    fails("chunk-extension-feed", "protocol", "hides a line feed in an extension"),
    saved("chunk-trailers", "sends fields after the last chunk, a length among them"),
    retried("chunk-last-missing", "cut_short", "closes without the last chunk"),
    retried("chunk-last-late", "stalled", "falls silent before the last chunk").with(QUICK),
    fails("chunk-empty", "not_an_image", "sends the last chunk and none before").says("empty"),
    retried("chunk-cut", "cut_short", "closes inside a chunk").at("/cut-chunked/5000/1234"),
];

const HEADS: &[Case] = &[
    fails("head-of-ssh", "protocol", "speaks SSH").at("/garbage"),
    fails("head-of-http-0.9", "protocol", "sends a page without a head").at("/raw/http-0.9"),
    fails("head-of-http-2", "protocol", "answers in frames of HTTP/2").at("/raw/http-2-frames"),
    fails("head-of-http-3", "protocol", "calls itself HTTP/3.0").at("/raw/http-3.0"),
    fails("head-of-radio", "protocol", "calls itself `ICY`").at("/raw/icy"),
    saved("head-of-http-1.0", "speaks HTTP/1.0").at("/raw/http-1.0"),
    fails("head-of-nuls", "protocol", "sends NUL bytes").at("/raw/nul-bytes"),
    fails("head-echoed", "protocol", "sends a request back").at("/raw/echo"),
    fails("status-99", "protocol", "sends status 99"),
    fails("status-000", "protocol", "sends status 000"),
    fails("status-four-digits", "protocol", "sends status 2000"),
    fails("status-missing", "protocol", "sends no status"),
    fails("status-word", "protocol", "sends `OK` as the status"),
    status("reason-missing", 404, false, "sends a status without words"),
    fails("reason-escape", "protocol", "sends a terminal's escape sequence as the words of the status"),
    saved("field-without-colon", "sends a field without a colon"),
    saved("field-without-name", "sends a field without a name"),
    saved("field-with-equals-sign", "sends a field with an equals sign in place of the colon"),
    saved("field-name-spaced", "writes a space before the colon of `Content-Length`").then_another(),
    saved("field-name-bracketed", "writes brackets into the name of a field"),
    saved("field-name-of-two-words", "writes a space into the name of a field"),
    saved("field-folded", "folds a field over two lines"),
    saved("field-folded-often", "folds a field over three lines, and `Content-Length` over two").then_another(),
    fails("field-nul", "protocol", "sends a NUL byte in a field").says("NUL"),
    saved("field-escape", "sends a terminal's escape sequence in a field"),
    saved("field-delete", "sends a DEL in a field"),
    saved("field-latin-1", "sends a field in Latin-1"),
    saved("field-large", "sends a field of 60 KB"),
    saved("fields-ninety", "sends 90 fields"),
    fails("fields-thousand", "protocol", "sends 1000 fields"),
    fails("field-one-megabyte", "protocol", "sends a field of 1 MiB"),
    saved("cookies-many", "sets 80 cookies of 4 KB"),
    saved("bare-line-feeds", "ends the lines of the head by a line feed alone"),
    saved("blank-lines-first", "sends blank lines before the head"),
    saved("keep-alive-nonsense", "contradicts itself about keeping the connection"),
    saved("upgrade-offered", "offers another protocol").note("the offer is not taken"),
    saved("refresh", "asks to go elsewhere by `Refresh`").note("that is for browsers"),
    saved("location-on-success", "sends a `Location` with a 200").note("that is no redirect"),
    saved("content-range-on-success", "sends a `Content-Range` with a 200"),
    saved("content-range-overflow", "sends a `Content-Range` to the last byte of 2^64"),
];

const INTERIM: &[Case] = &[
    saved("continue-first", "sends 100 Continue first, unasked"),
    saved("continue-five-times", "sends 100 Continue five times"),
    saved("hints-first", "sends 103 Early Hints first"),
    saved("processing-first", "sends 102 Processing first"),
    saved("interim-unknown", "sends an unknown interim status"),
    retried("continue-then-silence", "stalled", "sends 100 Continue and nothing else").with(QUICK),
    retried("continue-endless", "stalled", "sends 100 Continue without end").with(QUICK),
    retried("hints-endless", "stalled", "sends 103 Early Hints without end").with(QUICK),
    status("protocol-switched", 101, false, "switches to another protocol, unasked").at("/raw/101-unasked"),
];

const STATUSES: &[Case] = &[
    saved("non-authoritative", "sends the image with 203").at("/raw/203-with-image"),
    saved("success-unknown", "sends the image with 299").at("/raw/299-with-image"),
    status("accepted", 202, true, "sends a page with 202").at("/raw/202-with-page").says("202 Accepted"),
    status("accepted-empty", 202, true, "sends 202 and no body").says("202 Accepted"),
    saved("accepted-with-image", "sends the image with 202"),
    saved("accepted-then-ready", "sends 202 once").at("/flaky/202/1/400").requests(2).note("at the second try"),
    fails("no-content", "not_an_image", "sends 204").at("/raw/204-without-body").says("empty"),
    fails("no-content-with-image", "not_an_image", "sends the image with 204").at("/raw/204-with-body").says("empty"),
    fails("reset-content", "not_an_image", "sends 205").at("/raw/205-without-body").says("empty"),
    fails("partial-content", "protocol", "sends the first half with 206, unasked").by(Where::Nameless("/206")),
    status("not-modified", 304, false, "sends 304, unasked").at("/raw/304-unasked"),
    status("not-modified-with-image", 304, false, "sends the image with 304").at("/raw/304-with-body"),
    status("bad-request", 400, false, "sends 400").at("/status/400"),
    status("unauthorised", 401, false, "asks for a password").at("/auth/ann/geheim/400").says("401"),
    status("payment-required", 402, false, "asks for money").at("/status/402"),
    status("forbidden", 403, false, "refuses").at("/status/403"),
    status("not-found", 404, false, "has no such image").at("/status/404"),
    status("not-found-with-image", 404, false, "sends an image with 404").at("/raw/404-with-image"),
    status("method-refused", 405, false, "refuses GET").at("/status/405"),
    status("not-acceptable", 406, false, "sends 406").at("/status/406"),
    status("proxy-password", 407, false, "asks for a proxy's password").at("/status/407"),
    status("request-timeout", 408, true, "grew tired of waiting for the request").at("/status/408"),
    status("gone", 410, false, "has the image no more").at("/status/410"),
    status("range-unasked", 416, false, "refuses a range that was not asked for").at("/status/416"),
    status("teapot", 418, false, "is a teapot").at("/status/418"),
    status("too-early", 425, true, "sends 425").at("/status/425"),
    status("upgrade-required", 426, false, "wants another protocol").at("/status/426"),
    status("too-many-requests", 429, true, "wants less at once").at("/status/429"),
    status("fields-too-large", 431, false, "finds the request too long").at("/status/431"),
    status("legal-reasons", 451, false, "must not send the image").at("/status/451"),
    status("server-error", 500, true, "is broken").at("/status/500"),
    status("not-implemented", 501, false, "cannot do it").at("/status/501"),
    status("bad-gateway", 502, true, "finds its own server broken").at("/status/502"),
    status("unavailable", 503, true, "is busy").at("/status/503"),
    status("gateway-timeout", 504, true, "finds its own server slow").at("/status/504"),
    status("version-refused", 505, false, "refuses HTTP/1.1").at("/status/505"),
    status("disk-full", 507, false, "has no room").at("/status/507"),
    status("captive-portal-511", 511, false, "wants a login to the network").at("/status/511"),
    status("origin-unknown-error", 520, true, "sends Cloudflare's 520").at("/status/520").says("520 "),
    status("origin-down", 521, true, "sends Cloudflare's 521").at("/status/521"),
    status("origin-unreachable", 522, true, "sends Cloudflare's 522").at("/status/522").says("522 "),
    status("origin-no-dns", 530, true, "sends Cloudflare's 530").at("/status/530"),
    status("certificate-of-origin", 526, false, "sends Cloudflare's 526, a certificate that is not valid")
        .at("/status/526"),
    status("status-999", 999, false, "sends LinkedIn's 999"),
    saved("recovers", "is busy once").at("/flaky/503/1/400").requests(2).note("at the second try"),
];

const WAITS: &[Case] = &[
    saved("retry-after-on-success", "sends `Retry-After` with the image"),
    status("retry-after-negative", 503, true, "asks to come back in -5 s"),
    status("retry-after-word", 503, true, "asks to come back after lunch"),
    status("retry-after-fraction", 503, true, "asks to come back in 0.5 s").note("which HTTP does not know"),
    status("retry-after-latin-1", 503, true, "asks to come back at a time in Latin-1"),
    status("retry-after-past", 503, true, "asks to come back in 1994"),
    saved("retry-after-forbidden", "refuses with 403, and asks to come back in a second")
        .at("/wait/403/1/1/400")
        .requests(2)
        .note("at the second try, a second later"),
    saved("retry-after-accepted", "sends 202, and asks to come back in a second")
        .at("/wait/202/1/1/400")
        .requests(2)
        .note("at the second try, a second later"),
    saved("retry-after-second", "asks to come back in a second")
        .at("/wait/503/1/1/400")
        .requests(2)
        .note("at the second try, a second later"),
    status("retry-after-huge", 503, false, "asks to come back in 2^64 - 1 s")
        .says("asks to come back after")
        .note("another run may succeed"),
    status("retry-after-overflow", 429, false, "asks to come back in a number of seconds of 21 digits")
        .says("asks to come back after")
        .note("another run may succeed"),
    status("retry-after-far", 503, false, "asks to come back in the year 9999")
        .says("asks to come back after")
        .note("another run may succeed"),
];

const CONTENTS: &[Case] = &[
    fails("empty-body", "not_an_image", "sends 200 and no bytes").at("/empty").says("empty"),
    fails("page-as-image", "not_an_image", "sends an error page as `image/png`, with 200")
        .at("/raw/challenge-page")
        .says("HTML"),
    fails("page-as-page", "not_an_image", "sends a page as a page, with 200").at("/page").says("HTML"),
    fails("json-error", "not_an_image", "sends an error in JSON, with 200").at("/json").says("JSON"),
    fails("text-error", "not_an_image", "sends an error in words, with 200").at("/text").says("text"),
    saved("type-page", "calls the image a page").note("the bytes decide"),
    saved("image-of-another-format", "sends a JPEG as `.png`").holding(Body::Sent).note("the record says `jpeg`"),
    saved("image-with-garbage", "adds a script after the image")
        .holding(Body::Sent)
        .note("what comes after the end of an image does not harm it"),
    fails("image-truncated", "corrupt_image", "has half the image, and announces half"),
    fails("image-signature-alone", "corrupt_image", "has eight bytes of the image"),
    fails("image-one-byte", "not_an_image", "has one byte of the image"),
    fails("image-with-zeros", "corrupt_image", "has zeros from the middle on"),
    fails("image-after-page", "not_an_image", "sends the image behind a page").says("HTML"),
    fails("image-after-blank-line", "not_an_image", "sends the image behind a blank line"),
    fails("image-as-base64", "not_an_image", "sends the image as a `data:` URL").says("text"),
    fails("gif-polyglot", "corrupt_image", "sends a script that begins as a GIF"),
    saved("svg-with-script", "sends an SVG with a script in it").holding(Body::Sent),
    saved("gzip-unasked", "sends the image as gzip, without being asked to").at("/packed/gzip/400").note("unpacked"),
    saved("gzip-claimed", "calls the image gzip, and it is none").at("/encoded/400"),
    retried("gzip-cut", "cut_short", "sends gzip without its end").at("/packed-cut/400"),
    fails("gzip-twice", "protocol", "packs the image twice").at("/packed/gzip,gzip/400").says("more than once"),
    saved("gzip-padded", "sends gzip with zeros behind it").at("/packed-padded/400").note("unpacked"),
    saved("deflate-raw", "sends deflate without the zlib format around it").at("/packed/deflate/400").note("unpacked"),
    saved("brotli-unasked", "sends the image as Brotli, without being asked to").at("/packed/br/400").note("unpacked"),
    saved("zstd-unasked", "sends the image as Zstandard, without being asked to")
        .at("/packed/zstd/400")
        .note("unpacked"),
    fails("compress-unasked", "protocol", "sends what it calls `compress`, without being asked to")
        .at("/packed/compress/400")
        .says("compressed as compress"),
    fails("gzip-header-broken", "protocol", "sends gzip with a damaged header").at("/packed-broken/400"),
    refuses("gzip-bomb", "too_large", "sends a megabyte for each kilobyte of gzip, without end")
        .at("/bomb")
        .with(&["--max-bytes", "50MB"])
        .note("memory and disk are bounded"),
    fails("gzip-undeclared", "not_an_image", "sends gzip-compressed bytes and does not say so").says("gzip"),
    fails("zip-archive", "not_an_image", "sends a ZIP archive").says("ZIP"),
    fails("pdf-document", "not_an_image", "sends a PDF document").says("PDF"),
    fails("video", "not_an_image", "sends a video").says("video"),
    fails("playlist", "not_an_image", "sends a playlist").says("text"),
    fails("nul-body", "not_an_image", "sends NUL bytes").says("unknown"),
];

const ENDLESS: &[Case] = &[
    refuses("image-endless", "too_large", "sends an image without end").at("/endless").with(SMALL).says("--max-bytes"),
    refuses("close-delimited-endless", "too_large", "sends an image without length and end")
        .with(SMALL)
        .says("--max-bytes"),
    refuses("announced-too-large", "too_large", "announces one byte too many").at("/png/1048577").with(SMALL),
    refuses("chunked-too-large", "too_large", "sends one byte too many").at("/chunked/1048577").with(SMALL),
    saved("largest", "sends just as many bytes as are allowed").at("/chunked/1048576").with(SMALL),
    refuses("chunk-tiny-endless", "too_large", "sends chunks of one byte without end").with(&["--max-bytes", "64KiB"]),
    fails("page-endless", "not_an_image", "sends a page without end").at("/page-endless").says("HTML"),
    fails("white-space-endless", "not_an_image", "sends white space without end").says("white space"),
    fails("comment-endless", "not_an_image", "sends an XML comment without end").says("XML"),
    status("error-page-endless", 404, false, "sends an error page without end"),
    fails("fields-endless", "protocol", "sends fields without end"),
    fails("field-endless", "protocol", "sends a field without end"),
    fails("field-same-endless", "protocol", "sends the same short field without end"),
    fails("status-line-endless", "protocol", "sends a status line without end"),
    fails("line-feeds-endless", "protocol", "sends blank lines without end"),
    retried("chunk-size-endless", "stalled", "writes zeros before the size of a chunk without end").with(QUICK),
    retried("chunk-spaces-endless", "stalled", "writes spaces after the size of a chunk without end").with(QUICK),
    fails("chunk-extension-endless", "protocol", "extends the size of a chunk without end"),
    fails("chunk-trailers-endless", "protocol", "sends fields after the last chunk without end"),
    retried("body-endless-in-time", "timeout", "sends an image without end, slowly").at("/drip/100000/5").with(SHORT),
];

const REDIRECTS: &[Case] = &[
    saved("cookie-wall", "redirects to itself until its cookie comes back").at("/cookie-wall/400").requests(2),
    fails("to-control", "redirect", "redirects to a place with a control character").says("Location"),
    saved("to-image", "redirects to the image").at("/redirect/302/1/png/400").requests(2),
    saved("to-ten", "redirects ten times").at("/redirect/301/10/png/400").requests(11),
    fails("to-eleven", "redirect", "redirects eleven times")
        .at("/redirect/301/11/png/400")
        .requests(11)
        .says("--max-redirs"),
    fails("to-itself", "redirect", "redirects to the same URL").requests(11),
    fails("to-empty", "redirect", "redirects to the empty URL, which is the same").requests(11),
    fails("to-ping", "redirect", "redirects to one that redirects back").requests(11),
    fails("to-deeper", "redirect", "redirects to another URL for ever").requests(11),
    fails("to-nowhere", "redirect", "redirects without saying where")
        .by(Where::Nameless("/no-location"))
        .says("Location"),
    fails("to-file", "redirect", "redirects to a file of this machine").says("file"),
    fails("to-script", "redirect", "redirects to `javascript:`").says("javascript"),
    fails("to-ftp", "redirect", "redirects to FTP"),
    fails("to-data", "redirect", "redirects to a `data:` URL"),
    fails("to-mail", "redirect", "redirects to a mailbox"),
    fails("to-blank", "redirect", "redirects to `about:blank`"),
    fails("to-bad-host", "redirect", "redirects to a host that is none"),
    fails("to-no-host", "redirect", "redirects to no host"),
    fails("to-bad-port", "redirect", "redirects to port 99999"),
    fails("to-signed", "redirect", "redirects to a bad URL with a signature")
        .says("X-Amz-Signature=***")
        .note("the signature is not shown"),
    fails("to-escape", "redirect", "redirects to a terminal's escape sequence"),
    retried("to-closed-port", "connect", "redirects to a port where nothing listens").says("redirected to"),
    retried("to-unknown-name", "dns", "redirects to a name without address").says("nosuchhost.invalid"),
    fails("to-tls", "tls", "redirects to HTTPS on a port that speaks plain HTTP").says("redirected to"),
    fails("to-page", "not_an_image", "redirects to a login page, as captive portals do").requests(2).says("HTML"),
    saved("to-user-info", "redirects to a URL with a password").requests(2).holding(Body::Of("/png/400/a.png")),
    saved("to-other-scheme-slashes", "redirects to `//host/path`").requests(2).holding(Body::Of("/png/400/a.png")),
    saved("to-backslashes", "redirects to `\\\\host\\path`")
        .requests(2)
        .holding(Body::Of("/png/400/a.png"))
        .note("read as browsers read it"),
    saved("to-dots", "redirects to `../../../../path`").requests(2).holding(Body::Of("/png/400/a.png")),
    saved("to-fragment", "redirects to a URL with a fragment").requests(2).holding(Body::Of("/png/400/a.png")),
    saved("to-spaces", "redirects to a URL with spaces").requests(2).holding(Body::Of("/png/400/a%20b.png")),
    saved("to-tabs", "redirects to a URL with a tab in it").requests(2).holding(Body::Of("/png/400/a.png")),
    saved("to-two", "sends two different `Location`s")
        .requests(2)
        .holding(Body::Of("/png/400/a.png"))
        .note("the first counts"),
    saved("to-endless", "redirects with a body without end").requests(2).holding(Body::Of("/png/400/a.png")),
    fails("to-long", "redirect", "redirects to a URL of 100 KB").says("longer than"),
    saved("to-latin-1", "redirects to a URL in Latin-1").requests(2).holding(Body::Of("/png/400/caf%E9.png")),
    status("choices", 300, false, "sends 300 with a `Location`").at("/raw/300-with-location"),
    status("use-proxy", 305, false, "sends 305 with a `Location`").at("/raw/305-with-location"),
    status("switch-proxy", 306, false, "sends 306 with a `Location`").at("/raw/306-with-location"),
    status("not-modified-elsewhere", 304, false, "sends 304 with a `Location`").at("/raw/304-with-location"),
    fails("created", "not_an_image", "sends 201 with a `Location` and no body")
        .at("/raw/201-with-location")
        .says("empty"),
];

const DISPOSITIONS: &[Case] = &[
    saved("disposition-dots", "names the file `..`").named("image.png"),
    saved("disposition-traversal", "names the file `../../evil.png`").named("evil.png"),
    saved("disposition-absolute", "names the file `/etc/cron.d/cron.png`").named("cron.png"),
    saved("disposition-drive", "names the file `C:\\Windows\\drive.png`").named("drive.png"),
    saved("disposition-device", "names the file after a DOS device").named("_NUL.png"),
    saved("disposition-hidden", "names the file `.bashrc`").named("_.bashrc.png"),
    saved("disposition-journal", "names the file `.fetchimg/lock`").named("lock.png"),
    saved("disposition-program", "names the file `setup.exe`").named("setup.exe.png"),
    saved("disposition-direction", "names the file with a change of reading direction").named("gpj._gnp.exe.png"),
    saved("disposition-escape", "names the file with an escape sequence and a NUL").named("_[2J_a.png"),
    saved("disposition-utf-8", "names the file in UTF-8").named("naïve.png"),
    saved("disposition-bad-percent", "encodes the name wrongly, and has a plain one").named("plain.png"),
    saved("disposition-unclosed", "never closes the quotes of the name").named("unclosed.png"),
];

const BREAKS: &[Case] = &[
    retried("closes-at-once", "connect", "closes the connection before the request")
        .by(Where::Greeting("closes-at-once")),
    retried("resets-at-once", "connect", "resets the connection before the request")
        .by(Where::Greeting("resets-at-once")),
    retried("closes-before-answer", "connect", "closes after the request").at("/hang-up"),
    retried("resets-before-answer", "connect", "resets the connection after the request"),
    fails("speaks-first", "protocol", "greets like a mail server").by(Where::Greeting("speaks-first")),
    retried("closes-in-head", "connect", "closes in the middle of the head"),
    retried("resets-in-head", "connect", "resets the connection in the middle of the head"),
    retried("closes-after-head", "cut_short", "closes after the head"),
    retried("resets-after-head", "cut_short", "resets the connection after the head"),
    retried("closes-in-body", "cut_short", "closes in the middle of the body").at("/cut/5000/1234"),
    retried("resets-in-body", "cut_short", "resets the connection in the middle of the body"),
    saved("half-closes", "sends all, and closes its half of the connection"),
    saved("closes-each", "closes after every answer").at("/close-after/400"),
    saved("keep-alive-broken", "closes a kept connection when the next request comes")
        .at("/hang-up-once/400")
        .with(ONE_BY_ONE),
    saved("answer-twice", "sends a second answer, to no request (response splitting)")
        .with(ONE_BY_ONE)
        .then_another()
        .note("the next request gets its own answer"),
    saved("body-in-pieces", "cuts the body once").at("/flaky-cut/1/400").requests(2).note("at the second try"),
];

const SLOW: &[Case] = &[
    retried("silent", "stalled", "never answers").at("/silent").with(QUICK),
    retried("never-reads", "stalled", "never reads the request").by(Where::Greeting("never-reads")).with(QUICK),
    retried("stalls-in-head", "stalled", "falls silent in the middle of the head").with(QUICK),
    retried("stalls-after-head", "stalled", "falls silent after the head").with(QUICK),
    retried("stalls-in-body", "stalled", "falls silent in the middle of the body").at("/stall/150").with(QUICK),
    retried("silent-in-time", "timeout", "never answers").at("/silent").with(SHORT),
    saved("head-dripped", "sends the head byte by byte"),
    retried("head-dripped-for-ever", "stalled", "sends the head byte by byte, so that it is never complete")
        .with(QUICK)
        .note("a head has to come within the time that silence is allowed"),
    retried("body-dripped-for-ever", "timeout", "sends the body byte by byte, never silent for long").with(SHORT),
    saved("body-dripped", "sends the body byte by byte").at("/drip/200/1"),
    saved("body-with-pauses", "pauses between bytes, each time for less than silence is allowed, longer in all")
        .with(&["--stall-timeout", "2"]),
];

const RESUMED: &[Case] = &[
    saved("range-kept", "cuts the body, and sends the rest when asked")
        .requests(2)
        .note("at the second try, by `Range`"),
    saved("range-ignored", "cuts the body, and sends all of it when asked for the rest")
        .requests(2)
        .note("at the second try, from the beginning"),
    saved("etag-weak", "cuts a body with a weak `ETag`").requests(2).note("at the second try, from the beginning"),
    saved("etag-empty", "cuts a body with an empty `ETag`").requests(2).note("at the second try, from the beginning"),
    saved("etag-bare", "cuts a body with an `ETag` without quotes")
        .requests(2)
        .note("at the second try, from the beginning"),
    saved("body-changed", "cuts the body, and has another one afterwards")
        .at("/etag-changed/1/400")
        .requests(2)
        .note("at the second try, the new one alone"),
    begun_anew("range-of-other", "cuts the body, and sends the rest of another one"),
    begun_anew("range-refused", "cuts the body, and finds the range too far"),
    begun_anew("range-unsaid", "cuts the body, and sends a part without saying which"),
    begun_anew("range-from-start", "cuts the body, and sends all of it as a part"),
    begun_anew("range-shifted", "cuts the body, and sends a part ten bytes off").at("/bad-range/1/400"),
    begun_anew("range-other-total", "cuts the body, and says it is longer now"),
    begun_anew("range-overflow", "cuts the body, and says it has 2^64 - 1 bytes now"),
    retried("range-too-short", "cut_short", "cuts the body, and sends less of the rest than it says"),
    retried("range-too-long", "cut_short", "cuts the body, and sends more of the rest than it says"),
    begun_anew("range-multipart", "cuts the body, and sends the rest in several parts"),
    status("range-then-503", 503, true, "cuts the body, and is busy then"),
];

const TLS: &[Case] = &[
    fails("tls-unknown-authority", "tls", "has a certificate of an unknown authority")
        .by(Where::TlsUnknown)
        .requests(0),
    fails("tls-other-name", "tls", "has a certificate for another name")
        .by(Where::Tls(Certificate::Good, "other.test", ""))
        .requests(0),
    fails("tls-expired", "tls", "has a certificate that has expired")
        .by(Where::Tls(Certificate::Expired, "images.test", ""))
        .requests(0)
        .says("expired"),
    fails("tls-not-yet-valid", "tls", "has a certificate that is not valid yet")
        .by(Where::Tls(Certificate::NotYetValid, "images.test", ""))
        .requests(0),
    fails("tls-self-signed", "tls", "has a certificate that vouches for itself")
        .by(Where::Tls(Certificate::SelfSigned, "images.test", ""))
        .requests(0),
    fails("tls-not-spoken", "tls", "speaks plain HTTP where TLS is expected")
        .by(Where::TlsOnPlain)
        .requests(0)
        .says("speaks no TLS"),
    fails("tls-unexpected", "protocol", "speaks TLS where plain HTTP is expected").by(Where::PlainOnTls).requests(0),
    fails("tls-downgrade", "redirect", "redirects from https to http")
        .by(Where::Tls(Certificate::Good, "images.test", "/redirect-to?url=http%3A%2F%2Fimages.test%2Fa.png"))
        .says("--allow-downgrade"),
    fails("tls-garbage", "tls", "sends garbage as the handshake").by(Where::GreetingTls("tls-garbage")),
    fails("tls-alert", "tls", "refuses the handshake").by(Where::GreetingTls("tls-alert")),
    saved("tls-no-goodbye", "sends all, and closes without TLS's word for an end").by(Where::Tls(
        Certificate::Good,
        "images.test",
        "/raw/no-goodbye",
    )),
    retried("tls-cut", "cut_short", "closes in the middle of the body, without TLS's word for an end").by(Where::Tls(
        Certificate::Good,
        "images.test",
        "/raw/length-cut",
    )),
    retried("tls-cut-unsaid-length", "cut_short", "announces no length, and closes without TLS's word for an end")
        .by(Where::Tls(Certificate::Good, "images.test", "/raw/unsaid-length-cut"))
        .note("an attacker could have cut it"),
    retried("tls-closes", "connect", "closes in the handshake").by(Where::GreetingTls("tls-closes")),
    retried("tls-resets", "connect", "resets the connection in the handshake").by(Where::GreetingTls("tls-resets")),
    retried("tls-stalls", "stalled", "falls silent in the handshake").by(Where::GreetingTls("tls-stalls")).with(QUICK),
];

const HTTP2: &[Case] = &[
    saved("http2", "speaks HTTP/2").by(Where::Http2("/png/400")),
    saved("http2-silent", "says nothing more on a connection but answers to PING")
        .by(Where::Http2("/h2-silent/400"))
        .with(QUICK)
        .requests(2)
        .then_another()
        .note("at the second try, on a new connection"),
    saved("http2-deaf", "reads nothing more from a connection")
        .by(Where::Http2("/h2-deaf/400"))
        .with(QUICK)
        .requests(2)
        .then_another()
        .note("at the second try, on a new connection"),
    saved("http2-reset", "resets a stream once")
        .by(Where::Http2("/h2-reset/400"))
        .requests(2)
        .note("at the second try"),
    saved("http2-reset-in-body", "resets a stream once in the middle of the body")
        .by(Where::Http2("/h2-reset-half/400"))
        .requests(2)
        .note("at the second try"),
    Case {
        requests: None,
        ..retried("http2-refused", "connect", "refuses every stream").by(Where::Http2("/h2-refused/400"))
    },
    saved("http2-goaway", "says GOAWAY in the middle of the body, and closes")
        .by(Where::Http2("/h2-goaway/400"))
        .requests(2)
        .then_another()
        .note("at the second try"),
    saved("http2-calm", "asks for calm by GOAWAY in the middle of the body, and closes")
        .by(Where::Http2("/h2-calm/400"))
        .requests(2)
        .then_another()
        .note("at the second try"),
    saved("http2-cut", "closes in the middle of the body")
        .by(Where::Http2("/h2-cut/400"))
        .requests(2)
        .then_another()
        .note("at the second try"),
    saved("http2-required", "wants the request over HTTP/1.1")
        .by(Where::Http2("/h2-required/400"))
        .requests(2)
        .then_another()
        .note("over HTTP/1.1, in the same try"),
    saved("http2-required-in-body", "wants HTTP/1.1 in the middle of the body")
        .by(Where::Http2("/h2-required-half/400"))
        .requests(2)
        .note("over HTTP/1.1, at the second try"),
];
