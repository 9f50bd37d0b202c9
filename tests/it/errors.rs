//! Every kind of error: its record, the number of attempts, and that the rest of the list is saved even
//! so.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{ClosedPort, Run, Server, fetchimg};

/// Two more attempts, without delay.
const TWO_RETRIES: [&str; 4] = ["--retries", "2", "--retry-wait", "0.01"];

/// Fetches a URL that fails and one that does not. What holds for every failure is checked here;
/// the caller checks the returned record.
#[track_caller]
fn failure(url: &str, arguments: &[&str]) -> (Run, Value) {
    let (run, record) = without_image(url, arguments);
    assert_eq!((run.status, &record["status"]), (Some(1), &"failed".into()), "{run}");
    assert!(run.stderr.contains(&format!("ERROR fetchimg: Failed: {url}: ")), "{run}");
    (run, record)
}

/// The same for an image that the user does not want: nothing has failed.
#[track_caller]
fn refused_at_once(target: &str, error: &str, arguments: &[&str]) -> (Run, Value) {
    let server = Server::start();
    let url = server.url(target);
    let (run, record) = without_image(&url, arguments);
    assert_eq!((run.status, &record["status"]), (Some(0), &"refused".into()), "{run}");
    assert_eq!(verdict(&record), json!([error, null, false, 1]), "{run}");
    assert!(!run.stderr.contains("ERROR"), "{run}");
    assert!(run.stderr.contains(&format!("INFO fetchimg: Refused: {url}: ")), "{run}");
    assert_eq!(server.requests().len(), 1, "{run}");
    (run, record)
}

/// Fetches a URL that ends without an image, beside one that is good, and returns its record.
#[track_caller]
fn without_image(url: &str, arguments: &[&str]) -> (Run, Value) {
    let good = Server::start();
    let run =
        fetchimg().lines([url, &good.url("/jpeg/good.jpg")]).args(TWO_RETRIES).args(arguments.iter().copied()).run();
    assert_eq!(run.files(), ["good.jpg"], "{run}");
    assert_eq!(run.file("good.jpg"), good.body("/jpeg/good.jpg"), "{run}");
    assert_eq!(run.leftovers(), [""; 0], "{run}");
    assert_eq!(run.records().len(), 2, "{run}");
    assert_eq!(run.record(1)["status"], "saved", "{run}");
    let record = run.record(0);
    assert_eq!(record["url"], url, "{run}");
    assert!(record["path"].is_null(), "{run}");
    assert!(!record["message"].as_str().unwrap_or_default().is_empty(), "{run}");
    (run, record)
}

/// The fields of a failed record that programs depend on.
fn verdict(record: &Value) -> Value {
    json!([record["error"], record["http_status"], record["retryable"], record["attempts"]])
}

/// A failure that is final at once: one attempt, one request.
#[track_caller]
fn fails_at_once(target: &str, error: &str, arguments: &[&str]) -> (Run, Value) {
    let server = Server::start();
    let (run, record) = failure(&server.url(target), arguments);
    assert_eq!(verdict(&record), json!([error, null, false, 1]), "{run}");
    assert_eq!(server.requests().len(), 1, "{run}");
    (run, record)
}

/// A failure that may be temporary, and is not.
#[track_caller]
fn fails_after_retries(target: &str, error: &str, arguments: &[&str]) -> (Run, Value) {
    let server = Server::start();
    let (run, record) = failure(&server.url(target), arguments);
    assert_eq!(verdict(&record), json!([error, null, true, 3]), "{run}");
    assert_eq!(server.requests().len(), 3, "{run}");
    (run, record)
}

/// A body that is no image, and its description in the message.
#[track_caller]
fn is_not_an_image(target: &str, called: &str) {
    let (run, record) = fails_at_once(target, "not_an_image", &[]);
    let message = record["message"].as_str().unwrap_or_default();
    assert!(message.contains(called), "{message:?} lacks {called:?}\n{run}");
}

