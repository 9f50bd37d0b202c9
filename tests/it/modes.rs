//! The modes sequential, concurrent and both in comparison, and their output: report, records, log.

use std::time::Duration;

use serde_json::Value;

use crate::common::outcomes::{manifest, outcome};
use crate::common::{ClosedPort, Picture, Program, Run, Server, TestDir, fetchimg, wait_until};

/// The longest wait for a request. Every wait is far shorter.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// The program, for a shell to run.
const FETCHIMG: &str = env!("CARGO_BIN_EXE_fetchimg");

/// This number of different URLs.
fn numbered(server: &Server, route: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| server.url(&format!("{route}/{number}.png"))).collect()
}

/// Every image of [`numbered`] is there with its bytes, and nothing else.
#[track_caller]
fn assert_all_saved(run: &Run, server: &Server, route: &str, count: usize) {
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), count, "{run}");
    for number in 0..count {
        let name = format!("{number}.png");
        assert!(run.file(&name) == server.body(&format!("{route}/{name}")), "{name} is not what was sent\n{run}");
    }
    assert_eq!(run.leftovers(), [""; 0], "{run}");
}

/// A number out of a report.
#[track_caller]
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn assert_near(left: f64, right: f64, distance: f64) {
    assert!((left - right).abs() <= distance, "{left} is not {right}");
}

// ---------------------------------------------------------------------------------------------- at once or in turn

#[test]
fn downloads_are_in_flight_at_once() {
    let server = Server::start();
    let running = fetchimg().lines(numbered(&server, "/gated/300", 50)).args(["-j", "50", "--per-host", "50"]).start();
    server.wait_for_hits("/gated", 50, MAX_WAIT);
    server.open_gate();
    let run = running.wait();

    assert_all_saved(&run, &server, "/gated/300", 50);
    assert_eq!(server.peak_in_flight(), 50, "{run}");
}

#[test]
fn downloads_are_in_flight_at_once_without_any_flag() {
    let server = Server::start();
    let running = fetchimg().lines(numbered(&server, "/gated/300", 20)).start();
    server.wait_for_hits("/gated", 6, MAX_WAIT);
    server.open_gate();
    assert_all_saved(&running.wait(), &server, "/gated/300", 20);
}

#[test]
fn a_slow_image_holds_no_other_up() {
    let server = Server::start();
    let mut lines = vec![server.url("/gated/300/first.png")];
    lines.extend(numbered(&server, "/png/300", 300));
    let running = fetchimg().lines(lines).start();
    server.wait_for_hits("/png", 300, MAX_WAIT);
    server.open_gate();
    let run = running.wait();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 301, "{run}");
    assert_eq!(run.file("first.png"), server.body("/gated/300/first.png"), "{run}");
}

#[test]
fn no_more_downloads_than_allowed_are_in_flight() {
    let server = Server::start();
    let mut lines = numbered(&server, "/gated/300", 4);
    lines.extend((4..30).map(|number| server.url(&format!("/slow/10/300/{number}.png"))));
    let running = fetchimg().lines(lines).args(["-j", "4", "--per-host", "100", "--json"]).start();
    server.wait_for_hits("/gated", 4, MAX_WAIT);
    server.open_gate();
    let run = running.wait();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 30, "{run}");
    assert_eq!(server.peak_in_flight(), 4, "{run}");
    assert_eq!(run.report()["modes"][0]["most_alive"], 4, "{run}");
}

#[test]
fn no_more_downloads_than_allowed_are_in_flight_at_one_host() {
    let server = Server::start();
    let hosts = ["one.test", "two.test"];
    let lines = (0..40).map(|number| {
        let route = if number < 6 { "/gated/300" } else { "/slow/10/300" };
        server.url_for_host(hosts[number % 2], &format!("{route}/{number}.png"))
    });
    let resolve = hosts.map(|host| format!("--resolve={}", server.resolve(host)));
    let running = fetchimg().lines(lines).args(resolve).args(["--per-host", "3"]).start();
    server.wait_for_hits("/gated", 6, MAX_WAIT);
    server.open_gate();
    let run = running.wait();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), 40, "{run}");
    assert_eq!(hosts.map(|host| server.peak_in_flight_for(host)), [3, 3], "{run}");
    assert_eq!(server.peak_in_flight(), 6, "{run}");
}

#[test]
fn sequential_is_one_after_the_other_in_list_order() {
    let server = Server::start();
    let targets: Vec<String> =
        (0..12).map(|number| format!("/slow/{}/300/{number}.png", [30, 0, 10][number % 3])).collect();
    let run = fetchimg().lines(targets.iter().map(|target| server.url(target))).args(["--sequential", "--json"]).run();

    assert_eq!(run.status, Some(0), "{run}");
    let asked: Vec<String> = server.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(asked, targets, "{run}");
    assert_eq!(server.peak_in_flight(), 1, "{run}");
    let indices: Vec<_> = run.records().iter().map(|record| record["index"].as_u64()).collect();
    assert_eq!(indices, (0..12).map(Some).collect::<Vec<_>>(), "{run}");
    let mode = &run.report()["modes"][0];
    assert_eq!((mode["mode"].as_str(), mode["most_alive"].as_u64()), (Some("sequential"), Some(1)), "{run}");
    assert!(number(&mode["wall_seconds"]) >= 0.160, "the waits add up: {mode}");
    for (name, target) in (0..).map(|number: usize| format!("{number}.png")).zip(&targets) {
        assert_eq!(run.file(&name), server.body(target), "{run}");
    }
}

#[test]
fn sequential_goes_on_after_a_failure() {
    let server = Server::start();
    let urls = [server.url("/status/404/a.png"), "no url".to_owned(), server.url("/png/300/b.png")];
    let run = fetchimg().lines(urls).arg("--sequential").run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.outcomes(), ["failed http_status 404", "failed bad_url", "saved b.png"], "{run}");
}

