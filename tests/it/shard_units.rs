//! Units of a list: shares, named shards, what is tried again, what is verified, and images inside Parquet.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, FloatType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

use crate::common::sets::{table, tar_entries};
use crate::common::{Run, Server, TestDir, fetchimg, wait_until};

const SET: [&str; 4] = ["-o", "set", "--output-format", "webdataset"];

fn png(n: usize) -> String {
    format!("/png/{}/{n}.png", 200 + n)
}

fn lines(server: &Server, rows: usize) -> Vec<String> {
    (0..rows).map(|n| server.url(&png(n))).collect()
}

/// The keys of all rows of a set, and their URLs.
fn keys(run: &Run, shards: &[&str]) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    for shard in shards {
        for row in table(run.file(&format!("{shard}.parquet"))).1 {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            assert_eq!(keys.insert(text("key"), text("url")), None, "{shard}\n{run}");
        }
    }
    keys
}

#[test]
fn shares_together_are_the_list_however_many_there_are() {
    let server = Server::start();
    let urls = lines(&server, 53);
    let whole = fetchimg().lines(&urls).args(SET).args(["--shard-size", "10"]).run();
    assert_eq!(whole.status, Some(0), "{whole}");
    let names = ["00000", "00001", "00002", "00003", "00004", "00005"];
    let expected = keys(&whole, &names);
    assert_eq!(expected.len(), 53);
    for count in [2, 7] {
        let dir = TestDir::new();
        dir.write("list.txt", urls.join("\n"));
        let share = |number: usize| {
            let slice = format!("{number}/{count}");
            fetchimg().in_dir(&dir).arg("list.txt").args(SET).args(["--shard-size", "10", "--slice", &slice]).start()
        };
        // All at once, into one folder.
        let runs = (0..count).map(share).collect::<Vec<_>>().into_iter().map(|run| run.wait()).collect::<Vec<_>>();
        for run in &runs {
            assert_eq!(run.status, Some(0), "{run}");
        }
        assert_eq!(keys(&runs[0], &names), expected);
    }
    let dir = TestDir::new();
    dir.write("list.parquet", typed_list(&urls, 7));
    let mut last = None;
    for number in 0..4 {
        let slice = format!("{number}/4");
        let run = fetchimg().arg("list.parquet").args(SET).args(["--shard-size", "10", "--slice", &slice]);
        last = Some(run.in_dir(&dir).run());
    }
    assert_eq!(keys(&last.unwrap(), &names), expected, "row groups that no shard needs are left out, and no row is");
    let variables = [("SLURM_ARRAY_TASK_ID", "4"), ("SLURM_ARRAY_TASK_MIN", "3"), ("SLURM_ARRAY_TASK_COUNT", "3")];
    let run = fetchimg().lines(&urls).args(SET).args(["--shard-size", "10", "--slice", "auto"]);
    let run = variables.into_iter().fold(run, |run, (name, value)| run.env(name, value)).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(keys(&run, &["00001", "00004"]).len(), 20, "{run}");
}

#[test]
fn one_named_shard_may_be_made_twice_at_once() {
    let server = Server::start();
    let urls = lines(&server, 40);
    let dir = TestDir::new();
    dir.write("list.txt", urls.join("\n"));
    let make = || fetchimg().in_dir(&dir).arg("list.txt").args(SET).args(["--shard", "unit-7", "-j", "4"]).start();
    let both = [make(), make()];
    let both = both.map(crate::common::Running::wait);
    for run in &both {
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(run.leftovers(), [""; 0], "{run}");
    }
    let found = keys(&both[1], &["unit-7"]);
    assert_eq!(found.keys().next().map(String::as_str), Some("unit-70000"));
    assert_eq!((found.len(), tar_entries(&both[1].file("unit-7.tar")).len()), (40, 80));
    let verified = fetchimg().in_dir(&dir).args(["--verify-output", "-o", "set"]).run();
    assert_eq!(verified.status, Some(0), "{verified}");
    let hits = server.hits_in_all();
    let again = make().wait();
    assert_eq!((again.status, server.hits_in_all()), (Some(0), hits), "{again}");
}

