//! Advice for the user: sentences that follow from the numbers of a pass.
//!
//! Up to three are about failures and about time. Each of these has a weight: the share of the rows or of the time that it
//! is about. The sentences with the largest weights are shown. A sentence is not shown if its share is small, or if
//! following it would not make a visible difference. After them come those about mistakes of the list and about wishes
//! that were not met (`shortfalls`), however few rows they are about.

use super::trace::{FailureGroup, HostSummary};
use super::{Summary, shortfalls};
use crate::record::Mode;
use crate::util::human::Count;
use crate::util::redact::escaped;

/// The most sentences about failures and about time.
const MAX_SENTENCES: usize = 3;

/// The smallest share of a run that is worth a sentence.
const MIN_SHARE: f64 = 0.02;

/// The smallest number of occurrences that is worth a sentence.
const MIN_COUNT: u64 = 3;

/// The limits on concurrent downloads in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencyLimits {
    /// The most downloads at the same time (`-j`).
    pub at_once: usize,
    /// The most downloads at the same time from one host; `None` if the limit adapts to the host (`--per-host auto`).
    pub per_host: Option<usize>,
    /// The highest value of the adaptive limit.
    pub max_per_host: usize,
}

/// A sentence and its weight.
struct Suggestion {
    /// The share of the run that the sentence is about, from 0 to 1.
    weight: f64,
    sentence: String,
}

/// The sentences for a pass.
#[must_use]
pub fn advice(summary: &Summary, limits: ConcurrencyLimits) -> Vec<String> {
    let mut sentences = weighted(summary, limits);
    sentences.extend(shortfalls::sentences(summary));
    sentences
}

/// The sentences about failures and about time, those with the largest weights first.
fn weighted(summary: &Summary, limits: ConcurrencyLimits) -> Vec<String> {
    if summary.mode == Mode::Sequential || summary.rows == 0 {
        return Vec::new();
    }
    let mut suggestions = [failures(summary), throttled(summary), look_ups(summary), idle_network(summary, limits)]
        .into_iter()
        .flatten()
        .filter(|suggestion| suggestion.weight >= MIN_SHARE)
        .collect::<Vec<_>>();
    suggestions.sort_by(|one, other| other.weight.total_cmp(&one.weight));
    suggestions.into_iter().take(MAX_SENTENCES).map(|suggestion| suggestion.sentence).collect()
}

/// The most frequent kind of failure, if the user can do something about it.
fn failures(summary: &Summary) -> Option<Suggestion> {
    // The log has a line for each failure, so a kind that occurred only once or twice needs no sentence.
    let is_frequent = |group: &&FailureGroup| group.kind != "interrupted" && group.count >= MIN_COUNT;
    let group = summary.trace.failures.iter().find(is_frequent)?;
    let weight = share(group.count, summary.rows);
    let what = match &*group.kind {
        "not_an_image" => "gave something that is no image; the list may name pages instead of the pictures on them",
        "bad_url" if group.examples.iter().any(|example| example.message.contains("not valid UTF-8")) => {
            "are not in UTF-8; say with --input-encoding what the list is in, such as windows-1252"
        }
        "bad_url" => "are no URLs; check what writes the list, and --url-column and --input-format",
        "http_status 404" | "http_status 410" => "are gone from their servers; the list may be old",
        kind => {
            let advice = group.advice?;
            let sentence = format!("{} failed with {kind}: {advice}.", rows(weight, group.count));
            return Some(Suggestion { weight, sentence });
        }
    };
    Some(Suggestion { weight, sentence: format!("{} {what}.", rows(weight, group.count)) })
}

/// The host that throttled most often.
fn throttled(summary: &Summary) -> Option<Suggestion> {
    let worst = summary.overloaded_hosts.iter().max_by_key(|host| host.throttled)?;
    let row = summary.trace.hosts.iter().find(|row| row.host == worst.host)?;
    let share_of_host = share(worst.throttled, row.requests);
    if worst.throttled < MIN_COUNT || share_of_host < MIN_SHARE {
        return None;
    }
    let host = escaped(&worst.host);
    let rate = served_rate(row, summary.wall_seconds);
    let sentence = format!(
        "{host} turned {} of its requests away (429 or 503); --rate {rate} asks it for no more than it served.",
        percent(share_of_host)
    );
    let weight = share(worst.throttled, summary.trace.hosts.iter().map(|row| row.requests).sum());
    Some(Suggestion { weight, sentence })
}

/// Images per second that the host served, on average over the pass.
fn served_rate(row: &HostSummary, seconds: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = row.saved as f64 / seconds.max(0.001);
    if rate >= 1.0 { format!("{:.0}", rate.floor()) } else { format!("{:.1}", rate.max(0.1)) }
}

