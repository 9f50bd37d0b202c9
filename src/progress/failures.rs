//! The failures of a pass by host and kind, each with a count and one example: a host that is down fails a thousand rows
//! in one line.

use std::collections::HashMap;
use std::fmt;

use crate::record::{ErrorKind, Failed, Record};
use crate::util::human::{Count, counted};
use crate::util::redact::{escaped, shortened_data};

/// The most groups that are kept. Failures beyond them are counted by kind alone.
const MAX_GROUPS: usize = 1000;

/// The most groups that are written at the end of a pass.
const MAX_GROUPS_TOLD: usize = 20;

/// Failures of one kind at one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureGroup {
    /// Host and port; empty for rows without a valid URL.
    pub host: Box<str>,
    /// How they failed.
    pub kind: ErrorKind,
    /// How many they are.
    pub count: u64,
    /// The URL of the first of them, its secrets redacted; empty if it has none.
    pub url: Box<str>,
    /// The message of the first of them, with the number of its attempts.
    pub message: Box<str>,
}

/// The groups of a pass.
#[derive(Debug, Default)]
pub struct FailureGroups {
    by_host: HashMap<Box<str>, Vec<FailureGroup>>,
    count: usize,
    /// Failures beyond [`MAX_GROUPS`].
    others: u64,
}

impl FailureGroups {
    /// Adds a failed row.
    pub fn add(&mut self, record: &Record, failed: &Failed, kind: ErrorKind) {
        let host = if kind == ErrorKind::BadUrl { "" } else { record.host().unwrap_or_default() };
        let groups = self.by_host.get_mut(host);
        if let Some(group) = groups.and_then(|groups| groups.iter_mut().find(|group| group.kind == kind)) {
            group.count += 1;
        } else if self.count >= MAX_GROUPS {
            self.others += 1;
        } else {
            self.count += 1;
            let message = format!("{}{}", failed.message, attempts(failed.attempts)).into();
            let (host, url) = (Box::<str>::from(host), Box::<str>::from(&*shortened_data(&record.url)));
            let group = FailureGroup { host: host.clone(), kind, count: 1, url, message };
            self.by_host.entry(host).or_default().push(group);
        }
    }

    /// The groups with the most failures, at most `max`, and the number of all groups.
    pub fn worst(&self, max: usize) -> (Vec<FailureGroup>, usize) {
        let mut groups = self.by_host.values().flatten().collect::<Vec<_>>();
        groups.sort_by(|one, other| {
            other.count.cmp(&one.count).then_with(|| (&one.host, one.kind).cmp(&(&other.host, other.kind)))
        });
        (groups.into_iter().take(max).cloned().collect(), self.count)
    }

    /// One line for each group, the worst first, for a terminal. What can be done about a kind is said once. `title` is the
    /// name of the pass, or empty if there is only one.
    pub fn lines(&self, title: &str) -> Vec<String> {
        let lead = if title.is_empty() { "failed".to_owned() } else { format!("failed, {title}") };
        let (groups, count) = self.worst(MAX_GROUPS_TOLD);
        let mut advised = Vec::new();
        let mut told = 0;
        let mut lines = Vec::with_capacity(groups.len() + 1);
        for group in &groups {
            let advice = group.kind.advice_on(&group.message).filter(|advice| !advised.contains(advice));
            advised.extend(advice);
            let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
            lines.push(format!("{lead}: {group}{advice}"));
            told += group.count;
        }
        let all = self.by_host.values().flatten().map(|group| group.count).sum::<u64>() + self.others;
        if all > told {
            let groups = match count - groups.len() {
                _ if self.others > 0 => String::new(),
                1 => " of another host or kind".to_owned(),
                more => format!(" of {} more hosts or kinds", Count(more as u64)),
            };
            lines.push(format!("{lead}: {}{groups}; the records have them all", counted(all - told, "more row")));
        }
        lines
    }
}

