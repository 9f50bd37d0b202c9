//! Retries: how many, after which time, and which connections are kept.

use std::time::Duration;

use serde_json::json;

use crate::common::{Request, Server, fetchimg};

/// The time from each request to the next.
fn gaps(requests: &[Request]) -> Vec<Duration> {
    requests.windows(2).map(|two| two[1].at - two[0].at).collect()
}

#[test]
fn a_server_that_recovers_is_asked_until_it_does() {
    let server = Server::start();
    let target = "/flaky/503/2/5000/a.png";
    let run = fetchimg().lines([server.url(target)]).args(["--retry-wait", "0.01"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files(), ["a.png"], "{run}");
    assert_eq!(run.file("a.png"), server.body(target), "{run}");
    assert_eq!(run.record(0)["attempts"], 3, "{run}");
    assert_eq!(run.record(0)["http_status"], 200, "{run}");
    assert_eq!(server.hits(target), 3, "{run}");
}

#[test]
fn three_retries_are_the_default() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/status/500/a.png")]).args(["--retry-wait", "0.01"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.record(0)["attempts"], 4, "{run}");
    assert_eq!(server.requests().len(), 4, "{run}");
}

#[test]
fn no_retries_mean_one_request() {
    let server = Server::start();
    let target = "/flaky/503/1/300/a.png";
    let run = fetchimg().lines([server.url(target)]).args(["--retries", "0"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.record(0)["attempts"], 1, "{run}");
    assert_eq!(run.record(0)["retryable"], true, "{run}");
    assert_eq!(server.hits(target), 1, "{run}");
    assert_eq!(run.files(), [""; 0], "{run}");
}

#[test]
fn waits_between_attempts_double() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/status/500/a.png")]).args(["--retries", "3", "--retry-wait", "0.3"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    let gaps = gaps(&server.requests());
    assert_eq!(gaps.len(), 3, "{run}");
    // Half of each wait is jitter.
    for (gap, least) in gaps.iter().zip([150, 300, 600]) {
        assert!(*gap >= Duration::from_millis(least), "{gaps:?}\n{run}");
    }
    assert!(run.elapsed < Duration::from_secs(6), "{gaps:?}\n{run}");
}

#[test]
fn a_retry_after_is_never_undercut() {
    for target in ["/wait/503/1/1/300/a.png", "/wait/429/1/1/300/a.png", "/wait-date/503/1/1/300/a.png"] {
        let server = Server::start();
        let run = fetchimg().lines([server.url(target)]).args(["--retry-wait", "0.01"]).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(run.file("a.png"), server.body(target), "{run}");
        assert_eq!(run.record(0)["attempts"], 2, "{run}");
        let gaps = gaps(&server.requests());
        assert_eq!(gaps.len(), 1, "{run}");
        assert!(gaps[0] >= Duration::from_secs(1), "{gaps:?}\n{run}");
        assert!(gaps[0] < Duration::from_secs(5), "{gaps:?}\n{run}");
    }
}

#[test]
fn any_refusal_that_asks_to_come_back_is_asked_again() {
    for status in [202, 403, 404, 409, 451, 501, 522] {
        let server = Server::start();
        let target = format!("/wait/{status}/1/1/300/a.png");
        let run = fetchimg().lines([server.url(&target)]).args(["--retry-wait", "0.01"]).run();
        assert_eq!((run.status, run.files()), (Some(0), vec!["a.png".to_owned()]), "{status}: {run}");
        assert_eq!(run.record(0)["attempts"], 2, "{run}");
        assert!(gaps(&server.requests())[0] >= Duration::from_secs(1), "{status}: {run}");

        let target = format!("/wait/{status}/0/9/300/b.png");
        let run = fetchimg().lines([server.url(&target)]).args(["--retries", "1", "--retry-wait", "0.01"]).run();
        let record = run.record(0);
        assert_eq!(json!([record["error"], record["http_status"]]), json!(["http_status", status]), "{run}");
        assert_eq!(json!([record["retryable"], record["attempts"]]), json!([true, 2]), "{run}");
        assert!(record["message"].as_str().is_some_and(|text| text.starts_with(&status.to_string())), "{run}");
    }
}

