//! `--sample N`: a random part of the list, and the forecast for the whole list.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{RUNS, Run, Server, TestDir, fetchimg, wait_until};

/// A list of this number of rows at one server; every twentieth is a 404.
fn list(server: &Server, count: usize) -> Vec<String> {
    let target = |number: usize| match number % 20 {
        7 => format!("/status/404/{number}.png"),
        _ => format!("/png/{}/{number}.png", 300 + number % 500),
    };
    (0..count).map(|number| server.url(&target(number))).collect()
}

#[track_caller]
fn forecast(run: &Run) -> Value {
    run.report()["forecast"].clone()
}

#[track_caller]
fn bounds(estimate: &Value) -> (f64, f64) {
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{estimate}"));
    (number(&estimate["low"]), number(&estimate["high"]))
}

#[track_caller]
fn assert_within(estimate: &Value, truth: f64) {
    let (low, high) = bounds(estimate);
    assert!(low <= truth && truth <= high, "{truth} is not within {estimate}");
}

#[test]
fn a_sample_foresees_the_whole_list_which_goes_on_from_it() {
    let server = Server::start();
    let mut lines = list(&server, 2000);
    // Rows that need no request are counted beforehand.
    lines.extend([lines[3].clone(), lines[4].clone(), "no URL".to_owned()]);
    let arguments = ["--sample", "200", "--sample-seed", "11", "--json", "--retries", "0"];
    let run = fetchimg().lines(&lines).args(arguments).run();

    assert_eq!(run.status, Some(1), "{run}");
    let estimate = forecast(&run);
    assert_eq!(
        (&estimate["rows"], &estimate["to_fetch"], &estimate["sampled"]),
        (&json!(2003), &json!(2000), &json!(200)),
        "{run}"
    );
    assert_eq!(
        (&estimate["remaining"], &estimate["bad"], &estimate["seed"]),
        (&json!(1800), &json!(1), &json!(11)),
        "{run}"
    );
    assert_eq!(estimate["skipped_by_reason"], json!({"duplicate_url": 2}), "{run}");
    assert_within(&estimate["failed_share"], 0.05);
    let (low, high) = bounds(&estimate["failed_share"]);
    assert!(high - low < 0.08, "{run}");
    assert_within(&estimate["failed_rows"], 101.0);
    let bytes = (0..2000).filter(|number| number % 20 != 7).map(|number| 300 + number % 500).sum::<i32>();
    assert_within(&estimate["bytes"], bytes.into());
    let (low, high) = bounds(&estimate["bytes"]);
    assert!(high - low < 0.2 * f64::from(bytes), "{run}");
    let (low, high) = bounds(&estimate["seconds"]);
    assert!(low > 0.0 && high < 60.0, "{run}");
    assert_eq!(run.report()["comparison"], Value::Null, "{run}");
    assert_eq!(run.report()["modes"][0]["rows"], 200, "{run}");
    assert_eq!(run.records().len(), 200, "{run}");
    assert_eq!(server.requests().len(), 200, "{run}");

    // The same seed draws the same rows.
    let again = fetchimg().lines(&lines).args(arguments).run();
    assert_eq!(again.files(), run.files(), "{again}");
    assert_eq!(forecast(&again)["bytes"], estimate["bytes"], "{again}");
    let other = fetchimg().lines(&lines).args(["--sample", "200", "--sample-seed", "12", "--json"]).run();
    assert_ne!(other.files(), run.files(), "{other}");

    // The whole run does not fetch them again.
    let asked = server.requests().len();
    let saved = run.files().len();
    let rest = fetchimg().in_dir(&run.dir).lines(&lines).arg("--json").run();
    let summary = rest.report()["modes"][0].clone();
    assert_eq!(summary["skipped_by_reason"], json!({"already_saved": saved, "duplicate_url": 2}), "{rest}");
    assert_eq!(server.requests().len() - asked, 2000 - saved, "{rest}");
    assert_within(&estimate["failed_rows"], summary["failed"].as_f64().expect("a number"));
    let whole = fetchimg().lines(&lines).run();
    assert_eq!(rest.files(), whole.files(), "{rest}");
}

#[test]
fn a_sample_has_the_names_of_the_whole_run() {
    let server = Server::start();
    // All have the same base name, so each name depends on the rows before.
    let lines = (0..200).map(|number| server.url(&format!("/png/{}/x.png", 300 + number))).collect::<Vec<_>>();
    let sample = fetchimg().lines(&lines).args(["--sample", "20", "--sample-seed", "3"]).run();
    assert_eq!((sample.status, sample.files().len()), (Some(0), 20), "{sample}");
    let whole = fetchimg().lines(&lines).run();
    for record in sample.records() {
        let index = record["index"].as_u64().expect("an index");
        assert_eq!(record["path"], whole.record(index)["path"], "{sample}");
    }
    let rest = fetchimg().in_dir(&sample.dir).lines(&lines).run();
    assert_eq!(rest.files(), whole.files(), "{rest}");
}