#[test]
fn a_status_that_will_not_change_is_not_asked_for_again() {
    for status in [400, 401, 403, 404, 410, 501, 505] {
        let server = Server::start();
        let (run, record) = failure(&server.url(&format!("/status/{status}/a.png")), &[]);
        assert_eq!(verdict(&record), json!(["http_status", status, false, 1]), "{run}");
        assert_eq!(server.requests().len(), 1, "{run}");
        assert!(record["message"].as_str().is_some_and(|text| text.contains(&status.to_string())), "{run}");
    }
}

#[test]
fn a_status_that_may_pass_is_asked_for_again() {
    for status in [202, 408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 527, 530] {
        let server = Server::start();
        let (run, record) = failure(&server.url(&format!("/status/{status}/a.png")), &[]);
        assert_eq!(verdict(&record), json!(["http_status", status, true, 3]), "{run}");
        assert_eq!(server.requests().len(), 3, "{run}");
        assert!(run.stderr.contains("(3 attempts)"), "{run}");
    }
}

#[test]
fn a_name_without_address_is_a_dns_failure() {
    let (run, record) = failure("http://nosuchhost.invalid/a.png", &[]);
    assert_eq!(verdict(&record), json!(["dns", null, true, 3]), "{run}");
    assert!(record["message"].as_str().is_some_and(|text| text.contains("nosuchhost.invalid")), "{run}");
}

#[test]
fn a_closed_port_is_a_connect_failure() {
    let closed = ClosedPort::new();
    let (run, record) = failure(&closed.url("/a.png"), &[]);
    assert_eq!(verdict(&record), json!(["connect", null, true, 3]), "{run}");
    assert!(record["message"].as_str().is_some_and(|text| text.contains("refused")), "{run}");
}

/// A listener whose backlog is full: the system does not answer further connections.
struct Deaf {
    address: SocketAddr,
    _listener: tokio::net::TcpListener,
    _queued: Vec<TcpStream>,
    _runtime: tokio::runtime::Runtime,
}

impl Deaf {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime
            .block_on(async {
                let socket = tokio::net::TcpSocket::new_v4()?;
                socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
                socket.listen(1)
            })
            .expect("a listener");
        let address = listener.local_addr().expect("a bound socket has an address");
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queued.push(stream);
            assert!(queued.len() < 100, "a queue of one holds more than 100");
        }
        Self { address, _listener: listener, _queued: queued, _runtime: runtime }
    }
}

#[test]
fn a_connection_that_never_comes_is_a_timeout() {
    let deaf = Deaf::new();
    let url = format!("http://{}/a.png", deaf.address);
    let (run, record) = failure(&url, &["--connect-timeout", "0.3"]);
    assert_eq!(verdict(&record), json!(["timeout", null, true, 3]), "{run}");
    assert!(run.elapsed >= Duration::from_millis(900), "{run}");
    assert!(run.elapsed < Duration::from_secs(6), "{run}");
}

#[test]
fn a_certificate_that_is_not_trusted_is_a_tls_failure_with_advice() {
    let server = Server::start_tls();
    let (run, record) = failure(&server.url("/png/300/a.png"), &[]);
    assert_eq!(verdict(&record), json!(["tls", null, false, 1]), "{run}");
    assert_eq!(server.requests().len(), 0, "{run}");
    assert!(run.stderr.contains("--cacert"), "{run}");
}

#[test]
fn a_certificate_for_another_name_is_a_tls_failure() {
    let server = Server::start_tls();
    let authority = server.ca_pem_file().to_str().expect("a plain path").to_owned();
    let url = server.url_for_host("other.test", "/png/300/a.png");
    let (run, record) = failure(&url, &["--cacert", &authority, "--resolve", &server.resolve("other.test")]);
    assert_eq!(verdict(&record), json!(["tls", null, false, 1]), "{run}");
    assert_eq!(server.requests().len(), 0, "{run}");
}

#[test]
fn plain_http_where_tls_is_spoken_is_a_tls_failure() {
    let server = Server::start();
    let url = server.url("/png/300/a.png").replace("http:", "https:");
    let (run, record) = failure(&url, &[]);
    assert_eq!(verdict(&record), json!(["tls", null, false, 1]), "{run}");
    assert_eq!(server.requests().len(), 0, "{run}");
}

