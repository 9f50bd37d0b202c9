//! Running again: the same command, the same URL or the same folder once more.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::common::outcomes::{manifest, outcome};
use crate::common::{JOURNAL, Program, RUNS, Run, Server, TestDir, fetchimg};

/// The longest wait for a request. Every wait is far shorter.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// A run whose records are also in `records.jsonl`, because the journal has those of all runs.
fn recorded() -> Program {
    fetchimg().args(["--manifest", "records.jsonl"])
}

/// The records of one run by [`recorded`], in list order.
#[track_caller]
fn records(run: &Run) -> Vec<Value> {
    let mut records = manifest(&run.dir.read("records.jsonl"));
    records.sort_by_key(|record| record["index"].as_u64());
    records
}

/// The outcomes of one run by [`recorded`], in list order.
#[track_caller]
fn outcomes(run: &Run) -> Vec<String> {
    records(run).iter().map(outcome).collect()
}

/// The names in a folder that begin with a dot.
fn hidden(run: &Run) -> Vec<String> {
    let names = fs::read_dir(run.output()).expect("a folder").flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with('.'));
    let mut names = names.collect::<Vec<_>>();
    names.sort();
    names
}

#[test]
fn a_second_run_has_nothing_to_do() {
    let server = Server::start();
    let urls = [server.url("/png/300/a.png"), server.url("/jpeg/photo"), server.url("/png/100000/big.png")];
    let first = fetchimg().lines(&urls).run();
    assert_eq!(first.status, Some(0), "{first}");
    assert_eq!(server.requests().len(), 3);

    let second = recorded().lines(&urls).in_dir(&first.dir).arg("--json").run();
    assert_eq!(second.status, Some(0), "{second}");
    let kept = ["a.png", "photo.jpg", "big.png"].map(|name| format!("skipped already_saved {name}"));
    assert_eq!(outcomes(&second), kept, "{second}");
    assert_eq!(server.requests().len(), 3, "no request at all\n{second}");
    let mode = &second.report()["modes"][0];
    assert_eq!((mode["skipped"].as_u64(), mode["skipped_by_reason"]["already_saved"].as_u64()), (Some(3), Some(3)));
    assert_eq!(second.file("big.png"), server.body("/png/100000/big.png"), "{second}");
}

