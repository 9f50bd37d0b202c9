//! `--state`: what is hidden in the output folder otherwise is in a folder of its own, perhaps on another file system.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::common::{JOURNAL, Program, RUNS, Run, Server, TestDir, fetchimg};

const MAX_WAIT: Duration = Duration::from_secs(120);

/// The program with this state folder.
fn with_state(dir: &TestDir, state: &Path) -> Program {
    fetchimg().in_dir(dir).arg("--state").arg(state)
}

/// The records in a state folder.
fn records(state: &Path) -> Vec<Value> {
    let journal = fs::read_to_string(state.join("journal.jsonl")).unwrap();
    journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect::<Vec<_>>();
    names.sort();
    names
}

/// Asserts that a run has left images and nothing else in its output folder, and files in its state folder.
#[track_caller]
fn assert_is_clean(run: &Run, state: &Path) {
    assert_eq!(run.all_files(), run.files(), "{run}");
    assert!(!run.output().join(".fetchimg").exists(), "{run}");
    let names = names(state);
    let may_be = ["journal.jsonl", "output", "runs.jsonl"];
    assert!(names.iter().all(|name| may_be.contains(&name.as_str())), "{names:?}\n{run}");
    assert!(names.len() >= 2, "{names:?}\n{run}");
}

/// A folder for the program, and one on another file system, if there is one.
fn two_file_systems() -> (TestDir, TestDir) {
    (TestDir::new(), TestDir::in_memory())
}

#[test]
fn nothing_is_hidden_in_the_output_folder_and_a_second_run_goes_on() {
    let server = Server::start();
    let urls = ["/png/300/a.png", "/png/600000/b.png", "/png/301/c.png"].map(|target| server.url(target));
    let (dir, other) = two_file_systems();
    for state in [dir.join("new/state"), other.join("new/state")] {
        let before = server.requests().len();
        let first = with_state(&dir, &state).lines(&urls[..2]).run();
        assert_eq!((first.status, records(&state).len()), (Some(0), 2), "{first}");
        let again = with_state(&dir, &state).lines(&urls).args(["--json", "--manifest", "records.jsonl"]).run();
        let mode = &again.report()["modes"][0];
        assert_eq!((again.status, &mode["saved"], &mode["skipped"]), (Some(0), &1.into(), &2.into()), "{again}");
        assert_eq!(server.requests().len(), before + 3, "{again}");
        assert_eq!(records(&state).len(), 5, "{again}");
        for (file, target) in [("a.png", "/png/300/a.png"), ("b.png", "/png/600000/b.png")] {
            assert!(again.file(file) == server.body(target), "{file}\n{again}");
        }
        let plan = with_state(&dir, &state).lines(&urls).args(["--dry-run", "--json"]).run();
        assert_eq!(plan.report()["skipped_by_reason"]["already_saved"], 3, "{plan}");
        let refused = with_state(&dir, &state).lines(&urls).arg("--manifest").arg(state.join("journal.jsonl")).run();
        assert!(refused.stderr.contains("fetchimg keeps its own records there"), "{refused}");
        assert_is_clean(&again, &state);
        fs::remove_dir_all(first.output()).unwrap();
    }
}

#[test]
fn a_state_folder_serves_one_output_folder() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    let dir = TestDir::new();
    let state = dir.join("state");
    let first = with_state(&dir, &state).lines([&url]).run();
    assert_eq!(first.status, Some(0), "{first}");
    for flags in [&["-o", "other"][..], &["-o", "other", "--dry-run"], &["-o", "images/below"]] {
        let run = with_state(&dir, &state).lines([&url]).args(flags).run();
        assert_eq!((run.status, run.stderr.lines().count()), (Some(3), 1), "{run}");
        assert!(run.stderr.contains("it is the state of the output folder"), "{run}");
        assert_eq!(server.requests().len(), 1, "{run}");
    }
    let same = with_state(&dir, &state).lines([&url]).args(["-o", "./state/../images/"]).run();
    assert_eq!((same.status, server.requests().len()), (Some(0), 1), "{same}");
    for (own, sentence) in [
        ("images", "it is the output folder"),
        ("images/.fetchimg", "it is the output folder"),
        ("images/state", "it is inside the output folder"),
        ("images/.state", "it is inside the output folder"),
    ] {
        let before = names(&dir.join("images"));
        let run = with_state(&dir, &dir.join(own)).lines([&url]).run();
        assert_eq!((run.status, run.stderr.lines().count()), (Some(3), 1), "{run}");
        assert!(run.stderr.contains(sentence), "{run}");
        assert_eq!(names(&dir.join("images")), before, "nothing is made there\n{run}");
    }
    dir.write("file", "a file");
    let run = with_state(&dir, &dir.join("file")).lines([&url]).run();
    assert_eq!((run.status, run.stderr.lines().count()), (Some(3), 1), "{run}");
}

#[test]
fn one_run_at_a_time_holds_it() {
    let server = Server::start();
    let dir = TestDir::new();
    let state = dir.join("state");
    let running = with_state(&dir, &state).lines([server.url("/gated/300/a.png")]).start();
    server.wait_for_hits("/gated", 1, MAX_WAIT);
    let busy = with_state(&dir, &state).arg(server.url("/png/300/b.png")).run();
    assert_eq!(busy.status, Some(3), "{busy}");
    assert!(busy.stderr.starts_with("fetchimg: another fetchimg is working in images"), "{busy}");
    assert_eq!(names(&dir.join("images")), [""; 0], "nothing is hidden in the output folder meanwhile");
    server.open_gate();
    let run = running.wait();
    assert_eq!(run.status, Some(0), "{run}");
    assert_is_clean(&run, &state);
}

