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
