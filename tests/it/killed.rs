//! Killed runs: the next run goes on from any moment, with nothing wrong, nothing twice and nothing missing.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::common::{Request, Run, Server, TestDir, fetchimg, wait_until};

const MAX_WAIT: Duration = Duration::from_secs(120);

/// The number of kills.
const KILLS: usize = 200;

fn name(target: &str) -> &str {
    target.rsplit('/').next().unwrap()
}

/// The first requested byte of each request for a target.
fn starts(server: &Server, target: &str) -> Vec<u64> {
    let start = |request: &Request| {
        let range = request.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.to_owned();
        assert!(request.header("if-range").is_some(), "a range of whatever is there now: {request:?}");
        range.parse().ok()
    };
    server.requests_for(target).iter().map(|request| start(request).unwrap_or(0)).collect()
}

fn parts(dir: &TestDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("images/.fetchimg/parts")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// 500 small images, and some that are large enough to be killed in the middle.
fn targets(round: usize) -> Vec<String> {
    let small = (0..500).map(|n| format!("/png/{}/{round}/{n:04}.png", 300 + n * 17 % 3000));
    let large = |n: usize| format!("/etag-drip/1/{}/{round}/large{n}.png", 600_000 + n);
    let mut targets = small.collect::<Vec<_>>();
    for n in 0..3 {
        targets.insert(n * 100, large(n));
    }
    targets
}

#[test]
fn two_hundred_random_kills_leave_nothing_wrong_nothing_twice_and_nothing_missing() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::start();
    let (mut kills, mut round) = (0, 0);
    let mut resumed = 0;
    while kills < KILLS {
        let targets = targets(round);
        let by_name = targets.iter().map(|target| (name(target).to_owned(), target)).collect::<HashMap<_, _>>();
        let dir = TestDir::in_memory();
        let urls = targets.iter().map(|target| server.url(target)).collect::<Vec<_>>();
        let mut there = HashMap::<String, Instant>::new();
        let last = loop {
            let asked = server.hits_in_all();
            let mut running = fetchimg().in_dir(&dir).lines(&urls).args(["-q", "-j", "40"]).start();
            if kills < KILLS {
                // Some at once, some within the first images, some later. Every image that is missing is asked for.
                let missing = targets.len() - there.len();
                server.wait_for_hits_in_all(asked + random.usize(0..missing.clamp(1, 60)), MAX_WAIT);
                std::thread::sleep(Duration::from_micros(random.u64(0..40_000)));
                let _ = running.child.kill();
            }
            let run = running.wait();
            let ended = run.signal.is_none();
            kills += usize::from(!ended);
            let now = Instant::now();
            for file in run.files() {
                let target =
                    by_name.get(&file).unwrap_or_else(|| panic!("seed {seed}: {file} belongs to no URL\n{run}"));
                // Those of earlier rounds were right, and their sizes are compared at the end.
                there.entry(file).or_insert_with_key(|file| {
                    assert!(run.file(file) == server.body(target), "seed {seed}: {file} is wrong after {kills} kills");
                    now
                });
            }
            if ended {
                break run;
            }
        };
        assert_eq!(last.status, Some(0), "seed {seed}: {last}");
        assert_eq!(last.files().len(), targets.len(), "seed {seed}: something is missing\n{last}");
        for target in &targets {
            let (saved, sent) = (last.file(name(target)), server.body(target));
            let differs = saved.iter().zip(&sent).position(|(saved, sent)| saved != sent);
            assert!(
                saved == sent,
                "seed {seed}: {target} is wrong in the end: {} bytes of {}, the first that differs is {differs:?}; \
                 requests began at {:?}",
                saved.len(),
                sent.len(),
                starts(&server, target),
            );
        }
        // One pass over all requests: looking for each target would take a while.
        for request in server.requests() {
            let since = there.get(name(request.path())).filter(|_| request.path().contains(&format!("/{round}/")));
            let is_early = since.is_none_or(|since| request.at < *since);
            assert!(is_early, "seed {seed}: {} was there, and was asked for again", request.path());
        }
        for target in targets.iter().filter(|target| target.contains("large")) {
            let starts = starts(&server, target);
            assert!(starts.is_sorted(), "seed {seed}: {target} lost what it had: {starts:?}");
            resumed += starts.iter().filter(|start| **start > 0).count();
        }
        let saved = last.records().iter().filter(|record| record["status"] == "saved").count();
        assert_eq!(saved, targets.len(), "seed {seed}: each image has one record that says it is saved");
        assert_eq!(last.leftovers(), [""; 0], "seed {seed}: {last}");
        round += 1;
    }
    assert!(resumed > 0, "seed {seed}: no body was ever gone on with");
}

