//! What to do about it: up to three sentences that follow from the numbers of a pass.
//!
//! Each is worth its share of the run, the share of rows or of time that it concerns, and the weightiest are said. None is
//! said of what concerns little, and none that the numbers do not carry: whoever follows it should see a difference.

use super::Summary;
use super::trace::{FailureGroup, HostRow};
use crate::record::Mode;
use crate::util::redact::escaped;

/// So many sentences at most.
const MOST: usize = 3;

/// What concerns less of a run than this is not worth a sentence.
const WORTH_IT: f64 = 0.02;

/// And what happened less often than this is none.
const FEW: u64 = 3;

/// What the run was allowed, as far as advice goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Downloads at once (`-j`).
    pub at_once: usize,
    /// Downloads at once at one host: `None`, as many as it bears (`--per-host auto`).
    pub per_host: Option<usize>,
    /// Downloads at once that a host gets at most when the number is left to the program.
    pub most_per_host: usize,
}

/// The sentences, the weightiest first.
#[must_use]
pub fn advice(summary: &Summary, allowed: Allowed) -> Vec<String> {
    if summary.mode == Mode::Sequential || summary.rows == 0 {
        return Vec::new();
    }
    let mut found =
        [failures(summary), throttled(summary), names(summary), patience(summary, allowed), extensions(summary)]
            .into_iter()
            .flatten()
            .filter(|(weight, _)| *weight >= WORTH_IT)
            .collect::<Vec<_>>();
    found.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    found.into_iter().take(MOST).map(|(_, sentence)| sentence).collect()
}

type Found = Option<(f64, String)>;

/// The kind of failure that met most rows, if there is something to be done about it.
fn failures(summary: &Summary) -> Found {
    // The log has told of each one, and what is met once or twice is no habit.
    let is_habit = |group: &&FailureGroup| group.kind != "interrupted" && group.count >= FEW;
    let group = summary.trace.failures.iter().find(is_habit)?;
    let share = share(group.count, summary.rows);
    let what = match &*group.kind {
        "not_an_image" => "gave something that is no image; the list may name pages instead of the pictures on them",
        "bad_url" => "are no URLs; check what writes the list, and --url-column and --input-format",
        "http_status 404" | "http_status 410" => "are gone from their servers; the list may be old",
        _ => return said_of(group, share),
    };
    Some((share, format!("{} {what}.", rows(share, group.count))))
}

/// A failure whose remedy is the same for every row.
fn said_of(group: &FailureGroup, share: f64) -> Found {
    let advice = group.advice?;
    Some((share, format!("{} failed with {}: {advice}.", rows(share, group.count), group.kind)))
}

/// The host that said most often that it was too much.
fn throttled(summary: &Summary) -> Found {
    let worst = summary.overloaded_hosts.iter().max_by_key(|host| host.throttled)?;
    let row = summary.trace.hosts.iter().find(|row| row.host == worst.host)?;
    let share_of_host = share(worst.throttled, row.requests);
    if worst.throttled < FEW || share_of_host < WORTH_IT {
        return None;
    }
    let host = escaped(&worst.host);
    let rate = bearable(row, summary.wall_seconds);
    let sentence = format!(
        "{host} turned {} of its requests away (429 or 503); --rate {rate} asks it for no more than it served.",
        percent(share_of_host)
    );
    Some((share(worst.throttled, summary.trace.hosts.iter().map(|row| row.requests).sum()), sentence))
}

/// Requests a second that the host has answered well, on average.
fn bearable(row: &HostRow, seconds: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = row.saved as f64 / seconds.max(0.001);
    if rate >= 1.0 { format!("{:.0}", rate.floor()) } else { format!("{:.1}", rate.max(0.1)) }
}

/// Time that went into looking names up.
fn names(summary: &Summary) -> Found {
    let first_bytes = summary.first_byte_seconds.filter(|times| times.median > 0.0)?;
    let share = (summary.lookup_seconds / summary.sum_of_first_bytes_seconds).min(1.0);
    // Of a few milliseconds, it does not matter what they went into.
    if !share.is_finite() || share < 0.3 || first_bytes.p95 < 0.05 {
        return None;
    }
    let sentence = format!(
        "Looking host names up took {} of the time to first byte; a resolver nearby (--dns-servers, or a cache on this \
         machine) would help.",
        percent(share)
    );
    Some((share, sentence))
}

