//! Tests of the test harness: the server has the faults that its routes promise, and the program runner sees what
//! happened.
//!
//! They do without the program under test: the server is driven over a raw connection, the runner runs a shell.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use httpdate::fmt_http_date;

use crate::common::{Program, Server, TestDir, faults, images, wait_until};

/// The longest wait for anything here. Every wait is far shorter.
const MAX_WAIT: Duration = Duration::from_secs(50);

/// A client that sends the given bytes and does not interpret what it reads.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A parsed response.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(other, value)| other.eq_ignore_ascii_case(name).then_some(value))
    }
}

impl Client {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).expect("the server accepts");
        stream.set_read_timeout(Some(MAX_WAIT)).expect("a socket has a timeout");
        Self { stream, read: Vec::new() }
    }

    fn send(&mut self, target: &str, headers: &str) {
        let port = self.stream.peer_addr().expect("it is connected").port();
        write!(self.stream, "GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n")
            .expect("the server reads");
    }

    /// Reads on until that many bytes are there.
    fn read_at_least(&mut self, count: usize) {
        while self.read.len() < count {
            assert!(self.read_some() > 0, "the connection ended after {} of {count} bytes", self.read.len());
        }
    }

    fn read_some(&mut self) -> usize {
        let mut piece = [0; 8 * 1024];
        let count = loop {
            match self.stream.read(&mut piece) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read.expect("the server writes or closes"),
            }
        };
        self.read.extend_from_slice(&piece[..count]);
        count
    }

    /// Everything until the server closes the connection.
    fn read_to_end(&mut self) -> Vec<u8> {
        while self.read_some() > 0 {}
        std::mem::take(&mut self.read)
    }

    fn read_head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).expect("a head is text");
            }
            assert!(self.read_some() > 0, "the connection ended in the head");
        }
    }

    fn answer(&mut self) -> Answer {
        let head = self.read_head();
        let status = head[9..12].parse().expect("a status");
        let mut answer = Answer { status, head, body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |text| text.parse().expect("a length"));
        self.read_at_least(length);
        answer.body = self.read.drain(..length).collect();
        answer
    }

    fn get(&mut self, target: &str, headers: &str) -> Answer {
        self.send(target, headers);
        self.answer()
    }
}

/// The answer on a connection of its own.
fn get(server: &Server, target: &str) -> Answer {
    Client::connect(server).get(target, "")
}

/// The head and all that follows it until the server closes a connection of its own.
fn get_raw(server: &Server, target: &str) -> (String, Vec<u8>) {
    let mut client = Client::connect(server);
    client.send(target, "");
    let head = client.read_head();
    (head, client.read_to_end())
}

/// The content of a chunked body and whether it has its last chunk.
fn dechunked(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut content = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let line = std::str::from_utf8(&bytes[..end]).expect("a chunk size is text");
        let size = usize::from_str_radix(line, 16).expect("a chunk size");
        if size == 0 {
            return (content, true);
        }
        let rest = &bytes[end + 2..];
        content.extend_from_slice(&rest[..size.min(rest.len())]);
        bytes = rest.get(size + 2..).unwrap_or_default();
    }
    (content, false)
}

#[test]
fn images_are_what_they_claim_to_be() {
    for size in (images::SMALLEST_PNG..400).chain([1000, 65_536, 300_001]) {
        let png = images::png(size, 7);
        assert_eq!(png.len(), size);
        image::load_from_memory(&png).unwrap_or_else(|error| panic!("a PNG of {size} bytes: {error}"));
    }
    assert_eq!(images::png(0, 7).len(), images::SMALLEST_PNG);
    assert_ne!(images::png(70, 7), images::png(70, 8));

    for jpeg in [images::jpeg(), images::jpeg_sized(16, 8)] {
        let picture = image::load_from_memory(&jpeg).expect("a valid JPEG");
        assert_eq!((picture.width(), picture.height()), (16, 8));
    }
    let picture = image::load_from_memory(&images::png_sized(30, 20)).expect("a valid PNG");
    assert_eq!((picture.width(), picture.height()), (30, 20));

    assert!(images::gif().starts_with(b"GIF89a") && images::gif().ends_with(b";"));
    let (webp, bmp) = (images::webp(), images::bmp());
    assert_eq!(usize::try_from(le32(&webp[4..]) + 8), Ok(webp.len()));
    assert_eq!(usize::try_from(le32(&bmp[2..])), Ok(bmp.len()));
    let avif = images::avif();
    assert_eq!(&avif[4..12], b"ftypavif");
    assert_eq!((avif.len(), &avif[avif.len() - 27..avif.len() - 23]), (305, b"mdat".as_slice()));
    let page = images::page();
    assert!((4500..6500).contains(&page.len()), "{}", page.len());
}

