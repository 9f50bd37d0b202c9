//! Images that need no request: what `data:` URLs hold, and files of this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fetchimg::{Job, Options, Outcome, Run as LibraryRun};
use futures::{StreamExt as _, stream};
use serde_json::json;
use url::Url;

use crate::common::sets::tar_entries;
use crate::common::{Server, TestDir, fetchimg, images};

fn data_url(image: &[u8]) -> String {
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(image))
}

fn file_url(path: &Path) -> String {
    Url::from_file_path(path).expect("an absolute path").into()
}

/// A URL with a secret, whose text in records is not that of the list.
fn svg_url() -> String {
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='9' height='8' id='?token=abc'/%3E#x".to_owned()
}

#[test]
fn data_urls_hold_images() {
    let server = Server::start();
    let (image, other) = (images::png(20_000, 1), images::png(500, 2));
    let urls = [data_url(&image), svg_url(), server.url("/png/300/a.png"), data_url(&other), data_url(&image)];
    let run = fetchimg().lines(&urls).args(["--hash", "sha256"]).run();

    assert_eq!(run.status, Some(0), "{run}");
    let second = run.record(1)["path"].as_str().expect("a path").to_owned();
    let fourth = run.record(3)["path"].as_str().expect("a path").to_owned();
    assert_eq!(
        run.outcomes(),
        [
            "saved image.png",
            &format!("saved {second}"),
            "saved a.png",
            &format!("saved {fourth}"),
            "skipped duplicate_url image.png"
        ],
        "{run}"
    );
    assert_eq!((run.file("image.png"), run.file(&fourth)), (image.clone(), other), "{run}");
    assert!(run.file(&second).starts_with(b"<svg xmlns='http://www.w3.org/2000/svg' width='9'"), "{run}");
    let record = run.record(0);
    for (field, value) in [
        ("url", json!(urls[0])),
        ("bytes", json!(image.len())),
        ("format", json!("png")),
        ("content_type", json!("image/png")),
        ("http_status", json!(200)),
        ("attempts", json!(1)),
    ] {
        // The last record of the row is the first one.
        assert_eq!(record[field], value, "{field}\n{run}");
    }
    let final_url = record["final_url"].as_str().expect("a URL");
    assert!(final_url.len() < 100 && final_url.starts_with("data:image/png;base64,iVBO"), "{run}");
    assert_eq!((&run.record(1)["width"], &run.record(1)["height"]), (&json!(9), &json!(8)), "{run}");
    let record = run.record(1);
    let url = record["url"].as_str().expect("a URL");
    assert!(url.contains("token=***") && record["url_hash"].is_string(), "{run}");
    // Messages and the report hold the beginning of a URL alone.
    assert!(run.stderr.contains("data:image/png;base64,iVBO"), "{run}");
    assert!([&run.stderr, &run.stdout].iter().all(|text| text.lines().all(|line| line.len() < 300)), "{run}");
    assert_eq!(server.requests().len(), 1, "{run}");

    let again = fetchimg().in_dir(&run.dir).lines(&urls).args(["--hash", "sha256"]).run();
    assert_eq!(again.status, Some(0), "{again}");
    let skipped = (0..4).map(|index| again.record(index)["reason"].clone()).collect::<Vec<_>>();
    assert_eq!(skipped, ["already_saved"; 4], "{again}");
    assert_eq!(server.requests().len(), 1, "{again}");
}

#[test]
fn what_is_wrong_with_a_data_url_is_said_without_it() {
    let small = images::png_sized(20, 20);
    let long = data_url(&images::png(60_000, 1));
    let lines = [
        "data:image/png;base64,iVBO*",
        "data:image/png;base64",
        &long,
        "data:,just%20text",
        &data_url(&images::png_spoilt()[..60]),
        &data_url(&small),
        "data:image/svg+xml;base64,PHN2//Zy@B4bWx/uczo*",
    ];
    let flags = ["--min-width", "30", "--report", "report.json", "--report", "report.html"];
    let run = fetchimg().lines(lines).args(flags).run();

    assert_eq!(run.status, Some(1), "{run}");
    let errors = (0..6).map(|index| run.record(index)["error"].clone()).collect::<Vec<_>>();
    assert_eq!(errors[..4], ["bad_url", "bad_url", "bad_url", "not_an_image"], "{run}");
    assert_eq!((&run.record(5)["status"], &run.record(5)["error"]), (&json!("refused"), &json!("too_small")), "{run}");
    for (index, clause) in
        [(0, "no valid Base64"), (1, "no comma"), (2, "longer than 65534 bytes"), (3, "the body is text")]
    {
        let record = run.record(index);
        let message = record["message"].as_str().expect("a message");
        assert!(message.contains(clause) && message.len() < 150, "{message}\n{run}");
        assert_eq!(record["retryable"], false, "{run}");
    }
    assert_eq!(run.files(), [""; 0], "{run}");
    // They are shown as valid ones are.
    assert_eq!(run.record(6)["url"], lines[6], "{run}");
    for shown in ["data:image/png;base64,iVBO*", &format!("{}…", &long[..80]), lines[6]] {
        assert!(run.stderr.contains(shown), "{shown}\n{run}");
    }
    assert!(run.stderr.lines().all(|line| line.len() < 300), "{run}");
}