/// A large share of the time to first byte that was spent on the look-up of host names.
fn look_ups(summary: &Summary) -> Option<Suggestion> {
    let first_bytes = summary.first_byte_seconds.filter(|times| times.median > 0.0)?;
    let weight = (summary.lookup_seconds / summary.sum_of_first_bytes_seconds).min(1.0);
    // If the time to first byte is a few milliseconds, its parts do not matter.
    if !weight.is_finite() || weight < 0.3 || first_bytes.p95 < 0.05 {
        return None;
    }
    let sentence = format!(
        "Looking host names up took {} of the time to first byte; a resolver nearby (--dns-servers, or a cache on this \
         machine) would help.",
        percent(weight)
    );
    Some(Suggestion { weight, sentence })
}

/// A network that was idle because all downloads waited for servers while a limit on concurrent downloads was reached.
fn idle_network(summary: &Summary, limits: ConcurrencyLimits) -> Option<Suggestion> {
    let (first_byte, whole) = (summary.first_byte_seconds?, summary.download_seconds?);
    // More connections bring nothing if the servers answer quickly, or if most of the time is spent on the bodies.
    if first_byte.median < 0.02 || first_byte.median < 0.6 * whole.median || !summary.overloaded_hosts.is_empty() {
        return None;
    }
    let in_flight = summary.sum_of_downloads_seconds / summary.wall_seconds.max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let is_reached = |limit: usize| in_flight >= 0.75 * limit as f64 && summary.saved as f64 >= 4.0 * limit as f64;
    let waited = percent((first_byte.median / whole.median).min(1.0));
    let begin = format!("The network was idle: downloads spent {waited} of their time waiting for the first byte");
    // A sentence about the whole run, so one fixed weight.
    let suggestion = |sentence| Suggestion { weight: 0.5, sentence };
    if is_reached(limits.at_once) {
        let at_once = limits.at_once;
        return Some(suggestion(format!("{begin}, all {at_once} that -j allows at once; raise -j.")));
    }
    let [only] = &*summary.trace.hosts else { return None };
    let per_host = limits.per_host.unwrap_or(limits.max_per_host);
    if !is_reached(per_host) {
        return None;
    }
    let host = escaped(&only.host);
    let more = per_host.saturating_mul(2).min(limits.at_once);
    (more > per_host).then(|| {
        suggestion(format!(
            "{begin}, all {per_host} that one host gets; if {host} is yours or bears it, try --per-host {more}."
        ))
    })
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn rows(share: f64, count: u64) -> String {
    let count = Count(count);
    if share < 1.0 { format!("{} of the rows ({count})", percent(share)) } else { format!("All rows ({count})") }
}

/// A share, with few digits.
pub(super) fn percent(share: f64) -> String {
    if share < 0.1 { format!("{:.1} %", share * 100.0) } else { format!("{:.0} %", share * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{OverloadedHost, Percentiles};
    use std::collections::BTreeMap;
    use std::time::Duration;

    const LIMITS: ConcurrencyLimits = ConcurrencyLimits { at_once: 256, per_host: None, max_per_host: 64 };

    /// A thousand images in ten seconds from one host, quickly answered.
    fn summary() -> Summary {
        let times = |median| Some(Percentiles { median, p95: 2.0 * median, max: 3.0 * median });
        let mut summary = crate::report::Tally::new(Mode::Concurrent).summary(Duration::from_secs(10), 64);
        (summary.rows, summary.saved) = (1000, 1000);
        (summary.first_byte_seconds, summary.download_seconds) = (times(0.005), times(0.01));
        (summary.sum_of_first_bytes_seconds, summary.sum_of_downloads_seconds) = (5.0, 10.0);
        summary.trace.hosts = vec![host("a.example", 1000, 1000)];
        summary
    }

    fn host(name: &str, saved: u64, requests: u64) -> HostSummary {
        HostSummary {
            host: name.into(),
            saved,
            failed: 0,
            refused: 0,
            requests,
            bytes: 0,
            mean_first_byte_seconds: 0.0,
            mean_download_seconds: 0.0,
            failures: Vec::new(),
        }
    }

    fn failed(summary: &mut Summary, kind: &str, count: u64, advice: Option<&'static str>) {
        (summary.failed, summary.saved) = (count, summary.rows - count);
        summary.failed_by_kind = BTreeMap::from([(kind.to_owned(), count)]);
        summary.trace.failures = vec![FailureGroup { kind: kind.into(), count, advice, examples: vec![] }];
    }

    #[test]
    fn a_run_without_problems_gets_no_advice() {
        assert_eq!(advice(&summary(), LIMITS), Vec::<String>::new());
        let mut few = summary();
        failed(&mut few, "not_an_image", 19, None);
        assert_eq!(advice(&few, LIMITS), Vec::<String>::new(), "19 of 1,000 are no pattern");
        few.rows = 5;
        failed(&mut few, "not_an_image", 2, None);
        assert_eq!(advice(&few, LIMITS), Vec::<String>::new(), "nor are 2 of 5");
    }

    #[test]
    fn a_host_that_throttles_is_named_with_the_rate_that_it_served() {
        let mut summary = summary();
        summary.trace.hosts = vec![host("slow.example", 55, 200), host("b.example", 800, 800)];
        summary.overloaded_hosts = vec![OverloadedHost { host: "slow.example".into(), times: 80, throttled: 76 }];
        let sentences = advice(&summary, LIMITS);
        assert_eq!(
            sentences,
            [
                "slow.example turned 38 % of its requests away (429 or 503); --rate 5 asks it for no more than it served."
            ]
        );
        summary.trace.hosts[0].saved = 3;
        assert!(advice(&summary, LIMITS)[0].contains("--rate 0.3 "), "less than one a second");
        summary.overloaded_hosts[0].throttled = 2;
        assert_eq!(advice(&summary, LIMITS), Vec::<String>::new(), "twice is not frequent");
    }

    #[test]
    fn slow_look_ups_of_names_are_mentioned() {
        let mut summary = summary();
        summary.first_byte_seconds = Some(Percentiles { median: 0.1, p95: 0.2, max: 0.3 });
        summary.download_seconds = Some(Percentiles { median: 0.3, p95: 0.4, max: 0.5 });
        (summary.sum_of_first_bytes_seconds, summary.lookup_seconds) = (100.0, 60.0);
        assert!(advice(&summary, LIMITS)[0].starts_with("Looking host names up took 60 % of the time to first byte"));
        summary.lookup_seconds = 20.0;
        assert_eq!(advice(&summary, LIMITS), Vec::<String>::new());
    }

    #[test]
    fn an_idle_network_calls_for_more_downloads_at_the_same_time() {
        let mut summary = summary();
        summary.first_byte_seconds = Some(Percentiles { median: 0.05, p95: 0.06, max: 0.07 });
        summary.download_seconds = Some(Percentiles { median: 0.052, p95: 0.06, max: 0.07 });
        // Four downloads in flight, all the time.
        summary.sum_of_downloads_seconds = 39.0;
        let four = ConcurrencyLimits { at_once: 4, ..LIMITS };
        let sentences = advice(&summary, four);
        assert!(sentences[0].ends_with("all 4 that -j allows at once; raise -j."), "{sentences:?}");
        assert_eq!(advice(&summary, LIMITS), Vec::<String>::new(), "the limit was not reached");
        summary.sum_of_downloads_seconds = 630.0;
        assert!(advice(&summary, LIMITS)[0].ends_with("if a.example is yours or bears it, try --per-host 128."));
        summary.trace.hosts.push(host("b.example", 1, 1));
        assert_eq!(advice(&summary, LIMITS), Vec::<String>::new());
    }

    #[test]
    fn the_most_frequent_failure_is_shown_with_its_remedy() {
        let mut summary = summary();
        failed(&mut summary, "not_an_image", 212, Some("--accept any saves whatever comes"));
        assert!(advice(&summary, LIMITS)[0].starts_with("21 % of the rows (212) gave something that is no image;"));
        failed(&mut summary, "http_status 401", 30, Some("give credentials with -u"));
        assert_eq!(
            advice(&summary, LIMITS),
            ["3.0 % of the rows (30) failed with http_status 401: give credentials with -u."]
        );
        failed(&mut summary, "dns", 1000, Some("check the host name"));
        assert_eq!(advice(&summary, LIMITS), ["All rows (1,000) failed with dns: check the host name."]);
        failed(&mut summary, "cut_short", 500, None);
        assert_eq!(advice(&summary, LIMITS), Vec::<String>::new(), "no remedy is known");
    }

    #[test]
    fn the_sentences_with_the_largest_weights_come_first() {
        let mut summary = summary();
        failed(&mut summary, "stalled", 100, Some("--stall-timeout waits longer"));
        summary.first_byte_seconds = Some(Percentiles { median: 0.1, p95: 0.2, max: 0.3 });
        summary.download_seconds = Some(Percentiles { median: 0.3, p95: 0.4, max: 0.5 });
        (summary.sum_of_first_bytes_seconds, summary.lookup_seconds) = (100.0, 60.0);
        summary.overloaded_hosts = vec![OverloadedHost { host: "a.example".into(), times: 80, throttled: 76 }];
        let sentences = advice(&summary, LIMITS);
        assert_eq!(sentences.len(), 3);
        assert!(
            sentences[0].contains("names up") && sentences[1].contains("stalled") && sentences[2].contains("turned"),
            "{sentences:?}"
        );
        // What the list or the wishes are about comes after these, however few rows it is about.
        summary.extension_mismatches = 1;
        let sentences = advice(&summary, LIMITS);
        assert!(sentences.len() == 4 && sentences[3].contains("--fix-extension"), "{sentences:?}");
    }
}
