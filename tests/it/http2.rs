//! HTTP/2: one connection carries all requests to a host, so what happens to it must not happen to the host.

use std::collections::BTreeSet;

use crate::common::{Program, Run, Server, fetchimg};

/// A run over targets of this server, with retries that do not wait.
fn program(server: &Server, targets: &[String], flags: &[&str]) -> Program {
    let run = fetchimg().lines(targets.iter().map(|target| server.url(target)));
    run.args(["--retry-wait", "0.01", "--cacert"]).arg(server.ca_pem_file()).args(flags)
}

/// Images, and at this position a fault.
fn with_fault(rows: usize, position: usize, fault: &str) -> Vec<String> {
    let target = |row| if row == position { format!("/{fault}/300/{row}.png") } else { format!("/png/300/{row}.png") };
    (0..rows).map(target).collect()
}

#[track_caller]
fn all_are_saved(run: &Run, server: &Server, targets: &[String]) {
    assert_eq!(run.status, Some(0), "{run}");
    for target in targets {
        let name = target.rsplit('/').next().expect("a name");
        assert!(run.file(name) == server.body(target), "{target}\n{run}");
    }
}

fn attempts(run: &Run) -> BTreeSet<u64> {
    run.records().iter().filter_map(|record| record["attempts"].as_u64()).collect()
}

#[test]
fn many_bytes_of_an_image_may_be_on_their_way() {
    let server = Server::start_http2();
    let targets = ["/png/8000000/a.png".to_owned()];
    let run = program(&server, &targets, &[]).run();
    all_are_saved(&run, &server, &targets);
    // What fills a gigabit per second at a round trip of 50 ms.
    assert!(server.peak_window() >= 6 << 20, "{} bytes\n{run}", server.peak_window());
}

#[test]
fn a_later_connection_resumes_the_tls_session() {
    let server = Server::start_tls();
    // The server closes each connection after its answer.
    let targets = (0..5).map(|row| format!("/close-after/300/{row}.png")).collect::<Vec<_>>();
    let run = program(&server, &targets, &["--per-host", "1"]).run();
    all_are_saved(&run, &server, &targets);
    assert_eq!((server.connections(), server.resumed_connections()), (5, 4), "{run}");
}

#[test]
fn one_connection_carries_many_requests() {
    let server = Server::start_http2();
    let targets = with_fault(100, 200, "");
    let run = program(&server, &targets, &[]).run();
    all_are_saved(&run, &server, &targets);
    assert_eq!(attempts(&run), BTreeSet::from([1]), "{run}");
    // The first requests go out at once, and each begins a connection, of which one is used.
    assert!(server.connections() <= 6, "{} connections\n{run}", server.connections());
    let used = server.requests().iter().map(|request| request.connection).collect::<BTreeSet<_>>();
    assert!(used.len() <= 2, "{used:?}\n{run}");
}

#[test]
fn a_dead_connection_is_not_a_dead_host() {
    let cases = ["h2-silent", "h2-deaf"].into_iter().flat_map(|fault| [0, 3, 40].map(|position| (fault, position)));
    let started = cases.map(|(fault, position)| {
        let server = Server::start_http2();
        let targets = with_fault(80, position, fault);
        let flags = ["--stall-timeout", "2", "--per-host", "8", "--retries", "2"];
        let running = program(&server, &targets, &flags).start();
        (server, targets, running)
    });
    for (server, targets, running) in started.collect::<Vec<_>>() {
        let run = running.wait();
        all_are_saved(&run, &server, &targets);
        // The requests that were in flight are sent again: in the same attempt if a PING has ended the connection by then.
        assert!(server.requests().len() > 80, "the connection died with a request\n{run}");
        let again = run.records().iter().filter(|record| record["attempts"] != 1).count();
        assert!(again <= 8, "{again}\n{run}");
    }
}

