//! Responses written byte for byte, by name: those of `/raw/{fault}[/name]`, and what a server started by
//! [`crate::common::Server::start_greeting`] does to every client that connects.
//!
//! `tests/faults` describes each in a sentence, and its outcome.

use std::io;
use std::time::Duration;

use super::{Route, png};
use crate::common::images;
use crate::common::server::{After, Exchange, Length, Response};

pub const ROUTES: &[Route] = &[
    Route::of(
        "/raw/{fault}[/name]",
        "one of the answers of `raw.rs`, which are written byte for byte; `tests/FAULTS.md` lists them",
        |target| png(target, SIZE),
        |exchange| Box::pin(raw(exchange)),
    ),
    Route::bodiless("/garbage[/name]", "the greeting of an SSH server, and noise", |exchange| {
        Box::pin(send_and_close(exchange, b"SSH-2.0-OpenSSH_9.6\r\n\0\0\x05\xdc\x0a\x14\r\n\r\n"))
    }),
    Route::bodiless("/bad-header[/name]", "fields without a colon and without a name", |exchange| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type image/png\r\n\x01: \r\nContent-Length: 0\r\n\r\n";
        Box::pin(send_and_close(exchange, answer))
    }),
    Route::bodiless("/bad-chunk[/name]", "a chunk whose size is a word", |exchange| Box::pin(bad_chunk(exchange))),
    Route::bodiless("/panic", "a handler that panics, which fails the test", |exchange| {
        panic!("a handler panicked, as {} asks for", exchange.request.target)
    }),
];

async fn raw(exchange: &mut Exchange) -> io::Result<After> {
    let (body, turn) = (exchange.whole().body, exchange.turn());
    let name = exchange.target.segment("fault");
    let steps = answer(name, &Asked { body: &body, host: &exchange.request.host, turn });
    let steps = steps.unwrap_or_else(|| panic!("there is no answer {name}"));
    exchange.connection.play(steps).await
}

async fn send_and_close(exchange: &mut Exchange, answer: &[u8]) -> io::Result<After> {
    exchange.finish(answer).await?;
    Ok(After::Close)
}

async fn bad_chunk(exchange: &mut Exchange) -> io::Result<After> {
    let response = Response::new(200, "image/png", Vec::new());
    exchange.write(&response.head(Length::Chunked)).await?;
    send_and_close(exchange, b"zebra\r\n\x89PNG\r\n0\r\n\r\n").await
}

/// The number of bytes of the image that `/raw` sends, as [`OK_LENGTH`] announces it.
pub const SIZE: usize = 400;

/// The right `Content-Length` of the image.
const OK_LENGTH: &str = "Content-Length: 400";

/// The number of bytes of the image that are sent where it is cut.
const CUT: usize = 150;

/// One thing that a server does on a connection. After the last one the next request may come.
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes with a pause before each.
    Drip(Vec<u8>, Duration),
    /// Sends these bytes again and again, until the client closes the connection.
    Flood(Vec<u8>),
    /// The same at about 2 MB a second, because a debug build reads slowly.
    Trickle(Vec<u8>),
    /// Sends and reads nothing more until the client closes the connection.
    Deaf,
    /// Sends nothing more until the client closes the connection.
    Stay,
    /// Closes the sending side, and reads on.
    Close,
    /// Closes in the middle of something, over TLS without `close_notify`.
    Cut,
    /// Resets the connection.
    Reset,
}

use Step::{Close, Cut, Deaf, Drip, Flood, Reset, Send, Stay, Trickle};

/// What the response depends on.
pub struct Asked<'a> {
    /// The image.
    pub body: &'a [u8],
    /// The `Host` of the request, with its port.
    pub host: &'a str,
    /// The number of earlier requests for this target.
    pub turn: usize,
}

/// What the server does at `/raw/{name}`.
pub fn answer(name: &str, asked: &Asked) -> Option<Vec<Step>> {
    fields_alone(name, asked)
        .or_else(|| heads_alone(name))
        .or_else(|| redirects(name, asked))
        .or_else(|| chunks(name, asked))
        .or_else(|| endless(name, asked))
        .or_else(|| interim(name, asked))
        .or_else(|| bodies(name, asked))
        .or_else(|| resumed(name, asked))
        .or_else(|| breaks(name, asked))
}

