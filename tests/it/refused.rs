//! Images that the user's own filters turn away, and rows that fail for good: what counts, and what is asked for again.

use serde_json::{Value, json};

use crate::common::outcomes::{manifest, outcome};
use crate::common::{Program, Run, Server, TestDir, fetchimg};

/// A run whose records are also in `records.jsonl`, because the journal has those of all runs.
fn recorded() -> Program {
    fetchimg().args(["--manifest", "records.jsonl"])
}

/// The outcomes of one run by [`recorded`], in list order.
#[track_caller]
fn outcomes(run: &Run) -> Vec<String> {
    let mut records = manifest(&run.dir.read("records.jsonl"));
    records.sort_by_key(|record| record["index"].as_u64());
    records.iter().map(outcome).collect()
}

/// A good image, a small one, one of another format, and one that is gone.
const TARGETS: [&str; 4] = ["/sized/300/200/a.png", "/sized/99/400/b.png", "/jpeg/c.jpg", "/status/404/d.png"];

/// Filters that turn the second and the third of these away.
const FILTERS: [&str; 4] = ["--min-width", "100", "--accept", "png,webp"];

#[test]
fn what_filters_turn_away_is_counted_apart_and_fails_nothing() {
    let server = Server::start();
    let urls = TARGETS.map(|target| server.url(target));
    let reports = ["--report", "run.html", "--report", "run.md", "--report", "run.json"];
    let run = fetchimg().lines(&urls[..3]).args(FILTERS).args(reports).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png", "refused too_small", "refused not_accepted"], "{run}");
    assert_eq!(run.files(), ["a.png"], "{run}");
    assert!(run.stdout.contains("  refused           2: 1 not_accepted, 1 too_small\n"), "{run}");
    assert!(!run.stdout.contains("failed") && !run.stderr.contains("ERROR"), "{run}");
    assert!(run.stderr.contains("INFO fetchimg: Refused: "), "{run}");

    let record = run.record(1);
    let seen = ["status", "error", "message", "retryable", "attempts", "format", "width", "height", "http_status"];
    let expected = json!([
        "refused",
        "too_small",
        "the image has 99 x 400 pixels (--min-width 100)",
        false,
        1,
        "png",
        99,
        400,
        null
    ]);
    assert_eq!(Value::from_iter(seen.map(|name| record[name].clone())), expected, "{run}");
    assert!(record["total_ms"].is_number() && record["bytes"].is_number(), "{run}");
    assert_eq!((&run.record(2)["format"], &run.record(2)["width"]), (&json!("jpeg"), &Value::Null), "{run}");

    let report = serde_json::from_slice::<Value>(&run.dir.read("run.json")).expect("a report");
    let mode = &report["modes"][0];
    assert_eq!(json!([mode["rows"], mode["saved"], mode["refused"], mode["failed"]]), json!([3, 1, 2, 0]), "{run}");
    assert_eq!(mode["refused_by_kind"], json!({"not_accepted": 1, "too_small": 1}), "{run}");
    assert_eq!((&mode["failures"], mode["refusals"].as_array().map(Vec::len)), (&json!([]), Some(2)), "{run}");
    let host = &mode["hosts"][0];
    assert_eq!(json!([host["saved"], host["refused"], host["failed"], host["requests"]]), json!([1, 2, 0, 3]), "{run}");
    for (file, part) in [("run.md", "- refused: 2: 1 not\\_accepted"), ("run.html", "<b>2</b>refused")] {
        let report = String::from_utf8(run.dir.read(file)).expect("text");
        assert!(report.contains(part), "{part} is missing in {report}");
    }

    // A failure beside them is a failure.
    let run = fetchimg().lines(&urls).args(FILTERS).arg("--json").run();
    assert_eq!(run.status, Some(1), "{run}");
    let mode = &run.report()["modes"][0];
    assert_eq!(json!([mode["refused"], mode["failed"]]), json!([2, 1]), "{run}");
}

