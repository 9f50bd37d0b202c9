//! Sets of shards: what lies there, what a second run does, and what kills leave behind.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::common::sets::{table, tar_entries};
use crate::common::{Program, Run, Server, TestDir, fetchimg};

const MAX_WAIT: Duration = Duration::from_secs(120);

const SET: [&str; 4] = ["-o", "set", "--output-format", "webdataset"];

/// The visible files of the set.
fn visible(run: &Run) -> Vec<String> {
    run.files().into_iter().filter(|file| !file.starts_with('.')).collect()
}

fn marker(run: &Run, shard: &str) -> Value {
    serde_json::from_slice(&run.file(&format!("{shard}_stats.json"))).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}

/// The samples of a shard by their keys: for each, its files by their extensions.
fn samples(tar: &[u8]) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let mut samples = BTreeMap::<String, BTreeMap<String, Vec<u8>>>::new();
    for (name, bytes) in tar_entries(tar) {
        let (key, extension) = name.split_once('.').unwrap();
        let twice = samples.entry(key.to_owned()).or_default().insert(extension.to_owned(), bytes);
        assert_eq!(twice, None, "{name} is there twice");
    }
    samples
}

/// A list of so many rows with captions. Every tenth row, from the fourth on, has no image.
fn list(server: &Server, rows: usize) -> String {
    let target = |n: usize| if n % 10 == 3 { format!("/status/404/{n}") } else { format!("/png/{}/{n}.png", 200 + n) };
    let row = |n: usize| format!("{n},{},\"caption, {n}\"\n", server.url(&target(n)));
    std::iter::once("id,url,text\n".to_owned()).chain((0..rows).map(row)).collect()
}

#[test]
fn a_list_becomes_shards_with_samples_tables_and_markers() {
    let (server, dir) = (Server::start(), TestDir::new());
    dir.write("list.csv", list(&server, 25));
    let flags = ["--shard-size", "10", "--caption-column", "text", "--manifest", "all.jsonl"];
    let run = fetchimg().arg("list.csv").args(SET).args(flags).in_dir(&dir).run();
    assert_eq!(run.status, Some(1), "{run}");
    let files =
        ["00000", "00001", "00002"].map(|name| [".parquet", ".tar", "_stats.json"].map(|end| format!("{name}{end}")));
    assert_eq!(visible(&run), files.concat(), "{run}");
    assert_eq!(run.leftovers(), [""; 0], "{run}");
    let manifest = dir.read("all.jsonl");
    assert_eq!(manifest.split(|byte| *byte == b'\n').count(), 26, "{run}");
    for shard in 0..3 {
        let name = format!("{shard:05}");
        let tar = run.file(&format!("{name}.tar"));
        let samples = samples(&tar);
        let (columns, rows) = table(run.file(&format!("{name}.parquet")));
        assert_eq!(
            columns[..12].join(" "),
            "id key url caption status error_message width height original_width original_height exif sha256",
            "{run}"
        );
        assert_eq!(rows.len(), if shard == 2 { 5 } else { 10 });
        for (row, values) in rows.iter().enumerate() {
            let (n, key) = (shard * 10 + row, format!("{name}{row:04}"));
            let target = format!("/png/{}/{n}.png", 200 + n);
            assert_eq!((&values["key"], &values["id"]), (&key.clone().into(), &n.to_string().into()));
            assert_eq!(values["caption"], format!("caption, {n}"));
            if n % 10 == 3 {
                assert_eq!(values["status"], "failed_to_download");
                assert_eq!((&values["error"], &values["http_status"]), (&"http_status".into(), &404.into()));
                assert!(!samples.contains_key(&key));
                continue;
            }
            let body = server.body(&target);
            assert_eq!((&values["status"], &values["sha256"]), (&"success".into(), &sha256(&body).into()));
            let at = usize::try_from(values["offset"].as_u64().unwrap()).unwrap();
            assert_eq!(values["length"], body.len() as u64);
            assert!(tar[at..].starts_with(&body), "the position of the image in the tar file");
            let sample = &samples[&key];
            assert!(sample["png"] == body);
            assert_eq!(sample["txt"], format!("caption, {n}").into_bytes());
            let record = serde_json::from_slice::<Value>(&sample["json"]).unwrap();
            assert_eq!(
                (&record["key"], &record["index"], &record["status"]),
                (&key.into(), &n.into(), &"saved".into())
            );
            assert_eq!(record["extra"]["id"], n.to_string());
        }
        let marker = marker(&run, &name);
        let successes = if shard == 2 { 4 } else { 9 };
        assert_eq!((&marker["count"], &marker["successes"]), (&rows.len().into(), &successes.into()));
        assert_eq!(marker["failed_to_download"], 1);
        assert_eq!(marker["status_dict"]["http_status 404"], 1);
        assert_eq!(marker["fetchimg"]["data"]["sha256"], sha256(&tar));
        assert_eq!(marker["fetchimg"]["data"]["bytes"], tar.len());
        let parquet = run.file(&format!("{name}.parquet"));
        assert_eq!(marker["fetchimg"]["metadata"]["sha256"], sha256(&parquet));
    }
}

