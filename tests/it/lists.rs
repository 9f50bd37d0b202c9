//! Lists in every form: files, arguments, pipes, comments, odd characters, garbage, nothing at all, and no end.

use std::fs;
use std::time::Duration;

use crate::common::{JOURNAL, Server, TestDir, fetchimg, wait_until};

/// The longest wait for a request. Every wait is far shorter.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// The requested targets, sorted.
fn targets(server: &Server) -> Vec<String> {
    let mut targets: Vec<String> = server.requests().into_iter().map(|request| request.target).collect();
    targets.sort();
    targets
}

#[test]
fn a_file_is_a_list() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/png/300/a.png"), server.url("/png/400/b.png")]).run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png", "saved b.png"], "{run}");
    assert_eq!(run.records().len(), 2, "{run}");
    assert_eq!(run.files(), ["a.png", "b.png"], "{run}");
    assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{run}");
    assert_eq!(run.file("b.png"), server.body("/png/400/b.png"), "{run}");
}

#[test]
fn urls_can_be_arguments() {
    let server = Server::start();
    let shouted = server.url("/png/400/b.png").replacen("http", "HTTP", 1);
    let run = fetchimg().args([server.url("/png/300/a.png"), shouted]).run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png", "saved b.png"], "{run}");
    assert_eq!(run.file("b.png"), server.body("/png/400/b.png"), "{run}");
    assert_eq!(run.record(1)["url"], server.url("/png/400/b.png"), "{run}");
}

#[test]
fn a_bad_url_as_an_argument_is_a_failed_row() {
    let server = Server::start();
    let run = fetchimg().args(["http://".to_owned(), server.url("/png/300/a.png")]).run();

    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.outcomes(), ["failed bad_url", "saved a.png"], "{run}");
}

#[test]
fn a_dash_is_standard_input() {
    let server = Server::start();
    let run = fetchimg().arg("-").stdin(server.url("/png/300/a.png")).run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png"], "{run}");
    assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{run}");
}

#[test]
fn without_a_list_standard_input_is_read() {
    let server = Server::start();
    let lines = format!("{}\n{}\n", server.url("/png/300/a.png"), server.url("/png/400/b.png"));
    let run = fetchimg().stdin(lines).run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png", "saved b.png"], "{run}");
}

#[test]
fn lists_are_read_in_order_as_one() {
    let server = Server::start();
    let dir = TestDir::new();
    let url = |name: &str| server.url(&format!("/png/300/{name}.png"));
    dir.write("one.txt", format!("{}\n\n# between\n{}", url("a"), url("b")));
    dir.write("two.txt", format!("{}\n", url("f")));
    let run = fetchimg()
        .in_dir(&dir)
        .arg("one.txt")
        .arg(url("c"))
        .arg("-")
        .args(["two.txt".to_owned(), url("g")])
        .stdin(format!("{}\n{}\n", url("d"), url("e")))
        .run();

    assert_eq!(run.status, Some(0), "{run}");
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    assert_eq!(run.outcomes(), names.map(|name| format!("saved {name}.png")), "{run}");
    assert_eq!(run.records().len(), 7, "{run}");
    for name in names {
        assert_eq!(run.file(&format!("{name}.png")), server.body(&format!("/png/300/{name}.png")), "{run}");
    }
}

#[test]
fn a_list_whose_name_begins_with_a_dash_comes_after_two_dashes() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("-j", server.url("/png/300/a.png"));
    let run = fetchimg().in_dir(&dir).args(["--", "-j"]).run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png"], "{run}");
}

#[test]
fn comments_blank_lines_and_white_space_are_no_rows() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/300/b.png"));
    let run = fetchimg().lines(["# pictures", "", &format!("\t {a}  "), "   ", "  # more", "#", &b, ""]).run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png", "saved b.png"], "{run}");
    assert_eq!(run.record(0)["url"], a, "{run}");
    assert_eq!(run.records().len(), 2, "{run}");
}

#[test]
fn windows_lines_and_a_byte_order_mark_are_fine() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/300/b.png"));
    let list = format!("\u{feff}{a}\r\n# comment\r\n\r\n{b}\r\n");
    let dir = TestDir::new();
    dir.write("list.txt", list);
    dir.write("marked.txt", format!("\u{feff}# a mark before a comment\r\n{}", server.url("/png/300/c.png")));
    let run = fetchimg().in_dir(&dir).args(["list.txt", "marked.txt"]).run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png", "saved b.png", "saved c.png"], "{run}");
    assert_eq!(targets(&server), ["/png/300/a.png", "/png/300/b.png", "/png/300/c.png"]);
}