#[test]
fn a_server_that_never_answers_has_stalled() {
    let (run, _) = fails_after_retries("/silent/a.png", "stalled", &["--stall-timeout", "0.3"]);
    assert!(run.elapsed >= Duration::from_millis(900), "{run}");
    assert!(run.elapsed < Duration::from_secs(6), "0.3 s of silence, three times\n{run}");
}

#[test]
fn a_body_that_stops_moving_has_stalled() {
    let (run, _) = fails_after_retries("/stall/500/a.png", "stalled", &["--stall-timeout", "0.3"]);
    assert!(run.elapsed >= Duration::from_millis(900), "{run}");
    assert!(run.elapsed < Duration::from_secs(6), "{run}");
}

#[test]
fn a_body_that_takes_too_long_is_a_timeout() {
    let (run, _) = fails_after_retries("/drip/3000/20/a.png", "timeout", &["--timeout", "0.5"]);
    assert!(run.elapsed >= Duration::from_millis(1500), "{run}");
    assert!(run.elapsed < Duration::from_secs(8), "{run}");
}

#[test]
fn a_server_that_never_answers_is_a_timeout_when_that_comes_first() {
    fails_after_retries("/silent/a.png", "timeout", &["--timeout", "0.3"]);
}

#[test]
fn a_slow_body_that_moves_is_fetched_to_its_end() {
    let server = Server::start();
    let target = "/drip/100/15/a.png";
    let run = fetchimg().lines([server.url(target)]).args(["--stall-timeout", "0.7"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.elapsed > Duration::from_millis(1400), "longer than the silence that is allowed\n{run}");
    assert_eq!(run.file("a.png"), server.body(target), "{run}");
    assert_eq!(run.record(0)["attempts"], 1, "{run}");
}

#[test]
fn a_body_that_ends_early_is_cut_short() {
    for target in [
        "/cut/5000/1234/a.png",
        "/cut/5000/0/a.png",
        "/cut/300000/200000/a.png",
        "/cut-chunked/5000/1234/a.png",
        "/lies/700/a.png",
        "/reset/200000/100000/a.png",
    ] {
        fails_after_retries(target, "cut_short", &[]);
    }
}

#[test]
fn a_body_that_was_cut_is_whole_the_next_time() {
    let server = Server::start();
    for size in [5000, 300_000] {
        let target = format!("/flaky-cut/1/{size}/a{size}.png");
        let run = fetchimg().lines([server.url(&target)]).args(TWO_RETRIES).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(run.file(&format!("a{size}.png")), server.body(&target), "{run}");
        assert_eq!(run.record(0)["attempts"], 2, "{run}");
        assert_eq!(run.record(0)["bytes"], size, "{run}");
        assert_eq!(server.hits(&target), 2, "{run}");
        assert_eq!(run.leftovers(), [""; 0], "{run}");
    }
}

#[test]
fn what_is_no_http_is_a_protocol_failure() {
    for target in ["/bad-chunk", "/garbage", "/raw/field-nul/a.png"] {
        fails_at_once(target, "protocol", &[]);
    }
}

#[test]
fn a_partial_response_that_was_not_requested_is_a_protocol_failure() {
    let (run, record) = fails_at_once("/206", "protocol", &[]);
    assert!(record["message"].as_str().is_some_and(|text| text.contains("206")), "{run}");
}

#[test]
fn a_fresh_connection_closed_without_an_answer_is_a_connect_failure() {
    fails_after_retries("/hang-up/a.png", "connect", &[]);
}

#[test]
fn a_page_is_not_an_image() {
    is_not_an_image("/page/a.png", "HTML");
}

#[test]
fn json_is_not_an_image() {
    is_not_an_image("/json/a.png", "JSON");
}

#[test]
fn text_is_not_an_image() {
    is_not_an_image("/text/a.png", "text");
}

#[test]
fn an_empty_body_is_not_an_image() {
    is_not_an_image("/empty/a.png", "empty");
    is_not_an_image("/204", "empty");
}

#[test]
fn a_page_without_end_is_recognised_at_its_beginning() {
    let (run, _) = fails_at_once("/page-endless/a.png", "not_an_image", &[]);
    assert!(run.elapsed < Duration::from_secs(5), "{run}");
}

#[test]
fn an_image_without_end_is_cut_off() {
    let (run, record) = refused_at_once("/endless/a.png", "too_large", &["--max-bytes", "1MiB"]);
    assert!(run.elapsed < Duration::from_secs(5), "{run}");
    assert!(record["message"].as_str().is_some_and(|text| text.contains("--max-bytes")), "{run}");
}

#[test]
fn a_length_that_is_too_large_is_believed_at_once() {
    let (run, _) = fails_at_once("/huge-length/a.png", "too_large", &[]);
    assert!(run.elapsed < Duration::from_secs(5), "{run}");
}

#[test]
fn max_bytes_are_allowed_and_one_more_is_not() {
    refused_at_once("/png/1001/a.png", "too_large", &["--max-bytes", "1000"]);
    refused_at_once("/chunked/1001/a.png", "too_large", &["--max-bytes", "1000"]);
    let server = Server::start();
    let run = fetchimg()
        .lines([server.url("/png/1000/a.png"), server.url("/chunked/1000/b.png")])
        .args(["--max-bytes", "1000"])
        .run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.file("a.png"), server.body("/png/1000/a.png"), "{run}");
    assert_eq!(run.file("b.png"), server.body("/chunked/1000/b.png"), "{run}");
}

