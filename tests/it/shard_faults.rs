//! Sets of shards that meet full disks, torn files, other lists and wrong flags.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::common::sets::{table, tar_entries};
use crate::common::{Program, Run, Server, TestDir, fetchimg, wait_until};

const SET: [&str; 4] = ["-o", "set", "--output-format", "webdataset"];

fn urls(server: &Server, rows: usize) -> Vec<String> {
    (0..rows).map(|n| server.url(&format!("/png/{}/{n}.png", 300 + n))).collect()
}

/// A shell command with the program in it.
fn shell(dir: &TestDir, command: &str) -> Run {
    let program = env!("CARGO_BIN_EXE_fetchimg");
    Program::new("sh").args(["-c", &command.replace("fetchimg", program)]).in_dir(dir).run()
}

fn verify(dir: &TestDir, folder: &str) -> Run {
    fetchimg().args(["--verify-output", "-o", folder]).in_dir(dir).run()
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_full_ends_the_run_and_no_row_fails_for_good() {
    let (server, dir) = (Server::start(), TestDir::new());
    let urls = (0..40).map(|n| server.url(&format!("/png/20000/{n}.png"))).collect::<Vec<_>>();
    dir.write("list.txt", urls.join("\n"));
    let command = "fetchimg list.txt -o set --output-format webdataset --shard-size 20 -q -j 4";
    // No file may become larger than 200 KB, as if the disk were full then.
    let full = shell(&dir, &format!("trap '' XFSZ; ulimit -f 400; {command}"));
    assert_eq!(full.status, Some(3), "{full}");
    assert!(full.stderr.contains("stopped, because images cannot be stored in set"), "{full}");
    assert!(!dir.join("set/00000_stats.json").exists(), "{full}");
    let asked = server.hits_in_all();
    let whole = shell(&dir, command);
    assert_eq!(whole.status, Some(0), "{whole}");
    for shard in ["00000", "00001"] {
        assert_eq!(tar_entries(&dir.read(format!("set/{shard}.tar"))).len(), 40, "{whole}");
        let rows = table(dir.read(format!("set/{shard}.parquet"))).1;
        assert!(rows.iter().all(|row| row["status"] == "success"), "{rows:?}");
    }
    assert!(server.hits_in_all() < asked + 40, "what was complete is not asked for again");
    assert_eq!(verify(&dir, "set").status, Some(0));
}

#[test]
fn a_torn_marker_is_none_and_one_of_another_program_is_left_alone() {
    let (server, dir) = (Server::start(), TestDir::new());
    let make = || fetchimg().lines(urls(&server, 4)).args(SET).args(["--shard-size", "1"]).in_dir(&dir).run();
    assert_eq!(make().status, Some(0));
    let path = |name: &str| dir.join("set").join(name);
    let marker = dir.read("set/00001_stats.json");
    fs::write(path("00001_stats.json"), &marker[..marker.len() / 2]).unwrap();
    fs::write(path("00002_stats.json"), "").unwrap();
    let damaged = verify(&dir, "set");
    assert_eq!(damaged.status, Some(1), "{damaged}");
    for shard in ["00001", "00002"] {
        let line =
            format!("{shard}: its marker is empty or torn, so the shard is no part of the set; the same command");
        assert!(damaged.stdout.contains(&line), "{damaged}");
    }
    let hits = server.hits_in_all();
    assert_eq!((make().status, server.hits_in_all()), (Some(0), hits + 2));
    assert_eq!(verify(&dir, "set").status, Some(0));
    fs::write(path("00003_stats.json"), "{\"count\": 10000, \"successes\": 9000}").unwrap();
    let refused = make();
    assert_eq!((refused.status, server.hits_in_all()), (Some(3), hits + 2), "{refused}");
    assert!(refused.stderr.contains("but one of another program; choose another folder with -o"), "{refused}");
}

#[test]
fn a_damaged_or_missing_set_file_is_named_with_what_to_do() {
    let (server, dir) = (Server::start(), TestDir::new());
    let make = |flags: &[&str]| fetchimg().lines(urls(&server, 2)).args(SET).args(flags).in_dir(&dir).run();
    assert_eq!(make(&[]).status, Some(0));
    let file = dir.join("set/.fetchimg.set.json");
    let whole = fs::read(&file).unwrap();
    let retry = || fetchimg().args(["--retry-failed", "-o", "set"]).in_dir(&dir).run();
    for text in [&b""[..], &whole[..10]] {
        fs::write(&file, text).unwrap();
        for run in [make(&[]), retry(), make(&["--dry-run"])] {
            assert_eq!(run.status, Some(3), "{run}");
            assert!(run.stderr.contains(".fetchimg.set.json: it is empty or damaged; remove it, and run"), "{run}");
        }
        let verified = verify(&dir, "set");
        assert_eq!(verified.status, Some(1), "{verified}");
        assert!(verified.stdout.contains(".fetchimg.set.json: it is empty or damaged; remove it"), "{verified}");
    }
    fs::remove_file(&file).unwrap();
    let again = retry();
    assert_eq!(again.status, Some(3), "{again}");
    assert!(again.stderr.contains("it is missing, so it is not known how the shards were made"), "{again}");
    let verified = verify(&dir, "set");
    assert!(
        verified.stdout.contains(".fetchimg.set.json: it is missing; the command that makes the set"),
        "{verified}"
    );
    // Other options do not become those of the set.
    assert_eq!(make(&["--resize", "16"]).status, Some(3));
    assert!(!file.exists());
    assert_eq!(make(&[]).status, Some(0));
    assert_eq!(fs::read(&file).unwrap(), whole);
}

#[test]
fn a_run_that_makes_a_set_anew_changes_nothing_until_it_has_a_shard() {
    let (server, dir) = (Server::start(), TestDir::new());
    let list = urls(&server, 2);
    let make = |flags: &[&str]| fetchimg().lines(&list).args(SET).args(flags).in_dir(&dir).run();
    assert_eq!(make(&[]).status, Some(0));
    let file = dir.join("set/.fetchimg.set.json");
    let before = fs::read(&file).unwrap();
    let refused = make(&["--overwrite", "--resize", "16", "--report", "nowhere/report.json"]);
    assert_eq!(refused.status, Some(3), "{refused}");
    assert_eq!(fs::read(&file).unwrap(), before, "{refused}");
    let flags = ["--overwrite", "--resize", "16", "--shard-size", "2"];
    let mut killed = fetchimg().lines([server.url("/gated/500/a.png"), server.url("/gated/500/b.png")]);
    killed = killed.args(SET).args(flags).in_dir(&dir);
    let mut running = killed.start();
    server.wait_for_hits_in_all(4, std::time::Duration::from_secs(120));
    let _ = running.child.kill();
    running.wait();
    assert_eq!(fs::read(&file).unwrap(), before, "no shard was made anew");
    assert_eq!(verify(&dir, "set").stdout.lines().filter(|line| !line.contains("not complete")).count(), 1);
    server.open_gate();
    let anew = make(&["--overwrite", "--resize", "16"]);
    assert_eq!(anew.status, Some(0), "{anew}");
    assert!(String::from_utf8(fs::read(&file).unwrap()).unwrap().contains("resize"), "{anew}");
}

#[test]
fn digests_that_are_asked_for_are_columns_and_records_are_read_back_with_them() {
    let (server, dir) = (Server::start(), TestDir::new());
    let list = [server.url("/photo/64/32/a"), server.url("/status/404/b"), server.url("/photo/64/32/a")];
    let flags = ["--hash", "md5,blake3", "--phash", "--resize", "16", "--manifest", "all.jsonl"];
    for format in ["webdataset", "parquet"] {
        let make = |folder: &str, flags: &[&str]| {
            let run = fetchimg().lines(&list).args(["-o", folder, "--output-format", format]).args(flags);
            run.in_dir(&dir).run()
        };
        assert_eq!(make(format, &flags).status, Some(1));
        let records = || {
            let text = String::from_utf8(dir.read("all.jsonl")).unwrap();
            let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            records.map(|record| (record["index"].as_u64().unwrap(), record)).collect::<BTreeMap<_, _>>()
        };
        let before = records();
        let (columns, rows) = table(dir.read(format!("{format}/00000.parquet")));
        for digest in ["md5", "blake3", "phash"] {
            assert!(columns.iter().any(|column| column == digest), "{columns:?}");
            assert_eq!((&rows[0][digest], before[&0][digest].is_string()), (&before[&0][digest], true));
        }
        assert!(!columns.iter().any(|column| column == "sha512"), "{columns:?}");
        assert_eq!(make(format, &flags).status, Some(0));
        let after = records();
        for index in 0..3 {
            for field in ["shard", "key", "status", "md5", "blake3", "phash", "sha256", "made_with", "error", "reason"]
            {
                assert_eq!(before[&index][field], after[&index][field], "{field} of row {index}");
            }
        }
        assert_eq!((&after[&0]["shard"], &after[&0]["made_with"]["resize"]), (&"00000".into(), &"16".into()));
        let plain = format!("plain-{format}");
        make(&plain, &[]);
        assert!(!table(dir.read(format!("{plain}/00000.parquet"))).0.contains(&"md5".to_owned()));
    }
}

#[test]
fn a_column_whose_type_changes_between_shards_is_told() {
    let (server, dir) = (Server::start(), TestDir::new());
    let values = [json!(1), json!(2), json!("x"), json!(3), json!(4.5), json!(null)];
    let lines =
        urls(&server, 6).into_iter().zip(&values).map(|(url, n)| json!({"url": url, "n": n, "m": 1}).to_string());
    dir.write("list.jsonl", lines.collect::<Vec<_>>().join("\n"));
    let flags = ["--shard-size", "2", "--sequential"];
    let run = fetchimg().arg("list.jsonl").args(SET).args(flags).in_dir(&dir).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.stderr.matches("some readers of the whole set want one type").count(), 1, "{run}");
    assert!(run.stderr.contains("Column n is "), "{run}");
}