#[test]
fn what_a_run_without_it_has_hidden_moves_there() {
    let server = Server::start();
    let urls = ["/png/300/a.png", "/png/301/b.png"].map(|target| server.url(target));
    let other = TestDir::in_memory();
    for is_elsewhere in [false, true] {
        let first = fetchimg().lines(&urls).run();
        let asked = server.requests().len();
        let state = if is_elsewhere { other.join("state") } else { first.dir.join("state") };
        let journal = first.records();
        let plan = with_state(&first.dir, &state).lines(&urls).args(["--dry-run", "--json"]).run();
        assert_eq!(plan.report()["skipped_by_reason"]["already_saved"], 2, "{plan}");
        assert!(!state.exists(), "{plan}");
        let second = with_state(&first.dir, &state).lines(&urls).run();
        assert_eq!((second.status, server.requests().len()), (Some(0), asked), "{second}");
        assert_eq!(records(&state)[..2], journal, "{second}");
        assert!(fs::metadata(state.join("runs.jsonl")).unwrap().len() > 0, "{second}");
        assert!(!second.output().join(JOURNAL).exists() && !second.output().join(RUNS).exists(), "{second}");
        assert_is_clean(&second, &state);
    }
}

#[test]
fn images_of_any_size_reach_another_file_system_in_every_way() {
    let server = Server::start();
    let targets =
        ["/png/300/small.png", "/png/600000/large.png", "/jpeg/one.jpg", "/jpeg/two.jpg", "/png/700000/deep/x"];
    let urls = targets.map(|target| server.url(target));
    let ways = [
        &[][..],
        &["--fsync"],
        &["--compare"],
        &["--overwrite"],
        &["--overwrite", "--name", "{index}.{ext}"],
        &["--overwrite", "--dedupe"],
        &["--overwrite", "--fsync", "--name", "{host}/{index/2}-{basename}"],
        &["--overwrite", "--dedupe", "--name", "{sha256:0:2}/{basename}"],
    ];
    let (dir, other) = two_file_systems();
    // Each of the two is the output once.
    for (dir, state) in [(&dir, other.join("state")), (&other, dir.join("state"))] {
        for way in ways {
            let run = with_state(dir, &state).lines(&urls).args(way).run();
            assert_eq!(run.status, Some(0), "{way:?}\n{run}");
            assert_is_clean(&run, &state);
            for (index, target) in targets.iter().enumerate() {
                let all = records(&state);
                let is_saved = |record: &&Value| record["index"] == index && record["status"] == "saved";
                let path = all.iter().rev().find(is_saved).unwrap()["path"].as_str().unwrap().to_owned();
                assert!(run.file(&path) == server.body(target), "{way:?} {path}\n{run}");
            }
            let files = run.files();
            let fresh = fetchimg().lines(&urls).args(way).run().files();
            assert_eq!(files, fresh, "{way:?}\n{run}");
        }
    }
}

#[test]
fn a_body_in_the_state_folder_is_resumed() {
    let server = Server::start();
    let target = "/etag-cut/1/600000/a.png";
    let (dir, other) = two_file_systems();
    let state = other.join("state");
    let broken = with_state(&dir, &state).lines([server.url(target)]).args(["--retries", "0"]).run();
    assert_eq!((broken.status, broken.all_files()), (Some(1), vec![]), "{broken}");
    assert_eq!(names(&state.join("parts")).len(), 1, "{broken}");
    let run = with_state(&dir, &state).lines([server.url(target)]).run();
    assert_eq!((run.status, &records(&state).last().unwrap()["resumed_from"]), (Some(0), &300_000.into()), "{run}");
    assert!(run.file("a.png") == server.body(target), "{run}");
    assert_is_clean(&run, &state);
}

/// The number of kills.
const KILLS: usize = 30;

#[test]
fn kills_leave_nothing_wrong_and_nothing_is_asked_for_twice() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::start();
    let (mut kills, mut round) = (0, 0);
    while kills < KILLS {
        let (other, dir) = two_file_systems();
        let state = other.join("state");
        let targets = (0..120)
            .map(|n| format!("/png/{}/{round}/{n}.png", if n % 3 == 0 { 300_000 + n } else { 300 + n }))
            .collect::<Vec<_>>();
        let urls = targets.iter().map(|target| server.url(target)).collect::<Vec<_>>();
        let path = |file: &str| PathBuf::from(file);
        let mut there = Vec::<(String, usize)>::new();
        let last = loop {
            let asked = server.hits_in_all();
            let mut running = with_state(&dir, &state).lines(&urls).args(["-q", "-j", "10"]).start();
            if kills < KILLS {
                server.wait_for_hits_in_all(asked + random.usize(0..(120 - there.len()).clamp(1, 30)), MAX_WAIT);
                std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
                let _ = running.child.kill();
            }
            let run = running.wait();
            kills += usize::from(run.signal.is_some());
            for file in run.files() {
                if there.iter().any(|(known, _)| *known == file) {
                    continue;
                }
                let target = targets.iter().find(|target| path(target).file_name() == path(&file).file_name()).unwrap();
                assert!(run.file(&file) == server.body(target), "seed {seed}: {file} is wrong\n{run}");
                there.push((file, server.hits(target)));
            }
            if run.signal.is_none() {
                break run;
            }
        };
        assert_eq!((last.status, last.files().len()), (Some(0), targets.len()), "seed {seed}: {last}");
        for (file, hits) in &there {
            let target = targets.iter().find(|target| path(target).file_name() == path(file).file_name()).unwrap();
            assert_eq!(server.hits(target), *hits, "seed {seed}: {file} was there, and was asked for again\n{last}");
        }
        assert_is_clean(&last, &state);
        round += 1;
    }
}