#[test]
fn no_shard_is_made_of_a_list_that_was_cut_off() {
    let server = Server::start();
    let urls = lines(&server, 25);
    for (format, flags, whole, all) in [
        ("jsonl", ["--shard", "u"], &[][..], &["u"][..]),
        ("text", ["--shard-size", "10"], &["00000"], &["00000", "00001", "00002"]),
    ] {
        let row = |url: &String| if format == "text" { url.clone() } else { format!("{{\"url\":\"{url}\"}}") };
        let list = |urls: &[String]| urls.iter().map(row).collect::<Vec<_>>().join("\n") + "\n";
        let dir = TestDir::new();
        let make = || fetchimg().in_dir(&dir).arg("-").args(SET).args(flags).args(["--end-line", "end"]);
        let mut running = make().stdin_pipe();
        running.write_line(list(&urls[..15]));
        wait_until("the first shard", || whole.iter().all(|name| dir.path().join(format!("set/{name}.tar")).exists()));
        // Its writer is killed between two lines.
        let run = running.wait();
        assert_eq!(run.status, Some(3), "{run}");
        assert!(run.stderr.contains("it ends without the line \"end\""), "{run}");
        let markers = |run: &Run| {
            let files = run.files().into_iter();
            files.filter_map(|file| file.strip_suffix("_stats.json").map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(markers(&run), whole, "{run}");
        // The next attempt keeps what was complete. Its end line is not part of what the shard is made from.
        let run = make().stdin(list(&urls) + "end\n").run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(markers(&run), all, "{run}");
        assert_eq!(keys(&run, all).len(), 25, "{run}");
        assert!(whole.is_empty() || run.stdout.contains("10 shard_exists"), "{run}");
        let run = fetchimg().in_dir(&dir).arg("-").args(SET).args(flags).stdin(list(&urls)).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert!(run.stdout.contains("shard_exists"), "{run}");
    }
}

#[test]
fn an_engine_may_run_units_in_any_order_twice_at_once_and_kill_them() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (server, dir) = (Server::start(), TestDir::in_memory());
    let urls = lines(&server, 120);
    let units = urls.chunks(20).enumerate().map(|(n, rows)| (format!("u{n}"), rows.join("\n"))).collect::<Vec<_>>();
    let start = |(name, rows): &(String, String)| {
        let flags = ["--shard", name, "-j", "4", "-q", "--limit-rate", "200k"];
        fetchimg().in_dir(&dir).arg("-").args(SET).args(flags).stdin(rows.clone()).start()
    };
    let mut left = units.iter().chain(&units).collect::<Vec<_>>();
    random.shuffle(&mut left);
    let mut last = None;
    while let Some(unit) = left.pop() {
        let mut runs = (0..random.usize(1..=2)).map(|_| start(unit)).collect::<Vec<_>>();
        if random.bool() {
            std::thread::sleep(std::time::Duration::from_millis(random.u64(0..150)));
            let _ = runs[0].child.kill();
        }
        for run in runs.into_iter().map(crate::common::Running::wait) {
            assert!(run.signal.is_some() || run.status == Some(0), "seed {seed}: {run}");
            if run.signal.is_some() {
                left.insert(0, unit);
            }
            last = Some(run);
        }
    }
    let run = last.unwrap();
    let names = units.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    let keys = keys(&run, &names);
    assert_eq!(keys.values().cloned().collect::<BTreeSet<_>>(), urls.iter().cloned().collect(), "seed {seed}");
    assert_eq!(keys.len(), urls.len(), "seed {seed}: each row once");
    let verified = fetchimg().in_dir(&dir).args(["--verify-output", "-o", "set"]).run();
    // Scratch files of a killed run whose unit was made by another one may be left; nothing else is.
    let is_unfinished = |line: &str| line.contains("it is not complete") || line.contains("to look at");
    assert!(verified.status == Some(0) || verified.stdout.lines().all(is_unfinished), "seed {seed}: {verified}");
    for name in names {
        for (file, bytes) in tar_entries(&run.file(&format!("{name}.tar"))) {
            let url = file.strip_suffix(".png").map(|key| &keys[key]);
            let body = url.map(|url| server.body(&url[url.find("/png").unwrap()..]));
            assert!(body.is_none_or(|body| body == bytes), "seed {seed}: {file}");
        }
    }
}

#[test]
fn what_failed_is_tried_again_in_further_shards() {
    let server = Server::start();
    let (dir, flags) = (TestDir::new(), ["--retries", "0", "--shard-size", "4"]);
    // The first request for each of the flaky ones fails, then the second one of row 1.
    let targets =
        ["/png/300/0.png", "/flaky/503/2/300/1.png", "/status/404/2", "/flaky/503/1/300/3.png", "/png/300/4.png"];
    let urls = targets.map(|target| server.url(target));
    let rows = urls.iter().enumerate().map(|(n, url)| format!("{url},{n}")).collect::<Vec<_>>();
    dir.write("list.csv", format!("url,id\n{}\n", rows.join("\n")));
    let first = fetchimg().arg("list.csv").args(SET).args(flags).args(["--encode", "jpeg"]).in_dir(&dir).run();
    assert_eq!(first.status, Some(1), "{first}");
    let retry = || fetchimg().args(["--retry-failed", "-o", "set", "--retries", "0"]).in_dir(&dir).run();
    let second = retry();
    assert_eq!(second.status, Some(1), "{second}");
    let rows = table(second.file("retry-00000.parquet")).1;
    let of =
        |rows: &[BTreeMap<String, Value>], name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(of(&rows, "retry_of"), ["000000001", "000000003"], "{second}");
    assert_eq!(of(&rows, "key"), ["retry-000000000", "retry-000000001"], "{second}");
    assert_eq!(of(&rows, "status"), ["failed_to_download", "success"], "{second}");
    assert_eq!(of(&rows, "id"), ["1", "3"], "{second}");
    assert_eq!(of(&rows, "format")[1], "jpeg", "with the options of the set\n{second}");
    let third = retry();
    assert_eq!(third.status, Some(0), "{third}");
    assert_eq!(of(&table(third.file("retry-00001.parquet")).1, "retry_of"), ["retry-000000000"], "{third}");
    let hits = server.hits_in_all();
    let nothing = retry();
    assert_eq!((nothing.status, server.hits_in_all()), (Some(0), hits), "{nothing}");
    assert!(!dir.join("set/retry-00002_stats.json").exists(), "{nothing}");
    assert!(
        nothing.stdout.starts_with("There is nothing to try again: no row has failed that may succeed"),
        "{nothing}"
    );
    // The list is as it was.
    let again = fetchimg().arg("list.csv").args(SET).args(flags).args(["--encode", "jpeg"]).in_dir(&dir).run();
    assert_eq!((again.status, server.hits_in_all()), (Some(0), hits), "{again}");
}

#[test]
fn what_failed_in_a_folder_of_files_is_tried_again_from_its_journal() {
    let (server, dir) = (Server::start(), TestDir::new());
    let urls = ["/png/300/0.png", "/flaky/503/1/300/1.png", "/status/404/2"].map(|target| server.url(target));
    let first = fetchimg().lines(&urls).args(["--retries", "0"]).in_dir(&dir).run();
    assert_eq!(first.status, Some(1), "{first}");
    let again = fetchimg().args(["--retry-failed"]).in_dir(&dir).run();
    assert_eq!(again.status, Some(0), "{again}");
    assert_eq!(again.files().into_iter().filter(|file| !file.starts_with('.')).collect::<Vec<_>>(), ["0.png", "1.png"]);
    assert_eq!(server.hits_in_all(), 4, "{again}");
    for more in [&[][..], &["--dry-run"]] {
        let nothing = fetchimg().args(["--retry-failed"]).args(more).in_dir(&dir).run();
        assert_eq!((nothing.status, server.hits_in_all()), (Some(0), 4), "{nothing}");
        assert!(nothing.stdout.starts_with("There is nothing to try again: no row has failed that may"), "{nothing}");
    }
}

#[test]
fn what_is_damaged_is_named() {
    let (server, dir) = (Server::start(), TestDir::new());
    let make = || fetchimg().lines(lines(&server, 6)).args(SET).args(["--shard-size", "1"]).in_dir(&dir).run();
    let run = make();
    assert_eq!(run.status, Some(0), "{run}");
    let verify = |folder: &str| fetchimg().args(["--verify-output", "-o", folder]).in_dir(&dir).run();
    let sound = verify("set");
    assert_eq!(
        (sound.status, &*sound.stdout),
        (Some(0), "6 shards with 6 samples of 6 rows: all is as the records say\n")
    );
    let path = |name: &str| dir.join("set").join(name);
    let mut tar = dir.read("set/00000.tar");
    tar[600] ^= 1;
    fs::write(path("00000.tar"), &tar).unwrap();
    fs::write(path("00001.tar"), &dir.read("set/00001.tar")[..700]).unwrap();
    fs::remove_file(path("00002.parquet")).unwrap();
    fs::remove_file(path("00003_stats.json")).unwrap();
    fs::write(path("00004_stats.json"), "{}").unwrap();
    let damaged = verify("set");
    assert_eq!(damaged.status, Some(1), "{damaged}");
    for line in [
        "00000: 00000.tar is not what was written: its SHA-256 is another one; remove 00000_stats.json, and the same",
        "00001: 00001.tar has 700 bytes, and the marker says",
        "00002: 00002.parquet is missing",
        "00003.parquet: it has no marker, so it is no part of the set",
        "00003.tar: it has no marker",
        "00004: its marker is none that fetchimg wrote",
        "5 shards with 4 samples of 4 rows: 6 to look at",
    ] {
        assert!(damaged.stdout.contains(line), "{line}\n{damaged}");
    }
    for shard in 0..5 {
        let _ = fs::remove_file(path(&format!("0000{shard}_stats.json")));
    }
    assert_eq!(make().status, Some(0));
    assert_eq!(verify("set").status, Some(0));

    fetchimg().lines(lines(&server, 3)).args(["-o", "files", "--hash", "sha256"]).in_dir(&dir).run();
    assert_eq!(verify("files").stdout, "3 files: all is as the records say\n");
    fs::write(dir.join("files/0.png"), "x").unwrap();
    fs::remove_file(dir.join("files/1.png")).unwrap();
    let damaged = verify("files");
    assert_eq!(damaged.status, Some(1), "{damaged}");
    assert!(damaged.stdout.contains("0.png: it has 1 bytes, and its record says 200"), "{damaged}");
    assert!(damaged.stdout.contains("1.png: it is missing; the same command fetches it again"), "{damaged}");
    let nothing = verify("nowhere");
    assert_eq!(nothing.status, Some(3), "{nothing}");
}

fn column<T: DataType>(group: &mut SerializedRowGroupWriter<'_, Vec<u8>>, values: &[T::T]) {
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<T>().write_batch(values, None, None).unwrap();
    column.close().unwrap();
}

/// A Parquet list with columns of several types, in row groups of `group_rows` rows.
fn typed_list(urls: &[String], group_rows: usize) -> Vec<u8> {
    let schema = "message list {
        required boolean good; required int32 small; required int64 large; required float score; required int32 day (DATE);
        required int64 seen (TIMESTAMP(MICROS,true)); required binary url (UTF8); required binary key (UTF8);
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let text = |text: &str| ByteArray::from(text);
    let numbers = (0..i32::try_from(urls.len()).unwrap()).collect::<Vec<_>>();
    for (urls, numbers) in urls.chunks(group_rows).zip(numbers.chunks(group_rows)) {
        let of = numbers.iter().copied();
        let mut group = writer.next_row_group().unwrap();
        column::<BoolType>(&mut group, &of.clone().map(|n| n % 2 == 0).collect::<Vec<_>>());
        column::<Int32Type>(&mut group, numbers);
        column::<Int64Type>(&mut group, &of.clone().map(|n| i64::from(n) << 40).collect::<Vec<_>>());
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        column::<FloatType>(&mut group, &of.clone().map(|n| n as f32 / 4.0).collect::<Vec<_>>());
        column::<Int32Type>(&mut group, &of.clone().map(|n| 20_000 + n).collect::<Vec<_>>());
        column::<Int64Type>(&mut group, &of.map(|n| 1_700_000_000_000_000 + i64::from(n)).collect::<Vec<_>>());
        column::<ByteArrayType>(&mut group, &urls.iter().map(|url| text(url)).collect::<Vec<_>>());
        column::<ByteArrayType>(&mut group, &urls.iter().map(|_| text("k")).collect::<Vec<_>>());
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

#[test]
fn images_inside_parquet_are_beside_the_columns_of_the_list_with_their_types() {
    let (server, dir) = (Server::start(), TestDir::new());
    let mut urls = lines(&server, 5);
    urls[2] = server.url("/status/404/2");
    dir.write("list.parquet", typed_list(&urls, 100));
    let flags = ["-o", "set", "--output-format", "parquet", "--manifest", "all.jsonl"];
    let run = fetchimg().arg("list.parquet").args(flags).in_dir(&dir).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert!(!dir.join("set/00000.tar").exists(), "{run}");
    let (columns, rows) = table(run.file("00000.parquet"));
    assert_eq!(columns[..8], ["good", "small", "large", "score", "day", "seen", "list_key", "key"]);
    assert_eq!(columns.last().map(String::as_str), Some("image"));
    assert!(!columns.contains(&"offset".to_owned()));
    for (n, row) in rows.iter().enumerate() {
        assert_eq!((&row["good"], &row["small"]), (&(n % 2 == 0).into(), &n.into()));
        assert_eq!((&row["large"], &row["list_key"]), (&((n as u64) << 40).into(), &"k".into()));
        assert_eq!(row["day"], format!("{} days", 20_000 + n));
        assert_eq!(row["seen"], format!("{} units", 1_700_000_000_000_000 + n));
        if n == 2 {
            assert_eq!(row["image"], Value::Null);
        } else {
            // The reader of these tests shows the number of bytes.
            assert_eq!(row["image"]["bytes"], server.body(&png(n)).len());
            assert_eq!(row["image"]["path"], format!("00000000{n}.png"));
        }
    }
    let manifest = dir.read("all.jsonl");
    let again = fetchimg().arg("list.parquet").args(flags).in_dir(&dir).run();
    assert_eq!(again.status, Some(0), "{again}");
    let extras = |lines: &[u8]| {
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()["extra"].to_string()).collect::<BTreeSet<_>>()
    };
    let sorted = |texts: BTreeSet<String>| {
        texts.iter().map(|text| serde_json::from_str::<BTreeMap<String, Value>>(text).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(sorted(extras(&manifest)), sorted(extras(&dir.read("all.jsonl"))), "{again}");
    let verified = fetchimg().in_dir(&dir).args(["--verify-output", "-o", "set"]).run();
    assert_eq!(verified.status, Some(0), "{verified}");
}

#[test]
fn a_dry_run_counts_the_rows_of_each_shard() {
    let (server, dir) = (Server::start(), TestDir::new());
    let urls = lines(&server, 25);
    let go = |rows: usize, flags: &[&str]| {
        let run = fetchimg().lines(&urls[..rows]).args(SET).args(["--shard-size", "10"]).args(flags);
        run.in_dir(&dir).run()
    };
    go(10, &[]);
    let hits = server.hits_in_all();
    let plan = go(25, &["--dry-run", "--manifest", "plan.jsonl"]);
    assert_eq!((plan.status, server.hits_in_all()), (Some(0), hits), "{plan}");
    for line in [
        "to fetch          15, from 1 host",
        "10 shard_exists",
        "shards            2",
        "00001: 10 rows",
        "00002: 5 rows",
    ] {
        assert!(plan.stdout.contains(line), "{line}\n{plan}");
    }
    let planned = String::from_utf8(dir.read("plan.jsonl")).unwrap();
    assert!(planned.contains(r#""shard":"00002","key":"000020004""#), "{planned}");
    let forecast = go(25, &["--sample", "5"]);
    assert_eq!(forecast.status, Some(0), "{forecast}");
    assert!(forecast.stdout.contains("orecast"), "{forecast}");
    assert!(forecast.stdout.contains("Nothing was kept: the sample of a set is only looked at"), "{forecast}");
    assert!(forecast.stderr.contains("Downloaded: http"), "{forecast}");
    assert!(!forecast.stderr.contains(" -> ") && !forecast.stdout.contains("are in set"), "{forecast}");
    assert_eq!(server.hits_in_all(), hits + 5, "{forecast}");
    assert!(!dir.join("set/00001_stats.json").exists(), "{forecast}");
}
