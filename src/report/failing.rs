//! The hosts at which rows failed, and how.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use serde::Serialize;

use super::summary::MAX_HOSTS_LISTED;
use crate::record::{ErrorKind, Failed, Record};

/// The most hosts that are counted one by one. The failures of others are counted together.
const MAX_HOSTS_COUNTED: usize = 10_000;

/// The failures at one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailingHost {
    /// The name, and the port if it is not the default one; empty for rows without a valid URL, and for
    /// those whose URL has no host.
    pub host: String,
    /// Rows that failed.
    pub failed: u64,
    /// The same by kind; `http_status` has its code.
    pub by_kind: BTreeMap<String, u64>,
}

/// The hosts with the most failures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FailingHosts {
    /// The hosts with the most failures, the worst first, at most [`MAX_HOSTS_LISTED`].
    pub worst: Vec<FailingHost>,
    /// The number of all hosts at which rows failed, as far as they were counted.
    pub hosts: u64,
}

/// Counts failures by host. Rows that an interrupt cut off are no failures of their hosts.
#[derive(Default)]
pub struct FailureCounts {
    by_host: HashMap<Box<str>, BTreeMap<ErrorKind, u64>, RandomState>,
    /// Failures for which another run may have better luck.
    pub retryable: u64,
}

impl FailureCounts {
    /// Adds a failed row.
    pub fn add(&mut self, record: &Record, failed: &Failed) {
        self.retryable += u64::from(failed.retryable);
        let kind = ErrorKind::by_name(&failed.error, failed.http_status);
        let Some(kind) = kind.filter(|kind| *kind != ErrorKind::Interrupted) else { return };
        let host = if kind == ErrorKind::BadUrl { "" } else { record.host().unwrap_or_default() };
        if let Some(kinds) = self.by_host.get_mut(host) {
            *kinds.entry(kind).or_default() += 1;
        } else if self.by_host.len() < MAX_HOSTS_COUNTED {
            self.by_host.insert(host.into(), BTreeMap::from([(kind, 1)]));
        }
    }

    /// The hosts with the most failures.
    pub fn hosts(&self) -> FailingHosts {
        let mut hosts =
            self.by_host.iter().map(|(host, kinds)| (kinds.values().sum::<u64>(), &**host, kinds)).collect::<Vec<_>>();
        hosts.sort_unstable_by(|(one, name, _), (other, next, _)| other.cmp(one).then_with(|| name.cmp(next)));
        let worst = hosts.iter().take(MAX_HOSTS_LISTED).map(|(failed, host, kinds)| FailingHost {
            host: (*host).to_owned(),
            failed: *failed,
            by_kind: kinds.iter().map(|(kind, count)| (kind.to_string(), *count)).collect(),
        });
        FailingHosts { worst: worst.collect(), hosts: hosts.len() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Extra, FetchError, Outcome};

    #[test]
    fn the_host_with_the_most_failures_comes_first() {
        let mut counts = FailureCounts::default();
        for (url, kind) in [
            ("http://a.example/1", ErrorKind::HttpStatus(404)),
            ("http://b.example/1", ErrorKind::Dns),
            ("http://b.example/2", ErrorKind::HttpStatus(404)),
            ("http://b.example/3", ErrorKind::Interrupted),
            ("ftp://c.example/1", ErrorKind::BadUrl),
        ] {
            let failed = Failed::new(&FetchError::new(kind, "no luck"), 1, None);
            let outcome = Outcome::Failed(failed.clone());
            let record = Record { index: 0, url: url.into(), url_hash: None, outcome, extra: Extra::default() };
            counts.add(&record, &failed);
        }
        let FailingHosts { worst, hosts } = counts.hosts();
        let found = worst.iter().map(|host| (&*host.host, host.failed, host.by_kind.len())).collect::<Vec<_>>();
        assert_eq!((found, hosts), (vec![("b.example", 2, 2), ("", 1, 1), ("a.example", 1, 1)], 3));
        assert_eq!(counts.retryable, 2, "the look-up and the interrupt");
    }
}
