//! `--keep-duplicates`: every row is fetched, even if others have the same URL.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use fetchimg::internals::record::url_hash;
use url::Url;

use crate::common::outcomes::{manifest, outcome};
use crate::common::{Program, Run, Server, fetchimg};

/// The flag, and the records of this run alone, because the journal has those of all runs.
fn keeping() -> Program {
    fetchimg().args(["--keep-duplicates", "--manifest", "records.jsonl"])
}

/// The outcomes of one run by [`keeping`], in list order.
#[track_caller]
fn outcomes(run: &Run) -> Vec<String> {
    let mut records = manifest(&run.dir.read("records.jsonl"));
    records.sort_by_key(|record| record["index"].as_u64());
    records.iter().map(outcome).collect()
}

/// The digits before the number of the row in the name of a copy.
fn short_hash(url: &str) -> String {
    url_hash(&Url::parse(url).expect("a URL"))[..8].to_owned()
}

#[test]
fn every_row_gets_a_file_of_its_own() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/400/b.png"));
    let rows = [&a, &b, &a, &a, &b, &format!("{a}#3")];
    let run = keeping().lines(rows).run();
    assert_eq!(run.status, Some(0), "{run}");
    let (of_a, of_b) = (short_hash(&a), short_hash(&b));
    let names = [
        "a.png".to_owned(),
        "b.png".to_owned(),
        format!("a-{of_a}.png"),
        format!("a-{of_a}-3.png"),
        format!("b-{of_b}.png"),
        format!("a-{of_a}-5.png"),
    ];
    assert_eq!(outcomes(&run), names.each_ref().map(|name| format!("saved {name}")), "{run}");
    assert_eq!(run.files().len(), rows.len(), "{run}");
    for (url, name) in rows.iter().zip(&names) {
        let target = if url.contains("/a.png") { "/png/300/a.png" } else { "/png/400/b.png" };
        assert_eq!(run.file(name), server.body(target), "{run}");
    }
    assert_eq!((server.hits("/png/300/a.png"), server.hits("/png/400/b.png")), (4, 2), "{run}");
    assert!(run.leftovers().is_empty(), "{run}");
}

#[test]
fn a_second_run_knows_each_row_by_its_url_and_number() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/400/b.png"));
    let first = keeping().lines([&a, &a, &b]).args(["--name", "{index:03}"]).run();
    assert_eq!(outcomes(&first), ["saved 000.png", "saved 001.png", "saved 002.png"], "{first}");

    fs::remove_file(first.output().join("001.png")).expect("it is there");
    let second = keeping().lines([&a, &a, &b, &a]).args(["--name", "{index:03}"]).in_dir(&first.dir).run();
    assert_eq!(second.status, Some(0), "{second}");
    let expected = ["skipped already_saved 000.png", "saved 001.png", "skipped already_saved 002.png", "saved 003.png"];
    assert_eq!(outcomes(&second), expected, "{second}");
    assert_eq!(server.requests().len(), 5, "{second}");

    // Another list in the same folder leaves the files of the first one alone.
    let other = keeping().lines([&b, &a]).args(["--name", "{index:03}"]).in_dir(&first.dir).run();
    assert_eq!(other.status, Some(0), "{other}");
    let expected = [format!("saved 000-{}.png", short_hash(&b)), "skipped already_saved 001.png".to_owned()];
    assert_eq!(outcomes(&other), expected, "{other}");
    assert_eq!(other.file("000.png"), server.body("/png/300/a.png"), "{other}");
    assert_eq!(other.file(&format!("000-{}.png", short_hash(&b))), server.body("/png/400/b.png"), "{other}");
}

#[test]
fn names_agree_with_those_of_the_first_run_when_a_row_comes_later() {
    let server = Server::start();
    // Fails once, and is there when it is asked for again.
    let flaky = server.url("/flaky/404/1/300/a.png");
    let first = keeping().lines([&flaky, &flaky, &flaky, &flaky]).arg("--sequential").run();
    let hash = short_hash(&flaky);
    let name = |number: usize| format!("a-{hash}-{number}.png");
    let saved = [format!("saved a-{hash}.png"), format!("saved {}", name(2)), format!("saved {}", name(3))];
    assert_eq!(outcomes(&first)[0], "failed http_status 404", "{first}");
    assert_eq!(outcomes(&first)[1..], saved, "{first}");

    let second = keeping().lines([&flaky, &flaky, &flaky, &flaky]).in_dir(&first.dir).run();
    assert_eq!(second.status, Some(0), "{second}");
    assert_eq!(outcomes(&second)[0], "saved a.png", "{second}");
    assert_eq!(second.files().len(), 4, "{second}");
}

