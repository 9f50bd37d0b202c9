//! What kills leave of sets of shards when the list or the options change before the next run, and what is told to do.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use crate::common::{Run, Server, TestDir, fetchimg, wait_until};

const SET: [&str; 6] = ["-o", "set", "--output-format", "webdataset", "--shard-size", "5"];

/// Ten rows, of which the eighth stalls once.
fn urls(server: &Server) -> Vec<String> {
    (0..10)
        .map(|n| {
            server.url(&if n == 7 { "/stall-once/300/7.png".to_owned() } else { format!("/png/{}/{n}.png", 300 + n) })
        })
        .collect()
}

fn go(dir: &TestDir, urls: &[String], flags: &[&str]) -> Run {
    fetchimg().lines(urls).args(SET).args(flags).in_dir(dir).run()
}

/// A folder in which a run was killed when its first shard was complete, and its second one but for one row.
fn killed(server: &Server) -> TestDir {
    let dir = TestDir::new();
    let mut running = fetchimg().lines(urls(server)).args(SET).in_dir(&dir).start();
    let has_samples = |tar: Vec<u8>| {
        [5, 6, 8, 9].iter().all(|row| {
            let key = format!("00001000{}.json", row - 5);
            tar.windows(key.len()).any(|window| window == key.as_bytes())
        })
    };
    wait_until("the samples", || {
        dir.join("set/00000_stats.json").exists()
            && fs::read(dir.join("set/.fetchimg/shards/00001.tar")).is_ok_and(has_samples)
    });
    running.child.kill().unwrap();
    running.wait();
    dir
}

/// Asserts that a run is refused with this sentence, and a dry run as it is, without a request.
fn assert_refused(dir: &TestDir, server: &Server, urls: &[String], (flags, sentence): (&[&str], &str)) {
    let hits = server.hits_in_all();
    let dry = go(dir, urls, &[flags, &["--dry-run"]].concat());
    assert_eq!((dry.status, server.hits_in_all()), (Some(3), hits), "{dry}");
    assert!(dry.stderr.contains(sentence), "{sentence}\n{dry}");
    let run = go(dir, urls, flags);
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains(sentence), "{sentence}\n{run}");
}

/// Removes what is left of the second shard, as the message says.
fn remove_unfinished(dir: &TestDir) {
    for extension in ["tar", "jsonl"] {
        fs::remove_file(dir.join(format!("set/.fetchimg/shards/00001.{extension}"))).unwrap();
    }
}

#[test]
fn a_changed_row_of_an_unfinished_shard_costs_this_shard_alone() {
    let server = Server::start();
    let dir = killed(&server);
    let mut list = urls(&server);
    let hits = server.hits_in_all();
    let dry = go(&dir, &list, &["--dry-run"]);
    assert_eq!((dry.status, server.hits_in_all()), (Some(0), hits), "{dry}");
    for line in ["to fetch          1, from 1 host", "5 shard_exists", "4 already_saved"] {
        assert!(dry.stdout.contains(line), "{line}\n{dry}");
    }
    let remedy = "remove set/.fetchimg/shards/00001.*, and the same command begins this shard anew";
    for other in [server.url("/png/400/corrected.png"), "no URL any more".to_owned()] {
        list[8] = other;
        let sentence =
            format!("set/00001.tar: it was made from other rows of the list as far as it has come; {remedy}");
        assert_refused(&dir, &server, &list, (&[], &sentence));
    }
    list[8] = server.url("/png/400/corrected.png");
    remove_unfinished(&dir);
    let hits = server.hits_in_all();
    let run = go(&dir, &list, &[]);
    assert_eq!((run.status, server.hits_in_all()), (Some(0), hits + 5), "{run}");
    assert_eq!(fetchimg().args(["--verify-output", "-o", "set"]).in_dir(&dir).run().status, Some(0));
}

#[test]
fn a_list_that_became_shorter_costs_its_last_shard_alone() {
    let server = Server::start();
    let dir = killed(&server);
    let list = &urls(&server)[..6];
    let remedy = "remove set/.fetchimg/shards/00001.*, and the same command begins this shard anew";
    let sentence = format!("set/00001.tar: it was begun from a list with more rows; {remedy}");
    assert_refused(&dir, &server, list, (&[], &sentence));
    remove_unfinished(&dir);
    let hits = server.hits_in_all();
    let run = go(&dir, list, &[]);
    assert_eq!((run.status, server.hits_in_all()), (Some(0), hits + 1), "{run}");
    // The same for a shard that is complete.
    let sentence = "set/00001.tar: it was made from other rows of the list; remove 00001_stats.json, and the same command \
                    makes this shard anew";
    let other = [&list[..5], &[server.url("/png/400/other.png")]].concat();
    assert_refused(&dir, &server, &other, (&[], sentence));
    fs::remove_file(dir.join("set/00001_stats.json")).unwrap();
    let hits = server.hits_in_all();
    let run = go(&dir, &other, &[]);
    assert_eq!((run.status, server.hits_in_all()), (Some(0), hits + 1), "{run}");
}

