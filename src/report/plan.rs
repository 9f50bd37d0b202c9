//! The report of a dry run (`--dry-run`): what a run would do, as text and as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::shortfalls::empty_column;
use super::words::{counted, listed, made_anew};
use super::{COMPLETED, Changed, NameChange};
use crate::record::{ErrorKind, Outcome};
use crate::util::human::Count;
use crate::util::redact::{self, escaped};

/// Numbers of rows by what a run would do with them. `rows` is the sum of `to_fetch`, `to_remake` and all values of
/// `skipped_by_reason`, `refused_by_kind` and `bad_by_kind`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// All rows of the list.
    pub rows: u64,
    /// Rows that would be fetched.
    pub to_fetch: u64,
    /// Rows whose images would be made anew from their stored files (`--remake`).
    pub to_remake: u64,
    /// Rows that would be skipped, by reason.
    pub skipped_by_reason: BTreeMap<&'static str, u64>,
    /// Rows that are refused without a request, by kind: an earlier run has seen their images.
    pub refused_by_kind: BTreeMap<String, u64>,
    /// Rows that fail without a request, by kind of error.
    pub bad_by_kind: BTreeMap<String, u64>,
}

impl RowCounts {
    /// Counts a row that ends without a request.
    pub fn add_settled(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Skipped(skipped) => *self.skipped_by_reason.entry(skipped.reason.name()).or_default() += 1,
            Outcome::Refused(refused) => *self.refused_by_kind.entry(refused.error.clone()).or_default() += 1,
            Outcome::Failed(failed) => {
                let kind = ErrorKind::by_name(&failed.error, failed.http_status);
                let name = kind.map_or_else(|| failed.error.clone(), |kind| kind.to_string());
                *self.bad_by_kind.entry(name).or_default() += 1;
            }
            Outcome::Saved(_) => {}
        }
    }

    /// Rows that are refused without a request.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused_by_kind.values().sum()
    }

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

/// A host and the number of rows that would be fetched from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostRows {
    /// The name, and the port if it is not the default one.
    pub host: String,
    /// The number of rows.
    pub rows: u64,
}

/// The hosts from which rows would be fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlannedHosts {
    /// The number of all hosts.
    pub count: u64,
    /// The hosts with the most rows, at most [`MAX_HOSTS_LISTED`](super::MAX_HOSTS_LISTED).
    pub most_rows: Vec<HostRows>,
}

/// The most names of files in a plan.
pub const MAX_NAMES_LISTED: usize = 10;

/// What a run would do with a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DryRunPlan {
    /// The version of fetchimg.
    pub version: &'static str,
    /// Always true: nothing was fetched.
    pub dry_run: bool,
    /// The output folder, as the user named it.
    pub output: String,
    /// `completed`, `interrupted`, or the error that ended the reading of the list.
    pub ended: String,
    /// Rows of the list.
    pub rows: u64,
    /// Rows that would be fetched.
    pub to_fetch: u64,
    /// Rows whose images would be made anew from their stored files (`--remake`).
    pub to_remake: u64,
    /// Rows that would be skipped.
    pub skipped: u64,
    /// Skipped rows by reason.
    pub skipped_by_reason: BTreeMap<&'static str, u64>,
    /// Rows that are refused without a request, because an earlier run has seen their images.
    pub refused: u64,
    /// Refused rows by kind.
    pub refused_by_kind: BTreeMap<String, u64>,
    /// Rows that fail without a request.
    pub bad: u64,
    /// Bad rows by kind of error.
    pub bad_by_kind: BTreeMap<String, u64>,
    /// The number of hosts from which rows would be fetched.
    pub hosts: u64,
    /// The hosts with the most rows, at most ten.
    pub most_rows: Vec<HostRows>,
    /// The names of the first files, at most ten. Parts that depend on the response are still fields of the template.
    pub first_names: Vec<String>,
    /// The number of shards that would be made, if images go into shards; `first_names` are the first of these then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<u64>,
    /// Rows to be fetched whose names would have nothing of their own in place of a column (`{col.NAME}`), by column.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub empty_columns: BTreeMap<String, u64>,
    /// How saved images differ from what the run would make.
    #[serde(skip_serializing_if = "Changed::is_empty")]
    pub changed: Changed,
}

