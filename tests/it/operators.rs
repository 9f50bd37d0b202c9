//! What schedulers and operators rely on: the status of a run with few failures, a sign of life, and numbers for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::common::{Program, Run, Server, TestDir, fetchimg, wait_until};

/// A list of `saved` images and `missing` ones.
fn list(server: &Server, saved: usize, missing: usize) -> Vec<String> {
    let saved = (0..saved).map(|number| server.url(&format!("/png/300/{number}.png")));
    saved.chain((0..missing).map(|number| server.url(&format!("/status/404/{number}.png")))).collect()
}

#[test]
fn few_failures_are_no_failure_of_the_task_if_that_is_asked_for() {
    let server = Server::start();
    let rows = list(&server, 19, 1);
    let fetch =
        |share: &str| fetchimg().lines(&rows).args(["--ok-if-failed-below", share, "--report", "run.json"]).run();
    let below = "1 of 20 rows failed, fewer than the share of 0.06 by";
    let not_below = "1 of 20 rows failed, not fewer than the share of 0.05 by";
    for (share, status, sentence) in [("0.06", 0, below), ("0.05", 1, not_below)] {
        let run = fetch(share);
        assert_eq!(run.status, Some(status), "{run}");
        assert!(run.stdout.contains(&format!("\nAllowed: {sentence}")), "{run}");
        let report = serde_json::from_slice::<Value>(&run.dir.read("run.json")).expect("a report");
        let told = &report["ok_if_failed_below"];
        assert_eq!((&told["failed"], &told["rows"]), (&1.into(), &20.into()), "{told}");
        assert_eq!(told["is_ok"], status == 0, "{told}");
    }
    // Nothing is said where nothing failed, and without the flag.
    for flags in [&["--ok-if-failed-below", "0.5"][..], &[]] {
        let run = fetchimg().lines(list(&server, 3, 0)).args(flags).run();
        assert!(run.status == Some(0) && !run.stdout.contains("Allowed"), "{run}");
    }
    for share in ["5", "-0.1", "nan", "inf"] {
        let run = fetch(share);
        assert!(run.status == Some(2) && run.stderr.contains("from 0 to 1"), "{run}");
    }
    let run = fetch("50%");
    assert!(
        run.status == Some(2) && run.stderr.ends_with("is no number that it takes; write one such as 0.05\n"),
        "{run}"
    );
    // Nothing is below nothing, and all rows are not below all.
    for (share, saved, failed, status) in
        [("0", 0, 0, 0), ("1", 0, 0, 0), ("0", 1, 0, 0), ("0", 1, 1, 1), ("1.0", 0, 1, 1)]
    {
        let run = fetchimg().lines(list(&server, saved, failed)).args(["--ok-if-failed-below", share]).run();
        assert_eq!(run.status, Some(status), "{share} {saved} {failed}\n{run}");
    }
}

#[test]
fn the_share_is_one_of_all_rows_and_holds_for_shards_and_for_a_stream() {
    let server = Server::start();
    let set = ["-o", "set", "--output-format", "webdataset", "--shard-size", "10"];
    let tar = ["-o", "-", "--output-format", "webdataset"];
    for output in [&["-o", "images"][..], &set, &tar] {
        for (share, status) in [("0.11", 0), ("0.1", 1)] {
            let flags = output.iter().copied().chain(["--ok-if-failed-below", share]);
            let run = fetchimg().lines(list(&server, 18, 2)).args(flags).run();
            assert_eq!(run.status, Some(status), "{output:?} {share}");
        }
    }
    // The rows that are there already count, so the status of a second run is that of the first.
    let dir = TestDir::new();
    for _ in 0..2 {
        let flags = ["--ok-if-failed-below", "0.11", "--retries", "0"];
        let run = fetchimg().lines(list(&server, 18, 2)).args(flags).in_dir(&dir).run();
        assert_eq!(run.status, Some(0), "{run}");
    }
}