fn le32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"))
}

#[test]
fn a_shifted_or_repeated_byte_shows() {
    let pattern = images::pattern(4000, 3);
    for distance in 1..3500 {
        let same = pattern.iter().zip(&pattern[distance..]).filter(|(one, other)| one == other).count();
        assert!(same < 60, "the pattern nearly repeats after {distance} bytes");
    }
    assert_ne!(images::pattern(100, 3), images::pattern(100, 4));
}

#[test]
fn bodies_are_those_that_server_body_tells() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    for (target, content_type) in [
        ("/png/64", "image/png"),
        ("/png/5000/folder/cat.png?size=big", "image/png"),
        ("/png/5000/two%20words.png", "image/png"),
        ("/jpeg/a.jpg", "image/jpeg"),
        ("/gif", "image/gif"),
        ("/webp", "image/webp"),
        ("/bmp", "image/bmp"),
        ("/svg", "image/svg+xml"),
        ("/avif", "image/avif"),
        ("/echo/name.png", "image/png"),
        ("/empty/a.png", "image/png"),
        ("/page/a.png", "text/html; charset=utf-8"),
        ("/json", "application/json"),
        ("/text", "text/plain"),
        ("/drip/80/0", "image/png"),
        ("/slow/1/90", "image/png"),
        ("/close-after/400/a.png", "image/png"),
    ] {
        let answer = client.get(target, "");
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(answer.body, server.body(target), "{target}");
        assert_eq!(answer.header("content-type"), Some(content_type), "{target}");
    }
    assert_eq!(client.read_to_end(), b"", "closed after /close-after");
    assert_eq!(server.connections(), 1);
    assert_eq!(server.body("/png/100/größe.png"), get(&server, "/png/100/gr%C3%B6%C3%9Fe.png").body);
    assert_ne!(server.body("/png/100/a"), server.body("/png/100/b"));
    assert_ne!(server.body("/png/100?a"), server.body("/png/100?b"));
}

#[test]
fn requests_are_remembered() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.get("/echo/a.png?x=1", "User-Agent: harness\r\nAccept: */*\r\n");
    client.get("/echo/a.png?x=2", "Connection: close\r\n");
    assert_eq!(client.read_to_end(), b"", "closed on request");
    let proxied = format!("http://images.test:{}/png/70", server.port());
    Client::connect(&server).get(&proxied, "");

    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0].method, "GET");
    assert_eq!(requests[0].target, "/echo/a.png?x=1");
    assert_eq!(requests[0].path(), "/echo/a.png");
    assert_eq!(requests[0].host, server.address().to_string());
    assert_eq!(requests[0].header("user-agent"), Some("harness"));
    assert_eq!(requests[0].headers[2], ("Accept".to_owned(), "*/*".to_owned()));
    assert_eq!(requests[2].target, proxied);
    assert_eq!(requests[2].path(), "/png/70");
    assert_eq!(requests.iter().map(|request| request.connection).collect::<Vec<_>>(), [1, 1, 2]);
    assert!(requests[0].at <= requests[1].at);
    assert_eq!(server.hits("/echo/a.png"), 2);
    assert_eq!(server.hits("/echo/a.png?x=2"), 1);
    assert_eq!(server.hits("/echo"), 0);
    assert_eq!(server.connections(), 2);
}

