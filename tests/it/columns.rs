//! Lists with columns: CSV, TSV, JSON Lines and Parquet, compressed and plain, from files and from pipes.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaDataReader, ParquetMetaDataWriter};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

use crate::common::{JOURNAL, Run, Server, TestDir, fetchimg, wait_until};

/// The longest wait for a request. Every wait is far shorter.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// The same two rows in every format, by its usual extension.
fn lists(server: &Server) -> Vec<(&'static str, Vec<u8>)> {
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/400/b.png"));
    let csv = format!("caption,url,id\r\n\"one, \"\"two\"\"\n\",{a},7\r\n\r\nünï,{b},\r\n");
    let tsv = format!("caption\turl\tid\n\"one, \"\"two\"\"\n\"\t{a}\t7\nünï\t{b}\t\n");
    let jsonl = format!(
        "{}\n\n{}",
        json!({"caption": "one, \"two\"\n", "url": a, "id": 7}),
        json!({"caption": "ünï", "url": b, "id": null})
    );
    let parquet = parquet(&["one, \"two\"\n", "ünï"], &[&a, &b], &[7]);
    vec![("csv", csv.into()), ("tsv", tsv.into()), ("jsonl", jsonl.into()), ("parquet", parquet)]
}

/// A Parquet file with as many row groups as rows; those without an `id` have null.
fn parquet(captions: &[&str], urls: &[&str], ids: &[i64]) -> Vec<u8> {
    let schema = "message list { required binary caption (UTF8); required binary url (UTF8); optional int64 id; }";
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let properties = Arc::new(WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).expect("a writer");
    for (row, (caption, url)) in captions.iter().zip(urls).enumerate() {
        let mut group = writer.next_row_group().expect("a row group");
        for text in [caption, url] {
            let mut column = group.next_column().expect("no error").expect("a column");
            column.typed::<ByteArrayType>().write_batch(&[ByteArray::from(*text)], None, None).expect("written");
            column.close().expect("written");
        }
        let mut column = group.next_column().expect("no error").expect("a column");
        let id = ids.get(row).copied();
        let level = [i16::from(id.is_some())];
        column.typed::<Int64Type>().write_batch(id.as_slice(), Some(&level), None).expect("written");
        column.close().expect("written");
        group.close().expect("written");
    }
    writer.into_inner().expect("a file")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("packed")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 0).expect("packed")
}

/// Both images are there, and the records carry the columns.
#[track_caller]
fn assert_both(server: &Server, run: &Run, extension: &str) {
    assert_eq!(run.status, Some(0), "{extension}: {run}");
    assert_eq!(run.outcomes(), ["saved a.png", "saved b.png"], "{extension}: {run}");
    assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{extension}: {run}");
    let (seven, none) = match extension {
        "csv" | "tsv" => (json!("7"), json!("")),
        _ => (json!(7), Value::Null),
    };
    assert_eq!(run.record(0)["extra"], json!({"caption": "one, \"two\"\n", "id": seven}), "{extension}: {run}");
    assert_eq!(run.record(1)["extra"], json!({"caption": "ünï", "id": none}), "{extension}: {run}");
}