#[test]
fn a_skipped_row_has_what_is_known_of_its_file_in_every_later_run() {
    let server = Server::start();
    let url = server.url("/sample/photo.jpg");
    let flags = ["--hash", "md5,sha256", "--phash", "--exif", "--resize", "20"];
    let first = fetchimg().lines([&url]).args(flags).run();
    assert_eq!(first.status, Some(0), "{first}");
    let saved = first.record(0);
    let mut expected = serde_json::json!({"index": 0, "url": url, "status": "skipped", "reason": "already_saved"});
    let of_the_file =
        ["path", "bytes", "format", "width", "height", "exif", "md5", "sha256", "phash", "original", "made_with"];
    for field in of_the_file {
        assert!(!saved[field].is_null(), "{field}\n{first}");
        expected[field] = saved[field].clone();
    }
    for field in ["orientation", "frames"] {
        if !saved[field].is_null() {
            expected[field] = saved[field].clone();
        }
    }
    for _ in 0..3 {
        let again = recorded().lines([&url]).in_dir(&first.dir).run();
        assert_eq!(records(&again), [expected.clone()], "{again}");
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_file_that_is_gone_is_fetched_again_and_no_other() {
    let server = Server::start();
    let urls = [server.url("/png/300/a.png"), server.url("/png/300/b.png"), server.url("/png/300/c")];
    let first = fetchimg().lines(&urls).run();
    fs::remove_file(first.output().join("b.png")).expect("it is there");
    fs::remove_file(first.output().join("c.png")).expect("it is there");

    let second = recorded().lines(&urls).in_dir(&first.dir).run();
    assert_eq!(second.status, Some(0), "{second}");
    assert_eq!(outcomes(&second), ["skipped already_saved a.png", "saved b.png", "saved c.png"], "{second}");
    assert_eq!(second.file("b.png"), server.body("/png/300/b.png"), "{second}");
    assert_eq!(second.file("c.png"), server.body("/png/300/c"), "{second}");
    assert_eq!(["a.png", "b.png", "c"].map(|name| server.hits(&format!("/png/300/{name}"))), [1, 2, 2]);
}

#[test]
fn a_file_of_another_size_is_fetched_again() {
    let server = Server::start();
    let urls = [server.url("/png/300/a.png"), server.url("/png/300/b.png"), server.url("/png/300/c.png")];
    let first = fetchimg().lines(&urls).run();
    fs::write(first.output().join("a.png"), &server.body("/png/300/a.png")[..299]).expect("it is there");
    fs::write(first.output().join("b.png"), "").expect("it is there");

    let second = recorded().lines(&urls).in_dir(&first.dir).run();
    assert_eq!(second.status, Some(0), "{second}");
    assert_eq!(outcomes(&second), ["saved a.png", "saved b.png", "skipped already_saved c.png"], "{second}");
    for name in ["a.png", "b.png", "c.png"] {
        assert_eq!(second.file(name), server.body(&format!("/png/300/{name}")), "{second}");
    }
    assert_eq!(second.files(), ["a.png", "b.png", "c.png"], "{second}");
}

#[test]
fn a_failed_row_is_tried_again() {
    let server = Server::start();
    let urls = [server.url("/flaky/404/1/300/a.png"), server.url("/png/300/b.png"), "not a url".to_owned()];
    let first = recorded().lines(&urls).run();
    assert_eq!(first.status, Some(1), "{first}");
    assert_eq!(outcomes(&first), ["failed http_status 404", "saved b.png", "failed bad_url"], "{first}");

    let second = recorded().lines(&urls).in_dir(&first.dir).run();
    assert_eq!(second.status, Some(1), "{second}");
    assert_eq!(outcomes(&second), ["saved a.png", "skipped already_saved b.png", "failed bad_url"], "{second}");
    assert_eq!(second.file("a.png"), server.body("/flaky/404/1/300/a.png"), "{second}");

    let third = recorded().lines(&urls[..2]).in_dir(&first.dir).run();
    assert_eq!(third.status, Some(0), "{third}");
    assert_eq!(server.requests().len(), 3, "{third}");
}

#[test]
fn names_of_a_second_run_agree_with_the_first() {
    let server = Server::start();
    let urls =
        [server.url("/flaky/404/1/300/x.png"), server.url("/png/400/x.png"), server.url("/flaky/404/1/500/x.png")];
    let first = recorded().lines(&urls).run();
    assert_eq!(first.status, Some(1), "{first}");
    let elsewhere = recorded().lines(&urls).args(["-o", "elsewhere"]).in_dir(&first.dir).run();
    assert_eq!(elsewhere.status, Some(0), "{elsewhere}");
    let names: Vec<_> = records(&elsewhere).iter().map(|record| record["path"].clone()).collect();

    let second = recorded().lines(&urls).in_dir(&first.dir).run();
    assert_eq!(second.status, Some(0), "{second}");
    let same: Vec<_> = records(&second).iter().map(|record| record["path"].clone()).collect();
    assert_eq!(same, names, "{second}");
    assert_eq!(second.files(), elsewhere.files(), "{second}");
}

#[test]
fn a_torn_last_line_of_the_journal_harms_nothing() {
    let server = Server::start();
    let urls = [server.url("/png/300/a.png"), server.url("/png/300/b.png")];
    let first = fetchimg().lines(&urls).arg("--sequential").run();
    let journal = first.journal();
    let whole = fs::read(&journal).expect("the journal is there");
    let first_line = whole.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    for kept in [whole.len() - 1, whole.len() - 20, first_line + 1, first_line, first_line - 1] {
        fs::write(&journal, &whole[..kept]).expect("it can be written");
        let second = recorded().lines(&urls).in_dir(&first.dir).run();
        assert_eq!(second.status, Some(0), "{second}");
        let outcomes = outcomes(&second);
        assert_eq!((outcomes.len(), outcomes[0].as_str()), (2, "skipped already_saved a.png"), "{kept}\n{second}");
        assert_eq!(second.files(), ["a.png", "b.png"], "{second}");
        assert_eq!(second.file("b.png"), server.body("/png/300/b.png"), "{second}");
    }
}

#[test]
fn a_journal_stays_one_record_per_line_when_its_last_was_torn() {
    let server = Server::start();
    let urls = [server.url("/png/300/a.png"), server.url("/png/300/b.png")];
    let first = fetchimg().lines(&urls[..1]).run();
    let journal = first.journal();
    let whole = fs::read_to_string(&journal).expect("the journal is there");
    fs::write(&journal, format!("{whole}{}", &whole[..40])).expect("it can be written");

    let second = fetchimg().lines(&urls).in_dir(&first.dir).run();
    assert_eq!(second.status, Some(0), "{second}");
    assert_eq!(second.outcomes(), ["skipped already_saved a.png", "saved b.png"], "{second}");
}

#[test]
fn garbage_in_the_journal_harms_nothing() {
    let server = Server::start();
    let urls = [server.url("/png/300/a.png"), server.url("/png/300/b.png")];
    let first = fetchimg().lines(&urls).run();
    let journal = first.journal();
    let whole = fs::read(&journal).expect("the journal is there");
    let garbage: [&[u8]; 8] = [
        b"\0\0\0\0\0\0\n",
        b"\xff\xfe\x80\n",
        b"\n\n\n",
        b"[]\n{}\nnull\n42\n\"text\"\n",
        b"{\"index\":0,\"url\":\"x\",\"status\":\"saved\"}\n",
        b"{\"index\":0,\"url\":\"x\",\"status\":\"saved\",\"path\":7,\"bytes\":-1}\n",
        b"{\"index\":0,\"url\":\"x\",\"status\":\"saved\",\"path\":\"x.png\",\"bytes\":\"many\"}\n",
        b"<<<<<<< HEAD\r\n",
    ];
    for piece in garbage {
        fs::write(&journal, [piece, &whole, piece].concat()).expect("it can be written");
        let second = recorded().lines(&urls).in_dir(&first.dir).run();
        assert_eq!(second.status, Some(0), "{}\n{second}", piece.escape_ascii());
        assert_eq!(outcomes(&second), ["skipped already_saved a.png", "skipped already_saved b.png"], "{second}");
    }
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_journal_cannot_lead_outside() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    let dir = TestDir::new();
    let absolute = dir.join("absolute.png");
    for path in ["../outside.png", "sub/../../outside.png", absolute.to_str().expect("a path"), ".fetchimg.jsonl"] {
        dir.write("outside.png", "the user's own");
        let line = serde_json::json!({"index": 0, "url": url, "status": "saved", "path": path, "bytes": 5});
        dir.write("images/.fetchimg.jsonl", format!("{line}\n"));
        let run = fetchimg().in_dir(&dir).lines([&url]).run();
        assert_eq!(dir.read("outside.png"), b"the user's own", "{path}\n{run}");
        assert!(!absolute.exists(), "{path}\n{run}");
        assert_eq!(run.records().len(), 2, "{path}\n{run}");
        assert_eq!(run.files(), ["a.png"], "{path}\n{run}");
        fs::remove_file(run.output().join("a.png")).expect("it is there");
    }
}

#[test]
fn a_url_that_occurs_again_is_fetched_once() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/300/b"));
    let run = recorded().lines([&a, &b, &a, &a, &b]).run();

    assert_eq!(run.status, Some(0), "{run}");
    let again = |name: &str| format!("skipped duplicate_url {name}");
    let expected = ["saved a.png".to_owned(), "saved b.png".to_owned(), again("a.png"), again("a.png"), again("b.png")];
    assert_eq!(outcomes(&run), expected, "{run}");
    assert_eq!(run.records().len(), 5, "{run}");
    assert_eq!((server.hits("/png/300/a.png"), server.hits("/png/300/b")), (1, 1), "{run}");
    assert_eq!(run.files(), ["a.png", "b.png"], "{run}");

    let second = recorded().lines([&a, &b, &a]).in_dir(&run.dir).run();
    assert_eq!(second.status, Some(0), "{second}");
    let kept = ["skipped already_saved a.png", "skipped already_saved b.png", "skipped duplicate_url a.png"];
    assert_eq!(outcomes(&second), kept, "{second}");
    assert_eq!(server.requests().len(), 2, "{second}");
}

#[test]
fn more_rows_of_one_url_than_may_wait_do_not_deadlock() {
    for mode in [&[][..], &["--sequential"]] {
        let server = Server::start();
        let slow = server.url("/slow/2000/300/a.png");
        let mut lines = vec![server.url("/png/300/b.png")];
        lines.extend(std::iter::repeat_n(slow, 10_000));
        lines.push(server.url("/png/300/c.png"));
        let run = fetchimg().lines(&lines).arg("-q").args(mode).run();
        assert_eq!(run.status, Some(0), "{run}");
        let duplicates = run.records().iter().filter(|record| record["reason"] == "duplicate_url").count();
        assert_eq!((duplicates, run.records().len()), (9_999, lines.len()));
        assert_eq!((run.files().len(), server.requests().len()), (3, 3), "{run}");
    }
}

#[test]
fn urls_are_the_same_when_a_browser_says_so() {
    let server = Server::start();
    let url = server.url("/png/300/two%20words.png");
    let shouted = url.replacen("http://", "HTTP://", 1);
    let spaced = server.url("/png/300/two words.png");
    let detour = server.url("/png/300/x/../two%20words.png");
    let other = server.url("/png/300/two%20words.png?");
    let run = fetchimg().lines([&url, &shouted, &spaced, &detour, &other]).run();

    assert_eq!(run.status, Some(0), "{run}");
    let outcomes = run.outcomes();
    assert_eq!(outcomes[0], "saved two words.png", "{run}");
    assert_eq!(outcomes[1..4], ["skipped duplicate_url two words.png"; 3], "{run}");
    assert_eq!(server.hits("/png/300/two%20words.png"), 2, "an empty query is another URL\n{run}");
}

#[test]
fn a_row_that_repeats_a_failure_is_skipped_without_a_file() {
    let server = Server::start();
    let (missing, slow) = (server.url("/status/404/a.png"), server.url("/slow/100/300/b.png"));
    for arguments in [&[][..], &["--sequential"]] {
        let run = recorded().lines([&missing, &slow, &missing]).args(arguments).run();
        assert_eq!(run.status, Some(1), "{run}");
        assert_eq!(outcomes(&run), ["failed http_status 404", "saved b.png", "skipped duplicate_url"], "{run}");
        assert_eq!(records(&run)[2].get("path"), None, "{run}");
    }
    assert_eq!(server.hits("/status/404/a.png"), 2, "once in each run");
}

#[test]
fn the_fragment_does_not_make_another_image() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    let urls = [url.clone(), format!("{url}#left"), format!("{url}#right")];
    let run = recorded().lines(&urls).arg("--sequential").run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(outcomes(&run)[1..], ["skipped duplicate_url a.png"; 2], "{run}");
    assert_eq!(server.requests().len(), 1, "{run}");
    let named: Vec<_> = records(&run).iter().map(|record| record["url"].clone()).collect();
    assert_eq!(named, urls, "each record names the URL of its row\n{run}");

    let second = recorded().lines(&urls[2..]).in_dir(&run.dir).run();
    assert_eq!(outcomes(&second), ["skipped already_saved a.png"], "{second}");
}