/// What a server does when a client connects, before it reads anything.
pub fn greeting(name: &str) -> Option<Vec<Step>> {
    Some(match name {
        "closes-at-once" => vec![Close],
        "resets-at-once" | "tls-resets" => vec![Reset],
        "never-reads" => vec![Deaf],
        "speaks-first" => vec![Send(b"220 mail.example ESMTP ready\r\n".to_vec()), Close],
        "tls-garbage" => vec![Send(b"\x16\x03\x03\xff\xff\x99garbage in the place of a handshake".to_vec()), Close],
        "tls-alert" => vec![Send(b"\x15\x03\x03\x00\x02\x02\x28".to_vec()), Close],
        "tls-closes" => vec![Cut],
        "tls-stalls" => vec![Stay],
        "tls-not-spoken" => vec![Send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec()), Close],
        _ => return None,
    })
}

/// A head: a status line and fields, one per line.
fn head(status: &str, fields: &str) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for field in fields.lines() {
        head.extend(field.as_bytes());
        head.extend(b"\r\n");
    }
    head.extend(b"\r\n");
    head
}

/// Status 200 with these fields and this body.
fn ok(fields: &str, body: &[u8]) -> Vec<u8> {
    [head("200 OK", &format!("Content-Type: image/png\n{fields}")), body.to_vec()].concat()
}

/// The whole image in a correct response.
fn good(asked: &Asked) -> Vec<u8> {
    ok(OK_LENGTH, asked.body)
}

/// Correct responses except for these fields, in which `{body}` is the body.
const FIELDS: &[(&str, &str)] = &[
    ("length-negative", "Content-Length: -1"),
    ("length-word", "Content-Length: many"),
    ("length-empty", "Content-Length:"),
    ("length-overflow", "Content-Length: 99999999999999999999999999"),
    ("length-hexadecimal", "Content-Length: 0x190"),
    ("length-signed", "Content-Length: +400"),
    ("length-twice", "Content-Length: 400\nContent-Length: 400"),
    ("length-twice-different", "Content-Length: 400\nContent-Length: 70"),
    ("length-list", "Content-Length: 400, 400"),
    ("length-list-different", "Content-Length: 400, 70"),
    ("length-too-small", "Content-Length: 150"),
    ("field-name-spaced", "Content-Length : 400"),
    ("field-folded", "X-Long: one\n two\nContent-Length: 400"),
    ("field-folded-often", "X-Long: one\n\ttwo\n   three\nContent-Length:\n 400"),
    ("field-without-colon", "garbage\nContent-Length: 400"),
    ("field-without-name", ": value\nContent-Length: 400"),
    ("field-with-equals-sign", "X-Frame-Options=\"ALLOW-FROM: b.example\"\nContent-Length: 400"),
    ("field-name-bracketed", "X-[Meta]: a\nContent-Length: 400"),
    ("field-name-of-two-words", "X Meta: a\nContent-Length: 400"),
    ("field-delete", "Set-Cookie: grid=1; domain=\x7fexample\nContent-Length: 400"),
    ("coding-identity", "Transfer-Encoding: identity\nContent-Length: 400"),
    ("coding-identity-twice", "Transfer-Encoding: Identity, identity\nContent-Length: 400, 400"),
    ("coding-empty", "Transfer-Encoding:\nContent-Length: 400"),
    ("coding-identity-too-long", "Transfer-Encoding: identity\nContent-Length: 150"),
    ("field-nul", "X-Nul: a\0b\nContent-Length: 400"),
    ("field-escape", "X-Red: \x1b[31m\nContent-Length: 400"),
    ("type-page", "Content-Type: text/html\nContent-Length: 400"),
    ("retry-after-on-success", "Retry-After: 3600\nContent-Length: 400"),
    ("location-on-success", "Location: http://127.0.0.1:1/elsewhere.png\nContent-Length: 400"),
    ("refresh", "Refresh: 0; url=http://127.0.0.1:1/elsewhere.png\nContent-Length: 400"),
    ("upgrade-offered", "Upgrade: h2c\nConnection: Upgrade\nContent-Length: 400"),
    ("keep-alive-nonsense", "Connection: keep-alive, close, banana\nKeep-Alive: timeout=-1\nContent-Length: 400"),
    ("content-range-on-success", "Content-Range: bytes 0-399/400\nContent-Length: 400"),
    ("content-range-overflow", "Content-Range: bytes 0-18446744073709551615/0\nContent-Length: 400"),
    ("disposition-traversal", "Content-Disposition: attachment; filename=\"../../evil.png\"\nContent-Length: 400"),
    ("disposition-absolute", "Content-Disposition: attachment; filename=/etc/cron.d/cron.png\nContent-Length: 400"),
    (
        "disposition-drive",
        "Content-Disposition: attachment; filename=\"C:\\\\Windows\\\\drive.png\"\nContent-Length: 400",
    ),
    ("disposition-device", "Content-Disposition: attachment; filename=\"NUL.png\"\nContent-Length: 400"),
    ("disposition-hidden", "Content-Disposition: attachment; filename=\".bashrc\"\nContent-Length: 400"),
    ("disposition-journal", "Content-Disposition: attachment; filename=\".fetchimg/lock\"\nContent-Length: 400"),
    ("disposition-dots", "Content-Disposition: attachment; filename=\"..\"\nContent-Length: 400"),
    ("disposition-program", "Content-Disposition: attachment; filename=\"setup.exe\"\nContent-Length: 400"),
    (
        "disposition-direction",
        "Content-Disposition: attachment; filename*=UTF-8''gpj.%E2%80%AEgnp.exe\nContent-Length: 400",
    ),
    ("disposition-escape", "Content-Disposition: attachment; filename*=UTF-8''%1B%5B2J%00a.png\nContent-Length: 400"),
    ("disposition-utf-8", "Content-Disposition: attachment; filename*=UTF-8''na%C3%AFve.png\nContent-Length: 400"),
    (
        "disposition-bad-percent",
        "Content-Disposition: attachment; filename*=UTF-8''%ff%zz%; filename=plain.png\nContent-Length: 400",
    ),
    ("disposition-unclosed", "Content-Disposition: attachment; filename=\"unclosed.png\nContent-Length: 400"),
];