#[test]
fn statuses_come_as_asked() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    for (target, status) in
        [("/status/404/a.png", 404), ("/status/503", 503), ("/status/204", 204), ("/204", 204), ("/nothing-here", 404)]
    {
        assert_eq!(client.get(target, "").status, status, "{target}");
    }
    let part = client.get("/206", "");
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 0-99/200")));
    assert_eq!(part.body, server.body("/206")[..100]);

    client.stream.write_all(b"HEAD /png/500 HTTP/1.1\r\nHost: x\r\n\r\n").expect("the server reads");
    assert!(client.read_head().contains("Content-Length: 500\r\n"));
    assert_eq!(client.get("/text", "").body, server.body("/text"), "a HEAD has no body");
}

#[test]
fn bodies_are_cut() {
    let server = Server::start();
    for (target, kept) in
        [("/cut/5000/1234/a.png", 1234), ("/cut/5000/0", 0), ("/lies/700", 700), ("/flaky-cut/1/5000", 2500)]
    {
        let (head, body) = get_raw(&server, target);
        let whole = server.body(target);
        let announced = if target.starts_with("/lies") { 1700 } else { whole.len() };
        assert!(head.contains(&format!("Content-Length: {announced}\r\n")), "{target}: {head}");
        assert_eq!(body, whole[..kept], "{target}");
    }
    assert_eq!(get(&server, "/flaky-cut/1/5000").body, server.body("/flaky-cut/1/5000"));
    assert_eq!(get_raw(&server, "/flaky-cut/1/5000/other").1.len(), 2500, "every target has its own count");
}

#[test]
fn a_reset_is_a_reset() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.send("/reset/5000/100", "");
    let mut read = Vec::new();
    let error = client.stream.read_to_end(&mut read).expect_err("no orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn chunks_are_chunks() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.send("/chunked/20000/a.png", "");
    assert!(client.read_head().contains("Transfer-Encoding: chunked\r\n"));
    while !client.read.ends_with(b"\r\n0\r\n\r\n") {
        assert!(client.read_some() > 0);
    }
    assert_eq!(dechunked(&client.read), (server.body("/chunked/20000/a.png"), true));
    client.read.clear();
    assert_eq!(client.get("/text", "").status, 200, "the connection stays usable");

    let (_, body) = get_raw(&server, "/cut-chunked/5000/1001");
    assert_eq!(dechunked(&body), (server.body("/cut-chunked/5000/1001")[..1001].to_vec(), false));
    assert!(get_raw(&server, "/bad-chunk").1.starts_with(b"zebra\r\n"));
}

#[test]
fn a_body_may_end_with_the_connection() {
    let server = Server::start();
    let (head, body) = get_raw(&server, "/until-close/5000/a.png");
    assert!(!head.contains("Content-Length") && !head.contains("chunked"), "{head}");
    assert_eq!(body, server.body("/until-close/5000/a.png"));
}

#[test]
fn silence_lasts_until_the_client_leaves() {
    let server = Server::start();
    for (target, head_and_body) in
        [("/silent/a.png", None), ("/stall/500/a.png", Some(500)), ("/huge-length", Some(41))]
    {
        let mut client = Client::connect(&server);
        client.send(target, "");
        if let Some(count) = head_and_body {
            client.read_head();
            client.read_at_least(count);
        }
        client.stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket has a timeout");
        let error = client.stream.read(&mut [0; 10]).expect_err("no word and no end");
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{target}: {error}");
        client.stream.set_read_timeout(Some(MAX_WAIT)).expect("a socket has a timeout");
        client.stream.shutdown(Shutdown::Write).expect("it is connected");
        assert_eq!(client.stream.read(&mut [0; 10]).expect("the server closes"), 0, "{target}");
    }
    let mut client = Client::connect(&server);
    client.send("/silent", "");
    server.wait_for_hits("/silent", 2, MAX_WAIT);
    drop(server);
    assert!(matches!(client.stream.read(&mut [0; 10]), Ok(0) | Err(_)), "the server leaves too");
}