/// The number of kills of runs with `--overwrite`.
const OVERWRITE_KILLS: usize = 40;

#[test]
fn kills_of_overwriting_runs_with_changing_names_leave_a_copy_of_every_picture() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::start();
    // Some have the same basename, some have no extension, and two have one content.
    let mut targets = (0..60).map(|n| format!("/png/{}/{n}.png", 300 + n)).collect::<Vec<_>>();
    targets.extend((0..10).map(|n| format!("/png/{}/{n}/same.png", 1000 + n)));
    targets.extend((0..10).map(|n| format!("/png/{}/plain{n}", 2000 + n)));
    targets.extend(["/jpeg/one.jpg", "/jpeg/two.jpg"].map(str::to_owned));
    let urls = targets.iter().map(|target| server.url(target)).collect::<Vec<_>>();
    let bodies = targets.iter().map(|target| server.body(target)).collect::<Vec<_>>();
    let ways = [
        &[][..],
        &["--name", "x{index}"],
        &["--name", "{sha256:0:2}/{sha256}.{ext}"],
        &["--name", "{sha256:0:4}-{basename}"],
        &["--fix-extension"],
    ];
    let dir = TestDir::in_memory();
    assert_eq!(fetchimg().in_dir(&dir).lines(&urls).run().status, Some(0));
    let mut kills = 0;
    while kills < OVERWRITE_KILLS {
        let way = random.usize(0..ways.len());
        // The rows change places, so that each may get the name of another one's file; some rows are not listed.
        let mut list = urls.clone();
        random.shuffle(&mut list);
        let ends = kills % 8 == 7;
        if !ends {
            list.truncate(random.usize(urls.len() / 2..=urls.len()));
        }
        let asked = server.hits_in_all();
        // In some runs the larger images are refused.
        let limit = if !ends && random.u8(0..4) == 0 { "1K" } else { "1M" };
        let flags = ["-q", "-j", "20", "--overwrite", "--max-bytes", limit];
        let mut running = fetchimg().in_dir(&dir).lines(&list).args(flags).args(ways[way]).start();
        if !ends {
            server.wait_for_hits_in_all(asked + random.usize(0..list.len()), MAX_WAIT);
            std::thread::sleep(Duration::from_micros(random.u64(0..10_000)));
            let _ = running.child.kill();
        }
        let run = running.wait();
        kills += usize::from(ends || run.signal.is_some());
        let aside = run.leftovers().into_iter().filter(|file| file.starts_with("aside/"));
        let files = run.files().into_iter().chain(aside.map(|file| format!(".fetchimg/{file}")));
        let there = files.map(|file| run.file(&file)).collect::<HashSet<_>>();
        for (target, body) in targets.iter().zip(&bodies) {
            assert!(there.contains(body), "seed {seed}: no copy of {target} after {kills} kills\n{run}");
        }
        if ends {
            let fresh = fetchimg().in_dir(&TestDir::in_memory()).lines(&list).args(ways[way]).run();
            assert_eq!((run.status, run.files()), (Some(0), fresh.files()), "seed {seed}: {run}");
        }
        if run.signal.is_none() {
            assert_eq!(run.leftovers(), [""; 0], "seed {seed}: {run}");
        } else if kills % 4 == 0 {
            // Every row still has a file, in whatever way it was named. The server may be counting requests of the killed
            // run yet, so it is not asked.
            let plain = fetchimg().in_dir(&dir).lines(&urls).arg("--json").run();
            let saved = &plain.report()["modes"][0]["saved"];
            assert_eq!((plain.status, saved), (Some(0), &0.into()), "seed {seed}: {plain}");
        }
    }
}