#[test]
fn rows_that_failed_before_the_reader_went_away_count() {
    let (server, dir) = (Server::start(), TestDir::new());
    let failing = (0..4).map(|n| server.url(&format!("/status/404/{n}")));
    let images = (0..3000).map(|n| server.url(&format!("/png/20000/{n}.png")));
    dir.write("list.txt", failing.chain(images).collect::<Vec<_>>().join("\n"));
    let command =
        "(fetchimg list.txt -o - --output-format webdataset -q -j 1; echo $? >status) | head -c 100000 >/dev/null";
    let run = shell(&dir, command);
    wait_until("the status", || fs::read(dir.join("status")).is_ok_and(|text| text.ends_with(b"\n")));
    assert_eq!(dir.read("status"), b"1\n", "{run}");
}

#[test]
fn a_dry_run_is_refused_as_the_run_would_be() {
    let (server, dir) = (Server::start(), TestDir::new());
    let mut list = urls(&server, 5);
    let go = |list: &[String], flags: &[&str]| {
        let run = fetchimg().lines(list).args(SET).args(["--shard-size", "2", "--dry-run"]).args(flags);
        run.in_dir(&dir).run()
    };
    fetchimg().lines(&list).args(SET).args(["--shard-size", "2"]).in_dir(&dir).run();
    let hits = server.hits_in_all();
    assert_eq!(go(&list, &[]).status, Some(0));
    for (flags, sentence) in [
        (["--resize", "16"], "its shards were made without --resize"),
        (["--output-format", "parquet"], "it holds shards of --output-format webdataset"),
        (["-o", "list.txt"], "it is a file, not a folder"),
    ] {
        let run = go(&list, &flags);
        assert_eq!(run.status, Some(3), "{run}");
        assert!(run.stderr.contains(sentence), "{sentence}\n{run}");
    }
    let files = fetchimg().lines(&list).args(["-o", "set", "--dry-run"]).in_dir(&dir).run();
    assert_eq!(files.status, Some(3), "{files}");
    assert!(files.stderr.contains("it holds shards (--output-format webdataset)"), "{files}");
    list.push(server.url("/png/400/new.png"));
    let grown = go(&list, &[]);
    assert_eq!(grown.status, Some(3), "{grown}");
    let sentence = "the list has grown: there were 1 rows for this shard when it was made, and now there are 2; remove \
                    00002_stats.json, and the same command makes this shard anew";
    assert!(grown.stderr.contains(sentence), "{grown}");
    let run = fetchimg().lines(&list).args(SET).args(["--shard-size", "2"]).in_dir(&dir).run();
    assert_eq!((run.status, server.hits_in_all()), (Some(3), hits), "{run}");
    assert!(run.stderr.contains(sentence), "{run}");
    list[0] = server.url("/png/400/other.png");
    let other = go(&list, &[]);
    assert!(other.status == Some(3) && other.stderr.contains("00000.tar: it was made from other rows"), "{other}");
    let shorter = go(&urls(&server, 1), &[]);
    assert!(shorter.stderr.contains("there were 2, and now there are 1"), "{shorter}");
    let anew = go(&list, &["--overwrite"]);
    assert!(anew.status == Some(0) && anew.stdout.contains("shards            3"), "{anew}");
    assert_eq!(server.hits_in_all(), hits);
    // What is told to do works.
    fs::remove_file(dir.join("set/00002_stats.json")).unwrap();
    list[0] = urls(&server, 1).remove(0);
    let run = fetchimg().lines(&list).args(SET).args(["--shard-size", "2"]).in_dir(&dir).run();
    assert_eq!((run.status, server.hits_in_all()), (Some(0), hits + 2), "{run}");
}

