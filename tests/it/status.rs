//! What is there now: `--status`, what records of skipped rows know of their files, and `--metadata`.

use std::fs;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Value, json};

use crate::common::outcomes::{manifest, outcome};
use crate::common::{Program, Run, Server, TestDir, fetchimg};

/// `--status` of the folder `images`.
fn status(dir: &TestDir) -> Program {
    fetchimg().arg("--status").in_dir(dir)
}

/// The records on standard output.
#[track_caller]
fn shown(run: &Run) -> Vec<Value> {
    assert_eq!(run.status, Some(0), "{run}");
    manifest(run.stdout.as_bytes())
}

/// The outcomes of the records on standard output.
#[track_caller]
fn outcomes(run: &Run) -> Vec<String> {
    shown(run).iter().map(outcome).collect()
}

#[test]
fn each_row_has_its_current_record_whatever_runs_came_after_it() {
    let server = Server::start();
    let urls = [
        server.url("/png/300/a.png"),
        server.url("/flaky/404/1/300/b.png"),
        server.url("/png/300/a.png"),
        server.url("/status/410/c.png"),
        "nonsense".to_owned(),
    ];
    let first = fetchimg().lines(&urls).args(["--hash", "sha256"]).run();
    assert_eq!(first.status, Some(1), "{first}");
    let sent = server.requests().len();
    let before = status(&first.dir).run();
    let expected = [
        "saved a.png",
        "failed http_status 404",
        "skipped duplicate_url a.png",
        "failed http_status 410",
        "failed bad_url",
    ];
    assert_eq!(outcomes(&before), expected, "{before}");
    assert_eq!(before.stderr, "", "the summary is for a terminal\n{before}");
    assert_eq!(server.requests().len(), sent, "nothing is fetched\n{before}");
    let saved = shown(&before)[0].clone();
    assert_eq!((&saved["bytes"], &saved["format"]), (&300.into(), &"png".into()), "{before}");

    for _ in 0..2 {
        let again = fetchimg().lines(&urls).in_dir(&first.dir).run();
        assert_eq!(again.record(0)["reason"], "already_saved", "{again}");
        let after = status(&first.dir).run();
        let records = shown(&after);
        assert_eq!(records[0], saved, "what the record of the file says is not hidden\n{after}");
        assert_eq!(
            records.iter().map(|record| record["index"].as_u64()).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4].map(Some)
        );
        let outcomes = records.iter().map(outcome).collect::<Vec<_>>();
        assert_eq!((&*outcomes[1], &*outcomes[3]), ("saved b.png", "failed http_status 410"), "{after}");
    }
}

#[test]
fn rows_are_filtered_by_their_status() {
    let server = Server::start();
    let urls = [server.url("/png/300/a.png"), server.url("/status/404/b.png"), server.url("/png/300/a.png")];
    let run = fetchimg().lines(&urls).run();
    // A status that this program has not written itself.
    let journal = run.output().join(".fetchimg.jsonl");
    let mut text = fs::read_to_string(&journal).expect("a journal");
    text.push_str("{\"index\":3,\"url\":\"http://a/\",\"status\":\"refused\",\"error\":\"too_small\"}\n");
    fs::write(&journal, text).expect("it can be written");
    for (flags, indices) in [
        (&["--failed"][..], &[1][..]),
        (&["--saved"], &[0]),
        (&["--refused"], &[3]),
        (&["--failed", "--refused"], &[1, 3]),
        (&[], &[0, 1, 2, 3]),
    ] {
        let found = status(&run.dir).args(flags).run();
        let found = shown(&found).iter().filter_map(|record| record["index"].as_u64()).collect::<Vec<_>>();
        assert_eq!(found, indices, "{flags:?}");
    }
}