#[test]
fn a_body_of_202_is_saved_if_it_is_the_image_and_no_answer_otherwise() {
    let server = Server::start();
    let saves = fetchimg().lines([server.url("/raw/accepted-with-image/a.png")]).run();
    assert_eq!((saves.status, saves.files()), (Some(0), vec!["a.png".to_owned()]), "{saves}");
    for (name, flags) in [
        ("202-with-page", &[][..]),
        ("accepted-empty", &[]),
        ("202-with-page", &["--accept", "any"]),
        ("accepted-with-image", &["--min-width", "5000"]),
        ("accepted-with-image", &["--min-bytes", "5000"]),
    ] {
        let run = fetchimg()
            .lines([server.url(&format!("/raw/{name}/b.png"))])
            .args(["--retries", "1", "--retry-wait", "0.01"])
            .args(flags.iter().copied())
            .run();
        let record = run.record(0);
        assert_eq!(json!([record["error"], record["http_status"]]), json!(["http_status", 202]), "{name}: {run}");
        assert_eq!(json!([record["retryable"], record["attempts"]]), json!([true, 2]), "{name}: {run}");
        assert!(record["message"].as_str().is_some_and(|text| text.starts_with("202 Accepted")), "{run}");
        assert_eq!(run.files(), [""; 0], "{run}");
    }
}

#[test]
fn a_retry_after_of_a_day_ends_the_row_and_holds_up_no_other_host() {
    let server = Server::start();
    let lines = [
        server.url_for_host("a.test", "/wait/503/100000/1/300/a.png"),
        server.url_for_host("b.test", "/wait-date/429/100000/1/300/b.png"),
        server.url("/png/300/good.png"),
    ];
    let run = fetchimg()
        .lines(lines)
        .args(["--sequential", "--resolve", &server.resolve("a.test"), "--resolve", &server.resolve("b.test")])
        .run();
    assert_eq!(run.status, Some(1), "{run}");
    assert!(run.elapsed < Duration::from_secs(5), "{run}");
    assert_eq!(run.files(), ["good.png"], "{run}");
    for (row, status) in [(0, 503), (1, 429)] {
        let record = run.record(row);
        assert_eq!(record["error"], "http_status", "{run}");
        assert_eq!(record["http_status"], status, "{run}");
        assert_eq!(record["attempts"], 1, "{run}");
        assert_eq!(record["retryable"], true, "another run may succeed\n{run}");
    }
    assert_eq!(server.requests().len(), 3, "{run}");
}

#[test]
fn a_retry_after_of_a_day_is_heard_by_every_row_of_the_host() {
    for status in [429, 503] {
        let server = Server::start();
        let mut lines = vec![server.url_for_host("a.test", &format!("/wait/{status}/100000/1/300/first.png"))];
        lines.extend((0..5).map(|n| server.url_for_host("a.test", &format!("/png/300/{n}.png"))));
        // Says when a second and a half have passed.
        lines.push(server.url("/slow/1500/300/clock.png"));
        let mut running = fetchimg()
            .lines(lines)
            .args(["--per-host", "1", "--retry-wait", "0.1", "--resolve", &server.resolve("a.test")])
            .start();
        running.wait_for_stderr("Downloaded: ");
        running.kill("INT");
        let run = running.wait();
        assert_eq!((run.status, run.files()), (Some(130), vec!["clock.png".to_owned()]), "{run}");
        assert_eq!(run.record(0)["http_status"], status, "{run}");
        assert_eq!(server.requests().len(), 2, "{run}");
    }
}

#[test]
fn a_row_that_waits_for_one_host_does_not_delay_another_host() {
    let server = Server::start();
    let waiting = "/wait/503/8/1/300/a.png";
    let mut lines = vec![server.url_for_host("a.test", waiting)];
    lines.extend((0..20).map(|number| server.url_for_host("b.test", &format!("/png/300/{number}.png"))));
    let run = fetchimg()
        .lines(lines)
        .args(["-j", "2", "--per-host", "1"])
        .args(["--resolve", &server.resolve("a.test"), "--resolve", &server.resolve("b.test")])
        .run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 21, "{run}");
    assert_eq!(run.file("a.png"), server.body(waiting), "{run}");
    let requests = server.requests();
    assert_eq!(requests.len(), 22, "{run}");
    assert_eq!(requests[21].path(), waiting, "the second attempt comes last of all\n{run}");
}