/// The number of kills of runs with `--rename`, and of runs with `--remake`.
const CHANGING_KILLS: usize = 40;

/// Asserts that each body is there under the names of a run into an empty folder, and nothing else.
fn assert_is_fresh(run: &Run, list: &[String], flags: &[&str], what: &str) {
    let fresh = fetchimg().in_dir(&TestDir::in_memory()).lines(list).args(flags).run();
    assert_eq!((run.status, run.files()), (Some(0), fresh.files()), "{what}: {run}");
    for file in run.files() {
        assert!(run.file(&file) == fresh.file(&file), "{what}: {file} is another one\n{run}");
    }
    assert_eq!(run.leftovers(), [""; 0], "{what}: {run}");
}

#[test]
fn kills_of_renaming_runs_lose_no_file_and_fetch_none_again() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::start();
    let mut targets = (0..400).map(|n| format!("/png/{}/{n}.png", 300 + n)).collect::<Vec<_>>();
    targets.extend((0..20).map(|n| format!("/png/{}/{n}/same.png", 1000 + n)));
    let urls = targets.iter().map(|target| server.url(target)).collect::<Vec<_>>();
    let bodies = targets.iter().map(|target| server.body(target)).collect::<Vec<_>>();
    let ways: [&[&str]; 4] =
        [&[], &["--name", "x{index}"], &["--name", "{index/50}/{index}.png"], &["--name", "{sha256:0:1}/{basename}"]];
    let dir = TestDir::in_memory();
    let flags = ["-q", "--hash", "sha256"];
    assert_eq!(fetchimg().in_dir(&dir).lines(&urls).args(flags).run().status, Some(0));
    let asked = server.hits_in_all();
    let mut kills = 0;
    let mut fresh_requests = 0;
    while kills < CHANGING_KILLS {
        let way = ways[random.usize(0..ways.len())];
        let mut list = urls.clone();
        random.shuffle(&mut list);
        let ends = kills % 8 == 7;
        let mut running = fetchimg().in_dir(&dir).lines(&list).args(flags).args(way).arg("--rename").start();
        if !ends {
            // Reading the journal and moving the files takes as long.
            std::thread::sleep(Duration::from_micros(random.u64(0..60_000)));
            let _ = running.child.kill();
        }
        let run = running.wait();
        kills += usize::from(ends || run.signal.is_some());
        let aside = run.leftovers().into_iter().filter(|file| file.starts_with("aside/"));
        let files = run.files().into_iter().chain(aside.map(|file| format!(".fetchimg/{file}")));
        let there = files.map(|file| run.file(&file)).collect::<HashSet<_>>();
        for (target, body) in targets.iter().zip(&bodies) {
            assert!(there.contains(body), "seed {seed}: no copy of {target} after {kills} kills\n{run}");
        }
        if run.signal.is_none() {
            assert_is_fresh(&run, &list, way, &format!("seed {seed}"));
            fresh_requests += list.len();
        } else if kills % 3 == 0 {
            let plain = fetchimg().in_dir(&dir).lines(&urls).args(["--json", "--progress", "none"]).run();
            let saved = &plain.report()["modes"][0]["saved"];
            assert_eq!((plain.status, saved), (Some(0), &0.into()), "seed {seed}: {plain}");
            assert_eq!((plain.files().len(), plain.leftovers()), (urls.len(), vec![]), "seed {seed}: {plain}");
        }
    }
    assert_eq!(server.hits_in_all(), asked + fresh_requests, "seed {seed}: nothing was fetched again");
}