#[test]
fn a_quiet_task_gives_a_sign_of_life() {
    let server = Server::start();
    server.close_gate();
    let rows = [server.url("/png/300/a.png"), server.url("/status/404/b.png"), server.url("/gated/300/c.png")];
    let start = |flags: &[&str]| fetchimg().lines(&rows).args(["--heartbeat", "0.2"]).args(flags).start();
    let json = start(&["--progress", "none", "--log-format", "json"]);
    let text = start(&["--progress", "log"]);
    let (quiet, never) = (start(&["--quiet"]), start(&["--heartbeat", "0", "--progress", "none"]));
    let beats = |text: &str| {
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["event"] == "heartbeat" && line["rows"] == 2).collect::<Vec<_>>()
    };
    wait_until("three heartbeats", || beats(&json.stderr()).len() >= 3);
    wait_until("a heartbeat in words", || text.stderr().contains("fetchimg: Still running: 2 of 3, 1 failed"));
    server.open_gate();
    let (json, text) = (json.wait(), text.wait());
    let beats = beats(&json.stderr);
    let last = beats.last().expect("a heartbeat");
    assert_eq!((&last["left"], &last["failed"], &last["level"]), (&1.into(), &1.into(), &"INFO".into()), "{last}");
    assert!(last["rows_per_second"].is_number() && last["seconds"].is_number(), "{last}");
    // Nothing else is told of saved rows where only errors are wanted.
    assert!(!json.stderr.contains("Downloaded") && text.stderr.contains("Downloaded"), "{json}{text}");
    for run in [quiet.wait(), never.wait()] {
        assert!(run.status == Some(1) && !run.stderr.contains("Still running"), "{run}");
    }
    // A terminal shows the live view.
    let run = fetchimg().lines(list(&server, 1, 0)).args(["--heartbeat", "0.01"]).terminal(80, 24).run();
    assert!(!run.stderr.contains("Still running"), "{run}");
}

/// A family of samples in the text format of Prometheus.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    has_help: bool,
    /// Values by labels, as they are written.
    samples: BTreeMap<String, f64>,
}

/// Parses numbers for Prometheus, and checks what `promtool check metrics` checks: each family is described before its
/// samples and is there once, names have the right suffixes and units, and no sample is there twice.
#[track_caller]
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "{text}");
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a help");
            assert!(help.len() > 10, "{line}");
            let is_new = families.insert(name.to_owned(), Family { has_help: true, ..Family::default() }).is_none();
            assert!(is_new, "{name} is there twice");
            name.clone_into(&mut current);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert_eq!(name, current, "{text}");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            let other_units = ["_ms", "_milliseconds", "_minutes", "_kib", "_count", "_sum", "_bucket", "_timestamp"];
            assert!(!other_units.iter().any(|unit| name.ends_with(unit)), "{line}");
            let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.starts_with("fetchimg_") && name.chars().all(is_name), "{line}");
            kind.clone_into(&mut families.get_mut(name).expect("its help").kind);
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').map_or((series, ""), |(name, labels)| {
                (name, labels.strip_suffix('}').expect("the end of the labels"))
            });
            assert_eq!(name, current, "a sample outside of its family\n{text}");
            // The name of the file tells the numbers of several runs apart.
            let labels = labels.strip_prefix("run=\"run\"").expect("the name of the file");
            let labels = labels.strip_prefix(',').unwrap_or(labels);
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (label, value) = label.split_once("=\"").expect("a label");
                assert!(label.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
                assert!(value.ends_with('"') && !value.contains('\\'), "{line}");
            }
            let value = value.parse::<f64>().expect("a number");
            let family = families.get_mut(name).expect("its help");
            assert!(family.has_help && !family.kind.is_empty(), "{line}");
            assert_eq!(family.samples.insert(labels.to_owned(), value), None, "{line} is there twice");
        }
    }
    assert!(families.values().all(|family| !family.kind.is_empty()), "{families:?}");
    families
}

#[track_caller]
fn read(path: &Path) -> BTreeMap<String, Family> {
    parse(&fs::read_to_string(path).expect("the metrics"))
}

fn metrics(run: &Run) -> BTreeMap<String, Family> {
    read(&run.dir.join("run.prom"))
}