// ------------------------------------------------------------------------------------------------------- both modes

#[test]
fn compare_fetches_everything_in_both_modes() {
    let server = Server::start();
    let lines = numbered(&server, "/slow/20/300", 10);
    let run = fetchimg().lines(&lines).args(["--compare", "--json"]).run();

    assert_all_saved(&run, &server, "/slow/20/300", 10);
    for number in 0..10 {
        assert_eq!(server.hits(&format!("/slow/20/300/{number}.png")), 2, "{run}");
    }
    let asked: Vec<String> =
        server.requests().into_iter().take(10).map(|request| server.url(&request.target)).collect();
    assert_eq!(asked, lines, "sequential comes first\n{run}");
    let report = run.report();
    let modes = report["modes"].as_array().expect("the modes");
    assert_eq!(
        modes.iter().map(|mode| mode["mode"].as_str()).collect::<Vec<_>>(),
        [Some("sequential"), Some("concurrent")]
    );
    for mode in modes {
        assert_eq!(
            (mode["rows"].as_u64(), mode["saved"].as_u64(), mode["bytes"].as_u64()),
            (Some(10), Some(10), Some(3000))
        );
    }
    let comparison = &report["comparison"];
    assert_eq!(comparison["basis"], serde_json::json!({"kind": "measured"}), "{run}");
    let (sequential, concurrent) = (number(&modes[0]["wall_seconds"]), number(&modes[1]["wall_seconds"]));
    assert_near(number(&comparison["sequential_seconds"]), sequential, 1e-6);
    assert_near(number(&comparison["concurrent_seconds"]), concurrent, 1e-6);
    assert_near(number(&comparison["speed_up"]), sequential / concurrent, 0.01);
    assert!(sequential >= 0.2, "{run}");

    let second = fetchimg().lines(&lines).args(["--compare", "--json"]).in_dir(&run.dir).run();
    assert_all_saved(&second, &server, "/slow/20/300", 10);
    assert_eq!(server.requests().len(), 40, "everything twice again\n{second}");
    assert_eq!(second.report()["modes"][0]["saved"], 10, "{second}");
    assert_eq!(second.report()["modes"][1]["saved"], 10, "{second}");
}

#[test]
fn compare_reads_a_pipe_once_and_the_list_twice() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("more.txt", numbered(&server, "/png/300", 8)[5..].join("\n"));
    let piped = numbered(&server, "/png/300", 4).join("\n");
    let run = fetchimg()
        .in_dir(&dir)
        .args(["--compare", "--json", "-", &server.url("/png/300/4.png"), "more.txt"])
        .stdin(piped)
        .run();

    assert_all_saved(&run, &server, "/png/300", 8);
    for number in 0..8 {
        assert_eq!(server.hits(&format!("/png/300/{number}.png")), 2, "{run}");
    }
    let report = run.report();
    assert_eq!((&report["modes"][0]["rows"], &report["modes"][1]["rows"]), (&8.into(), &8.into()), "{run}");
}

#[test]
fn compare_leaves_files_of_another_origin() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("images/0.png", "my own");
    let lines = numbered(&server, "/png/300", 2);
    let run = fetchimg().in_dir(&dir).lines(&lines).arg("--compare").run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["skipped file_exists 0.png", "saved 1.png"], "{run}");
    assert_eq!(run.file("0.png"), b"my own", "{run}");
    assert_eq!(server.hits("/png/300/0.png"), 0, "{run}");

    let run = fetchimg().in_dir(&dir).lines(&lines).args(["--compare", "--overwrite"]).run();
    assert_all_saved(&run, &server, "/png/300", 2);
}

#[test]
fn compare_gives_the_names_of_a_plain_run_and_one_record_a_row() {
    let server = Server::start();
    let (one, two) = (server.url("/slow/50/300/a.png"), server.url("/png/400/a.png"));
    let lines = [&*one, &*two, &*one, "no url", &server.url("/status/404/a.png"), &server.url("/png/500/photo")];
    let plain = fetchimg().lines(lines).args(["-q", "--manifest", "-"]).run();
    let both = fetchimg().lines(lines).args(["-q", "--compare", "--manifest", "-"]).run();

    let outcomes = |run: &Run| {
        let mut records = manifest(run.stdout.as_bytes());
        records.sort_by_key(|record| record["index"].as_u64());
        records.iter().map(outcome).collect::<Vec<_>>()
    };
    assert_eq!((plain.status, both.status), (Some(1), Some(1)), "{both}");
    assert_eq!(outcomes(&plain).len(), 6, "{plain}");
    assert_eq!(outcomes(&both), outcomes(&plain), "{both}");
    assert_eq!(both.files(), plain.files(), "{both}");
}

#[test]
fn the_report_in_words_names_both_times_and_the_speed_up() {
    let server = Server::start();
    let run = fetchimg().lines(numbered(&server, "/slow/20/300", 10)).arg("--compare").run();

    assert_eq!(run.status, Some(0), "{run}");
    let times: Vec<&str> = run.stdout.split("Download time: ").skip(1).collect();
    assert_eq!(times.len(), 2, "{run}");
    for time in times {
        let (seconds, _) = time.split_once(" seconds").expect("seconds");
        let (_, decimals) = seconds.split_once('.').expect("decimals");
        assert!(decimals.len() == 3 && seconds.parse::<f64>().is_ok_and(|seconds| seconds > 0.0), "{run}");
    }
    let line = run.stdout.lines().find(|line| line.starts_with("Speed-up:")).expect("the speed-up");
    assert!(line.contains(" times") && line.contains("(measured)"), "{line}");
    assert!(run.stdout.lines().all(|line| line.chars().count() <= 80), "{run}");
}