#[test]
fn kills_of_remaking_runs_leave_every_row_an_image() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::start();
    let targets = (0..60).map(|n| format!("/sized/{}/{}/{n}.png", 40 + n, 30 + n % 7)).collect::<Vec<_>>();
    let urls = targets.iter().map(|target| server.url(target)).collect::<Vec<_>>();
    let ways: [&[&str]; 4] =
        [&[], &["--encode", "webp"], &["--resize", "32"], &["--resize", "20", "--encode", "jpeg", "--hash", "md5"]];
    let dir = TestDir::in_memory();
    assert_eq!(fetchimg().in_dir(&dir).lines(&urls).arg("-q").run().status, Some(0));
    let mut kills = 0;
    while kills < CHANGING_KILLS {
        let way = ways[random.usize(0..ways.len())];
        let ends = kills % 8 == 7;
        let mut running = fetchimg().in_dir(&dir).lines(&urls).args(["-q", "--remake"]).args(way).start();
        if !ends {
            std::thread::sleep(Duration::from_micros(random.u64(0..120_000)));
            let _ = running.child.kill();
        }
        let run = running.wait();
        kills += usize::from(ends || run.signal.is_some());
        if run.signal.is_none() {
            assert_is_fresh(&run, &urls, way, &format!("seed {seed}"));
        } else {
            let whole = run.files().iter().filter(|file| image::load_from_memory(&run.file(file)).is_ok()).count();
            assert_eq!(whole, run.files().len(), "seed {seed}: an image is not whole\n{run}");
            let plain = fetchimg().in_dir(&dir).lines(&urls).args(["--json", "--progress", "none"]).run();
            let saved = &plain.report()["modes"][0]["saved"];
            assert_eq!((plain.status, saved), (Some(0), &0.into()), "seed {seed}: a row has no image\n{plain}");
            assert_eq!((plain.files().len(), plain.leftovers()), (urls.len(), vec![]), "seed {seed}: {plain}");
        }
    }
}

/// A run of one image whose server stops in the middle of it, ended by that signal once half of it has come.
fn stopped_in_the_middle(server: &Server, target: &str, signals: &[&str]) -> Run {
    let mut running = fetchimg().lines([server.url(target)]).start();
    server.wait_for_hits(target, 1, MAX_WAIT);
    // Of the half that was sent, up to 64 KiB are in memory.
    wait_until("a part of the body", || {
        parts(running.dir()).iter().any(|part| part.metadata().unwrap().len() > 200_000)
    });
    for signal in signals {
        running.kill(signal);
        if *signal != "KILL" {
            running.wait_for_stderr("Stopping");
        }
    }
    running.wait()
}

fn finish(server: &Server, run: &Run, target: &str) -> Run {
    server.open_gate();
    fetchimg().in_dir(&run.dir).lines([server.url(target)]).args(["--retries", "0", "--json"]).run()
}

#[test]
fn a_killed_body_is_resumed() {
    for signals in [&["KILL"][..], &["INT", "INT"], &["TERM"]] {
        let server = Server::start();
        let target = "/gated-middle/600000/a.png";
        let stopped = stopped_in_the_middle(&server, target, signals);
        assert_eq!(stopped.files(), [""; 0], "{stopped}");
        assert_eq!(parts(&stopped.dir).len(), 1, "{stopped}");
        let run = finish(&server, &stopped, target);
        assert_eq!(run.status, Some(0), "{run}");
        assert!(run.file("a.png") == server.body(target), "{run}");
        let starts = starts(&server, target);
        assert!(matches!(*starts, [0, second] if second >= 200_000), "{signals:?} {starts:?}\n{run}");
        let record = run.record(0);
        assert_eq!((&record["resumed_from"], &record["attempts"]), (&starts[1].into(), &1.into()), "{run}");
        assert_eq!(record["bytes"], 600_000, "{run}");
        assert_eq!(run.leftovers(), [""; 0], "{run}");
        // The bytes of the first run are not received again.
        let mode = &run.report()["modes"][0];
        let (rate, wall) = (mode["bytes_per_second"].as_f64().unwrap(), mode["wall_seconds"].as_f64().unwrap());
        assert!(rate * wall < 410_000.0, "{mode}");
    }
}