#[test]
fn a_second_run_sends_no_request_and_hands_out_the_same_records() {
    let (server, dir) = (Server::start(), TestDir::new());
    dir.write("list.csv", list(&server, 25) + "x,no URL,\n");
    let go = |flags: &[&str]| {
        let run = fetchimg().arg("list.csv").args(SET).args(["--shard-size", "10", "--manifest", "all.jsonl"]);
        run.args(flags).in_dir(&dir).run()
    };
    let first = go(&[]);
    let records = |dir: &TestDir| {
        let text = String::from_utf8(dir.read("all.jsonl")).unwrap();
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.map(|record| (record["index"].as_u64().unwrap(), record)).collect::<BTreeMap<_, _>>()
    };
    let (before, hits) = (records(&dir), server.hits_in_all());
    let data = first.file("00001.tar");
    let second = go(&["--json"]);
    assert_eq!((second.status, server.hits_in_all()), (Some(0), hits), "{second}");
    assert_eq!(second.report()["modes"][0]["skipped_by_reason"]["shard_exists"], 26, "{second}");
    let after = records(&dir);
    assert_eq!(after.len(), 26);
    for (index, record) in &before {
        let again = &after[index];
        for field in ["url", "key", "shard", "status", "path", "bytes", "sha256", "error", "message", "width", "extra"]
        {
            assert_eq!(record[field], again[field], "{field} of {record} and {again}");
        }
    }
    assert!(second.file("00001.tar") == data);

    // Another list, and other options.
    dir.write("list.csv", list(&server, 25).replace("\n12,", "\nx,"));
    let refused = go(&[]);
    assert_eq!((refused.status, server.hits_in_all()), (Some(3), hits), "{refused}");
    assert!(
        refused.stderr.contains("00001.tar: it was made from other rows of the list; remove 00001_stats.json"),
        "{refused}"
    );
    let refused = go(&["--resize", "16"]);
    assert_eq!((refused.status, server.hits_in_all()), (Some(3), hits), "{refused}");
    assert!(refused.stderr.contains("its shards were made without --resize; say the same"), "{refused}");
    let anew = go(&["--overwrite"]);
    assert_eq!(anew.status, Some(1), "{anew}");
    assert_eq!(server.hits_in_all(), 2 * hits, "{anew}");
    assert_eq!(go(&[]).status, Some(0));
}

