//! `--dry-run`: shows what a run would do, without requests and without changes to the disk.

use std::fs;

use serde_json::{Value, json};

use crate::common::outcomes::manifest;
use crate::common::{JOURNAL, Run, Server, TestDir, fetchimg};

/// No request was sent, and no folder was created.
#[track_caller]
fn assert_nothing_done(run: &Run, server: &Server) {
    assert_eq!(server.requests().len(), 0, "{run}");
    assert!(!run.output().exists(), "{run}");
}

/// The names of a manifest, by row.
fn names(rows: &[Value]) -> Vec<(u64, Value)> {
    let name = |row: &Value| (row["index"].as_u64().expect("an index"), row["path"].clone());
    let mut names = rows.iter().map(name).collect::<Vec<_>>();
    names.sort_by_key(|(index, _)| *index);
    names
}

#[test]
fn a_dry_run_tells_names_hosts_and_counts_and_does_nothing() {
    let server = Server::start();
    let urls = ["/png/300/a.png", "/png/301/a.png", "/png/300/a.png", "/png/300/b", "/png/300/"];
    let lines = urls.iter().map(|url| server.url(url)).chain(["no URL".into(), "http://z.invalid/c.gif".into()]);
    let run = fetchimg().lines(lines).arg("--dry-run").run();

    assert_nothing_done(&run, &server);
    assert_eq!(run.status, Some(1), "one row is bad\n{run}");
    for part in [
        "rows              7\n",
        "to fetch          5, from 2 hosts\n",
        "skipped           1: 1 duplicate_url\n",
        "bad               1: 1 bad_url\n",
        "1  z.invalid\n",
        "first names       a.png\n",
        "b.{ext}\n",
        "image.{ext}\n",
        "c.gif\n",
        "Nothing was fetched. The images would be in images\n",
    ] {
        assert!(run.stdout.contains(part), "{part:?} is missing in\n{run}");
    }
    assert!(run.stderr.contains("line 6 of list.txt"), "{run}");
    assert_eq!(fs::read_dir(run.dir.path()).expect("a folder").count(), 1, "the list alone\n{run}");
}

#[test]
fn the_names_are_those_that_a_run_gives() {
    let server = Server::start();
    let targets = ["/png/300/a.png", "/png/301/a.png", "/png/300/a.png#again", "/png/300/A.PNG", "/png/300/c%20d.png"];
    let lines = (0..40).map(|n| format!("/png/{}/{}.png", 300 + n, n % 7));
    let lines = targets.map(str::to_owned).into_iter().chain(lines).map(|target| server.url(&target));
    let lines = lines.chain(["bad".into()]).collect::<Vec<_>>();
    for name in ["{basename}", "{index:03}-{stem}.{ext}", "{host}/{url_hash:0:4}/{basename}"] {
        let arguments = ["--name", name, "--manifest", "rows.jsonl"];
        let dry = fetchimg().lines(&lines).args(arguments).arg("--dry-run").run();
        let planned = manifest(&dry.dir.read("rows.jsonl"));
        assert!(!dry.output().exists(), "{dry}");
        let run = fetchimg().in_dir(&dry.dir).lines(&lines).args(arguments).run();
        let records = manifest(&run.dir.read("rows.jsonl"));
        assert_eq!(names(&planned), names(&records), "{name}\n{run}");
        let statuses = |rows: &[Value], status| rows.iter().filter(|row| row["status"] == status).count();
        assert_eq!(statuses(&planned, "planned"), statuses(&records, "saved"), "{run}");
        assert_eq!(statuses(&planned, "skipped"), statuses(&records, "skipped"), "{run}");
        assert_eq!(statuses(&planned, "failed"), statuses(&records, "failed"), "{run}");
    }
}

#[test]
fn what_only_the_answer_tells_is_said_to_be_open() {
    let server = Server::start();
    let lines = ["/png/300/a", "/png/300/a", "/disposition/300/"].map(|target| server.url(target));
    let run = fetchimg().lines(lines).args(["--name", "{sha256:0:2}/{basename}", "--manifest", "-", "--dry-run"]).run();
    assert_nothing_done(&run, &server);
    let rows = manifest(run.stdout.as_bytes());
    assert_eq!(rows[0]["path"], "{sha256:0:2}/a.{ext}", "{run}");
    assert_eq!((&rows[0]["status"], &rows[0]["awaits"]), (&json!("planned"), &json!(["ext", "sha256"])), "{run}");
    assert_eq!((&rows[1]["reason"], &rows[1]["path"]), (&json!("duplicate_url"), &rows[0]["path"]), "{run}");
    assert_eq!(rows[2]["awaits"], json!(["name", "ext", "sha256"]), "{run}");
    assert!(run.stderr.contains("to fetch          2, from 1 host\n"), "the rest is on standard error\n{run}");
}