#[test]
fn columns_are_carried_into_records() {
    let server = Server::start();
    for (extension, list) in lists(&server) {
        let dir = TestDir::new();
        let name = format!("list.{extension}");
        dir.write(&name, &list);
        let run = fetchimg().in_dir(&dir).arg(&name).run();
        assert_both(&server, &run, extension);
        if extension != "parquet" {
            let order = run.file(JOURNAL);
            let order = String::from_utf8(order).expect("UTF-8");
            assert!(order.contains(r#""extra":{"caption":"ünï","id":"#), "{order}");
        }
    }
}

#[test]
fn lists_may_be_compressed_and_come_from_anywhere() {
    let server = Server::start();
    for (extension, list) in lists(&server) {
        for (suffix, packed) in [("", list.clone()), (".gz", gzip(&list)), (".zst", zstd(&list))] {
            let dir = TestDir::new();
            let name = format!("list.{extension}{suffix}");
            dir.write(&name, &packed);
            assert_both(&server, &fetchimg().in_dir(&dir).arg(&name).run(), extension);
            // The format is detected by the first bytes, not by a name.
            let dir = TestDir::new();
            dir.write("list", &packed);
            assert_both(&server, &fetchimg().in_dir(&dir).arg("list").run(), extension);
            assert_both(&server, &fetchimg().stdin(packed.clone()).run(), extension);
            // A flag takes precedence over the name.
            let dir = TestDir::new();
            dir.write("list.txt", &packed);
            let run = fetchimg().in_dir(&dir).args(["list.txt", "--input-format", extension]).run();
            assert_both(&server, &run, extension);
        }
    }
}

#[test]
fn text_may_be_compressed_too() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png\n"), server.url("/png/400/b.png\n"));
    for list in [
        gzip(format!("{a}{b}").as_bytes()),
        [gzip(a.as_bytes()), gzip(b.as_bytes())].concat(),
        [zstd(a.as_bytes()), zstd(b.as_bytes())].concat(),
    ] {
        let run = fetchimg().stdin(list).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(run.outcomes(), ["saved a.png", "saved b.png"], "{run}");
    }
}

#[test]
fn a_compressed_list_that_is_cut_short_ends_the_run_and_leaves_rows_that_had_not_begun() {
    let server = Server::start();
    let dir = TestDir::new();
    let lines = (0..50).map(|row| server.url(&format!("/png/300/{row}.png\n"))).collect::<Vec<_>>().concat();
    let list = gzip(lines.as_bytes());
    dir.write("list.gz", &list[..list.len() - 8]);
    let run = fetchimg().in_dir(&dir).arg("list.gz").run();

    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("cannot read the list list.gz: its gzip data is cut short"), "{run}");
    let records = run.records();
    assert!((1..=50).contains(&records.len()), "{run}");
    assert!(records.iter().all(|record| record["status"] == "saved"), "{run}");
    assert!(run.stdout.ends_with("The list was not read to its end.\n"), "{run}");
}

#[test]
fn other_names_of_columns_can_be_given() {
    let server = Server::start();
    let a = server.url("/png/300/a.png");
    let list = format!("url,image link,md5\nno url,{a},\n");
    let run = fetchimg().stdin(list).args(["--url-column", "image link", "--checksum-column", "md5"]).run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.record(0)["url"], a, "{run}");
    assert_eq!(run.record(0)["extra"], json!({"url": "no url"}), "{run}");
}

#[test]
fn a_broken_row_is_one_failed_record_and_keeps_its_columns() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/300/b.png"));
    let dir = TestDir::new();
    dir.write(
        "list.csv",
        format!("caption,url,md5\none,{a},\ntwo\nthree,,\nfour,{a},123\nfive,example.org,\nsix,{b},\n"),
    );
    let objects = [
        json!({"caption": "one", "url": a}).to_string(),
        "two".to_owned(),
        json!({"caption": "three"}).to_string(),
        json!({"caption": "four", "url": a, "md5": "123"}).to_string(),
        json!({"caption": "five", "url": "example.org"}).to_string(),
        json!({"caption": "six", "url": b, "md5": null}).to_string(),
    ];
    dir.write("list.jsonl", objects.join("\n"));
    for (list, first) in [("list.csv", 2), ("list.jsonl", 1)] {
        let output = format!("from {list}");
        let run = fetchimg().in_dir(&dir).args([list, "--checksum-column", "md5", "-o", &output]).run();
        assert_eq!(run.status, Some(1), "{run}");
        let failed = ["failed bad_url", "failed bad_url", "failed checksum", "failed bad_url"];
        assert_eq!(run.outcomes(), [&["saved a.png"][..], &failed, &["saved b.png"]].concat(), "{run}");
        for (index, caption) in (2..).zip(["three", "four", "five"]) {
            let record = run.record(index);
            assert_eq!(record["extra"], json!({"caption": caption}), "{run}");
            let message = record["message"].as_str().expect("a message");
            assert!(message.contains(&format!("line {} of {list}", index + first)), "{message}");
        }
        assert_eq!(run.record(3)["url"], a, "{run}");
        assert!(run.stderr.contains(&format!("Failed: line {} of {list}", 1 + first)), "{run}");
    }
    assert_eq!(server.hits("/png/300/a.png"), 2, "once for each list");
}