#[test]
fn some_bodies_have_no_end() {
    let server = Server::start();
    for (target, start) in [("/endless/a.png", images::png_start()), ("/page-endless/a.png", images::page())] {
        let mut client = Client::connect(&server);
        client.send(target, "");
        assert!(client.read_head().contains("Transfer-Encoding: chunked\r\n"));
        client.read_at_least(2_000_000);
        let (body, ended) = dechunked(&client.read);
        assert!(body.starts_with(&start) && !ended, "{target}");
    }
}

#[test]
fn hanging_up_says_nothing() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.send("/hang-up/a.png", "");
    assert_eq!(client.read_to_end(), b"");

    let target = "/hang-up-once/300/a.png";
    let mut client = Client::connect(&server);
    assert_eq!(client.get(target, "").status, 200, "it answers the first request of a connection");
    client.send(target, "");
    assert_eq!(client.read_to_end(), b"");
    let mut client = Client::connect(&server);
    for _ in 0..2 {
        assert_eq!(client.get(target, "").body, server.body(target), "it hangs up only once");
    }
    client.send("/hang-up-once/300/b.png", "");
    assert_eq!(client.read_to_end(), b"", "every target has its own turn");
}

#[test]
fn some_answers_are_not_http() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.send("/garbage", "");
    assert!(client.read_to_end().starts_with(b"SSH-2.0"));
    let (head, _) = get_raw(&server, "/bad-header");
    assert!(head.lines().nth(1).is_some_and(|line| !line.contains(':')), "{head}");
    let answer = get(&server, "/encoded/300");
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.body, server.body("/encoded/300"));
}

#[test]
fn slow_bodies_come_in_the_end() {
    let server = Server::start();
    for target in ["/flaky/503/2/300/a.png", "/wait/429/7/2/300/a.png", "/wait-date/503/7/2/300"] {
        let mut client = Client::connect(&server);
        let statuses: Vec<u16> = (0..4).map(|_| client.get(target, "").status).collect();
        let refused = if target.contains("429") { 429 } else { 503 };
        assert_eq!(statuses, [refused, refused, 200, 200], "{target}");
        assert_eq!(client.get(target, "").body, server.body(target), "{target}");
    }
    assert_eq!(get(&server, "/flaky/503/1/300").header("retry-after"), None);
    assert_eq!(get(&server, "/wait/429/7/1/300").header("retry-after"), Some("7"));
    let before = SystemTime::now();
    let answer = get(&server, "/wait-date/503/7/1/300");
    let date = answer.header("retry-after").expect("it says when");
    let expected: Vec<String> = (8..=9 + before.elapsed().unwrap_or_default().as_secs())
        .map(|ahead| fmt_http_date(before + Duration::from_secs(ahead)))
        .collect();
    assert!(expected.iter().any(|candidate| candidate == date), "{date}: {expected:?}");
}

#[test]
fn dates_are_written_as_http_wants_them() {
    for (seconds, date) in [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
        (1_774_898_462, "Mon, 30 Mar 2026 19:21:02 GMT"),
    ] {
        assert_eq!(fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), date);
    }
}

#[test]
fn redirects_lead_on() {
    let server = Server::start();
    let mut target = "/redirect/307/3/png/300/cat.png?size=1".to_owned();
    for left in (0..3).rev() {
        let answer = get(&server, &target);
        assert_eq!(answer.status, 307, "{target}");
        target = answer.header("location").expect("it says where").to_owned();
        assert_eq!(target.starts_with("/redirect/"), left > 0, "{target}");
    }
    assert_eq!(target, "/png/300/cat.png?size=1");
    assert_eq!(server.body("/redirect/307/3/png/300/cat.png?size=1"), server.body(&target));

    let far = "http://elsewhere.test/a b/ü.png?x=1&y=2";
    let url = server.redirect_to(far);
    let target = url.strip_prefix(&server.url("")).expect("it is a URL of this server");
    let mut client = Client::connect(&server);
    client.send(target, "");
    assert!(client.read_head().contains(&format!("Location: {far}\r\n")));
    assert_eq!(get(&server, "/round").header("location"), Some("/round"));
    assert_eq!(get(&server, "/no-location").header("location"), None);
    assert_eq!(get(&server, "/bad-location").header("location"), Some("ftp://example.org/x"));
}