#[test]
fn a_list_from_a_pipe_is_sampled_too_and_said_in_words() {
    let server = Server::start();
    let list = list(&server, 500).join("\n");
    let run = fetchimg().stdin(list).args(["--sample", "100", "--sample-seed", "5", "--sequential"]).run();
    for part in [
        "Forecast for the list: from 100 of 500 rows drawn at random\n",
        "rows              500, of which 500 to fetch\n",
        "failures  ",
        "bytes  ",
        "for the 400 rows left\n",
        "95 % intervals",
        "--sample-seed 5 draws the same rows",
    ] {
        assert!(run.stdout.contains(part), "{part:?} is missing in\n{run}");
    }
    assert!(!run.stdout.contains("Speed-up"), "{run}");
    assert!(run.stdout.lines().all(|line| line.chars().count() <= 80), "{run}");
    let first = run.records().iter().map(|record| record["index"].as_u64()).collect::<Vec<_>>();
    assert!(first.is_sorted(), "in list order, one after the other\n{run}");
}

#[test]
fn a_sample_larger_than_the_list_is_the_list() {
    let server = Server::start();
    let lines = list(&server, 30);
    let run = fetchimg().lines(&lines).args(["--sample", "1000"]).run();
    assert_eq!((run.status, run.files().len()), (Some(1), 28), "{run}");
    assert!(run.stdout.contains("the sample was all there was to fetch"), "{run}");
    assert!(!run.stdout.contains("95 %"), "{run}");
    let run = fetchimg().in_dir(&run.dir).lines(&lines[..7]).args(["--sample", "1000"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.stdout.contains("nothing is left to fetch"), "{run}");
    let run = fetchimg().stdin("").args(["--sample", "10"]).run();
    assert_eq!(
        (run.status, run.stdout.as_str()),
        (Some(0), "The list is empty: there is nothing to forecast.\n"),
        "{run}"
    );
}

#[test]
fn one_row_is_enough_for_a_sample_and_too_few_for_bounds() {
    let server = Server::start();
    let lines = list(&server, 7);
    let run = fetchimg().lines(&lines[..1]).args(["--sample", "5", "--json"]).run();
    let estimate = forecast(&run);
    assert_eq!((run.status, &estimate["sampled"], &estimate["remaining"]), (Some(0), &json!(1), &json!(0)), "{run}");
    assert_eq!(estimate["bytes"], json!({"expected": 300.0, "low": 300.0, "high": 300.0}), "{run}");
    let run = fetchimg().lines(&lines).args(["--sample", "1", "--json"]).run();
    let estimate = forecast(&run);
    assert_eq!((&estimate["sampled"], &estimate["remaining"]), (&json!(1), &json!(6)), "{run}");
    assert_eq!((&estimate["bytes"]["low"], &estimate["seconds"]["low"]), (&Value::Null, &Value::Null), "{run}");
    assert!(bounds(&estimate["failed_share"]).1 > 0.5, "{run}");
}

#[test]
fn when_all_fail_that_is_what_is_foreseen() {
    let server = Server::start();
    let lines = (0..100).map(|number| server.url(&format!("/status/404/{number}.png")));
    let run = fetchimg().lines(lines).args(["--sample", "40", "--json"]).run();
    let estimate = forecast(&run);
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!((&estimate["failed_share"]["expected"], &estimate["bytes"]), (&json!(1.0), &Value::Null), "{run}");
    let (low, high) = bounds(&estimate["failed_share"]);
    assert!(low > 0.9 && (high - 1.0).abs() < 1e-9, "{run}");
}

#[test]
fn what_was_interrupted_foresees_nothing() {
    let server = Server::start();
    let lines = (0..50).map(|number| match number % 2 {
        0 => server.url(&format!("/png/300/{number}.png")),
        _ => server.url(&format!("/gated/300/{number}.png")),
    });
    let mut running = fetchimg().lines(lines).args(["--sample", "40", "--report", "report.json"]).start();
    server.wait_for_hits("/gated/", 1, Duration::from_secs(120));
    running.kill("INT");
    let run = running.wait();
    assert_eq!(run.status, Some(130), "{run}");
    assert!(!run.stdout.contains("Forecast") && run.stdout.contains("interrupted"), "{run}");
    let report: Value = serde_json::from_slice(&run.dir.read("report.json")).expect("a report");
    assert_eq!((&report["forecast"], &report["ended"]), (&Value::Null, &json!("interrupted")), "{run}");

    // The same while the list is still being read.
    let mut running = fetchimg().args(["--sample", "2"]).stdin_pipe();
    running.write_line(server.url("/png/300/0.png"));
    running.wait_for_stderr("Reading the list");
    running.kill("INT");
    wait_until("the end", || !running.is_running());
    let run = running.wait();
    assert_eq!((run.status, run.stdout.as_str()), (Some(130), ""), "{run}");
}

#[test]
fn a_sample_is_no_run_to_be_compared_with() {
    let server = Server::start();
    let lines = (0..10).map(|number| server.url(&format!("/png/300/{number}.png"))).collect::<Vec<_>>();
    let dir = TestDir::new();
    let run = fetchimg().in_dir(&dir).lines(&lines).args(["--sample", "10", "--sequential"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(!run.output().join(RUNS).exists(), "{run}");
    for (arguments, hint) in [
        (&["--sample", "10", "--compare"][..], "--compare"),
        (&["--sample", "0"], "such as 200"),
        (&["--sample-seed", "1"], "--sample"),
    ] {
        let run = fetchimg().lines(&lines).args(arguments).run();
        assert_eq!(run.status, Some(2), "{run}");
        assert!(run.stderr.contains(hint), "{run}");
    }
}