#[test]
fn a_missing_column_ends_the_run_and_names_those_that_are_there() {
    let server = Server::start();
    let dir = TestDir::new();
    for (extension, list) in lists(&server) {
        let name = format!("list.{extension}");
        dir.write(&name, &list);
        if extension == "jsonl" {
            continue;
        }
        for (flag, sentence) in [
            ("--url-column", "has no column link; it has caption, url, id; name the one with --url-column"),
            ("--checksum-column", "has no column link, which --checksum-column asks for; it has caption, url, id"),
            ("--name={col.id}-{col.link:0:2}", "has no column link, which --name asks for; it has caption, url, id"),
        ] {
            let link = (!flag.contains('=')).then_some("link");
            let run = fetchimg().in_dir(&dir).args([&*name, flag]).args(link).run();
            assert_eq!(run.status, Some(3), "{run}");
            assert_eq!(run.stderr, format!("fetchimg: {name} {sentence}\n"), "{run}");
        }
    }
    assert_eq!(server.requests().len(), 0);
    let run = fetchimg().in_dir(&dir).args(["list.jsonl", "--url-column", "link"]).run();
    assert_eq!((run.status, run.outcomes()), (Some(1), vec!["failed bad_url".to_owned(); 2]), "{run}");
    // Here each object may have other keys.
    let run = fetchimg().in_dir(&dir).args(["list.jsonl", "--name", "{col.link}-{index}", "-o", "named"]).run();
    assert_eq!(
        (run.status, run.outcomes()),
        (Some(0), vec!["saved none-0.png".to_owned(), "saved none-1.png".to_owned()])
    );
}

#[test]
fn a_text_list_has_no_checksums_to_look_at() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/png/300/a.png")]).args(["--checksum-column", "md5"]).run();

    assert_eq!(run.status, Some(3), "{run}");
    assert!(
        run.stderr.contains(
            "has no column md5: it was taken for text with one URL per line; say what it is with --input-format"
        ),
        "{run}"
    );
    assert_eq!(server.requests().len(), 0, "{run}");
}

#[test]
fn objects_without_any_checksum_are_warned_of() {
    let server = Server::start();
    let object = |name: &str| format!("{{\"url\":\"{}\"}}\n", server.url(&format!("/png/300/{name}.png")));
    for (more, warns) in [("", true), ("{\"url\":\"\",\"md5\":null}\n", false)] {
        let list = [object("a"), object("b"), more.to_owned()].concat();
        let run = fetchimg().stdin(list).args(["--checksum-column", "md5"]).run();
        assert_eq!(run.outcomes()[..2], ["saved a.png", "saved b.png"], "{run}");
        let warning = "No object of standard input has a md5, so nothing was compared with a checksum";
        assert_eq!(run.stderr.contains(warning), warns, "{run}");
    }
}

#[test]
fn an_empty_list_with_columns_is_done_at_once() {
    for (format, list) in [("csv", ""), ("csv", "url,caption\n"), ("tsv", "\n\n"), ("jsonl", " \n")] {
        let run = fetchimg().stdin(list).args(["--input-format", format]).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert!(run.stdout.contains("The list is empty"), "{run}");
    }
}

