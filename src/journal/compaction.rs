//! Writes the journal anew without the records that later ones supersede.
//!
//! A list that is run every day adds a record per row and day. What a run needs of all these is, for each row:
//!
//! - the record that says which file the row has, however old it is. A row that an earlier run has saved gets a record
//!   `already_saved` in each later run, which repeats that. It may tell another number or other columns of the row, because
//!   the list has changed: these are taken into the record that stays. If the row failed when it was fetched again, both
//!   records stay.
//! - otherwise the newest record: why the row failed, or was refused or skipped. Rows that repeat a URL, and rows without a
//!   valid one, are told apart by their numbers. That a row is skipped because it failed for good repeats the record before,
//!   which takes its number and its columns. A row that repeats a URL is gone when a later list has the URL without it.
//!
//! Without `--keep-duplicates` a row is identified by its URL. Records of an earlier run with it name several files for one
//! URL; all of these stay, so that a later run with it finds its files. So do those of versions that did not say which runs
//! had it.
//!
//! The lines that stay keep their order, because the order of records says which one counts. The new journal is written
//! beside the old one, and takes its place in one step when it is on the disk. A run that is killed leaves one of them. This
//! happens when a run begins, has read the journal, and has settled everything that remembers a place in it.

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ended::key_if_ended_by;
use super::index::{Key, Offset, RowIdentity, RowIndex, RowState};
use super::line::RecordFields;
use super::lines::{LineToRewrite, Rewritten, line_at};
use super::moved::with_row_of;
use super::{EarlierRecord, Journal};
use crate::util::compact_table::CompactTable;
use crate::util::private_file::remove_if_there;

/// How many lines of earlier runs there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LineCounts {
    all: u64,
    /// Those that no later one supersedes.
    living: u64,
}

impl LineCounts {
    /// Whether more than half of the lines are superseded.
    const fn are_mostly_superseded(self) -> bool {
        self.living < self.all - self.living
    }
}

/// The number of rows up to which every one is counted. Of more, a sample is, which tells their number to a percent.
const MAX_COUNTED: usize = 1 << 16;

/// Counts the lines while they are read.
#[derive(Debug, Default)]
pub(super) struct LineCounter {
    all: u64,
    /// The rows that have a file.
    named: u64,
    /// Rows whose newest record does not say which file they have: those whose keys end in this number of zero bits.
    others: HashSet<u64>,
    zero_bits: u32,
}

impl LineCounter {
    /// Counts the next line, which is this record, or none. The index has the record already.
    pub fn count(&mut self, index: &RowIndex, earlier: Option<&EarlierRecord>) {
        self.all += 1;
        let Some(earlier) = earlier else { return };
        let record = &earlier.record;
        self.named += u64::from(earlier.is_named && earlier.before.is_none());
        let has_file = earlier.is_named || record.is_already_saved();
        if has_file && self.others.is_empty() {
            return;
        }
        let Key(key) = row_key(index, record);
        if has_file {
            self.others.remove(&key);
        } else if key.trailing_zeros() >= self.zero_bits {
            self.others.insert(key);
            if self.others.len() > MAX_COUNTED {
                self.zero_bits += 1;
                let zero_bits = self.zero_bits;
                self.others.retain(|key| key.trailing_zeros() >= zero_bits);
            }
        }
    }

    /// What was counted.
    pub fn counts(&self) -> LineCounts {
        let others = (self.others.len() as u64) << self.zero_bits;
        LineCounts { all: self.all, living: (self.named + others).min(self.all) }
    }
}

/// The key of the row of a record, among all rows that have records.
fn row_key(index: &RowIndex, record: &RecordFields) -> Key {
    if record.is_one_of_several() {
        index.numbered_key(record.url_identity(), record.index)
    } else {
        index.key(record.url_identity(), record.index)
    }
}

/// The number of a row and its columns, as they are written in a record.
#[derive(Deserialize)]
struct RowFields<'a> {
    #[serde(default)]
    index: u64,
    #[serde(borrow, default)]
    extra: Option<&'a RawValue>,
}