#[test]
fn a_row_that_waits_for_a_retry_holds_no_permit() {
    let server = Server::start();
    let waiting = "/flaky/500/1/300/a.png";
    let mut lines = vec![server.url(waiting)];
    lines.extend((0..20).map(|number| server.url(&format!("/png/300/{number}.png"))));
    let run = fetchimg().lines(lines).args(["-j", "2", "--per-host", "1", "--retry-wait", "16"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(server.peak_in_flight(), 1, "{run}");
    let requests = server.requests();
    assert_eq!(requests.len(), 22, "{run}");
    assert_eq!(requests[21].path(), waiting, "the second attempt comes last of all\n{run}");
}

#[test]
fn a_kept_connection_that_was_closed_costs_no_attempt() {
    let server = Server::start();
    let pairs = |number| [format!("/png/300/{number}a.png"), format!("/hang-up-once/300/{number}b.png")];
    let targets = (0..5).flat_map(pairs).collect::<Vec<_>>();
    let run = fetchimg()
        .lines(targets.iter().map(|target| server.url(target)))
        .args(["--sequential", "--retries", "0"])
        .run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 10, "{run}");
    for ((index, target), name) in (0..).zip(&targets).zip(run.files()) {
        assert_eq!(run.file(&name), server.body(target), "{run}");
        assert_eq!(run.record(index)["attempts"], 1, "{run}");
        assert!(server.hits(target) <= 2, "{run}");
    }
    // One request on the closed connection, one on another; sometimes a request opens a new one by itself.
    assert!(server.requests().len() >= 13, "{} requests\n{run}", server.requests().len());
}

#[test]
fn servers_that_close_after_each_answer_are_no_trouble() {
    for mode in [&["--sequential"][..], &["-j", "8"][..]] {
        let server = Server::start();
        let targets = (10..50).map(|number| format!("/close-after/400/{number}.png")).collect::<Vec<_>>();
        let run = fetchimg()
            .lines(targets.iter().map(|target| server.url(target)))
            .args(["--retries", "0"])
            .args(mode.iter().copied())
            .run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(run.files().len(), 40, "{run}");
        for (index, target) in (0..).zip(&targets) {
            assert_eq!(run.record(index)["attempts"], 1, "{run}");
            assert_eq!(run.file(&format!("{}.png", index + 10)), server.body(target), "{run}");
            assert_eq!(server.hits(target), 1, "{run}");
        }
    }
}

/// A connection returns to the pool a moment after the last byte of its response was read. A request before that opens
/// another one.
#[track_caller]
fn is_one_but_for_chance(connections: usize) {
    assert!((1..=4).contains(&connections), "{connections} connections");
}

#[test]
fn one_connection_serves_a_whole_list() {
    let server = Server::start();
    let lines = (0..20).map(|number| server.url(&format!("/png/400/{number}.png")));
    let run = fetchimg().lines(lines).arg("--sequential").run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 20, "{run}");
    assert_eq!(server.requests().len(), 20, "{run}");
    is_one_but_for_chance(server.connections());
}

#[test]
fn an_error_page_or_a_redirect_does_not_cost_the_connection() {
    let server = Server::start();
    let lines = (0..5).flat_map(|number| {
        [server.url(&format!("/status/404/{number}.png")), server.url(&format!("/redirect/302/1/png/400/{number}.png"))]
    });
    let run = fetchimg().lines(lines).arg("--sequential").run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.files().len(), 5, "{run}");
    assert_eq!(server.requests().len(), 15, "{run}");
    is_one_but_for_chance(server.connections());
}

/// The `Range` and `If-Range` of each request for a target.
fn ranges(server: &Server, target: &str) -> Vec<(Option<String>, Option<String>)> {
    let header = |request: &Request, name: &str| request.header(name).map(str::to_owned);
    let requests = server.requests_for(target);
    requests.iter().map(|request| (header(request, "range"), header(request, "if-range"))).collect()
}

#[test]
fn a_retry_resumes_where_the_body_broke_off() {
    let server = Server::start();
    // A body that fits into the buffer, and one that is far larger.
    for (times, size) in [(1, 5_000), (2, 400_001)] {
        let target = format!("/etag-cut/{times}/{size}/a.png");
        let run = fetchimg().lines([server.url(&target)]).args(["--retry-wait", "0.01"]).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert!(run.file("a.png") == server.body(&target), "{run}");
        let record = run.record(0);
        assert_eq!(record["attempts"], times + 1, "{record}");
        assert_eq!(record["bytes"], size, "{record}");
        let resumed = record["resumed_from"].as_u64().expect("a number");
        assert!(resumed > 0 && resumed < size, "{record}");
        let ranges = ranges(&server, &target);
        assert_eq!(ranges[0], (None, None));
        assert_eq!(ranges.last().expect("a request").0, Some(format!("bytes={resumed}-")), "{run}");
        assert!(ranges[1..].iter().all(|(range, if_range)| range.is_some() && if_range.is_some()), "{ranges:?}");
        assert_eq!(run.leftovers(), [""; 0], "{run}");
    }
}