#[test]
fn lists_of_all_formats_are_one_list() {
    let server = Server::start();
    let dir = TestDir::new();
    for (extension, list) in lists(&server) {
        dir.write(format!("list.{extension}"), list);
    }
    dir.write("list.txt", server.url("/png/300/c.png"));
    let names = ["list.parquet", "list.txt", "list.csv", "list.jsonl", "list.tsv"];
    let run = fetchimg().in_dir(&dir).args(names).run();

    assert_eq!(run.status, Some(0), "{run}");
    let outcomes = run.outcomes();
    assert_eq!(outcomes[..3], ["saved a.png", "saved b.png", "saved c.png"], "{run}");
    assert_eq!((outcomes.len(), &*outcomes[8]), (9, "skipped duplicate_url b.png"), "{run}");
    assert_eq!(run.record(8)["extra"], json!({"caption": "ünï", "id": ""}), "{run}");
}

#[test]
fn both_modes_read_every_format_twice() {
    let server = Server::start();
    for (extension, list) in lists(&server) {
        for list in [list.clone(), gzip(&list)] {
            let run = fetchimg().stdin(list).args(["--compare", "--json"]).run();
            assert_eq!(run.status, Some(0), "{extension}: {run}");
            let modes = run.report()["modes"].as_array().map(Vec::len);
            assert_eq!(modes, Some(2), "{extension}: {run}");
            assert_eq!(run.records().len(), 4, "{extension}: {run}");
            assert_eq!(run.record(1)["extra"]["caption"], "ünï", "{extension}: {run}");
        }
    }
}