/// The newest record of each row, as a number: its offset, and how it differs from the one that says which file the row has.
#[derive(Debug, Default)]
struct NewestRecords {
    rows: CompactTable<7, 8>,
    /// Of URLs that rows repeat: the newest run whose list has them. Runs are stored plus one.
    listed: CompactTable<7, 5>,
    /// Of rows that failed for good: the offset of the last record that says that they are skipped because of that, plus one.
    still_failed: CompactTable<7, 6>,
}

/// What is known of the newest record of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Newest {
    /// Where it begins.
    offset: u64,
    /// A few bits of the number and the columns of the row in the last record that says which file it has, or in the first.
    fingerprint: u64,
    /// It repeats that an earlier run has saved the row, with another number or other columns than the record before.
    has_other_row_fields: bool,
}

impl Newest {
    const OFFSET_BITS: u32 = 41;
    const FINGERPRINT_BITS: u32 = 21;
    /// A longer journal, of two terabytes, is not written anew.
    const MAX_JOURNAL_BYTES: u64 = (1 << Self::OFFSET_BITS) - 2;

    /// As a number, which is never zero.
    const fn encode(self) -> u64 {
        (self.offset + 1) | self.fingerprint << Self::OFFSET_BITS | (self.has_other_row_fields as u64) << 63
    }

    const fn decode(number: u64) -> Self {
        Self {
            offset: (number & ((1 << Self::OFFSET_BITS) - 1)) - 1,
            fingerprint: number >> Self::OFFSET_BITS & ((1 << Self::FINGERPRINT_BITS) - 1),
            has_other_row_fields: number >> 63 == 1,
        }
    }
}

impl NewestRecords {
    fn get(&self, Key(key): Key) -> Option<Newest> {
        self.rows.get(key).map(Newest::decode)
    }

    /// Takes the next record.
    fn take(&mut self, index: &RowIndex, offset: u64, record: &RecordFields, line: &[u8]) {
        let key = row_key(index, record);
        let before = self.get(key);
        self.follow_list(index, record);
        if before.is_some() && record.is_failed_permanently() {
            return self.still_failed.set(key.0, offset + 1);
        }
        let fields = serde_json::from_slice::<RowFields>(line).ok();
        let fields = fields.map(|fields| (fields.index, fields.extra.map(RawValue::get)));
        let fingerprint = index.fingerprint(fields) >> (64 - Newest::FINGERPRINT_BITS);
        let newest = match before {
            // What failed, or was skipped, leaves the record before as it is.
            Some(before) if record.stored().is_none() => {
                let has_other_row_fields = record.is_already_saved() && before.fingerprint != fingerprint;
                Newest { offset, fingerprint: before.fingerprint, has_other_row_fields }
            }
            _ => Newest { offset, fingerprint, has_other_row_fields: false },
        };
        self.rows.set(key.0, newest.encode());
    }

    /// Notes which run has the URL of a record in its list, if rows repeat it.
    fn follow_list(&mut self, index: &RowIndex, record: &RecordFields) {
        let is_repeated = record.repeats_url();
        if record.is_without_url() || (record.sampled && !is_repeated) {
            return;
        }
        let (url, run) = (index.fingerprint(record.url_identity()), u64::from(record.run) + 1);
        let known = self.listed.get(url);
        if is_repeated || known.is_some() {
            self.listed.set(url, known.map_or(run, |known| known.max(run)));
        }
    }

    /// Whether a later list has the URL of a row that repeats it, and not the row.
    fn is_unlisted(&self, index: &RowIndex, record: &RecordFields) -> bool {
        let listed = self.listed.get(index.fingerprint(record.url_identity()));
        record.repeats_url() && listed.is_some_and(|listed| listed > u64::from(record.run) + 1)
    }

    /// The offset of the record that repeats that a row failed for good, if it came after the one at this offset.
    fn still_failed(&self, Key(key): Key, offset: u64) -> Option<u64> {
        self.still_failed.get(key).map(|repeated| repeated - 1).filter(|repeated| *repeated > offset)
    }
}

