//! Progress: the live view on a terminal, and log lines elsewhere.

use std::collections::BTreeSet;

use crate::common::{ClosedPort, Picture, Program, Run, Running, Server, TestDir, fetchimg, wait_until};

/// How long the host that asks for fewer requests is to be left alone, in seconds: there is enough time to see it.
const PAUSE: u32 = 8;

/// A list for every part of the view: saved and failed rows, a host that asks for fewer requests, and slow downloads.
fn busy(server: &Server, pause: u32) -> Program {
    server.close_gate();
    let slow = (0..2).map(|number| server.url(&format!("/gated-middle/60000/a/b/slow-{number}.png")));
    let throttled = [server.url_for_host("localhost", &format!("/wait/429/{pause}/1/300/later.png"))];
    let saved = (0..20).map(|number| server.url(&format!("/png/2000/{number}.png")));
    let missing = (0..3).map(|number| server.url(&format!("/status/404/{number}.png")));
    fetchimg().lines(slow.chain(throttled).chain(saved).chain(missing))
}

/// Waits until the terminal shows all of these texts, and returns what it shows.
#[track_caller]
fn wait_to_see(running: &Running, (width, height): (usize, usize), texts: &[&str]) -> String {
    let mut seen = String::new();
    wait_until(&format!("{texts:?} to be seen"), || {
        seen = Picture::of(&running.stderr(), width, height).seen().join("\n");
        texts.iter().all(|text| seen.contains(text))
    });
    seen
}

/// Waits for a frame with this text that fits a terminal of this size and takes up a third of it at most. Frames that were
/// drawn before the program knew of the size do not.
#[track_caller]
fn wait_for_fitting_frame(running: &Running, (width, height): (usize, usize), text: &str) {
    wait_until(&format!("a view that fits {width}x{height}"), || {
        // The last frame alone, as on a new terminal: each frame ends with erasing what is below.
        let frames = running.stderr();
        let picture = Picture::of(frames.rsplit("\u{1b}[J").nth(1).unwrap_or_default(), width, height);
        let lines = picture.lines();
        picture.too_long().is_empty() && lines.iter().any(|line| line.contains(text)) && lines.len() <= height / 3 + 1
    });
}

/// Lets all waiting downloads and the run end.
fn end(running: Running, server: &Server) -> Run {
    server.open_gate();
    let run = running.wait();
    assert_eq!(run.signal, None, "{run}");
    run
}

/// Nothing of the view is left, and every line that stays is whole: those of the log, and those that tell of failures.
#[track_caller]
fn assert_clean(run: &Run, (width, height): (usize, usize), lines_left: usize) {
    let picture = Picture::of(&run.stderr, width, height);
    let is_log = |line: &str| line.starts_with("20") && line.contains(" fetchimg: ");
    let lines = picture.lines();
    assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:#?}");
    let lines = unbroken(lines);
    assert!(lines.iter().all(|line| line.starts_with("failed: ") || is_log(line)), "{lines:#?}");
    assert_eq!(lines.len(), lines_left, "{lines:#?}");
}

/// The lines that stay, without the breaks that the terminal needs.
fn unbroken(lines: Vec<String>) -> Vec<String> {
    let mut whole = Vec::<String>::new();
    for line in lines {
        match (line.strip_prefix("  "), whole.last_mut()) {
            (Some(rest), Some(last)) => last.extend([" ", rest]),
            _ => whole.push(line),
        }
    }
    whole
}

/// The line that stays of the rows that [`busy`] has fail.
fn missing(server: &Server, run: &Run) -> String {
    let url = server.url("/status/404/");
    let host = url.split('/').nth(2).expect("a host");
    let line = format!("failed: 3 http_status 404 at {host}, such as {url}");
    let lines = unbroken(Picture::of(&run.stderr, 1000, 24).lines());
    lines.into_iter().find(|found| found.starts_with(&line)).unwrap_or_else(|| panic!("{line}\n{run}"))
}