#[test]
fn the_first_request_leaves_while_the_list_is_still_being_written() {
    for (header, row) in
        [("url,caption\n", "URL,one"), ("caption\turl\n", "one\tURL"), ("", r#"{"caption":"one","url":"URL"}"#)]
    {
        let server = Server::start();
        let mut running = fetchimg().stdin_pipe();
        for name in ["a.png", "b.png"] {
            let target = format!("/png/300/{name}");
            let header = if name == "a.png" { header } else { "" };
            running.write_line(format!("{header}{}", row.replace("URL", &server.url(&target))));
            server.wait_for_hits(&target, 1, MAX_WAIT);
            wait_until("the file", || running.dir().join("images").join(name).exists());
        }
        assert!(running.is_running());
        let run = running.wait();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(run.record(1)["extra"], json!({"caption": "one"}), "{run}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_parquet_file_of_ten_thousand_columns_takes_little_memory() {
    const COLUMNS: usize = 10_000;
    let columns = (0..COLUMNS).map(|n| format!("optional int64 c{n};")).collect::<Vec<_>>().concat();
    let schema = format!("message list {{ required binary url (UTF8); {columns} }}");
    let schema = Arc::new(parse_message_type(&schema).expect("a schema"));
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).expect("a writer");
    let mut group = writer.next_row_group().expect("a row group");
    let rows = 20;
    let urls = (0..rows).map(|row| ByteArray::from(&*format!("http://a.invalid/{row}.png"))).collect::<Vec<_>>();
    let mut column = group.next_column().expect("no error").expect("a column");
    column.typed::<ByteArrayType>().write_batch(&urls, None, None).expect("written");
    column.close().expect("written");
    while let Some(mut column) = group.next_column().expect("no error") {
        column.typed::<Int64Type>().write_batch(&[7; 20], Some(&[1; 20]), None).expect("written");
        column.close().expect("written");
    }
    group.close().expect("written");
    let dir = TestDir::new();
    dir.write("list.parquet", writer.into_inner().expect("a file"));
    let flags = ["list.parquet", "--dry-run", "--json"];
    let (run, peak) = fetchimg().in_dir(&dir).args(flags).start().wait_and_weigh();
    assert_eq!((run.status, run.report()["to_fetch"].as_u64()), (Some(0), Some(rows)), "{run}");
    assert!(peak < 150 << 20, "{peak} bytes");
}

#[test]
fn blank_lines_before_a_list_do_not_hide_its_format() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    for list in
        [format!("url,caption\n{url},one\n"), format!("caption\turl\none\t{url}\n"), json!({"url": url}).to_string()]
    {
        for blank in ["\n", " \n", "\r\n\r\n", "\u{feff}\n\u{a0}\n", "\u{feff}"] {
            let run = fetchimg().stdin(format!("{blank}{list}")).run();
            assert_eq!(
                (run.status, run.outcomes()),
                (Some(0), vec!["saved a.png".to_owned()]),
                "{blank:?} {list} {run}"
            );
        }
    }
}

#[test]
fn marks_and_odd_spaces_around_urls_are_not_sent() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/300/b.png"));
    let mark = "\u{feff}";
    let lists: [(&str, Vec<u8>); 6] = [
        ("joined.txt", format!("{mark}{a}\r\n{mark}{b}\r\n").into()),
        ("joined.txt.gz", [gzip(format!("{mark}{a}\n").as_bytes()), gzip(format!("{mark}{b}\n").as_bytes())].concat()),
        ("list.csv", format!("{mark}url,c\n\u{a0}{a},\n{mark}\"{b}\u{200b}\",\n").into()),
        ("list.tsv", format!("c\turl\n\t\u{2060}{a}\n\t{b}\u{200f}\n").into()),
        (
            "list.jsonl",
            format!("{mark}{}\n{mark}{}\n", json!({"url": format!("{a}\u{a0}")}), json!({"url": format!("{mark}{b}")}))
                .into(),
        ),
        ("list.parquet", parquet(&["", ""], &[&format!("{a}\u{a0}"), &format!("\u{200b}{b}")], &[])),
    ];
    for (name, list) in lists {
        let dir = TestDir::new();
        dir.write(name, list);
        let run = fetchimg().in_dir(&dir).arg(name).run();
        assert_eq!(
            (run.status, run.outcomes()),
            (Some(0), vec!["saved a.png".to_owned(), "saved b.png".to_owned()]),
            "{name} {run}"
        );
    }
}

#[test]
fn a_caption_in_another_encoding_costs_no_image() {
    let server = Server::start();
    let dir = TestDir::new();
    let row = |name: &str, caption: &[u8]| {
        [server.url(&format!("/png/300/{name}.png,")).as_bytes(), caption, b"\r\n"].concat()
    };
    dir.write("list.csv", [b"url,caption\r\n".to_vec(), row("a", b"caf\xe9"), row("b", b"\x93quoted\x94")].concat());
    let run = fetchimg().in_dir(&dir).arg("list.csv").run();
    assert_eq!(
        (run.status, run.outcomes()),
        (Some(0), vec!["saved a.png".to_owned(), "saved b.png".to_owned()]),
        "{run}"
    );
    assert_eq!(run.record(0)["extra"], json!({"caption": "caf\u{fffd}"}), "{run}");
    assert_eq!(run.stderr.matches("iconv -f WINDOWS-1252 -t UTF-8 list.csv").count(), 1, "{run}");
}

#[test]
fn lists_are_read_in_the_encoding_that_is_named() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    let utf_16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let csv = |caption: &[u8]| [b"caption,url\n", caption, format!(",{url}\n").as_bytes()].concat();
    let russian = [b"{\"caption\":\"\xc4\xc1\",\"url\":\"", url.as_bytes(), b"\"}\n"].concat();
    // The second byte of the character is a bar.
    let bar = [b"caption|url\n\x83\x7c|", url.as_bytes(), b"\n"].concat();
    for (name, encoding, list, caption) in [
        ("list.csv", "windows-1252", csv(b"caf\xe9 \x80"), "café €"),
        ("list", "CP1252", csv(b"caf\xe9 \x80"), "café €"),
        ("list.tsv", "utf-16", utf_16(&format!("caption\turl\ncafé €\t{url}\n")), "café €"),
        ("list", "utf-16be", utf_16(&format!("\u{feff}caption\turl\r\ncafé €\t{url}\r\n")), "café €"),
        ("list.csv", "shift_jis", csv(b"\x93\xfa\x96\x7b"), "日本"),
        ("list.csv", "shift_jis", bar, "ポ"),
        ("list", "koi8-r", russian, "да"),
    ] {
        let dir = TestDir::new();
        dir.write(name, &list);
        let run = fetchimg().in_dir(&dir).args([name, "--input-encoding", encoding]).run();
        assert_eq!((run.status, run.outcomes()), (Some(0), vec!["saved a.png".to_owned()]), "{encoding} {run}");
        assert_eq!(run.record(0)["extra"]["caption"], caption, "{encoding} {run}");
        assert!(!run.stderr.contains("UTF-8"), "{encoding} {run}");
    }
}

