//! Lists that change from run to run: a row is known by its URL, whatever its number is. What `--status` and `--metadata` say of
//! such rows, and which of them `--retry-failed` asks for again.

use std::fs;

use serde_json::{Value, json};

use crate::common::outcomes::{manifest, outcome};
use crate::common::{Run, Server, TestDir, fetchimg};

/// The current records of the folder `images`, and what `--metadata` has of it.
#[track_caller]
fn current(dir: &TestDir) -> (Vec<Value>, Vec<Value>) {
    let status = fetchimg().args(["--status", "--metadata", "m.jsonl"]).in_dir(dir).run();
    assert_eq!((status.status, &*status.stderr), (Some(0), ""), "{status}");
    (manifest(status.stdout.as_bytes()), manifest(&dir.read("m.jsonl")))
}

/// The numbers and the outcomes of records.
fn numbered(records: &[Value]) -> Vec<String> {
    records.iter().map(|record| format!("{} {}", record["index"], outcome(record))).collect()
}

/// Fetches these rows of a list with a column.
fn fetch(dir: &TestDir, rows: &[(String, &str)], flags: &[&str]) -> Run {
    let lines = rows.iter().map(|(url, label)| format!("{url},{label}\n")).collect::<Vec<_>>();
    dir.write("list.csv", format!("url,label\n{}", lines.concat()));
    fetchimg().args(["list.csv", "--retries", "0"]).args(flags).in_dir(dir).run()
}

fn retry(dir: &TestDir, flags: &[&str]) -> Run {
    fetchimg().args(["--retry-failed", "-o", "images", "--retries", "0"]).args(flags).in_dir(dir).run()
}

#[test]
fn a_list_that_grows_at_its_front_has_each_row_once() {
    let (server, dir) = (Server::start(), TestDir::new());
    let rows = |count: u32| (0..count).rev().map(|n| (server.url(&format!("/png/{}/{n}.png", 300 + n)), "x"));
    for count in [1, 3, 4, 9, 9, 12] {
        let rows = rows(count).collect::<Vec<_>>();
        let run = fetch(&dir, &rows, &[]);
        assert_eq!(run.status, Some(0), "{run}");
        let (status, metadata) = current(&dir);
        let expected = (0..count).map(|n| format!("{n} saved {}.png", count - 1 - n)).collect::<Vec<_>>();
        assert_eq!(numbered(&status), expected);
        assert_eq!(metadata.len(), expected.len(), "{metadata:?}");
    }
    let renamed = fetch(&dir, &rows(12).collect::<Vec<_>>(), &["--rename", "--name", "{index}.{ext}"]);
    assert_eq!(renamed.status, Some(0), "{renamed}");
    let verified = fetchimg().args(["--verify-output", "-o", "images"]).in_dir(&dir).run();
    assert_eq!(verified.status, Some(0), "{verified}");
}

#[test]
fn a_row_that_failed_in_a_shorter_list_is_saved_in_a_longer_one() {
    let (server, dir) = (Server::start(), TestDir::new());
    let b = (server.url("/flaky/500/1/300/b.png"), "b");
    assert_eq!(fetch(&dir, std::slice::from_ref(&b), &[]).status, Some(1));
    let slow = |name: &str| (server.url(&format!("/slow/400/300/{name}.png")), "slow");
    let run = fetch(&dir, &[slow("a"), slow("c"), b], &["-j", "8"]);
    assert_eq!(run.status, Some(0), "{run}");
    let (status, _) = current(&dir);
    assert_eq!(numbered(&status), ["0 saved a.png", "1 saved c.png", "2 saved b.png"]);
}

#[test]
fn what_is_tried_again_has_the_number_and_the_columns_of_the_newest_list() {
    let (server, dir) = (Server::start(), TestDir::new());
    let (a, b) = (server.url("/png/300/a.png"), server.url("/flaky/500/2/300/b.png"));
    let c = server.url("/flaky/500/1/300/c.png");
    let name = ["--name", "{index}-{col.label}.{ext}"];
    assert_eq!(fetch(&dir, &[(b.clone(), "old"), (c.clone(), "c")], &name).status, Some(1));
    // One row more, at the front. The last one is saved now.
    let second = fetch(&dir, &[(a, "first"), (b, "new"), (c, "c")], &name);
    assert_eq!(second.outcomes(), ["saved 0-first.png", "failed http_status 500", "saved 2-c.png"], "{second}");
    let retried = retry(&dir, &["--manifest", "-", name[0], name[1]]);
    assert_eq!(retried.status, Some(0), "{retried}");
    let records = manifest(retried.stdout.as_bytes());
    assert_eq!(numbered(&records), ["1 saved 1-new.png"], "{retried}");
    assert_eq!(records[0]["extra"], json!({"label": "new"}), "{retried}");
    let (status, _) = current(&dir);
    assert_eq!(numbered(&status), ["0 saved 0-first.png", "1 saved 1-new.png", "2 saved 2-c.png"]);
}

