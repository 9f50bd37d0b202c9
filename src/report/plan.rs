//! What a run would do (`--dry-run`), as text and as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::COMPLETED;
use super::words::{counted, listed};
use crate::util::human::Count;
use crate::util::redact::{self, escaped};

/// The rows of a list, by what a run would do with them: `to_fetch`, `skipped_by_reason` and `bad_by_kind` add up to `rows`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// All there are.
    pub rows: u64,
    /// Those that would be fetched.
    pub to_fetch: u64,
    /// Those that would be skipped, by reason.
    pub skipped_by_reason: BTreeMap<&'static str, u64>,
    /// Those that fail without a request, by the kind of error.
    pub bad_by_kind: BTreeMap<String, u64>,
}

impl RowCounts {
    /// Rows that would be skipped.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped_by_reason.values().sum()
    }

    /// Rows that fail without a request.
    #[must_use]
    pub fn bad(&self) -> u64 {
        self.bad_by_kind.values().sum()
    }
}

/// How many rows a host would serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostRows {
    /// The name, and the port if it is not the usual one.
    pub host: String,
    /// How many rows.
    pub rows: u64,
}

/// So many names of files are told.
pub const NAMES_TOLD: usize = 10;

/// What a run would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The version of fetchimg.
    pub version: &'static str,
    /// Nothing was fetched.
    pub dry_run: bool,
    /// The output folder as it was given.
    pub output: String,
    /// `completed`, `interrupted`, or why the list could not be read on.
    pub ended: String,
    /// Rows of the list.
    pub rows: u64,
    /// Rows that would be fetched.
    pub to_fetch: u64,
    /// Rows that would be skipped.
    pub skipped: u64,
    /// Those by reason.
    pub skipped_by_reason: BTreeMap<&'static str, u64>,
    /// Rows that fail without a request.
    pub bad: u64,
    /// Those by the kind of error.
    pub bad_by_kind: BTreeMap<String, u64>,
    /// How many hosts would be asked.
    pub hosts: u64,
    /// Those with the most rows, ten at most.
    pub most_rows: Vec<HostRows>,
    /// The names of the first files, ten at most, as far as they are known.
    pub first_names: Vec<String>,
}

impl Plan {
    /// The plan for a list.
    #[must_use]
    pub fn new(
        output: String,
        ended: String,
        counts: RowCounts,
        hosts: u64,
        most_rows: Vec<HostRows>,
        first_names: Vec<String>,
    ) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            dry_run: true,
            output,
            ended,
            rows: counts.rows,
            to_fetch: counts.to_fetch,
            skipped: counts.skipped(),
            bad: counts.bad(),
            skipped_by_reason: counts.skipped_by_reason,
            bad_by_kind: counts.bad_by_kind,
            hosts,
            most_rows,
            first_names,
        }
    }

    /// Writes it as one indented JSON object and a line feed.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&redact::json(self, true)?)?;
        out.write_all(b"\n")
    }

    /// Writes it for people.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        if self.rows == 0 && self.ended == COMPLETED {
            return writeln!(out, "The list is empty: there is nothing to download.");
        }
        let mut line = |name: &str, value: String| writeln!(out, "  {name:<18}{value}");
        line("rows", Count(self.rows).to_string())?;
        line(
            "to fetch",
            match self.hosts {
                0 => "none".to_owned(),
                hosts => format!("{}, from {}", Count(self.to_fetch), counted(hosts, "host")),
            },
        )?;
        if self.skipped > 0 {
            line("skipped", format!("{}: {}", Count(self.skipped), listed(&self.skipped_by_reason)))?;
        }
        if self.bad > 0 {
            line("bad", format!("{}: {}", Count(self.bad), listed(&self.bad_by_kind)))?;
        }
        let shown = self.most_rows.len() as u64;
        for (number, HostRows { host, rows }) in self.most_rows.iter().enumerate() {
            let name = match number {
                0 if shown < self.hosts => "most rows",
                0 => "rows by host",
                _ => "",
            };
            line(name, format!("{:>9}  {}", Count(*rows).to_string(), escaped(host)))?;
        }
        for (number, path) in self.first_names.iter().enumerate() {
            line(if number == 0 { "first names" } else { "" }, escaped(path).into_owned())?;
        }
        if self.ended != COMPLETED {
            writeln!(out, "The list was not read to its end: {}", escaped(&self.ended))?;
        }
        writeln!(out, "Nothing was fetched. The images would be in {}", escaped(&self.output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> RowCounts {
        RowCounts {
            rows: 2000,
            to_fetch: 1890,
            skipped_by_reason: BTreeMap::from([("already_saved", 60), ("duplicate_url", 40)]),
            bad_by_kind: BTreeMap::from([("bad_url".into(), 10)]),
        }
    }

    fn text(plan: &Plan) -> String {
        let mut out = Vec::new();
        plan.write_text(&mut out).expect("written");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_plan_says_what_would_be_done() {
        let hosts = vec![HostRows { host: "a.example".into(), rows: 1500 }];
        let names = vec!["cat.png".into(), "dog.{ext}".into()];
        let plan = Plan::new("images".into(), COMPLETED.into(), counts(), 12, hosts, names);
        assert_eq!(
            text(&plan),
            "  rows              2,000
  to fetch          1,890, from 12 hosts
  skipped           100: 60 already_saved, 40 duplicate_url
  bad               10: 10 bad_url
  most rows             1,500  a.example
  first names       cat.png
                    dog.{ext}
Nothing was fetched. The images would be in images
"
        );
        let mut out = Vec::new();
        plan.write_json(&mut out).expect("written");
        let json = serde_json::from_slice::<serde_json::Value>(&out).expect("JSON");
        assert_eq!((&json["dry_run"], &json["skipped"], &json["bad"]), (&true.into(), &100.into(), &10.into()));
        assert_eq!(json["most_rows"][0]["host"], "a.example");
    }

    #[test]
    fn what_is_not_there_is_not_told() {
        let plan =
            |ended: &str| Plan::new("images".into(), ended.into(), RowCounts::default(), 0, Vec::new(), Vec::new());
        assert_eq!(text(&plan(COMPLETED)), "The list is empty: there is nothing to download.\n");
        assert!(text(&plan("interrupted")).contains("not read to its end: interrupted"));
    }
}