#[test]
fn a_column_is_known_by_its_name_in_any_case() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    for list in [
        format!("ID,URL\n1,{url}\n"),
        format!("Url\tID\n{url}\t1\n"),
        format!("{{\"ID\":\"1\",\"URL\":\"{url}\"}}\n"),
        format!("URL,url,ID\nx,{url},1\n"),
    ] {
        let run = fetchimg().stdin(list.clone()).run();
        assert_eq!((run.status, run.outcomes()), (Some(0), vec!["saved a.png".to_owned()]), "{list}\n{run}");
        assert_eq!(run.record(0)["extra"]["ID"], "1", "{list}\n{run}");
    }
    // Which of two is meant has to be said.
    let run = fetchimg().stdin(format!("URL,Url\n{url},{url}\n")).args(["--input-format", "csv"]).run();
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("has no column url; it has URL, Url; name the one with --url-column"), "{run}");
}

#[test]
fn what_cannot_be_read_in_the_encoding_is_told() {
    let server = Server::start();
    let url = server.url("/png/300/");
    let list = [&b"caption,url\na\xff,"[..], url.as_bytes(), b"a.png\n,", url.as_bytes(), b"\xff.png\n"];
    let run = fetchimg().args(["--input-encoding", "euc-kr", "--input-format", "csv"]).stdin(list.concat()).run();
    assert_eq!((run.status, run.outcomes()), (Some(1), vec!["saved a.png".into(), "failed bad_url".into()]), "{run}");
    assert_eq!(run.record(0)["extra"]["caption"], "a\u{fffd}", "{run}");
    assert_eq!(run.stderr.matches("its caption is not valid EUC-KR").count(), 1, "{run}");
    // URLs that are not in UTF-8 are what the advice is about.
    let list = (0..3).flat_map(|n| [url.as_bytes(), b"\xe9", n.to_string().as_bytes(), b".png\n"].concat());
    let run = fetchimg().stdin(list.collect::<Vec<_>>()).arg("--json").run();
    assert_eq!(run.status, Some(1), "{run}");
    assert!(run.report()["advice"][0].as_str().expect("a sentence").contains("--input-encoding"), "{run}");
}

#[test]
fn the_header_tells_what_stands_between_the_fields() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    for (list, flags) in [
        (format!("url;caption\n{url};one\n"), &[][..]),
        (format!("caption|url\none|{url}\n"), &[]),
        (format!("url\tcaption\n{url}\tone\n"), &[]),
        (format!("caption, url\none, {url}\n"), &[]),
        (format!("sep=;\r\nurl;caption\r\n{url};one\r\n"), &[]),
        (format!("url;caption\n{url};one\n"), &["--delimiter", ";"]),
        (format!("url\tcaption\n{url}\tone\n"), &["--delimiter", "tab"]),
    ] {
        for name in ["list.csv", "list"] {
            let dir = TestDir::new();
            dir.write(name, &list);
            let run = fetchimg().in_dir(&dir).arg(name).args(flags).run();
            assert_eq!((run.status, run.outcomes()), (Some(0), vec!["saved a.png".to_owned()]), "{list} {run}");
            assert_eq!(run.record(0)["extra"], json!({"caption": "one"}), "{list} {run}");
        }
    }
    let dir = TestDir::new();
    dir.write("list.csv", format!("url;caption\n{url};one\n"));
    let run = fetchimg().in_dir(&dir).args(["list.csv", "--url-column", "url;caption"]).run();
    assert_eq!(run.status, Some(3), "a header is no column\n{run}");
    assert!(server.requests().iter().all(|request| request.target == "/png/300/a.png"));
}