impl DryRunPlan {
    /// The plan for a list.
    #[must_use]
    pub fn new(
        output: String,
        ended: String,
        counts: RowCounts,
        hosts: PlannedHosts,
        first_names: Vec<String>,
    ) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            dry_run: true,
            output,
            ended,
            rows: counts.rows,
            to_fetch: counts.to_fetch,
            to_remake: counts.to_remake,
            skipped: counts.skipped(),
            refused: counts.refused(),
            bad: counts.bad(),
            refused_by_kind: counts.refused_by_kind,
            skipped_by_reason: counts.skipped_by_reason,
            bad_by_kind: counts.bad_by_kind,
            hosts: hosts.count,
            most_rows: hosts.most_rows,
            first_names,
            shards: None,
            empty_columns: BTreeMap::new(),
            changed: Changed::default(),
        }
    }

    /// Adds the columns that would be empty in names.
    #[must_use]
    pub fn with_empty_columns(self, empty_columns: BTreeMap<String, u64>) -> Self {
        Self { empty_columns, ..self }
    }

    /// Adds how saved images differ from what the run would make.
    #[must_use]
    pub fn with_changes(self, changed: Changed) -> Self {
        Self { changed, ..self }
    }

    /// Writes the plan as one indented JSON object and a line feed.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&redact::json(self, true)?)?;
        out.write_all(b"\n")
    }

    /// Writes the plan as text.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        if self.rows == 0 && self.ended == COMPLETED {
            return writeln!(out, "The list is empty: there is nothing to download.");
        }
        let mut line = |name: &str, value: String| writeln!(out, "  {name:<18}{value}");
        line("rows", Count(self.rows).to_string())?;
        line(
            "to fetch",
            match self.hosts {
                0 if self.to_fetch == 0 => "none".to_owned(),
                // From URLs without a host alone.
                0 => Count(self.to_fetch).to_string(),
                hosts => format!("{}, from {}", Count(self.to_fetch), counted(hosts, "host")),
            },
        )?;
        let Changed { to_remake, first_remade, to_rename, first_renamed, to_remove, first_removed, .. } = &self.changed;
        if *to_remake > 0 {
            line("to make anew", made_anew(*to_remake, self.to_remake))?;
            for change in first_remade {
                line("", shown(change))?;
            }
        }
        if *to_rename > 0 {
            line("to rename", counted(*to_rename, "image"))?;
            for change in first_renamed {
                line("", shown(change))?;
            }
        }
        if *to_remove > 0 {
            line("to remove", counted(*to_remove, "image"))?;
            for path in first_removed {
                line("", escaped(path).into_owned())?;
            }
        }
        if self.skipped > 0 {
            line("skipped", format!("{}: {}", Count(self.skipped), listed(&self.skipped_by_reason)))?;
        }
        if self.refused > 0 {
            line("refused", format!("{}: {}", Count(self.refused), listed(&self.refused_by_kind)))?;
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
        let names = if self.shards.is_some() { "first shards" } else { "first names" };
        if let Some(shards) = self.shards {
            line("shards", Count(shards).to_string())?;
        }
        // What is made anew is listed above.
        let is_new = |path: &&String| first_remade.iter().all(|change| change.to != **path);
        for (number, path) in self.first_names.iter().filter(is_new).enumerate() {
            line(if number == 0 { names } else { "" }, escaped(path).into_owned())?;
        }
        for sentence in self.changed.sentences() {
            writeln!(out, "{}", escaped(&sentence))?;
        }
        for (column, count) in &self.empty_columns {
            writeln!(out, "{}", empty_column(column, *count))?;
        }
        if self.ended != COMPLETED {
            writeln!(out, "The list was not read to its end: {}", escaped(&self.ended))?;
        }
        writeln!(out, "Nothing was fetched. The images would be in {}", escaped(&self.output))
    }
}

/// A file and what it would be called.
fn shown(NameChange { from, to }: &NameChange) -> String {
    if from == to { escaped(from).into_owned() } else { format!("{} -> {}", escaped(from), escaped(to)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> RowCounts {
        RowCounts {
            rows: 2003,
            to_fetch: 1890,
            to_remake: 0,
            skipped_by_reason: BTreeMap::from([("already_saved", 60), ("duplicate_url", 40)]),
            refused_by_kind: BTreeMap::from([("too_small".into(), 3)]),
            bad_by_kind: BTreeMap::from([("bad_url".into(), 10)]),
        }
    }

    fn text(plan: &DryRunPlan) -> String {
        let mut out = Vec::new();
        plan.write_text(&mut out).expect("written");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_plan_shows_what_a_run_would_do() {
        let most_rows = vec![HostRows { host: "a.example".into(), rows: 1500 }];
        let hosts = PlannedHosts { count: 12, most_rows };
        let names = vec!["cat.png".into(), "dog.{ext}".into()];
        let plan = DryRunPlan::new("images".into(), COMPLETED.into(), counts(), hosts, names);
        assert_eq!(
            text(&plan),
            "  rows              2,003
  to fetch          1,890, from 12 hosts
  skipped           100: 60 already_saved, 40 duplicate_url
  refused           3: 3 too_small
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
    fn an_empty_or_interrupted_list_is_said_to_be_one() {
        let plan = |ended: &str| {
            DryRunPlan::new("images".into(), ended.into(), RowCounts::default(), PlannedHosts::default(), Vec::new())
        };
        assert_eq!(text(&plan(COMPLETED)), "The list is empty: there is nothing to download.\n");
        assert!(text(&plan("interrupted")).contains("not read to its end: interrupted"));
    }
}