#[test]
fn files_are_read_with_a_flag_alone() {
    let dir = TestDir::new();
    let image = images::png(70_000, 1);
    let path = dir.write("some where/cät.png", &image);
    let urls = [file_url(&path), file_url(&path).replace("file:///", "FILE://localhost/")];
    let run = fetchimg().in_dir(&dir).lines(&urls).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.outcomes(), ["failed bad_url", "failed bad_url"], "{run}");
    let record = run.record(0);
    let message = record["message"].as_str().expect("a message");
    assert!(message.ends_with("file: URLs are read only with --file-urls"), "{run}");
    assert_eq!((&record["retryable"], &record["attempts"]), (&json!(false), &json!(0)), "{run}");
    assert_eq!(run.files(), [""; 0], "{run}");

    // The rows were none before, so nothing that an earlier run has recorded keeps them out.
    let run = fetchimg().in_dir(&dir).lines(&urls).args(["--file-urls", "--skip-permanent"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.record(0)["path"], "cät.png", "{run}");
    assert_eq!((&run.record(0)["final_url"], &run.record(0)["bytes"]), (&json!(urls[0]), &json!(70_000)), "{run}");
    assert_eq!(
        (&run.record(1)["reason"], &run.record(1)["path"]),
        (&json!("duplicate_url"), &json!("cät.png")),
        "{run}"
    );
    assert_eq!(run.file("cät.png"), image, "{run}");

    let run = fetchimg().in_dir(&dir).lines(&urls).arg("--file-urls").run();
    assert_eq!(run.record(0)["reason"], "already_saved", "{run}");
    let status = fetchimg().in_dir(&dir).args(["--status", "-o", "images"]).run();
    assert_eq!(status.stdout.lines().count(), 2, "{status}");
}

#[test]
fn what_is_wrong_with_a_file_is_said_and_not_tried_again() {
    let dir = TestDir::new();
    let url = |name: &str| file_url(&dir.join(name));
    dir.write("large.png", images::png(5000, 1));
    dir.write("small.png", images::png_sized(20, 20));
    dir.write("text.png", "some text");
    fs::create_dir(dir.join("folder")).expect("a folder can be made");
    let made = std::process::Command::new("mkfifo").arg(dir.join("pipe")).status().expect("mkfifo can be run");
    assert!(made.success());
    let lines = [
        url("none.png"),
        url("folder"),
        url("pipe"),
        "file:///dev/zero".to_owned(),
        "file://other.example/a.png".to_owned(),
        url("large.png"),
        url("small.png"),
        url("text.png"),
        url("small.png/below.png"),
    ];
    let flags = ["--file-urls", "--max-bytes", "4000", "--min-width", "30", "--retries", "9"];
    let run = fetchimg().in_dir(&dir).lines(&lines).args(flags).run();

    assert_eq!(run.status, Some(1), "{run}");
    let kinds = (0..9).map(|index| {
        let record = run.record(index);
        assert_eq!(record["retryable"], json!(false), "{run}");
        format!("{} {}", record["status"], record["error"]).replace('"', "")
    });
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        [
            "failed http_status",
            "failed http_status",
            "failed http_status",
            "failed http_status",
            "failed bad_url",
            "refused too_large",
            "refused too_small",
            "failed not_an_image",
            "failed http_status"
        ],
        "{run}"
    );
    assert!([0, 1, 2, 3, 8].iter().all(|index| run.record(*index)["http_status"] == 404), "{run}");
    assert_eq!(run.record(0)["message"], "there is no such file: No such file or directory (os error 2)", "{run}");
    assert_eq!(run.record(2)["message"], "it is no regular file", "{run}");
    assert!(run.stdout.contains("Failed:  7 at no host (http_status 404, bad_url"), "{run}");
    assert_eq!((run.files(), run.leftovers()), (Vec::new(), Vec::new()), "{run}");
}