/// A Parquet file of one row with `columns` columns beside the URL, all of which are the same page of `bytes` bytes.
fn wide_parquet(url: &str, columns: usize, bytes: usize) -> Vec<u8> {
    let others = (0..columns).map(|number| format!("required binary c{number} (UTF8); ")).collect::<Vec<_>>().concat();
    let schema = format!("message list {{ required binary url (UTF8); {others} }}");
    let schema = Arc::new(parse_message_type(&schema).expect("a schema"));
    let properties = WriterProperties::builder().set_dictionary_enabled(false);
    let properties = properties.set_statistics_enabled(EnabledStatistics::None).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).expect("a writer");
    let mut group = writer.next_row_group().expect("a row group");
    let texts = [url.to_owned(), "x".repeat(bytes)].into_iter().chain(std::iter::repeat_n("x".to_owned(), columns - 1));
    for text in texts {
        let mut column = group.next_column().expect("no error").expect("a column");
        column.typed::<ByteArrayType>().write_batch(&[ByteArray::from(&*text)], None, None).expect("written");
        column.close().expect("written");
    }
    group.close().expect("written");
    let file = bytes::Bytes::from(writer.into_inner().expect("a file"));
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).expect("metadata");
    let mut builder = metadata.into_builder();
    for group in builder.take_row_groups() {
        let mut same = group.into_builder();
        let columns = same.take_columns();
        let first = columns[1].clone();
        for (number, column) in columns.into_iter().enumerate() {
            let column = match number {
                0 => column,
                _ => ColumnChunkMetaData::builder(column.column_descr_ptr())
                    .set_encodings_mask(*first.encodings_mask())
                    .set_num_values(first.num_values())
                    .set_data_page_offset(first.data_page_offset())
                    .set_total_compressed_size(first.compressed_size())
                    .set_total_uncompressed_size(first.uncompressed_size())
                    .build()
                    .expect("a column"),
            };
            same = same.add_column_metadata(column);
        }
        builder = builder.add_row_group(same.build().expect("a row group"));
    }
    // The pages stay where they are, and a footer in which all columns are at one place comes behind the first one.
    let mut list = file.to_vec();
    ParquetMetaDataWriter::new(&mut list, &builder.build()).finish().expect("written");
    list
}

#[test]
fn a_parquet_file_whose_columns_do_not_fit_into_memory_is_refused_with_a_sentence() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    let dir = TestDir::new();
    for (columns, bytes, fits) in [(2000, 100, true), (2000, 1 << 20, false)] {
        dir.write("list.parquet", wide_parquet(&url, columns, bytes));
        let output = format!("{columns}-{bytes}");
        let (run, peak) = fetchimg().in_dir(&dir).args(["list.parquet", "-o", &output]).start().wait_and_weigh();
        if fits {
            assert_eq!((run.status, run.files()), (Some(0), vec!["a.png".to_owned()]), "{run}");
            assert_eq!(run.record(0)["extra"].as_object().map(serde_json::Map::len), Some(columns), "{run}");
        } else {
            let what = "a page of each of its 2001 columns takes more than 1024 MiB of memory in all; keep only";
            assert_eq!((run.status, run.stderr.contains(what)), (Some(3), true), "{run}");
        }
        assert!(peak < 200 << 20, "{peak} bytes");
    }
}