impl Journal {
    /// Writes the journal anew, if later records supersede more than half of its lines: to the file `beside`, which is on
    /// the same file system, and then takes its place. To be called before the first row is looked up. An error is logged,
    /// and the journal stays as it is.
    pub fn compact(&mut self, beside: &Path) {
        if !self.counts.are_mostly_superseded() || self.end() > Newest::MAX_JOURNAL_BYTES {
            return;
        }
        let written = self.write_anew(beside).and_then(|moved| {
            let Some(moved) = moved else { return Ok(()) };
            for (key, state) in moved {
                self.index.set(key, state);
            }
            self.lines.sync_name()
        });
        if let Err(error) = written {
            let _ = remove_if_there(beside);
            tracing::warn!(target: "fetchimg", "Superseded records stay in the journal: {error}");
        }
    }

    /// Writes the journal anew. Returns where the records are now that the index knows. `None` if the journal stays as it
    /// is, because more of it is needed than the counts have told.
    fn write_anew(&mut self, beside: &Path) -> io::Result<Option<Vec<(Key, RowState)>>> {
        let index = &self.index;
        let mut newest = NewestRecords::default();
        let read = self.lines.for_each(|offset, line| {
            if let Ok(record) = serde_json::from_slice::<RecordFields>(line) {
                newest.take(index, offset, &record, line);
            }
        });
        read.map_err(io::Error::other)?;
        let counts = Cell::new(LineCounts::default());
        let (mut moved, mut several) = (Vec::new(), HashSet::new());
        let each = |line: LineToRewrite| {
            let new_offset = Offset::new(line.new_offset);
            let (rewritten, known) = rewrite(index, &newest, &line, &mut several)?;
            moved.extend(known.map(|known| match known {
                KnownRow::Saved(key) => (key, RowState::SavedEarlier(new_offset)),
                KnownRow::Ended(key) => (key, RowState::EndedEarlier(new_offset)),
            }));
            let LineCounts { all, living } = counts.get();
            let stays = !matches!(rewritten, Rewritten::Gone);
            counts.set(LineCounts { all: all + 1, living: living + u64::from(stays) });
            Ok(rewritten)
        };
        let is_rewritten = self.lines.rewrite(beside, each, || counts.get().are_mostly_superseded())?;
        let LineCounts { all, living } = counts.get();
        if is_rewritten {
            tracing::debug!(target: "fetchimg", "The journal had {all} lines, of which {living} stay");
        }
        Ok(is_rewritten.then_some(moved))
    }
}

/// A row whose record the index knows.
enum KnownRow {
    /// The record says which file the row has.
    Saved(Key),
    /// The record says why the row has ended without an image.
    Ended(Key),
}

/// What becomes of a line of the journal. With the row, if the index knows this record. `several` has the rows whose URL is
/// that of other rows with files of their own, as far as they have been met.
fn rewrite(
    index: &RowIndex,
    newest: &NewestRecords,
    &LineToRewrite { file, offset, line, .. }: &LineToRewrite,
    several: &mut HashSet<Key>,
) -> io::Result<(Rewritten, Option<KnownRow>)> {
    let Ok(record) = serde_json::from_slice::<RecordFields>(line) else { return Ok((Rewritten::Gone, None)) };
    let key = row_key(index, &record);
    let records = newest;
    let Some(newest) = records.get(key).filter(|_| !records.is_unlisted(index, &record)) else {
        return Ok((Rewritten::Gone, None));
    };
    if index.says_saved(key, Offset::new(offset)) {
        // The number tells such a row from the others, so it stays.
        let rewritten = if newest.has_other_row_fields && !several.contains(&key) {
            Rewritten::Anew(with_row_of(line, &line_at(file, newest.offset)?)?)
        } else {
            Rewritten::AsItIs
        };
        return Ok((rewritten, Some(KnownRow::Saved(key))));
    }
    let named = match index.get(key) {
        Some(RowState::SavedEarlier(Offset(named))) => Some(named),
        _ => None,
    };
    let stays = match named {
        // It is repeated in the record that stays.
        Some(_) if record.is_already_saved() => false,
        _ if newest.offset == offset => true,
        Some(named) if record.is_saved() && index.identity() == RowIdentity::Url => {
            let is_another = is_of_another_row(&record, &line_at(file, named)?);
            if is_another {
                several.insert(key);
            }
            is_another
        }
        _ => false,
    };
    if !stays {
        return Ok((Rewritten::Gone, None));
    }
    let ended = key_if_ended_by(index, &record, Offset::new(offset));
    let repeated = records.still_failed(key, offset).filter(|_| named.is_none());
    let rewritten = match repeated {
        Some(repeated) => Rewritten::Anew(with_row_of(line, &line_at(file, repeated)?)?),
        None => Rewritten::AsItIs,
    };
    Ok((rewritten, ended.map(KnownRow::Ended)))
}