#[test]
fn a_report_on_one_mode_estimates_the_other_and_says_so() {
    let server = Server::start();
    let lines = numbered(&server, "/slow/20/300", 12);
    let run = fetchimg().lines(&lines).arg("--json").run();
    assert_eq!(run.status, Some(0), "{run}");
    let report = run.report();
    let comparison = &report["comparison"];
    assert_eq!(comparison["basis"], serde_json::json!({"kind": "estimated", "mode": "sequential"}), "{run}");
    let sum: f64 = run.records().iter().map(|record| number(&record["total_ms"])).sum();
    assert_near(number(&comparison["sequential_seconds"]), sum / 1000.0, 0.001);
    assert_near(number(&comparison["concurrent_seconds"]), number(&report["modes"][0]["wall_seconds"]), 1e-6);

    let run = fetchimg().lines(&lines).args(["--sequential", "--json"]).run();
    let comparison = &run.report()["comparison"];
    assert_eq!(comparison["basis"], serde_json::json!({"kind": "estimated", "mode": "concurrent"}), "{run}");

    let run = fetchimg().lines(&lines).run();
    let line = run.stdout.lines().find(|line| line.starts_with("One after the other:")).expect("the other mode");
    assert!(line.contains("estimate"), "{run}");
    let line = run.stdout.lines().find(|line| line.starts_with("Speed-up:")).expect("the speed-up");
    assert!(line.contains("estimated"), "{run}");
}

#[test]
fn the_other_mode_is_remembered_with_its_date() {
    let server = Server::start();
    let lines = numbered(&server, "/slow/20/300", 10);
    let first = fetchimg().lines(&lines).args(["--overwrite", "--json"]).run();
    assert_eq!(first.report()["comparison"]["basis"]["kind"], "estimated", "{first}");
    let second = fetchimg().lines(&lines).args(["--sequential", "--overwrite", "--json"]).in_dir(&first.dir).run();

    let comparison = &second.report()["comparison"];
    assert_eq!(comparison["basis"]["kind"], "measured_before", "{second}");
    let date = comparison["basis"]["date"].as_str().expect("a date");
    assert!(date.len() == "Mon, 30 Mar 2026 19:21:02 GMT".len() && date.ends_with(" GMT"), "{date}");
    assert_near(number(&comparison["concurrent_seconds"]), number(&first.report()["modes"][0]["wall_seconds"]), 1e-6);
    assert!(number(&comparison["speed_up"]) > 1.0, "{second}");

    let third = fetchimg().lines(&lines).arg("--overwrite").in_dir(&first.dir).run();
    let line = third.stdout.lines().find(|line| line.starts_with("One after the other:")).expect("the other mode");
    assert!(line.contains("(measured ") && line.contains(" GMT)"), "{third}");
    assert!(!third.stdout.contains("estimate"), "{third}");

    let other = fetchimg().lines(&lines[..5]).args(["--overwrite", "--json"]).in_dir(&first.dir).run();
    assert_eq!(other.report()["comparison"]["basis"]["kind"], "estimated", "another list was never timed\n{other}");
}

#[test]
fn a_run_that_fetched_nothing_compares_nothing() {
    let server = Server::start();
    let lines = numbered(&server, "/png/300", 3);
    let first = fetchimg().lines(&lines).run();
    let second = fetchimg().lines(&lines).arg("--json").in_dir(&first.dir).run();
    assert_eq!(second.report()["comparison"], Value::Null, "{second}");
}

// ---------------------------------------------------------------------------------------------------------- reports

#[test]
fn a_report_counts_what_happened() {
    let server = Server::start();
    let urls = [
        "/png/300/a.png",
        "/png/500/b.png",
        "/jpeg/c.png",
        "/status/404/d.png",
        "/status/404/e.png",
        "/status/403/f.png",
        "/page/g.png",
        "/png/300/a.png",
        "/flaky/503/2/400/h.png",
    ]
    .map(|target| server.url(target));
    let run = fetchimg().lines(urls).lines(["no url"]).args(["--json", "--retry-wait", "0.01"]).run();

    assert_eq!(run.status, Some(1), "{run}");
    let report = run.report();
    assert_eq!((report["ended"].as_str(), report["output"].as_str()), (Some("completed"), Some("images")), "{run}");
    let mode = &report["modes"][0];
    assert_eq!(mode["mode"], "concurrent", "{run}");
    let counts =
        ["rows", "saved", "failed", "skipped", "retries", "extension_mismatches"].map(|name| mode[name].as_u64());
    assert_eq!(counts, [10, 4, 5, 1, 2, 1].map(Some), "{run}");
    let kinds = serde_json::json!({"bad_url": 1, "http_status 403": 1, "http_status 404": 2, "not_an_image": 1});
    assert_eq!(mode["failed_by_kind"], kinds, "{run}");
    assert_eq!(mode["skipped_by_reason"], serde_json::json!({"duplicate_url": 1}), "{run}");
    let bytes = 300 + 500 + 400 + server.body("/jpeg/c.png").len();
    assert_eq!(mode["bytes"], bytes, "{run}");
    let wall = number(&mode["wall_seconds"]);
    assert_near(number(&mode["images_per_second"]), 4.0 / wall, 0.01);
    for times in ["first_byte_seconds", "download_seconds"].map(|name| &mode[name]) {
        let [median, p95, max] = ["median", "p95", "max"].map(|name| number(&times[name]));
        assert!(0.0 < median && median <= p95 && p95 <= max && max <= wall, "{times}");
    }

    let words = fetchimg().lines([server.url("/png/300/a.png"), server.url("/status/404/d.png")]).run();
    for part in ["Download time: ", "1 image, 300 B", "median", "p95", "at once", "1: 1 http_status 404"] {
        assert!(words.stdout.contains(part), "{part}\n{words}");
    }
}