#[test]
fn rows_that_repeat_a_url_are_tried_again_with_it() {
    let (server, dir) = (Server::start(), TestDir::new());
    let (a, b) = (server.url("/png/300/a.png"), server.url("/flaky/500/1/300/b.png"));
    let rows = [(b.clone(), "x"), (b.clone(), "y"), (a.clone(), "z"), (a, "w")];
    assert_eq!(fetch(&dir, &rows, &[]).status, Some(1));
    let retried = retry(&dir, &["--manifest", "-"]);
    let records = manifest(retried.stdout.as_bytes());
    assert_eq!(numbered(&records), ["0 saved b.png", "1 skipped duplicate_url b.png"], "{retried}");
    let labels = |metadata: &[Value]| metadata.iter().map(|row| row["label"].clone()).collect::<Vec<_>>();
    assert_eq!(labels(&current(&dir).1), ["x", "y", "z", "w"]);
    // A sample is no newer list without the other rows.
    let sampled = fetch(&dir, &rows, &["--overwrite", "--sample", "2"]);
    assert_eq!(sampled.status, Some(0), "{sampled}");
    assert_eq!(labels(&current(&dir).1), ["x", "y", "z", "w"]);
    // A list without them is one.
    assert_eq!(fetch(&dir, &rows[1..3], &[]).status, Some(0));
    assert_eq!(labels(&current(&dir).1), ["y", "z"]);
}

#[test]
fn a_row_that_fails_for_good_has_the_number_and_the_columns_that_it_has_now() {
    let (server, dir) = (Server::start(), TestDir::new());
    let row = |path: &str, label: &'static str| (server.url(path), label);
    let (a, b, c) = ("/png/300/a.png", "/png/300/b.png", "/status/404/c.png");
    assert_eq!(fetch(&dir, &[row(a, "y"), row(b, "x"), row(c, "Z")], &[]).status, Some(1));
    // The second time, and the one after it, the record that is repeated is not the newest one.
    for label in ["W", "V"] {
        let run = fetch(&dir, &[row(b, "x"), row(c, label)], &["--skip-permanent"]);
        assert_eq!(run.status, Some(0), "{run}");
        let (status, _) = current(&dir);
        let c = status.iter().find(|record| record["status"] == "failed").expect("a row that failed");
        assert_eq!((&c["index"], &c["extra"], &c["http_status"]), (&json!(1), &json!({"label": label}), &json!(404)));
    }
    // More than half of the records are superseded now.
    let before = fs::read_to_string(dir.join("images/.fetchimg.jsonl")).expect("a journal").lines().count();
    let shown = current(&dir).0;
    let run = fetch(&dir, &[row(b, "x"), row(c, "V")], &["--skip-permanent"]);
    assert_eq!(run.status, Some(0), "{run}");
    let after = fs::read_to_string(dir.join("images/.fetchimg.jsonl")).expect("a journal").lines().count();
    assert_eq!((before, after), (7, 5), "it was written anew, and has two rows more");
    assert_eq!(current(&dir).0, shown);
}

#[test]
fn what_is_tried_again_is_made_as_the_rest_was() {
    let (server, dir) = (Server::start(), TestDir::new());
    let rows =
        [("/sized/60/40/a.png", "a"), ("/flaky/500/1/300/b.png", "b")].map(|(path, label)| (server.url(path), label));
    let flags =
        ["--name", "{index:03} {col.label}.{ext}", "--resize", "30", "--resize-mode", "border", "--hash", "md5"];
    assert_eq!(fetch(&dir, &rows, &flags).status, Some(1));
    let plan = retry(&dir, &["--dry-run"]);
    assert!(plan.stdout.contains("001 b.png"), "{plan}");
    let retried = retry(&dir, &["--manifest", "-", "--hash", "sha1"]);
    assert_eq!(retried.status, Some(0), "{retried}");
    let record = &manifest(retried.stdout.as_bytes())[0];
    assert_eq!((outcome(record), &record["width"]), ("saved 001 b.png".to_owned(), &json!(30)), "{retried}");
    assert!(record["md5"].is_null() && record["sha1"].is_string(), "what is given now counts\n{retried}");
    let warning = "The newest image was made with --hash=md5 and without --hash=sha1; what is tried again is not";
    assert!(retried.stderr.contains(warning), "{retried}");
}

#[test]
fn rows_that_are_told_apart_by_their_numbers_stay_two_in_later_lists() {
    let (server, dir) = (Server::start(), TestDir::new());
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/300/b.png"));
    let twice = [(a.clone(), "1"), (b.clone(), "x"), (a.clone(), "2")];
    for _ in 0..4 {
        let run = fetch(&dir, &twice, &["--keep-duplicates"]);
        assert_eq!(run.status, Some(0), "{run}");
        let (status, metadata) = current(&dir);
        let paths = status.iter().map(|record| record["path"].as_str().expect("a path")).collect::<Vec<_>>();
        assert!(paths.len() == 3 && paths[0] != paths[2], "{status:?}");
        assert_eq!(metadata.len(), 3, "{metadata:?}");
    }
    // Without the flag, the second one repeats the first.
    let run = fetch(&dir, &twice, &[]);
    let (status, metadata) = current(&dir);
    assert_eq!(status.len(), 3, "{status:?}\n{run}");
    assert_eq!(status[2]["reason"], "duplicate_url", "{status:?}\n{run}");
    assert_eq!(metadata.len(), 3, "{metadata:?}");
}

#[test]
fn what_a_record_says_of_its_run_is_in_the_journal_alone() {
    let (server, dir) = (Server::start(), TestDir::new());
    let rows = [(server.url("/png/300/a.png"), "run"), (server.url("/status/404/b.png"), "x")];
    for run in 1..3 {
        let fetched = fetch(&dir, &rows, &["--keep-duplicates", "--manifest", "-", "-q"]);
        let journal = manifest(&dir.read("images/.fetchimg.jsonl"));
        let newest = &journal[journal.len() - 2..];
        assert!(newest.iter().all(|record| record["run"] == run && record["numbered"] == true), "{newest:?}");
        let (status, metadata) = current(&dir);
        for record in manifest(fetched.stdout.as_bytes()).iter().chain(&status).chain(&metadata) {
            assert!(record.get("run").is_none() && record.get("numbered").is_none(), "{record}");
        }
    }
}