/// Whether a record of a saved file may be that of another row than this one, which has the same URL: a run with
/// `--keep-duplicates` has stored a file for each. Records of earlier versions do not say whether it was one.
fn is_of_another_row(record: &RecordFields, other: &[u8]) -> bool {
    serde_json::from_slice::<RecordFields>(other).is_ok_and(|other| {
        let is_told_apart = record.numbered || (record.run == 0 && (other.run == 0 || other.numbered));
        is_told_apart && other.index != record.index && other.path != record.path
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::journal::{JournalOptions, Lookup, Naming, Remembered};
    use crate::record::Job;

    fn line(index: u64, url: &str, rest: &str) -> String {
        format!("{{\"index\":{index},\"url\":\"http://a/{url}\",{rest}}}")
    }

    fn saved(index: u64, url: &str, path: &str) -> String {
        line(index, url, &format!(r#""status":"saved","path":"{path}","bytes":5"#))
    }

    fn again(index: u64, url: &str, path: &str) -> String {
        line(index, url, &format!(r#""status":"skipped","reason":"already_saved","path":"{path}""#))
    }

    fn repeats(index: u64, url: &str) -> String {
        line(index, url, r#""status":"skipped","reason":"duplicate_url""#)
    }

    fn failed(index: u64, url: &str, error: &str) -> String {
        line(index, url, &format!(r#""status":"failed","error":"{error}""#))
    }

    /// A folder with a journal of these lines, opened and compacted, and its path.
    fn compacted(lines: &[String], identity: RowIdentity) -> (tempfile::TempDir, PathBuf, Journal) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.jsonl");
        fs::write(&path, lines.join("\n") + "\n").expect("write");
        let mut journal = Journal::open(&path, identity, |_| {}).expect("open");
        journal.compact(&folder.path().join("copy"));
        assert!(!folder.path().join("copy").exists());
        (folder, path, journal)
    }

    fn text(path: &Path) -> Vec<String> {
        fs::read_to_string(path).expect("a journal").lines().map(str::to_owned).collect()
    }

    #[test]
    fn of_each_row_the_record_that_says_something_stays() {
        let stays = [
            saved(0, "a", "a.png"),
            failed(1, "f", "dns"),
            repeats(2, "a"),
            repeats(3, "a"),
            failed(4, "", "bad_url"),
            failed(5, "", "bad_url"),
            saved(6, "b", "b.png"),
            failed(6, "b", "timeout"),
            line(7, "d", r#""status":"skipped","reason":"duplicate_content","path":"a.png","bytes":5"#),
            line(8, "e", r#""status":"skipped","reason":"file_exists","path":"e.png""#),
        ];
        let gone = [
            failed(0, "a", "dns"),
            failed(1, "f", "timeout"),
            repeats(2, "a"),
            saved(6, "b", "old.png"),
            again(6, "b", "old.png"),
            "no record".to_owned(),
            String::new(),
            failed(4, "", "bad_url"),
            line(8, "e", r#""status":"skipped","reason":"file_exists","path":"other.png""#),
            failed(7, "d", "dns"),
            failed(0, "a", "stalled"),
        ];
        let repeated = [again(0, "a", "a.png"), again(7, "d", "a.png")];
        let lines = [&gone[..], &stays, &repeated].concat();
        let (_folder, path, journal) = compacted(&lines, RowIdentity::Url);
        assert_eq!(text(&path), stays);
        assert_eq!(journal.end(), fs::metadata(&path).expect("a journal").len());
        // One superseded line less than half: it stays as it is.
        let few = [&gone[..gone.len() - 3], &stays].concat();
        let (_folder, path, _) = compacted(&few, RowIdentity::Url);
        assert_eq!(text(&path), few);
    }

    #[test]
    fn rows_without_a_file_are_counted_by_a_sample_if_they_are_many() {
        let index = RowIndex::new(RowIdentity::Url.into());
        let mut counter = LineCounter::default();
        let rows = 3 * MAX_COUNTED as u64;
        for round in 1..4 {
            for row in 0..rows {
                let line = format!(r#"{{"index":{row},"url":"http://a/{row}","status":"failed","error":"dns"}}"#);
                let record = serde_json::from_str(&line).expect("a record");
                counter.count(&index, Some(&EarlierRecord { record, is_named: false, before: None }));
            }
            let LineCounts { all, living } = counter.counts();
            assert_eq!(all, round * rows);
            assert!(living.abs_diff(rows) < rows / 20, "{living} of {rows}");
        }
        assert!(counter.others.len() <= MAX_COUNTED && counter.counts().are_mostly_superseded());
    }

    #[test]
    fn the_index_finds_every_row_where_it_is_now() {
        let mut lines = Vec::new();
        for run in 0..5 {
            for row in 0..50 {
                let (url, path) = (format!("{row}"), format!("{row}-{}.png", "x".repeat(row)));
                lines.push(if run == 0 || (run == 2 && row % 7 == 0) {
                    saved(row as u64, &url, &path)
                } else {
                    again(row as u64, &url, &path)
                });
            }
        }
        for identity in [RowIdentity::Url, RowIdentity::UrlAndNumber { several_passes: false }] {
            let (folder, path, mut journal) = compacted(&lines, identity);
            assert_eq!(text(&path).len(), 50);
            for round in 0..2 {
                for row in 0..50_u64 {
                    let job = Job::new(row, format!("http://a/{row}").parse().expect("a URL"));
                    let key = journal.key(&job);
                    let Lookup::New(Some(stored)) = journal.look_up(key, &job).expect("read") else {
                        panic!("row {row} is unknown in round {round}")
                    };
                    assert!(stored.path.starts_with(&format!("{row}-")), "{stored:?}");
                }
                // What is appended goes to the new file.
                let adopted = saved(1000 + round, &format!("new{round}"), "new.png");
                journal.adopt(adopted.as_bytes()).expect("read").expect("adopted");
                drop(journal);
                journal = Journal::open(&path, identity, |_| {}).expect("open");
            }
            assert_eq!(text(&path).len(), 52);
            drop(folder);
        }
    }

    #[test]
    fn rows_that_ended_without_an_image_are_found_where_they_are_now() {
        let ended = |index, url: &str, status: &str, error: &str| {
            let rest = format!(r#""status":"{status}","error":"{error}","message":"m","retryable":false,"attempts":1"#);
            line(index, url, &rest)
        };
        let skip = |index, url: &str| line(index, url, r#""status":"skipped","reason":"failed_permanently""#);
        let stays =
            [saved(0, "a", "a.png"), ended(1, "r", "refused", "too_small"), ended(2, "f", "failed", "redirect")];
        let run = [again(0, "a", "a.png"), ended(1, "r", "refused", "too_small"), skip(2, "f")];
        let lines = [&[saved(0, "a", "old.png")][..], &stays, &run, &run].concat();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.jsonl");
        fs::write(&path, lines.join("\n") + "\n").expect("write");
        let remembered = Remembered { identity: RowIdentity::Url, failures: true };
        let mut journal = Journal::open(&path, remembered, |_| {}).expect("open");
        journal.compact(&folder.path().join("copy"));
        let mut left = text(&path);
        left.sort();
        assert_eq!(left, stays);
        for (row, url) in [(1, "http://a/r"), (2, "http://a/f")] {
            let job = Job::new(row, url.parse().expect("a URL"));
            let key = journal.key(&job);
            let found = journal.look_up(key, &job).expect("read");
            assert!(matches!(found, Lookup::Ended(_)), "{found:?}");
        }
    }

    #[test]
    fn what_a_list_says_anew_of_a_row_is_taken_into_its_record() {
        let extra = |line: &str, extra: &str| format!("{},\"extra\":{{{extra}}}}}", &line[..line.len() - 1]);
        let lines = [
            extra(&saved(0, "a", "a.png"), r#""caption":"old""#),
            saved(1, "b", "b.png"),
            extra(&saved(2, "c", "c.png"), r#""n":1.50"#),
            extra(&again(5, "a", "a.png"), r#""caption":"new""#),
            extra(&again(6, "b", "b.png"), r#""n":2"#),
            again(2, "c", "c.png"),
            extra(&again(7, "a", "a.png"), r#""caption":"newest""#),
        ];
        let (_folder, path, _) = compacted(&lines, RowIdentity::Url);
        let expected = [
            extra(&saved(7, "a", "a.png"), r#""caption":"newest""#),
            extra(&saved(6, "b", "b.png"), r#""n":2"#),
            saved(2, "c", "c.png"),
        ];
        assert_eq!(text(&path), expected);
    }

    /// A record of this run.
    fn of_run(run: u32, line: &str) -> String {
        format!("{},\"run\":{run}}}", &line[..line.len() - 1])
    }

    #[test]
    fn a_row_that_repeats_a_url_is_gone_when_a_later_list_does_not_have_it() {
        let lines = [
            of_run(1, &saved(0, "a", "a.png")),
            of_run(1, &repeats(1, "a")),
            of_run(1, &repeats(2, "a")),
            of_run(2, &again(5, "a", "a.png")),
            of_run(2, &repeats(6, "a")),
            // The sample does not say that the list has no other row.
            of_run(3, &again(0, "a", "a.png")).replace('}', ",\"sampled\":true}"),
        ];
        let filler = vec![of_run(3, &failed(7, "f", "dns")); 5];
        let (_folder, path, _) = compacted(&[&lines[..], &filler].concat(), RowIdentity::Url);
        assert_eq!(text(&path), [of_run(1, &saved(0, "a", "a.png")), lines[4].clone(), filler[0].clone()]);
    }

    #[test]
    fn of_a_row_that_is_known_by_its_url_the_last_file_stays() {
        let numbered = |run, line: &str| format!("{},\"numbered\":true}}", of_run(run, line).trim_end_matches('}'));
        let files = [saved(0, "a", "0.png"), saved(1, "a", "1.png"), saved(2, "a", "2.png")];
        let filler = vec![of_run(1, &failed(7, "f", "dns")); 9];
        let lines = [files.clone().map(|line| of_run(1, &line)).to_vec(), filler.clone()].concat();
        let (_folder, path, _) = compacted(&lines, RowIdentity::Url);
        assert_eq!(text(&path), [of_run(1, &files[2]), filler[0].clone()]);
        let lines = [files.clone().map(|line| numbered(1, &line)).to_vec(), filler.clone()].concat();
        let (_folder, path, _) = compacted(&lines, RowIdentity::Url);
        assert_eq!(text(&path), [&lines[..3], &filler[..1]].concat());
    }

    #[test]
    fn a_row_that_still_fails_takes_its_new_number_and_columns() {
        let extra = |line: &str, n: u32| format!("{},\"extra\":{{\"n\":{n}}}}}", &line[..line.len() - 1]);
        let skip = |index| line(index, "f", r#""status":"skipped","reason":"failed_permanently""#);
        let fails = |index, url: &str| {
            line(index, url, r#""status":"failed","error":"redirect","message":"m","retryable":false,"attempts":1"#)
        };
        let lines = [extra(&fails(3, "f"), 1), fails(8, "f2"), extra(&skip(2), 2), extra(&skip(1), 3), fails(8, "f2")];
        let lines = [&lines[..], &[fails(9, "f2")]].concat();
        for failures in [true, false] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("journal.jsonl");
            fs::write(&path, lines.join("\n") + "\n").expect("write");
            let remembered = Remembered { identity: RowIdentity::Url, failures };
            let mut journal = Journal::open(&path, remembered, |_| {}).expect("open");
            journal.compact(&folder.path().join("copy"));
            assert_eq!(text(&path), [extra(&fails(1, "f"), 3), fails(9, "f2")]);
            let job = Job::new(1, "http://a/f".parse().expect("a URL"));
            let key = journal.key(&job);
            let found = journal.look_up(key, &job).expect("read");
            assert_eq!(matches!(found, Lookup::Ended(_)), failures, "{found:?}");
        }
    }

    #[test]
    fn files_that_rows_with_one_url_have_are_all_remembered() {
        let numbered = |index: u64| saved(index, "a", &format!("{index}.png"));
        let mut lines = (0..3).map(numbered).collect::<Vec<_>>();
        for index in (0..3).chain(0..2) {
            lines.push(again(index, "a", &format!("{index}.png")));
        }
        let with_numbers = RowIdentity::UrlAndNumber { several_passes: false };
        for identity in [with_numbers, RowIdentity::Url] {
            let (_folder, path, _) = compacted(&lines, identity);
            let files = text(&path).into_iter().filter(|line| line.contains("saved\",\"path")).collect::<Vec<_>>();
            // Without the flag, the last of them is the row, and the others are still there for a run with it.
            assert_eq!(files, (0..3).map(numbered).collect::<Vec<_>>(), "{identity:?}");
        }
    }

    /// What a run with `--overwrite` knows of names: how many records name each file.
    fn names(path: &Path, identity: RowIdentity) -> HashMap<String, i32> {
        let mut names = HashMap::<String, i32>::new();
        let follow = |naming: Naming| match naming {
            Naming::Named { file, .. } => *names.entry(file.path.to_owned()).or_default() += 1,
            Naming::Superseded(path) => *names.entry(path.to_owned()).or_default() -= 1,
        };
        let options = JournalOptions { follows: true, ..identity.into() };
        drop(Journal::open(path, options, follow).expect("open"));
        names.retain(|_, count| *count != 0);
        names
    }

    #[test]
    fn names_are_counted_as_before_whatever_the_journal_holds() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut rewritten = 0;
        for _ in 0..300 {
            let lines = (0..random.usize(1..60)).map(|_| {
                let (index, url) = (random.u64(0..4), ["a", "b", "c", "d"][random.usize(0..4)]);
                let path = ["1.png", "2.png", "3.png"][random.usize(0..3)];
                match random.u8(0..6) {
                    0 => saved(index, url, path),
                    1 => failed(index, url, "dns"),
                    2 => repeats(index, url),
                    3 => line(
                        index,
                        url,
                        &format!(r#""status":"skipped","reason":"duplicate_content","path":"{path}","bytes":5"#),
                    ),
                    _ => again(index, url, path),
                }
            });
            let lines = lines.collect::<Vec<_>>();
            for identity in [RowIdentity::Url, RowIdentity::UrlAndNumber { several_passes: false }] {
                let folder = tempfile::tempdir().expect("a folder");
                let before = folder.path().join("before");
                fs::write(&before, lines.join("\n") + "\n").expect("write");
                let (_folder, path, _) = compacted(&lines, identity);
                assert_eq!(names(&path, identity), names(&before, identity), "{identity:?}\n{}", lines.join("\n"));
                rewritten += usize::from(text(&path) != lines);
            }
        }
        assert!(rewritten > 100, "{rewritten}");
    }

    #[test]
    fn a_journal_that_cannot_be_written_anew_stays_as_it_is() {
        let lines = [saved(0, "a", "a.png"), again(0, "a", "a.png"), again(0, "a", "a.png")];
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.jsonl");
        fs::write(&path, lines.join("\n") + "\n").expect("write");
        let mut journal = Journal::open(&path, RowIdentity::Url, |_| {}).expect("open");
        journal.compact(&folder.path().join("missing/copy"));
        assert_eq!(text(&path), lines);
        let job = Job::new(0, "http://a/a".parse().expect("a URL"));
        let key = journal.key(&job);
        assert!(matches!(journal.look_up(key, &job).expect("read"), Lookup::New(Some(_))));
    }
}
