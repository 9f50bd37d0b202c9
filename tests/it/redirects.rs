//! Redirects: which are followed, which are refused, and which header fields are not sent to another host.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::common::{Request, Run, Server, fetchimg};

/// A redirect that is not followed to an image: one attempt, and nothing is left behind.
#[track_caller]
fn is_refused(run: &Run) {
    assert_eq!(run.status, Some(1), "{run}");
    let record = run.record(0);
    assert_eq!(record["error"], "redirect", "{run}");
    assert_eq!(record["retryable"], false, "{run}");
    assert_eq!(record["attempts"], 1, "{run}");
    assert_eq!(run.files(), [""; 0], "{run}");
    assert_eq!(run.leftovers(), [""; 0], "{run}");
    assert!(run.elapsed < Duration::from_secs(5), "{run}");
}

/// The header fields of a request that say something about the user.
fn sent_fields(request: &Request) -> [Option<&str>; 4] {
    ["authorization", "cookie", "x-key", "user-agent"].map(|name| request.header(name))
}

#[test]
fn every_kind_of_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let server = Server::start();
        let target = format!("/redirect/{status}/2/png/300/cat.png?size=1");
        let run = fetchimg().lines([server.url(&target)]).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(run.files(), ["cat.png"], "{run}");
        assert_eq!(run.file("cat.png"), server.body("/png/300/cat.png?size=1"), "{run}");
        let record = run.record(0);
        assert_eq!(record["url"], server.url(&target), "{run}");
        assert_eq!(record["final_url"], server.url("/png/300/cat.png?size=1"), "{run}");
        assert_eq!(record["http_status"], 200, "{run}");
        assert_eq!(record["attempts"], 1, "{run}");
        assert_eq!(server.requests().len(), 3, "{run}");
        assert!(server.requests().iter().all(|request| request.method == "GET"), "{run}");
    }
}

#[test]
fn absolute_and_relative_locations_are_followed() {
    let server = Server::start();
    let authority = format!("127.0.0.1:{}", server.port());
    let end = "/png/300/end.png";
    for location in [server.url(end), end.to_owned(), format!("//{authority}{end}"), "png/300/end.png".to_owned()] {
        let run = fetchimg().lines([server.redirect_to(&location)]).run();
        assert_eq!(run.status, Some(0), "{location}: {run}");
        assert_eq!(run.file("redirect-to.png"), server.body(end), "{location}: {run}");
        assert_eq!(run.record(0)["final_url"], server.url(end), "{location}: {run}");
    }
}

#[test]
fn a_url_without_redirect_ends_where_it_began() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/png/300/a.png?x=1")]).run();
    assert_eq!(run.record(0)["final_url"], server.url("/png/300/a.png?x=1"), "{run}");
}

#[test]
fn the_name_comes_from_the_list_and_not_from_the_redirect() {
    let server = Server::start();
    let url = server.redirect_to(&server.url("/png/300/elsewhere.png"));
    let run = fetchimg().lines([url.replace("/redirect-to?", "/redirect-to?name=mine.png&")]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files(), ["redirect-to.png"], "{run}");
    assert_eq!(run.file("redirect-to.png"), server.body("/png/300/elsewhere.png"), "{run}");
}

#[test]
fn as_many_redirects_are_followed_as_allowed_and_no_more() {
    let server = Server::start();
    let three = server.url("/redirect/302/3/png/300/a.png");
    let run = fetchimg().lines([&three]).args(["--max-redirs", "3"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(server.requests().len(), 4, "{run}");
    let run = fetchimg().lines([&three]).args(["--max-redirs", "2"]).run();
    is_refused(&run);
    assert_eq!(server.requests().len(), 4 + 3, "{run}");
    assert!(run.stderr.contains("--max-redirs"), "{run}");
    let run = fetchimg().lines([&three]).args(["--max-redirs", "0"]).run();
    is_refused(&run);
    assert_eq!(server.requests().len(), 4 + 3 + 1, "{run}");
}

#[test]
fn ten_redirects_are_followed_without_being_told() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/redirect/301/10/png/300/a.png")]).run();
    assert_eq!(run.status, Some(0), "{run}");
    is_refused(&fetchimg().lines([server.url("/redirect/301/11/png/300/a.png")]).run());
}

#[test]
fn a_round_trip_comes_to_an_end() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/round")]).run();
    is_refused(&run);
    assert!(server.hits("/round") <= 11, "{run}");
}

