//! A program that is stopped for longer than its deadlines, as on a laptop that sleeps.

use std::thread::{scope, sleep};
use std::time::Duration;

use crate::common::{Dns, Program, Reply, Run, Running, Server, fetchimg, wait_until};

/// The deadlines of these runs, in seconds: a busy machine needs some time to stop a program.
const DEADLINE: &str = "3";

/// Longer than [`DEADLINE`], and than any pause of a busy machine.
const STOPPED: Duration = Duration::from_millis(4500);

const IN_THE_HEAD: &str = "/gated/3000/a.png";
const IN_THE_BODY: &str = "/gated-middle/300000/a.png";

/// The cases run side by side, because all they do is wait.
#[test]
fn a_program_that_was_stopped_loses_no_try() {
    scope(|scope| {
        for target in [IN_THE_HEAD, IN_THE_BODY] {
            scope.spawn(move || what_came_meanwhile_is_read(target));
            for limit in ["--stall-timeout", "--timeout"] {
                scope.spawn(move || what_comes_afterwards_is_waited_for(target, limit));
            }
        }
        scope.spawn(a_connection_that_died_costs_no_try);
        scope.spawn(a_host_that_is_gone_is_tried_for_some_time);
        scope.spawn(a_silence_that_goes_on_is_too_long_all_the_same);
        scope.spawn(a_name_that_was_asked_for_costs_no_try);
    });
}

/// One image, with one try.
fn one(url: &str, limit: &str) -> Program {
    fetchimg().lines([url]).args(["--retries", "0", limit, DEADLINE, "-vv"])
}

/// Starts to fetch the image, and stops the program when its request has arrived.
fn stopped_during(server: &Server, target: &str, limit: &str) -> Running {
    let mut running = one(&server.url(target), limit).start();
    server.wait_for_hits(target, 1, Duration::from_secs(60));
    running.stop();
    running
}

#[track_caller]
fn is_saved(run: &Run, server: &Server, target: &str, attempts: u64) {
    assert_eq!(run.status, Some(0), "{target}\n{run}");
    assert_eq!(run.file("a.png"), server.body(target), "{run}");
    assert_eq!(run.record(0)["attempts"], attempts, "{target}\n{run}");
}

fn what_came_meanwhile_is_read(target: &str) {
    let server = Server::start();
    let mut running = stopped_during(&server, target, "--stall-timeout");
    server.open_gate();
    sleep(STOPPED);
    running.kill("CONT");
    is_saved(&running.wait(), &server, target, 1);
}

fn what_comes_afterwards_is_waited_for(target: &str, limit: &str) {
    let server = Server::start();
    let mut running = stopped_during(&server, target, limit);
    sleep(STOPPED);
    running.kill("CONT");
    // Without a new deadline the row fails at once.
    sleep(Duration::from_millis(300));
    server.open_gate();
    is_saved(&running.wait(), &server, target, 1);
}

fn a_connection_that_died_costs_no_try() {
    let (server, target) = (Server::start(), "/stall-once/3000/a.png");
    let mut running = stopped_during(&server, target, "--stall-timeout");
    sleep(STOPPED);
    running.kill("CONT");
    is_saved(&running.wait(), &server, target, 2);
}

fn a_host_that_is_gone_is_tried_for_some_time() {
    let server = Server::start();
    let mut running = stopped_during(&server, IN_THE_HEAD, "--stall-timeout");
    drop(server);
    sleep(STOPPED);
    running.kill("CONT");
    let is_tried = |running: &Running| running.stderr().matches("Trying again in 1.0 s").count() >= 2;
    wait_until("a third attempt, or the end", || is_tried(&running) || !running.is_running());
    assert!(is_tried(&running), "{}", running.stderr());
}

fn a_silence_that_goes_on_is_too_long_all_the_same() {
    let server = Server::start();
    let mut running = stopped_during(&server, "/silent/a.png", "--stall-timeout");
    sleep(STOPPED);
    running.kill("CONT");
    let is_noticed = |running: &Running| running.stderr().contains("no whole head of an answer came within 3 s");
    wait_until("the end of the silence", || is_noticed(&running) || !running.is_running());
    assert!(is_noticed(&running), "{}", running.stderr());
}

fn a_name_that_was_asked_for_costs_no_try() {
    let server = Server::start();
    let dns = Dns::start(|_| Reply::Slow(Duration::from_millis(700), Box::new(Reply::here())));
    let url = server.url_for_host("a.test", "/png/300/a.png");
    let mut running = one(&url, "--connect-timeout").args(["--dns-servers", &dns.address()]).start();
    wait_until("a query", || dns.total() > 0);
    running.stop();
    sleep(STOPPED);
    running.kill("CONT");
    let run = running.wait();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{run}");
}
