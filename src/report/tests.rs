//! Tests of the tally, the summary and the comparison.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::advice::ConcurrencyLimits;
use super::*;
use crate::record::{
    Digests, ErrorKind, Extra, Failed, FetchError, Measures, Mode, Outcome, Reason, Record, Saved, Seen, Skipped,
    Timing,
};

fn record(outcome: Outcome) -> Record {
    Record { index: 0, url: "http://a.example/1.png".into(), url_hash: None, outcome, extra: Extra::default() }
}

fn saved(ttfb_ms: f64, total_ms: f64) -> Record {
    record(Outcome::Saved(Saved {
        path: "1.png".into(),
        bytes: 1000,
        format: None,
        measures: Measures::default(),
        content_type: None,
        http_status: 200,
        final_url: String::new(),
        attempts: 2,
        resumed_from: 0,
        timing: Timing { ttfb_ms: Some(ttfb_ms), total_ms, ..Timing::default() },
        exif: serde_json::Map::new(),
        digests: Digests::default(),
        phash: None,
        verified: None,
        original: None,
        same_as: None,
        extension_mismatch: true,
        smaller_than_box: true,
        made_with: crate::record::MadeWith::default(),
        from_earlier_run: 0,
    }))
}

fn pass(mode: Mode) -> Tally {
    let mut pass = Tally::new(mode);
    for n in 1..=100 {
        pass.add(&saved(f64::from(n), f64::from(n) * 10.0));
    }
    let error = FetchError::new(ErrorKind::HttpStatus(404), "404 Not Found");
    let timing = Timing { total_ms: 500.0, ..Timing::default() };
    pass.add(&record(Outcome::Failed(Failed::new(&error, 1, Some(timing)))));
    let small = FetchError::new(ErrorKind::TooSmall, "too small").by_wish(Seen::default());
    pass.add(&record(Outcome::of_error(&small, 2, Some(timing))));
    pass.add(&record(Outcome::Skipped(Skipped::new(Reason::DuplicateUrl, None))));
    pass
}

#[test]
fn the_numbers_of_a_summary_follow_from_the_records() {
    let summary = pass(Mode::Concurrent).summary(Duration::from_secs(10), 7);
    assert_eq!((summary.rows, summary.saved, summary.failed, summary.skipped), (103, 100, 1, 1));
    assert_eq!((summary.refused, summary.refused_by_kind), (1, BTreeMap::from([("too_small".to_owned(), 1)])));
    let host = &summary.trace.hosts[0];
    assert_eq!((host.saved, host.failed, host.refused, host.requests), (100, 1, 1, 203));
    assert_eq!((summary.trace.refusals[0].count, summary.trace.failures.len()), (1, 1));
    assert_eq!(summary.bytes, 100_000);
    assert!((summary.images_per_second - 10.0).abs() < 1e-9);
    assert_eq!(summary.failed_by_kind, BTreeMap::from([("http_status 404".to_owned(), 1)]));
    let times = summary.download_seconds.expect("times");
    assert!((times.median - 0.5).abs() < 0.001 && (times.p95 - 0.95).abs() < 0.001, "{times:?}");
    assert!((times.max - 1.0).abs() < 1e-9);
    assert!((summary.sum_of_downloads_seconds - 51.5).abs() < 1e-6, "5,050 x 10 ms and twice 500 ms");
    assert_eq!((summary.retries, summary.extension_mismatches, summary.most_alive), (101, 100, 7));
    assert_eq!(summary.smaller_than_box, 100);
}

#[test]
fn a_comparison_says_whether_it_is_measured_or_estimated() {
    let concurrent = pass(Mode::Concurrent).summary(Duration::from_secs(5), 7);
    let sequential = pass(Mode::Sequential).summary(Duration::from_secs(50), 1);
    let report = |modes: &[&Summary], earlier| {
        let modes = modes.iter().map(|summary| (*summary).clone()).collect();
        let limits = ConcurrencyLimits { at_once: 10, per_host: None, max_per_host: 64 };
        Report::new("images".into(), COMPLETED.into(), modes, limits, earlier).comparison.expect("a comparison")
    };
    let both = report(&[&sequential, &concurrent], None);
    assert_eq!((both.speed_up, both.basis), (10.0, Basis::Measured));
    let one = report(&[&concurrent], None);
    assert_eq!((one.sequential_seconds, one.basis), (51.5, Basis::Estimated { mode: Mode::Sequential }));
    let other = report(&[&sequential], None);
    assert!((other.concurrent_seconds - 5.15).abs() < 1e-9, "{other:?}");
    let earlier = report(&[&concurrent], Some((40.0, SystemTime::UNIX_EPOCH)));
    assert!((earlier.speed_up - 8.0).abs() < 1e-9);
    assert_eq!(earlier.basis, Basis::MeasuredBefore { date: "Thu, 01 Jan 1970 00:00:00 GMT".into() });
}