#[test]
fn flags_that_would_have_no_effect_are_refused() {
    let server = Server::start();
    for (flags, status, sentence) in [
        (&["--key", "{row}"][..], 2, "--key is for sets of shards"),
        (&["--shard-size", "10000"], 2, "--shard-size is for sets of shards"),
        (
            &["--output-format", "webdataset", "--name", "{basename}"],
            2,
            "--name is for folders of files; samples have keys",
        ),
    ] {
        let run = fetchimg().lines(urls(&server, 1)).args(flags).run();
        assert_eq!(run.status, Some(status), "{run}");
        assert!(run.stderr.contains(sentence), "{run}");
    }
    let uneven = [
        ("SLURM_ARRAY_TASK_ID", "7"),
        ("SLURM_ARRAY_TASK_MIN", "3"),
        ("SLURM_ARRAY_TASK_MAX", "7"),
        ("SLURM_ARRAY_TASK_COUNT", "2"),
    ];
    let run = fetchimg().lines(urls(&server, 1)).args(SET).args(["--slice", "auto"]);
    let run = uneven.into_iter().fold(run, |run, (name, value)| run.env(name, value)).run();
    assert_eq!(run.status, Some(2), "{run}");
    assert!(run.stderr.contains("the tasks of this Slurm array are not evenly numbered"), "{run}");
    assert_eq!(server.hits_in_all(), 0);
}