/// The group in a sentence: the failure itself if there is only one, else the count and an example.
impl fmt::Display for FailureGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count > 1 {
            write!(f, "{}", self.counted())?;
            f.write_str(if self.url.is_empty() { ", first: " } else { ", such as " })?;
        }
        // A row that could not be read has no URL. Its message says where it is in the list.
        if !self.url.is_empty() {
            write!(f, "{}: ", escaped(&self.url))?;
        }
        f.write_str(&escaped(&self.message))
    }
}

impl FailureGroup {
    /// The count, the kind and the host.
    fn counted(&self) -> String {
        let host = if self.host.is_empty() { String::new() } else { format!(" at {}", escaped(&self.host)) };
        format!("{} {}{host}", Count(self.count), self.kind)
    }
}

/// The number of attempts, for the end of a message, if there was more than one.
#[must_use]
pub fn attempts(attempts: u32) -> String {
    if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Extra, FetchError, Outcome};

    fn add(groups: &mut FailureGroups, url: &str, kind: ErrorKind, attempts: u32) {
        let failed = Failed::new(&FetchError::new(kind, "no\u{1b} luck"), attempts, None);
        let outcome = Outcome::Failed(failed.clone());
        let record = Record { index: 0, url: url.into(), url_hash: None, outcome, extra: Extra::default() };
        groups.add(&record, &failed, kind);
    }

    #[test]
    fn failures_of_a_host_are_one_line_for_each_kind_and_advice_comes_once() {
        let mut groups = FailureGroups::default();
        for number in 0..1200 {
            add(&mut groups, &format!("http://a.example/{number}.png"), ErrorKind::HttpStatus(404), 1);
        }
        for host in ["b.example:81", "c.example"] {
            add(&mut groups, &format!("http://{host}/x.png"), ErrorKind::Dns, 4);
            add(&mut groups, &format!("http://{host}/y.png"), ErrorKind::Dns, 4);
        }
        add(&mut groups, "ftp://a.example/z", ErrorKind::BadUrl, 0);
        add(&mut groups, "", ErrorKind::BadUrl, 0);
        add(&mut groups, "http://a.example/w", ErrorKind::Connect, 0);
        let advice = ErrorKind::Dns.advice().expect("advice");
        assert_eq!(
            groups.lines(""),
            [
                "failed: 1,200 http_status 404 at a.example, such as http://a.example/0.png: no\\u{1b} luck".to_owned(),
                "failed: 2 bad_url, such as ftp://a.example/z: no\\u{1b} luck".to_owned(),
                format!(
                    "failed: 2 dns at b.example:81, such as http://b.example:81/x.png: no\\u{{1b}} luck (4 attempts); {advice}"
                ),
                "failed: 2 dns at c.example, such as http://c.example/x.png: no\\u{1b} luck (4 attempts)".to_owned(),
                "failed: http://a.example/w: no\\u{1b} luck".to_owned(),
            ]
        );
    }

    #[test]
    fn no_more_groups_are_kept_and_told_than_are_read() {
        let mut groups = FailureGroups::default();
        for number in 0..30 {
            add(&mut groups, &format!("http://h{number:04}.example/"), ErrorKind::Connect, 1);
        }
        let lines = groups.lines("sequential");
        assert_eq!(lines.len(), MAX_GROUPS_TOLD + 1);
        let last = "failed, sequential: 10 more rows of 10 more hosts or kinds; the records have them all";
        assert_eq!(lines[MAX_GROUPS_TOLD], last);
        for number in 30..MAX_GROUPS + 7 {
            add(&mut groups, &format!("http://h{number:04}.example/"), ErrorKind::Connect, 1);
        }
        assert_eq!(groups.worst(3).1, MAX_GROUPS);
        assert_eq!(groups.lines("")[MAX_GROUPS_TOLD], "failed: 987 more rows; the records have them all");
    }
}