#[test]
fn a_set_that_a_killed_run_has_begun_to_make_anew_goes_on() {
    let server = Server::start();
    let target =
        |n: usize| if n == 4 { "/slow/1500/300/4.png".to_owned() } else { format!("/png/{}/{n}.png", 300 + n) };
    let list = (0..10).map(|n| server.url(&target(n))).collect::<Vec<_>>();
    for options in [&["--resize", "16"][..], &[]] {
        let dir = TestDir::new();
        let flags = [&["--shard-size", "2", "--sequential"], options].concat();
        let start = |list: &[String], more: &[&str]| {
            fetchimg().lines(list).args(&SET[..4]).args(&flags).args(more).in_dir(&dir).start()
        };
        let first = fetchimg().lines(&list).args(&SET[..4]).args(["--shard-size", "2"]).in_dir(&dir).run();
        assert_eq!(first.status, Some(0), "{first}");
        // The list has a shard less now.
        let list = &list[..8];
        let marker = || fs::read(dir.join("set/00001_stats.json"));
        let before = marker().unwrap();
        let mut running = start(list, &["--overwrite"]);
        wait_until("the second shard", || marker().is_ok_and(|now| now.ends_with(b"}\n") && now != before));
        running.child.kill().unwrap();
        running.wait();
        let verify = || fetchimg().args(["--verify-output", "-o", "set"]).in_dir(&dir).run();
        let verdict = verify();
        for shard in ["00002", "00003", "00004"] {
            let line = format!("{shard}: it is of the set as it was before --overwrite, which has not come to its end");
            assert!(verdict.status == Some(1) && verdict.stdout.contains(&line), "{line}\n{verdict}");
        }
        assert!(!verdict.stdout.contains("00001: "), "{verdict}");
        let hits = server.hits_in_all();
        let dry = start(list, &["--dry-run"]).wait();
        assert_eq!((dry.status, server.hits_in_all()), (Some(0), hits), "{dry}");
        assert!(dry.stdout.contains("to fetch          4, from 1 host"), "{dry}");
        let run = start(list, &[]).wait();
        assert_eq!((run.status, server.hits_in_all()), (Some(0), hits + 4), "{run}");
        let (shards, verdict) =
            (run.files().iter().filter(|file| file.strip_suffix(".tar").is_some()).count(), verify());
        assert_eq!((shards, verdict.status), (4, Some(0)), "{run}\n{verdict}");
        // It has come to its end.
        assert_eq!(start(list, &[]).wait().status, Some(0));
        assert_eq!(server.hits_in_all(), hits + 4);
    }
}

#[test]
fn shards_behind_the_end_of_the_list_are_named() {
    let (server, dir) = (Server::start(), TestDir::new());
    let list = (0..20).map(|n| server.url(&format!("/png/{}/{n}.png", 300 + n))).collect::<Vec<_>>();
    let go = |list: &[String], flags: &[&str]| fetchimg().lines(list).args(&SET[..4]).args(flags).in_dir(&dir).run();
    let verify = || fetchimg().args(["--verify-output", "-o", "set"]).in_dir(&dir).run();
    go(&list, &["--shard-size", "2"]);
    for (slice, which, left) in [("0/2", "00002 to 00009", 8), ("1/2", "00003 to 00009", 7)] {
        let run = go(&list, &["--shard-size", "10", "--overwrite", "--slice", slice]);
        assert_eq!(run.status, Some(0), "{run}");
        assert!(run.stderr.contains(&format!("{left} shards behind the end of the list: {which}. ")), "{run}");
        assert!(run.stdout.contains(&format!("left over         {left} shards behind the end of the list\n")), "{run}");
    }
    let verdict = verify();
    assert_eq!(verdict.status, Some(1), "{verdict}");
    for shard in 2..10 {
        let line = format!(
            "0000{shard}: it was made with other options than .fetchimg.set.json says; remove 0000{shard}_stats.json, \
             0000{shard}.tar and 0000{shard}.parquet, and the same command makes it anew if the list has rows for it\n"
        );
        assert!(verdict.stdout.contains(&line), "{line}{verdict}");
        for end in ["_stats.json", ".tar", ".parquet"] {
            fs::remove_file(dir.join(format!("set/0000{shard}{end}"))).unwrap();
        }
    }
    assert_eq!(verify().status, Some(0));
    // A list that became shorter, without --overwrite.
    let run = go(&list[..10], &["--shard-size", "10"]);
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.stderr.contains("1 shard behind the end of the list: 00001. "), "{run}");
    let run = go(&list, &["--shard-size", "10"]);
    assert!(run.status == Some(0) && !run.stderr.contains("behind the end"), "{run}");
}