#[test]
fn a_redirect_leads_to_no_file() {
    let (server, dir) = (Server::start(), TestDir::new());
    let path = dir.write("cat.png", images::png(500, 1));
    let url = format!("{}?url={}", server.url("/redirect-to"), file_url(&path));
    let run =
        fetchimg().in_dir(&dir).lines([url, server.url("/status/404")]).args(["--file-urls", "--retries", "0"]).run();
    assert_eq!(run.files(), [""; 0], "{run}");
}

#[test]
fn pixels_names_checksums_and_the_dry_run_are_as_for_others() {
    let dir = TestDir::new();
    let (image, digest) = (images::png_sized(80, 40), "0".repeat(64));
    let path = dir.write("cat.png", &image);
    dir.write("list.csv", format!("url,sum\n{},\n\"{}\",{digest}\n", file_url(&path), data_url(&images::png(300, 3))));
    let flags = ["list.csv", "--file-urls", "--checksum-column", "sum"];
    let dry = fetchimg().in_dir(&dir).args(flags).arg("--dry-run").run();
    assert_eq!(dry.status, Some(0), "{dry}");
    assert!(dry.stdout.contains("to fetch          2\n") && !dry.stdout.contains("host"), "{dry}");

    let pixels = ["--resize", "20", "--encode", "jpeg", "--name", "{index}-{stem}"];
    let run = fetchimg().in_dir(&dir).args(flags).args(pixels).arg("--sequential").run();
    assert_eq!(run.outcomes(), ["saved 0-cat.jpg", "failed checksum"], "{run}");
    assert_eq!((&run.record(0)["width"], &run.record(0)["original"]["width"]), (&json!(20), &json!(80)), "{run}");
}

#[test]
fn shards_take_them_too() {
    let dir = TestDir::new();
    let (one, two) = (images::png(40_000, 1), images::png(30_000, 2));
    let lines = [data_url(&one), file_url(&dir.write("two.png", &two)), file_url(&dir.join("none.png"))];
    let set = ["-o", "set", "--output-format", "webdataset", "--file-urls"];
    let run = fetchimg().in_dir(&dir).lines(&lines).args(set).run();
    assert_eq!(run.status, Some(1), "{run}");
    let entries = tar_entries(&run.file("00000.tar")).into_iter().collect::<BTreeMap<_, _>>();
    assert_eq!((&entries["000000000.png"], &entries["000000001.png"]), (&one, &two), "{run}");
    let again = fetchimg().in_dir(&dir).lines(&lines).args(set).run();
    assert_eq!(run.file("00000.tar"), again.file("00000.tar"), "{again}");
}

#[test]
fn a_sample_holds_more_than_rows_in_progress_may() {
    // Together they take 90 MB, and rows in progress wait beyond 64 MiB.
    let dir = TestDir::new();
    let text = "x".repeat(60_000);
    let rows = (0..1500).map(|number| format!("data:,{number}{text}\n"));
    dir.write("list.txt", rows.collect::<String>());
    let run = fetchimg().in_dir(&dir).args(["list.txt", "--sample", "1400", "-q", "--json"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.records().len(), 1400, "every row that was drawn has a record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_uses_the_library_asks_for_files_too() {
    let dir = TestDir::new();
    let url: Url = file_url(&dir.write("cat.png", images::png(500, 1))).parse().expect("a URL");
    for (allowed, expected) in [(false, "bad_url"), (true, "cat.png")] {
        let mut options = Options { output: dir.join("images"), ..Options::default() };
        options.fetch.file_urls = allowed;
        let jobs = stream::iter([Job::new(0, url.clone())]);
        let mut records = LibraryRun::new(options).expect("a run").records(jobs);
        let record = records.next().await.expect("a record");
        records.finish().await.expect("a summary");
        let ended = match record.outcome {
            Outcome::Saved(saved) => saved.path,
            Outcome::Failed(failed) => failed.error,
            other => panic!("{other:?}"),
        };
        assert_eq!(ended, expected);
    }
}