#[test]
fn a_row_that_moves_in_the_list_stays_one_row_with_the_columns_that_it_has_now() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/300/b.png"));
    let dir = TestDir::new();
    dir.write("list.csv", format!("url,caption\n{a},old\n{b},\n{a},twice\n"));
    let first = fetchimg().arg("list.csv").in_dir(&dir).run();
    assert_eq!(first.status, Some(0), "{first}");
    let c = server.url("/png/300/c.png");
    dir.write("list.csv", format!("url,caption\n{c},first\n{a},new\n{b},\n{a},again\n"));
    let second = fetchimg().arg("list.csv").in_dir(&dir).run();
    assert_eq!(second.status, Some(0), "{second}");
    let found = status(&dir).run();
    let rows = shown(&found);
    let rows = rows.iter().map(|row| (outcome(row), row["extra"]["caption"].as_str().unwrap_or_default().to_owned()));
    let expected = [
        ("saved c.png", "first"),
        ("saved a.png", "new"),
        ("saved b.png", ""),
        ("skipped duplicate_url a.png", "again"),
    ];
    assert_eq!(rows.collect::<Vec<_>>(), expected.map(|(one, other)| (one.to_owned(), other.to_owned())), "{found}");

    // Another list adds its rows.
    let d = server.url("/png/300/d.png");
    let third = fetchimg().lines([&d]).in_dir(&dir).run();
    assert_eq!(third.status, Some(0), "{third}");
    let found = outcomes(&status(&dir).run());
    assert_eq!(found[..2], ["saved c.png", "saved d.png"], "both have the number 0");
    assert_eq!(found.len(), 5, "{found:?}");
}

#[test]
fn rows_with_one_url_are_several_with_keep_duplicates() {
    let server = Server::start();
    let a = server.url("/png/300/a.png");
    let run = fetchimg().lines([&a, &a, &a]).arg("--keep-duplicates").run();
    for _ in 0..2 {
        let found = status(&run.dir).run();
        let rows = shown(&found);
        assert_eq!(rows.len(), 3, "{found}");
        assert!(rows.iter().all(|row| row["status"] == "saved" && row["bytes"] == 300), "{found}");
        let again = fetchimg().lines([&a, &a, &a]).arg("--keep-duplicates").in_dir(&run.dir).run();
        assert_eq!(again.record(2)["reason"], "already_saved", "{again}");
    }
}

#[test]
fn a_folder_without_a_journal_is_told_in_a_sentence() {
    let dir = TestDir::new();
    for folder in ["nowhere", "empty"] {
        fs::create_dir_all(dir.join("empty")).expect("a folder");
        let run = status(&dir).args(["-o", folder]).run();
        assert_eq!(run.status, Some(3), "{run}");
        assert_eq!(run.stdout, "", "{run}");
        assert!(run.stderr.starts_with(&format!("fetchimg: there is no journal of {folder}: ")), "{run}");
        assert_eq!(run.stderr.lines().count(), 1, "{run}");
    }
    assert!(!dir.join("nowhere").exists());
}

#[test]
fn status_works_while_a_run_holds_the_folder_and_changes_nothing() {
    let server = Server::start();
    let mut run = fetchimg().stdin_pipe();
    run.write_line(server.url("/png/300/a.png"));
    crate::common::wait_until("a record", || {
        let found = status(run.dir()).run();
        found.status == Some(0) && found.stdout.contains("\"saved\"")
    });
    run.close_stdin();
    let run = run.wait();
    assert_eq!(run.status, Some(0), "{run}");
    let (before, journal) = (run.all_files(), run.file(".fetchimg.jsonl"));
    let found = status(&run.dir).run();
    assert_eq!((found.all_files(), found.file(".fetchimg.jsonl")), (before, journal), "{found}");
}

#[test]
fn a_damaged_journal_shows_the_records_that_are_whole() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/png/300/a.png"), server.url("/png/300/b.png")]).arg("--sequential").run();
    let journal = run.output().join(".fetchimg.jsonl");
    let whole = fs::read(&journal).expect("a journal");
    let garbage: &[u8] = b"\0\0\0\n\xff\xfe\n[]\n{}\n42\n{\"index\":0,\"url\":\"x\"\n<<<<<<< HEAD\r\n";
    fs::write(&journal, [garbage, &whole, garbage, &whole[..60]].concat()).expect("it can be written");
    assert_eq!(outcomes(&status(&run.dir).run()), ["saved a.png", "saved b.png"]);
    let control = "{\"index\":9,\"url\":\"http://a/\u{202e}\u{9b}\",\"status\":\"failed\",\"error\":\"dns\"}\n";
    fs::write(&journal, control).expect("it can be written");
    let found = status(&run.dir).run();
    assert!(found.stdout.contains("http://a/\\u202e\\u009b"), "{found}");
}