#[test]
fn names_can_come_in_a_header() {
    let server = Server::start();
    let url = server.disposition(300, b"attachment; filename=\"caf\xe9.png\"");
    let mut client = Client::connect(&server);
    client.send(url.strip_prefix(&server.url("")).expect("it is a URL of this server"), "Connection: close\r\n");
    let answer = client.read_to_end();
    let line = b"\r\nContent-Disposition: attachment; filename=\"caf\xe9.png\"\r\n";
    assert!(answer.windows(line.len()).any(|window| window == line), "{}", answer.escape_ascii());
}

#[test]
fn a_password_opens() {
    assert_eq!(
        ["", "f", "fo", "foo", "foob"].map(|text| BASE64_STANDARD.encode(text.as_bytes())),
        ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]
    );
    let server = Server::start();
    let mut client = Client::connect(&server);
    let refused = client.get("/auth/ann/s%20ecret/300", "Authorization: Basic YW5uOndyb25n\r\n");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Basic realm=\"images\"")));
    let header = format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(b"ann:s ecret"));
    assert_eq!(client.get("/auth/ann/s%20ecret/300", &header).status, 200);
}

#[test]
fn ranges_are_honoured() {
    let server = Server::start();
    let whole = server.body("/etag/1000/a.png");
    let mut client = Client::connect(&server);
    let answer = client.get("/etag/1000/a.png", "");
    let tag = answer.header("etag").expect("it has a tag").to_owned();
    assert_eq!((answer.status, answer.header("accept-ranges")), (200, Some("bytes")));
    assert_eq!(answer.body, whole);

    for (range, first, last) in
        [("400-", 400, 999), ("0-0", 0, 0), ("10-20", 10, 20), ("990-5000", 990, 999), ("-10", 990, 999)]
    {
        let answer = client.get("/etag/1000/a.png", &format!("Range: bytes={range}\r\nIf-Range: {tag}\r\n"));
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.header("content-range"), Some(&*format!("bytes {first}-{last}/1000")), "{range}");
        assert_eq!(answer.header("etag"), Some(&*tag), "{range}");
        assert_eq!(answer.body, whole[first..=last], "{range}");
    }
    let beyond = client.get("/etag/1000/a.png", "Range: bytes=1000-\r\n");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */1000")));
    let changed = client.get("/etag/1000/a.png", "Range: bytes=400-\r\nIf-Range: \"other\"\r\n");
    assert_eq!((changed.status, changed.body.as_slice()), (200, whole.as_slice()));
}

#[test]
fn a_cut_body_can_be_picked_up() {
    let server = Server::start();
    let (_, first) = get_raw(&server, "/etag-cut/1/1000");
    let rest = Client::connect(&server).get("/etag-cut/1/1000", "Range: bytes=500-\r\nIf-Range: \"whole\"\r\n");
    assert_eq!(rest.status, 206);
    assert_eq!([first, rest.body].concat(), server.body("/etag-cut/1/1000"));

    let (head, former) = get_raw(&server, "/etag-changed/1/1000");
    assert!(head.contains("ETag: \"former\"\r\n"), "{head}");
    let now = Client::connect(&server).get("/etag-changed/1/1000", "Range: bytes=500-\r\nIf-Range: \"former\"\r\n");
    assert_eq!((now.status, &now.body), (200, &server.body("/etag-changed/1/1000")));
    assert_ne!(former, now.body[..500]);

    get_raw(&server, "/bad-range/1/1000");
    let off = Client::connect(&server).get("/bad-range/1/1000", "Range: bytes=500-\r\n");
    assert_eq!((off.status, off.header("content-range")), (206, Some("bytes 510-999/1000")));
}