#[test]
fn a_folder_from_a_run_with_or_without_the_flag_is_continued() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/400/b.png"));
    let rows = [&a, &a, &b];
    let without = fetchimg().lines(rows).run();
    assert_eq!(without.files(), ["a.png", "b.png"], "{without}");

    let with = keeping().lines(rows).in_dir(&without.dir).run();
    assert_eq!(with.status, Some(0), "{with}");
    let copy = format!("a-{}.png", short_hash(&a));
    let expected = ["skipped already_saved a.png", &format!("saved {copy}"), "skipped already_saved b.png"];
    assert_eq!(outcomes(&with), expected, "{with}");
    assert_eq!(with.file(&copy), server.body("/png/300/a.png"), "{with}");

    let without = fetchimg().lines(rows).args(["--manifest", "records.jsonl"]).in_dir(&with.dir).run();
    assert_eq!(without.status, Some(0), "{without}");
    let outcomes = outcomes(&without);
    // The last record counts.
    assert_eq!(outcomes[0], format!("skipped already_saved {copy}"), "{without}");
    assert_eq!(outcomes[1], format!("skipped duplicate_url {copy}"), "{without}");
    assert_eq!(server.requests().len(), 3, "{without}");
}

#[test]
fn overwriting_replaces_each_rows_own_file() {
    let server = Server::start();
    let a = server.url("/png/300/a.png");
    let first = keeping().lines([&a, &a, &a]).run();
    let files = first.files();
    for file in &files {
        fs::write(first.output().join(file), "old").expect("it is there");
    }
    let second = keeping().lines([&a, &a, &a]).arg("--overwrite").in_dir(&first.dir).run();
    assert_eq!(second.status, Some(0), "{second}");
    assert_eq!(outcomes(&second), outcomes(&first), "the same names\n{second}");
    assert_eq!(second.files(), files, "{second}");
    for file in &files {
        assert_eq!(second.file(file), server.body("/png/300/a.png"), "{second}");
    }
    assert_eq!(server.requests().len(), 6, "{second}");

    // The names that are asked for now, and no others.
    let renamed = keeping().lines([&a, &a]).args(["--overwrite", "--name", "{index}"]).in_dir(&first.dir).run();
    assert_eq!(outcomes(&renamed), ["saved 0.png", "saved 1.png"], "{renamed}");
    assert_eq!(renamed.files().len(), 3, "{renamed}");
}

#[test]
fn both_modes_fetch_every_row_into_the_same_files() {
    let server = Server::start();
    let a = server.url("/png/300/a.png");
    let broken = server.url("/status/404/b.png");
    for name in ["{basename}", "{index:02}"] {
        let before = server.hits("/png/300/a.png");
        let run = keeping().lines([&a, &broken, &a]).args(["--compare", "--name", name, "--json"]).run();
        assert_eq!(run.status, Some(1), "{run}");
        assert_eq!(run.files().len(), 2, "{run}");
        assert_eq!(server.hits("/png/300/a.png") - before, 4, "{run}");
        assert!(outcomes(&run)[0].starts_with("saved") && outcomes(&run)[2].starts_with("saved"), "{run}");
        for mode in run.report()["modes"].as_array().expect("both modes") {
            assert_eq!((mode["saved"].as_u64(), mode["failed"].as_u64()), (Some(2), Some(1)), "{run}");
        }
        let of_rows = |index: u64| {
            let records = run.records();
            let paths =
                records.iter().filter(|record| record["index"] == index).map(|record| record["path"].to_string());
            paths.collect::<BTreeSet<_>>().len()
        };
        assert_eq!((of_rows(0), of_rows(2)), (1, 1), "both passes gave a row one name\n{run}");
    }
}

#[test]
fn large_bodies_of_one_url_do_not_share_a_part_file() {
    const BYTES: usize = 1_000_000;
    let server = Server::start();
    // All of them are in flight at once, with a validator that allows resuming them.
    let target = format!("/gated-middle/{BYTES}/a.png");
    let url = server.url(&target);
    let running = keeping().lines([&url; 8]).args(["--name", "{index}", "--per-host", "8"]).start();
    server.wait_for_hits("/gated-middle", 8, Duration::from_secs(120));
    server.open_gate();
    let run = running.wait();
    assert_eq!(run.status, Some(0), "{run}");
    for index in 0..8 {
        assert_eq!(run.file(&format!("{index}.png")), server.body(&target), "{run}");
    }
    assert!(run.leftovers().is_empty(), "{run}");
}

#[test]
fn a_cut_body_of_each_row_is_resumed() {
    let server = Server::start();
    let target = "/etag-cut/3/500000/a.png";
    let url = server.url(target);
    let run = keeping().lines([&url, &url, &url]).args(["--name", "{index}", "--retry-wait", "0"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    for index in 0..3 {
        assert_eq!(run.file(&format!("{index}.png")), server.body(target), "{run}");
    }
}