#[test]
fn a_body_that_has_changed_is_fetched_from_its_beginning() {
    let server = Server::start();
    for target in ["/etag-changed/1/5000/a.png", "/bad-range/1/5000/a.png", "/etag-changed/1/300000/a.png"] {
        let run = fetchimg().lines([server.url(target)]).args(["--retry-wait", "0.01"]).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert!(run.file("a.png") == server.body(target), "{target}\n{run}");
        assert_eq!(run.record(0)["resumed_from"], 0, "{run}");
    }
}

#[test]
fn a_second_request_of_an_attempt_gets_no_time_of_its_own() {
    let server = Server::start();
    let target = "/slow-bad-range/2000/5000/a.png";
    let flags = ["--timeout", "3", "--retries", "1", "--retry-wait", "0.01"];
    let run = fetchimg().lines([server.url(target)]).args(flags).run();
    assert_eq!((run.status, &run.record(0)["error"]), (Some(1), &json!("timeout")), "{run}");
    // A cut body, a partial response that cannot be used, and the whole, which would come a second after the deadline.
    assert_eq!((server.hits(target), &run.record(0)["attempts"]), (3, &json!(2)), "{run}");
}

#[test]
fn without_a_strong_validator_a_body_begins_again() {
    let server = Server::start();
    let target = "/flaky-cut/2/5000/a.png";
    let run = fetchimg().lines([server.url(target)]).args(["--retry-wait", "0.01"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.file("a.png") == server.body(target), "{run}");
    assert_eq!(run.record(0)["resumed_from"], 0, "{run}");
    assert_eq!(ranges(&server, target), vec![(None, None); 3], "{run}");
}

#[test]
fn a_body_is_not_resumed_from_another_url() {
    // Mirrors may use the same entity tag for different bodies, because a tag holds for one URL only.
    for retries in ["1", "0"] {
        let server = Server::start();
        let target = format!("/etag-elsewhere/600000/{retries}/a.png");
        let mut run = fetchimg().lines([server.url(&target)]).args(["--retries", retries, "--retry-wait", "0"]).run();
        if retries == "0" {
            assert_eq!(run.status, Some(1), "{run}");
            run = fetchimg().in_dir(&run.dir).lines([server.url(&target)]).run();
        }
        assert_eq!(run.status, Some(0), "{run}");
        assert!(run.file("a.png") == server.body("/etag/600000/two.png"), "one body made of two\n{run}");
        assert_eq!(run.record(0)["resumed_from"], 0, "{run}");
    }
}

#[test]
fn a_rest_that_ends_early_is_not_taken_for_all() {
    let server = Server::start();
    let url = server.url("/etag-short/600000/a.png");
    let run = fetchimg().lines([url]).args(["--retries", "1", "--retry-wait", "0"]).run();
    assert_eq!((run.status, &run.record(0)["error"]), (Some(1), &"cut_short".into()), "{run}");
    assert_eq!(run.files(), [""; 0], "{run}");
}

#[test]
fn as_many_retries_as_one_likes_cost_no_time_to_count() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/png/300/a.png")]).args(["--retries", "4294967295"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.elapsed < std::time::Duration::from_secs(5), "{run}");
}

#[test]
fn silence_at_a_quick_host_ends_sooner_unless_its_time_was_said() {
    for (flags, waits) in [(&[][..], 2.0..10.0), (&["--stall-timeout", "4.5"], 4.5..15.0)] {
        let server = Server::start();
        let mut urls = (0..40).map(|n| server.url(&format!("/png/300/{n}.png"))).collect::<Vec<_>>();
        urls.push(server.url("/stall-once/2000/late.png"));
        // One after the other, so that the usual latency is known before the last.
        let run = fetchimg().lines(urls).args(["--sequential", "--retry-wait", "0.01"]).args(flags).run();
        assert_eq!(run.status, Some(0), "{run}");
        let late = &run.records()[40];
        assert_eq!((&late["status"], &late["attempts"]), (&json!("saved"), &json!(2)), "{run}");
        let took = late["total_ms"].as_f64().expect("a time") / 1000.0;
        assert!(waits.contains(&took), "{took} s\n{run}");
    }
}