/// The values of a family by their labels.
fn values(families: &BTreeMap<String, Family>, name: &str) -> Vec<(String, f64)> {
    let family = families.get(name).unwrap_or_else(|| panic!("no {name} in {families:?}"));
    family.samples.iter().map(|(labels, value)| (labels.clone(), *value)).collect()
}

#[track_caller]
fn assert_value(families: &BTreeMap<String, Family>, name: &str, expected: f64) {
    let found = values(families, name);
    assert!(matches!(&*found, [(_, value)] if (value - expected).abs() < 1e-9), "{name}: {found:?}");
}

#[test]
fn the_numbers_of_a_run_are_those_of_its_report() {
    let (server, dir) = (Server::start(), TestDir::new());
    let mut rows = list(&server, 12, 3);
    rows.extend([server.url("/page/page.png"), rows[0].clone()]);
    let flags = ["--metrics", "run.prom", "--compare", "-j", "7", "--json"];
    let run = fetchimg().lines(&rows).args(flags).in_dir(&dir).run();
    assert_eq!(run.status, Some(1), "{run}");
    let families = metrics(&run);
    // Both passes count: what grows never begins anew.
    let outcomes = values(&families, "fetchimg_rows_total").into_iter().collect::<BTreeMap<_, _>>();
    let expected = [("failed", 8.0), ("refused", 0.0), ("saved", 24.0), ("skipped", 2.0)];
    let expected = expected.map(|(name, count)| (format!("outcome=\"{name}\""), count));
    assert_eq!(outcomes, BTreeMap::from(expected), "{run}");
    let failures = values(&families, "fetchimg_failures_total");
    let expected =
        [("error=\"http_status\",http_status=\"404\"".to_owned(), 6.0), ("error=\"not_an_image\"".to_owned(), 2.0)];
    assert_eq!(failures, expected, "{run}");
    assert!(values(&families, "fetchimg_received_bytes_total")[0].1 >= 2.0 * 12.0 * 300.0, "{run}");
    assert_value(&families, "fetchimg_list_rows", 17.0);
    assert_value(&families, "fetchimg_permits", 7.0);
    for name in ["fetchimg_permits_in_use", "fetchimg_hosts_throttled", "fetchimg_hosts_down", "fetchimg_running"] {
        assert_value(&families, name, 0.0);
    }
    assert_value(&families, "fetchimg_exit_status", 1.0);
    let time = |name| values(&families, name)[0].1;
    let (start, update) = (time("fetchimg_start_timestamp_seconds"), time("fetchimg_update_timestamp_seconds"));
    assert!(start > 1.7e9 && update >= start && update < start + 600.0, "{start} {update}");
    assert!(!families.contains_key("fetchimg_shards_open"), "{run}");
    // An exporter is another user, and no half file is left.
    let mode = fs::metadata(dir.join("run.prom")).expect("metrics").permissions().mode();
    assert_eq!(mode & 0o444, 0o444, "{mode:o}");
    let hidden =
        fs::read_dir(dir.path()).expect("the folder").filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    assert!(!hidden.into_iter().any(|name| name.starts_with(".metrics-of")), "{run}");
}

#[test]
fn shards_are_counted_and_a_run_that_is_ended_says_so() {
    let (server, dir) = (Server::start(), TestDir::new());
    let set = ["-o", "set", "--output-format", "webdataset", "--shard-size", "10", "--metrics", "run.prom"];
    let run = fetchimg().lines(list(&server, 25, 0)).args(set).in_dir(&dir).run();
    assert_eq!(run.status, Some(0), "{run}");
    let families = metrics(&run);
    assert_value(&families, "fetchimg_shards_committed_total", 3.0);
    assert_value(&families, "fetchimg_shards_open", 0.0);
    assert_value(&families, "fetchimg_exit_status", 0.0);

    // A run that is told to end says with which status it ended.
    server.close_gate();
    let rows = [server.url("/png/300/a.png"), server.url("/gated/300/b.png")];
    let mut running = fetchimg().lines(rows).args(["--metrics", "run.prom", "--progress", "log"]).in_dir(&dir).start();
    running.wait_for_stderr("Downloaded");
    running.kill("TERM");
    let run = running.wait();
    assert_eq!(run.status, Some(143), "{run}");
    assert_value(&metrics(&run), "fetchimg_exit_status", 143.0);
    assert_value(&metrics(&run), "fetchimg_running", 0.0);
}