#[test]
fn an_image_of_another_format_is_not_accepted() {
    let (run, record) = refused_at_once("/png/300/a.jpg", "not_accepted", &["--accept", "jpeg,webp"]);
    assert!(record["message"].as_str().is_some_and(|text| text.to_lowercase().contains("png")), "{run}");
}

#[test]
fn anything_is_saved_as_it_is_when_anything_is_accepted() {
    let server = Server::start();
    let targets = ["/page/a.html", "/json/b.json", "/text/c.txt", "/png/300/d.png"];
    let run = fetchimg().lines(targets.map(|target| server.url(target))).args(["--accept", "any"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files(), ["a.html", "b.json", "c.txt", "d.png"], "{run}");
    for (target, name) in targets.iter().zip(run.files()) {
        assert_eq!(run.file(&name), server.body(target), "{run}");
    }
}

#[test]
fn a_body_that_calls_itself_compressed_is_judged_by_its_bytes() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/encoded/300")]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let path = run.record(0)["path"].as_str().expect("a path").to_owned();
    assert_eq!(run.file(&path), server.body("/encoded/300"), "{run}");
}

#[test]
fn a_compressed_body_is_decompressed() {
    let server = Server::start();
    for coding in ["gzip", "x-gzip", "br", "zstd"] {
        let target = format!("/packed/{coding}/5000/a.png");
        let run = fetchimg().lines([server.url(&target)]).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert!(run.file("a.png") == server.body(&target), "{run}");
        assert_eq!(run.record(0)["bytes"], 5000, "{run}");
    }
    for (target, error, attempts, word) in [
        ("/packed/compress/5000/a.png", "protocol", 1, "compressed as compress"),
        ("/packed-broken/5000/a.png", "protocol", 1, "header is broken"),
        ("/packed/gzip,gzip/5000/a.png", "protocol", 1, "more than once"),
        ("/packed/identity/5000/a.png", "not_an_image", 1, ""),
        ("/packed-cut/5000/a.png", "cut_short", 2, "gzip"),
    ] {
        let run = fetchimg().lines([server.url(target)]).args(["--retries", "1", "--retry-wait", "0"]).run();
        let record = run.record(0);
        assert_eq!(
            (run.status, &record["error"], &record["attempts"]),
            (Some(1), &error.into(), &attempts.into()),
            "{run}"
        );
        assert!(record["message"].as_str().expect("a message").contains(word), "{run}");
        assert_eq!((run.files().len(), run.leftovers().len()), (0, 0), "{run}");
    }
}

