//! Runs that end early: an interrupted run stops in order, a killed run is continued, and no text from outside
//! controls the terminal.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{JOURNAL, Program, Run, Running, Server, TestDir, fetchimg, wait_until};

/// The longest wait for a request. Every wait is far shorter.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// The records of this status, by their row.
fn rows_with(run: &Run, status: &str) -> Vec<u64> {
    let mut rows: Vec<u64> = run
        .records()
        .iter()
        .filter(|record| record["status"] == status)
        .filter_map(|record| record["index"].as_u64())
        .collect();
    rows.sort_unstable();
    rows
}

/// Waits until that many images are there.
#[track_caller]
fn wait_for_images(running: &Running, count: usize) {
    let output = running.dir().join("images");
    let is_image = |entry: &std::fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
    wait_until(&format!("{count} images"), || {
        std::fs::read_dir(&output).map_or(0, |entries| entries.flatten().filter(is_image).count()) >= count
    });
}

#[test]
fn an_interrupted_run_says_so_keeps_what_it_has_and_goes_on_later() {
    let server = Server::start();
    let lines = ["/png/300/a.png", "/png/300/b.png", "/gated/300/c.png", "/gated-middle/300000/d.png"];
    let urls = lines.map(|target| server.url(target));
    let mut running = fetchimg().lines(&urls).args(["--report", "report.json"]).start();
    wait_for_images(&running, 2);
    server.wait_for_hits("/gated/", 1, MAX_WAIT);
    server.wait_for_hits("/gated-middle/", 1, MAX_WAIT);
    running.kill("INT");
    let run = running.wait();

    assert_eq!(run.status, Some(130), "{run}");
    assert_eq!(run.files(), ["a.png", "b.png"], "{run}");
    assert_eq!(run.records().len(), 4, "{run}");
    assert_eq!(rows_with(&run, "saved"), [0, 1], "{run}");
    for row in [2, 3] {
        assert_eq!(run.record(row)["status"], "failed", "{run}");
        assert_eq!(run.record(row)["error"], "interrupted", "{run}");
    }
    assert!(run.stdout.contains("Download time: "), "{run}");
    assert!(run.stdout.contains("2: 2 interrupted"), "{run}");
    assert!(run.stdout.ends_with("interrupted: 2 rows left; the same command goes on\n"), "{run}");
    let report: Value = serde_json::from_slice(&run.dir.read("report.json")).expect("a report");
    assert_eq!(report["modes"][0]["saved"], 2, "{run}");
    assert_eq!(report["modes"][0]["failed"], 2, "{run}");
    assert_eq!((&report["ended"], &report["rows_left"]), (&"interrupted".into(), &2.into()), "{run}");

    server.open_gate();
    let run = fetchimg().in_dir(&run.dir).lines(&urls).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files(), ["a.png", "b.png", "c.png", "d.png"], "{run}");
    for (name, target) in run.files().iter().zip(lines) {
        assert_eq!(run.file(name), server.body(target), "{run}");
    }
    for (target, hits) in lines.into_iter().zip([1, 1, 2, 2]) {
        assert_eq!(server.hits(target), hits, "{target}\n{run}");
    }
    assert_eq!(run.leftovers(), [""; 0], "{run}");
}