#[test]
fn only_a_limit_that_was_given_is_a_wish() {
    let server = Server::start();
    let urls = ["/png/2000/a.png", "/chunked/2000/b.png", "/huge-length/c.png"].map(|target| server.url(target));
    let run = fetchimg().lines(&urls).args(["--max-bytes", "1000"]).run();
    assert_eq!((run.status, run.outcomes()), (Some(0), vec!["refused too_large".to_owned(); 3]), "{run}");
    assert_eq!((&run.record(0)["bytes"], &run.record(2)["bytes"]), (&json!(2000), &json!(99_999_999_999_u64)), "{run}");
    let run = fetchimg().lines(&urls[2..]).run();
    assert_eq!((run.status, run.outcomes()), (Some(1), vec!["failed too_large".to_owned()]), "{run}");
    // A page is no image, whatever formats are wanted.
    let run = fetchimg().lines([server.url("/page/a.html")]).args(["--accept", "jpeg"]).run();
    assert_eq!((run.status, run.outcomes()), (Some(1), vec!["failed not_an_image".to_owned()]), "{run}");
}

#[test]
fn what_was_refused_is_asked_for_again_when_the_filters_let_it_pass() {
    let server = Server::start();
    let dir = TestDir::new();
    let urls = TARGETS[..3].iter().map(|target| server.url(target)).collect::<Vec<_>>();
    let run = |arguments: &[&str]| recorded().in_dir(&dir).lines(&urls).args(arguments.iter().copied()).run();
    let requests = || TARGETS[..3].iter().map(|target| server.hits(target)).collect::<Vec<_>>();
    run(&FILTERS);
    assert_eq!(requests(), [1, 1, 1]);
    let kept = ["skipped already_saved a.png", "refused too_small", "refused not_accepted"];
    for _ in 0..2 {
        let again = run(&FILTERS);
        assert_eq!((again.status, outcomes(&again)), (Some(0), kept.map(str::to_owned).to_vec()), "{again}");
        assert_eq!(requests(), [1, 1, 1], "{again}");
        let record = &manifest(&again.dir.read("records.jsonl"))[1];
        assert_eq!(json!([record["attempts"], record["width"], record["start_ms"]]), json!([0, 99, null]), "{again}");
        assert!(again.stdout.contains("refused           2: "), "{again}");
        assert!(!again.stderr.contains("Refused"), "it was told before\n{again}");
    }
    // Other filters refuse what is known of them, too.
    let other = run(&["--max-aspect", "2", "--accept", "webp"]);
    assert_eq!(outcomes(&other)[1..], ["refused not_accepted"; 2], "{other}");
    assert_eq!(requests(), [1, 1, 1], "{other}");

    // A dry run says the same.
    let dry = fetchimg().in_dir(&dir).lines(&urls).args(FILTERS).args(["--dry-run", "--json"]).run();
    let plan = dry.report();
    assert_eq!(json!([plan["to_fetch"], plan["skipped"], plan["refused"], plan["bad"]]), json!([0, 1, 2, 0]), "{dry}");
    assert_eq!((dry.status, &plan["refused_by_kind"]["too_small"]), (Some(0), &json!(1)), "{dry}");

    // The picture of another format is let in; the small one is not.
    let wider = run(&["--min-width", "100", "--accept", "png,jpeg"]);
    assert_eq!(outcomes(&wider)[1..], ["refused too_small", "refused too_small"], "it has 16 pixels\n{wider}");
    assert_eq!(requests(), [1, 1, 2], "{wider}");
    let loose = run(&[]);
    assert_eq!(outcomes(&loose)[1..], ["saved b.png", "saved c.jpg"], "{loose}");
    assert_eq!(requests(), [1, 2, 3], "{loose}");
    // A file that is there stays, and --overwrite asks for everything.
    let kept = run(&FILTERS);
    assert_eq!(outcomes(&kept)[1..], ["skipped already_saved b.png", "skipped already_saved c.jpg"], "{kept}");
    let anew = run(&[&FILTERS[..], &["--overwrite"]].concat());
    assert_eq!(outcomes(&anew), ["saved a.png", "refused too_small", "refused not_accepted"], "{anew}");
    assert_eq!((requests(), anew.files().len()), (vec![2, 3, 4], 3), "{anew}");
}