#[test]
fn the_last_lines_say_what_failed_where_the_records_are_and_what_to_do() {
    let server = Server::start();
    let port = ClosedPort::new();
    let host = |url: String| url.split('/').nth(2).expect("a host").to_owned();
    let (here, there) = (host(server.url("/")), host(server.url_for_host("localhost", "/")));
    let mut urls = vec![server.url("/png/300/a.png"), port.url("/x.png")];
    urls.extend((0..3).map(|number| server.url(&format!("/status/404/{number}.png"))));
    urls.extend((0..2).map(|number| server.url_for_host("localhost", &format!("/status/403/{number}.png"))));
    let run = fetchimg().lines(&urls).args(["--retries", "0", "-o", "my photos"]).run();
    let end = run.stdout.split_once("The images are in my photos\n").map(|(_, end)| end).unwrap_or_default();
    let words = end.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = format!(
        "Failed: 3 at {here} (http_status 404); 2 at {there} (http_status 403); 1 at {port} (connect) \
         Records: my photos/.fetchimg.jsonl \
         Next: the same command tries them again; 1 may succeed: fetchimg list.txt --retries 0 -o 'my photos'"
    );
    assert_eq!(words, expected, "{run}");
    assert!(run.stdout.lines().all(|line| line.chars().count() <= 80), "{run}");

    // Nothing would be better now, so the failures are to be looked at.
    let run = fetchimg().lines(&urls[2..]).run();
    assert!(run.stdout.contains("\nNext:    none of them would succeed now; to list them:"), "{run}");
    assert!(run.stdout.ends_with("fetchimg --status --failed -o images\n"), "{run}");
    let run = fetchimg().lines(&urls[2..3]).run();
    assert!(run.stdout.contains("\nNext:    it would not succeed now; to list it:"), "{run}");
    // A command with a secret is not shown.
    let run = fetchimg().lines(&urls[1..2]).args(["--retries", "0", "-u", "ann:secret"]).run();
    assert!(run.stdout.ends_with("\nNext:    the same command tries it again\n"), "{run}");
    let run = fetchimg().lines(&urls[1..2]).args(["--retries", "0", "--overwrite"]).run();
    assert!(run.stdout.ends_with("Next:    without --overwrite, the same command tries it again\n"), "{run}");
    // The images are all there.
    let run = fetchimg().lines(&urls[..1]).run();
    assert!(run.stdout.ends_with("The images are in images\n"), "{run}");
}

#[test]
fn a_single_url_gets_a_single_line() {
    let server = Server::start();
    let url = server.url("/sized/640/480/z.png");
    let dir = TestDir::new();
    let run = fetchimg().in_dir(&dir).arg(&url).args(["--report", "run.txt", "--report", "run.json"]).run();
    assert_eq!((run.status, &*run.stdout), (Some(0), "saved images/z.png, 2.75 KiB, 640 x 480, png\n"), "{run}");
    // Files stay whole.
    assert!(String::from_utf8_lossy(&run.dir.read("run.txt")).contains("Download time: "), "{run}");
    let report: Value = serde_json::from_slice(&run.dir.read("run.json")).expect("a report");
    assert_eq!(report["modes"][0]["saved"], 1, "{run}");

    let run = fetchimg().in_dir(&dir).arg(&url).run();
    assert_eq!((run.status, &*run.stdout), (Some(0), "skipped images/z.png, already_saved\n"), "{run}");
    let run = fetchimg().arg(server.url("/status/404/a.png")).run();
    assert_eq!((run.status, &*run.stdout, run.stderr.lines().count()), (Some(1), "", 1), "{run}");
    let run = fetchimg().arg(server.url("/status/404/a.png")).terminal(200, 24).run();
    let line = format!("failed: {}: 404 Not Found", server.url("/status/404/a.png"));
    assert_eq!((&*run.stdout, Picture::of(&run.stderr, 200, 24).lines()), ("", vec![line]), "{run}");
    // The same as a list, and both modes, have a report.
    let run = fetchimg().lines([&url]).run();
    assert!(run.stdout.contains("Download time: "), "{run}");
    let run = fetchimg().arg(&url).arg("--compare").run();
    assert!(run.stdout.contains("Speed-up: "), "{run}");
}

#[test]
fn a_list_that_is_none_is_told_in_one_sentence() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("bad.csv", format!("link\n{}\n", server.url("/png/300/a.png")));
    dir.write("good.txt", server.url("/png/300/b.png"));
    let run = fetchimg().in_dir(&dir).args(["bad.csv", "--report", "run.txt"]).run();
    assert_eq!((run.status, run.stderr.lines().count(), &*run.stdout), (Some(3), 1, ""), "{run}");
    assert!(
        String::from_utf8_lossy(&run.dir.read("run.txt")).contains("bad.csv has no column url; it has link"),
        "{run}"
    );
    let run = fetchimg().in_dir(&dir).args(["bad.csv", "--dry-run"]).run();
    assert_eq!((run.status, run.stderr.lines().count(), &*run.stdout), (Some(3), 1, ""), "{run}");
    // The rows before it have their numbers, and nothing says that the same command goes on.
    let run = fetchimg().in_dir(&dir).args(["good.txt", "bad.csv"]).run();
    assert_eq!(run.status, Some(3), "{run}");
    assert_eq!([&run.stdout, &run.stderr].map(|text| text.matches("has no column url").count()), [0, 1], "{run}");
    assert!(run.stdout.ends_with("The list was not read to its end.\n"), "{run}");
    for text in [&run.stdout, &run.stderr] {
        assert!(!text.contains("goes on") && !text.contains("interrupted"), "{run}");
    }
}

#[test]
fn a_report_in_a_file_is_the_one_on_standard_output() {
    let server = Server::start();
    let run = fetchimg()
        .lines(numbered(&server, "/png/300", 3))
        .args(["--json", "--report", "run.json", "--report", "copy.json"])
        .run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(String::from_utf8_lossy(&run.dir.read("run.json")), run.stdout, "{run}");
    assert_eq!(run.dir.read("copy.json"), run.stdout.as_bytes(), "{run}");

    let run = fetchimg().lines(numbered(&server, "/png/300", 3)).args(["--report", "run.json"]).run();
    let report: Value = serde_json::from_slice(&run.dir.read("run.json")).expect("a report");
    assert_eq!(report["modes"][0]["saved"], 3, "{run}");
    assert!(run.stdout.contains("Download time: "), "{run}");
}