#[test]
fn a_download_that_ends_soon_after_the_signal_is_saved() {
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let server = Server::start();
        let target = "/gated-middle/200000/a.png";
        let mut running = fetchimg().lines([server.url(target)]).start();
        server.wait_for_hits(target, 1, MAX_WAIT);
        running.kill(signal);
        running.wait_for_stderr("Stopping");
        server.open_gate();
        let run = running.wait();
        assert_eq!(run.status, Some(status), "{run}");
        assert_eq!(run.files(), ["a.png"], "{run}");
        assert_eq!(run.file("a.png"), server.body(target), "{run}");
        assert_eq!(run.record(0)["status"], "saved", "{run}");
        assert!(run.elapsed < Duration::from_secs(5), "{run}");
        assert!(run.stdout.contains("Download time: "), "{run}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_hangup_ends_the_run_with_its_report_and_a_second_one_changes_nothing() {
    for (first, status) in [("HUP", 129), ("TERM", 143)] {
        let server = Server::start();
        let target = "/gated-middle/200000/a.png";
        let mut running = fetchimg().lines([server.url(target)]).args(["--report", "report.json"]).start();
        server.wait_for_hits(target, 1, MAX_WAIT);
        running.kill(first);
        running.wait_for_stderr("Stopping");
        // The shell and the system may both send it.
        running.kill("HUP");
        running.kill("HUP");
        server.open_gate();
        let run = running.wait();
        assert_eq!(run.status, Some(status), "{run}");
        assert_eq!(run.file("a.png"), server.body(target), "{run}");
        let report: Value = serde_json::from_slice(&run.dir.read("report.json")).expect("a report");
        assert_eq!(report["ended"], "interrupted", "{run}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_hangup_that_was_ignored_at_the_start_stays_ignored() {
    let server = Server::start();
    let target = "/gated-middle/200000/a.png";
    // What nohup does.
    let mut running = Program::new("sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_fetchimg"), &server.url(target)])
        .start();
    server.wait_for_hits(target, 1, MAX_WAIT);
    running.kill("HUP");
    server.open_gate();
    let run = running.wait();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(!run.stderr.contains("Stopping"), "{run}");
    assert_eq!(run.file("a.png"), server.body(target), "{run}");
}

#[test]
fn nothing_new_is_begun_after_the_signal() {
    let server = Server::start();
    let mut lines = vec![server.url("/gated/300/a.png")];
    lines.extend((0..50).map(|number| server.url(&format!("/png/300/{number}.png"))));
    let mut running = fetchimg().lines(lines).arg("--sequential").start();
    server.wait_for_hits("/gated", 1, MAX_WAIT);
    running.kill("INT");
    running.wait_for_stderr("Stopping");
    server.open_gate();
    let run = running.wait();
    assert_eq!(run.status, Some(130), "{run}");
    assert_eq!(run.files(), ["a.png"], "{run}");
    assert_eq!(server.requests().len(), 1, "{run}");
}

#[test]
fn a_wait_between_attempts_does_not_hold_up_the_end() {
    let server = Server::start();
    let mut running = fetchimg().lines([server.url("/status/503/a.png")]).args(["--retry-wait", "30"]).start();
    server.wait_for_hits("/status", 1, MAX_WAIT);
    let asked = Instant::now();
    running.kill("INT");
    let run = running.wait();
    assert!(asked.elapsed() < Duration::from_secs(3), "{run}");
    assert_eq!(run.status, Some(130), "{run}");
    assert_eq!(run.record(0)["error"], "interrupted", "{run}");
    assert_eq!(run.record(0)["attempts"], 1, "{run}");
    assert_eq!(server.requests().len(), 1, "{run}");
}

#[test]
fn a_list_that_is_still_being_written_does_not_hold_up_the_end() {
    let server = Server::start();
    let mut running = fetchimg().stdin_pipe();
    running.write_line(server.url("/png/300/a.png"));
    wait_for_images(&running, 1);
    let asked = Instant::now();
    running.kill("INT");
    wait_until("the end", || !running.is_running());
    let took = asked.elapsed();
    let run = running.wait();
    assert_eq!(run.status, Some(130), "{run}");
    assert!(took < Duration::from_secs(3), "{took:?}\n{run}");
    assert_eq!(rows_with(&run, "saved"), [0], "{run}");
    assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{run}");
}

#[test]
fn a_second_signal_is_obeyed_at_once() {
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let server = Server::start();
        let mut running = fetchimg().lines([server.url("/png/300/a.png"), server.url("/stall/500/b.png")]).start();
        wait_for_images(&running, 1);
        server.wait_for_hits("/stall", 1, MAX_WAIT);
        let asked = Instant::now();
        running.kill(signal);
        running.wait_for_stderr("Stopping");
        running.kill(signal);
        let run = running.wait();
        assert!(asked.elapsed() < Duration::from_secs(3), "{run}");
        assert_eq!(run.status, Some(status), "{run}");
        assert!(run.stderr.contains("WARN fetchimg: Leaving now: "), "{run}");
        assert_eq!(run.files(), ["a.png"], "{run}");
        assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{run}");
    }
}

#[test]
fn rows_that_were_only_read_ahead_are_left_to_the_next_run() {
    let server = Server::start();
    let gated = (0..300).map(|number| server.url(&format!("/gated/300/{number}.png"))).collect::<Vec<_>>();
    let mut urls = vec![server.url("/png/300/saved.png")];
    // The second one has the URL of a row that has begun, and the last one that of a row that has not.
    urls.extend([gated[0].clone(), gated[0].clone()]);
    urls.extend_from_slice(&gated[1..]);
    urls.push(gated[299].clone());
    let mut running = fetchimg().lines(&urls).args(["--per-host", "2", "--report", "report.json"]).start();
    wait_for_images(&running, 1);
    server.wait_for_hits("/gated/", 2, MAX_WAIT);
    running.kill("INT");
    let run = running.wait();
    assert_eq!(run.status, Some(130), "{run}");
    // One was saved, two were in flight, and one has the URL of one of those.
    assert_eq!(rows_with(&run, "saved"), [0], "{run}");
    assert_eq!(rows_with(&run, "failed"), [1, 3], "{run}");
    assert_eq!(rows_with(&run, "skipped"), [2], "{run}");
    assert_eq!(run.records().len(), 4, "{run}");
    let report: Value = serde_json::from_slice(&run.dir.read("report.json")).expect("a report");
    let mode = &report["modes"][0];
    assert_eq!((&mode["rows"], &mode["failed"], &report["rows_left"]), (&4.into(), &2.into(), &301.into()), "{run}");
    assert!(run.stdout.ends_with("interrupted: 301 rows left; the same command goes on\n"), "{run}");
    assert!(!run.stderr.contains("Failed: "), "{run}");

    server.open_gate();
    let run = fetchimg().in_dir(&run.dir).lines(&urls).run();
    assert_eq!((run.status, run.files().len()), (Some(0), 301), "{run}");
}