fn fields_alone(name: &str, asked: &Asked) -> Option<Vec<Step>> {
    let (_, fields) = FIELDS.iter().find(|(other, _)| *other == name)?;
    let mut answer = match *fields {
        fields if fields.starts_with("Content-Type") => head("200 OK", fields),
        fields => ok(fields, b""),
    };
    answer.extend(asked.body);
    Some(vec![Send(answer)])
}

/// What is sent in place of a head, before the connection is closed.
const HEADS: &[(&str, &[u8])] = &[
    ("status-99", b"HTTP/1.1 99 Too Small\r\nContent-Length: 0\r\n\r\n"),
    ("status-999", b"HTTP/1.1 999 Request denied\r\nContent-Length: 0\r\n\r\n"),
    ("status-000", b"HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n"),
    ("status-four-digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status-missing", b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
    ("status-word", b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n"),
    ("http-0.9", b"<html><body>It works!</body></html>\n"),
    ("http-3.0", b"HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("icy", b"ICY 200 OK\r\nicy-name: radio\r\n\r\n"),
    ("http-2-frames", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\x01\0\0\0\x05\0\0\x40\0"),
    ("nul-bytes", &[0; 64]),
    ("echo", b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
    ("204-without-body", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ("205-without-body", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
    ("304-unasked", b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
    ("101-unasked", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    ("reason-escape", b"HTTP/1.1 404 \x1b[2JGone\r\nContent-Length: 0\r\n\r\n"),
    ("reason-missing", b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n"),
    ("retry-after-negative", b"HTTP/1.1 503 Busy\r\nRetry-After: -5\r\nContent-Length: 0\r\n\r\n"),
    ("retry-after-word", b"HTTP/1.1 503 Busy\r\nRetry-After: after lunch\r\nContent-Length: 0\r\n\r\n"),
    ("retry-after-fraction", b"HTTP/1.1 503 Busy\r\nRetry-After: 0.5\r\nContent-Length: 0\r\n\r\n"),
    ("retry-after-huge", b"HTTP/1.1 503 Busy\r\nRetry-After: 18446744073709551615\r\nContent-Length: 0\r\n\r\n"),
    ("retry-after-overflow", b"HTTP/1.1 429 Slow\r\nRetry-After: 999999999999999999999\r\nContent-Length: 0\r\n\r\n"),
    (
        "retry-after-past",
        b"HTTP/1.1 503 Busy\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "retry-after-far",
        b"HTTP/1.1 503 Busy\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n",
    ),
    ("retry-after-latin-1", b"HTTP/1.1 503 Busy\r\nRetry-After: sp\xe4ter\r\nContent-Length: 0\r\n\r\n"),
];

fn heads_alone(name: &str) -> Option<Vec<Step>> {
    let (_, bytes) = HEADS.iter().find(|(other, _)| *other == name)?;
    Some(vec![Send(bytes.to_vec()), Close])
}

/// A status and a `Location`, in which `{host}` is the host of the request.
const REDIRECTS: &[(&str, &str, &str)] = &[
    ("to-file", "302 Found", "file:///etc/passwd"),
    ("to-script", "302 Found", "javascript:alert(1)"),
    ("to-ftp", "301 Moved", "ftp://{host}/a.png"),
    ("to-data", "302 Found", "data:image/png;base64,iVBORw0KGgo="),
    ("to-mail", "302 Found", "mailto:webmaster@example.org"),
    ("to-blank", "302 Found", "about:blank"),
    ("to-bad-host", "302 Found", "http://[zz/a.png"),
    ("to-no-host", "302 Found", "http://"),
    ("to-bad-port", "302 Found", "http://127.0.0.1:99999/a.png"),
    ("to-closed-port", "302 Found", "http://127.0.0.1:1/a.png"),
    ("to-unknown-name", "302 Found", "http://nosuchhost.invalid/a.png"),
    ("to-tls", "302 Found", "https://{host}/png/400/a.png"),
    ("to-user-info", "302 Found", "http://ann:geheim@{host}/png/400/a.png"),
    ("to-other-scheme-slashes", "302 Found", "//{host}/png/400/a.png"),
    ("to-backslashes", "302 Found", "\\\\{host}\\png\\400\\a.png"),
    ("to-dots", "302 Found", "../../../../png/400/a.png"),
    ("to-fragment", "302 Found", "/png/400/a.png#top"),
    ("to-spaces", "302 Found", " /png/400/a b.png "),
    ("to-tabs", "302 Found", "/pn\tg/400/a.png"),
    ("to-control", "302 Found", "/png/400/a\x01.png"),
    ("to-escape", "302 Found", "http://\x1b[31m/a.png"),
    ("to-empty", "302 Found", ""),
    ("to-itself", "302 Found", "?"),
    ("300-with-location", "300 Multiple Choices", "/png/400/a.png"),
    ("304-with-location", "304 Not Modified", "/png/400/a.png"),
    ("305-with-location", "305 Use Proxy", "http://127.0.0.1:1/"),
    ("306-with-location", "306 Switch Proxy", "/png/400/a.png"),
    ("201-with-location", "201 Created", "/png/400/a.png"),
    ("to-page", "302 Found", "/page/login.html"),
    ("to-signed", "302 Found", "http://[zz/a.png?X-Amz-Signature=geheim"),
];

fn redirects(name: &str, asked: &Asked) -> Option<Vec<Step>> {
    let (status, fields) = match name {
        "to-long" => ("302 Found", format!("Location: /{}", "a/".repeat(50_000))),
        "to-latin-1" => {
            return Some(vec![Send(
                b"HTTP/1.1 302 Found\r\nLocation: /png/400/caf\xe9.png\r\nContent-Length: 0\r\n\r\n".to_vec(),
            )]);
        }
        "to-two" => ("302 Found", "Location: /png/400/a.png\nLocation: /status/404".to_owned()),
        "to-ping" => ("302 Found", "Location: /raw/to-pong".to_owned()),
        "to-pong" => ("302 Found", "Location: /raw/to-ping".to_owned()),
        "to-deeper" => ("302 Found", "Location: to-deeper/x".to_owned()),
        "to-endless" => {
            let fields = "Location: /png/400/a.png\nTransfer-Encoding: chunked";
            return Some(vec![Send(head("302 Found", fields)), Flood(chunk(&[b'x'; 4096]))]);
        }
        _ => {
            let (_, status, location) = REDIRECTS.iter().find(|(other, ..)| *other == name)?;
            (*status, format!("Location: {}", location.replace("{host}", asked.host)))
        }
    };
    let length = if status.starts_with("304") { "" } else { "\nContent-Length: 0" };
    Some(vec![Send(head(status, &format!("{fields}{length}")))])
}

/// One chunk.
fn chunk(content: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat()
}

const CHUNKED: &str = "Transfer-Encoding: chunked";

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn chunks(name: &str, asked: &Asked) -> Option<Vec<Step>> {
    let body = asked.body;
    let whole = [chunk(body), LAST_CHUNK.to_vec()].concat();
    let with = |framed: &[&[u8]]| vec![Send(ok(CHUNKED, &framed.concat()))];
    Some(match name {
        "chunk-and-length" => vec![Send(ok("Transfer-Encoding: chunked\nContent-Length: 3", &whole))],
        "chunk-twice" => vec![Send(ok("Transfer-Encoding: chunked, chunked", &whole)), Close],
        "chunk-in-two-fields" => {
            vec![Send(ok("Transfer-Encoding: identity\nTransfer-Encoding: chunked", &whole)), Close]
        }
        "chunk-misspelt" => vec![Send(ok("Transfer-Encoding: xchunked", &whole)), Close],
        "coding-identity-cut" => {
            vec![Send(ok(&format!("Transfer-Encoding: identity\n{OK_LENGTH}"), &body[..CUT])), Close]
        }
        "chunk-not-last" => vec![Send(ok("Transfer-Encoding: chunked, gzip", &whole)), Close],
        "chunk-http-1.0" => {
            let answer = [b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(), &whole].concat();
            vec![Send(answer), Close]
        }
        "chunk-size-overflow" => with(&[b"10000000000000190\r\n", body, b"\r\n", LAST_CHUNK]),
        "chunk-size-huge" => vec![Send(ok(CHUNKED, &[b"7fffffffffffffff\r\n", body].concat())), Cut],
        "chunk-size-negative" => with(&[b"-190\r\n", body, b"\r\n", LAST_CHUNK]),
        "chunk-size-prefixed" => with(&[b"0x190\r\n", body, b"\r\n", LAST_CHUNK]),
        "chunk-size-empty" => with(&[b"\r\n", body, b"\r\n", LAST_CHUNK]),
        "chunk-size-zeros" => with(&[b"0000190\r\n", body, b"\r\n", LAST_CHUNK]),
        "chunk-bare-line-feed" => with(&[b"190\n", body, b"\n0\n\n"]),
        "chunk-too-long" => with(&[b"96\r\n", body, b"\r\n", LAST_CHUNK]),
        "chunk-too-short" => vec![Send(ok(CHUNKED, &[b"194\r\n", body, b"\r\n", LAST_CHUNK].concat())), Close],
        "chunk-extension" => with(&[b"190;name=\"value\";other\r\n", body, b"\r\n", LAST_CHUNK]),
        "chunk-extension-feed" => with(&[b"190;name=\nvalue\r\n", body, b"\r\n", LAST_CHUNK]),
        "chunk-trailers" => with(&[&chunk(body), b"0\r\nX-Checksum: 1\r\nContent-Length: 3\r\n\r\n"]),
        "chunk-last-missing" => vec![Send(ok(CHUNKED, &chunk(body))), Close],
        "chunk-last-late" => vec![Send(ok(CHUNKED, &chunk(body))), Stay],
        "chunk-empty" => with(&[LAST_CHUNK]),
        "chunk-every-byte" => {
            let bytes = body.iter().flat_map(|byte| chunk(&[*byte])).collect::<Vec<_>>();
            with(&[&bytes, LAST_CHUNK])
        }
        _ => return None,
    })
}

/// Responses without end.
fn endless(name: &str, asked: &Asked) -> Option<Vec<Step>> {
    let begun = |fields: &str| Send(head("200 OK", fields).split_last_chunk::<2>().expect("a head ends").0.to_vec());
    Some(match name {
        "fields-thousand" => {
            vec![Send(ok(&format!("{}{OK_LENGTH}", "X-Field: value\n".repeat(1000)), asked.body))]
        }
        "fields-ninety" => {
            vec![Send(ok(&format!("{}{OK_LENGTH}", "X-Field: value\n".repeat(90)), asked.body))]
        }
        "field-one-megabyte" => {
            let fields = format!("X-Large: {}\n{OK_LENGTH}", "x".repeat(1 << 20));
            vec![Send(ok(&fields, asked.body))]
        }
        "field-large" => {
            let fields = format!("X-Large: {}\n{OK_LENGTH}", "x".repeat(60_000));
            vec![Send(ok(&fields, asked.body))]
        }
        "cookies-many" => {
            let jar = format!("Set-Cookie: c={}\n", "x".repeat(4000)).repeat(80);
            vec![Send(ok(&format!("{jar}{OK_LENGTH}"), asked.body))]
        }
        "fields-endless" => vec![begun(OK_LENGTH), Flood(b"X-More: and more\r\n".to_vec())],
        "field-endless" => vec![begun("X-Endless: x"), Flood(vec![b'x'; 4096])],
        "field-same-endless" => vec![begun("X-Endless: x"), Flood(b"a:\r\n".to_vec())],
        "status-line-endless" => vec![Send(b"HTTP/1.1 200 ".to_vec()), Flood(vec![b'x'; 4096])],
        "line-feeds-endless" => vec![Flood(b"\r\n".repeat(2048))],
        "chunk-size-endless" => vec![Send(ok(CHUNKED, b"")), Trickle(vec![b'0'; 4096])],
        "chunk-spaces-endless" => vec![Send(ok(CHUNKED, b"190")), Trickle(vec![b' '; 4096])],
        "chunk-extension-endless" => vec![Send(ok(CHUNKED, b"190;")), Flood(vec![b'x'; 4096])],
        "chunk-trailers-endless" => {
            let before = [chunk(asked.body), b"0\r\n".to_vec()].concat();
            vec![Send(ok(CHUNKED, &before)), Flood(b"X-More: and more\r\n".to_vec())]
        }
        "chunk-tiny-endless" => vec![Send(ok(CHUNKED, &chunk(&images::png_start()))), Flood(b"1\r\nx\r\n".repeat(512))],
        "continue-endless" => vec![Trickle(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(64))],
        "hints-endless" => vec![Trickle(head("103 Early Hints", "Link: </a.css>; rel=preload").repeat(64))],
        "close-delimited-endless" => {
            vec![Send(ok("Connection: close", &images::png_start())), Flood(images::pattern(16 * 1024, 1))]
        }
        "error-page-endless" => {
            vec![Send(head("404 Not Found", CHUNKED)), Flood(chunk(&images::page()))]
        }
        "white-space-endless" => vec![Send(ok(CHUNKED, b"")), Flood(chunk(&[b' '; 1024]))],
        "comment-endless" => vec![Send(ok(CHUNKED, &chunk(b"<?xml version='1.0'?><!--"))), Flood(chunk(&[b'x'; 1024]))],
        _ => return None,
    })
}

/// What is sent before the response.
fn interim(name: &str, asked: &Asked) -> Option<Vec<Step>> {
    let good = good(asked);
    let after = |before: &[u8]| vec![Send([before, &good].concat())];
    Some(match name {
        "continue-first" => after(b"HTTP/1.1 100 Continue\r\n\r\n"),
        "continue-five-times" => after(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(5)),
        "hints-first" => after(&head("103 Early Hints", "Link: </a.css>; rel=preload")),
        "processing-first" => after(&head("102 Processing", "")),
        "interim-unknown" => after(&head("199 Almost", "X: y")),
        "continue-then-silence" => vec![Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()), Stay],
        "blank-lines-first" => after(b"\r\n\r\n"),
        "bare-line-feeds" => {
            let head = format!("HTTP/1.1 200 OK\nContent-Type: image/png\n{OK_LENGTH}\n\n");
            vec![Send([head.as_bytes(), asked.body].concat())]
        }
        "http-1.0" => vec![Send([b"HTTP/1.0 200 OK\r\n\r\n", asked.body].concat()), Close],
        "field-latin-1" => vec![Send(
            [b"HTTP/1.1 200 OK\r\nContent-Type: image/png; name=\xe9\r\nContent-Length: 400\r\n\r\n", asked.body]
                .concat(),
        )],
        "answer-twice" => {
            let other = images::png(SIZE, 666);
            vec![Send([good.as_slice(), &ok(OK_LENGTH, &other)].concat())]
        }
        "204-with-body" => vec![Send([head("204 No Content", OK_LENGTH), asked.body.to_vec()].concat()), Close],
        "304-with-body" => vec![Send([head("304 Not Modified", OK_LENGTH), asked.body.to_vec()].concat()), Close],
        "404-with-image" => vec![Send([head("404 Not Found", OK_LENGTH), asked.body.to_vec()].concat())],
        "203-with-image" => vec![Send([head("203 Transformed", OK_LENGTH), asked.body.to_vec()].concat())],
        "299-with-image" => vec![Send([head("299 Fine", OK_LENGTH), asked.body.to_vec()].concat())],
        "accepted-empty" => vec![Send(of("202 Accepted", b""))],
        "accepted-with-image" => vec![Send(of("202 Accepted", asked.body))],
        "202-with-page" => vec![Send(of("202 Accepted", &images::page()))],
        _ => return None,
    })
}

/// A status with this body.
fn of(status: &str, body: &[u8]) -> Vec<u8> {
    [head(status, &format!("Content-Length: {}", body.len())), body.to_vec()].concat()
}

/// Wrong bodies.
fn bodies(name: &str, asked: &Asked) -> Option<Vec<Step>> {
    let body = match name {
        "image-truncated" => asked.body[..CUT].to_vec(),
        "image-signature-alone" => asked.body[..8].to_vec(),
        "image-one-byte" => asked.body[..1].to_vec(),
        "image-with-garbage" => [asked.body, b"<?php system($_GET['c']); ?>".as_slice()].concat(),
        "image-with-zeros" => [asked.body[..CUT].to_vec(), vec![0; SIZE - CUT]].concat(),
        "image-after-page" => [images::page().as_slice(), asked.body].concat(),
        "image-after-blank-line" => [b"\r\n", asked.body].concat(),
        "image-as-base64" => {
            b"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNg".to_vec()
        }
        "image-of-another-format" => images::jpeg(),
        "gif-polyglot" => b"GIF89a/*\x01\0\x80\0\0*/=1;alert(1);".to_vec(),
        "gzip-undeclared" => b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xeb\x0c\xf0\x73\xe7\xe5\x92\xe2\x62\x60\x60".to_vec(),
        "zip-archive" => b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0cat.png".to_vec(),
        "pdf-document" => b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n".to_vec(),
        "video" => b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\x08free".to_vec(),
        "svg-with-script" => b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>".to_vec(),
        "nul-body" => vec![0; SIZE],
        "playlist" => b"#EXTM3U\n#EXT-X-VERSION:3\n".to_vec(),
        "challenge-page" => b"<!DOCTYPE html><html><title>Just a moment...</title></html>".to_vec(),
        _ => return None,
    };
    Some(vec![Send(ok(&format!("Content-Length: {}", body.len()), &body))])
}

/// Bodies that break off in the first attempt, and the response to the next one.
fn resumed(name: &str, asked: &Asked) -> Option<Vec<Step>> {
    let body = asked.body;
    let tag = match name {
        "etag-weak" => "W/\"v1\"",
        "etag-empty" => "\"\"",
        "etag-bare" => "v1",
        name if name.starts_with("range-") => "\"v1\"",
        _ => return None,
    };
    if asked.turn == 0 {
        return Some(vec![Send(ok(&format!("ETag: {tag}\nAccept-Ranges: bytes\n{OK_LENGTH}"), &body[..CUT])), Cut]);
    }
    let part = |range: &str, rest: &[u8]| {
        let fields = format!("ETag: {tag}\nContent-Range: {range}\nContent-Length: {}", rest.len());
        vec![Send([head("206 Partial Content", &fields), rest.to_vec()].concat())]
    };
    let rest = &body[CUT..];
    Some(match name {
        // From the third attempt on, the response is correct.
        _ if asked.turn > 1 || name.starts_with("etag") => vec![Send(good(asked))],
        "range-kept" => part("bytes 150-399/400", rest),
        "range-ignored" => vec![Send(ok(&format!("ETag: {tag}\n{OK_LENGTH}"), body))],
        "range-of-other" => {
            let other = images::png(SIZE, 667);
            let fields = "ETag: \"v2\"\nContent-Range: bytes 150-399/400\nContent-Length: 250";
            vec![Send([head("206 Partial Content", fields), other[CUT..].to_vec()].concat())]
        }
        "range-refused" => vec![Send(of("416 Range Not Satisfiable", b""))],
        "range-unsaid" => {
            let fields = format!("ETag: {tag}\nContent-Length: {}", rest.len());
            vec![Send([head("206 Partial Content", &fields), rest.to_vec()].concat())]
        }
        "range-from-start" => part("bytes 0-399/400", body),
        "range-other-total" => part("bytes 150-499/500", &[rest, &[0; 100]].concat()),
        "range-overflow" => part("bytes 150-18446744073709551615/18446744073709551615", rest),
        "range-too-short" => part("bytes 150-399/400", &rest[..100]),
        "range-too-long" => part("bytes 150-399/400", &[rest, &[0; 100]].concat()),
        "range-multipart" => {
            let parts = b"--x\r\nContent-Range: bytes 150-399/400\r\n\r\n--x--\r\n";
            let fields =
                format!("ETag: {tag}\nContent-Type: multipart/byteranges; boundary=x\nContent-Length: {}", parts.len());
            vec![Send([head("206 Partial Content", &fields), parts.to_vec()].concat())]
        }
        "range-then-503" => vec![Send(of("503 Busy", b""))],
        _ => return None,
    })
}

/// Connections that break, stall or are slow.
fn breaks(name: &str, asked: &Asked) -> Option<Vec<Step>> {
    let good = good(asked);
    let head_length = good.len() - SIZE;
    let half_head = good[..head_length / 2].to_vec();
    let whole_head = good[..head_length].to_vec();
    let half = good[..head_length + CUT].to_vec();
    let unsaid = ok("Connection: close", &asked.body[..CUT]);
    Some(match name {
        "resets-before-answer" => vec![Reset],
        "closes-in-head" => vec![Send(half_head), Close],
        "resets-in-head" => vec![Send(half_head), Reset],
        "stalls-in-head" => vec![Send(half_head), Stay],
        "closes-after-head" => vec![Send(whole_head), Close],
        "resets-after-head" => vec![Send(whole_head), Reset],
        "stalls-after-head" => vec![Send(whole_head), Stay],
        "resets-in-body" => vec![Send(half), Reset],
        "half-closes" => vec![Send(good), Close],
        "unsaid-length-early-end" => vec![Send(unsaid), Close],
        "unsaid-length-reset" => vec![Send(unsaid), Reset],
        "unsaid-length-open" => vec![Send(ok("Server: old", asked.body)), Stay],
        "coding-identity-open" => vec![Send(ok("Transfer-Encoding: identity", asked.body)), Stay],
        "length-control" => vec![Send(ok("Content-Length: 4\x0100", asked.body)), Stay],
        "unsaid-length-stall" => vec![Send(unsaid), Stay],
        "unsaid-length-cut" => vec![Send(unsaid), Cut],
        "length-cut" => vec![Send(half), Cut],
        "no-goodbye" => vec![Send(good), Cut],
        "head-dripped" => vec![Drip(whole_head, Duration::from_millis(3)), Send(asked.body.to_vec())],
        "head-dripped-for-ever" => vec![Drip(good, Duration::from_millis(50))],
        "body-dripped-for-ever" => vec![Send(whole_head), Drip(asked.body.to_vec(), Duration::from_millis(50))],
        "body-with-pauses" => {
            let (pause, rest) = asked.body[CUT..].split_at(8);
            vec![Send(half), Drip(pause.to_vec(), Duration::from_millis(300)), Send(rest.to_vec())]
        }
        _ => return None,
    })
}