#[test]
fn the_gate_holds_answers_back() {
    let server = Server::start();
    let mut early = Client::connect(&server);
    early.send("/gated/300/a.png", "");
    let mut middle = Client::connect(&server);
    middle.send("/gated-middle/3000/b.png", "");
    middle.read_head();
    middle.read_at_least(1500);
    server.wait_for_hits("/gated", 2, MAX_WAIT);
    assert_eq!((early.read.len(), middle.read.len()), (0, 1500));

    let mut leaving = Client::connect(&server);
    leaving.send("/gated/300/c.png", "");
    server.wait_for_hits("/gated/300", 2, MAX_WAIT);
    leaving.stream.shutdown(Shutdown::Write).expect("it is connected");
    assert_eq!(leaving.stream.read(&mut [0; 10]).expect("the server closes"), 0);

    server.open_gate();
    assert_eq!(early.answer().body, server.body("/gated/300/a.png"));
    middle.read_at_least(3000);
    assert_eq!(middle.read, server.body("/gated-middle/3000/b.png"));
    assert_eq!(early.get("/gated/300/d.png", "").status, 200, "an open gate stays open");
    assert_eq!(server.peak_in_flight(), 3);
    assert_eq!(server.peak_in_flight_for("127.0.0.1"), 3);
    assert_eq!(server.peak_in_flight_for("localhost"), 0);

    server.close_gate();
    early.send("/gated/300/e.png", "");
    server.wait_for_hits("/gated/300/e.png", 1, MAX_WAIT);
    server.open_gate();
    assert_eq!(early.answer().status, 200);
}

#[test]
#[should_panic(expected = "only 1 of 2 requests for /png arrived within")]
fn waiting_in_vain_fails_the_test() {
    let server = Server::start();
    get(&server, "/png/70");
    server.wait_for_hits("/png", 2, Duration::from_millis(20));
}

#[test]
fn one_request_after_the_other_is_never_two_at_once() {
    let server = Server::start();
    for number in 0..200 {
        assert_eq!(get(&server, &format!("/png/20000/{number}")).status, 200);
    }
    assert_eq!(server.peak_in_flight(), 1);
    assert_eq!(server.connections(), 200);
}

#[test]
fn a_thousand_connections_are_no_trouble() {
    // Both ends of each connection are open files of this process.
    let limit = Program::new("sh").args(["-c", "ulimit -n"]).run().stdout;
    let count = if limit.trim().parse::<usize>().is_ok_and(|limit| limit < 3000) { 200 } else { 1000 };
    let server = Server::start();
    let mut clients: Vec<Client> = (0..count)
        .map(|number| {
            let mut client = Client::connect(&server);
            client.send(&format!("/gated/300/{number}.png"), "");
            client
        })
        .collect();
    server.wait_for_hits("/gated", count, MAX_WAIT);
    server.open_gate();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.answer().body, server.body(&format!("/gated/300/{number}.png")));
    }
    assert_eq!(server.connections(), count);
    assert_eq!(server.peak_in_flight(), count);
}

#[test]
#[should_panic(expected = "the test server failed: a handler panicked, as /panic asks for")]
fn a_handler_that_panics_fails_the_test() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.send("/panic", "");
    // The connection ends without an answer; what fails the test is the end of the server.
    assert!(matches!(client.stream.read(&mut [0; 10]), Ok(0) | Err(_)));
}

#[test]
fn a_mistake_in_a_route_fails_the_test() {
    let server = Server::start();
    let mut client = Client::connect(&server);
    client.send("/png/many", "");
    assert!(matches!(client.stream.read(&mut [0; 10]), Ok(0) | Err(_)));
    let panic = catch_unwind(AssertUnwindSafe(|| drop(server))).expect_err("the server failed");
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.contains("\"many\" is not a number this route takes"), "{message}");
}

#[test]
fn servers_stop_and_know_nothing_of_each_other() {
    let (one, other) = (Server::start(), Server::start());
    assert_ne!(one.port(), other.port());
    get(&one, "/flaky/500/1/70");
    assert_eq!(get(&other, "/flaky/500/1/70").status, 500);
    assert_eq!((one.requests().len(), other.requests().len()), (1, 1));
    let address = one.address();
    drop(one);
    // A process that another test is just starting has the listening socket open until it runs its own program.
    wait_until("the server to stop", || TcpStream::connect(address).is_err());
}