#[test]
fn a_set_is_told_from_a_folder_of_files_and_its_report_says_what_is_in_it() {
    let (server, dir) = (Server::start(), TestDir::new());
    let list = [urls(&server, 3), vec![server.url("/flaky/503/9/300/x.png")]].concat();
    let make = |list: &[String]| {
        let flags = ["--shard-size", "2", "--retries", "0", "--report", "run.json", "--report", "run.html"];
        fetchimg().lines(list).args(SET).args(flags).in_dir(&dir).run()
    };
    let run = make(&list);
    assert_eq!(run.status, Some(1), "{run}");
    for line in [
        "shards            2 completed: 4 rows, 3 with an image, ",
        "The shards are in set\n",
        "Next:    to try them again, in further shards: fetchimg --retry-failed -o set\n",
    ] {
        assert!(run.stdout.contains(line), "{line}\n{run}");
    }
    let report = serde_json::from_slice::<Value>(&dir.read("run.json")).unwrap();
    let totals = &report["modes"][0]["shard_totals"];
    assert_eq!((&totals["completed"], &totals["rows"], &totals["samples"]), (&2.into(), &4.into(), &3.into()));
    let bytes = ["00000", "00001"].map(|shard| dir.read(format!("set/{shard}.tar")).len()).iter().sum::<usize>();
    assert_eq!(totals["bytes"], bytes);
    let page = String::from_utf8(dir.read("run.html")).unwrap();
    assert!(page.contains("fetchimg --retry-failed -o set") && !page.contains("--status"), "{run}");
    let again = make(&list);
    assert!(again.stdout.contains("shards before     2: 4 rows, 3 with an image\n"), "{again}");
    let status = fetchimg().args(["--status", "-o", "set"]).in_dir(&dir).run();
    assert_eq!(status.status, Some(3), "{status}");
    assert!(status.stderr.contains("it holds shards, and the record of each row is in the table"), "{status}");
}