#[test]
fn a_url_that_occurs_again_while_it_is_in_flight_is_not_fetched_twice() {
    let server = Server::start();
    let url = server.url("/gated/300/a.png");
    let urls = [format!("{url}#one"), format!("{url}#two"), url.clone()];
    let mut running = recorded().stdin_pipe();
    for url in &urls {
        running.write_line(url);
    }
    // When the last row is requested, all rows before it have been admitted.
    running.write_line(server.url("/png/300/last.png"));
    server.wait_for_hits("/gated", 1, MAX_WAIT);
    server.wait_for_hits("/png/300/last.png", 1, MAX_WAIT);
    server.open_gate();
    let run = running.wait();

    assert_eq!(run.status, Some(0), "{run}");
    let again = "skipped duplicate_url a.png";
    assert_eq!(outcomes(&run), ["saved a.png", again, again, "saved last.png"], "{run}");
    assert_eq!(server.hits("/gated/300/a.png"), 1, "{run}");
    let named: Vec<_> = records(&run)[..3].iter().map(|record| record["url"].clone()).collect();
    assert_eq!(named, urls, "each record names the URL of its row\n{run}");
}

#[test]
fn a_url_that_occurs_again_while_it_fails_is_not_fetched_twice() {
    let server = Server::start();
    let url = server.url("/redirect/302/3/status/410/a.png");
    let run = recorded().lines([&url, &url, &url]).run();

    assert_eq!(run.status, Some(1), "{run}");
    let again = "skipped duplicate_url";
    assert_eq!(outcomes(&run), ["failed http_status 410", again, again], "{run}");
    assert_eq!(server.hits("/status/410/a.png"), 1, "{run}");
}

