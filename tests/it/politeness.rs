//! Politeness: a failing host does not delay others, and gets fewer requests.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{ClosedPort, Server, fetchimg, server::Request};

const MAX_WAIT: Duration = Duration::from_secs(120);

/// URLs of two host names that lead to one server, the second's behind all of the first's.
fn sorted_by_host(server: &Server, first: &str, second: &str, rows: usize) -> Vec<String> {
    let of = |host: &'static str, target: &str| {
        (0..rows).map(|n| server.url_for_host(host, &format!("{target}/{host}-{n}.png"))).collect::<Vec<_>>()
    };
    [of("a.test", first), of("b.test", second)].concat()
}

fn resolved(server: &Server) -> [String; 4] {
    ["--resolve".into(), server.resolve("a.test"), "--resolve".into(), server.resolve("b.test")]
}

fn of_host<'a>(requests: &'a [Request], host: &str) -> Vec<&'a Request> {
    requests.iter().filter(|request| request.host.starts_with(host)).collect()
}

#[test]
fn a_list_sorted_by_host_is_not_fetched_host_by_host() {
    let server = Server::start();
    let urls = sorted_by_host(&server, "/gated/300", "/png/300", 200);
    let running = fetchimg().lines(urls).args(resolved(&server)).args(["-j", "8", "--per-host", "4"]).start();
    // The first host never answers, and every row of the second one gets through.
    for n in 0..200 {
        server.wait_for_hits(&format!("/png/300/b.test-{n}.png"), 1, MAX_WAIT);
    }
    assert_eq!(of_host(&server.requests(), "a.test").len(), 4);
    server.open_gate();
    let run = running.wait();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 400, "{run}");
    assert!(server.peak_in_flight() <= 8, "{}", server.peak_in_flight());
}

#[test]
fn one_retry_after_is_heard_by_every_row_of_that_host_and_by_no_other() {
    let server = Server::start();
    // More rows than permits: none of them may delay a row of another host.
    let mut urls =
        (0..6).map(|n| server.url_for_host("a.test", &format!("/wait/429/8/1/300/a{n}.png"))).collect::<Vec<_>>();
    urls.extend((0..40).map(|n| server.url_for_host("b.test", &format!("/png/300/b{n}.png"))));
    let run = fetchimg().lines(urls).args(resolved(&server)).args(["-j", "4", "--per-host", "2", "--json"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 46, "{run}");
    let requests = server.requests();
    let of_a = of_host(&requests, "a.test");
    let first = of_a[0].at;
    let last_of_b = of_host(&requests, "b.test").iter().map(|request| request.at).max().unwrap();
    assert!(last_of_b - first < Duration::from_millis(7900), "the other host went on");
    // Two requests were in flight when the first response came; no other one is sent for eight seconds.
    let early = of_a.iter().filter(|request| request.at - first < Duration::from_millis(7950)).count();
    assert!(early <= 2, "{early} requests although the host had asked for peace\n{run}");
    let overloaded = &run.report()["modes"][0]["overloaded_hosts"];
    assert!(overloaded[0]["host"].as_str().unwrap().starts_with("a.test"), "{overloaded}");
    assert!(overloaded.as_array().unwrap().len() == 1, "{overloaded}");
    assert!(overloaded[0]["throttled"].as_u64().is_some_and(|times| times > 0), "{overloaded}");
    assert_eq!(overloaded[0]["throttled"], overloaded[0]["times"], "it has said 429 and nothing else");
}

#[test]
fn a_host_that_is_down_gets_single_probes_and_delays_no_other() {
    let server = Server::start();
    let closed = ClosedPort::new();
    let mut urls = (0..60).map(|n| closed.url(&format!("/{n}.png"))).collect::<Vec<_>>();
    urls.extend((0..50).map(|n| server.url(&format!("/png/300/{n}.png"))));
    let patience = ["--connect-timeout", "0.5", "--retries", "1", "--retry-wait", "16"];
    let run = fetchimg().lines(urls).args(["-j", "4", "--json"]).args(patience).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.files().len(), 50, "{run}");
    let last = server.requests().iter().map(|request| request.at).max().unwrap();
    let first = server.requests().iter().map(|request| request.at).min().unwrap();
    assert!(last - first < Duration::from_millis(7900), "the other host went on while the dead one's rows waited");
    let report = run.report();
    assert_eq!(report["modes"][0]["failed_by_kind"]["connect"], 60, "{report}");
}