#[test]
fn a_second_run_tells_what_failed_from_what_was_refused() {
    let (server, dir) = (Server::start(), TestDir::new());
    dir.write(
        "list.txt",
        ["/svg/a.svg", "/png/50000/b.png", "/status/404"].map(|target| server.url(target)).join("\n"),
    );
    let flags = ["--resize", "16", "--max-bytes", "40k", "--manifest", "all.jsonl"];
    let go = || {
        let run = fetchimg().arg("list.txt").args(SET).args(flags).in_dir(&dir).run();
        let text = String::from_utf8(dir.read("all.jsonl")).unwrap();
        let mut records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
        records.sort_by_key(|record| record["index"].as_u64());
        (run, records)
    };
    let (first, before) = go();
    let (second, after) = go();
    let of = |records: &[Value], field: &str| records.iter().map(|record| record[field].clone()).collect::<Vec<_>>();
    assert_eq!(of(&before, "error"), ["not_accepted", "too_large", "http_status"], "{first}");
    assert_eq!(of(&before, "status"), ["failed", "refused", "failed"], "{first}");
    for field in ["status", "error", "message", "format", "bytes", "width", "retryable"] {
        assert_eq!(of(&before, field), of(&after, field), "{field}: {second}");
    }
    // An image that is not wanted is one that img2dataset would not have resized.
    let marker = marker(&second, "00000");
    assert_eq!((&marker["failed_to_resize"], &marker["failed_to_download"]), (&2.into(), &1.into()), "{marker}");
    let (_, rows) = table(second.file("00000.parquet"));
    let statuses = rows.iter().map(|row| (&row["status"], &row["record_status"])).collect::<Vec<_>>();
    let expected = [("failed_to_resize", "failed"), ("failed_to_resize", "refused"), ("failed_to_download", "failed")];
    assert_eq!(
        statuses,
        expected.map(|(one, other)| (one.into(), other.into())).each_ref().map(|(one, other)| (one, other))
    );
}

#[test]
fn a_folder_holds_one_kind() {
    let (server, dir) = (Server::start(), TestDir::new());
    let go = |flags: &[&str]| fetchimg().lines([server.url("/png/100/a.png")]).args(flags).in_dir(&dir).run();
    assert_eq!(go(&["-o", "files"]).status, Some(0));
    assert_eq!(go(&["-o", "set", "--output-format", "webdataset"]).status, Some(0));
    let hits = server.hits_in_all();
    for (flags, sentence) in [
        (&["-o", "files", "--output-format", "webdataset"][..], "it holds files, one for each image"),
        (&["-o", "set"], "it holds shards (--output-format webdataset)"),
        (&["-o", "set", "--output-format", "parquet"], "it holds shards of --output-format webdataset"),
    ] {
        let run = go(flags);
        assert_eq!((run.status, server.hits_in_all()), (Some(3), hits), "{run}");
        assert!(run.stderr.contains(sentence) && run.stderr.contains("choose another folder"), "{run}");
    }
}

#[test]
fn wrong_flags_are_refused_with_a_sentence() {
    let server = Server::start();
    for (flags, sentence) in [
        (&["--output-format", "webdataset", "--shard-size", "0"][..], "--shard-size 0 would hold nothing"),
        (&["--output-format", "webdataset", "--key", "x"], "each sample of a shard needs a key of its own"),
        (&["--output-format", "webdataset", "--key", "{row}.a"], "no folder and no dot"),
        (&["--output-format", "webdataset", "--compare"], "--compare fetches everything twice"),
        (&["--output-format", "parquet", "-o", "-"], "-o - is a tar stream"),
        (&["-o", "-"], "-o - is for sets of shards"),
        (&["--caption-column", "a"], "--caption-column is for sets of shards"),
        (&["--output-format", "webdataset", "--slice", "2/2"], "--slice 2/2: write the number of the share"),
        (&["--output-format", "webdataset", "--slice", "auto"], "--slice auto: no variable"),
        (&["--output-format", "webdataset", "--shard", "a/b"], "--shard a/b: a shard has a name of letters"),
        (&["--output-format", "webdataset", "--shard", "a", "--slice", "0/2"], "--shard says that the whole list"),
        (&["--output-format", "webdataset", "-o", "-", "--json"], "-o - and --json both want standard output"),
        (&["--output-format", "webdataset", "-o", "-", "--manifest", "-"], "-o - and --manifest - both want"),
    ] {
        let run = fetchimg().lines([server.url("/png/100/a.png")]).args(flags).run();
        assert_eq!(run.status, Some(2), "{run}");
        assert!(run.stderr.contains(sentence), "{run}");
    }
    assert_eq!(server.hits_in_all(), 0);
}