#[test]
fn urls_that_differ_in_what_is_redacted_are_different() {
    let server = Server::start();
    let urls = ["one", "two"].map(|secret| server.url(&format!("/png/300/a.png?w=1&sig={secret}Secret")));
    let first = recorded().lines(&urls).run();
    assert_eq!(first.status, Some(0), "{first}");
    assert_eq!(server.requests().len(), 2, "{first}");
    assert_eq!(first.files().len(), 2, "{first}");
    for (record, target) in
        records(&first).iter().zip(["/png/300/a.png?w=1&sig=oneSecret", "/png/300/a.png?w=1&sig=twoSecret"])
    {
        assert_eq!(first.file(record["path"].as_str().expect("a path")), server.body(target), "{first}");
    }

    let second = recorded().lines(&urls).in_dir(&first.dir).run();
    assert_eq!(second.status, Some(0), "{second}");
    assert!(outcomes(&second).iter().all(|words| words.starts_with("skipped already_saved ")), "{second}");
    assert_eq!(server.requests().len(), 2, "{second}");
    let journal = second.file(JOURNAL);
    let texts = [first.stdout, first.stderr, second.stdout, second.stderr, String::from_utf8_lossy(&journal).into()];
    assert!(texts.iter().all(|text| !text.contains("Secret")), "{texts:?}");
}

#[test]
fn a_redacted_url_from_a_record_is_a_url_like_any_other() {
    let server = Server::start();
    let url = server.url("/png/300/a.png?sig=***");
    let first = fetchimg().lines([&url]).run();
    assert_eq!(first.status, Some(0), "{first}");
    let second = recorded().lines([&url]).in_dir(&first.dir).run();
    assert_eq!(outcomes(&second), ["skipped already_saved a.png"], "{second}");
    assert_eq!(server.requests().len(), 1, "{second}");
}

#[test]
fn a_file_of_another_origin_stays_as_it_is() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("images/a.png", "my own");
    let urls = [server.url("/png/300/a.png"), server.url("/png/300/b.png")];
    for _ in 0..2 {
        let run = recorded().in_dir(&dir).lines(&urls).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(outcomes(&run)[0], "skipped file_exists a.png", "{run}");
        assert_eq!(run.file("a.png"), b"my own", "{run}");
        assert_eq!(run.files(), ["a.png", "b.png"], "{run}");
    }
    assert_eq!((server.hits("/png/300/a.png"), server.hits("/png/300/b.png")), (0, 1));
}

#[test]
fn a_file_of_another_origin_stays_even_if_its_name_was_not_known_before() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("images/photo.png", "my own");
    dir.write("images/big.png", "my own, too");
    let urls = [server.url("/png/300/photo"), server.url("/png/100000/big")];
    let run = recorded().in_dir(&dir).lines(&urls).run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(outcomes(&run), ["skipped file_exists photo.png", "skipped file_exists big.png"], "{run}");
    assert_eq!(run.file("photo.png"), b"my own", "{run}");
    assert_eq!(run.file("big.png"), b"my own, too", "{run}");
    assert_eq!(run.leftovers(), [""; 0], "{run}");
}

#[cfg(unix)]
#[test]
fn links_and_folders_in_the_place_of_saved_images_stay_as_they_are() {
    let server = Server::start();
    let urls = ["link.png", "folder.png", "gone.png"].map(|name| server.url(&format!("/png/300/{name}")));
    let first = fetchimg().lines(&urls).run();
    let output = first.output();
    let there = first.dir.join("elsewhere.png");
    fs::rename(output.join("link.png"), &there).expect("it is there");
    std::os::unix::fs::symlink(&there, output.join("link.png")).expect("a link can be made");
    fs::remove_file(output.join("folder.png")).expect("it is there");
    first.dir.write("images/folder.png/inside", "my own");
    fs::remove_file(output.join("gone.png")).expect("it is there");

    let kept = ["link.png", "folder.png"].map(|name| format!("skipped file_exists {name}"));
    for (flags, last) in
        [(&[][..], "saved gone.png"), (&["--compare"], "saved gone.png"), (&[], "skipped already_saved gone.png")]
    {
        let run = recorded().in_dir(&first.dir).lines(&urls).args(flags).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(outcomes(&run), [&*kept[0], &*kept[1], last], "{run}");
        assert!(output.join("link.png").is_symlink() && there.exists(), "{run}");
        assert!(run.stderr.contains("Kept: link.png, "), "{run}");
    }

    let run = recorded().in_dir(&first.dir).lines(&urls[..1]).arg("--overwrite").run();
    assert_eq!(outcomes(&run), ["saved link.png"], "{run}");
    assert!(!output.join("link.png").is_symlink() && there.exists(), "{run}");
}

#[cfg(unix)]
#[test]
fn links_and_folders_of_another_origin_stay_as_they_are() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("treasure.png", "my own");
    dir.write("images/folder.png/inside", "my own");
    std::os::unix::fs::symlink("../treasure.png", dir.join("images/link.png")).expect("a link can be made");
    std::os::unix::fs::symlink("nowhere", dir.join("images/broken.png")).expect("a link can be made");
    let urls = ["link.png", "broken.png", "folder.png"].map(|name| server.url(&format!("/png/300/{name}")));
    let run = recorded().in_dir(&dir).lines(&urls).run();

    assert_eq!(run.status, Some(0), "{run}");
    let kept = ["link.png", "broken.png", "folder.png"].map(|name| format!("skipped file_exists {name}"));
    assert_eq!(outcomes(&run), kept, "{run}");
    assert_eq!(server.requests().len(), 0, "{run}");

    let run = recorded().in_dir(&dir).lines(&urls[..2]).arg("--overwrite").run();
    assert_eq!(outcomes(&run), ["saved link.png", "saved broken.png"], "{run}");
    assert_eq!(dir.read("treasure.png"), b"my own", "the link is replaced, not followed\n{run}");
    assert!(!run.output().join("nowhere").exists(), "{run}");
    assert_eq!(run.file("link.png"), server.body("/png/300/link.png"), "{run}");
}