#[test]
fn addresses_are_written_for_the_command_line() {
    let server = Server::start();
    let port = server.port();
    assert_eq!(server.url("/png/64"), format!("http://127.0.0.1:{port}/png/64"));
    assert_eq!(server.url_for_host("images.test", "/x"), format!("http://images.test:{port}/x"));
    assert_eq!(server.resolve("images.test"), format!("images.test:{port}:127.0.0.1"));
}

#[tokio::test]
async fn https_is_spoken_under_three_names() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

    let server = Server::start_tls();
    assert!(server.url("/x").starts_with("https://127.0.0.1:"));
    let connect = async |trusted: bool, name: &'static str| {
        let mut roots = RootCertStore::empty();
        if trusted {
            let authority = CertificateDer::from_pem_file(server.ca_pem_file()).expect("a certificate");
            roots.add(authority).expect("an authority");
        }
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("ring knows the protocols")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(server.address()).await.expect("the server accepts");
        let name = ServerName::try_from(name).expect("a name");
        tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await
    };
    for name in ["localhost", "images.test", "127.0.0.1"] {
        let mut stream = connect(true, name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut answer = Vec::new();
        stream.write_all(b"GET /until-close/500 HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("the server reads");
        stream.read_to_end(&mut answer).await.expect("an orderly end");
        assert!(answer.ends_with(&server.body("/until-close/500")), "{name}");

        let mut stream = connect(true, name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        stream.write_all(b"GET /cut/500/100 HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("the server reads");
        let error = stream.read_to_end(&mut answer).await.expect_err("no orderly end");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{name}");
    }
    connect(true, "other.test").await.expect_err("not this server's name");
    connect(false, "localhost").await.expect_err("not an authority everybody knows");
}

/// A shell that does what the program under test would.
fn shell(script: &str) -> Program {
    Program::new("sh").args(["-c", script])
}

#[test]
fn a_run_is_seen_from_all_sides() {
    let run = shell(
        "cat; echo oops >&2; mkdir -p images/.fetchimg/parts images/sub
         printf a > images/b.png; printf b > images/sub/a.png; printf c > images/.hidden
         printf '{\"index\":0,\"n\":1}\\n{\"index\":1}\\n{\"index\":0,\"n\":2}\\n' > images/.fetchimg.jsonl
         touch images/.fetchimg.runs.jsonl images/.fetchimg/parts/x
         exit 3",
    )
    .stdin("{\"ok\": true}")
    .run();

    assert_eq!((run.status, run.signal), (Some(3), None), "{run}");
    assert_eq!(run.report()["ok"], true, "{run}");
    assert_eq!(run.stderr, "oops\n", "{run}");
    assert_eq!(run.files(), [".hidden", "b.png", "sub/a.png"], "{run}");
    assert_eq!(run.file("sub/a.png"), b"b", "{run}");
    assert_eq!(run.records().len(), 3, "{run}");
    assert_eq!(run.record(0)["n"], 2, "{run}");
    assert_eq!(run.leftovers(), ["parts/x"], "{run}");
    assert!(run.elapsed < MAX_WAIT, "{run}");

    let shown = run.to_string();
    for part in ["$ sh -c 'cat; ", "status 3 after ", "{\"ok\": true}", "oops", "         1  images/sub/a.png"] {
        assert!(shown.contains(part), "{part:?} is missing in\n{shown}");
    }
}

#[test]
fn a_list_becomes_the_first_argument() {
    let run = Program::new("cat").arg("other.txt").lines(["one", "two"]).lines(["three"]);
    let dir = TestDir::new();
    dir.write("other.txt", "four\n");
    let run = run.in_dir(&dir).run();
    assert_eq!(run.stdout, "one\ntwo\nthree\nfour\n", "{run}");
    assert_eq!(dir.read("list.txt"), b"one\ntwo\nthree\n", "{run}");
    assert!(run.to_string().starts_with("$ cat list.txt other.txt\n"), "{run}");
}

#[test]
fn the_output_folder_is_the_one_named() {
    let script = "mkdir -p a/b; touch a/b/c.png";
    for arguments in
        [&["-o", "a/b"][..], &["--output", "a/b"], &["--output=a/b"], &["-oa/b"], &["-o", "x", "-o", "a/b"]]
    {
        let run = shell(script).arg("sh").args(arguments).run();
        assert_eq!(run.files(), ["c.png"], "{run}");
        assert_eq!(run.output(), run.dir.join("a/b"), "{run}");
    }
}

#[test]
fn the_environment_is_clean() {
    let run = shell("echo $HOME; pwd; echo $http_proxy$HTTPS_PROXY$RUST_LOG$NO_COLOR; echo $EXTRA")
        .env("EXTRA", "value")
        .run();
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], run.dir.path().to_string_lossy(), "{run}");
    assert_eq!(lines[2..], ["", "value"], "{run}");
    assert_eq!(shell("cat").run().stdout, "", "there is no input unless given");
}

#[test]
fn a_running_program_can_be_fed_and_watched() {
    let mut running = shell("while read line; do echo got $line >&2; done; echo end").stdin_pipe();
    for word in ["one", "two"] {
        running.write_line(word);
        running.wait_for_stderr(&format!("got {word}\n"));
    }
    assert!(running.is_running());
    let run = running.wait();
    assert_eq!(run.stdout, "end\n", "{run}");
}

#[test]
fn a_running_program_can_be_signalled() {
    // TERM: a shell cannot trap INT where it was ignored from the start, as in a background job.
    let script = "trap 'echo stopping; exit 130' TERM; echo ready >&2; while :; do sleep 0.01; done";
    let mut running = shell(script).start();
    running.wait_for_stderr("ready");
    running.kill("TERM");
    let run = running.wait();
    assert_eq!((run.status, run.stdout.as_str()), (Some(130), "stopping\n"), "{run}");

    let mut running = shell("echo ready >&2; exec sleep 60").start();
    running.wait_for_stderr("ready");
    running.kill("KILL");
    let run = running.wait();
    assert_eq!((run.status, run.signal), (None, Some(9)), "{run}");
    assert!(run.to_string().contains("signal 9 after "), "{run}");
}

#[test]
fn a_program_that_hangs_is_killed_and_shown() {
    let start = Instant::now();
    let program = shell("echo said before; exec sleep 60").time_limit(Duration::from_millis(300));
    let panic = catch_unwind(AssertUnwindSafe(|| program.run())).expect_err("the watchdog barks");
    assert!(start.elapsed() < MAX_WAIT);
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.contains("took longer than 300ms") && message.contains("said before"), "{message}");
}