#[test]
fn large_images_and_odd_rows_have_their_place() {
    let (server, dir) = (Server::start(), TestDir::new());
    let urls =
        ["/png/600000/large.png", "/jpeg/a", "/page/not.png", "/jpeg/a", "/gif/b.png"].map(|path| server.url(path));
    let run = fetchimg().lines(urls.iter().map(String::as_str).chain(["nothing"])).args(SET).in_dir(&dir).run();
    assert_eq!(run.status, Some(1), "{run}");
    let samples = samples(&run.file("00000.tar"));
    let names = |key: &str| samples[key].keys().cloned().collect::<Vec<_>>();
    assert!(samples["000000000"]["png"] == server.body("/png/600000/large.png"));
    assert_eq!(names("000000001"), ["jpg", "json"]);
    assert_eq!(names("000000004"), ["gif", "json"]);
    assert_eq!(samples.len(), 3);
    let (_, rows) = table(run.file("00000.parquet"));
    let statuses = rows.iter().map(|row| row["status"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(
        statuses,
        ["success", "success", "failed_to_resize", "skipped", "success", "failed_to_download"],
        "{run}"
    );
    assert_eq!((&rows[3]["error"], &rows[5]["error"]), (&"duplicate_url".into(), &"bad_url".into()));
    assert_eq!(rows[3]["error_message"], "the same as 00000.tar/000000001.jpg");

    let dir = TestDir::new();
    let run = fetchimg().lines([server.url("/text/a")]).args(SET).args(["--accept", "any"]).in_dir(&dir).run();
    assert_eq!(tar_entries(&run.file("00000.tar"))[0].0, "000000000.bin", "{run}");

    let dir = TestDir::new();
    let run = fetchimg().lines(&urls[..4]).args(SET).arg("--keep-duplicates").in_dir(&dir).run();
    assert_eq!(tar_entries(&run.file("00000.tar")).len(), 6, "{run}");

    let dir = TestDir::new();
    let same = ["/jpeg/a", "/jpeg/b", "/jpeg/c"].map(|path| server.url(path));
    let run = fetchimg().lines(same).args(SET).args(["--dedupe", "--sequential"]).in_dir(&dir).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(tar_entries(&run.file("00000.tar")).len(), 2, "{run}");
    let (_, rows) = table(run.file("00000.parquet"));
    assert_eq!((&rows[2]["error"], &rows[2]["status"]), (&"duplicate_content".into(), &"skipped".into()));
}

#[test]
fn images_are_made_smaller_on_their_way_into_a_shard() {
    let (server, dir) = (Server::start(), TestDir::new());
    let flags = ["--resize", "16", "--encode", "jpeg", "--key", "{row:06}-{col.id}"];
    dir.write("list.jsonl", format!("{{\"url\":\"{}\",\"id\":\"a.b\",\"n\":[1]}}\n", server.url("/photo/64/32/a")));
    let run = fetchimg().arg("list.jsonl").args(SET).args(flags).in_dir(&dir).run();
    assert_eq!(run.status, Some(0), "{run}");
    let entries = tar_entries(&run.file("00000.tar"));
    assert_eq!(entries[0].0, "000000-a_b.jpg");
    let (columns, rows) = table(run.file("00000.parquet"));
    assert_eq!(columns[..3], ["id", "n", "key"]);
    assert_eq!((&rows[0]["width"], &rows[0]["height"]), (&16.into(), &8.into()));
    assert_eq!((&rows[0]["original_width"], &rows[0]["original_height"]), (&64.into(), &32.into()));
    assert_eq!((&rows[0]["id"], &rows[0]["n"]), (&"a.b".into(), &"[1]".into()));
}

#[test]
fn a_killed_run_goes_on_inside_its_shards() {
    kill_at_random(100, 20);
}

/// The number of requests for each target.
fn hits(server: &Server) -> HashMap<String, usize> {
    let mut hits = HashMap::new();
    for request in server.requests() {
        *hits.entry(request.path().to_owned()).or_default() += 1;
    }
    hits
}

/// Kills runs at random moments so many times, each over so many shards of 100 rows, and looks at what the last one of each
/// list leaves.
fn kill_at_random(wanted: usize, shards: usize) {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::start();
    let (mut kills, mut round) = (0, 0);
    while kills < wanted {
        let dir = TestDir::in_memory();
        let targets = (0..100 * shards).map(|n| match n % 50 {
            7 => format!("/status/404/{round}/{n}"),
            9 => format!("/png/{}/{round}/{n}.png", 300_000 + n),
            _ => format!("/png/{}/{round}/{n}.png", 300 + n * 17 % 3000),
        });
        let targets = targets.collect::<Vec<_>>();
        let urls = targets.iter().map(|target| server.url(target)).collect::<Vec<_>>();
        let last = loop {
            let asked = server.hits_in_all();
            let hits = hits(&server);
            let missing = targets.iter().filter(|target| !hits.contains_key(*target)).count();
            let flags = ["-q", "-j", "20", "--shard-size", "100"];
            let mut running = fetchimg().in_dir(&dir).lines(&urls).args(SET).args(flags).start();
            if kills < wanted {
                server.wait_for_hits_in_all(asked + random.usize(0..missing.clamp(1, 60)), MAX_WAIT);
                std::thread::sleep(Duration::from_micros(random.u64(0..30_000)));
                let _ = running.child.kill();
            }
            let run = running.wait();
            if run.signal.is_none() {
                break run;
            }
            kills += 1;
        };
        // All images are there; 404 may have been settled in a shard that was complete before.
        assert!(matches!(last.status, Some(0 | 1)), "seed {seed}: {last}");
        assert_eq!(visible(&last).len(), 3 * shards, "seed {seed}: {last}");
        assert_eq!(last.leftovers(), [""; 0], "seed {seed}: {last}");
        for shard in 0..shards {
            let tar = last.file(&format!("{shard:05}.tar"));
            let samples = samples(&tar);
            assert_eq!(samples.len(), 98, "seed {seed}: {shard}");
            let (_, rows) = table(last.file(&format!("{shard:05}.parquet")));
            for (row, values) in rows.iter().enumerate() {
                let target = &targets[shard * 100 + row];
                assert_eq!(values["url"], server.url(target), "seed {seed}");
                if let Some(sample) = samples.get(&format!("{shard:05}{row:04}")) {
                    assert!(sample["png"] == server.body(target), "seed {seed}: {target}");
                }
            }
            assert_eq!(
                marker(&last, &format!("{shard:05}"))["fetchimg"]["data"]["sha256"],
                sha256(&tar),
                "seed {seed}"
            );
        }
        // At most the rows in flight are asked for again at each kill.
        let images = targets.iter().filter(|target| !target.contains("404"));
        let hits = hits(&server);
        let again = images.map(|target| hits.get(target).map_or(0, |hits| hits - 1)).sum::<usize>();
        assert!(again <= kills * 20, "seed {seed}: {again} images were asked for again after {kills} kills");
        round += 1;
    }
}

#[test]
fn an_interrupted_run_keeps_what_is_complete() {
    let (server, dir) = (Server::start(), TestDir::new());
    let urls =
        (0..8).map(|n| server.url(&format!("/png/{}/{n}.png", 300 + n))).chain([server.url("/gated/500/last.png")]);
    let urls = urls.collect::<Vec<_>>();
    let mut running = fetchimg().lines(&urls).args(SET).args(["--shard-size", "3"]).in_dir(&dir).start();
    server.wait_for_hits_in_all(9, MAX_WAIT);
    let is_there = |shard: &str| dir.join(format!("set/{shard}_stats.json")).exists();
    crate::common::wait_until("two shards", || is_there("00000") && is_there("00001"));
    running.kill("INT");
    running.kill("INT");
    let run = running.wait();
    assert_eq!(run.status, Some(130), "{run}");
    assert!(!dir.join("set/00002_stats.json").exists(), "{run}");
    server.open_gate();
    let run = fetchimg().lines(&urls).args(SET).args(["--shard-size", "3", "--json"]).in_dir(&dir).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(server.hits_in_all(), 10, "{run}");
    let mode = &run.report()["modes"][0];
    assert_eq!((&mode["saved"], &mode["skipped_by_reason"]["already_saved"]), (&1.into(), &2.into()), "{run}");
}

/// A shell command with the program in it.
fn shell(dir: &TestDir, command: &str) -> Run {
    let program = env!("CARGO_BIN_EXE_fetchimg");
    Program::new("sh").args(["-c", &command.replace("fetchimg", program)]).in_dir(dir).run()
}

#[test]
fn a_stream_is_one_tar_file_and_nothing_else() {
    let (server, dir) = (Server::start(), TestDir::new());
    dir.write("list.csv", list(&server, 25));
    let command = "fetchimg list.csv -o - --output-format webdataset --shard-size 10 --caption-column text >all.tar";
    let run = shell(&dir, command);
    assert_eq!(run.status, Some(1), "{run}");
    let samples = samples(&dir.read("all.tar"));
    assert_eq!(samples.len(), 22, "{run}");
    assert!(samples["000020004"]["png"] == server.body("/png/224/24.png"), "{run}");
    assert!(run.stderr.contains("saved"), "the report is on standard error\n{run}");
    assert!(!dir.join("-").exists() && !dir.join("set").exists(), "{run}");
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let (server, dir) = (Server::start(), TestDir::new());
    let urls = (0..3000).map(|n| server.url(&format!("/png/20000/{n}.png"))).collect::<Vec<_>>();
    dir.write("list.txt", urls.join("\n"));
    let command = "(fetchimg list.txt -o - --output-format webdataset -q; echo $? >status) | head -c 100000 >/dev/null";
    let run = shell(&dir, command);
    crate::common::wait_until("the status", || fs::read(dir.join("status")).is_ok_and(|text| text.ends_with(b"\n")));
    assert_eq!(dir.read("status"), b"0\n", "{run}");
    assert!(server.hits_in_all() < 2900, "{run}");
    assert_eq!(run.stderr, "", "{run}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_stream_that_cannot_be_written_is_an_error() {
    let (server, dir) = (Server::start(), TestDir::new());
    dir.write("list.csv", list(&server, 5));
    let run = shell(&dir, "fetchimg list.csv -o - --output-format webdataset > /dev/full");
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("No space left on device"), "{run}");
}

#[test]
fn shards_behind_the_last_one_are_removed_when_all_are_made_anew() {
    let (server, dir) = (Server::start(), TestDir::new());
    dir.write("list.csv", list(&server, 25));
    let made = |flags: &[&str]| fetchimg().arg("list.csv").args(SET).args(flags).in_dir(&dir).run();
    let first = made(&["--shard-size", "5"]);
    assert_eq!(visible(&first).len(), 15, "{first}");
    let kept = made(&["--shard-size", "5", "--overwrite", "--slice", "0/2"]);
    assert_eq!(visible(&kept).len(), 15, "a share knows nothing of the others\n{kept}");
    let anew = made(&["--shard-size", "10", "--overwrite"]);
    let left = visible(&anew);
    assert_eq!(left.len(), 9, "{anew}");
    assert!(left.iter().all(|file| file.starts_with("0000") && file < &"00003".to_owned()), "{left:?}");
    let verified = fetchimg().args(["--verify-output", "-o", "set"]).in_dir(&dir).run();
    assert_eq!(verified.status, Some(0), "{verified}");
    assert!(verified.stdout.contains("3 shards"), "{verified}");
}

#[test]
fn an_output_that_is_no_folder_is_refused() {
    for (output, flags, expected) in [
        ("ftp://host/set", &["--output-format", "webdataset"][..], "images go into a folder"),
        ("s3://bucket/set", &[], "object stores are for sets of shards"),
        ("s3://key:secret@bucket", &["--output-format", "webdataset"], "AWS_ACCESS_KEY_ID"),
        ("s3:///set", &["--output-format", "webdataset"], "it names no bucket"),
        ("s3://bucket/set", &["--output-format", "webdataset", "--status"], "its tables"),
        ("set", &["--output-format", "webdataset", "--scratch", "here"], "--scratch is for sets in object stores"),
    ] {
        let list = if flags.contains(&"--status") { None } else { Some("list.txt") };
        let run = fetchimg().args(list).args(["-o", output]).args(flags).run();
        assert_eq!(run.status, Some(2), "{run}");
        assert!(run.stderr.contains(expected), "{run}");
    }
}