#[test]
fn overwrite_replaces_everything() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("images/a.png", "my own");
    let urls = [server.url("/png/300/a.png"), server.url("/png/100000/b")];
    for hits in 1..=3 {
        let run = recorded().in_dir(&dir).lines(&urls).arg("--overwrite").run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(outcomes(&run), ["saved a.png", "saved b.png"], "{run}");
        assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{run}");
        assert_eq!(run.file("b.png"), server.body("/png/100000/b"), "{run}");
        assert_eq!((server.hits("/png/300/a.png"), server.hits("/png/100000/b")), (hits, hits), "{run}");
        assert_eq!(run.leftovers(), [""; 0], "{run}");
        fs::write(dir.join("images/b.png"), "touched").expect("it is there");
    }
}

#[test]
fn overwrite_replaces_nothing_with_a_failure() {
    let server = Server::start();
    let urls = [server.url("/png/300/a.png"), server.url("/flaky/404/0/300/b.png")];
    let dir = TestDir::new();
    dir.write("images/c.png", "my own");
    let first = fetchimg().in_dir(&dir).lines(&urls).run();
    assert_eq!(first.status, Some(0), "{first}");
    let failing = [server.url("/status/404/c.png"), server.url("/page/c.png"), server.url("/cut/100000/90000/c.png")];
    let run = fetchimg().in_dir(&dir).lines(&failing).args(["--overwrite", "--retries", "0"]).run();

    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.file("c.png"), b"my own", "{run}");
    assert_eq!(run.files(), ["a.png", "b.png", "c.png"], "{run}");
    assert_eq!(run.leftovers(), [""; 0], "{run}");
}

#[test]
fn another_list_does_not_touch_the_images_of_the_first() {
    let server = Server::start();
    let first = fetchimg().lines([server.url("/png/300/one/a.png")]).run();
    for arguments in [&[][..], &["--overwrite"]] {
        let run = recorded().lines([server.url("/png/400/two/a.png")]).args(arguments).in_dir(&first.dir).run();
        assert_eq!(run.status, Some(0), "{run}");
        let path = records(&run)[0]["path"].as_str().expect("a path").to_owned();
        assert!(path.starts_with("a-") && path.len() == "a-12345678.png".len(), "{path}");
        assert_eq!(run.file(&path), server.body("/png/400/two/a.png"), "{run}");
        assert_eq!(run.file("a.png"), server.body("/png/300/one/a.png"), "{run}");
        assert_eq!(run.files().len(), 2, "{run}");
    }
}

#[test]
fn a_longer_list_keeps_the_names_of_the_shorter() {
    let server = Server::start();
    let (one, two) = (server.url("/png/300/one/a.png"), server.url("/png/400/two/a.png"));
    let first = fetchimg().lines([&one]).run();
    let second = recorded().lines([&two, &one]).in_dir(&first.dir).run();

    assert_eq!(second.status, Some(0), "{second}");
    let outcomes = outcomes(&second);
    assert!(outcomes[0].starts_with("saved a-"), "{second}");
    assert_eq!(outcomes[1], "skipped already_saved a.png", "{second}");
    assert_eq!(second.file("a.png"), server.body("/png/300/one/a.png"), "{second}");
}

#[test]
fn one_folder_serves_one_run_at_a_time() {
    let server = Server::start();
    let first = fetchimg().lines([server.url("/gated/300/a.png")]).start();
    server.wait_for_hits("/gated", 1, MAX_WAIT);
    let second = fetchimg().arg(server.url("/png/300/b.png")).in_dir(first.dir()).run();
    assert_eq!(second.status, Some(3), "{second}");
    assert!(second.stderr.starts_with("fetchimg: another fetchimg is working in images"), "{second}");
    assert_eq!((second.stderr.lines().count(), second.stdout.as_str()), (1, ""), "{second}");
    let elsewhere = fetchimg().arg(server.url("/png/300/b.png")).args(["-o", "other"]).in_dir(first.dir()).run();
    assert_eq!(elsewhere.status, Some(0), "{elsewhere}");
    server.open_gate();
    let first = first.wait();

    assert_eq!(first.status, Some(0), "{first}");
    assert_eq!(first.outcomes(), ["saved a.png"], "{first}");
    assert_eq!(first.files(), ["a.png"], "{first}");
    let third = fetchimg().arg(server.url("/png/300/b.png")).in_dir(&first.dir).run();
    assert_eq!(third.status, Some(0), "the folder is free again\n{third}");
}

