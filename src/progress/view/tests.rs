//! Tests of the view: what it looks like on terminals of several sizes.

use std::time::Duration;

use super::*;
use crate::progress::facts::{DownHost, ThrottledHost};
use crate::progress::rate::Rates;
use crate::record::ErrorKind;

/// A pass with failures, throttled hosts and slow downloads.
fn busy() -> Status {
    let slow = |host: &str, name: &str, seconds, bytes, length| SlowDownload {
        host: host.to_owned(),
        name: name.to_owned(),
        is_deep: true,
        attempt: 1,
        time: Duration::from_secs(seconds),
        bytes,
        length,
    };
    Status {
        title: "",
        ended: 4_000,
        failed: 13,
        skipped: 3,
        refused: 0,
        bytes: 123_456_789,
        in_flight: 64,
        total: Total::Known(10_000),
        elapsed: Duration::from_secs(20),
        rates: Rates { saved: 200.0, requested: 200.0, bytes: 6e6 },
        failures: vec![
            (ErrorKind::HttpStatus(404), 8),
            (ErrorKind::Dns, 3),
            (ErrorKind::Timeout, 1),
            (ErrorKind::NotAnImage, 1),
        ],
        groups: Vec::new(),
        all_groups: 0,
        down: Vec::new(),
        throttled: vec![
            ThrottledHost { host: "a.example".into(), times: 12, backoff_left: Some(Duration::from_millis(6_500)) },
            ThrottledHost { host: "images.of.a.very.long.name.example:8443".into(), times: 1, backoff_left: None },
            ThrottledHost { host: "c.example".into(), times: 1, backoff_left: None },
        ],
        slowest: vec![
            slow("b.example", "cat.png", 125, 1_258_291, Some(3_565_158)),
            SlowDownload { attempt: 2, ..slow("b.example", &"long-".repeat(20), 12, 0, None) },
            slow("c.example", "dog.png", 2, 2_048, None),
        ],
        shards: None,
    }
}

fn shown(status: &Status, width: u16, height: u16, unicode: bool) -> Vec<String> {
    lines(status, ViewSize { width, height }, unicode).into_iter().map(|line| line.text).collect()
}

#[test]
fn a_usual_terminal_shows_everything() {
    let lines = [
        "[======>        ]   4,000/10,000   200/s  5.72 MiB/s   118 MiB  about 30s left",
        "13 failed: 8 http_status 404, 3 dns, 1 timeout, 1 not_an_image",
        "throttled: a.example 12 times, left alone 7s more; 2 more",
        "slowest 2m05s  1.20 MiB of 3.40 MiB  b.example/.../cat.png",
        "         12s  no byte yet, try 2  b.example/.../long-lo...-long-long-long-long-",
        "          2s  2.00 KiB  c.example/.../dog.png",
    ];
    assert_eq!(shown(&busy(), 80, 24, false), lines);
    let lines = [
        "[████████████                  ]   4,000/10,000  3 skipped   200/s  5.72 MiB/s   118 MiB  64 under way  in 20s  \
         about 30s left",
        "13 failed: 8 http_status 404, 3 dns, 1 timeout, 1 not_an_image",
        "throttled: a.example 12 times, left alone 7s more; images.of.a.very.long.name.example:8443 once; c.example once",
    ];
    assert_eq!(shown(&busy(), 140, 50, true)[..3], lines);
}

fn group(host: &str, kind: ErrorKind, count: u64, url: &str) -> FailureGroup {
    FailureGroup { host: host.into(), kind, count, url: url.into(), message: "a message".into() }
}

fn down(host: &str, kind: Option<ErrorKind>, rows: u64, given_up_in: Option<u64>) -> DownHost {
    let given_up_in = given_up_in.map(Duration::from_secs);
    DownHost { host: host.into(), kind, silent_for: Duration::from_secs(12), rows, given_up_in }
}

#[test]
fn failures_are_shown_by_host_and_kind_with_an_example() {
    let groups = vec![
        group(
            "a.example",
            ErrorKind::HttpStatus(404),
            1_203,
            "http://a.example/2024/07/a-name-that-is-quite-long-600.png",
        ),
        group(
            "a-host-with-a-long-name.example",
            ErrorKind::CorruptImage,
            1,
            "http://a-host-with-a-long-name.example/1.png",
        ),
        group("", ErrorKind::BadUrl, 2, ""),
    ];
    let quiet = Status { throttled: Vec::new(), slowest: Vec::new(), ..busy() };
    let status = Status { groups: groups.clone(), all_groups: 3, ..quiet.clone() };
    let lines = [
        "failed: 1,203 http_status 404 at a.example, such as /2024/07/a-n...long-600.png",
        "failed: 1 corrupt_image at a-host-with-a-long-name.example: /1.png",
        "failed: 2 bad_url, such as a message",
    ];
    assert_eq!(shown(&status, 80, 24, false)[1..], lines);
    let lines = ["13 failed: 8 http_status 404, 3 more", "failed: 1,203x 404 at a.example"];
    assert_eq!(shown(&status, 40, 10, false)[2..], lines);
    // With more groups than lines, the first line is about all of them.
    let status = Status { groups, all_groups: 30, ..quiet };
    let seen = shown(&status, 80, 24, false);
    assert_eq!((seen.len(), &*seen[1]), (5, "13 failed: 8 http_status 404, 3 dns, 1 timeout, 1 not_an_image"));
    assert!(seen[2].starts_with("failed: 1,203 http_status 404 at a.example, "), "{seen:?}");
}

