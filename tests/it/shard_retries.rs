//! What failed in a set is tried again (`--retry-failed`): in shards of its own, with the columns of the list.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

use crate::common::sets::{table, tar_entries};
use crate::common::{Run, Server, TestDir, fetchimg};

const SET: [&str; 6] = ["-o", "set", "--output-format", "webdataset", "--retries", "0"];

type Rows = Vec<BTreeMap<String, Value>>;

fn rows(dir: &TestDir, shard: &str) -> Rows {
    table(dir.read(format!("set/{shard}.parquet"))).1
}

/// The values of a column.
fn of(rows: &[BTreeMap<String, Value>], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}

/// The complete shards.
fn shards(dir: &TestDir) -> Vec<String> {
    let files = fs::read_dir(dir.join("set")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut shards = files.filter_map(|name| name.strip_suffix("_stats.json").map(str::to_owned)).collect::<Vec<_>>();
    shards.sort();
    shards
}

fn retry(dir: &TestDir) -> Run {
    fetchimg().args(["--retry-failed", "-o", "set", "--retries", "0"]).in_dir(dir).run()
}

#[track_caller]
fn assert_sound(dir: &TestDir) {
    let verified = fetchimg().args(["--verify-output", "-o", "set"]).in_dir(dir).run();
    assert_eq!(verified.status, Some(0), "{verified}");
}

#[test]
fn they_have_names_of_their_own_while_shards_of_the_list_are_missing() {
    let (server, dir) = (Server::start(), TestDir::new());
    let urls = (0..12).map(|n| match n {
        1 | 9 => server.url(&format!("/flaky/503/1/300/{n}.png")),
        5 => server.url("/flaky/503/2/300/5.png"),
        _ => server.url(&format!("/png/{}/{n}.png", 300 + n)),
    });
    dir.write("list.txt", urls.collect::<Vec<_>>().join("\n"));
    let make = |flags: &[&str]| {
        let run = fetchimg().arg("list.txt").args(SET).args(["--shard-size", "4"]).args(flags);
        run.in_dir(&dir).run()
    };
    // Shard 1 is not made yet, and behind shard 2 the list may grow.
    assert_eq!(make(&["--slice", "0/2"]).status, Some(1));
    assert_eq!(shards(&dir), ["00000", "00002"]);
    let plan = fetchimg().args(["--retry-failed", "--dry-run", "-o", "set"]).in_dir(&dir).run();
    assert!(plan.stdout.contains("retry-00000: 2 rows"), "{plan}");
    let again = retry(&dir);
    assert_eq!(again.status, Some(0), "{again}");
    assert_eq!(shards(&dir), ["00000", "00002", "retry-00000"], "{again}");
    let retried = rows(&dir, "retry-00000");
    assert_eq!(of(&retried, "retry_of"), ["000000001", "000020001"]);
    assert_eq!(of(&retried, "retry_of_shard"), ["00000", "00002"]);
    assert_eq!(of(&retried, "key"), ["retry-000000000", "retry-000000001"]);
    // The other share is made as if nothing had been tried again.
    assert_eq!(make(&["--slice", "1/2"]).status, Some(1));
    let whole = make(&[]);
    assert_eq!(whole.status, Some(0), "{whole}");
    assert_eq!(retry(&dir).status, Some(1), "row 5 fails again");
    assert_eq!(retry(&dir).status, Some(0));
    assert_eq!(of(&rows(&dir, "retry-00002"), "retry_of_shard"), ["retry-00001"]);
    let hits = server.hits_in_all();
    assert_eq!((retry(&dir).status, server.hits_in_all()), (Some(0), hits), "nothing is left");
    let plan = fetchimg().args(["--retry-failed", "--dry-run", "-o", "set"]).in_dir(&dir).run();
    assert_eq!(plan.stdout, "There is nothing to try again: no row has failed that may succeed now.\n", "{plan}");
    let mut keys = BTreeSet::new();
    for shard in shards(&dir) {
        for (name, _) in tar_entries(&dir.read(format!("set/{shard}.tar"))) {
            assert!(keys.insert(name.clone()), "{name} is there twice");
        }
    }
    assert_eq!(keys.len(), 24, "{keys:?}");
    assert_sound(&dir);
    let refused = make(&["--shard", "retry-00000"]);
    assert_eq!(refused.status, Some(2), "{refused}");
    assert!(refused.stderr.contains("such names are those of the shards that --retry-failed makes"), "{refused}");
}

#[test]
fn a_shard_of_a_killed_retry_keeps_its_rows_whichever_others_are_complete() {
    let (server, dir) = (Server::start(), TestDir::new());
    let urls = (0..6).map(|n| server.url(&format!("/flaky/503/1/{}/{n}.png", 300 + n))).collect::<Vec<_>>();
    dir.write("list.txt", urls.join("\n"));
    let first = fetchimg().arg("list.txt").args(SET).args(["--shard-size", "2"]).in_dir(&dir).run();
    assert_eq!(first.status, Some(1), "{first}");
    assert_eq!(retry(&dir).status, Some(0));
    // As if the run had been killed when the others were complete.
    for end in ["_stats.json", ".tar", ".parquet"] {
        fs::remove_file(dir.join(format!("set/retry-00000{end}"))).unwrap();
    }
    let again = retry(&dir);
    assert_eq!(again.status, Some(0), "{again}");
    assert_eq!(shards(&dir)[3..], ["retry-00000", "retry-00001", "retry-00002"]);
    assert_eq!(of(&rows(&dir, "retry-00000"), "url"), [json!(urls[0]), json!(urls[1])]);
    assert_sound(&dir);
}

#[test]
fn a_key_that_repeats_between_shards_finds_its_row_each_time() {
    let (server, dir) = (Server::start(), TestDir::new());
    let urls = ["/png/300/0.png", "/flaky/503/2/300/1.png", "/png/300/2.png", "/flaky/503/3/300/3.png"];
    let urls = urls.map(|target| server.url(target));
    let flags = ["--shard-size", "2", "--key", "{row}"];
    let first = fetchimg().lines(&urls).args(SET).args(flags).in_dir(&dir).run();
    assert_eq!(first.status, Some(1), "{first}");
    for (shard, status, retried) in [("retry-00000", 1, 2), ("retry-00001", 1, 2), ("retry-00002", 0, 1)] {
        let again = retry(&dir);
        assert_eq!(again.status, Some(status), "{shard}: {again}");
        assert_eq!(rows(&dir, shard).len(), retried, "{shard}: {again}");
    }
    assert_eq!(of(&rows(&dir, "retry-00000"), "key"), ["retry-00000-0000", "retry-00000-0001"]);
    assert_eq!(of(&rows(&dir, "retry-00000"), "retry_of"), ["0001", "0001"]);
    assert_eq!(of(&rows(&dir, "retry-00000"), "retry_of_shard"), ["00000", "00001"]);
    assert_eq!(of(&rows(&dir, "retry-00002"), "url"), [urls[3].as_str()]);
    assert_eq!(retry(&dir).status, Some(0));
    assert_eq!(shards(&dir).len(), 5);
    assert_sound(&dir);
}

#[test]
fn rows_that_repeat_a_url_that_failed_are_tried_again_with_it() {
    let (server, dir) = (Server::start(), TestDir::new());
    let url = server.url("/flaky/503/2/300/a.png");
    let urls = [url.clone(), server.url("/status/404/b"), format!("{url}#x"), server.url("/status/404/b")];
    let first = fetchimg().lines(&urls).args(SET).in_dir(&dir).run();
    assert_eq!(first.status, Some(1), "{first}");
    assert_eq!(of(&rows(&dir, "00000"), "error"), ["http_status", "http_status", "duplicate_url", "duplicate_url"]);
    assert_eq!(retry(&dir).status, Some(1));
    let failed = rows(&dir, "retry-00000");
    assert_eq!(of(&failed, "retry_of"), ["000000000", "000000002"]);
    assert_eq!(of(&failed, "error"), ["http_status", "duplicate_url"]);
    let again = retry(&dir);
    assert_eq!(again.status, Some(0), "{again}");
    let saved = rows(&dir, "retry-00001");
    assert_eq!(of(&saved, "status"), ["success", "skipped"]);
    assert_eq!(saved[1]["error_message"], "the same as retry-00001.tar/retry-000010000.png");
    let hits = server.hits_in_all();
    assert_eq!((retry(&dir).status, server.hits_in_all()), (Some(0), hits));
}

#[test]
fn columns_of_the_list_keep_names_types_and_values_though_their_names_are_ours() {
    let (server, dir) = (Server::start(), TestDir::new());
    let schema = "message list {
        required binary url (UTF8); required int32 key; required int32 list_key; required int32 status;
        required int32 retry_of; required int32 md5; required binary text (UTF8);
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer =
        SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::builder().build())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts = |texts: [String; 2]| texts.map(|text| ByteArray::from(text.as_str()));
    let urls = ["/png/300/0.png", "/flaky/503/2/300/1.png"].map(|target| server.url(target));
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&texts(urls), None, None).unwrap();
    column.close().unwrap();
    for number in 1..=5 {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int32Type>().write_batch(&[number, 10 * number], None, None).unwrap();
        column.close().unwrap();
    }
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&texts(["one", "two"].map(str::to_owned)), None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    dir.write("list.parquet", writer.into_inner().unwrap());
    let flags = ["--caption-column", "text", "--hash", "md5", "--manifest", "all.jsonl"];
    let make = || fetchimg().arg("list.parquet").args(SET).args(flags).in_dir(&dir).run();
    let first = make();
    assert_eq!(first.status, Some(1), "{first}");
    let (columns, before) = table(first.file("00000.parquet"));
    assert_eq!(
        columns[..6],
        ["list_key", "list_list_key", "list_status", "list_retry_of", "list_md5", "key"],
        "{columns:?}"
    );
    assert_eq!(before[1]["list_list_key"], 20);
    assert!(before[0]["md5"].is_string(), "{before:?}");
    let extras = || {
        let lines = String::from_utf8(dir.read("all.jsonl")).unwrap();
        let records = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.map(|record| (record["index"].to_string(), record["extra"].clone())).collect::<BTreeMap<_, _>>()
    };
    let extra = extras();
    assert_eq!(extra["1"], json!({"key": 10, "list_key": 20, "status": 30, "retry_of": 40, "md5": 50, "text": "two"}));
    assert_eq!(make().status, Some(0));
    assert_eq!(extras(), extra, "as they are read back");
    for (shard, status) in [("retry-00000", 1), ("retry-00001", 0)] {
        let again = retry(&dir);
        assert_eq!(again.status, Some(status), "{again}");
        let (columns, after) = table(again.file(&format!("{shard}.parquet")));
        assert_eq!(columns[..6], ["list_key", "list_list_key", "list_status", "list_retry_of", "list_md5", "key"]);
        for column in &columns[..5] {
            assert_eq!(after[0][column], before[1][column], "{shard}: {column}");
        }
        assert_eq!(
            (&after[0]["caption"], &after[0]["retry_of"]),
            (
                &"two".into(),
                &match status {
                    1 => "000000001".into(),
                    _ => json!("retry-000000000"),
                }
            )
        );
    }
}