/// Whether everything waited for servers, with every place taken.
fn patience(summary: &Summary, allowed: Allowed) -> Found {
    let (first_byte, whole) = (summary.first_byte_seconds?, summary.download_seconds?);
    // A server that answers at once leaves nothing to be had from more connections, nor does a full line.
    if first_byte.median < 0.02 || first_byte.median < 0.6 * whole.median || !summary.overloaded_hosts.is_empty() {
        return None;
    }
    let alive = summary.sum_of_downloads_seconds / summary.wall_seconds.max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let is_full = |places: usize| alive >= 0.75 * places as f64 && summary.saved as f64 >= 4.0 * places as f64;
    let waited = percent((first_byte.median / whole.median).min(1.0));
    let begin = format!("The network was idle: downloads spent {waited} of their time waiting for the first byte");
    if is_full(allowed.at_once) {
        let at_once = allowed.at_once;
        return Some((0.5, format!("{begin}, all {at_once} that -j allows at once; raise -j.")));
    }
    let [only] = &*summary.trace.hosts else { return None };
    let places = allowed.per_host.unwrap_or(allowed.most_per_host);
    if !is_full(places) {
        return None;
    }
    let host = escaped(&only.host);
    let more = places.saturating_mul(2).min(allowed.at_once);
    (more > places).then(|| {
        (
            0.5,
            format!("{begin}, all {places} that one host gets; if {host} is yours or bears it, try --per-host {more}."),
        )
    })
}

