//! `--hash` and `--dedupe`: the digests of bodies, and storing each content once.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use fetchimg::internals::record::hex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::common::outcomes::outcome;
use crate::common::{Run, Server, TestDir, fetchimg};

/// The longest wait for a request. Every wait is far shorter.
const MAX_WAIT: Duration = Duration::from_secs(120);

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The file that a name stands for.
fn inode(run: &Run, name: &str) -> u64 {
    fs::metadata(run.output().join(name)).expect("it is there").ino()
}

#[test]
fn digests_are_recorded_of_every_image() {
    let server = Server::start();
    // One that stays in memory, one that goes through a part file, and one that is cut and resumed.
    let targets = ["/png/300/a.png", "/png/600000/b.png", "/etag-cut/1/700000/c.png"];
    let run = fetchimg().lines(targets.map(|target| server.url(target))).args(["--hash", "sha256,blake3,md5"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    for (index, name) in [(0, "a.png"), (1, "b.png"), (2, "c.png")] {
        let record = run.record(index);
        assert_eq!(record["sha256"], sha256(&run.file(name)), "{run}");
        assert_eq!(record["blake3"], blake3::hash(&run.file(name)).to_hex().as_str(), "{run}");
        assert_eq!(record["md5"].as_str().map(str::len), Some(32), "{run}");
        assert_eq!(record["sha1"], Value::Null, "{run}");
    }
    assert!(run.record(2)["resumed_from"].as_u64() > Some(0), "{run}");
}

#[test]
fn a_body_of_two_runs_has_the_digest_of_the_whole() {
    let server = Server::start();
    let url = server.url("/etag-cut/1/700000/a.png");
    let first = fetchimg().lines([&url]).args(["--retries", "0", "--hash", "sha256"]).run();
    assert_eq!(first.status, Some(1), "{first}");
    let second = fetchimg().lines([&url]).args(["--hash", "sha256"]).in_dir(&first.dir).run();
    assert_eq!(second.status, Some(0), "{second}");
    let record = second.records().pop().expect("a record");
    assert!(record["resumed_from"].as_u64() > Some(0), "{second}");
    assert_eq!(record["sha256"], sha256(&server.body("/etag-cut/1/700000/a.png")), "{second}");
}

#[test]
fn what_the_list_says_of_a_body_is_compared() {
    let server = Server::start();
    let [good, bad] = ["/png/300/a.png", "/png/300/b.png"].map(|target| (server.url(target), server.body(target)));
    let short = format!("{},{}", server.url("/png/300/d.png"), "abc");
    let lines = [
        "url,check,caption".to_owned(),
        format!("{},{},first", good.0, sha256(&good.1).to_uppercase()),
        format!("{},{},second", bad.0, sha256(b"another")),
        format!("{},,third", server.url("/png/300/c.png")),
        format!("{short},fourth"),
    ];
    let run = fetchimg().stdin(lines.join("\n")).args(["-", "--checksum-column", "check"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.files(), ["a.png", "c.png"], "{run}");
    let error_and_caption = |index| (run.record(index)["error"].clone(), run.record(index)["extra"]["caption"].clone());
    assert_eq!(error_and_caption(0), (Value::Null, "first".into()), "{run}");
    assert_eq!(error_and_caption(1), ("checksum".into(), "second".into()), "{run}");
    assert_eq!(error_and_caption(2), (Value::Null, "third".into()), "{run}");
    assert_eq!(error_and_caption(3), ("checksum".into(), "fourth".into()), "{run}");
    assert_eq!(run.record(0)["sha256"], sha256(&good.1), "{run}");
    let message = run.record(1)["message"].to_string();
    assert!(message.contains(&sha256(&bad.1)) && message.contains(&sha256(b"another")), "{run}");
    assert_eq!((server.hits("/png/300/b.png"), server.hits("/png/300/d.png")), (1, 0), "{run}");
    assert!(run.leftovers().is_empty(), "{run}");
}

#[test]
fn what_another_row_of_the_url_has_saved_is_compared_too() {
    for mode in [&["--sequential"][..], &[]] {
        let server = Server::start();
        let (target, first) = if mode.is_empty() { ("/gated/300/a.png", 2) } else { ("/png/300/a.png", 1) };
        let (url, sum) = (server.url(target), sha256(&server.body(target)));
        let rows = [sum.to_uppercase(), sha256(b"another"), String::new(), sum];
        let lines = rows.map(|sum| format!("{url},{sum},x\n")).concat();
        let list = format!("url,sum,caption\n{lines}{},,y\n", server.url("/png/300/b.png"));
        let mut running = fetchimg().args(["-", "--checksum-column", "sum"]).args(mode).stdin_pipe();
        running.write_line(list);
        running.close_stdin();
        server.wait_for_hits_in_all(first, MAX_WAIT);
        server.open_gate();
        let run = running.wait();
        assert_eq!(run.status, Some(1), "{run}");
        let skipped = "skipped duplicate_url a.png";
        assert_eq!(run.outcomes(), ["saved a.png", "failed checksum", skipped, skipped, "saved b.png"], "{run}");
        let message = run.record(1)["message"].to_string();
        assert!(message.contains("of a.png, from an earlier row") && message.contains(&sha256(b"another")), "{run}");
        assert_eq!(run.record(1)["extra"]["caption"], "x", "{run}");
        assert_eq!(server.hits(target), 1, "{run}");
    }
}

#[test]
fn what_an_earlier_run_has_saved_is_compared_too() {
    let server = Server::start();
    let (url, body) = (server.url("/png/300/a.png"), server.body("/png/300/a.png"));
    let run = |sum: &str, dir: &TestDir| {
        fetchimg().stdin(format!("url,sum\n{url},{sum}\n")).args(["-", "--checksum-column", "sum"]).in_dir(dir).run()
    };
    let dir = TestDir::new();
    assert_eq!(run(&sha256(&body), &dir).outcomes(), ["saved a.png"]);
    // The list expects another picture now; the server still has the old one.
    let other = run(&sha256(b"another"), &dir);
    assert_eq!((other.status, other.records().len()), (Some(1), 2), "{other}");
    assert_eq!((&other.records()[1]["error"], server.hits("/png/300/a.png")), (&"checksum".into(), 2), "{other}");
    assert_eq!(other.file("a.png"), body, "{other}");
    for sum in [sha256(&body), String::new(), "0".repeat(32)] {
        let again = run(&sum, &dir);
        assert_eq!(again.records().last().map(outcome).as_deref(), Some("skipped already_saved a.png"), "{again}");
    }
    assert_eq!(server.hits("/png/300/a.png"), 2);
}

#[test]
fn names_may_hold_columns_and_the_digest_of_the_file() {
    let server = Server::start();
    let urls = ["/png/300/a.png", "/png/700000/b.png", "/png/300/c.png"].map(|target| server.url(target));
    let rows = urls.iter().zip(["cats", "dogs", "../x"]).map(|(url, kind)| format!("{url},{kind}"));
    let list = std::iter::once("url,kind".to_owned()).chain(rows).collect::<Vec<_>>().join("\n");
    let name = "{col.kind}/{sha256:0:2}/{stem}.{ext}";
    let run = fetchimg().stdin(list.clone()).args(["-", "--name", name]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let digest = |index: u64| run.record(index)["sha256"].as_str().map(str::to_owned).expect("a digest");
    let paths = (0..3).map(|index| run.record(index)["path"].as_str().map(str::to_owned)).collect::<Vec<_>>();
    let path = |folder: &str, index: u64, name: &str| Some(format!("{folder}/{}/{name}", &digest(index)[..2]));
    assert_eq!(paths[..2], [path("cats", 0, "a.png"), path("dogs", 1, "b.png")], "{run}");
    // The value of a column cannot lead out of the folder.
    assert!(paths[2].as_ref().is_some_and(|path| path.ends_with("/c.png") && !path.contains("../")), "{run}");
    let again = fetchimg().stdin(list.clone()).args(["-", "--name", name]).in_dir(&run.dir).run();
    assert!(again.records()[3..].iter().all(|record| record["reason"] == "already_saved"), "{again}");
}

#[test]
fn content_that_names_itself_is_there_once() {
    let server = Server::start();
    let urls = (0..30).map(|n| server.url(&format!("/jpeg/{n}.jpg"))).chain([server.url("/gif/x.gif")]);
    let run = fetchimg().lines(urls).args(["--name", "{sha256}.{ext}"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let mut names = [("/jpeg/1.jpg", "jpg"), ("/gif/x.gif", "gif")]
        .map(|(target, extension)| format!("{}.{extension}", sha256(&server.body(target))));
    names.sort();
    assert_eq!(run.files(), names, "{run}");
    let outcomes = run.records().iter().map(outcome).collect::<Vec<_>>();
    let jpeg = format!("{}.jpg", sha256(&server.body("/jpeg/1.jpg")));
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == format!("saved {jpeg}")).count(), 1, "{run}");
    assert_eq!(
        outcomes.iter().filter(|outcome| **outcome == format!("skipped duplicate_content {jpeg}")).count(),
        29,
        "{run}"
    );

    // A second run has nothing to do, also for the rows that had nothing to store.
    let (urls, hits) = ((0..30).map(|n| server.url(&format!("/jpeg/{n}.jpg"))), server.hits_in_all());
    let again = fetchimg().lines(urls.clone()).args(["--name", "{sha256}.{ext}"]).in_dir(&run.dir).run();
    let outcomes = again.records()[31..].iter().map(outcome).collect::<Vec<_>>();
    assert_eq!(outcomes, vec![format!("skipped already_saved {jpeg}"); 30], "{again}");
    assert_eq!(server.hits_in_all(), hits, "{again}");
    // Unless the file is gone.
    fs::remove_file(run.output().join(&jpeg)).expect("remove");
    let again = fetchimg().lines(urls).args(["--name", "{sha256}.{ext}"]).in_dir(&run.dir).run();
    assert_eq!(again.file(&jpeg), server.body("/jpeg/1.jpg"), "{again}");
    assert_eq!(again.records().len(), 31 + 30 + 30, "{again}");

    // A file of that name with other content is not taken for the image.
    fs::write(run.output().join(&jpeg), "something else").expect("write");
    let more =
        fetchimg().lines([server.url("/jpeg/new.jpg")]).args(["--name", "{sha256}.{ext}"]).in_dir(&run.dir).run();
    assert_eq!(more.records().last().map(outcome), Some(format!("skipped file_exists {jpeg}")), "{more}");
}

#[test]
fn an_unknown_algorithm_is_a_mistake_on_the_command_line() {
    let run = fetchimg().arg("list").args(["--hash", "sha256,crc32"]).run();
    assert_eq!(run.status, Some(2), "{run}");
    assert!(run.stderr.contains("--hash crc32: unknown") && run.stderr.contains("blake3"), "{run}");
}

#[test]
fn the_same_content_is_stored_once() {
    let server = Server::start();
    let urls = ["/jpeg/a.jpg", "/jpeg/b.jpg", "/gif/c.gif", "/jpeg/folder/d.jpg"].map(|target| server.url(target));
    let run = fetchimg().lines(&urls).args(["--dedupe", "--sequential"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files(), ["a.jpg", "b.jpg", "c.gif", "d.jpg"], "{run}");
    assert_eq!((inode(&run, "b.jpg"), inode(&run, "d.jpg")), (inode(&run, "a.jpg"), inode(&run, "a.jpg")), "{run}");
    assert_ne!(inode(&run, "c.gif"), inode(&run, "a.jpg"), "{run}");
    let same_as = (0..4).map(|index| run.record(index)["same_as"].as_str().map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(same_as, [None, Some("a.jpg".into()), None, Some("a.jpg".into())], "{run}");
    assert!(run.leftovers().is_empty(), "{run}");

    // A later run knows the files of this one. Without the flag, every row gets a file of its own.
    let more = fetchimg().lines([server.url("/jpeg/e.jpg")]).arg("--dedupe").in_dir(&run.dir).run();
    assert_eq!(inode(&more, "e.jpg"), inode(&more, "a.jpg"), "{more}");
    let plain = fetchimg().lines([server.url("/jpeg/f.jpg")]).in_dir(&run.dir).run();
    assert_ne!(inode(&plain, "f.jpg"), inode(&plain, "a.jpg"), "{plain}");
}

#[test]
fn many_at_once_with_the_same_content_are_one_file() {
    let server = Server::start();
    let urls = (0..60).map(|n| server.url(&format!("/webp/{n:02}.webp")));
    let run = fetchimg().lines(urls).arg("--dedupe").run();
    assert_eq!((run.status, run.files().len()), (Some(0), 60), "{run}");
    let first = inode(&run, "00.webp");
    assert!(run.files().iter().all(|name| inode(&run, name) == first), "{run}");
    let own = run.records().iter().filter(|record| record["same_as"].is_null()).count();
    assert_eq!(own, 1, "{run}");
}

#[test]
fn what_is_no_longer_what_it_was_is_no_first_file() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/jpeg/a.jpg"), server.url("/gif/b.gif")]).arg("--dedupe").run();
    let jpeg = run.file("a.jpg");
    // The same size, other bytes; and gone.
    fs::write(run.output().join("a.jpg"), vec![7; jpeg.len()]).expect("write");
    fs::remove_file(run.output().join("b.gif")).expect("remove");
    let urls = ["/jpeg/c.jpg", "/jpeg/d.jpg", "/gif/e.gif"].map(|target| server.url(target));
    let more = fetchimg().lines(urls).args(["--dedupe", "--sequential"]).in_dir(&run.dir).run();
    assert_eq!(more.status, Some(0), "{more}");
    assert_eq!((more.file("c.jpg"), more.file("d.jpg")), (jpeg.clone(), jpeg), "{more}");
    assert_eq!(inode(&more, "d.jpg"), inode(&more, "c.jpg"), "{more}");
    assert_ne!(inode(&more, "c.jpg"), inode(&more, "a.jpg"), "{more}");
    assert_eq!(more.file("e.gif"), server.body("/gif/e.gif"), "{more}");
}

#[test]
fn a_name_that_is_taken_stays_taken_for_a_link_too() {
    let server = Server::start();
    let first = fetchimg().lines([server.url("/jpeg/a.jpg")]).arg("--dedupe").run();
    fs::write(first.output().join("b.jpg"), "not ours").expect("write");
    let (b, records) = (server.url("/jpeg/b.jpg"), |run: &Run| run.records().last().map(outcome));
    let kept = fetchimg().lines([&b]).arg("--dedupe").in_dir(&first.dir).run();
    assert_eq!(records(&kept).as_deref(), Some("skipped file_exists b.jpg"), "{kept}");
    assert_eq!(kept.file("b.jpg"), b"not ours", "{kept}");
    let replaced = fetchimg().lines([&b]).args(["--dedupe", "--overwrite"]).in_dir(&first.dir).run();
    assert_eq!(records(&replaced).as_deref(), Some("saved b.jpg"), "{replaced}");
    assert_eq!(inode(&replaced, "b.jpg"), inode(&replaced, "a.jpg"), "{replaced}");
    let again = fetchimg().lines([&b]).args(["--dedupe", "--overwrite"]).in_dir(&first.dir).run();
    assert_eq!(again.file("b.jpg"), server.body("/jpeg/b.jpg"), "{again}");
    assert!(again.leftovers().is_empty(), "{again}");
}

#[test]
fn no_file_is_the_same_as_itself() {
    let server = Server::start();
    let urls = ["/jpeg/a.jpg", "/jpeg/b.jpg"].map(|target| server.url(target));
    let same_as = |run: &Run| {
        // The records of the last pass, which may have ended in any order.
        let mut last = run.records().split_off(run.records().len() - 2);
        last.sort_by_key(|record| record["index"].as_u64());
        last.iter().map(|record| record["same_as"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    // The second pass finds the files of the first.
    let run = fetchimg().lines(&urls).args(["--dedupe", "--compare"]).run();
    assert_eq!(same_as(&run), [None, Some("a.jpg".into())], "{run}");
    let again = fetchimg().lines(&urls).args(["--dedupe", "--overwrite", "--sequential"]).in_dir(&run.dir).run();
    assert_eq!(same_as(&again), [None, Some("a.jpg".into())], "{again}");

    // The earlier files are removed, so no record may name them, and no other row may look for them.
    let renamed = ["--dedupe", "--overwrite", "--sequential", "--name", "{index}.{ext}"];
    let renamed = fetchimg().lines(&urls).args(renamed).in_dir(&run.dir).run();
    assert_eq!((renamed.status, renamed.files()), (Some(0), vec!["0.jpg".to_owned(), "1.jpg".to_owned()]), "{renamed}");
    assert_eq!(same_as(&renamed), [None, Some("0.jpg".into())], "{renamed}");
    assert_eq!(inode(&renamed, "1.jpg"), inode(&renamed, "0.jpg"), "{renamed}");
}