#[test]
fn hosts_that_do_not_answer_are_shown_with_their_rows_and_their_deadlines() {
    let hosts = vec![
        down("dead.example", Some(ErrorKind::Connect), 412, Some(28)),
        down("mute.example:8443", None, 1, Some(132)),
        down("busy.example", Some(ErrorKind::HttpStatus(503)), 9, None),
        down("gone.example", Some(ErrorKind::Dns), 7, Some(0)),
    ];
    let quiet = Status { failed: 0, throttled: Vec::new(), slowest: Vec::new(), ..busy() };
    let status = Status { down: hosts, ..quiet };
    let lines = [
        "down: dead.example for 12s, 412 rows wait, given up in 28s",
        "silent: mute.example:8443 for 12s, 1 row waits, given up in 2m12s",
        "only 503: busy.example for 12s, 9 rows wait; 1 more",
    ];
    assert_eq!(shown(&status, 80, 24, false)[1..], lines);
    let lines = ["down dead.example 12s, 412 rows, 28s left", "silent mute....:8443 12s, 1 row, 2m12s left"];
    assert_eq!(shown(&status, 44, 10, false)[2..], lines);
}

#[test]
fn each_kind_of_line_gets_one_before_any_gets_two() {
    let groups = (0..3).map(|number| group("a.example", ErrorKind::HttpStatus(500 + number), 9, "http://a.example/"));
    let hosts = (0..3).map(|number| down(&format!("{number}.example"), Some(ErrorKind::Dns), 3, Some(9)));
    let status = Status { groups: groups.collect(), all_groups: 9, down: hosts.collect(), ..busy() };
    let kinds = |height| {
        let lines = lines(&status, ViewSize { width: 80, height }, false);
        let count = |tone: Tone| lines.iter().filter(|line| line.tone == tone).count();
        (count(Tone::Failure), count(Tone::Throttled), count(Tone::Plain))
    };
    assert_eq!((kinds(24), kinds(12), kinds(9)), ((3, 3, 2), (1, 2, 2), (1, 2, 1)));
}

#[test]
fn refused_rows_have_a_place_beside_the_bar() {
    let line = "[====>      ]   4,000/10,000  1,234 refused   200/s  5.72 MiB/s   118 MiB  ~30s";
    assert_eq!(shown(&Status { refused: 1_234, ..busy() }, 80, 24, false)[0], line);
}

#[test]
fn a_narrow_terminal_shows_the_numbers_on_a_line_of_their_own() {
    let lines = [
        "[████████▊             ]   4,000/10,000",
        " 200/s  5.72 MiB/s   118 MiB  ~30s",
        "13 failed: 8 http_status 404, 3 more",
        "throttled a.example 12x, 7s; 2 more",
    ];
    assert_eq!(shown(&busy(), 40, 10, true), lines);
    let slow = Status { failed: 0, throttled: Vec::new(), ..busy() };
    let lines = ["2m05s  1.20 MiB  b.example/.../cat.png", " 12s  no byte yet  b.exampl...ong-long-"];
    assert_eq!(shown(&slow, 40, 10, false)[2..], lines);
}

#[test]
fn a_low_terminal_shows_what_is_most_important() {
    let shown = |width, height| shown(&busy(), width, height, false);
    let lines = [
        "[======>        ]   4,000/10,000   200/s  5.72 MiB/s   118 MiB  about 30s left",
        "13 failed: 8 http_status 404, 3 dns, 1 timeout, 1 not_an_image",
    ];
    assert_eq!(shown(80, 5), lines);
    assert_eq!(shown(80, 2), ["[======>        ]   4,000/10,000  13 failed   200/s  5.72 MiB/s   118 MiB  ~30s"]);
    assert_eq!(shown(20, 5), [" 4,000/10,000  ~30s", "13 failed: 8 http_s"]);
    assert_eq!(shown(8, 5), ["4,000/1", "13 fail"]);
}