#[test]
fn a_refused_row_keeps_its_name_from_later_rows() {
    let server = Server::start();
    let dir = TestDir::new();
    let urls = ["/sized/50/50/x.png", "/sized/200/200/x.png"].map(|target| server.url(target));
    let filter = ["--min-width", "100"];
    let fresh = fetchimg().in_dir(&dir).lines(&urls).args(["-o", "fresh"]).run();
    let first = fetchimg().in_dir(&dir).lines(&urls[..1]).args(filter).run();
    assert_eq!(first.outcomes(), ["refused too_small"], "{first}");
    let grown = fetchimg().in_dir(&dir).lines(&urls).args(filter).run();
    assert_eq!(grown.record(1)["path"], fresh.record(1)["path"], "{grown}");
    let loose = fetchimg().in_dir(&dir).lines(&urls).run();
    assert_eq!(loose.files(), fresh.files(), "{loose}");
}

#[test]
fn a_row_that_failed_after_it_was_refused_is_asked_for_again() {
    let server = Server::start();
    let dir = TestDir::new();
    let url = server.url("/flaky/503/1/300/a.png");
    let record = |status: &str, more: Value| {
        let mut record = json!({"index": 0, "url": url, "status": status, "attempts": 1, "message": "x"});
        record.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        record.to_string()
    };
    let refused = record("refused", json!({"error": "too_small", "retryable": false, "width": 1, "height": 1}));
    let failed = record("failed", json!({"error": "dns", "retryable": true}));
    let flags = ["--min-width", "10", "--retries", "0"];
    dir.write("images/.fetchimg.jsonl", format!("{failed}\n{refused}\n"));
    let run = fetchimg().in_dir(&dir).lines([&url]).args(flags).run();
    assert_eq!((run.status, run.outcomes(), server.requests().len()), (Some(0), vec!["refused too_small".into()], 0));
    dir.write("images/.fetchimg.jsonl", format!("{refused}\n{failed}\n"));
    let run = fetchimg().in_dir(&dir).lines([&url]).args(flags).run();
    assert_eq!((run.status, server.requests().len()), (Some(1), 1), "{run}");
}

#[test]
fn a_sample_foresees_how_many_are_refused() {
    let server = Server::start();
    let lines = (0..400).map(|number| match number % 4 {
        0 => server.url(&format!("/sized/50/50/{number}.png")),
        _ => server.url(&format!("/sized/200/200/{number}.png")),
    });
    let lines = lines.collect::<Vec<_>>();
    let flags = ["--min-width", "100", "--sample", "100", "--sample-seed", "3"];
    let run = fetchimg().lines(&lines).args(flags).arg("--json").run();
    let forecast = run.report()["forecast"].clone();
    assert_eq!((run.status, &forecast["failed_share"]["expected"]), (Some(0), &json!(0.0)), "{run}");
    let bound = |name: &str| forecast["refused_share"][name].as_f64().expect("a number");
    assert!(bound("low") < 0.25 && bound("high") > 0.25 && bound("high") < 0.4, "{forecast}");
    // The next sample knows what the first one has seen, and says it in words.
    let next = fetchimg().in_dir(&run.dir).lines(&lines).args(flags).run();
    assert!(next.stdout.contains("\n  refused           "), "{next}");
    assert!(next.stdout.contains("of which 300 to fetch"), "{next}");
}

#[test]
fn a_terminal_shows_how_many_are_refused() {
    let server = Server::start();
    let mut running = fetchimg().terminal(100, 24).args(["--min-width", "100"]).stdin_pipe();
    running.write_line(server.url("/sized/50/50/a.png"));
    running.wait_for_stderr("1 refused");
    running.close_stdin();
    let run = running.wait();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(!run.stderr.contains("ERROR"), "{run}");
}

