//! A program that is stopped for longer than its deadlines, as on a laptop that sleeps.

use std::thread::sleep;
use std::time::Duration;

use crate::common::{Dns, Program, Reply, Run, Running, Server, fetchimg};

/// The deadlines of these runs, and far more than a busy machine needs for anything.
const DEADLINE: &str = "2";

/// Longer than [`DEADLINE`].
const STOPPED: Duration = Duration::from_millis(3200);

/// One image, with one try.
fn one(url: &str) -> Program {
    fetchimg().lines([url]).args(["--retries", "0", "--stall-timeout", DEADLINE])
}

fn stop(running: &mut Running, meanwhile: impl FnOnce()) {
    running.kill("STOP");
    sleep(STOPPED / 2);
    meanwhile();
    sleep(STOPPED / 2);
    running.kill("CONT");
}

#[track_caller]
fn is_saved(run: &Run, server: &Server, target: &str, attempts: u64) {
    assert_eq!(run.status, Some(0), "{target}\n{run}");
    assert_eq!(run.file("a.png"), server.body(target), "{run}");
    assert_eq!(run.record(0)["attempts"], attempts, "{target}\n{run}");
}

/// Runs the cases side by side, because all they do is wait.
fn side_by_side<T: Send + Sync + Copy>(cases: &[T], case: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for each in cases {
            scope.spawn(|| case(*each));
        }
    });
}

#[test]
fn what_came_while_the_program_was_stopped_is_read() {
    side_by_side(&["/gated/3000/a.png", "/gated-middle/300000/a.png"], |target| {
        let server = Server::start();
        let mut running = one(&server.url(target)).start();
        server.wait_for_hits(target, 1, Duration::from_secs(60));
        stop(&mut running, || server.open_gate());
        is_saved(&running.wait(), &server, target, 1);
    });
}

#[test]
fn what_comes_after_the_program_went_on_is_waited_for() {
    let limits = [["--stall-timeout", DEADLINE], ["--timeout", DEADLINE]];
    let targets = ["/gated/3000/a.png", "/gated-middle/300000/a.png"];
    let cases = limits.map(|limit| targets.map(|target| (limit, target))).concat();
    side_by_side(&cases, |(limit, target)| {
        let server = Server::start();
        let mut running = fetchimg().lines([server.url(target)]).args(["--retries", "0"]).args(limit).start();
        server.wait_for_hits(target, 1, Duration::from_secs(60));
        stop(&mut running, || {});
        // Without a new deadline the row fails at once.
        sleep(Duration::from_millis(300));
        server.open_gate();
        is_saved(&running.wait(), &server, target, 1);
    });
}

#[test]
fn a_connection_that_died_meanwhile_costs_no_try() {
    let (server, target) = (Server::start(), "/stall-once/3000/a.png");
    let mut running = one(&server.url(target)).start();
    server.wait_for_hits(target, 1, Duration::from_secs(60));
    stop(&mut running, || {});
    is_saved(&running.wait(), &server, target, 2);
}

#[test]
fn a_host_that_cannot_be_reached_afterwards_is_tried_for_some_time() {
    let server = Server::start();
    let mut running = one(&server.url("/gated/3000/a.png")).start();
    server.wait_for_hits("/gated/", 1, Duration::from_secs(60));
    stop(&mut running, move || drop(server));
    let run = running.wait();
    assert_eq!(run.record(0)["error"], "connect", "{run}");
    assert!(run.record(0)["attempts"].as_u64() > Some(3), "{run}");
}

#[test]
fn a_silence_that_goes_on_is_too_long_all_the_same() {
    let server = Server::start();
    let mut running = one(&server.url("/silent/a.png")).start();
    server.wait_for_hits("/silent", 1, Duration::from_secs(60));
    stop(&mut running, || {});
    let run = running.wait();
    assert_eq!(run.record(0)["error"], "stalled", "{run}");
}

#[test]
fn a_name_that_was_asked_for_meanwhile_costs_no_try() {
    let server = Server::start();
    let dns = Dns::start(|_| Reply::Slow(Duration::from_millis(700), Box::new(Reply::here())));
    let url = server.url_for_host("a.test", "/png/300/a.png");
    let mut running = one(&url).args(["--connect-timeout", DEADLINE, "--dns-servers", &dns.address()]).start();
    crate::common::wait_until("a query", || dns.total() > 0);
    stop(&mut running, || {});
    let run = running.wait();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{run}");
}