#[test]
fn a_program_that_is_dropped_is_killed() {
    let dir = TestDir::new();
    let running = shell("echo $$ > id; echo ready >&2; exec sleep 60").in_dir(&dir).start();
    running.wait_for_stderr("ready");
    let id = String::from_utf8(dir.read("id")).expect("a number");
    drop(running);
    let check = format!("kill -s 0 {}", id.trim());
    wait_until("the end of the program", || shell(&check).run().status != Some(0));
}

#[test]
fn the_list_of_routes_is_the_table() {
    let routes = faults::GROUPS.iter().flat_map(|(_, routes)| *routes).collect::<Vec<_>>();
    let mut names = BTreeSet::new();
    for route in &routes {
        assert!(names.insert(route.name()), "two routes begin with /{}", route.name());
        assert!(!route.does.is_empty() && !route.does.contains('|'), "{} is not described", route.pattern);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/faults/ROUTES.md");
    let rendered = faults::rendered();
    if std::env::var_os("WRITE_ROUTES").is_some() {
        std::fs::write(&path, &rendered).expect("the list can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == rendered, "{} is out of date; its first lines say how to write it anew", path.display());
    for route in routes {
        assert!(
            written.contains(&format!("| `{}` | {} |", route.pattern, route.does)),
            "{} has no line",
            route.pattern
        );
    }
}
