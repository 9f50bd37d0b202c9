//! The columns of the list in the tables of shards.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

use crate::common::sets::table;
use crate::common::{Server, TestDir, fetchimg};

const SET: [&str; 4] = ["-o", "set", "--output-format", "webdataset"];

/// The values of a column of a shard, in list order.
fn values(dir: &TestDir, shard: &str, column: &str) -> Vec<Value> {
    let (_, rows) = table(dir.read(format!("set/{shard}.parquet")));
    rows.into_iter().map(|mut row| row.remove(column).unwrap()).collect()
}

/// Lines of JSON with these values as `id`, each with a URL of its own.
fn lines(urls: &[String], ids: &[Value]) -> String {
    urls.iter().zip(ids).map(|(url, id)| json!({"url": url, "id": id}).to_string() + "\n").collect()
}

#[test]
fn whole_numbers_keep_all_their_digits() {
    let server = Server::start();
    let urls = [1, 2, 3].map(|n| server.url(&format!("/flaky/503/1/{}/{n}.png", 200 + n)));
    let [largest, beyond] = [json!(i64::MAX), json!(i64::MAX as u64 + 1)];
    for (ids, expected) in [
        ([largest.clone(), beyond.clone(), json!(7)], [largest.clone(), beyond.clone(), json!(7)]),
        (
            [json!(-1), beyond.clone(), largest.clone()],
            ["-1".into(), beyond.to_string().into(), largest.to_string().into()],
        ),
        (
            [json!(9_007_199_254_740_993_u64), json!(1.5), json!(null)],
            ["9007199254740993".into(), "1.5".into(), Value::Null],
        ),
        (
            [json!(9_007_199_254_740_992_u64), json!(1.5), json!(-3)],
            [json!(9_007_199_254_740_992.0), json!(1.5), json!(-3.0)],
        ),
    ] {
        let dir = TestDir::new();
        dir.write("list.jsonl", lines(&urls, &ids));
        let first = fetchimg().arg("list.jsonl").args(SET).args(["--retries", "0"]).in_dir(&dir).run();
        assert_eq!(values(&dir, "00000", "id"), expected, "{first}");
        // A set that is a list again, and rows that are tried again, have the same values.
        let dry = ["--dry-run", "--manifest", "-", "-q", "--input-format", "parquet"];
        let again = fetchimg().arg("set/00000.parquet").args(dry).in_dir(&dir).run();
        let read = again.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        assert_eq!(read.map(|record| record["extra"]["id"].clone()).collect::<Vec<_>>(), expected, "{again}");
    }
}

#[test]
fn rows_that_are_tried_again_keep_whole_numbers_of_shards_with_other_types() {
    let (server, dir) = (Server::start(), TestDir::new());
    let urls = (1..=6).map(|n| server.url(&format!("/flaky/503/1/{}/{n}.png", 200 + n))).collect::<Vec<_>>();
    let wide = i64::MAX as u64 + 3;
    // Each shard has a type of its own.
    dir.write("list.jsonl", lines(&urls, &[json!(3), json!(4), json!(wide), json!(wide + 1), json!(5), json!(6)]));
    let flags = ["--retries", "0", "--shard-size", "2"];
    let first = fetchimg().arg("list.jsonl").args(SET).args(flags).in_dir(&dir).run();
    assert_eq!(first.status, Some(1), "{first}");
    let again = fetchimg().args(["--retry-failed", "-o", "set"]).in_dir(&dir).run();
    assert_eq!(again.status, Some(0), "{again}");
    let found = ["retry-00000", "retry-00001", "retry-00002"].map(|shard| values(&dir, shard, "id")).concat();
    assert_eq!(found, [json!(3), json!(4), json!(wide), json!(wide + 1), json!(5), json!(6)], "{again}");
}

/// A list in Parquet with a column `id` of whole numbers or of numbers with a fraction.
fn parquet_list(url: &str, id: Result<i64, f64>, statistics: EnabledStatistics) -> Vec<u8> {
    let ty = if id.is_ok() { "int64" } else { "double" };
    let schema =
        parse_message_type(&format!("message list {{ required binary url (UTF8); required {ty} id; }}")).unwrap();
    let properties = WriterProperties::builder().set_statistics_enabled(statistics).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&[ByteArray::from(url)], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    match id {
        Ok(id) => column.typed::<Int64Type>().write_batch(&[id], None, None).unwrap(),
        Err(id) => column.typed::<DoubleType>().write_batch(&[id], None, None).unwrap(),
    };
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn lists_in_parquet_share_a_type_that_holds_the_values_of_all() {
    let server = Server::start();
    let [one, two] = ["/png/100/1.png", "/png/101/2.png"].map(|target| server.url(target));
    let large = 9_007_199_254_740_993_i64;
    for (id, statistics, expected) in [
        (large, EnabledStatistics::Chunk, [json!(large.to_string()), json!("0.5")]),
        (8, EnabledStatistics::Chunk, [json!(8.0), json!(0.5)]),
        // Nothing says how large the numbers are.
        (8, EnabledStatistics::None, [json!("8"), json!("0.5")]),
    ] {
        let dir = TestDir::new();
        dir.write("a.parquet", parquet_list(&one, Ok(id), statistics));
        dir.write("b.parquet", parquet_list(&two, Err(0.5), statistics));
        let run = fetchimg().args(["a.parquet", "b.parquet"]).args(SET).in_dir(&dir).run();
        assert_eq!((run.status, values(&dir, "00000", "id")), (Some(0), expected.to_vec()), "{run}");
    }
}

#[test]
fn a_column_that_no_row_has_is_named_with_the_flag_that_asks_for_it() {
    let (server, dir) = (Server::start(), TestDir::new());
    let url = server.url("/png/100/1.png");
    dir.write("list.jsonl", json!({"url": url, "caption": "one", "k": "a"}).to_string());
    dir.write("list.csv", format!("url,caption,k\n{url},one,a\n"));
    dir.write("list.txt", &url);
    let go = |list: &str, flags: &[&str]| {
        let folder = ["-o", "set", "--output-format", "webdataset", "--overwrite"];
        fetchimg().arg(list).args(folder).args(flags).in_dir(&dir).run()
    };
    for (flags, sentence) in [
        (
            ["--caption-column", "capt"],
            "No object of list.jsonl has a capt, which --caption-column asks for, so no image has",
        ),
        (
            ["--key", "{col.kk}{row}"],
            "No object of list.jsonl has a kk, which --key asks for, so no key has a part of it",
        ),
    ] {
        let run = go("list.jsonl", &flags);
        assert!(run.status == Some(0) && run.stderr.contains(sentence), "{sentence}\n{run}");
        let column = if flags[0] == "--key" { "kk" } else { "capt" };
        for list in ["list.csv", "list.txt"] {
            let refused = go(list, &flags);
            let sentence = format!("{list} has no column {column}, which {} asks for", flags[0]);
            assert!(refused.status == Some(3) && refused.stderr.contains(&sentence), "{sentence}\n{refused}");
        }
    }
    let right = go("list.jsonl", &["--caption-column", "caption", "--key", "{col.k}{row}"]);
    assert!(right.status == Some(0) && !right.stderr.contains("asks for"), "{right}");
    let broken = [format!("url,caption\n{url},caf").into_bytes(), b"\xe9\n".to_vec()].concat();
    dir.write("list.csv", broken);
    let run = go("list.csv", &["--caption-column", "caption"]);
    assert_eq!((run.status, values(&dir, "00000", "caption")), (Some(0), vec!["caf\u{fffd}".into()]), "{run}");
}