#[test]
fn lines_may_end_as_they_did_on_old_macs() {
    let server = Server::start();
    let urls = ["/png/300/a.png", "/png/300/b.png"].map(|target| server.url(target));
    let run = fetchimg().stdin(format!("# pictures\r{}\r", urls.join("\r"))).run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png", "saved b.png"], "{run}");
}

#[test]
fn the_last_line_needs_no_end() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("list.txt", format!("{}\n{}", server.url("/png/300/a.png"), server.url("/png/300/b.png")));
    let run = fetchimg().in_dir(&dir).arg("list.txt").run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png", "saved b.png"], "{run}");
}

#[test]
fn a_url_is_a_whole_line_and_encoded_as_a_browser_would() {
    let server = Server::start();
    for (line, sent) in [
        ("/png/300/a,b;c.png", "/png/300/a,b;c.png"),
        ("/png/300/two words.png", "/png/300/two%20words.png"),
        ("/png/300/say \"hi\".png", "/png/300/say%20%22hi%22.png"),
        ("/png/300/it's.png", "/png/300/it's.png"),
        ("/png/300/naïve-図.png", "/png/300/na%C3%AFve-%E5%9B%B3.png"),
        ("/png/300/a<b>{c}.png", "/png/300/a%3Cb%3E%7Bc%7D.png"),
        ("/png/300/a|b[c].png", "/png/300/a|b[c].png"),
        ("/png/300/100%.png", "/png/300/100%.png"),
        ("/png/300/done%20already.png", "/png/300/done%20already.png"),
        ("/png/300/q.png?text=a b&say=\"hi\"&it's=ü", "/png/300/q.png?text=a%20b&say=%22hi%22&it%27s=%C3%BC"),
        ("/png/300/x/../dots/./d.png", "/png/300/dots/d.png"),
        ("/png\\300\\backslash.png", "/png/300/backslash.png"),
        ("/png/300/fragment.png#top of page", "/png/300/fragment.png"),
    ] {
        let run = fetchimg().lines([server.url(line)]).run();
        assert_eq!(run.status, Some(0), "{line}\n{run}");
        assert_eq!(server.requests().last().map(|request| request.target.clone()).as_deref(), Some(sent), "{line}");
        let path = run.record(0)["path"].as_str().expect("a saved row has a path").to_owned();
        assert_eq!(run.file(&path), server.body(sent), "{line}\n{run}");
    }
}

#[test]
fn a_host_may_be_written_in_any_script() {
    let server = Server::start();
    let run = fetchimg()
        .lines([server.url_for_host("Bücher.test", "/png/300/a.png")])
        .args(["--resolve", &server.resolve("xn--bcher-kva.test")])
        .run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(server.requests()[0].host, format!("xn--bcher-kva.test:{}", server.port()), "{run}");
}

#[test]
fn a_line_that_is_no_url_is_one_failed_row() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/300/b.png"));
    let bad = ["not a url", "ftp://example.org/x.png", "http://", "//example.org/x.png", "http://exa mple.org/x.png"];
    let lines = [&a].into_iter().map(String::as_str).chain(bad).chain([b.as_str()]);
    let run = fetchimg().lines(lines).run();

    assert_eq!(run.status, Some(1), "{run}");
    let outcomes = run.outcomes();
    assert_eq!((outcomes[0].as_str(), outcomes[6].as_str()), ("saved a.png", "saved b.png"), "{run}");
    assert_eq!(outcomes[1..6], ["failed bad_url"; 5], "{run}");
    assert_eq!(run.records().len(), 7, "{run}");
    for (index, line) in (1..).zip(bad) {
        let record = run.record(index);
        assert_eq!(record["url"], line, "{run}");
        assert_eq!((record["retryable"].as_bool(), record["attempts"].as_u64()), (Some(false), Some(0)), "{run}");
        let message = record["message"].as_str().expect("a message");
        assert!(message.contains(&format!("line {} of list.txt", index + 1)), "{message}");
    }
    assert_eq!(server.requests().len(), 2, "{run}");
}

#[test]
fn a_line_that_is_no_utf8_is_one_failed_row() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/300/b.png"));
    let dir = TestDir::new();
    dir.write("list.txt", [a.as_bytes(), b"\nhttp://example.org/caf\xe9.png\n", b.as_bytes()].concat());
    let run = fetchimg().in_dir(&dir).arg("list.txt").run();

    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png", "failed bad_url", "saved b.png"], "{run}");
    assert!(run.record(1)["message"].as_str().is_some_and(|message| message.contains("UTF-8")), "{run}");
}