#[test]
fn a_folder_with_images_is_looked_at_and_left_alone() {
    let server = Server::start();
    let urls = (0..6).map(|number| server.url(&format!("/png/300/{number}.png"))).collect::<Vec<_>>();
    let first = fetchimg().lines(&urls[..4]).run();
    assert_eq!(first.status, Some(0), "{first}");
    fs::remove_file(first.output().join("1.png")).expect("it is there");
    fs::write(first.output().join("2.png"), "another size").expect("it is there");
    // A file that fetchimg did not write.
    fs::write(first.output().join("4.png"), "mine").expect("a folder");
    let journal = first.file(JOURNAL);
    let asked = server.requests().len();

    let run = fetchimg().in_dir(&first.dir).lines(&urls).args(["--dry-run", "--json"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let plan = run.report();
    assert_eq!((&plan["rows"], &plan["to_fetch"], &plan["hosts"]), (&json!(6), &json!(3), &json!(1)), "{run}");
    assert_eq!(plan["skipped_by_reason"], json!({"already_saved": 2, "file_exists": 1}), "{run}");
    assert_eq!(plan["first_names"], json!(["1.png", "2.png", "5.png"]), "{run}");
    assert_eq!(plan["dry_run"], true, "{run}");
    assert_eq!(run.file(JOURNAL), journal, "{run}");
    assert_eq!(server.requests().len(), asked, "{run}");

    let run = fetchimg().in_dir(&first.dir).lines(&urls).args(["--dry-run", "--json", "--overwrite"]).run();
    assert_eq!(run.report()["to_fetch"], 6, "{run}");
    assert_eq!(run.file(JOURNAL), journal, "{run}");

    // The run now does what the dry run said.
    let run = fetchimg().in_dir(&first.dir).lines(&urls).arg("--json").run();
    assert_eq!(run.report()["modes"][0]["saved"], 3, "{run}");
    assert_eq!(run.report()["modes"][0]["skipped_by_reason"], plan["skipped_by_reason"], "{run}");
}

#[test]
fn a_list_may_come_from_a_pipe_and_be_long() {
    let lines = (0..30_000).map(|number| format!("http://h{}.invalid/{}.jpg\n", number % 12, number / 2));
    let dir = TestDir::new();
    let run = fetchimg()
        .in_dir(&dir)
        .stdin(lines.collect::<String>())
        .args(["--dry-run", "--json", "--keep-duplicates"])
        .run();
    assert_eq!(run.status, Some(0), "{run}");
    let plan = run.report();
    assert_eq!((&plan["to_fetch"], &plan["hosts"]), (&json!(30_000), &json!(12)), "{run}");
    assert_eq!(plan["most_rows"].as_array().map(Vec::len), Some(10), "{run}");
    assert_eq!(plan["most_rows"][0], json!({"host": "h0.invalid", "rows": 2500}), "{run}");
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0, "{run}");
    let run = fetchimg().in_dir(&dir).stdin("").arg("--dry-run").run();
    assert_eq!(run.stdout, "The list is empty: there is nothing to download.\n", "{run}");
}

#[test]
fn reports_stay_as_they_are_and_what_cannot_be_is_refused() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("run.json", "of the last run");
    let url = server.url("/png/300/a.png");
    let run = fetchimg().in_dir(&dir).lines([&url]).args(["--dry-run", "--report", "run.json", "-q"]).run();
    assert_eq!((run.status, run.stdout.as_str()), (Some(0), ""), "{run}");
    assert_eq!(dir.read("run.json"), b"of the last run");
    let flags = ["--dry-run", "--report", "new.json", "--metadata", "m.csv"];
    let run = fetchimg().in_dir(&dir).lines([&url]).args(flags).run();
    for sentence in ["There is nothing to report yet, so new.json", "No image is fetched, so m.csv"] {
        assert!(run.stderr.contains(&format!("{sentence} is not written")), "{run}");
    }
    assert!(!dir.join("new.json").exists() && !dir.join("m.csv").exists(), "{run}");
    dir.write("file", "no folder");
    dir.write("list.csv", "url\n");
    for (arguments, sentence) in [
        (&["-o", "file"][..], "cannot write file: "),
        (&["--manifest", "list.txt"], "it is one of the lists"),
        (&["list.csv", "--metadata", "list.csv"], "it is one of the lists"),
        (&["--manifest", "images/.fetchimg/m.jsonl"], "fetchimg keeps its own records there"),
        (
            &["--manifest", "images/.fetchimg.set.json", "--output-format", "webdataset"],
            "fetchimg keeps its own records",
        ),
    ] {
        let run = fetchimg().in_dir(&dir).lines([&url]).args(arguments).arg("--dry-run").run();
        assert_eq!((run.status, run.stdout.as_str()), (Some(3), ""), "{run}");
        assert!(run.stderr.contains(sentence), "{run}");
    }
    let run = fetchimg().in_dir(&dir).lines([&url]).args(["--dry-run", "--sample", "5"]).run();
    assert_eq!(run.status, Some(2), "{run}");
    assert!(run.stderr.contains("--sample"), "{run}");
    assert_eq!(server.requests().len(), 0);
}