#[test]
fn a_terminal_gets_a_summary() {
    let server = Server::start();
    let urls = [server.url("/png/300/a.png"), server.url("/status/404/b.png"), server.url("/png/300/a.png")];
    let run = fetchimg().lines(&urls).run();
    let found = status(&run.dir).terminal(80, 24).run();
    for line in ["3 rows in images", "failed    1: 1 http_status 404", "saved     1", "skipped   1: 1 duplicate_url"] {
        assert!(found.stderr.contains(line), "{line}\n{found}");
    }
    assert_eq!(status(&run.dir).arg("-q").terminal(80, 24).run().stderr, "");
}

#[test]
fn the_other_formats_have_a_column_for_each_field_and_for_each_column_of_the_list() {
    let server = Server::start();
    let dir = TestDir::new();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/status/404/b.png"));
    dir.write("list.csv", format!("url,caption,status\n{a},\"one, \"\"two\"\"\nthree\",x\n{b},,y\n"));
    let run = fetchimg().arg("list.csv").in_dir(&dir).run();
    assert_eq!(run.status, Some(1), "{run}");
    let csv = status(&dir).args(["--format", "csv"]).run();
    let header = csv.stdout.lines().next().expect("a header");
    assert!(header.starts_with("index,url,status,path,bytes,format,width,height,"), "{csv}");
    assert!(header.ends_with(",error,message,retryable,caption,list_status"), "{csv}");
    assert!(csv.stdout.contains(&format!("\n0,{a},saved,a.png,300,png,")), "{csv}");
    assert!(csv.stdout.contains(",\"one, \"\"two\"\"\nthree\",x\n"), "{csv}");
    assert!(csv.stdout.ends_with(",http_status,404 Not Found,false,,y\n"), "{csv}");
    let tsv = status(&dir).args(["--format", "tsv", "--failed"]).run();
    assert!(tsv.stdout.starts_with("index\turl\tstatus\tpath\thttp_status\t"), "{tsv}");
    assert_eq!(tsv.stdout.lines().count(), 2, "{tsv}");
}

/// The rows of a Parquet file.
fn parquet_rows(bytes: Vec<u8>) -> Vec<Vec<(String, Field)>> {
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("a Parquet file");
    let rows = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row"));
    let field = |(name, field): (&String, &Field)| (name.clone(), field.clone());
    rows.map(|row| row.get_column_iter().map(field).collect()).collect()
}

#[test]
fn metadata_has_the_saved_images_by_name_beside_the_columns_of_the_list() {
    let server = Server::start();
    let dir = TestDir::new();
    let [a, b] = ["/sized/40/30/a.png", "/sized/50/20/b.png"].map(|path| server.url(path));
    let gone = server.url("/status/404/c.png");
    let list = [
        json!({"url": a, "caption": "A", "label": 1, "width": 7}),
        json!({"url": b, "caption": null, "label": 2.5}),
        json!({"url": gone, "caption": "C", "label": 3}),
        json!({"url": a, "caption": "A again", "label": 4}),
    ];
    dir.write("list.jsonl", list.map(|row| row.to_string()).join("\n"));
    let flags = ["--name", "{host}/{basename}", "--hash", "sha256", "--metadata"];
    let run = fetchimg().args(["list.jsonl"]).args(flags).arg("images/metadata.jsonl").in_dir(&dir).run();
    assert_eq!(run.status, Some(1), "{run}");
    let rows = manifest(&run.file("metadata.jsonl"));
    let name = |name: &str| format!("127.0.0.1/{name}");
    let of = |index: u64| run.record(index);
    let row = |index: u64, of_file: u64, file: &str, width: u64, height: u64| {
        let mut row = json!({
            "file_name": name(file), "index": index, "url": of(index)["url"], "bytes": of(of_file)["bytes"],
            "width": width, "height": height, "format": "png", "content_type": "image/png",
            "final_url": of(of_file)["final_url"], "sha256": of(of_file)["sha256"],
        });
        for column in ["caption", "label"] {
            row[column] = list_value(&dir, index, column);
        }
        row["list_width"] = list_value(&dir, index, "width");
        row
    };
    assert_eq!(rows, [row(0, 0, "a.png", 40, 30), row(1, 1, "b.png", 50, 20), row(3, 0, "a.png", 40, 30)], "{run}");
    assert!(run.files().iter().all(|file| !file.starts_with('.')), "no other file is left\n{run}");

    // From a resumed run and from the journal alone, the same.
    let again = fetchimg().args(["list.jsonl"]).args(flags).arg("images/metadata.jsonl").in_dir(&dir).run();
    assert_eq!(manifest(&again.file("metadata.jsonl")), rows, "{again}");
    let found = status(&dir).args(["--metadata", "elsewhere.csv"]).run();
    assert_eq!(found.status, Some(0), "{found}");
    let csv = String::from_utf8(dir.read("elsewhere.csv")).expect("text");
    assert!(csv.starts_with("file_name,index,url,bytes,width,height,format,"), "{csv}");
    assert!(csv.contains(&format!("\nimages/{},0,{a},", name("a.png"))), "relative to the folder of the file\n{csv}");
    fs::create_dir(dir.join("sub")).expect("a folder");
    let found = status(&dir).args(["--metadata", "sub/m.parquet"]).run();
    assert_eq!(found.status, Some(0), "{found}");
    let parquet = parquet_rows(dir.read("sub/m.parquet"));
    assert_eq!(parquet.len(), 3, "{found}");
    let cell = |row: usize, name: &str| parquet[row].iter().find(|(column, _)| column == name).map(|(_, field)| field);
    assert_eq!(cell(0, "file_name"), Some(&Field::Str(format!("../images/{}", name("a.png")))));
    assert_eq!(cell(0, "width"), Some(&Field::Long(40)));
    assert_eq!((cell(0, "label"), cell(1, "label")), (Some(&Field::Double(1.0)), Some(&Field::Double(2.5))));
    assert_eq!((cell(1, "caption"), cell(1, "list_width")), (Some(&Field::Null), Some(&Field::Null)));
    assert_eq!(cell(0, "list_width"), Some(&Field::Long(7)));
}