#[test]
fn without_a_known_length_the_number_of_rows_left_is_not_told() {
    let server = Server::start();
    let mut running = fetchimg().stdin_pipe();
    running.write_line(server.url("/png/300/a.png"));
    running.write_line(server.url("/gated/300/b.png"));
    wait_for_images(&running, 1);
    server.wait_for_hits("/gated/", 1, MAX_WAIT);
    running.kill("INT");
    // Its standard input is still open.
    wait_until("the end", || !running.is_running());
    let run = running.wait();
    assert!(run.stdout.ends_with("\ninterrupted; the same command goes on\n"), "{run}");
    let mut running = fetchimg().in_dir(&run.dir).lines([server.url("/gated/300/b.png")]).arg("--overwrite").start();
    server.wait_for_hits("/gated/", 2, MAX_WAIT);
    running.kill("INT");
    let run = running.wait();
    assert!(run.stdout.ends_with("interrupted: 1 row left; without --overwrite, the same command goes on\n"), "{run}");
}

#[test]
fn a_killed_run_leaves_nothing_wrong_and_is_completed_by_the_next() {
    let server = Server::start();
    let targets = (0..120)
        .map(|number| {
            let size = if number % 2 == 0 { 900 + number } else { 100_000 + number };
            format!("/slow/5/{size}/{number:03}.png")
        })
        .chain(["/gated-middle/300000/x.png".to_owned()])
        .collect::<Vec<_>>();
    let urls = targets.iter().map(|target| server.url(target)).collect::<Vec<_>>();
    let name = |target: &str| target.rsplit('/').next().expect("a name").to_owned();

    let mut running = fetchimg().lines(&urls).args(["-j", "8"]).start();
    wait_for_images(&running, 40);
    running.kill("KILL");
    let killed = running.wait();
    assert_eq!(killed.signal, Some(9), "{killed}");
    let there = killed.files();
    assert!((40..120).contains(&there.len()), "{killed}");
    for target in targets.iter().filter(|target| there.contains(&name(target))) {
        assert_eq!(killed.file(&name(target)), server.body(target), "{killed}");
    }

    server.open_gate();
    let run = fetchimg().in_dir(&killed.dir).lines(&urls).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), targets.len(), "{run}");
    for target in &targets {
        assert_eq!(run.file(&name(target)), server.body(target), "{run}");
    }
    assert_eq!(run.leftovers(), [""; 0], "{run}");
    let again = fetchimg().in_dir(&killed.dir).lines(&urls).arg("--json").run();
    assert_eq!(again.status, Some(0), "{again}");
    // A file that appeared just before the signal may lack its record, and is treated as a file of another origin.
    let mode = &again.report()["modes"][0];
    assert_eq!((&mode["rows"], &mode["skipped"]), (&targets.len().into(), &targets.len().into()), "{again}");
}

#[test]
fn a_download_that_was_killed_in_its_middle_leaves_no_file() {
    let server = Server::start();
    let target = "/gated-middle/300000/a.png";
    let mut running = fetchimg().lines([server.url(target)]).start();
    server.wait_for_hits(target, 1, MAX_WAIT);
    running.kill("KILL");
    let run = running.wait();
    assert_eq!(run.signal, Some(9), "{run}");
    assert_eq!(run.files(), [""; 0], "{run}");
    server.open_gate();
    let run = fetchimg().in_dir(&run.dir).lines([server.url(target)]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.file("a.png"), server.body(target), "{run}");
    assert_eq!(run.leftovers(), [""; 0], "{run}");
}

/// Whether a text has no character that moves the cursor, changes a colour or the reading direction.
#[track_caller]
fn is_harmless(run: &Run) {
    let bad = |letter: char| {
        (letter.is_control() && letter != '\n') || ('\u{202a}'..='\u{202e}').contains(&letter) || letter == '\u{2066}'
    };
    for (name, text) in [("standard output", &run.stdout), ("standard error", &run.stderr)] {
        let found = text.lines().find(|line| line.contains(bad));
        assert_eq!(found, None, "{name}");
    }
}