#[test]
fn a_report_that_cannot_be_written_is_told() {
    let server = Server::start();
    let run = fetchimg().lines(numbered(&server, "/png/300", 1)).args(["--report", "nowhere/run.json"]).run();
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("fetchimg: cannot write nowhere/run.json: "), "{run}");
}

#[test]
fn a_manifest_that_cannot_be_written_is_told_before_the_first_request() {
    let server = Server::start();
    let run = fetchimg().lines(numbered(&server, "/png/300", 1)).args(["--manifest", "nowhere/m.jsonl"]).run();
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.starts_with("fetchimg: cannot write nowhere/m.jsonl: "), "{run}");
    assert_eq!(server.requests().len(), 0, "{run}");
}

#[test]
fn standard_output_carries_the_report_alone() {
    let server = Server::start();
    let urls = [server.url("/png/300/a.png"), server.url("/status/404/b.png")];
    let run = fetchimg().lines(&urls).arg("-v").run();
    assert!(run.stdout.starts_with("Concurrent, one task per URL\nDownload time: "), "{run}");
    assert!(!run.stdout.contains("http://"), "{run}");
    assert!(run.stderr.contains("Downloaded: ") && run.stderr.contains("Failed: "), "{run}");

    let run = fetchimg().lines(&urls).args(["-vv", "--json"]).run();
    assert_eq!(run.report()["modes"][0]["rows"], 2, "{run}");
}

// ---------------------------------------------------------------------------------------------------------- records

#[test]
fn a_saved_row_is_recorded_as_the_contract_shows() {
    let server = Server::start();
    let (plain, moved, slow) = ("/png/300/a.png", "/redirect/302/2/png/400/b.png", "/slow/100/500/c.png");
    let flaky = "/flaky/503/2/600/d.png";
    let urls = [plain, moved, slow, flaky].map(|target| server.url(target));
    let run = fetchimg().lines(&urls).args(["--retry-wait", "0.01"]).run();

    assert_eq!(run.status, Some(0), "{run}");
    for ((index, url), size) in (0_u64..).zip(&urls).zip([300, 400, 500, 600]) {
        let record = run.record(index);
        assert_eq!(record["index"], index, "{record}");
        assert_eq!(record["url"], *url, "{record}");
        assert_eq!((record["status"].as_str(), record["format"].as_str()), (Some("saved"), Some("png")), "{record}");
        assert_eq!((record["bytes"].as_u64(), record["resumed_from"].as_u64()), (Some(size), Some(0)), "{record}");
        assert_eq!(record["content_type"], "image/png", "{record}");
        assert_eq!(record["http_status"], 200, "{record}");
        let [start, ttfb, total] = ["start_ms", "ttfb_ms", "total_ms"].map(|name| number(&record[name]));
        assert!(0.0 <= start && 0.0 < ttfb && ttfb <= total, "{record}");
        assert_eq!(["error", "message", "reason", "retryable"].map(|name| record.get(name)), [None; 4], "{record}");
    }
    let attempts = [0, 1, 2, 3].map(|index| run.record(index)["attempts"].as_u64());
    assert_eq!(attempts, [1, 1, 1, 3].map(Some), "redirects are no attempts\n{run}");
    assert_eq!(run.record(0)["final_url"], urls[0], "{run}");
    assert_eq!(run.record(1)["final_url"], server.url("/png/400/b.png"), "{run}");
    assert!(number(&run.record(2)["ttfb_ms"]) >= 100.0, "{run}");
    assert_eq!(run.record(0)["path"], "a.png", "{run}");
}

#[test]
fn a_failed_row_is_recorded_as_the_contract_shows() {
    let server = Server::start();
    let url = server.url("/status/404/b.png");
    let run = fetchimg().lines([&url]).run();
    let mut record = run.record(0);
    let [start, total] = ["start_ms", "total_ms"].map(|name| number(&record[name]));
    assert!(0.0 <= start && 0.0 < total, "{record}");
    let fields = record.as_object_mut().expect("an object");
    fields.retain(|name, _| !["start_ms", "ttfb_ms", "total_ms"].contains(&name.as_str()));
    let expected = serde_json::json!({
        "index": 0, "url": url, "status": "failed", "error": "http_status", "http_status": 404,
        "message": "404 Not Found", "retryable": false, "attempts": 1,
    });
    assert_eq!(record, expected, "{run}");
}

#[test]
fn start_times_count_from_the_start_of_the_run() {
    let server = Server::start();
    let run = fetchimg().lines(numbered(&server, "/slow/50/300", 3)).arg("--sequential").run();
    let starts = [0, 1, 2].map(|index| number(&run.record(index)["start_ms"]));
    assert!(starts[0] < 5000.0 && starts[1] >= starts[0] + 50.0 && starts[2] >= starts[1] + 50.0, "{starts:?}");
}