#[test]
fn what_is_tried_again_has_the_options_of_the_set() {
    let (server, dir) = (Server::start(), TestDir::new());
    let urls = [server.url("/flaky/503/1/300/0.png"), server.url("/png/300/1.png")];
    let first = fetchimg().lines(&urls).args(SET).args(["--encode", "jpeg", "--file-urls"]);
    assert_eq!(first.in_dir(&dir).run().status, Some(1));
    let hits = server.hits_in_all();
    for (flags, sentence) in [
        (&["--file-urls", "--resize", "16"][..], "made without --resize; leave --resize out, because the options are"),
        (&["--file-urls", "--encode", "png"], "made with --encode jpeg; leave --encode out, because the options are"),
        (&["--file-urls", "--output-format", "parquet"], "holds one kind; leave --output-format out"),
        (&[], "made with --file-urls; --file-urls is to be given again"),
    ] {
        for more in [&["--dry-run"][..], &[]] {
            let run = fetchimg().args(["--retry-failed", "-o", "set"]).args(flags).args(more).in_dir(&dir).run();
            assert_eq!((run.status, server.hits_in_all()), (Some(3), hits), "{run}");
            assert!(run.stderr.contains(sentence), "{sentence}\n{run}");
        }
    }
    let again = fetchimg().args(["--retry-failed", "-o", "set", "--file-urls"]).in_dir(&dir).run();
    assert_eq!((again.status, server.hits_in_all()), (Some(0), hits + 1), "{again}");
}