#[test]
fn what_verify_says_fits_what_it_found() {
    let (server, dir) = (Server::start(), TestDir::new());
    let list = [urls(&server, 1), vec![server.url("/flaky/503/1/300/x.png")]].concat();
    fetchimg().lines(&list).args(SET).args(["--retries", "0"]).in_dir(&dir).run();
    let retry = || fetchimg().args(["--retry-failed", "-o", "set"]).in_dir(&dir).run();
    assert_eq!(retry().status, Some(0));
    let path = |name: &str| dir.join("set").join(name);
    fs::write(path("retry-00000.tar"), "torn").unwrap();
    fs::write(path("retry-00007.tar"), "").unwrap();
    fs::write(path("00007.parquet"), "").unwrap();
    fs::write(path("other.tar"), "").unwrap();
    let found = verify(&dir, "set");
    for line in [
        "retry-00000: retry-00000.tar has 4 bytes, and the marker says",
        "; remove retry-00000_stats.json, and --retry-failed fetches its rows again\n",
        "retry-00007.tar: it has no marker, so it is no part of the set; remove it: --retry-failed fetches",
        "00007.parquet: it has no marker, so it is no part of the set; the same command makes its shard",
        "other.tar: it has no marker, so it is no part of the set; a run with --shard of its name",
    ] {
        assert!(found.stdout.contains(line), "{line}\n{found}");
    }
    // What it says to do helps.
    for name in ["retry-00000_stats.json", "retry-00007.tar", "00007.parquet", "other.tar"] {
        fs::remove_file(path(name)).unwrap();
    }
    assert_eq!(retry().status, Some(0));
    assert_eq!(verify(&dir, "set").status, Some(0));
    fs::write(path("00000.parquet"), "no table").unwrap();
    let run = retry();
    assert_eq!(run.status, Some(3), "{run}");
    assert!(
        run.stderr.contains("cannot read set/00000.parquet: ")
            && run.stderr.contains("; fetchimg --verify-output -o set says what to do"),
        "{run}"
    );

    fetchimg().lines(urls(&server, 2)).args(["-o", "files"]).in_dir(&dir).run();
    let sizes = "2 files: all is as the records say (only the sizes were compared, because 2 records have no digest: \
                 --hash records one)\n";
    assert_eq!(verify(&dir, "files").stdout, sizes);
    fetchimg().lines(urls(&server, 2)).args(["-o", "digests", "--hash", "md5"]).in_dir(&dir).run();
    assert_eq!(verify(&dir, "digests").stdout, "2 files: all is as the records say\n");
    let mut bytes = dir.read("digests/1.png");
    bytes[50] ^= 1;
    fs::write(dir.join("digests/1.png"), bytes).unwrap();
    assert!(verify(&dir, "digests").stdout.contains("1.png: it is not what was saved: its md5 is another one"));
}

#[test]
fn folders_of_bodies_that_killed_shares_have_left_are_removed() {
    let (server, dir) = (Server::start(), TestDir::new());
    let left = dir.join("set/.fetchimg/parts-0123456789abcdef");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("body"), "part of an image").unwrap();
    let run = fetchimg().lines(urls(&server, 1)).args(SET).args(["--slice", "0/2"]).in_dir(&dir).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.leftovers(), [""; 0], "{run}");
}