/// Rows that fail for good in four ways, one that may come, and one that is good.
fn dying(server: &Server) -> Vec<String> {
    let targets = ["/png/300/a.png", "/status/404/b.png", "/status/410/c.png", "/page/d.png", "/status/503/e.png"];
    targets.map(|target| server.url(target)).into_iter().chain(["no URL".to_owned()]).collect()
}

#[test]
fn rows_that_fail_for_good_are_skipped_where_that_is_asked_for() {
    let server = Server::start();
    let dir = TestDir::new();
    let mut lines = dying(&server);
    let run = |lines: &[String], more: &[&str]| {
        let flags = ["--retries", "0", "--skip-permanent"];
        recorded().in_dir(&dir).lines(lines).args(flags).args(more.iter().copied()).run()
    };
    let first = run(&lines, &[]);
    assert_eq!(first.status, Some(1), "they are new\n{first}");
    let asked = server.requests().len();
    let second = run(&lines, &["--json"]);
    let skipped = "skipped failed_permanently";
    let expected = ["skipped already_saved a.png", skipped, skipped, skipped, "failed http_status 503", skipped];
    assert_eq!((second.status, outcomes(&second)), (Some(1), expected.map(str::to_owned).to_vec()), "{second}");
    assert_eq!(server.requests().len(), asked + 1, "only what may come is asked for\n{second}");
    let mode = &second.report()["modes"][0];
    assert_eq!(mode["skipped_by_reason"], json!({"already_saved": 1, "failed_permanently": 4}), "{second}");

    lines.remove(4);
    for _ in 0..2 {
        let quiet = run(&lines, &["-q"]);
        assert_eq!((quiet.status, quiet.stdout.as_str(), quiet.stderr.as_str()), (Some(0), "", ""), "{quiet}");
    }
    let dry = run(&lines, &["--dry-run", "--json"]);
    assert_eq!((dry.status, &dry.report()["skipped"], &dry.report()["bad"]), (Some(0), &json!(5), &json!(0)), "{dry}");
    assert_eq!(server.requests().len(), asked + 1);

    // What is new fails, and what other flags may mend is asked for again.
    lines.extend([server.url("/status/404/new.png"), "no URL either".to_owned()]);
    let new = run(&lines, &["--accept", "any"]);
    let outcomes = outcomes(&new);
    assert_eq!(new.status, Some(1), "{new}");
    assert_eq!(outcomes[3..], ["saved d.png", skipped, "failed http_status 404", "failed bad_url"], "{new}");

    // Without the flag, all of them are asked for again, and count.
    let asked = server.requests().len();
    let plain = recorded().in_dir(&dir).lines(&lines).arg("--retries=0").run();
    assert_eq!((plain.status, server.requests().len()), (Some(1), asked + 3), "{plain}");
}

#[test]
fn a_row_that_comes_back_is_not_gone() {
    let server = Server::start();
    let dir = TestDir::new();
    let url = server.url("/flaky/404/1/300/a.png");
    let run = |flags: &[&str]| recorded().in_dir(&dir).lines([&url, &url]).args(flags.iter().copied()).run();
    assert_eq!(outcomes(&run(&["--skip-permanent"])), ["failed http_status 404", "skipped duplicate_url"]);
    let skipped = run(&["--skip-permanent", "--keep-duplicates", "--name", "{index}"]);
    assert_eq!(
        outcomes(&skipped),
        ["skipped failed_permanently", "saved 1.png"],
        "the second row was never asked for\n{skipped}"
    );
    let last = run(&["--skip-permanent"]);
    assert_eq!((last.status, &*outcomes(&last)[0]), (Some(0), "skipped already_saved 1.png"), "{last}");
    let both = run(&["--skip-permanent", "--compare"]);
    assert_eq!(both.status, Some(2), "{both}");
}