#[test]
fn nothing_but_images_and_two_hidden_files_is_left() {
    let server = Server::start();
    let good = [server.url("/png/300/a.png"), server.url("/png/200000/b.png"), server.url("/chunked/100000/c.png")];
    let run = fetchimg().lines(&good).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(
        (run.files(), run.leftovers()),
        (["a.png", "b.png", "c.png"].map(String::from).to_vec(), vec![]),
        "{run}"
    );
    assert_eq!(hidden(&run), [JOURNAL, RUNS], "{run}");

    let bad = [
        "/status/404/a.png",
        "/page/b.png",
        "/empty/c.png",
        "/cut/300/100/d.png",
        "/cut/200000/150000/e.png",
        "/cut-chunked/200000/150000/f.png",
        "/garbage/g.png",
        "/png/200000/h.png",
    ];
    let run = fetchimg().lines(bad.map(|target| server.url(target))).args(["--retries=0", "--max-bytes=100000"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    let outcomes = run.outcomes();
    assert!(outcomes.iter().all(|words| words.starts_with("failed ") || words == "refused too_large"), "{run}");
    assert_eq!(outcomes[7], "refused too_large", "{run}");
    assert_eq!((run.files(), run.leftovers()), (vec![], vec![]), "{run}");
    assert_eq!(hidden(&run), [JOURNAL], "{run}");
}

#[test]
fn fsync_gives_the_same_files() {
    let server = Server::start();
    let targets = ["/png/300/a.png", "/png/200000/b.png", "/jpeg/c", "/png/400/deep/a.png"];
    let urls = targets.map(|target| server.url(target));
    let plain = fetchimg().lines(&urls).args(["--name", "{host}/{basename}"]).run();
    let synced = fetchimg().lines(&urls).args(["--name", "{host}/{basename}", "--fsync"]).run();

    assert_eq!((plain.status, synced.status), (Some(0), Some(0)), "{synced}");
    assert_eq!((synced.outcomes(), synced.files()), (plain.outcomes(), plain.files()), "{synced}");
    for (index, target) in (0..).zip(targets) {
        let path = synced.record(index)["path"].as_str().expect("a path").to_owned();
        assert_eq!(synced.file(&path), server.body(target), "{synced}");
    }
    assert_eq!(synced.leftovers(), [""; 0], "{synced}");
}

#[test]
fn the_output_folder_is_made_with_its_parents_and_may_be_there() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("there/mine.txt", "my own");
    for folder in ["a/b/c", "there", "./a/../there/sub"] {
        fs::create_dir_all(dir.join("a")).expect("a folder can be made");
        let run = fetchimg().in_dir(&dir).lines([server.url("/png/300/a.png")]).args(["-o", folder]).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{run}");
    }
    assert_eq!(dir.read("there/mine.txt"), b"my own");
}

#[test]
fn overwriting_gives_the_names_that_are_asked_for_now() {
    let server = Server::start();
    let urls = ["/jpeg/lies.png", "/png/300/b.png"].map(|target| server.url(target));
    let first = fetchimg().lines(&urls).run();
    assert_eq!(first.files(), ["b.png", "lies.png"], "{first}");
    let fixed = fetchimg().lines(&urls).in_dir(&first.dir).args(["--overwrite", "--fix-extension"]).run();
    assert_eq!(fixed.status, Some(0), "{fixed}");
    assert_eq!(fixed.files(), ["b.png", "lies.jpg"], "the old name is gone\n{fixed}");
    let numbered = fetchimg().lines(&urls).in_dir(&first.dir).args(["--overwrite", "--name", "{index}.{ext}"]).run();
    assert_eq!(numbered.files(), ["0.png", "1.png"], "{numbered}");
    assert!(numbered.file("1.png") == server.body("/png/300/b.png"), "{numbered}");
    let again = fetchimg().lines(&urls).in_dir(&first.dir).run();
    assert_eq!(again.outcomes(), ["skipped already_saved 0.png", "skipped already_saved 1.png"], "{again}");
}

#[test]
fn overwriting_takes_no_other_rows_file_away() {
    let server = Server::start();
    let (one, two) = (server.url("/png/300/a.png"), server.url("/png/400/b.png"));
    let first = fetchimg().lines([&one, &two]).args(["--name", "{index}.png"]).run();
    assert_eq!(first.files(), ["0.png", "1.png"], "{first}");
    // With the new template, each row would get the name of the other one's file.
    let swapped = fetchimg().args([&two, &one]).in_dir(&first.dir).args(["--name", "{index}.png", "--overwrite"]).run();
    assert_eq!(swapped.status, Some(0), "{swapped}");
    assert_eq!(swapped.files(), ["0.png", "1.png"], "{swapped}");
    for (index, target) in [(0, "/png/400/b.png"), (1, "/png/300/a.png")] {
        let path = format!("{index}.png");
        assert!(swapped.file(&path) == server.body(target), "{path}\n{swapped}");
    }
}

#[cfg(unix)]
#[test]
fn links_planted_in_the_output_folder_lead_nowhere() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    for link in ["images/.fetchimg", "images/.fetchimg/parts"] {
        let dir = TestDir::new();
        dir.write("victim/000001.part", "not ours");
        dir.write("victim/thesis.txt", "not ours");
        std::fs::create_dir_all(dir.join(link).parent().expect("a parent")).expect("made");
        std::os::unix::fs::symlink(dir.join("victim"), dir.join(link)).expect("linked");
        let run = fetchimg().in_dir(&dir).arg(&url).run();
        assert_eq!(run.status, Some(3), "{run}");
        assert!(run.stderr.contains("link"), "{run}");
        assert_eq!(dir.read("victim/000001.part"), b"not ours", "{run}");
    }
    // Links in place of files that the program writes: to a file that exists, and to one that would be created.
    let links = [
        (".fetchimg/lock", 3),
        (JOURNAL, 3),
        (RUNS, 0),
        (".fetchimg/manifest.jsonl", 3),
        (".fetchimg/runs.jsonl", 0),
        (".fetchimg/journal.copy", 0),
    ];
    for (link, status) in links {
        for victim in ["thesis.txt", "new.txt"] {
            let dir = TestDir::new();
            dir.write("victim/thesis.txt", "not ours");
            std::fs::create_dir_all(dir.join("images/.fetchimg")).expect("made");
            std::os::unix::fs::symlink(dir.join("victim").join(victim), dir.join("images").join(link)).expect("linked");
            let run = fetchimg().in_dir(&dir).arg(&url).run();
            assert_eq!(run.status, Some(status), "{run}");
            let is_named = run.stderr.contains(&format!("{link}: it is a symbolic link"));
            assert!(is_named || link.ends_with("copy"), "{run}");
            assert_eq!(dir.read("victim/thesis.txt"), b"not ours", "{run}");
            assert!(!dir.join("victim/new.txt").exists(), "{run}");
        }
    }
    // A folder of the output that is a link, and a journal with a file in it.
    let dir = TestDir::new();
    dir.write("victim/keys", "not ours");
    std::fs::create_dir_all(dir.join("images")).expect("made");
    std::os::unix::fs::symlink(dir.join("victim"), dir.join("images/d")).expect("linked");
    let line = format!("{{\"index\":0,\"url\":\"{url}\",\"status\":\"saved\",\"path\":\"d/keys\",\"bytes\":1}}\n");
    dir.write("images/.fetchimg.jsonl", line);
    let run = fetchimg().in_dir(&dir).arg(&url).run();
    assert_eq!((run.status, run.record(0)["error"].as_str()), (Some(1), Some("disk")), "{run}");
    assert_eq!(dir.read("victim/keys"), b"not ours", "{run}");
}