#[test]
fn a_redirect_to_nowhere_is_refused() {
    let server = Server::start();
    for target in ["/no-location", "/bad-location"] {
        let run = fetchimg().lines([server.url(target)]).run();
        is_refused(&run);
        assert_eq!(server.hits(target), 1, "{run}");
    }
    for location in ["http://", "http://[zz/a.png", "file:///etc/passwd", "data:image/png;base64,AAAA"] {
        is_refused(&fetchimg().lines([server.redirect_to(location)]).run());
    }
}

#[test]
fn a_failure_behind_a_redirect_is_that_of_its_end() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/redirect/302/1/status/404/a.png")]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.record(0)["error"], "http_status", "{run}");
    assert_eq!(run.record(0)["http_status"], 404, "{run}");
}

#[test]
fn nothing_personal_travels_to_another_host() {
    let server = Server::start();
    let other = Server::start();
    // Another name of the same server, and the same name with another port.
    for end in [server.url_for_host("b.test", "/echo/x.png"), other.url("/echo/x.png")] {
        let run = fetchimg()
            .lines([server.redirect_to(&end)])
            .args(["--resolve", &server.resolve("b.test"), "-u", "ann:geheim", "-b", "session=42"])
            .args(["-H", "X-Key: k3y", "-H", "Authorization-Extra: no", "-A", "tester/1"])
            .run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(run.record(0)["final_url"], end, "{run}");
        let first = server.requests_for("/redirect-to").pop().expect("a first request");
        let basic = format!("Basic {}", BASE64_STANDARD.encode(b"ann:geheim"));
        assert_eq!(sent_fields(&first), [Some(&*basic), Some("session=42"), Some("k3y"), Some("tester/1")], "{run}");
        let mut seconds = server.requests_for("/echo/x.png");
        seconds.extend(other.requests_for("/echo/x.png"));
        let second = seconds.pop().expect("a second request");
        assert_eq!(sent_fields(&second), [None, None, None, Some("tester/1")], "{run}");
        assert_eq!(second.header("authorization-extra"), None, "{run}");
    }
}

#[test]
fn a_header_that_authorises_travels_no_more_than_others() {
    let server = Server::start();
    let end = server.url_for_host("b.test", "/echo/x.png");
    let run = fetchimg()
        .lines([server.redirect_to(&end)])
        .args(["--resolve", &server.resolve("b.test"), "-H", "Authorization: Bearer t0k3n", "-H", "Cookie: a=1"])
        .run();
    assert_eq!(run.status, Some(0), "{run}");
    let requests = server.requests();
    assert_eq!(sent_fields(&requests[0])[..2], [Some("Bearer t0k3n"), Some("a=1")], "{run}");
    assert_eq!(sent_fields(&requests[1])[..2], [None, None], "{run}");
}