#[test]
fn a_manifest_file_holds_the_records_of_this_run() {
    let server = Server::start();
    let lines = ["/png/300/a.png", "/status/404/b.png", "/png/300/a.png"].map(|target| server.url(target));
    let run = fetchimg().lines(&lines).args(["--manifest", "records.jsonl"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(manifest(&run.dir.read("records.jsonl")), run.records(), "{run}");
    assert_eq!(run.records().len(), 3, "{run}");

    let again = fetchimg().lines(&lines[..1]).args(["--manifest", "records.jsonl"]).in_dir(&run.dir).run();
    let records = manifest(&again.dir.read("records.jsonl"));
    assert_eq!(records.iter().map(outcome).collect::<Vec<_>>(), ["skipped already_saved a.png"], "{again}");
}

#[test]
fn a_manifest_on_standard_output_is_alone_there() {
    let server = Server::start();
    let lines = ["/png/300/a.png", "/status/404/b.png", "/png/300/a.png"].map(|target| server.url(target));
    let run = fetchimg().lines(&lines).lines(["no url"]).args(["--manifest", "-"]).run();

    assert_eq!(run.status, Some(1), "{run}");
    let mut records = manifest(run.stdout.as_bytes());
    records.sort_by_key(|record| record["index"].as_u64());
    let outcomes: Vec<_> = records.iter().map(outcome).collect();
    assert_eq!(
        outcomes,
        ["saved a.png", "failed http_status 404", "skipped duplicate_url a.png", "failed bad_url"],
        "{run}"
    );
    assert!(run.stderr.contains("Download time: "), "the report goes elsewhere\n{run}");

    let quiet = fetchimg().lines(&lines).args(["--manifest", "-", "-q"]).in_dir(&run.dir).run();
    assert_eq!(manifest(quiet.stdout.as_bytes()).len(), 3, "{quiet}");
    assert!(!quiet.stderr.contains("Download time: "), "{quiet}");

    let both = fetchimg().lines(&lines).args(["--manifest", "-", "--json"]).run();
    assert_eq!((both.status, both.stdout.as_str()), (Some(2), ""), "{both}");
    assert!(both.stderr.contains("--report run.json"), "the way out is told\n{both}");
}

// -------------------------------------------------------------------------------------------------------------- log

#[test]
fn quiet_says_nothing_on_success_and_what_failed_otherwise() {
    let server = Server::start();
    let run = fetchimg().lines(numbered(&server, "/png/300", 3)).arg("-q").run();
    assert_all_saved(&run, &server, "/png/300", 3);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "{run}");

    let url = server.url("/status/404/a.png");
    let run = fetchimg().lines([server.url("/png/300/b.png"), url.clone()]).arg("--quiet").run();
    assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""), "{run}");
    assert_eq!(run.stderr.lines().count(), 1, "{run}");
    assert!(run.stderr.contains(&format!("Failed: {url}: 404 Not Found")), "{run}");

    let run = fetchimg().lines(numbered(&server, "/png/300", 3)).args(["-q", "--json"]).run();
    assert_eq!((run.report()["modes"][0]["saved"].as_u64(), run.stderr.as_str()), (Some(3), ""), "{run}");
}

/// Whether a line begins as in `2026-03-30T19:21:02.370Z  INFO fetchimg: `.
fn is_log_line(line: &str, level: &str) -> bool {
    let Some((time, rest)) = line.split_at_checked("2026-03-30T19:21:02.370Z".len()) else { return false };
    let alike = time.chars().zip("0000-00-00T00:00:00.000Z".chars()).all(|(found, model)| match model {
        '0' => found.is_ascii_digit(),
        other => found == other,
    });
    alike && time.starts_with("20") && rest.starts_with(&format!(" {level:>5} fetchimg: "))
}

#[test]
fn log_lines_have_a_form_of_their_own() {
    let server = Server::start();
    let (good, bad) = (server.url("/png/300/a.png"), server.url("/status/404/b.png"));
    let run = fetchimg().lines([&good, &bad]).arg("--sequential").run();
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{run}");
    assert!(
        is_log_line(lines[0], "INFO")
            && lines[0].ends_with(&format!("Z  INFO fetchimg: Downloaded: {good} -> images/a.png")),
        "{run}"
    );
    assert!(
        is_log_line(lines[1], "ERROR") && lines[1].contains(&format!("fetchimg: Failed: {bad}: 404 Not Found")),
        "{run}"
    );
}

#[test]
fn log_lines_can_be_json() {
    let server = Server::start();
    let urls = [server.url("/png/300/a.png"), server.url("/status/404/b.png")];
    let run = fetchimg().lines(&urls).args(["--log-format", "json", "--sequential"]).run();
    let lines = manifest(run.stderr.as_bytes());
    assert_eq!(lines.len(), 2, "{run}");
    assert_eq!(lines[0]["message"], format!("Downloaded: {} -> images/a.png", urls[0]), "{run}");
    let said: Vec<_> = lines.iter().map(|line| (line["level"].as_str(), line["target"].as_str())).collect();
    assert_eq!(said, [(Some("INFO"), Some("fetchimg")), (Some("ERROR"), Some("fetchimg"))], "{run}");
    assert!(lines.iter().all(|line| line["timestamp"].is_string()), "{run}");
}

/// The fields of a line of the log in JSON, but for those that every line has and those that measure time.
fn fields(line: &Value) -> Value {
    let mut line = line.clone();
    let fields = line.as_object_mut().expect("an object");
    assert!(fields.remove("total_ms").is_none_or(|time| time.is_f64()), "{fields:?}");
    fields.retain(|name, _| !["timestamp", "level", "target", "message"].contains(&name.as_str()));
    line
}