#[test]
fn records_and_reports_destroy_nothing_that_the_run_needs() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    let first = fetchimg().lines([&url]).run();
    assert_eq!(first.status, Some(0), "{first}");
    for place in ["list.txt", "images/.fetchimg.jsonl", "images/../list.txt"] {
        let before = first.dir.read(place);
        for flag in ["--manifest", "--report"] {
            let run = fetchimg().in_dir(&first.dir).args(["list.txt", flag, place]).run();
            assert!(matches!(run.status, Some(2 | 3)), "{run}");
            assert_eq!(first.dir.read(place), before, "{run}");
        }
    }
    // The shell opens the list, so the program does not know its name.
    let before = first.dir.read("list.txt");
    let run = Program::new("sh")
        .args(["-c", "exec \"$0\" --manifest list.txt < list.txt", env!("CARGO_BIN_EXE_fetchimg")])
        .in_dir(&first.dir)
        .run();
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("it is one of the lists"), "{run}");
    assert_eq!(first.dir.read("list.txt"), before, "{run}");
}

#[test]
fn a_template_that_continues_is_the_only_kind_there_is() {
    let server = Server::start();
    let urls = ["/png/300/cat.png", "/png/400/cat"].map(|target| server.url(target));
    for template in ["{ext}/{stem}", "{host}/{index:06}-{basename}", "{stem}.{ext}", "{url_hash}"] {
        let first = fetchimg().lines(&urls).args(["--name", template]).run();
        assert_eq!(first.status, Some(0), "{first}");
        assert_eq!(first.files().len(), 2, "two rows, two files\n{first}");
        let second = fetchimg().in_dir(&first.dir).args(["list.txt", "--name", template]).run();
        assert!(second.outcomes().iter().all(|outcomes| outcomes.starts_with("skipped already_saved")), "{second}");
    }
    let refused = fetchimg().lines(&urls).args(["--name", "{index}:{basename}"]).run();
    assert_eq!(refused.status, Some(2), "{refused}");
}

#[test]
fn a_file_that_took_the_place_of_an_image_is_not_removed_with_its_name() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/png/300/a.png")]).run();
    assert_eq!(run.status, Some(0), "{run}");
    std::fs::write(run.output().join("a.png"), "theirs").expect("a file");
    let again = fetchimg()
        .in_dir(&run.dir)
        .lines([server.url("/png/300/a.png")])
        .args(["--overwrite", "--name", "new-{basename}"])
        .run();
    assert_eq!(again.status, Some(0), "{again}");
    assert_eq!(again.file("a.png"), b"theirs", "{again}");
    assert_eq!(again.file("new-a.png"), server.body("/png/300/a.png"), "{again}");
}