#[test]
fn a_line_from_outside_cannot_move_the_cursor() {
    let run = fetchimg().lines(["\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m", "gpj.\u{202e}exe", "bell\u{7}bell"]).run();

    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.outcomes(), ["failed bad_url"; 3], "{run}");
    for text in [&run.stdout, &run.stderr] {
        let harmful = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
        assert!(!text.contains(harmful), "{text:?}");
    }
}

#[test]
fn a_line_of_three_megabytes_is_one_failed_row() {
    let server = Server::start();
    let run = fetchimg().lines(["x".repeat(3_000_000), server.url("/png/300/a.png")]).run();

    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.outcomes(), ["failed bad_url", "saved a.png"], "{run}");
    assert!(run.stderr.len() < 10_000, "{} bytes are too many to read", run.stderr.len());
}

#[test]
fn a_long_url_is_sent_whole() {
    let server = Server::start();
    let target = format!("/png/300/a.png?q={}", "0123456789".repeat(700));
    let run = fetchimg().lines([server.url(&target)]).run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(targets(&server), [target.as_str()], "{run}");
    assert_eq!(run.record(0)["url"], server.url(&target), "{run}");
}

#[test]
fn binary_garbage_is_refused_with_a_sentence() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    let dir = TestDir::new();
    for (name, bytes, hint) in [
        ("picture.png", server.body("/png/300/a.png"), "binary"),
        ("program", [b"\x7fELF\0\0\0\n", url.as_bytes()].concat(), "binary"),
        ("list.zip", [b"PK\x03\x04", url.as_bytes()].concat(), "zip archive"),
        ("list.xz", b"\xFD7zXZ\0".to_vec(), "xz -dc"),
        (
            "wide.txt",
            url.encode_utf16().fold(vec![0xff, 0xfe], |mut bytes, unit| {
                bytes.extend(unit.to_le_bytes());
                bytes
            }),
            "UTF-16",
        ),
    ] {
        dir.write(name, bytes);
        let run = fetchimg().in_dir(&dir).arg(name).run();
        assert_eq!(run.status, Some(3), "{run}");
        assert!(run.stderr.contains(name) && run.stderr.contains(hint), "{run}");
        assert!(run.stderr.contains("is no list of URLs"), "{run}");
        assert_eq!(run.files(), [""; 0], "{run}");
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn garbage_in_a_list_that_begins_as_text_is_failed_rows() {
    let server = Server::start();
    let dir = TestDir::new();
    let url = server.url("/png/300/a.png");
    dir.write("list.txt", [url.as_bytes(), b"\n\x7fELF\0\0\n", url.as_bytes(), b"b.png\n"].concat());
    let run = fetchimg().in_dir(&dir).arg("list.txt").run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png", "failed bad_url", "saved a.pngb.png"], "{run}");
}

#[test]
fn garbage_without_a_zero_byte_is_failed_rows() {
    let dir = TestDir::new();
    let garbage: Vec<u8> = (0..40_u8).flat_map(|line| [200, 150 + line, b'[', 0xfe, b'\n']).collect();
    dir.write("list.txt", garbage);
    let run = fetchimg().in_dir(&dir).arg("list.txt").run();

    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.outcomes(), ["failed bad_url"; 40], "{run}");
    assert_eq!(run.records().len(), 40, "{run}");
}

#[test]
fn a_list_that_is_missing_or_a_folder_cannot_be_read() {
    let dir = TestDir::new();
    dir.write("folder/file", "");
    for name in ["missing.txt", "folder", "folder/file/beyond", "ftp://example.org/list.txt", ""] {
        let run = fetchimg().in_dir(&dir).arg(name).run();
        assert_eq!(run.status, Some(3), "{run}");
        assert!(run.stderr.starts_with(&format!("fetchimg: cannot read the list {name}: ")), "{run}");
        assert_eq!((run.stderr.lines().count(), run.stdout.as_str()), (1, ""), "{run}");
        assert!(!run.output().exists(), "nothing is made for nothing\n{run}");
    }
}