#[test]
fn user_info_of_the_url_does_not_travel_to_another_host() {
    let server = Server::start();
    let end = server.url_for_host("b.test", "/echo/x.png");
    let url = server.redirect_to(&end).replace("http://", "http://ann:geheim@");
    let run = fetchimg().lines([url]).args(["--resolve", &server.resolve("b.test")]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let requests = server.requests();
    assert_eq!(
        requests[0].header("authorization"),
        Some(&*format!("Basic {}", BASE64_STANDARD.encode(b"ann:geheim"))),
        "{run}"
    );
    assert_eq!(requests[1].header("authorization"), None, "{run}");
}

#[test]
fn everything_goes_along_on_the_same_host() {
    let server = Server::start();
    for location in [server.url("/auth/ann/geheim/300/x.png"), "/auth/ann/geheim/300/x.png".to_owned()] {
        let run = fetchimg()
            .lines([server.redirect_to(&location)])
            .args(["-u", "ann:geheim", "-b", "session=42", "-H", "X-Key: k3y", "-A", "tester/1"])
            .run();
        assert_eq!(run.status, Some(0), "{run}");
        let last = server.requests().pop().expect("a request");
        assert_eq!(last.path(), "/auth/ann/geheim/300/x.png", "{run}");
        assert_eq!(sent_fields(&last)[1..], [Some("session=42"), Some("k3y"), Some("tester/1")], "{run}");
    }
}

#[test]
fn user_info_of_the_url_goes_along_on_the_same_host() {
    let server = Server::start();
    for location in ["/auth/ann/geheim/300/x.png".to_owned(), server.url("/auth/ann/geheim/300/x.png")] {
        let url = server.redirect_to(&location).replace("http://", "http://ann:geheim@");
        let run = fetchimg().lines([url]).run();
        assert_eq!(run.status, Some(0), "a redirect to {location}\n{run}");
        assert_eq!(run.file("redirect-to.png"), server.body("/auth/ann/geheim/300/x.png"), "{run}");
    }
}

#[test]
fn nothing_personal_travels_from_https_to_another_host_or_to_plain_http() {
    let secure = Server::start_tls();
    let plain = Server::start();
    for end in [secure.url_for_host("images.test", "/echo/x.png"), plain.url("/echo/x.png")] {
        let run = fetchimg()
            .lines([secure.redirect_to(&end)])
            .args(["--resolve", &secure.resolve("images.test"), "-u", "ann:geheim", "-b", "session=42"])
            .args(["-H", "X-Key: k3y", "-A", "tester/1", "--allow-downgrade"])
            .arg("--cacert")
            .arg(secure.ca_pem_file())
            .run();
        assert_eq!(run.status, Some(0), "{run}");
        let mut seconds = secure.requests_for("/echo/x.png");
        seconds.extend(plain.requests_for("/echo/x.png"));
        let second = seconds.pop().expect("a second request");
        assert_eq!(sent_fields(&second), [None, None, None, Some("tester/1")], "{run}");
    }
    assert_eq!(secure.requests_for("/redirect-to").len(), 2);
    assert!(secure.requests_for("/redirect-to").iter().all(|first| first.header("x-key") == Some("k3y")));
}

#[test]
fn a_redirect_from_https_to_http_is_followed_only_when_allowed() {
    let secure = Server::start_tls();
    let plain = Server::start();
    let url = secure.redirect_to(&plain.url("/echo/x.png"));
    let program = || fetchimg().lines([&url]).arg("--cacert").arg(secure.ca_pem_file());
    let run = program().run();
    is_refused(&run);
    assert!(
        run.record(0)["message"].as_str().is_some_and(|text| text.contains("--allow-downgrade follows it")),
        "{run}"
    );
    assert_eq!(plain.requests().len(), 0, "{run}");
    let run = program().arg("--allow-downgrade").run();
    assert_eq!(run.status, Some(0), "{run}");
    // From HTTP to HTTPS is always allowed.
    let up = plain.redirect_to(&secure.url("/echo/x.png"));
    let run = fetchimg().lines([up]).arg("--cacert").arg(secure.ca_pem_file()).run();
    assert_eq!(run.status, Some(0), "{run}");
}

#[test]
fn a_cookie_of_a_redirect_comes_back_within_the_row_alone() {
    let server = Server::start();
    let (first, second) = ("/cookie-wall/300/a.png", "/cookie-wall/300/b.png");
    let run =
        fetchimg().lines([server.url(first), server.url(second)]).args(["--sequential", "-b", "u=1; seen=0"]).run();
    assert_eq!((run.status, run.files().len()), (Some(0), 2), "{run}");
    for target in [first, second] {
        let requests = server.requests_for(target);
        let cookies = requests.iter().map(|request| request.header("cookie")).collect::<Vec<_>>();
        assert_eq!(cookies, [Some("u=1; seen=0"), Some("u=1; seen=1")], "{run}");
    }
}

#[test]
fn a_cookie_of_a_redirect_goes_to_no_other_host() {
    let (server, other) = (Server::start(), Server::start());
    let away = other.url_for_host("other.test", "/echo/a.png");
    let url = server.url_for_host("images.test", &format!("/cookie-redirect?url={}", away.replace(':', "%3A")));
    let run = fetchimg()
        .lines([url])
        .args(["--resolve", &server.resolve("images.test"), "--resolve", &other.resolve("other.test")])
        .run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(other.requests()[0].header("cookie"), None, "{run}");
}