#[test]
fn a_body_that_cannot_be_decompressed_is_not_saved_even_where_any_body_is() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/packed-broken/5000/a.png")]).args(["--accept", "any"]).run();
    assert_eq!((run.status, &run.record(0)["error"]), (Some(1), &"protocol".into()), "{run}");
    assert_eq!((run.files().len(), run.leftovers().len()), (0, 0), "{run}");
}

#[test]
fn what_is_wrong_with_a_head_is_said() {
    let server = Server::start();
    for (name, says) in [
        ("length-word", "Content-Length"),
        ("length-twice-different", "Content-Length"),
        ("chunk-http-1.0", "Transfer-Encoding"),
        ("field-nul", "NUL byte"),
        ("fields-thousand", "too large"),
    ] {
        let run = fetchimg().lines([server.url(&format!("/raw/{name}/a.png"))]).run();
        let record = run.record(0);
        assert_eq!(record["error"], "protocol", "{run}");
        assert!(record["message"].as_str().is_some_and(|message| message.contains(says)), "{run}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_body_without_end_costs_neither_memory_nor_disk() {
    let server = Server::start();
    for target in ["/bomb/a.png", "/endless/a.png"] {
        let running = fetchimg().lines([server.url(target)]).args(["--max-bytes", "100MB"]).start();
        let (run, memory) = running.wait_and_weigh();
        assert_eq!((run.status, &run.record(0)["error"]), (Some(0), &"too_large".into()), "{run}");
        assert!(run.record(0)["message"].as_str().expect("a message").contains("--max-bytes"), "{run}");
        assert!((1..64_000_000).contains(&memory), "{memory} bytes of memory\n{run}");
        assert_eq!((run.files().len(), run.leftovers().len()), (0, 0), "{run}");
    }
}

#[test]
fn many_failures_disturb_no_good_url() {
    let server = Server::start();
    let mut lines = Vec::new();
    for number in 0..20 {
        lines.push(server.url(&format!("/status/404/x{number}.png")));
        lines.push(server.url(&format!("/png/400/good{number:02}.png")));
        lines.push(server.url(&format!("/cut/5000/100/y{number}.png")));
        lines.push(server.url(&format!("/page/z{number}.png")));
    }
    let run = fetchimg().lines(&lines).args(TWO_RETRIES).arg("--json").run();
    assert_eq!(run.status, Some(1), "{run}");
    let names = (0..20).map(|number| format!("good{number:02}.png")).collect::<Vec<_>>();
    assert_eq!(run.files(), names, "{run}");
    for name in &names {
        assert_eq!(run.file(name), server.body(&format!("/png/400/{name}")), "{run}");
    }
    let failures = &run.report()["modes"][0]["failed_by_kind"];
    assert_eq!(*failures, json!({"cut_short": 20, "http_status 404": 20, "not_an_image": 20}), "{run}");
    assert_eq!(run.records().len(), 80, "{run}");
}

#[test]
fn a_refused_url_that_expired_or_came_from_html_is_said_to_have() {
    let server = Server::start();
    for (query, says) in [
        ("Expires=1500000000&Signature=x", "403 Forbidden: the URL expired on Fri, 14 Jul 2017 02:40:00 GMT"),
        ("X-Amz-Date=20170714T024000Z&X-Amz-Expires=60&X-Amz-Signature=x", "expired on Fri, 14 Jul 2017 02:41:00 GMT"),
        ("w=1&amp;h=2", "holds &amp;"),
        ("w=1&h=2", "403 Forbidden"),
    ] {
        let run = fetchimg().lines([server.url(&format!("/status/403/a.png?{query}"))]).run();
        let record = run.record(0);
        assert!(record["message"].as_str().is_some_and(|message| message.contains(says)), "{query}: {run}");
        assert_eq!(verdict(&record), json!(["http_status", 403, false, 1]), "{run}");
    }
}