/// Files whose names lie.
fn extensions(summary: &Summary) -> Found {
    let share = share(summary.extension_mismatches, summary.saved);
    (summary.extension_mismatches > 0).then(|| {
        let count = summary.extension_mismatches;
        // A nuisance, no failure.
        (share / 4.0, format!("{} of the files ({count}) hold another format than their names say; --fix-extension names them by content.", percent(share)))
    })
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn rows(share: f64, count: u64) -> String {
    if share < 1.0 { format!("{} of the rows ({count})", percent(share)) } else { format!("All rows ({count})") }
}

fn percent(share: f64) -> String {
    if share < 0.1 { format!("{:.1} %", share * 100.0) } else { format!("{:.0} %", share * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{OverloadedHost, Times};
    use std::collections::BTreeMap;
    use std::time::Duration;

    const ALLOWED: Allowed = Allowed { at_once: 256, per_host: None, most_per_host: 64 };

    /// A thousand images in ten seconds from one host, quickly answered.
    fn summary() -> Summary {
        let times = |median| Some(Times { median, p95: 2.0 * median, max: 3.0 * median });
        let mut summary = crate::report::Tally::new(Mode::Concurrent).summary(Duration::from_secs(10), 64);
        (summary.rows, summary.saved) = (1000, 1000);
        (summary.first_byte_seconds, summary.download_seconds) = (times(0.005), times(0.01));
        (summary.sum_of_first_bytes_seconds, summary.sum_of_downloads_seconds) = (5.0, 10.0);
        summary.trace.hosts = vec![host("a.example", 1000, 1000)];
        summary
    }

    fn host(name: &str, saved: u64, requests: u64) -> HostRow {
        HostRow {
            host: name.into(),
            saved,
            failed: 0,
            requests,
            bytes: 0,
            mean_first_byte_seconds: 0.0,
            mean_download_seconds: 0.0,
        }
    }

    fn failed(summary: &mut Summary, kind: &str, count: u64, advice: Option<&'static str>) {
        (summary.failed, summary.saved) = (count, summary.rows - count);
        summary.failed_by_kind = BTreeMap::from([(kind.to_owned(), count)]);
        summary.trace.failures = vec![FailureGroup { kind: kind.into(), count, advice, examples: vec![] }];
    }

    #[test]
    fn a_run_without_trouble_gets_no_advice() {
        assert_eq!(advice(&summary(), ALLOWED), Vec::<String>::new());
        let mut few = summary();
        failed(&mut few, "not_an_image", 19, None);
        assert_eq!(advice(&few, ALLOWED), Vec::<String>::new(), "19 of 1,000 are no pattern");
        few.rows = 5;
        failed(&mut few, "not_an_image", 2, None);
        assert_eq!(advice(&few, ALLOWED), Vec::<String>::new(), "nor are 2 of 5");
    }

    #[test]
    fn a_host_that_turns_requests_away_is_named_with_a_rate_that_it_bears() {
        let mut summary = summary();
        summary.trace.hosts = vec![host("slow.example", 55, 200), host("b.example", 800, 800)];
        summary.overloaded_hosts = vec![OverloadedHost { host: "slow.example".into(), times: 80, throttled: 76 }];
        let said = advice(&summary, ALLOWED);
        assert_eq!(
            said,
            [
                "slow.example turned 38 % of its requests away (429 or 503); --rate 5 asks it for no more than it served."
            ]
        );
        summary.trace.hosts[0].saved = 3;
        assert!(advice(&summary, ALLOWED)[0].contains("--rate 0.3 "), "less than one a second");
        summary.overloaded_hosts[0].throttled = 2;
        assert_eq!(advice(&summary, ALLOWED), Vec::<String>::new(), "twice is no habit");
    }

    #[test]
    fn names_that_take_long_are_told() {
        let mut summary = summary();
        summary.first_byte_seconds = Some(Times { median: 0.1, p95: 0.2, max: 0.3 });
        summary.download_seconds = Some(Times { median: 0.3, p95: 0.4, max: 0.5 });
        (summary.sum_of_first_bytes_seconds, summary.lookup_seconds) = (100.0, 60.0);
        assert!(advice(&summary, ALLOWED)[0].starts_with("Looking host names up took 60 % of the time to first byte"));
        summary.lookup_seconds = 20.0;
        assert_eq!(advice(&summary, ALLOWED), Vec::<String>::new());
    }

    #[test]
    fn an_idle_network_asks_for_more_at_once() {
        let mut summary = summary();
        summary.first_byte_seconds = Some(Times { median: 0.05, p95: 0.06, max: 0.07 });
        summary.download_seconds = Some(Times { median: 0.052, p95: 0.06, max: 0.07 });
        // Four at once, all the time.
        summary.sum_of_downloads_seconds = 39.0;
        let four = Allowed { at_once: 4, ..ALLOWED };
        let said = advice(&summary, four);
        assert!(said[0].ends_with("all 4 that -j allows at once; raise -j."), "{said:?}");
        assert_eq!(advice(&summary, ALLOWED), Vec::<String>::new(), "there was room");
        summary.sum_of_downloads_seconds = 630.0;
        assert!(advice(&summary, ALLOWED)[0].ends_with("if a.example is yours or bears it, try --per-host 128."));
        summary.trace.hosts.push(host("b.example", 1, 1));
        assert_eq!(advice(&summary, ALLOWED), Vec::<String>::new());
    }

    #[test]
    fn what_failed_most_comes_with_its_remedy() {
        let mut summary = summary();
        failed(&mut summary, "not_an_image", 212, Some("--accept any saves whatever comes"));
        assert!(advice(&summary, ALLOWED)[0].starts_with("21 % of the rows (212) gave something that is no image;"));
        failed(&mut summary, "http_status 401", 30, Some("give credentials with -u"));
        assert_eq!(
            advice(&summary, ALLOWED),
            ["3.0 % of the rows (30) failed with http_status 401: give credentials with -u."]
        );
        failed(&mut summary, "dns", 1000, Some("check the host name"));
        assert_eq!(advice(&summary, ALLOWED), ["All rows (1000) failed with dns: check the host name."]);
        failed(&mut summary, "cut_short", 500, None);
        assert_eq!(advice(&summary, ALLOWED), Vec::<String>::new(), "nothing is known to help");
    }

    #[test]
    fn three_sentences_at_most_the_weightiest_first() {
        let mut summary = summary();
        failed(&mut summary, "stalled", 100, Some("--stall-timeout waits longer"));
        summary.extension_mismatches = 900;
        summary.first_byte_seconds = Some(Times { median: 0.1, p95: 0.2, max: 0.3 });
        summary.download_seconds = Some(Times { median: 0.3, p95: 0.4, max: 0.5 });
        (summary.sum_of_first_bytes_seconds, summary.lookup_seconds) = (100.0, 60.0);
        summary.overloaded_hosts = vec![OverloadedHost { host: "a.example".into(), times: 80, throttled: 76 }];
        let said = advice(&summary, ALLOWED);
        assert_eq!(said.len(), 3);
        assert!(
            said[0].contains("names up") && said[1].contains("extension") && said[2].contains("stalled"),
            "{said:?}"
        );
    }
}