/// Control sequences that must not reach a terminal.
const NASTY: &str = "\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}2J\u{202e}gnp";

#[test]
fn a_list_does_not_steer_the_terminal() {
    let server = Server::start();
    let lines = [
        server.url(&format!("/png/300/a{NASTY}.png")),
        server.url(&format!("/status/404/b{NASTY}.png?x={NASTY}#{NASTY}")),
        format!("http://host{NASTY}/c.png"),
        format!("no url {NASTY}"),
        server.url(&format!("/png/300/d%1B%5B31m%C2%9B%E2%80%AE{}.png", "%0A")),
        server.url("/status/404/e.png").replace("http://", &format!("http://ann{NASTY}:x@")),
    ];
    for manifest in ["records.jsonl", "-"] {
        let run = fetchimg().lines(&lines).args(["-v", "--manifest", manifest]).run();
        assert_eq!(run.status, Some(1), "{run}");
        assert_eq!(run.records().len(), lines.len(), "{run}");
        assert_eq!(run.files().len(), 2, "{run}");
        assert!(run.files().iter().all(|name| !name.contains(|letter: char| letter.is_control())), "{run}");
        is_harmless(&run);
    }
}

#[test]
fn a_redirect_or_a_reason_does_not_steer_the_terminal() {
    let server = Server::start();
    let nasty = "\u{9b}31m\u{202e}gnp"; // an ESC in a header is no HTTP at all
    let mut lines = Vec::new();
    for text in [NASTY, nasty] {
        lines.push(server.redirect_to(&format!("ftp://example.org/{text}")));
        lines.push(server.redirect_to(&format!("http://[{text}/")));
        lines.push(server.redirect_to(&format!("/status/404/{text}")));
        lines.push(server.reason(text));
    }
    for manifest in ["records.jsonl", "-"] {
        let run = fetchimg().lines(&lines).args(["-v", "--manifest", manifest]).run();
        assert_eq!(run.status, Some(1), "{run}");
        assert_eq!(rows_with(&run, "failed").len(), lines.len(), "{run}");
        is_harmless(&run);
    }
}

#[test]
fn a_proposed_name_does_not_steer_the_terminal() {
    let server = Server::start();
    let header = "attachment; filename=\"cat\u{9b}31m\u{202e}gnp.png\"";
    // Only a URL whose path names nothing asks for the server's name.
    let lines = [
        server.disposition(300, header),
        server.disposition(300, "attachment; filename*=UTF-8''cat%1B%5B31m%0A%C2%9B%E2%80%AE.png"),
        server.disposition(300, format!("attachment; filename=\"{NASTY}.png\"")),
    ];
    let run = fetchimg().lines(lines).args(["-v", "--manifest", "-"]).run();
    assert_eq!(rows_with(&run, "saved")[..2], [0, 1], "{run}");
    assert!(run.files().iter().all(|name| !name.contains(|letter: char| letter.is_control())), "{run}");
    is_harmless(&run);
}

#[test]
fn a_content_type_does_not_steer_the_terminal() {
    let server = Server::start();
    let url = server.typed(300, "image/png\u{9b}31m\u{202e}gnp");
    let run = fetchimg().lines([url]).args(["-v", "--manifest", "-"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    is_harmless(&run);
}

#[test]
fn a_reader_that_has_stopped_reading_cannot_hold_the_program() {
    let server = Server::start();
    let dir = TestDir::new();
    let urls = (0..3000).map(|n| server.url(&format!("/png/200/{n}.png")) + "\n").collect::<String>();
    dir.write("list.txt", urls);
    // More records than a pipe holds, and no reader.
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_fetchimg"))
        .args(["list.txt", "--manifest", "-", "-q"])
        .current_dir(dir.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    // The run stops when the pipe is full.
    let mut hits = 0;
    wait_until("it is stuck", || {
        let before = std::mem::replace(&mut hits, server.requests().len());
        std::thread::sleep(Duration::from_millis(300));
        hits > 0 && hits == before
    });
    let signal = |name: &str| {
        let kill = std::process::Command::new("kill").args(["-s", name, &program.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
    };
    signal("INT");
    std::thread::sleep(Duration::from_millis(100));
    signal("INT");
    let mut status = None;
    wait_until("it has left", || {
        status = program.try_wait().expect("a child");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(130));
}

#[test]
fn a_comparison_that_waits_for_its_list_can_be_interrupted() {
    let mut running = fetchimg().args(["--compare", "-"]).stdin_pipe();
    running.write_line("http://127.0.0.1:1/a.png");
    // When the journal exists, signals are handled already.
    wait_until("the run has begun", || running.dir().join("images").join(JOURNAL).exists());
    running.kill("INT");
    wait_until("the run has ended", || !running.is_running());
    let run = running.wait();
    assert_eq!(run.status, Some(130), "{run}");
}