#[test]
fn a_quick_run_takes_one_line() {
    let status = Status { failed: 0, failures: Vec::new(), throttled: Vec::new(), slowest: Vec::new(), ..busy() };
    let line = "[██████         ]   4,000/10,000   200/s  5.72 MiB/s   118 MiB  about 30s left";
    assert_eq!(shown(&status, 80, 24, true), [line]);
    let last = Status { ended: 9_998, in_flight: 2, ..status.clone() };
    let line = "[█████████████▉]   9,998/10,000   200/s  5.72 MiB/s   118 MiB  last 2 under way";
    assert_eq!(shown(&last, 80, 24, true), [line]);
    let one_of_two = Status { title: "sequential", ..status };
    let line = "sequential  [=====>        ]   4,000/10,000   200/s  5.72 MiB/s   118 MiB  ~30s";
    assert_eq!(shown(&one_of_two, 80, 24, false), [line]);
}

#[test]
fn a_list_of_unknown_length_is_shown_as_one() {
    let status = Status { total: Total::Unknown, failed: 0, throttled: Vec::new(), slowest: Vec::new(), ..busy() };
    let line = "4,000 so far  end unknown: list still being read   200/s  5.72 MiB/s   118 MiB";
    assert_eq!(shown(&status, 80, 24, false), [line]);
    assert_eq!(shown(&status, 40, 3, false), ["4,000  list still being read   200/s"]);
    let lines = ["4,000 so far  list still being read", "3 skipped   200/s  5.72 MiB/s   118 MiB"];
    assert_eq!(shown(&status, 40, 10, false), lines);
    let guessed = Status { total: Total::About(9_876), ..status };
    let line = "[===>    ]  4,000 of about 9,900   200/s  5.72 MiB/s   118 MiB  about 29s left";
    assert_eq!(shown(&guessed, 80, 24, false), [line]);
    assert_eq!(shown(&guessed, 40, 3, false), ["[===>     ]  4,000/~9,900   200/s  ~29s"]);
    let lines = ["[======>        ]  4,000 of about 9,900", " 200/s  5.72 MiB/s   118 MiB  ~29s"];
    assert_eq!(shown(&guessed, 40, 10, false), lines);
}

#[test]
fn the_bar_grows_from_nothing_to_all() {
    let bar = |ended, total, unicode| {
        let status = Status { ended, total: Total::Known(total), ..Status::default() };
        View { status: &status, width: 80, unicode }.bar(10)
    };
    let ascii = [(0, 10), (5, 10), (9, 10), (10, 10), (11, 10)].map(|(ended, total)| bar(ended, total, false));
    assert_eq!(ascii, ["[          ]", "[=====>    ]", "[=========>]", "[==========]", "[==========]"]);
    let unicode = [(1, 1000), (1, 80), (79, 80), (u64::MAX, u64::MAX)].map(|(ended, total)| bar(ended, total, true));
    assert_eq!(unicode, ["[          ]", "[▏         ]", "[█████████▉]", "[██████████]"]);
}

#[test]
fn no_line_is_wider_than_the_terminal_and_ascii_is_ascii() {
    let mut status = busy();
    for total in [Total::Known(10_000), Total::About(u64::MAX), Total::Unknown] {
        status.total = total;
        for (width, height) in (0..130).flat_map(|width| (0..30).map(move |height| (width, height))) {
            for unicode in [false, true] {
                let lines = shown(&status, width, height, unicode);
                let max_lines = usize::from(height.saturating_sub(1)).clamp(1, MAX_LINES);
                assert!((1..=max_lines).contains(&lines.len()), "{width}x{height}: {lines:?}");
                let is_fit = |line: &String| measure_text_width(line) < usize::from(width.max(2));
                assert!(lines.iter().all(is_fit), "{width}x{height}: {lines:?}");
                assert!(unicode || lines.iter().all(|line| line.is_ascii()), "{width}x{height}: {lines:?}");
            }
        }
    }
}

#[test]
fn text_from_outside_cannot_move_the_cursor() {
    let mut status = busy();
    status.throttled[0].host = "a\u{1b}[2J".to_owned();
    status.slowest[0].name = "\u{202e}gnp.a\r".to_owned();
    let lines = shown(&status, 120, 40, true);
    assert!(lines.iter().all(|line| !line.chars().any(crate::util::redact::needs_escaping)), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("a\\u{1b}[2J")), "{lines:?}");
}

#[test]
fn a_name_is_cut_in_its_middle() {
    let status = Status::default();
    let cut = |text: &str, width, unicode| View { status: &status, width: 80, unicode }.shortened(text, width);
    assert_eq!(cut("b.example/cat.png", 17, false), "b.example/cat.png");
    assert_eq!(cut("b.example/cat.png", 12, false), "b.ex...t.png");
    assert_eq!(cut("b.example/cat.png", 12, true), "b.exa…at.png");
    assert_eq!(cut("日本語日本語日本語", 10, true), "日本…本語");
}