#[test]
fn columns_with_one_name_are_numbered_and_lose_nothing() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/301/b.png"));
    let list = format!("url,label,,label,label_2,,label,url\n{a},x,e1,y,z,e2,w,u\n{b},p,,q,r,,s,v\n");
    let flags = ["--name", "{col.label_3}-{col.label}.{ext}", "--metadata", "m.jsonl", "--manifest", "records.jsonl"];
    let dir = TestDir::new();
    dir.write("list.csv", list);
    let run = fetchimg().in_dir(&dir).arg("list.csv").args(flags).run();
    assert_eq!((run.status, run.files()), (Some(0), vec!["q-p.png".to_owned(), "y-x.png".to_owned()]), "{run}");
    let warning = "list.csv has several columns with one name; the first keeps it, and the others are recorded as label_3, _2, \
                   label_4";
    assert_eq!(run.stderr.matches(warning).count(), 1, "{run}");
    let extra = r#""extra":{"label":"x","":"e1","label_3":"y","label_2":"z","_2":"e2","label_4":"w","url":"u"}"#;
    let records = String::from_utf8(dir.read("records.jsonl")).expect("text");
    assert!(records.contains(extra), "{records}");
    // Tables have all of them, too.
    let status = fetchimg().in_dir(&dir).args(["--status", "--format", "csv"]).run();
    for values in ["x", "y", "z", "w", "e1", "e2"] {
        assert_eq!(status.stdout.split([',', '\n']).filter(|field| *field == values).count(), 1, "{values}\n{status}");
    }
    let metadata = String::from_utf8(dir.read("m.jsonl")).expect("text");
    for (name, value) in [("label", "x"), ("label_2", "z"), ("label_3", "y"), ("label_4", "w")] {
        assert!(metadata.contains(&format!("\"{name}\":\"{value}\"")), "{name}\n{metadata}");
    }

    // It is said once, however often the list is read.
    let run = fetchimg().in_dir(&dir).arg("list.csv").args(["--compare", "--overwrite"]).run();
    assert_eq!((run.status, run.stderr.matches("several columns").count()), (Some(0), 1), "{run}");

    // The first of several columns has the checksum, as it has the URL.
    let wrong = "0".repeat(64);
    dir.write("sums.csv", format!("url,sha256,sha256\n{a},{wrong},left\n"));
    let flags = ["-o", "checked", "--checksum-column", "sha256", "--manifest", "records.jsonl"];
    let run = fetchimg().in_dir(&dir).arg("sums.csv").args(flags).run();
    let records = String::from_utf8(dir.read("records.jsonl")).expect("text");
    assert!(records.contains(r#""error":"checksum""#) && records.contains(r#""extra":{"sha256":"left"}"#), "{run}");
    assert!(!run.stderr.contains("several columns"), "{run}");
}

#[test]
fn a_caption_of_the_same_name_is_chosen_by_its_number() {
    let server = Server::start();
    let list = format!("url;text;text\n{};first;second\n", server.url("/png/300/a.png"));
    let flags = ["--output-format", "webdataset", "--caption-column"];
    for (column, caption) in [("text", "first"), ("text_2", "second")] {
        let dir = TestDir::new();
        dir.write("list.csv", &list);
        let run = fetchimg().in_dir(&dir).arg("list.csv").args(flags).arg(column).run();
        assert_eq!(run.status, Some(0), "{run}");
        let shard = run.output().join("00000.tar");
        let entries = crate::common::sets::tar_entries(&std::fs::read(shard).expect("a shard"));
        let found = entries.iter().any(|(name, bytes)| name.contains(".txt") && **bytes == *caption.as_bytes());
        assert!(found, "{column}\n{run}");
    }
}

#[test]
fn a_caption_that_was_cut_in_an_emoji_costs_no_row() {
    let server = Server::start();
    let urls = ["/png/300/a.png", "/png/301/b.png"].map(|target| server.url(target));
    let list = urls
        .iter()
        .map(|url| format!("{{\"url\":\"{url}\",\"caption\":\"cut \\ud83d\"}}\n"))
        .collect::<Vec<_>>()
        .concat();
    let run = fetchimg().stdin(list).arg("-").run();
    assert_eq!((run.status, run.files().len()), (Some(0), 2), "{run}");
    assert_eq!(run.record(0)["extra"]["caption"], "cut \u{fffd}", "{run}");
    let warning =
        "line 1 of standard input has half of a UTF-16 surrogate pair; what cannot be read is recorded as U+FFFD";
    assert_eq!(run.stderr.matches(warning).count(), 1, "{run}");
    assert_eq!(run.stderr.matches("surrogate").count(), 1, "{run}");
}
