//! Output folders of versions before 0.2, which had everything in `.fetchimg`: they are read, continued and converted.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::{JOURNAL, RUNS, Run, Server, TestDir, fetchimg, make_older};

const MAX_WAIT: Duration = Duration::from_secs(120);

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Everything that is hidden in the output folder.
fn hidden(run: &Run) -> Vec<String> {
    run.all_files().into_iter().filter(|file| file.starts_with('.')).collect()
}

#[test]
fn an_older_folder_is_continued_and_converted_and_a_dry_run_leaves_it_alone() {
    let server = Server::start();
    let urls = ["/png/300/a.png", "/png/200000/b.png", "/status/404/c.png"].map(|target| server.url(target));
    let whole = fetchimg().lines(&urls[..2]).run();
    let first = fetchimg().in_dir(&whole.dir).lines(&urls).run();
    assert_eq!((whole.status, first.status), (Some(0), Some(1)), "{first}");
    let (records, times) = (lines(&first.journal()), lines(&first.output().join(RUNS)));
    assert_eq!((records.len(), times.len()), (5, 1), "{first}");
    make_older(first.output());

    let files = first.all_files();
    let asked = server.requests().len();
    let plan = fetchimg().in_dir(&first.dir).lines(&urls).args(["--dry-run", "--json"]).run();
    assert_eq!(plan.report()["skipped_by_reason"]["already_saved"], 2, "{plan}");
    assert_eq!((plan.all_files(), server.requests().len()), (files, asked), "{plan}");

    let again = fetchimg().in_dir(&first.dir).lines(&urls).run();
    assert_eq!((again.status, server.requests().len()), (Some(1), asked + 1), "only the third is asked for\n{again}");
    assert_eq!(hidden(&again), [JOURNAL, RUNS], "{again}");
    assert_eq!(lines(&again.journal())[..5], records, "{again}");
    assert_eq!(lines(&again.output().join(RUNS)), times, "{again}");
    assert!(!again.output().join(".fetchimg").exists(), "{again}");
}

#[test]
fn an_unfinished_body_of_an_older_version_is_resumed() {
    let elsewhere = TestDir::in_memory();
    for state in [None, Some(elsewhere.join("state"))] {
        let server = Server::start();
        let url = server.url("/etag-cut/1/600000/a.png");
        let broken = fetchimg().lines([&url]).args(["--retries", "0"]).run();
        assert_eq!(broken.leftovers().len(), 1, "{broken}");
        make_older(broken.output());
        let mut again = fetchimg().in_dir(&broken.dir).lines([&url]);
        if let Some(state) = &state {
            again = again.arg("--state").arg(state);
        }
        let again = again.run();
        assert_eq!((again.status, again.leftovers().len()), (Some(0), 0), "{again}");
        assert!(again.file("a.png") == server.body("/etag-cut/1/600000/a.png"), "{again}");
        let journal = state.map_or(again.journal(), |state| state.join("journal.jsonl"));
        assert!(lines(&journal).last().unwrap().contains("\"resumed_from\":300000"), "{again}");
    }
}

#[test]
fn a_run_of_an_older_version_is_noticed_and_notices_this_one() {
    let server = Server::start();
    let dir = TestDir::new();
    let lock = dir.write("images/.fetchimg/lock", "");
    let older = fs::File::open(&lock).unwrap();
    older.lock().unwrap();
    for state in [&[][..], &["--state", "state"]] {
        let run = fetchimg().in_dir(&dir).lines([server.url("/png/300/a.png")]).args(state).run();
        assert_eq!((run.status, server.requests().len()), (Some(3), 0), "{run}");
        assert!(run.stderr.starts_with("fetchimg: another fetchimg is working in images"), "{run}");
        assert!(lock.exists() && !run.output().join(JOURNAL).exists(), "{run}");
    }
    drop(older);

    let running = fetchimg().in_dir(&dir).lines([server.url("/gated/300/a.png")]).start();
    server.wait_for_hits("/gated", 1, MAX_WAIT);
    fs::File::open(&lock).unwrap().try_lock().expect_err("an older version would be refused");
    server.open_gate();
    let run = running.wait();
    assert_eq!((run.status, run.files()), (Some(0), vec!["a.png".to_owned()]), "{run}");
    assert!(!lock.exists(), "{run}");
}