#[test]
fn log_lines_are_events_with_fields() {
    let server = Server::start();
    let (good, bad, busy) =
        (server.url("/png/300/a.png"), server.url("/status/404/b.png"), server.url("/flaky/503/1/300/c.png"));
    let host = good.split('/').nth(2).expect("a host");
    let flags = ["-vv", "--log-format", "json", "--sequential", "--retry-wait", "0.01"];
    let run = fetchimg().lines([&good, &bad, &busy, &good]).lines(["no url"]).args(flags).run();
    let lines = manifest(run.stderr.as_bytes());
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).map(fields).collect::<Vec<_>>();
    let saved = |url: &str, path: &str, attempts: u32| {
        serde_json::json!({
            "event": "saved", "url": url, "host": host, "path": path, "http_status": 200, "attempts": attempts, "bytes": 300,
        })
    };
    assert_eq!(of("saved"), [saved(&good, "images/a.png", 1), saved(&busy, "images/c.png", 2)], "{run}");
    assert_eq!(
        of("failed"),
        [
            serde_json::json!({
                "event": "failed", "url": bad, "host": host, "error": "http_status", "http_status": 404, "attempts": 1,
            }),
            serde_json::json!({"event": "failed", "url": "no url", "error": "bad_url", "attempts": 0}),
        ],
        "{run}"
    );
    let skipped = serde_json::json!({
        "event": "skipped", "url": good, "host": host, "path": "images/a.png", "reason": "duplicate_url",
    });
    assert_eq!(of("skipped"), [skipped], "{run}");
    let retry = serde_json::json!({
        "event": "retry", "url": busy, "host": host, "error": "http_status", "http_status": 503, "attempts": 1,
    });
    assert_eq!(of("retry"), [retry], "{run}");
    assert_eq!((of("request").len(), of("response").len()), (4, 4), "{run}");
    let response = serde_json::json!({
        "event": "response", "url": good, "host": host, "http_status": 200, "content_type": "image/png", "bytes": 300,
    });
    assert_eq!(of("response")[0], response, "{run}");
}

#[test]
fn each_exchange_can_be_seen_and_nothing_of_the_libraries() {
    let server = Server::start();
    let (moved, there) = (server.url("/redirect/302/1/png/400/b.png"), server.url("/png/400/b.png"));
    let run = fetchimg().lines([&moved]).args(["-vv", "--sequential"]).run();
    let lines = run.stderr.lines().filter(|line| is_log_line(line, "TRACE"));
    let said = lines.map(|line| line.split_once(" fetchimg: ").expect("a log line").1).collect::<Vec<_>>();
    assert_eq!((said.len(), said[0], said[2]), (4, &*format!("> GET {moved}"), &*format!("> GET {there}")), "{run}");
    assert!(said[1].starts_with("< 302 ") && said[1].ends_with(&format!(" from {moved}")), "{run}");
    assert_eq!(said[3], format!("< 200 image/png 400 from {there}"), "{run}");
    assert!(run.stderr.lines().all(|line| line.contains(" fetchimg: ")), "{run}");
    let run = fetchimg().lines([&moved]).env("RUST_LOG", "hyper_util=debug").run();
    assert!(run.stderr.contains(" hyper_util::"), "{run}");
}

#[test]
fn what_can_be_done_is_said_once_and_not_on_each_row() {
    let server = Server::start();
    let lines = (0..4).map(|number| server.url(&format!("/page/{number}.png")));
    let run = fetchimg().lines(lines).run();
    assert_eq!(run.stderr.matches("Failed: ").count(), 4, "{run}");
    assert_eq!(run.stderr.matches("; --accept any saves whatever comes").count(), 1, "{run}");
    let dir = TestDir::new();
    for name in ["a.png", "b.png", "c.png"] {
        dir.write(format!("images/{name}"), "another file");
    }
    let run =
        fetchimg().in_dir(&dir).lines(["a", "b", "c"].map(|name| server.url(&format!("/png/300/{name}.png")))).run();
    assert_eq!(run.stderr.matches("Kept: ").count(), 3, "{run}");
    assert_eq!(run.stderr.matches("; --overwrite replaces it").count(), 1, "{run}");
}

#[test]
fn colours_are_for_terminals_and_on_request() {
    let server = Server::start();
    let coloured = |variables: &[(&str, &str)]| {
        let program = fetchimg().lines([server.url("/png/300/a.png")]);
        let run = variables.iter().fold(program, |program, (name, value)| program.env(name, value)).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert!(!run.stdout.contains('\u{1b}'), "{run}");
        run.stderr.contains('\u{1b}')
    };
    assert!(!coloured(&[]));
    assert!(coloured(&[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}

#[test]
fn the_log_listens_to_the_environment() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/png/300/a.png")]).env("RUST_LOG", "off").run();
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""), "{run}");
    let run = fetchimg().lines([server.url("/png/300/a.png")]).env("RUST_LOG", "fetchimg=info").arg("-q").run();
    assert!(run.stderr.contains("Downloaded: "), "{run}");
}

#[test]
fn more_detail_tells_of_skipped_rows() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    let first = fetchimg().lines([&url]).run();
    let second = fetchimg().lines([&url]).arg("-v").in_dir(&first.dir).run();
    assert!(second.stderr.contains(&format!("Skipped: {url}: already_saved")), "{second}");
    let third = fetchimg().lines([&url]).in_dir(&first.dir).run();
    assert_eq!(third.stderr, "", "{third}");
}

#[test]
fn progress_can_be_lines_nothing_or_a_bar() {
    let server = Server::start();
    for (what, lines) in [("none", 0), ("log", 2), ("auto", 2)] {
        let run = fetchimg().lines(numbered(&server, "/png/300", 2)).args(["--progress", what]).run();
        assert_all_saved(&run, &server, "/png/300", 2);
        assert!(!run.stderr.contains('\u{1b}') && !run.stderr.contains('\r'), "{what}\n{run}");
        assert_eq!(run.stderr.lines().count(), lines, "{what}\n{run}");
    }
    let run = fetchimg().lines(numbered(&server, "/png/300", 2)).args(["--progress", "bar"]).run();
    assert_all_saved(&run, &server, "/png/300", 2);
}

// ------------------------------------------------------------------------------------------------- pieces and pipes

#[test]
fn the_size_of_the_pieces_makes_no_difference() {
    let server = Server::start();
    let targets =
        ["/png/70/a.png", "/png/2000/b.png", "/png/70001/c.png", "/chunked/9999/d.png", "/jpeg/e.jpg", "/svg/f"];
    for size in ["1", "7", "512", "65536", "1M"] {
        let run = fetchimg().lines(targets.map(|target| server.url(target))).args(["--chunk-size", size]).run();
        assert_eq!(run.status, Some(0), "{size}\n{run}");
        for (name, target) in ["a.png", "b.png", "c.png", "d.png", "e.jpg", "f.svg"].into_iter().zip(targets) {
            assert!(run.file(name) == server.body(target), "{name} in pieces of {size}\n{run}");
        }
        assert_eq!(run.leftovers(), [""; 0], "{run}");
    }
}