/// A value of a column of `list.jsonl`, which has as many lines as rows.
fn list_value(dir: &TestDir, index: u64, column: &str) -> Value {
    let list = String::from_utf8(dir.read("list.jsonl")).expect("text");
    let line = list.lines().nth(usize::try_from(index).expect("a row")).expect("a line");
    serde_json::from_str::<Value>(line).expect("JSON")[column].clone()
}

#[test]
fn metadata_of_a_row_with_the_content_of_another_row_has_what_is_known_of_the_file() {
    let server = Server::start();
    // The same bytes at two addresses.
    let urls = ["/jpeg/a.jpg", "/jpeg/b.jpg"].map(|path| server.url(path));
    let run = fetchimg().lines(&urls).args(["--name", "{sha256}", "--sequential", "--metadata", "m.jsonl"]).run();
    assert_eq!(run.record(1)["reason"], "duplicate_content", "{run}");
    let rows = manifest(&run.dir.read("m.jsonl"));
    assert_eq!(rows.len(), 2, "{run}");
    for field in ["file_name", "bytes", "width", "height", "format", "sha256"] {
        assert!(!rows[0][field].is_null() && rows[0][field] == rows[1][field], "{field}\n{run}");
    }
    assert!(rows[0]["final_url"] == urls[0] && rows[1]["final_url"].is_null(), "{run}");
}

#[test]
fn metadata_names_only_files_that_are_there() {
    let server = Server::start();
    let urls = ["/png/300/a.png", "/png/300/b.png", "/png/300/c.png"].map(|path| server.url(path));
    let run = fetchimg().lines(&urls).run();
    fs::remove_file(run.output().join("a.png")).expect("it is there");
    fs::write(run.output().join("b.png"), "another").expect("it is there");
    let found = status(&run.dir).args(["--metadata", "m.jsonl"]).terminal(80, 24).run();
    let rows = manifest(&run.dir.read("m.jsonl"));
    assert_eq!(rows.iter().map(|row| row["file_name"].as_str()).collect::<Vec<_>>(), [Some("images/c.png")], "{found}");
    assert!(found.stderr.contains("1 image in m.jsonl; 2 more were saved and are not"), "{found}");
}