#[test]
fn ten_thousand_rows_of_a_host_that_never_answers_end_when_its_circuit_opens() {
    for mode in [&[][..], &["--sequential"]] {
        let server = Server::start();
        let urls = (0..10_000).map(|n| server.url(&format!("/silent/{n}.png")));
        let run = fetchimg().lines(urls).args(["--stall-timeout", "0.3", "--retries", "1", "-q"]).args(mode).run();
        assert_eq!(run.status, Some(1), "{run}");
        // If every row were tried, by 64 at once, it would take 94 seconds.
        assert!(run.elapsed < Duration::from_secs(45), "{:?}", run.elapsed);
        let records = run.records();
        assert_eq!(records.len(), 10_000);
        assert!(records.iter().all(|record| record["error"] == "stalled" && record["retryable"] == true));
        // A few rows tried the host, and the others say that they were not tried.
        let hits = server.requests().len();
        assert!((8..60).contains(&hits), "{hits} requests");
        let made = records.iter().map(|record| record["attempts"].as_u64().unwrap()).sum::<u64>();
        assert_eq!(made, hits as u64);
        let host = format!("127.0.0.1:{} has not answered for ", server.port());
        let mut untried = records.iter().filter(|record| record["attempts"] == 0);
        assert!(untried.all(|record| {
            let message = record["message"].as_str().unwrap();
            message.starts_with(&host) && message.ends_with(" s; not tried")
        }));
    }
}