#[test]
fn a_list_that_is_none_leaves_nothing_where_nothing_was() {
    let (server, dir) = (Server::start(), TestDir::new());
    dir.write("list.csv", format!("a,b\n1,{}\n", server.url("/png/300/a.png")));
    dir.write("there/earlier.txt", "");
    let names = |folder: &str| {
        let entries = fs::read_dir(dir.join(folder)).expect("a folder");
        let mut names = entries.map(|entry| entry.expect("an entry").file_name()).collect::<Vec<_>>();
        names.sort();
        names
    };
    for flags in [
        &["-o", "made/below/"][..],
        &["-o", "made", "--state", "state/below"],
        &["-o", "made", "--output-format", "webdataset"],
        &["-o", "there"],
        &["-o", "there", "--sample", "3"],
    ] {
        let run = fetchimg().in_dir(&dir).args(["list.csv", "--url-column", "c"]).args(flags).run();
        assert_eq!(run.status, Some(3), "{run}");
        assert!(run.stderr.contains("list.csv has no column c"), "{run}");
        assert_eq!((names("."), names("there")), (vec!["list.csv".into(), "there".into()], vec!["earlier.txt".into()]));
    }
    // A folder that an earlier run has made stays, and so does a report.
    fetchimg().in_dir(&dir).args(["list.csv", "--url-column", "b", "-o", "made"]).run();
    let run = fetchimg().in_dir(&dir).args(["list.csv", "--url-column", "c", "-o", "made"]).run();
    assert_eq!(run.records().len(), 1, "{run}");
    let flags = ["--url-column", "c", "-o", "new", "--report", "new/report.json"];
    let run = fetchimg().in_dir(&dir).arg("list.csv").args(flags).run();
    assert!(dir.join("new/report.json").exists() && !dir.join("new/.fetchimg.jsonl").exists(), "{run}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_list_that_breaks_while_it_is_read_ends_the_run() {
    let server = Server::start();
    // The file can be opened by its owner, and reading address 0 is an error.
    let run = fetchimg().lines([server.url("/png/300/a.png")]).arg("/proc/self/mem").run();

    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("cannot read the list /proc/self/mem: "), "{run}");
    assert_eq!(run.records().len(), 1, "the row that was read has its record\n{run}");
}

#[test]
fn a_list_without_its_end_line_was_cut_off() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/400/b.png"));
    let object = |url: &str| format!("{{\"url\":\"{url}\"}}\n");
    // The last URL is a part of another one, which nobody wants.
    for list in [
        format!("{a}\n{}", &b[..b.len() - 6]),
        format!("{}{}", object(&a), &object(&b)[..20]),
        format!("url,n\n{a},1\n{b},2"),
    ] {
        let run = fetchimg().args(["-", "--end-line", "end of list"]).stdin(list.as_str()).run();
        assert_eq!(run.status, Some(3), "{list}\n{run}");
        let sentence = "cannot read the list standard input: it ends without the line \"end of list\"";
        assert!(run.stderr.contains(sentence), "{run}");
        assert!(run.outcomes().iter().all(|outcome| outcome == "saved a.png"), "{run}");
    }
    for list in [
        format!("{a}\n{b}\nend of list\nhttp://{{\n"),
        format!("{}{}end of list", object(&a), object(&b)),
        format!("url,n\r\n{a},1\r\n{b},2\r\nend of list\r\n"),
    ] {
        for flags in [&[][..], &["--compare"], &["--sample", "9"]] {
            let run = fetchimg().args(["-", "--end-line", "end of list"]).args(flags).stdin(list.as_str()).run();
            assert_eq!(run.status, Some(0), "{list}\n{run}");
            assert_eq!(run.outcomes(), ["saved a.png", "saved b.png"], "{list}\n{run}");
        }
        let cut = &list[..list.len() - 30];
        for flag in ["--compare", "--dry-run"] {
            let run = fetchimg().args(["-", flag, "--end-line", "end of list"]).stdin(cut).run();
            assert_eq!(run.status, Some(3), "{flag}\n{run}");
        }
    }
}

#[test]
fn nothing_behind_the_end_line_is_waited_for() {
    let server = Server::start();
    let mut running = fetchimg().args(["-", "--end-line", "."]).stdin_pipe();
    running.write_line(server.url("/png/300/a.png"));
    running.write_line(".");
    wait_until("the end, while the pipe stays open", || !running.is_running());
    let run = running.wait();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png"], "{run}");
}

#[test]
fn all_lists_are_opened_before_the_first_request() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/png/300/a.png")]).args(["missing.txt"]).run();

    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("missing.txt"), "{run}");
    assert_eq!(server.requests().len(), 0, "{run}");
}