#[test]
fn no_image_gets_the_name_of_the_metadata_or_is_lost_to_it() {
    let server = Server::start();
    // What is no image keeps its name.
    let url = server.url("/page/metadata.jsonl");
    let flags = ["--accept", "any", "--name", "metadata.jsonl", "--metadata", "images/metadata.jsonl"];
    let run = fetchimg().lines([&url]).args(flags).run();
    assert_eq!(run.status, Some(0), "{run}");
    let path = run.record(0)["path"].as_str().expect("a path").to_owned();
    assert!(path.starts_with("metadata.jsonl-"), "{run}");
    assert_eq!(run.file(&path), server.body("/page/metadata.jsonl"), "{run}");
    assert_eq!(manifest(&run.file("metadata.jsonl"))[0]["file_name"], path, "{run}");

    // An image that was there before.
    let before = fetchimg().lines([&url]).args(&flags[..4]).run();
    let found = status(&before.dir).args(&flags[4..]).run();
    assert_eq!(found.status, Some(3), "{found}");
    assert!(found.stderr.contains("an image of the list has this name"), "{found}");
    assert_eq!(before.file("metadata.jsonl"), server.body("/page/metadata.jsonl"), "{found}");
}

#[test]
fn metadata_that_cannot_be_written_is_refused_before_anything_is_fetched() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    for (path, status, sentence) in [
        ("metadata.txt", 2, "the name must end in .jsonl, .csv or .parquet"),
        ("nowhere/metadata.jsonl", 3, "fetchimg: cannot write nowhere/metadata.jsonl: there is no folder nowhere\n"),
        ("images/below/metadata.csv", 3, "metadata.csv: there is no folder images/below\n"),
        ("list.csv", 3, "it is one of the lists"),
        ("images/.fetchimg/m.jsonl", 3, "keeps its own records there"),
    ] {
        let dir = TestDir::new();
        dir.write("list.csv", format!("url\n{url}\n"));
        let run = fetchimg().args(["list.csv", "--metadata", path]).in_dir(&dir).run();
        assert_eq!(run.status, Some(status), "{run}");
        assert!(run.stderr.contains(sentence), "{run}");
        assert_eq!(server.requests().len(), 0, "{run}");
        assert!(!sentence.contains("no folder") || !dir.join("images").exists(), "{path}\n{run}");
    }
    // The same holds for records and reports; a folder that the run makes is there in time.
    for flags in [["--manifest", "nowhere/records.jsonl"], ["--report", "nowhere/run.html"]] {
        for more in [&[][..], &["--dry-run"]] {
            let dir = TestDir::new();
            let run = fetchimg().arg(&url).args(flags).args(more).in_dir(&dir).run();
            assert_eq!((run.status, dir.join("images").exists()), (Some(3), false), "{run}");
            assert!(run.stderr.ends_with(": there is no folder nowhere\n"), "{run}");
        }
    }
    let dir = TestDir::new();
    let flags = ["-o", "set/train", "--metadata", "set/train/metadata.jsonl", "--report", "set/run.html"];
    let run = fetchimg().arg(&url).args(flags).in_dir(&dir).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(dir.join("set/run.html").exists() && dir.join("set/train/metadata.jsonl").exists(), "{run}");
}

#[test]
fn the_state_folder_tells_which_output_folder_is_meant() {
    let (server, dir) = (Server::start(), TestDir::new());
    let url = server.url("/png/300/a.png");
    let first =
        fetchimg().arg(&url).args(["-o", "photos", "--state", "state", "--metadata", "m.csv"]).in_dir(&dir).run();
    assert_eq!(first.status, Some(0), "{first}");
    let found = status(&dir).args(["--state", "state", "--metadata", "again.csv"]).run();
    assert_eq!(outcomes(&found), ["saved a.png"], "{found}");
    let lines = String::from_utf8(dir.read("again.csv")).expect("text");
    assert!(lines.contains("photos/a.png"), "{lines}");
    // Another folder is refused, and nothing is said of writing.
    let other = status(&dir).args(["--state", "state", "-o", "other"]).run();
    assert_eq!((other.status, other.stderr.contains("cannot write")), (Some(3), false), "{other}");
    assert!(other.stderr.contains("it is the state of the output folder"), "{other}");
    let none = status(&dir).args(["--state", "nowhere"]).run();
    assert!(none.status == Some(3) && none.stderr.contains("there is no journal of images"), "{none}");
}

#[test]
fn flags_of_status_need_it_and_it_reads_no_list() {
    for (flags, hint) in [
        (&["--failed"][..], "--status"),
        (&["--format", "csv"], "--status"),
        (&["--status", "list.txt"], "leave out list.txt"),
        (&["--status", "--format", "xml"], "jsonl"),
    ] {
        let run = fetchimg().args(flags).run();
        assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""), "{run}");
        assert!(run.stderr.contains(hint), "{run}");
    }
}