#[test]
fn a_link_in_the_place_of_a_part_leads_nowhere() {
    let server = Server::start();
    let dir = TestDir::new();
    let precious = dir.write("precious", "theirs");
    std::fs::create_dir_all(dir.join("images/.fetchimg/parts")).expect("a folder");
    for number in 0..4 {
        let link = dir.join(format!("images/.fetchimg/parts/{number:06}.part"));
        std::os::unix::fs::symlink(&precious, link).expect("a link");
    }
    let run = fetchimg().in_dir(&dir).lines([server.url("/png/200000/a.png")]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(dir.read("precious"), b"theirs", "{run}");
    assert_eq!(run.file("a.png"), server.body("/png/200000/a.png"), "{run}");
    assert!(!run.output().join("a.png").is_symlink(), "{run}");
}

/// The outcomes of the last run in a folder, by the last segment of their URLs.
fn last_outcomes(run: &Run, rows: usize) -> Vec<String> {
    let all = run.records();
    let last = all[all.len() - rows..].iter().map(|record| {
        let word = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let url = word("url");
        let what = if word("status") == "failed" { word("error") } else { word("path") };
        format!("{} {} {what}", url.rsplit('/').next().unwrap_or_default(), word("status"))
    });
    let mut last = last.collect::<Vec<_>>();
    last.sort();
    last
}

#[test]
fn overwriting_gives_the_names_of_a_new_folder_however_often_it_is_done() {
    let server = Server::start();
    // Two rows with one basename, one without an extension, one whose content contradicts its extension.
    let targets = ["/png/300/a.png", "/png/400/deep/a.png", "/png/500/plain", "/jpeg/lies.png", "/gif/b.gif"];
    let urls = targets.map(|target| server.url(target));
    let ways = [
        &[][..],
        &["--name", "x{index}"],
        &["--name", "{sha256:0:2}/{sha256}.{ext}"],
        &["--encode", "png"],
        &["--name", "{sha256:0:8}-{stem}"],
        &["--fix-extension"],
        &["--name", "{host}/{basename}"],
    ];
    let fresh = ways.map(|way| fetchimg().lines(&urls).args(way).run().files());
    let dir = TestDir::new();
    assert_eq!(fetchimg().in_dir(&dir).lines(&urls).run().status, Some(0));
    for number in [1, 0, 1, 2, 0, 2, 3, 0, 3, 4, 4, 0, 5, 0, 5, 6, 1, 0] {
        let run = fetchimg().in_dir(&dir).lines(&urls).arg("--overwrite").args(ways[number]).run();
        assert_eq!((run.status, run.files()), (Some(0), fresh[number].clone()), "{:?}\n{run}", ways[number]);
        assert_eq!(run.leftovers(), [""; 0], "{run}");
        let again = fetchimg().in_dir(&dir).lines(&urls).args(ways[number]).run();
        assert!(again.outcomes().iter().all(|outcome| outcome.starts_with("skipped already_saved")), "{again}");
        let plan = fetchimg().in_dir(&dir).lines(&urls).args(["--overwrite", "--dry-run", "--json"]).run();
        assert_eq!(plan.report()["first_names"][0], "a.png", "a dry run gives the same names\n{plan}");
    }
}

#[test]
fn overwriting_keeps_a_file_that_another_row_still_has() {
    // The second row is a duplicate by content, or is saved under the same name.
    for made_by in ["--sequential", "--overwrite"] {
        let server = Server::start();
        let urls = ["/jpeg/one.jpg", "/jpeg/two.jpg"].map(|target| server.url(target));
        let first = fetchimg().lines(&urls).args([made_by, "--name", "{sha256}.{ext}"]).run();
        assert_eq!((first.status, first.files().len()), (Some(0), 1), "{first}");
        let shared = first.files().remove(0);
        let bytes = first.file(&shared);
        // Only the first row: the second still has the file.
        let one = fetchimg().in_dir(&first.dir).lines(&urls[..1]).arg("--overwrite").run();
        let mut expected = vec![shared.clone(), "one.jpg".to_owned()];
        expected.sort();
        assert_eq!((one.status, one.files()), (Some(0), expected), "{made_by}\n{one}");
        assert_eq!(one.file(&shared), bytes, "{one}");
        let again = fetchimg().in_dir(&first.dir).lines(&urls).run();
        assert_eq!(
            last_outcomes(&again, 2),
            ["one.jpg skipped one.jpg", &format!("two.jpg skipped {shared}")],
            "nothing is fetched\n{again}"
        );
        // And when the second has its own, it goes.
        let two = fetchimg().in_dir(&first.dir).lines(&urls).arg("--overwrite").run();
        assert_eq!((two.status, two.files()), (Some(0), vec!["one.jpg".into(), "two.jpg".into()]), "{two}");
    }
}

#[test]
fn a_row_that_cannot_be_fetched_again_keeps_the_only_copy_of_its_picture() {
    for made_by in ["--sequential", "--overwrite"] {
        let server = Server::start();
        let urls = ["/jpeg/one.jpg", "/jpeg/two.jpg"].map(|target| server.url(target));
        let first = fetchimg().lines(&urls).args([made_by, "--name", "{sha256}.{ext}"]).run();
        assert_eq!((first.status, first.files().len()), (Some(0), 1), "both have one content\n{first}");
        let shared = first.files().remove(0);
        // The second URL is gone from the server.
        let gone = server.url("/status/404/two.jpg");
        let journal = first.journal();
        fs::write(&journal, fs::read_to_string(&journal).expect("a journal").replace(&urls[1], &gone)).expect("write");
        for _ in 0..2 {
            let run = fetchimg().in_dir(&first.dir).lines([&urls[0], &gone]).arg("--overwrite").run();
            assert_eq!(run.status, Some(1), "{run}");
            let mut expected = [shared.clone(), "one.jpg".to_owned()];
            expected.sort();
            assert_eq!(run.files(), expected, "{run}");
        }
        let plain = fetchimg().in_dir(&first.dir).lines([&urls[0], &gone]).run();
        assert_eq!(plain.status, Some(0), "the second row still has its picture\n{plain}");
    }
}

#[test]
fn overwriting_removes_no_file_that_fetchimg_did_not_write() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    let names = ["--name", "{sha256}.{ext}"];
    let source = fetchimg().lines([&url]).args(names).run();
    let name = source.files().remove(0);
    // The same picture lies there from elsewhere.
    let dir = TestDir::new();
    dir.write(format!("images/{name}"), source.file(&name));
    let first = fetchimg().in_dir(&dir).lines([&url]).args(names).run();
    assert_eq!(first.outcomes(), [format!("skipped duplicate_content {name}")], "{first}");
    let run = fetchimg().in_dir(&dir).lines([&url]).arg("--overwrite").run();
    let mut expected = [name, "a.png".to_owned()];
    expected.sort();
    assert_eq!((run.status, run.files()), (Some(0), expected.to_vec()), "{run}");
}

#[test]
fn a_folder_without_its_journal_fetches_nameless_rows_once() {
    let server = Server::start();
    let targets = ["/png/300/plain", "/png/200000/large", "/jpeg/c"];
    let urls = targets.map(|target| server.url(target));
    for names in [&[][..], &["--name", "{sha256:0:2}/{basename}"]] {
        let first = fetchimg().lines(&urls).args(names).run();
        assert_eq!(first.status, Some(0), "{first}");
        let files = first.files();
        fs::remove_file(first.journal()).expect("remove");
        let asked = server.requests().len();
        let found = fetchimg().in_dir(&first.dir).lines(&urls).args(names).run();
        assert_eq!((found.status, found.files()), (Some(0), files.clone()), "{found}");
        assert!(found.outcomes().iter().all(|words| words.starts_with("skipped duplicate_content")), "{found}");
        assert_eq!(found.leftovers(), [""; 0], "{found}");
        let again = fetchimg().in_dir(&first.dir).lines(&urls).args(names).run();
        assert_eq!((again.status, again.files()), (Some(0), files), "{again}");
        assert_eq!(server.requests().len(), asked + urls.len(), "the third run asks for nothing\n{again}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_hole_in_the_journal_is_not_read_into_memory() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    let first = fetchimg().lines([&url]).run();
    let journal = first.journal();
    let record = fs::read(&journal).expect("a journal");
    // As a loss of power may leave it: at the end, and before a record.
    for ends_in_record in [false, true] {
        let file = fs::OpenOptions::new().write(true).open(&journal).expect("a journal");
        file.set_len(record.len() as u64 + (1 << 30)).expect("a hole");
        if ends_in_record {
            let mut file = fs::OpenOptions::new().append(true).open(&journal).expect("a journal");
            std::io::Write::write_all(&mut file, &[b"\n", &*record].concat()).expect("write");
        }
        let (run, peak) = fetchimg().in_dir(&first.dir).lines([&url]).start().wait_and_weigh();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(server.requests().len(), 1, "the image is known\n{run}");
        assert!(peak < 200 << 20, "{peak} bytes");
    }
}