#[test]
fn a_host_that_comes_back_in_time_has_lost_no_row() {
    let server = Server::start();
    // Nothing listens at this port at first.
    let closed = ClosedPort::new();
    let urls = (0..400).map(|n| closed.url(&format!("/png/300/{n}.png")));
    let running =
        fetchimg().lines(urls).args(["--retries", "1", "--retry-wait", "0.05", "--connect-timeout", "5"]).start();
    running.wait_for_stderr("refused");
    let listener = closed.open();
    let address = server.address();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let there = std::net::TcpStream::connect(address).unwrap();
            for (from, to) in [(&stream, &there), (&there, &stream)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    let run = running.wait();
    // The rows that found the host down fail after their own attempts; all others have waited.
    let saved = run.files().len();
    assert!(saved >= 380, "{saved} of 400\n{run}");
    assert!(run.elapsed < Duration::from_secs(15), "{run}");
}

#[test]
fn few_rows_at_a_dead_host_end_with_their_own_attempts() {
    let closed = ClosedPort::new();
    let run = fetchimg().lines((0..5).map(|n| closed.url(&format!("/{n}.png")))).args(["--retry-wait", "0.2"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    for row in 0..5 {
        assert_eq!(run.record(row)["attempts"], 4, "{run}");
    }
    assert!(run.elapsed < Duration::from_secs(4), "{run}");
}

#[test]
fn a_host_whose_name_does_not_resolve_is_given_up() {
    let urls = (0..2000).map(|n| format!("http://nosuchhost.invalid/{n}.png"));
    let run =
        fetchimg().lines(urls).args(["--connect-timeout", "0.5", "--retries", "1", "--retry-wait", "0.1", "-q"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    let untried = run.records().iter().filter(|record| record["error"] == "dns" && record["attempts"] == 0).count();
    assert!(untried > 1900, "{untried}");
}

#[test]
fn the_limit_of_a_host_is_found_and_seldom_touched() {
    let server = Server::start();
    // The server takes a tenth of a second for each request. That is long compared with the time of client and network,
    // even on a busy machine where that is tens of milliseconds. Otherwise nine requests in flight would mostly be eight
    // at the server, and its limit would not appear to be eight.
    let urls = (0..1000).map(|n| server.url(&format!("/crowded/8/100/300/{n}.png")));
    let run = fetchimg().lines(urls).args(["--retry-wait", "0.1", "-q"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let refused = server.requests().len() - 1000;
    assert!(refused <= 50, "{refused} requests were refused");
    // All eight places together take 12.5 seconds for that, and one alone a hundred.
    assert!(run.elapsed < Duration::from_secs(40), "{:?}", run.elapsed);
}

#[test]
fn a_quick_host_gets_many_connections_after_six_answers() {
    let server = Server::start();
    let urls = (0..42).map(|n| server.url(&format!("/slow/400/300/{n}.png")));
    let run = fetchimg().lines(urls).arg("-q").run();
    assert_eq!((run.status, run.files().len()), (Some(0), 42), "{run}");
    let requests = server.requests();
    let first = requests.iter().map(|request| request.at).min().unwrap();
    let early = requests.iter().filter(|request| request.at - first < Duration::from_millis(350)).count();
    assert_eq!(early, 6, "{run}");
    // All others come together. If each answer added one, there would be less than half of them.
    assert!(server.peak_in_flight() >= 30, "{} at once", server.peak_in_flight());
}

#[test]
fn pages_that_stall_leave_the_others_of_their_host_alone() {
    let server = Server::start();
    let list =
        |n: usize| if n.is_multiple_of(10) { format!("/stall/200/{n}.png") } else { format!("/png/300/{n}.png") };
    let urls = (0..1000).map(|n| server.url(&list(n)));
    // Long enough that a page on a busy machine does not count as stalled.
    let run = fetchimg().lines(urls).args(["--stall-timeout", "1.5", "--retries", "1", "-q", "--json"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.files().len(), 900);
    // A hundred rows stall twice for one and a half seconds each: in turns of six that would take fifty seconds.
    assert!(run.elapsed < Duration::from_secs(30), "{:?}", run.elapsed);
    assert!(server.peak_in_flight() > 20, "{} at once", server.peak_in_flight());
}

#[test]
fn an_interrupt_gives_every_row_that_has_begun_its_record() {
    let server = Server::start();
    let urls = (0..300).map(|n| server.url(&format!("/wait/429/60/9/300/{n}.png")));
    let mut running = fetchimg().lines(urls).args(["-j", "4", "--per-host", "2"]).start();
    server.wait_for_hits("/wait/429/60/9/300/", 1, MAX_WAIT);
    running.kill("INT");
    let run = running.wait();
    assert_eq!(run.status, Some(130), "{run}");
    assert!(run.elapsed < Duration::from_secs(10), "{run}");
    let records = run.records();
    let indices = records.iter().map(|record| record["index"].as_u64().unwrap()).collect::<BTreeSet<_>>();
    assert_eq!(indices.len(), records.len(), "no row has two records\n{run}");
    assert_eq!(records.len(), server.requests().len(), "each row that was asked for has one, and no other\n{run}");
    let is_begun = |record: &Value| record["error"] == "interrupted" && record["attempts"] == 1;
    assert!(records.iter().all(is_begun), "{run}");
}

#[test]
fn too_many_requests_pause_the_whole_host() {
    let server = Server::start();
    let urls = (0..30).map(|n| server.url(&format!("/flaky/429/1/300/{n}.png")));
    let run = fetchimg().lines(urls).args(["--per-host", "3", "--retry-wait", "0.2", "--json"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let requests = server.requests();
    let first = requests[0].at;
    let early = requests.iter().filter(|request| request.at - first < Duration::from_millis(190)).count();
    assert!(early <= 3, "{early} requests although the first answer was 429\n{run}");
}

#[test]
fn one_broken_page_does_not_pause_its_host() {
    let server = Server::start();
    let mut urls = vec![server.url("/status/503/broken.png")];
    urls.extend((0..100).map(|n| server.url(&format!("/png/300/{n}.png"))));
    // Half of the wait is jitter.
    let run = fetchimg().lines(urls).args(["--retry-wait", "16", "--retries", "1"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.files().len(), 100, "{run}");
    let requests = server.requests();
    let good = requests.iter().filter(|request| request.target.starts_with("/png/")).map(|request| request.at);
    let (first, last) = (good.clone().min().unwrap(), good.max().unwrap());
    assert!(last - first < Duration::from_millis(7900), "{:?}\n{run}", last - first);
}

#[test]
fn a_rate_is_kept_for_each_host() {
    let server = Server::start();
    let urls = sorted_by_host(&server, "/png/300", "/png/300", 5);
    // The first request leaves after that; when it arrives, which may be late, says nothing about the others.
    let begin = Instant::now();
    let run = fetchimg().lines(urls).args(resolved(&server)).args(["--rate", "10"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let requests = server.requests();
    for host in ["a.test", "b.test"] {
        let last = of_host(&requests, host).iter().map(|request| request.at).max().unwrap();
        assert!(last - begin >= Duration::from_millis(400), "five requests take four tenths: {:?}", last - begin);
    }
    let (of_a, of_b) = (of_host(&requests, "a.test"), of_host(&requests, "b.test"));
    assert!(of_b[0].at < of_a[4].at, "the hosts do not wait for each other\n{run}");
}

#[test]
fn a_rate_counts_every_request_of_an_attempt() {
    for (targets, requests) in [
        // Two redirects, and the image.
        (["/redirect/302/2/png/300/a.png", "/redirect/302/2/png/300/b.png"], 6),
        // A cut body, a partial response that cannot be used, and the whole.
        (["/bad-range/1/5000/a.png", "/bad-range/1/5000/b.png"], 6),
    ] {
        let server = Server::start();
        let urls = targets.map(|target| server.url(target));
        let begin = Instant::now();
        let run = fetchimg().lines(urls).args(["--rate", "10", "--retry-wait", "0.01"]).run();
        assert_eq!((run.status, run.files()), (Some(0), vec!["a.png".to_owned(), "b.png".to_owned()]), "{run}");
        let times = server.requests().iter().map(|request| request.at).collect::<Vec<_>>();
        assert_eq!(times.len(), requests, "{run}");
        let took = *times.iter().max().unwrap() - begin;
        assert!(took >= Duration::from_millis(500), "six requests take five tenths: {took:?}\n{run}");
    }
}

#[test]
fn the_time_between_two_requests_is_not_the_attempts() {
    let server = Server::start();
    let flags = ["--rate", "0.5", "--timeout", "1", "--retries", "0"];
    let run = fetchimg().lines([server.url("/redirect/302/1/png/300/a.png")]).args(flags).run();
    assert_eq!((run.status, server.requests().len()), (Some(0), 2), "{run}");
    assert!(run.elapsed >= Duration::from_secs(2), "{run}");
}

#[test]
fn however_low_a_rate_is_the_first_request_goes_out() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/png/300/a.png")]).args(["--rate", "1e-11"]).run();
    assert_eq!((run.status, run.files()), (Some(0), vec!["a.png".to_owned()]), "{run}");
}

#[test]
fn bytes_come_no_faster_than_allowed() {
    let server = Server::start();
    let urls = (0..4).map(|n| server.url(&format!("/png/25000/{n}.png")));
    let run = fetchimg().lines(urls).args(["--limit-rate", "200000"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.file("3.png") == server.body("/png/25000/3.png"), "{run}");
    // 100,000 bytes, of which the bytes of a tenth of a second may pass at once.
    assert!(run.elapsed >= Duration::from_millis(390), "{run}");
    assert!(run.elapsed < Duration::from_secs(5), "{run}");
}

#[test]
fn a_host_is_not_blamed_for_what_it_redirects_to() {
    let server = Server::start();
    let closed = ClosedPort::new();
    let dead = (0..40).map(|n| server.redirect_to(&closed.url(&format!("/{n}.png"))));
    let live = (0..40).map(|n| server.redirect_to(&server.url_for_host("localhost", &format!("/png/300/{n}.png"))));
    let urls = dead.chain(live).collect::<Vec<_>>();
    let run = fetchimg()
        .lines(urls)
        .args(["--retries", "1", "--retry-wait", "0.1", "--connect-timeout", "0.5"])
        .args(["--name", "{index}"])
        .run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.files().len(), 40, "{run}");
    for index in 0..40 {
        let record = run.record(index);
        assert_eq!(record["error"], "connect", "{run}");
        // The dead host has a circuit breaker of its own, so some of its rows are not tried again.
        assert!(record["attempts"].as_u64().is_some_and(|attempts| (1..=2).contains(&attempts)), "{run}");
    }
}

#[test]
fn a_host_that_redirects_to_https_is_heard_there() {
    let (plain, secure) = (Server::start(), Server::start_tls());
    let urls = (0..6).map(|n| {
        let url = plain.redirect_to(&format!("https://images.test/wait/429/2/1/300/{n}.png"));
        url.replace(&plain.address().to_string(), "images.test")
    });
    let resolved =
        [(80, &plain), (443, &secure)].map(|(port, server)| format!("images.test:{port}:{}", server.address()));
    let run = fetchimg()
        .lines(urls)
        .args([
            "--resolve",
            &resolved[0],
            "--resolve",
            &resolved[1],
            "--per-host",
            "2",
            "--name",
            "{index}",
            "--cacert",
        ])
        .arg(secure.ca_pem_file())
        .run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 6, "{run}");
    let requests = secure.requests();
    let first = requests[0].at;
    // Two requests were in flight when the first response came.
    let early = requests.iter().filter(|request| request.at - first < Duration::from_millis(1950)).count();
    assert!(early <= 2, "{early} requests although the host had asked for peace\n{run}");
}

/// Many hosts that all redirect to this one, at this path.
fn crowd(server: &Server, hosts: usize, rows: usize, to: impl Fn(usize) -> String) -> Vec<String> {
    let url = |row: usize| {
        let front = format!("127.0.1.{}", row % hosts + 1);
        let redirect = server.redirect_to(&server.url_for_host("127.0.9.9", &to(row)));
        redirect.replace("127.0.0.1", &front)
    };
    (0..rows).map(url).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn the_host_behind_redirects_has_a_limit_of_its_own() {
    let server = Server::start_everywhere();
    let urls = crowd(&server, 30, 60, |row| format!("/slow/20/300/{row}.png"));
    let run = fetchimg().lines(urls).args(["--per-host", "2", "--name", "{index}"]).run();
    assert_eq!((run.status, run.files().len()), (Some(0), 60), "{run}");
    assert_eq!(server.peak_in_flight_for("127.0.9.9"), 2, "{run}");
    assert!(run.records().iter().all(|record| record["attempts"] == 1), "{run}");
}

#[test]
#[cfg(target_os = "linux")]
fn all_rows_that_lead_to_a_host_hear_its_retry_after() {
    let server = Server::start_everywhere();
    let urls = crowd(&server, 20, 60, |row| format!("/wait/429/1/1/300/{row}.png"));
    let run = fetchimg().lines(urls).args(["--per-host", "2", "--name", "{index}", "--retries", "9"]).run();
    assert_eq!((run.status, run.files().len()), (Some(0), 60), "{run}");
    let all = server.requests();
    let requests = of_host(&all, "127.0.9.9");
    let first = requests[0].at;
    let early = requests.iter().filter(|request| request.at - first < Duration::from_millis(950)).count();
    assert!(early <= 2, "{early} requests although the host had asked for peace\n{run}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_rate_is_kept_behind_redirects() {
    let server = Server::start_everywhere();
    let urls = crowd(&server, 6, 6, |row| format!("/png/300/{row}.png"));
    let begin = Instant::now();
    let run = fetchimg().lines(urls).args(["--rate", "10", "--name", "{index}"]).run();
    assert_eq!((run.status, run.files().len()), (Some(0), 6), "{run}");
    let all = server.requests();
    let requests = of_host(&all, "127.0.9.9");
    let last = requests.iter().map(|request| request.at).max().unwrap();
    assert!(last - begin >= Duration::from_millis(500), "six requests take five tenths: {:?}\n{run}", last - begin);
}

#[test]
fn hosts_that_redirect_to_each_other_do_not_wait_for_each_other() {
    for flags in [["--per-host", "1"], ["-j", "1"], ["-j", "2"], ["--retries", "1"]] {
        let server = Server::start();
        let urls = (0..40).map(|row| {
            let (from, to) = if row % 2 == 0 { ("a.test", "b.test") } else { ("b.test", "a.test") };
            let back = server.redirect_to(&server.url_for_host(from, &format!("/png/300/{row}.png")));
            let there = server.redirect_to(&back.replace("127.0.0.1", to));
            there.replacen("127.0.0.1", from, 1)
        });
        let run = fetchimg().lines(urls).args(resolved(&server)).args(flags).args(["--name", "{index}"]).run();
        assert_eq!((run.status, run.files().len()), (Some(0), 40), "{run}");
        assert_eq!(server.hits_in_all(), 120, "{run}");
        if flags[0] == "--per-host" {
            assert_eq!((server.peak_in_flight_for("a.test"), server.peak_in_flight_for("b.test")), (1, 1), "{run}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_dead_host_behind_redirects_costs_the_tries_of_a_few_rows() {
    let server = Server::start_everywhere();
    let closed = ClosedPort::new();
    let mut urls = crowd(&server, 10, 300, |row| format!("/png/300/{row}.png"));
    for (row, url) in urls.iter_mut().enumerate().filter(|(row, _)| row % 3 > 0) {
        *url = server.redirect_to(&closed.url(&format!("/{row}.png")));
    }
    let flags = ["--retries", "1", "--retry-wait", "0.1", "--connect-timeout", "0.5", "--name", "{index}"];
    let run = fetchimg().lines(urls).args(flags).run();
    assert_eq!((run.status, run.files().len()), (Some(1), 100), "{run}");
    let failed = run.records().into_iter().filter(|record| record["status"] == "failed").collect::<Vec<_>>();
    assert!(failed.iter().all(|record| record["error"] == "connect" && record["retryable"] == true), "{run}");
    let untried = failed.iter().filter(|record| record["message"].as_str().unwrap().contains("not tried")).count();
    assert!(untried > 100, "{untried}\n{run}");
    assert!(failed[199]["message"].as_str().unwrap().contains(&format!("{closed} has not answered")), "{run}");
}

#[test]
#[cfg(target_os = "linux")]
fn rows_that_wait_behind_a_redirect_end_with_the_run() {
    let server = Server::start_everywhere();
    let urls = crowd(&server, 10, 30, |row| format!("/gated/300/{row}.png"));
    let mut running = fetchimg().lines(urls).args(["--per-host", "2", "--name", "{index}"]).start();
    server.wait_for_hits("/redirect-to", 30, Duration::from_secs(120));
    server.wait_for_hits("/gated", 2, Duration::from_secs(120));
    running.kill("INT");
    running.wait_for_stderr("Stopping");
    server.open_gate();
    let run = running.wait();
    assert_eq!(run.records().len(), 30, "{run}");
    assert_eq!((run.files().len(), server.hits_in_all()), (2, 32), "{run}");
}