#[test]
fn the_numbers_are_written_anew_while_the_run_goes_on() {
    let (server, dir) = (Server::start(), TestDir::new());
    server.close_gate();
    let rows = [server.url("/png/300/a.png"), server.url("/gated/300/b.png")];
    let running = fetchimg().lines(rows).args(["--metrics", "run.prom"]).in_dir(&dir).start();
    let path = dir.join("run.prom");
    wait_until("the first numbers", || path.exists());
    let mut seen = BTreeSet::new();
    // Each version is whole, whenever it is read.
    wait_until("numbers of the run", || {
        let families = read(&path);
        assert_value(&families, "fetchimg_running", 1.0);
        seen.insert(values(&families, "fetchimg_update_timestamp_seconds")[0].1.to_bits());
        families["fetchimg_rows_total"].samples["outcome=\"saved\""] > 0.5
    });
    let families = read(&path);
    assert_value(&families, "fetchimg_permits_in_use", 1.0);
    assert!(seen.len() > 1, "{families:?}");
    server.open_gate();
    let run = running.wait();
    assert_eq!(run.status, Some(0), "{run}");
    assert_value(&metrics(&run), "fetchimg_running", 0.0);
    assert_value(&metrics(&run), "fetchimg_permits_in_use", 0.0);
}

#[test]
fn metrics_that_cannot_be_written_are_refused_at_once() {
    let (server, dir) = (Server::start(), TestDir::new());
    dir.write("images/.keep", "");
    dir.write("private/.keep", "");
    for (path, reason) in [
        ("missing/run.prom", "cannot write missing/run.prom: there is no folder missing\n"),
        ("private", "no regular file"),
        ("/dev/null", "no regular file"),
        ("list.txt", "one of the lists"),
    ] {
        let run = fetchimg().lines(list(&server, 1, 0)).args(["--metrics", path]).in_dir(&dir).run();
        assert!(run.status == Some(3) && run.stderr.contains(reason), "{path}: {run}");
        assert_eq!(run.stderr.lines().count(), 1, "{path}: {run}");
        assert!(!run.output().join("0.png").exists(), "{path}: {run}");
    }
    // A link stays one, and the file behind it is written.
    dir.write("there/run.prom", "old");
    std::os::unix::fs::symlink("there/run.prom", dir.join("run.prom")).expect("a link");
    let flags = ["--metrics", "run.prom"];
    let run = fetchimg().lines(list(&server, 1, 0)).args(flags).in_dir(&dir).time_limit(Duration::from_secs(60)).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(fs::symlink_metadata(dir.join("run.prom")).expect("a link").is_symlink(), "{run}");
    assert_value(&read(&dir.join("there/run.prom")), "fetchimg_exit_status", 0.0);
}

#[test]
fn records_may_go_to_a_pipe_beside_the_images() {
    let server = Server::start();
    // What is written to the pipe of standard error is there: a manifest that can be written and not truncated.
    let flags = ["-o", "-", "--output-format", "webdataset", "--manifest", "/dev/fd/2", "-q", "--log-format", "json"];
    let run = Program::new("sh")
        .args(["-c", "exec \"$@\" > stream.tar", "sh", env!("CARGO_BIN_EXE_fetchimg"), "list.txt"])
        .args(flags)
        .in_dir(&{
            let dir = TestDir::new();
            dir.write("list.txt", list(&server, 3, 2).join("\n"));
            dir
        })
        .run();
    assert_eq!(run.status, Some(1), "{run}");
    let records = run.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let statuses = records.filter_map(|record| record["status"].as_str().map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(statuses.iter().filter(|status| *status == "saved").count(), 3, "{run}");
    assert_eq!(statuses.iter().filter(|status| *status == "failed").count(), 2, "{run}");
}