#[test]
fn an_empty_list_is_done_at_once() {
    let dir = TestDir::new();
    for content in ["", "\n\n \r\n", "# nothing yet\n", "\u{feff}"] {
        dir.write("list.txt", content);
        let run = fetchimg().in_dir(&dir).arg("list.txt").run();
        assert_eq!(run.status, Some(0), "{run}");
        assert!(run.stdout.contains("The list is empty"), "{content:?}\n{run}");
        assert_eq!(run.files(), [""; 0], "{run}");

        let run = fetchimg().in_dir(&dir).args(["list.txt", "--json"]).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(run.report()["modes"][0]["rows"], 0, "{run}");
        assert_eq!(run.records().len(), 0, "{run}");
    }
}

#[test]
fn an_empty_standard_input_is_an_empty_list() {
    for arguments in [&[][..], &["-"]] {
        let run = fetchimg().args(arguments).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert!(run.stdout.contains("The list is empty"), "{run}");
    }
}

#[test]
fn the_first_request_leaves_while_the_list_is_still_being_written() {
    let server = Server::start();
    let mut running = fetchimg().stdin_pipe();
    running.write_line(server.url("/png/300/a.png"));
    server.wait_for_hits("/png/300/a.png", 1, MAX_WAIT);
    running.wait_for_stderr("Downloaded: ");
    wait_until("the first file", || running.dir().join("images/a.png").exists());
    running.write_line("not a url");
    running.wait_for_stderr("Failed: not a url");
    running.write_line(server.url("/png/300/b.png"));
    server.wait_for_hits("/png/300/b.png", 1, MAX_WAIT);
    assert!(running.is_running());
    running.write_line(server.url("/png/300/c.png"));
    let run = running.wait();

    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png", "failed bad_url", "saved b.png", "saved c.png"], "{run}");
}

#[test]
fn records_are_written_while_the_list_is_still_being_written() {
    let server = Server::start();
    let mut running = fetchimg().args(["--manifest", "-"]).stdin_pipe();
    let journal = running.dir().join("images").join(JOURNAL);
    for (count, name) in (1..).zip(["a.png", "b.png"]) {
        running.write_line(server.url(&format!("/png/300/{name}")));
        wait_until("a record on standard output", || running.stdout().lines().count() == count);
        let written = std::fs::read_to_string(&journal).expect("the journal is there");
        assert_eq!(written, running.stdout());
        assert!(written.ends_with("}\n"), "{written}");
    }
    let run = running.wait();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved a.png", "saved b.png"], "{run}");
}

#[test]
fn five_thousand_rows_become_five_thousand_images() {
    const ROWS: usize = 5000;
    let server = Server::start();
    let lines = (0..ROWS).map(|number| server.url(&format!("/png/200/{number}.png")));
    let run = fetchimg().lines(lines).args(["-q", "--json"]).run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(server.requests().len(), ROWS);
    let mut indices: Vec<_> = run.records().iter().map(|record| record["index"].as_u64()).collect();
    indices.sort_unstable();
    assert!(indices.into_iter().eq((0..5000).map(Some)), "one record for each row");
    assert_eq!(run.files().len(), ROWS);
    for number in 0..ROWS {
        let name = format!("{number}.png");
        assert!(run.file(&name) == server.body(&format!("/png/200/{name}")), "{name} is not what was sent");
    }
    let mode = &run.report()["modes"][0];
    assert_eq!((mode["rows"].as_u64(), mode["saved"].as_u64()), (Some(5000), Some(5000)));
    assert_eq!(mode["bytes"], 5000 * 200);
    assert_eq!(run.leftovers(), [""; 0]);
}

/// The rows of a list with the columns `url` and `caption`, of which these rows have captions of their own.
fn captioned(server: &Server, rows: u64, delimiter: char, captions: &[(u64, &str)]) -> String {
    let row = |number: u64| {
        let caption = captions.iter().find(|(row, _)| *row == number).map_or("plain", |(_, caption)| caption);
        format!("{}{delimiter}{caption}\n", server.url(&format!("/png/60/{number}.png")))
    };
    format!("url{delimiter}caption\n{}", (0..rows).map(row).collect::<String>())
}