#[test]
fn an_image_that_still_has_the_name_of_its_part_stays_whole() {
    let server = Server::start();
    let target = "/gated-middle/600000/a.png";
    let stopped = stopped_in_the_middle(&server, target, &["KILL"]);
    let [part] = &*parts(&stopped.dir) else { panic!("one part\n{stopped}") };
    let run = finish(&server, &stopped, target);
    // As if that run had been killed between two system calls: the image has its name, and the part is not removed yet.
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::hard_link(run.dir.join("images/a.png"), part).unwrap();
    let rerun = fetchimg().in_dir(&run.dir).lines([server.url(target)]).run();
    assert_eq!((rerun.status, &rerun.record(0)["status"]), (Some(0), &"skipped".into()), "{rerun}");
    assert!(rerun.file("a.png") == server.body(target), "{rerun}");
    assert_eq!(rerun.leftovers(), [""; 0], "{rerun}");
}

#[test]
fn a_body_in_memory_is_resumed_after_an_interrupt() {
    let server = Server::start();
    let target = "/gated-middle/200000/a.png";
    let mut running = fetchimg().lines([server.url(target)]).start();
    server.wait_for_hits(target, 1, MAX_WAIT);
    // During the grace period, everything that was sent has been received.
    running.kill("INT");
    let stopped = running.wait();
    assert_eq!((stopped.status, stopped.files().len()), (Some(130), 0), "{stopped}");
    let run = finish(&server, &stopped, target);
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.file("a.png") == server.body(target), "{run}");
    assert_eq!(starts(&server, target), [0, 100_000], "{run}");
    assert_eq!(run.leftovers(), [""; 0], "{run}");
}

/// A run of one image that breaks off in the middle and is not retried.
fn broken_off(server: &Server, target: &str) -> Run {
    let run = fetchimg().lines([server.url(target)]).args(["--retries", "0"]).run();
    assert_eq!((run.status, &run.record(0)["error"]), (Some(1), &"cut_short".into()), "{run}");
    run
}

#[test]
fn a_failed_body_is_resumed_by_the_next_run() {
    let server = Server::start();
    let target = "/etag-cut/1/600000/a.png";
    let broken = broken_off(&server, target);
    assert_eq!(parts(&broken.dir).len(), 1, "{broken}");
    let run = finish(&server, &broken, target);
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.file("a.png") == server.body(target), "{run}");
    assert_eq!(starts(&server, target), [0, 300_000], "{run}");
    assert_eq!(run.leftovers(), [""; 0], "{run}");
}

#[test]
fn a_body_that_has_changed_since_is_fetched_from_its_beginning() {
    // Another version, and a server that answers with other bytes than it was asked for; neither costs an attempt.
    for (target, requests) in [("/etag-changed/1/600000/a.png", 2), ("/bad-range/1/600000/a.png", 3)] {
        let server = Server::start();
        let broken = broken_off(&server, target);
        let run = finish(&server, &broken, target);
        assert_eq!(run.status, Some(0), "{target}\n{run}");
        assert!(run.file("a.png") == server.body(target), "{target}\n{run}");
        assert_eq!((&run.record(0)["resumed_from"], &run.record(0)["attempts"]), (&0.into(), &1.into()), "{run}");
        assert_eq!(starts(&server, target)[1], 300_000, "{target}\n{run}");
        assert_eq!(server.hits(target), requests, "{target}\n{run}");
        assert_eq!(run.leftovers(), [""; 0], "{target}\n{run}");
    }
}

#[test]
fn a_body_that_was_begun_before_a_loss_of_power_is_not_trusted() {
    let server = Server::start();
    let target = "/etag-cut/1/600000/a.png";
    let broken = broken_off(&server, target);
    let part = parts(&broken.dir).pop().unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot = boot.split('-').next().unwrap();
    let other = part.to_str().unwrap().replace(boot, "00000000");
    assert_ne!(part.to_str().unwrap(), other, "the name tells the boot");
    fs::rename(&part, other).unwrap();
    let run = finish(&server, &broken, target);
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.file("a.png") == server.body(target), "{run}");
    assert_eq!(starts(&server, target), [0, 0], "{run}");
    assert_eq!(run.leftovers(), [""; 0], "{run}");
}