/// Runs the program in a shell, with its output going to a pipe that its reader has closed.
fn into_a_closed_pipe(server: &Server, redirection: &str, arguments: &[&str]) -> Run {
    server.close_gate();
    let dir = TestDir::new();
    dir.write("list.txt", numbered(server, "/gated/300", 5).join("\n"));
    let script = format!("{{ \"$0\" list.txt \"$@\" {redirection}; echo $? >status; }} | {{ exec <&-; : >closed; }}");
    let running = Program::new("sh").args(["-c", &script, FETCHIMG]).args(arguments).in_dir(&dir).start();
    wait_until("the end of the reader", || dir.join("closed").exists());
    server.open_gate();
    running.wait()
}

#[test]
fn the_report_need_not_be_read() {
    let server = Server::start();
    for arguments in [&[][..], &["--json"], &["--sequential"], &["--compare"]] {
        let run = into_a_closed_pipe(&server, "", arguments);
        assert_all_saved(&run, &server, "/gated/300", 5);
        assert!(!run.stderr.contains("panicked"), "{run}");
        assert_eq!(run.dir.read("status"), b"0\n", "{run}");
    }
}

#[test]
fn the_manifest_need_not_be_read() {
    let server = Server::start();
    let run = into_a_closed_pipe(&server, "", &["--manifest", "-"]);
    assert_all_saved(&run, &server, "/gated/300", 5);
    assert!(!run.stderr.contains("panicked"), "{run}");
    assert_eq!((run.dir.read("status").as_slice(), run.records().len()), (&b"0\n"[..], 5), "{run}");
}

#[test]
fn the_help_need_not_be_read() {
    let run = Program::new("sh").args(["-c", "\"$0\" --help | true", FETCHIMG]).run();
    assert!(!run.stderr.contains("panicked"), "{run}");
}

#[test]
fn the_log_need_not_be_read() {
    let server = Server::start();
    for arguments in [&[][..], &["--log-format", "json"], &["--progress", "bar"], &["-q"]] {
        let run = into_a_closed_pipe(&server, "2>&1 >/dev/null", arguments);
        assert_all_saved(&run, &server, "/gated/300", 5);
        assert_eq!((run.dir.read("status").as_slice(), run.records().len()), (&b"0\n"[..], 5), "{run}");
    }
}

#[test]
fn there_need_be_no_standard_error() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("list.txt", numbered(&server, "/png/300", 5).join("\n"));
    let run = Program::new("sh").args(["-c", "\"$0\" list.txt 2>&-; echo $? >status", FETCHIMG]).in_dir(&dir).run();
    assert_all_saved(&run, &server, "/png/300", 5);
    assert_eq!(dir.read("status"), b"0\n", "{run}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_report_is_told() {
    let server = Server::start();
    for arguments in ["", "--json", "--manifest -"] {
        let dir = TestDir::new();
        dir.write("list.txt", numbered(&server, "/png/300", 5).join("\n"));
        let script = format!("\"$0\" list.txt {arguments} >/dev/full; echo $? >status");
        let run = Program::new("sh").args(["-c", &script, FETCHIMG]).in_dir(&dir).run();
        assert_eq!(dir.read("status"), b"3\n", "{arguments}\n{run}");
        assert!(run.stderr.contains("fetchimg: cannot write "), "{arguments}\n{run}");
        assert!(!run.stderr.contains("panicked"), "{run}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_manifest_is_not_waited_with() {
    let server = Server::start();
    let dir = TestDir::new();
    // The first row has its record, and the second one waits for a minute.
    let urls = [server.url("/png/300/a.png"), server.url_for_host("localhost", "/wait/503/60/9/300/b.png")];
    dir.write("list.txt", urls.join("\n"));
    let script = "\"$0\" list.txt --manifest - >/dev/full; echo $? >status";
    let run = Program::new("sh").args(["-c", script, FETCHIMG]).in_dir(&dir).run();
    assert_eq!((dir.read("status").as_slice(), run.files()), (&b"3\n"[..], vec!["a.png".to_owned()]), "{run}");
    assert!(run.elapsed < Duration::from_secs(10), "{run}");
}

#[test]
fn the_times_of_earlier_runs_take_little_room_and_the_last_ones_stay() {
    let server = Server::start();
    let urls = [server.url("/png/300/a.png"), server.url("/png/301/b.png")];
    let first = fetchimg().lines(&urls).run();
    let file = first.output().join(".fetchimg.runs.jsonl");
    let other = r#"{"mode":"sequential","date":1,"list":NUMBER,"saved":1,"bytes":1,"wall_seconds":1.0}"#;
    let others = (0..2000).map(|number| other.replace("NUMBER", &number.to_string()) + "\n").collect::<String>();
    std::fs::write(&file, others).expect("write");
    // What a run has left that was killed when it wrote the file anew.
    std::fs::write(first.output().join(".fetchimg.runs.jsonl.new"), "{\"mode\":").expect("write");
    let run = |flag: &str| fetchimg().in_dir(&first.dir).lines(&urls).args(["--overwrite", flag]).run();
    let sequential = run("--sequential");
    let size = std::fs::metadata(&file).expect("it is there").len();
    assert!(size < 64 * 1024, "{size} bytes\n{sequential}");
    assert_eq!(sequential.leftovers(), [""; 0], "{sequential}");
    let concurrent = run("-v");
    assert!(concurrent.stdout.contains("(measured in two runs)"), "{concurrent}");
}