#[test]
fn a_terminal_shows_it_all_and_is_clean_in_the_end() {
    let (server, size) = (Server::start(), (100, 24));
    let running = busy(&server, PAUSE).terminal(100, 24).env("LANG", "en_GB.UTF-8").start();
    let all =
        ["23/26", "failed: 3 http_status 404 at ", "throttled: localhost", "left alone", "slowest ", "/…/slow-1.png"];
    let seen = wait_to_see(&running, size, &all);
    assert!(seen.contains('█') && seen.contains(" of 58.6 KiB"), "{seen}");
    assert!(running.stderr().contains("\u{1b}[31mfailed: 3 "), "{seen}");
    let run = end(running, &server);
    assert_eq!(run.files().len(), 23, "{run}");
    assert_clean(&run, size, 1);
    let coloured = run.stderr.contains("\u{1b}[31mfailed\u{1b}[0m: 3 http_status 404 at ");
    assert!(coloured && missing(&server, &run).ends_with(".png: 404 Not Found"), "{run}");
}

#[test]
fn without_unicode_and_colours_it_is_plain_ascii() {
    let (server, size) = (Server::start(), (80, 24));
    let running = busy(&server, PAUSE).terminal(80, 24).env("LC_ALL", "C").env("NO_COLOR", "1").start();
    wait_to_see(&running, size, &["[====", ">  ", "/.../slow-0.png", "throttled: "]);
    let run = end(running, &server);
    assert!(run.stderr.is_ascii(), "{run}");
    // Only sequences that move the cursor or erase.
    let commands = run.stderr.split('\u{1b}').skip(1).filter_map(|text| text.chars().find(|c| c.is_alphabetic()));
    assert_eq!(commands.collect::<BTreeSet<_>>(), BTreeSet::from(['A', 'J', 'K', 'h', 'l']), "{run}");
    assert_clean(&run, size, 1);
}

#[test]
fn a_small_terminal_is_enough_and_it_may_change() {
    let server = Server::start();
    let running = busy(&server, PAUSE).terminal(80, 24).start();
    wait_to_see(&running, (80, 24), &["slowest ", "failed: "]);
    // The largest one has room for what is slow, too.
    for (width, height, text) in [(40, 10, "/26"), (20, 5, "/26"), (120, 40, "slowest ")] {
        running.resize(width, height);
        wait_for_fitting_frame(&running, (width.into(), height.into()), text);
    }
    let run = end(running, &server);
    // The view is removed, and the line that stays comes in its place.
    let last = run.stderr.rsplit("\r\u{1b}[J").next().unwrap_or_default();
    assert!(last.ends_with(": 404 Not Found\r\n") && last.lines().count() == 1, "{last:?}\n{run}");
}

#[test]
fn a_list_whose_end_is_unknown_is_said_to_be_one() {
    let (server, size) = (Server::start(), (80, 24));
    server.close_gate();
    let mut running = fetchimg().arg("-").terminal(80, 24).stdin_pipe();
    running.write_line(server.url("/png/300/a.png"));
    running.write_line(server.url("/gated/300/b.png"));
    wait_to_see(&running, size, &["1 so far", "end unknown: list still being read"]);
    running.close_stdin();
    let seen = wait_to_see(&running, size, &["1/2"]);
    assert!(!seen.contains("unknown"), "{seen}");
    assert_clean(&end(running, &server), size, 0);
}

#[test]
fn the_length_of_a_file_is_estimated_until_it_has_been_read() {
    let (server, size) = (Server::start(), (80, 24));
    server.close_gate();
    // More rows than the program reads ahead.
    let rows = (0..40_000).map(|number| server.url(&format!("/gated/300/{number:05}.png")));
    let running = fetchimg().lines(rows).terminal(80, 24).start();
    wait_to_see(&running, size, &["0 of about 40,000"]);
}

#[test]
fn many_log_lines_stay_whole_above_the_view() {
    let server = Server::start();
    let urls = (0..3000).map(|number| server.url(&format!("/status/404/{number}.png"))).collect::<Vec<_>>();
    let run = fetchimg().lines(&urls).arg("-v").terminal(80, 24).run();
    assert_eq!(run.status, Some(1), "{run}");
    let lines = Picture::of(&run.stderr, 80, 24).lines();
    let errors = lines.iter().filter_map(|line| line.split_once(" ERROR fetchimg: ").map(|(_, said)| said.to_owned()));
    let expected = urls.iter().map(|url| format!("Failed: {url}: 404 Not Found")).collect::<BTreeSet<_>>();
    assert!(errors.collect::<BTreeSet<_>>() == expected, "{lines:#?}");
    assert_eq!(lines.len(), urls.len(), "{lines:#?}");
}

