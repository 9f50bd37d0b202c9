//! Limits of the system: with few open files and many hosts, every image is saved.

use std::fs;
use std::time::Duration;

use crate::common::{Program, Server, TestDir, fetchimg, wait_until};

#[test]
fn a_low_limit_on_open_files_costs_speed_and_nothing_else() {
    let server = Server::start();
    let dir = TestDir::new();
    let targets = (0..300).map(|number| format!("/png/400/{number}.png")).collect::<Vec<_>>();
    let lines = targets.iter().map(|target| server.url(target) + "\n").collect::<String>();
    dir.write("list.txt", lines);
    let run = Program::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_fetchimg"), "list.txt"])
        .in_dir(&dir)
        .run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 300, "{run}");
    for (number, target) in targets.iter().enumerate() {
        assert_eq!(run.file(&format!("{number}.png")), server.body(target), "{run}");
        assert_eq!(server.hits(target), 1, "{run}");
    }
    assert!(run.records().iter().all(|record| record["attempts"] == 1), "{run}");
    let warnings = run.stderr.lines().filter(|line| line.contains(" WARN ")).collect::<Vec<_>>();
    assert_eq!(warnings.len(), 1, "{run}");
    assert!(warnings[0].contains("open files") && warnings[0].contains("ulimit -n"), "{run}");
    assert!(server.peak_in_flight() <= 13, "{} at once with 40 open files\n{run}", server.peak_in_flight());
}

#[test]
fn there_may_be_more_lists_than_open_files() {
    let server = Server::start();
    let dir = TestDir::new();
    let lists = (0..100).map(|number| format!("part-{number:02}.txt")).collect::<Vec<_>>();
    for (number, list) in lists.iter().enumerate() {
        dir.write(list, server.url(&format!("/png/400/{number:02}.png")));
    }
    let run = Program::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_fetchimg")])
        .args(lists)
        .in_dir(&dir)
        .run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 100, "{run}");
    assert_eq!((run.record(0)["path"].as_str(), run.record(99)["path"].as_str()), (Some("00.png"), Some("99.png")));
}

#[test]
fn a_soft_limit_on_open_files_is_raised() {
    let server = Server::start();
    let dir = TestDir::new();
    let lines = (0..60).map(|number| server.url(&format!("/gated/400/{number}.png")) + "\n").collect::<String>();
    dir.write("list.txt", lines);
    let running = Program::new("sh")
        .args(["-c", "ulimit -S -n 40; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_fetchimg"), "list.txt"])
        .args(["--per-host", "60"])
        .in_dir(&dir)
        .start();
    server.wait_for_hits("/gated", 60, Duration::from_secs(120));
    server.open_gate();
    let run = running.wait();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 60, "{run}");
    assert_eq!(server.peak_in_flight(), 60, "{run}");
}

#[test]
#[cfg(target_os = "linux")]
fn many_hosts_leave_no_connections_behind() {
    const AT_ONCE: usize = 8;
    const HOSTS: usize = 300;
    let server = Server::start_everywhere();
    let host = |number: usize| format!("127.0.{}.{}", number / 250, number % 250 + 1);
    let targets = (0..2 * HOSTS).map(|number| format!("/png/300/{number}.png")).collect::<Vec<_>>();
    let mut lines = targets
        .iter()
        .enumerate()
        .map(|(number, target)| server.url_for_host(&host(number % HOSTS), target))
        .collect::<Vec<_>>();
    lines.push(server.url("/gated/300/last.png"));
    let running = fetchimg().lines(lines).args(["-j", &AT_ONCE.to_string()]).start();
    let descriptors = format!("/proc/{}/fd", running.child.id());
    let mut most = 0;
    let mut look = || {
        let open = fs::read_dir(&descriptors).map_or(0, Iterator::count);
        most = most.max(open);
        open
    };
    let output = running.dir().join("images");
    wait_until("all images but the last", || {
        look();
        fs::read_dir(&output).map_or(0, Iterator::count) > 2 * HOSTS
    });
    server.wait_for_hits("/gated", 1, Duration::from_secs(120));
    let in_the_end = look();
    server.open_gate();
    let run = running.wait();
    assert_eq!(run.status, Some(0), "{run}");
    for (number, target) in targets.iter().enumerate() {
        assert_eq!(run.file(&format!("{number}.png")), server.body(target), "{run}");
    }
    assert_eq!(run.file("last.png"), server.body("/gated/300/last.png"), "{run}");
    assert!(in_the_end > 5, "the descriptors were looked at\n{run}");
    assert!(most <= 4 * AT_ONCE + 40, "{most} open descriptors, {in_the_end} in the end\n{run}");
}

#[test]
#[cfg(target_os = "linux")]
fn connections_are_used_again_however_many_hosts_there_are() {
    const REQUESTS: usize = 2000;
    let server = Server::start_everywhere();
    // Ten hosts in no regular order.
    let lines = (0..REQUESTS).map(|number| {
        let host = format!("127.0.0.{}", number * number % 97 % 10 + 1);
        server.url_for_host(&host, &format!("/png/200/{number}.png"))
    });
    let run = fetchimg().lines(lines).args(["-j", "16"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), REQUESTS, "{run}");
    assert!(server.connections() < REQUESTS / 4, "{} connections for {REQUESTS} requests", server.connections());
}
