//! Admits rows whose images go into shards.

use std::sync::Arc;

use super::{DuplicateSlot, Ledger, skip};
use crate::fetch::Work;
use crate::input::{self, ShardRecords};
use crate::journal::Key;
use crate::naming::{KeyTemplate, PlannedName, SamplePlace};
use crate::record::{Job, Outcome, Reason, Record, RecordLine, Row, RunError};
use crate::sink::shards::{KeyRules, Lookup};
use crate::sink::{OnConflict, Shards};

/// How rows become samples.
#[derive(Clone, Debug)]
pub struct SampleRules {
    /// What the samples are called.
    pub keys: KeyTemplate,
    /// A URL that an earlier row of the shard has is not fetched again.
    pub dedupes_urls: bool,
}

/// The records of a shard that is there, for the manifest.
#[derive(Debug)]
pub struct PresentRecords {
    number: u64,
    lines: Vec<Vec<u8>>,
}

impl Ledger<'_> {
    /// Admits the next row of the list. Returns the work to do, as [`Ledger::admit`] does.
    pub(super) fn admit_to_shard(&mut self, row: Row, slot: DuplicateSlot) -> Option<(Key, Work)> {
        let sink = Arc::clone(&self.sink);
        let (shards, rules) = (sink.shards()?, self.samples.clone()?);
        let key_rules = KeyRules { dedupes: rules.dedupes_urls, is_unique: rules.keys.is_unique() };
        let job = match row {
            Ok(job) => job,
            Err(record) => {
                let nowhere = Job { extra: record.extra.clone(), ..Job::new(record.index, nowhere()) };
                match shards.admit_invalid(&record, render(&rules.keys, shards, &nowhere), key_rules) {
                    Ok(true) => self.settle(None, &record, None),
                    Ok(false) => self.settle_present(shards, &nowhere, &record.url),
                    Err(error) => self.fail(error),
                }
                return None;
            }
        };
        self.tally.add_url(&job.url);
        let number = shards.options().units.number(job.index);
        // Rows wait for those of their own shard.
        let key = self.journal.key(&Job::new(number, job.url.clone()));
        match shards.admit(&job, render(&rules.keys, shards, &job), key_rules) {
            Ok(Lookup::New { folder, key: sample }) => {
                let name = PlannedName::of_sample(&folder, &sample);
                return Some((key, Work { job, name, on_conflict: OnConflict::Keep, replaces: None, stored: None }));
            }
            Ok(Lookup::Earlier(Some(line))) => match serde_json::from_slice::<Record>(&line) {
                Ok(Record { outcome: Outcome::Saved(saved), .. }) => {
                    let record = Record::of(&job, skip(Reason::AlreadySaved, Some(saved.path)));
                    self.settle_earlier(&record, Some(&line));
                }
                Ok(record) => self.settle_earlier(&record, Some(&line)),
                Err(error) => self.fail(RunError::System(error.into())),
            },
            Ok(Lookup::Earlier(None)) => self.settle_present(shards, &job, job.url.as_str()),
            Ok(Lookup::Duplicate(path)) => {
                self.settle(None, &Record::of(&job, skip(Reason::DuplicateUrl, path)), None);
            }
            Ok(Lookup::InFlight) => {
                self.wait(key, job, slot);
            }
            Err(error) => self.fail(error),
        }
        None
    }

    /// Takes a row whose shard is there. The manifest gets its record from the table of the shard.
    fn settle_present(&mut self, shards: &Shards, job: &Job, url: &str) {
        let units = &shards.options().units;
        let (number, row) = (units.number(job.index), units.row(job.index));
        if self.manifest.is_some() && self.present.as_ref().is_none_or(|present| present.number != number) {
            let lines = shards.options().destination.location().map_or_else(
                || Ok(Vec::new()),
                |set| {
                    input::record_lines(ShardRecords {
                        set: &set,
                        shard: &units.name(number),
                        first: job.index - row,
                        caption_column: shards.options().caption_column.as_deref(),
                        made_with: &self.made_with,
                    })
                },
            );
            match lines {
                Ok(lines) => self.present = Some(PresentRecords { number, lines }),
                Err(error) => return self.fail(error),
            }
        }
        let mut record = Record::of(job, skip(Reason::ShardExists, None));
        if url.is_empty() {
            record.url = String::new();
        }
        let lines = self.present.take_if(|present| present.number == number);
        let line = lines.as_ref().and_then(|present| present.lines.get(usize::try_from(row).ok()?));
        self.settle_earlier(&record, line.map(Vec::as_slice));
        self.present = lines;
    }

    /// Takes a row that an earlier run has settled. `line`: the record that it has since then.
    fn settle_earlier(&mut self, record: &Record, line: Option<&[u8]>) {
        self.count(record);
        if let Some(line) = line {
            self.write_to_manifest([line, b""]);
        } else {
            match RecordLine::of(record) {
                Ok(line) => self.write_to_manifest(line.unmarked()),
                Err(error) => self.fail(RunError::System(error.into())),
            }
        }
        if let Some(records) = &self.records {
            records.send(record.clone());
        }
    }
}

fn render(keys: &KeyTemplate, shards: &Shards, job: &Job) -> String {
    let units = &shards.options().units;
    let shard = units.name(units.number(job.index));
    keys.render(job, SamplePlace { shard: &shard, row: units.row(job.index), digits: units.row_digits() })
}

/// A URL for a row that has none.
fn nowhere() -> url::Url {
    url::Url::parse("http://none.invalid/").unwrap_or_else(|_| unreachable!("it is a URL"))
}