#[test]
fn failures_are_one_line_for_each_host_and_kind_on_a_terminal() {
    let server = Server::start();
    let missing = (0..300).map(|number| server.url(&format!("/status/404/{number}.png")));
    let forbidden = (0..2).map(|number| server.url_for_host("localhost", &format!("/status/403/{number}.png")));
    let other = ["no url".to_owned(), server.url("/page/page.png")];
    let list = missing.chain(forbidden).chain(other).collect::<Vec<_>>();
    for arguments in [&[][..], &["-q"], &["--progress", "none"]] {
        let run = fetchimg().lines(&list).args(arguments).terminal(200, 24).run();
        let lines = unbroken(Picture::of(&run.stderr, 1000, 24).lines());
        let host = |url: &str| url.split('/').nth(2).unwrap_or_default().to_owned();
        let (one, other) = (host(&list[0]), host(&list[300]));
        let begins = [
            format!("failed: 300 http_status 404 at {one}, such as http://{one}/status/404/"),
            format!("failed: 2 http_status 403 at {other}, such as http://{other}/status/403/"),
            "failed: no url: line 303 of list.txt is no http(s) URL: ".to_owned(),
            format!("failed: http://{one}/page/page.png: the body is an HTML page; --accept any saves whatever comes"),
        ];
        assert_eq!((run.status, lines.len()), (Some(1), begins.len()), "{run}");
        for begin in begins {
            assert!(lines.iter().any(|line| line.starts_with(&begin)), "{begin}\n{lines:#?}");
        }
        // Each of them has its record all the same.
        assert_eq!(run.records().len(), 304, "{run}");
    }
    // What asks for the log gets it, with a line for each row.
    for (arguments, log) in [(&["--progress", "log"][..], ""), (&["-v"], ""), (&[], "fetchimg=error")] {
        let run = fetchimg().lines(&list).args(arguments).env("RUST_LOG", log).terminal(200, 24).run();
        assert_eq!(run.stderr.matches("Failed: ").count(), 304, "{run}");
        // The view may have counted them meanwhile; what counts is what stays when it is gone.
        let picture = Picture::of(&run.stderr, 1000, 24);
        assert!(!picture.lines().iter().any(|line| line.starts_with("failed: ")), "{run}");
    }
    let run = fetchimg().lines(&list).args(["--log-format", "json"]).terminal(200, 24).run();
    assert_eq!(run.stderr.matches(r#""event":"failed""#).count(), 304, "{run}");
}

#[test]
fn lines_that_stay_and_the_report_are_broken_at_blanks() {
    let server = Server::start();
    let folder = "a-folder-with-a-long-name/".repeat(4);
    let gone = (0..2).map(|number| server.url(&format!("/status/404/{folder}{number}.png")));
    let others = [403, 500, 410, 451].map(|code| server.url(&format!("/status/{code}/picture.png")));
    let list = gone.chain(others).chain([server.url("/page/page.png"), server.url("/png/300/a.png")]);
    let list = list.collect::<Vec<_>>();
    for width in [80_u16, 40] {
        // The report goes to the terminal, because standard output is taken.
        let run = fetchimg().lines(&list).args(["--manifest", "-", "--retries", "0"]).terminal(width, 24).run();
        let lines = Picture::of(&run.stderr, width.into(), 24).lines();
        // A command is there to be copied.
        let is_command = |line: &str| line.starts_with("  fetchimg ");
        let fits = |line: &String| line.chars().count() <= width.into() || is_command(line);
        assert!(lines.iter().all(fits), "{lines:#?}");
        let text = lines.join("\n");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for whole in ["404 Not Found", "--accept any saves", "1 http_status 451, 1 http_status 500", "1 not_an_image"] {
            assert!(words.contains(whole), "{whole} at {width}\n{text}");
        }
        // The beginning and the end of a long URL stay.
        let cut = lines.iter().find(|line| line.contains("...")).map(|line| line.trim()).unwrap_or_default();
        assert!(cut.starts_with("http://") && cut.contains(".png:"), "{width}\n{text}");
        assert!(lines.iter().any(|line| line.starts_with("Failed:  ")), "{text}");
    }
}

#[test]
fn plans_and_messages_are_broken_at_blanks_on_a_terminal_alone() {
    let server = Server::start();
    let (url, dir) = (server.url("/png/300/a%20picture%20with%20blanks%20in%20its%20name.png"), TestDir::new());
    dir.write("list.csv", format!("link,caption of the picture\n{url},x\n"));
    let whole = [
        "list.csv has no column url; it has link, caption of the picture; name the one with --url-column",
        "there is no --jobs; many downloads at once",
        "a picture with blanks in its name.png",
    ];
    let ways = [&["list.csv"][..], &["list.csv", "--jobs", "3"], &["list.csv", "--url-column", "link", "--dry-run"]];
    for (flags, whole) in ways.iter().zip(whole) {
        // With the records on standard output, the plan goes to the terminal.
        let run = fetchimg().in_dir(&dir).args(*flags).args(["--manifest", "-"]).terminal(40, 24).run();
        let lines = Picture::of(&run.stderr, 40, 24).lines();
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:#?}");
        let words = lines.iter().flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ");
        assert!(words.contains(whole), "{lines:#?}");
        let run = fetchimg().in_dir(&dir).args(*flags).run();
        assert!(run.stdout.contains(whole) || run.stderr.contains(whole), "{run}");
    }
}

#[test]
fn a_host_that_is_down_or_silent_is_shown_with_its_rows_and_its_deadline() {
    let (server, port) = (Server::start(), ClosedPort::new());
    server.close_gate();
    let down = (0..30).map(|number| port.url(&format!("/{number}.png")));
    let silent = (0..10).map(|number| server.url(&format!("/gated/300/silent-{number}.png")));
    let saved = (0..5).map(|number| server.url_for_host("localhost", &format!("/png/300/{number}.png")));
    let flags = ["--connect-timeout", "2", "--stall-timeout", "60", "--retry-wait", "0.2"];
    let running =
        fetchimg().lines(down.chain(silent).chain(saved)).args(flags).terminal(80, 24).env("LC_ALL", "C").start();
    wait_to_see(&running, (80, 24), &[&format!("down: {port} for "), " rows wait, given up in "]);
    // Its deadline has passed: 4 times 2 s and the waits between.
    let failed = format!("failed: 30 connect at {port}");
    let host = server.url("/").split('/').nth(2).expect("a host").to_owned();
    let seen = wait_to_see(&running, (80, 24), &[&failed, &format!("silent: {host} for ")]);
    assert!(seen.contains(", 10 rows wait, given up in "), "{seen}");
    running.resize(40, 10);
    wait_to_see(&running, (80, 24), &["failed: 30x connect at 127", "silent ", "s, 10 rows, "]);
    let run = end(running, &server);
    assert_eq!(run.files().len(), 15, "{run}");
    let lines = Picture::of(&run.stderr, 1000, 24).lines();
    assert!(lines.iter().any(|line| line.starts_with(&failed)), "{run}");
}

#[test]
fn a_second_signal_leaves_a_clean_terminal_too() {
    let (server, size) = (Server::start(), (80, 24));
    let mut running = busy(&server, PAUSE).terminal(80, 24).start();
    wait_to_see(&running, size, &["slowest "]);
    running.kill("INT");
    running.wait_for_stderr("Stopping: ");
    running.kill("INT");
    let run = running.wait();
    assert_eq!(run.status, Some(130), "{run}");
    assert!(run.stderr.contains("Leaving now: "), "{run}");
    missing(&server, &run);
    assert_clean(&run, size, 3);
    server.open_gate();
}

#[test]
fn a_terminal_that_can_show_no_view_gets_the_log() {
    let server = Server::start();
    for (name, value) in [("TERM", "dumb"), ("CI", "true")] {
        let run = fetchimg().lines([server.url("/png/300/a.png")]).terminal(80, 24).env(name, value).run();
        assert!(run.stderr.contains("Downloaded: "), "{run}");
        assert!(!run.stderr.contains("\u{1b}[J") && !run.stderr.contains("\u{1b}[K"), "{run}");
        assert_eq!(run.stderr.contains('\u{1b}'), name == "CI", "colours are for terminals that have some\n{run}");
    }
}

#[test]
fn a_log_tells_how_far_it_is_now_and_then_and_how_it_ended() {
    let server = Server::start();
    // The first line comes after ten seconds.
    let running = busy(&server, 15).start();
    running.wait_for_stderr(" under way, ");
    let said = running.stderr();
    let line = said.lines().find(|line| line.contains("Progress: ")).unwrap_or_default();
    for part in ["Progress: 23 of 26, 3 failed (3 http_status 404)", ", the slowest for ", "; throttled: localhost"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(!said.contains('\u{1b}') && !said.contains('\r'), "{said}");
    let run = end(running, &server);
    let last = run.stderr.lines().rfind(|line| line.contains("Progress: ")).unwrap_or_default();
    assert!(last.contains("26 of 26, ") && !last.contains("under way"), "{run}");
}