#[test]
fn a_body_without_a_strong_validator_leaves_nothing_behind() {
    let server = Server::start();
    let broken = broken_off(&server, "/cut/600000/300000/a.png");
    assert_eq!(broken.leftovers(), [""; 0], "{broken}");
}

#[test]
fn other_bounds_hold_for_a_body_that_is_resumed() {
    let server = Server::start();
    let target = "/etag-cut/1/600000/a.png";
    for (flags, error) in [(["--max-bytes", "250000"], "too_large"), (["--accept", "jpeg"], "not_accepted")] {
        let server = Server::start();
        let broken = broken_off(&server, target);
        let run = fetchimg().in_dir(&broken.dir).lines([server.url(target)]).args(flags).run();
        assert_eq!((run.status, &run.record(0)["error"]), (Some(0), &error.into()), "{run}");
        assert_eq!(run.record(0)["status"], "refused", "{run}");
        assert_eq!(run.files(), [""; 0], "{run}");
        assert_eq!(run.leftovers(), [""; 0], "{run}");
    }
    drop(server);
}

#[test]
fn a_file_without_a_record_is_known_by_the_write_ahead_log() {
    let server = Server::start();
    let targets = ["/png/900/a.png", "/png/901/b.png", "/png/902/c.png"];
    let urls = targets.map(|target| server.url(target));
    let run = fetchimg().lines(&urls).run();
    assert_eq!(run.status, Some(0), "{run}");

    // As after a kill before the records are written: log, files, and no journal. The second file was replaced
    // by another one, and the third is not there yet.
    let journal = run.journal();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let note = |record: &serde_json::Value| {
        let path = run.output().join(record["path"].as_str().unwrap());
        let file = fs::metadata(path).unwrap();
        let modified = file.mtime() * 1_000_000_000 + file.mtime_nsec();
        serde_json::json!({"mark": {"inode": file.ino(), "modified": modified}, "record": record}).to_string() + "\n"
    };
    let notes = run.records().iter().map(note).collect::<String>();
    run.dir.write(format!("images/.fetchimg/intents/{}-000000.jsonl", boot.split('-').next().unwrap()), notes);
    fs::remove_file(&journal).unwrap();
    let theirs = run.output().join("theirs");
    fs::write(&theirs, vec![0; 901]).unwrap();
    fs::rename(theirs, run.output().join("b.png")).unwrap();
    fs::remove_file(run.output().join("c.png")).unwrap();

    let again = fetchimg().in_dir(&run.dir).lines(&urls).arg("--json").run();
    assert_eq!(again.status, Some(0), "{again}");
    let skipped = &again.report()["modes"][0]["skipped_by_reason"];
    assert_eq!(skipped, &serde_json::json!({"already_saved": 1, "file_exists": 1}), "{again}");
    assert!(again.file("c.png") == server.body(targets[2]), "{again}");
    assert_eq!(targets.map(|target| server.hits(target)), [1, 1, 2], "{again}");
    assert_eq!(again.leftovers(), [""; 0], "{again}");
    let saved = again.records().into_iter().filter(|record| record["status"] == "saved");
    assert_eq!(saved.filter(|record| record["path"] == "a.png").count(), 1, "{again}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_link_in_the_place_of_the_write_ahead_log_leads_nowhere() {
    let server = Server::start();
    let dir = TestDir::new();
    let precious = dir.write("elsewhere/precious.jsonl", "{}");
    fs::create_dir_all(dir.join("images/.fetchimg")).unwrap();
    std::os::unix::fs::symlink(dir.join("elsewhere"), dir.join("images/.fetchimg/intents")).unwrap();
    let run = fetchimg().in_dir(&dir).lines([server.url("/png/300/a.png")]).run();
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("a link to one"), "{run}");
    assert!(precious.exists(), "{run}");
}