#[test]
fn captions_that_begin_with_a_quotation_mark_cost_no_other_row() {
    const ROWS: u64 = 40;
    let server = Server::start();
    for captions in [
        &[(10, "\"Beautiful view"), (30, "\"Bye")][..],
        &[(10, "\"opened"), (30, "he said \"bye\"")],
        &[(10, "\"opened"), (11, "says bye\"")],
        &[(10, "\"opened"), (30, "\"")],
        &[(5, "\"a"), (15, "\"b"), (25, "\"c"), (35, "\"d")],
        &[(39, "\"opened")],
    ] {
        for (name, delimiter) in [("list.tsv", '\t'), ("list.csv", ',')] {
            let dir = TestDir::new();
            dir.write(name, captioned(&server, ROWS, delimiter, captions));
            let run = fetchimg().in_dir(&dir).args([name, "-q"]).run();
            let failed = run.outcomes().iter().filter(|outcome| *outcome == "failed bad_url").count();
            assert_eq!(run.records().len() as u64, ROWS, "{captions:?} {run}");
            if name == "list.tsv" {
                assert_eq!((run.status, failed), (Some(0), 0), "{captions:?} {run}");
                let (row, caption) = captions[0];
                assert_eq!(run.record(row)["extra"]["caption"], caption, "{run}");
            } else {
                // Each row with an opening quote fails, and says so.
                assert_eq!(run.status, Some(1), "{captions:?} {run}");
                let opened = captions.iter().filter(|(_, caption)| caption.starts_with('"')).count();
                assert_eq!(failed, opened, "{captions:?} {run}");
                let message = run.record(captions[0].0)["message"].as_str().expect("a message").to_owned();
                assert!(message.contains(&format!("line {} of list.csv", captions[0].0 + 2)), "{message}");
            }
        }
    }
}

#[test]
fn a_tab_in_a_text_list_is_never_part_of_a_url() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/300/b.png"));
    let dir = TestDir::new();
    dir.write("labels.txt", format!("{a}\t12:1\t33:1\n{b}\t7:1\n{b}\n"));
    let run = fetchimg().in_dir(&dir).args(["labels.txt", "-o", "labels"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.outcomes(), ["failed bad_url", "failed bad_url", "saved b.png"], "{run}");
    let hints = run.stderr.matches("--input-format tsv").count();
    assert_eq!(hints, 1, "once for the list\n{run}");
    dir.write("mirrors.txt", format!("{a}\t{}\n", server.url("/png/300/mirror.png")));
    let run = fetchimg().in_dir(&dir).args(["mirrors.txt", "-o", "mirrors"]).run();
    assert_eq!((run.status, run.outcomes()), (Some(0), vec!["saved a.png".to_owned()]), "{run}");
    assert_eq!(targets(&server), ["/png/300/a.png", "/png/300/b.png"]);
}

#[test]
fn a_json_array_is_refused_with_the_command_that_makes_a_list_of_it() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    for (array, command) in [
        (format!("[\n  {{\n    \"url\": \"{url}\"\n  }}\n]\n"), "jq -c '.[]'"),
        (format!("[\r\n{{\"url\": \"{url}\"}}\r\n]\r\n"), "jq -c '.[]'"),
        (format!("\n\n[{{\"url\": \"{url}\"}}]"), "jq -c '.[]'"),
        (format!("[\"{url}\"]"), "jq -r '.[]'"),
        (format!("[\n  \"{url}\"\n]\n"), "jq -r '.[]'"),
        (format!("{{\n  \"url\": \"{url}\"\n}}\n"), "jq -c ."),
    ] {
        for name in ["list.json", "list.jsonl", "list.txt", "list"] {
            let dir = TestDir::new();
            dir.write(name, &array);
            let run = fetchimg().in_dir(&dir).arg(name).run();
            assert_eq!(run.status, Some(3), "{name} {array} {run}");
            assert!(run.stderr.contains(command), "{name} {array} {run}");
        }
        let run = fetchimg().stdin(array.clone()).run();
        assert_eq!(run.status, Some(3), "{array} {run}");
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_list_for_the_transfer_service_may_have_any_name() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/400/b.png"));
    let dir = TestDir::new();
    for (number, name) in ["urls.txt", "urls.tsv", "urls.csv", "urls"].iter().enumerate() {
        for format in [&[][..], &["--input-format", "text"]] {
            dir.write(name, format!("\u{feff}\nTsvHttpData-1.0\r\n{a}\t300\r\n{b}\n"));
            let output = format!("out{number}{}", format.len());
            let run = fetchimg().in_dir(&dir).args([name, "-o", &output]).args(format).run();
            assert_eq!((run.status, run.files()), (Some(0), vec!["a.png".to_owned(), "b.png".into()]), "{name}\n{run}");
            assert_eq!(run.record(0)["extra"]["size"], "300", "{run}");
        }
    }
}