#[test]
fn a_connection_that_dies_is_noticed_by_the_usual_latency() {
    let server = Server::start_http2();
    let targets = with_fault(120, 60, "h2-silent");
    let run = program(&server, &targets, &[]).run();
    all_are_saved(&run, &server, &targets);
    assert!(run.elapsed.as_secs() < 15, "{run}");
}

#[test]
fn a_ping_tells_that_a_connection_is_dead() {
    let server = Server::start_http2();
    let targets = with_fault(40, 20, "h2-deaf");
    let run = program(&server, &targets, &["--stall-timeout", "5", "--retries", "0"]).run();
    all_are_saved(&run, &server, &targets);
    assert_eq!(attempts(&run), BTreeSet::from([1]), "the same attempt goes on\n{run}");
}

#[test]
fn http1_is_used_where_it_is_required() {
    let server = Server::start_http2();
    let targets = (0..30).map(|row| format!("/h2-required/300/{row}.png")).collect::<Vec<_>>();
    let run = program(&server, &targets, &["--per-host", "1", "--retries", "0"]).run();
    all_are_saved(&run, &server, &targets);
    assert_eq!(attempts(&run), BTreeSet::from([1]), "{run}");
    // The first one learns it for all.
    assert_eq!((server.hits_in_all(), server.connections()), (31, 2), "{run}");
}

#[test]
fn http1_may_be_required_in_the_middle_of_a_body() {
    let server = Server::start_http2();
    let targets = with_fault(20, 7, "h2-required-half");
    let run = program(&server, &targets, &["--retries", "1"]).run();
    all_are_saved(&run, &server, &targets);
    assert_eq!(run.record(7)["attempts"], 2, "{run}");
}

#[test]
fn a_connection_that_ends_in_a_body_costs_a_try() {
    for fault in ["h2-goaway", "h2-calm", "h2-cut", "h2-reset", "h2-reset-half"] {
        let server = Server::start_http2();
        let mut targets = with_fault(60, 5, fault);
        targets[30] = format!("/{fault}/20000/30.png");
        let run = program(&server, &targets, &[]).run();
        all_are_saved(&run, &server, &targets);
    }
}

#[test]
fn streams_that_are_refused_for_ever_fail_alone() {
    let server = Server::start_http2();
    let targets = with_fault(40, 9, "h2-refused");
    let run = program(&server, &targets, &["--retries", "1"]).run();
    assert_eq!((run.status, run.files().len()), (Some(1), 39), "{run}");
    let record = run.record(9);
    assert_eq!((&record["error"], &record["attempts"]), (&"connect".into(), &2.into()), "{run}");
}

#[test]
fn a_server_may_take_one_stream_at_a_time() {
    let server = Server::start_http2_with_streams(1);
    let targets = with_fault(40, 100, "");
    let run = program(&server, &targets, &["--retries", "0"]).run();
    all_are_saved(&run, &server, &targets);
}

#[test]
fn the_next_try_after_silence_has_a_connection_of_its_own() {
    for server in [Server::start(), Server::start_http2()] {
        // Over HTTP/1.1 there are idle connections when it begins.
        let mut targets = (0..30).map(|row| format!("/png/300/{row}.png")).collect::<Vec<_>>();
        let fault = if server.url("").starts_with("https") { "h2-silent" } else { "stall-once" };
        targets[12] = format!("/{fault}/300/12.png");
        let run = fetchimg().lines(targets.iter().map(|target| server.url(target)));
        let run = if fault == "h2-silent" { run.arg("--cacert").arg(server.ca_pem_file()) } else { run };
        let run = run.args(["--stall-timeout", "2", "--retry-wait", "0.01"]).run();
        all_are_saved(&run, &server, &targets);
        let tries = server.requests_for(&targets[12]);
        assert_eq!(tries.len(), 2, "{run}");
        let first = server.requests().iter().filter(|request| request.connection == tries[1].connection).count();
        assert!(tries[0].connection != tries[1].connection, "{run}");
        assert!(first == 1 || fault == "h2-silent", "{first} requests on the connection of the second try\n{run}");
    }
}
