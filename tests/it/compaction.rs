//! The journal is written anew when most of it is superseded, and nothing of what it says is lost.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use crate::common::{Run, Server, TestDir, fetchimg};

/// The saved records of a journal, as lines.
fn saved(run: &Run) -> Vec<String> {
    let journal = fs::read_to_string(run.journal()).unwrap();
    journal.lines().filter(|line| line.contains(r#""status":"saved""#)).map(str::to_owned).collect()
}

#[test]
fn a_journal_does_not_grow_with_every_run() {
    let server = Server::start();
    let targets = ["/png/300/a.png", "/png/200000/b.png", "/status/404/c.png", "/png/300/a.png"];
    let urls = targets.map(|target| server.url(target));
    let first = fetchimg().lines(&urls).run();
    assert_eq!((first.status, first.records().len()), (Some(1), 4), "{first}");
    let known = saved(&first);
    fs::set_permissions(first.journal(), fs::Permissions::from_mode(0o600)).unwrap();
    let mut lengths = Vec::new();
    for _ in 0..12 {
        let journal = fs::read(first.journal()).unwrap();
        let plan = fetchimg().in_dir(&first.dir).lines(&urls).args(["--dry-run", "--json"]).run();
        assert_eq!(plan.report()["skipped_by_reason"]["already_saved"], 2, "{plan}");
        assert_eq!(fs::read(first.journal()).unwrap(), journal, "a dry run changes nothing\n{plan}");
        let run = fetchimg().in_dir(&first.dir).lines(&urls).run();
        assert_eq!(run.status, Some(1), "{run}");
        let outcomes = run.outcomes();
        let expected = ["skipped already_saved a.png", "skipped already_saved b.png", "failed http_status 404"];
        assert_eq!(outcomes[..3], expected, "this run has its records\n{run}");
        assert_eq!(saved(&run), known, "and what is saved is known as before\n{run}");
        lengths.push(run.records().len());
    }
    assert_eq!(lengths.iter().max(), Some(&12), "{lengths:?}");
    assert!(lengths.windows(2).any(|two| two[1] < two[0]), "{lengths:?}");
    assert_eq!(server.hits(targets[0]) + server.hits(targets[1]), 2);
    assert_eq!(fs::metadata(first.journal()).unwrap().mode() & 0o777, 0o600, "no other user may read it");
}

#[test]
fn rows_that_move_in_the_list_keep_their_files_and_get_their_new_numbers() {
    let server = Server::start();
    let dir = TestDir::new();
    let csv = |day: usize| {
        let rows = (0..=day).rev().map(|n| format!("{},{day}\n", server.url(&format!("/png/{}/{n}.png", 300 + n))));
        format!("url,day\n{}", rows.collect::<String>())
    };
    let mut lengths = Vec::new();
    for day in 0..12 {
        dir.write("list.csv", csv(day));
        let run = fetchimg().in_dir(&dir).arg("list.csv").run();
        assert_eq!((run.status, run.files().len()), (Some(0), day + 1), "{run}");
        lengths.push(run.records().len());
    }
    assert!(*lengths.last().unwrap() < 50, "{lengths:?}");
    assert_eq!(server.requests().len(), 12);
    // An overwriting run knows all files by their names.
    let run = fetchimg().in_dir(&dir).args(["list.csv", "--overwrite", "--name", "{index}.png"]).run();
    let expected = fetchimg().in_dir(&TestDir::new()).stdin(csv(11)).args(["-", "--name", "{index}.png"]);
    let expected = expected.args(["--input-format", "csv"]).run();
    assert_eq!((run.status, run.files()), (Some(0), expected.files()), "{run}");
}

#[test]
fn files_of_rows_with_one_url_are_all_known_after_runs_of_either_kind() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    let dir = TestDir::new();
    for flags in [&["--keep-duplicates"][..], &[], &[], &[], &[], &["--keep-duplicates"], &["--keep-duplicates"]] {
        let run = fetchimg().in_dir(&dir).lines([&url; 3]).args(["--name", "{index}.png"]).args(flags).run();
        assert_eq!((run.status, run.files().len()), (Some(0), 3), "{run}");
        assert_eq!(server.requests().len(), 3, "{run}");
    }
}

/// The number of kills.
const KILLS: usize = 40;

#[test]
fn kills_of_a_compaction_lose_nothing() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::start();
    let urls = (0..20).map(|n| server.url(&format!("/png/{}/{n}.png", 300 + n))).collect::<Vec<_>>();
    let first = fetchimg().in_dir(&TestDir::in_memory()).lines(&urls).run();
    assert_eq!(first.status, Some(0), "{first}");
    let own = saved(&first);
    let other = |row: usize, what: &str| format!(r#"{{"index":{row},"url":"http://other.example/{row}",{what}}}"#);
    let others = (20..1020).map(|row| other(row, &format!(r#""status":"saved","path":"{row}.png","bytes":7"#)));
    let living = own.iter().cloned().chain(others).collect::<Vec<_>>();
    let repeated = (20..1020)
        .map(|row| other(row, &format!(r#""status":"skipped","reason":"already_saved","path":"{row}.png""#)))
        .collect::<Vec<_>>();
    let bloated = [&living[..], &repeated, &repeated, &repeated].concat().join("\n") + "\n";
    let expected = living.iter().cloned().collect::<BTreeSet<_>>();
    let (mut kills, mut compacted, mut in_between) = (0, 0, 0);
    let copy = first.output().join(".fetchimg/journal.copy");
    while kills < KILLS {
        fs::write(first.journal(), &bloated).unwrap();
        for _ in 0..2 {
            let mut running = fetchimg().in_dir(&first.dir).lines(&urls).arg("-q").start();
            // Half of them when the new journal is being written.
            let is_awaited = random.bool();
            while is_awaited && running.is_running() && !copy.exists() {
                std::thread::sleep(Duration::from_micros(100));
            }
            let most = if is_awaited { 300_000 } else { 100_000 };
            std::thread::sleep(Duration::from_micros(random.u64(0..most)));
            let _ = running.child.kill();
            let run = running.wait();
            kills += usize::from(run.signal.is_some());
            in_between += usize::from(copy.exists());
            let found =
                fs::read_to_string(first.journal()).unwrap().lines().map(str::to_owned).collect::<BTreeSet<_>>();
            assert!(found.is_superset(&expected), "seed {seed}: records are lost\n{run}");
        }
        compacted += usize::from(fs::metadata(first.journal()).unwrap().len() < bloated.len() as u64 / 2);
        let run = fetchimg().in_dir(&first.dir).lines(&urls).run();
        assert_eq!((run.status, server.requests().len()), (Some(0), urls.len()), "seed {seed}: {run}");
        assert_eq!(run.leftovers(), [""; 0], "seed {seed}: {run}");
        assert!(run.records().len() < living.len() * 2, "seed {seed}: {run}");
    }
    assert!(compacted > 0, "seed {seed}: no killed run got as far as that");
    assert!(in_between > 0, "seed {seed}: no run was killed while it wrote the new journal");
}