#[test]
fn of_two_journals_the_newer_counts_where_it_has_all_of_the_older() {
    let server = Server::start();
    let urls = ["/png/300/a.png", "/png/301/b.png"].map(|target| server.url(target));
    let first = fetchimg().lines(&urls).arg("--sequential").run();
    let journal = fs::read(first.journal()).unwrap();
    let half = journal.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    // As after a kill between the copy and the removal, after a kill before anything was recorded, and with less in the older.
    for (older, newer) in [
        (&journal[..], &journal[..]),
        (&journal, b""),
        (&journal[..half], &journal),
        (&journal[..half + 9], &journal),
        (b"", &journal),
    ] {
        fs::create_dir_all(first.output().join(".fetchimg")).unwrap();
        fs::write(first.output().join(".fetchimg/manifest.jsonl"), older).unwrap();
        fs::write(first.journal(), newer).unwrap();
        let plan = fetchimg().in_dir(&first.dir).lines(&urls).args(["--dry-run", "--json"]).run();
        assert_eq!(plan.report()["skipped_by_reason"]["already_saved"], 2, "{plan}");
        let again = fetchimg().in_dir(&first.dir).lines(&urls).run();
        assert_eq!((again.status, hidden(&again)), (Some(0), vec![JOURNAL.into(), RUNS.into()]), "{again}");
        assert_eq!(again.records().len(), 4, "{again}");
        assert!(fs::read(again.journal()).unwrap().starts_with(&journal), "{again}");
    }
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn what_an_older_version_has_saved_since_is_known_too() {
    let server = Server::start();
    let urls = ["/png/300/a.png", "/png/301/b.png", "/png/302/c.png"].map(|target| server.url(target));
    let first = fetchimg().lines(&urls).arg("--sequential").run();
    let records = lines(&first.journal());
    // The older version knows nothing of the first two.
    fs::write(first.journal(), records[..2].join("\n") + "\n").unwrap();
    let kept =
        |index: usize| records[index].replace(r#""status":"saved""#, r#""status":"skipped","reason":"file_exists""#);
    let older = [kept(0), kept(1), records[2].clone()];
    let write_older = || first.dir.write("images/.fetchimg/manifest.jsonl", older.join("\n") + "\n");
    let older_journal = write_older();
    let plan = fetchimg().in_dir(&first.dir).lines(&urls).args(["--dry-run", "--json"]).run();
    assert_eq!(plan.report()["skipped_by_reason"]["already_saved"], 3, "{plan}");
    assert!(older_journal.exists(), "{plan}");
    for _ in 0..2 {
        let again = fetchimg().in_dir(&first.dir).lines(&urls).run();
        assert_eq!((again.status, server.requests().len()), (Some(0), 3), "{again}");
        assert_eq!((again.leftovers(), again.files().len()), (vec![], 3), "{again}");
        assert!(lines(&again.journal()).contains(&records[2]), "{again}");
        // As after a kill before it was removed.
        write_older();
    }
    // Whose files are set aside cannot be told then.
    let aside = first.dir.write("images/.fetchimg/aside/7/a.png", "a picture");
    fs::write(&older_journal, older.join("\n").repeat(3)).unwrap();
    let refused = fetchimg().in_dir(&first.dir).lines(&urls).run();
    assert_eq!(refused.status, Some(3), "{refused}");
    assert!(refused.stderr.contains("run the older version once more"), "{refused}");
    assert!(aside.exists() && older_journal.exists(), "{refused}");
}

/// The number of kills of runs that convert a folder.
const KILLS: usize = 60;

#[test]
fn kills_of_a_conversion_lose_no_record() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::start();
    let urls = (0..20).map(|n| server.url(&format!("/png/{}/{n}.png", 300 + n))).collect::<Vec<_>>();
    let first = fetchimg().in_dir(&TestDir::new()).lines(&urls).run();
    assert_eq!(first.status, Some(0), "{first}");
    // Many records, so that a copy takes a while.
    let other = |row: usize| {
        format!(
            r#"{{"index":{row},"url":"http://other.example/{row}","status":"failed","error":"dns","message":"no","retryable":true,"attempts":1}}"#
        )
    };
    let records = lines(&first.journal()).into_iter().chain((20..20_020).map(other)).collect::<Vec<_>>();
    fs::write(first.journal(), records.join("\n") + "\n").unwrap();
    let expected = records.iter().cloned().collect::<BTreeSet<_>>();
    // On another file system, the journal is copied.
    let elsewhere = TestDir::in_memory();
    let state = elsewhere.join("state");
    let older = first.output().join(".fetchimg/manifest.jsonl");
    let places = [older.clone(), first.journal(), state.join("journal.jsonl")];
    let (mut kills, mut converted) = (0, 0);
    while kills < KILLS {
        let flags = if random.bool() { vec!["--state".into(), state.clone()] } else { Vec::<PathBuf>::new() };
        let program = || fetchimg().in_dir(&first.dir).lines(&urls).arg("-q").args(flags.clone());
        for place in &places {
            let _ = fs::remove_file(place);
        }
        first.dir.write("images/.fetchimg/manifest.jsonl", records.join("\n") + "\n");
        for _ in 0..3 {
            let begin = Instant::now();
            let mut running = program().start();
            std::thread::sleep(Duration::from_micros(random.u64(0..150_000)));
            let _ = running.child.kill();
            let run = running.wait();
            kills += 1;
            let has_all = |place: &PathBuf| lines(place).into_iter().collect::<BTreeSet<_>>().is_superset(&expected);
            let elapsed = begin.elapsed();
            assert!(places.iter().any(has_all), "seed {seed}: records are lost after {elapsed:?}\n{run}");
        }
        converted += usize::from(!older.exists());
        let run = program().run();
        assert_eq!((run.status, server.requests().len()), (Some(0), urls.len()), "seed {seed}: {run}");
        assert_eq!(run.leftovers(), [""; 0], "seed {seed}: {run}");
        assert_eq!(places.iter().filter(|place| place.exists()).count(), 1, "seed {seed}: {run}");
    }
    assert!(converted > 0, "seed {seed}: no killed run got as far as that");
}
