//! The current record of each row, from a journal that has those of all runs.
//!
//! The journal is read twice. The first time, an index is made of the offsets of the records that are current, in some 50
//! bytes for each row. The second time, the records are read in the order of the rows. No record stays in memory, and few
//! of their fields are looked at.
//!
//! A row is known by its URL, as in a run. Rows of one list that have the same URL are told apart by their numbers. Each
//! record has the number of the run that has written it. So a row that has another number in a later list is the same row,
//! while two rows of one list are two.
//!
//! Records of the first run, and those of earlier versions, do not say which run has written them. A run has each number once:
//! when one occurs again in such records, another run has begun. Rows that are saved already are recorded before the
//! first download ends, so in a list that has grown at its front, the guess may come too late.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use foldhash::fast;

use super::lines::{MAX_LINE_BYTES, read_line};
use crate::record::{ErrorKind, Reason, RunError, RunMark};
use crate::util::compact_table::CompactTable;
use crate::util::private_file;
use crate::util::raw_json::{RawField, RawFields, inner};

/// The current records of a journal.
#[derive(Debug)]
pub struct CurrentRecords {
    lines: RandomLines,
    rows: Vec<Row>,
}

/// The current record of a row.
#[derive(Clone, Copy, Debug)]
pub struct CurrentRecord<'a> {
    /// The record as JSON. That of a row that an earlier run has saved is the one of its file, and that of a row that an
    /// earlier run has found to fail for good is the one of that run, with the number and the columns that the row has now.
    pub line: &'a str,
    /// The record of the file that the row has, with the number and the columns that the row has now: that of another row
    /// if this one is its duplicate, and that of an earlier run if the row has failed since then.
    pub with_file: &'a str,
}

/// A row and the offsets of its records.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// The number of the row in the newest list that has it.
    index: u64,
    /// The offset of the newest record.
    newest: u64,
    /// The offset of the record that describes its file, or [`NONE`]. Of a duplicate, while the journal is read for the
    /// first time: the hash of its URL, because the row that has the URL may come later. Of a row that failed for good in
    /// an earlier run: the offset of that record.
    file: u64,
    /// The run that has written the newest record.
    run: u32,
    /// The newest run that has recorded the row and had a whole list, and no sample of one. Zero: there is none.
    listed: u32,
    kind: Kind,
    /// It failed and may succeed now, or it repeats the URL of a row of which that is true.
    may_succeed: bool,
}

/// What the newest record of a row is, as far as that decides which records are current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The file was stored.
    Saved,
    /// An earlier run has stored it.
    AlreadySaved,
    /// Another row has stored a file with the same content.
    DuplicateContent,
    /// An earlier row of the list has the same URL, and its outcome.
    Duplicate,
    /// The row could not be read. It is known by its number alone.
    Unreadable,
    /// It failed for good in an earlier run, whose record says why (`--skip-permanent`).
    StillFailed,
    /// It failed or was refused. The file of an earlier run stays, if there is one.
    Unsuccessful,
    /// Its file was removed when it was refused (`--remake`).
    Removed,
    /// Anything else.
    Other,
    /// The row is not in the newest list any more.
    Gone,
}

/// No offset, and no row.
const NONE: u64 = u64::MAX;

/// The offset of the first record that is not in the file, but in the write-ahead log.
const UNRECORDED: u64 = 1 << 62;

impl CurrentRecords {
    /// Reads a journal without changing it. `unrecorded` are records of files that are there and may not be in it yet.
    /// Lines that are no records are left out. `None`: there is no journal.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path, unrecorded: Vec<Vec<u8>>) -> Result<Option<Self>, RunError> {
        let fail = |source| RunError::Journal { path: path.to_owned(), source };
        let file = match private_file::open(OpenOptions::new().read(true), path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let unrecorded = unrecorded.into_iter().filter_map(|line| String::from_utf8(line).ok()).collect::<Vec<_>>();
        let mut index = Index::default();
        let (mut reader, mut line, mut offset) = (BufReader::with_capacity(1 << 18, &file), Vec::new(), 0);
        loop {
            let length = read_line(&mut reader, &mut line).map_err(fail)?.length;
            if length == 0 {
                break;
            }
            if let Some(record) = as_text(&line).and_then(Head::of) {
                index.add(&record, offset);
            }
            offset += length;
        }
        let mut lines = RandomLines::new(file, path, unrecorded);
        for number in 0..lines.unrecorded.len() {
            let line = lines.unrecorded[number].clone();
            let Some(record) = Head::of(&line).filter(|record| record.kind == Kind::Saved) else { continue };
            // The journal may have it already.
            let is_known = match index.file_of(&record) {
                Some(known) => lines.line(known)? == line,
                None => false,
            };
            if !is_known {
                index.add(&record, UNRECORDED + number as u64);
            }
        }
        Ok(Some(Self { lines, rows: index.into_rows() }))
    }

    /// The newest record of a file that a row has, as a line; `None` if no row has one.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn newest_saved(&mut self) -> Result<Option<&str>, RunError> {
        let has_file = |row: &&Row| !matches!(row.kind, Kind::StillFailed | Kind::Duplicate) && row.file != NONE;
        let newest = self.rows.iter().filter(has_file).map(|row| row.file).max();
        newest.map(|offset| self.lines.line(offset)).transpose()
    }

    /// Keeps the rows that failed and may succeed now, and those that repeat the URL of such a row.
    #[must_use]
    pub fn to_try_again(mut self) -> Self {
        self.rows.retain(|row| row.may_succeed);
        self.rows.shrink_to_fit();
        self
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Calls `each` with the record of each row, in the order of their numbers.
    ///
    /// # Errors
    /// When the journal cannot be read, and those of `each`.
    pub fn for_each(&mut self, mut each: impl FnMut(CurrentRecord) -> Result<(), RunError>) -> Result<(), RunError> {
        let (mut newest, mut merged, mut plain) = (String::new(), String::new(), String::new());
        for Row { newest: offset, file, kind, .. } in &self.rows {
            let line = unmarked(self.lines.line(*offset)?, &mut plain);
            let has_file =
                matches!(kind, Kind::AlreadySaved | Kind::Duplicate | Kind::Unsuccessful | Kind::StillFailed);
            let is_of_another = has_file && *file != NONE && file != offset;
            if !is_of_another {
                each(CurrentRecord { line, with_file: line })?;
                continue;
            }
            newest.clear();
            newest.push_str(line);
            let about_file = self.lines.line(*file)?;
            let keeps_file = match kind {
                // A row that failed when it was fetched again names no file, and has the one of before.
                Kind::Unsuccessful | Kind::StillFailed => true,
                // It has the file that the other row has now. But it may have failed because of that very file.
                Kind::Duplicate => field(&newest, "status") == Some("skipped"),
                // The file has another name since then.
                _ => file > offset,
            };
            let with_file = merge((about_file, keeps_file), &newest, &mut merged).unwrap_or(&newest);
            let is_repeated = matches!(kind, Kind::AlreadySaved | Kind::StillFailed);
            let line = if is_repeated { with_file } else { &newest };
            each(CurrentRecord { line, with_file })?;
        }
        Ok(())
    }
}

/// A record without what it says of its run, which is for the journal alone.
fn unmarked<'a>(line: &'a str, buffer: &'a mut String) -> &'a str {
    let end = line.rfind(RUN_FIELD).filter(|at| {
        let rest = line[at + RUN_FIELD.len()..].trim_start_matches(|digit: char| digit.is_ascii_digit());
        matches!(rest, "}" | ",\"sampled\":true}" | ",\"numbered\":true}" | ",\"sampled\":true,\"numbered\":true}")
    });
    buffer.clear();
    if let Some(end) = end {
        buffer.push_str(&line[..end]);
    } else {
        // It was written anew with other columns, or is of a version that had no runs.
        let is_of_run = |name: &str| RunMark::FIELDS.contains(&name);
        if !RawFields::of(line).any(|field| is_of_run(field.name)) {
            return line;
        }
        RawFields::of(line).filter(|field| !is_of_run(field.name)).for_each(|field| push_field(buffer, field));
    }
    buffer.push('}');
    buffer
}

/// How the number of the run begins at the end of a record.
const RUN_FIELD: &str = ",\"run\":";

/// Adds a field to an object that is being written.
fn push_field(object: &mut String, RawField { name, value }: RawField) {
    object.push_str(if object.is_empty() { "{\"" } else { ",\"" });
    for part in [name, "\":", value] {
        object.push_str(part);
    }
}

/// A field of a record that is text, as it is written.
fn field<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    RawFields::of(record).find(|field| field.name == name).and_then(|field| inner(field.value))
}

/// The last record of a saved file in a journal, as a line; `None` if there is none.
///
/// # Errors
/// When the journal cannot be read.
pub fn newest_saved(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = private_file::open(OpenOptions::new().read(true), path)?;
    let (mut reader, mut line, mut newest) = (BufReader::with_capacity(1 << 18, file), Vec::new(), None);
    while read_line(&mut reader, &mut line)?.length > 0 {
        let is_saved = |line: &str| field(line, "status") == Some("saved");
        if memchr::memmem::find(&line, b"\"saved\"").is_some() && as_text(&line).is_some_and(is_saved) {
            newest = Some(line.clone());
        }
    }
    Ok(newest)
}

/// A line as the text of a record, if it can be one.
fn as_text(line: &[u8]) -> Option<&str> {
    if line.len() >= MAX_LINE_BYTES {
        return None;
    }
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    // In JSON, these would be escaped.
    let has_controls = line.iter().any(|byte| *byte < b' ' && *byte != b'\r' && *byte != b'\t');
    if has_controls { None } else { std::str::from_utf8(line).ok() }
}

/// What is looked at in each record.
#[derive(Debug)]
struct Head<'a> {
    index: u64,
    /// The hash of the URL, or else the URL without its fragment, as it is written.
    url: &'a str,
    kind: Kind,
    /// The number of the run, if the record says it; zero for one before these had numbers.
    run: Option<u32>,
    is_sampled: bool,
    /// Rows of its list with the same URL are told apart by their numbers.
    is_numbered: bool,
    may_succeed: bool,
}

impl<'a> Head<'a> {
    /// Reads a line, if it is a record.
    fn of(line: &'a str) -> Option<Self> {
        let (mut index, mut url, mut url_hash, mut status, mut detail, mut attempts) = (0, None, None, "", "", "");
        let mut run = None;
        let (mut is_removed, mut is_sampled, mut is_numbered, mut is_retryable) = (false, false, false, false);
        let mut fields = RawFields::of(line);
        for field in fields.by_ref() {
            match field.name {
                "index" => index = field.value.parse().ok()?,
                "url" => url = Some(inner(field.value)?),
                "url_hash" => url_hash = inner(field.value),
                "status" => status = inner(field.value)?,
                "reason" | "error" => detail = inner(field.value)?,
                "attempts" => attempts = field.value,
                "removed" => is_removed = true,
                "retryable" => is_retryable = field.value == "true",
                "run" => run = field.value.parse().ok(),
                "sampled" => is_sampled = field.value == "true",
                "numbered" => is_numbered = field.value == "true",
                _ => {}
            }
        }
        if !fields.is_complete() || status.is_empty() {
            return None;
        }
        let url = url_hash.or_else(|| url.map(|url| url.split('#').next().unwrap_or_default()))?;
        let kind = match (status, detail) {
            ("saved", _) => Kind::Saved,
            ("skipped", reason) if reason == Reason::AlreadySaved.name() => Kind::AlreadySaved,
            ("skipped", reason) if reason == Reason::DuplicateContent.name() => Kind::DuplicateContent,
            ("skipped", reason) if reason == Reason::DuplicateUrl.name() => Kind::Duplicate,
            ("skipped", reason) if reason == Reason::FailedPermanently.name() => Kind::StillFailed,
            (_, error) if error == ErrorKind::BadUrl.name() => Kind::Unreadable,
            // The image of another row with the same URL has another digest than this row expects.
            (_, error) if error == ErrorKind::Checksum.name() && attempts == "0" => Kind::Duplicate,
            ("refused", _) if is_removed => Kind::Removed,
            ("failed" | "refused", _) => Kind::Unsuccessful,
            _ => Kind::Other,
        };
        let may_succeed = status == "failed" && is_retryable;
        Some(Self { index, url, kind, run, is_sampled, is_numbered, may_succeed })
    }
}

/// Finds the current rows while the journal is read for the first time.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "one is by index")]
struct Index {
    hasher: RandomState,
    rows: Vec<Row>,
    /// The row with a URL, by its hash; of several, the one whose record came last. Positions are stored plus one.
    by_url: CompactTable<7, 4>,
    /// The other rows with that URL, by the hash of the URL and their number.
    by_url_and_index: CompactTable<7, 4>,
    /// Rows that could not be read, by their numbers.
    unreadable: HashMap<u64, usize, fast::RandomState>,
    runs: Runs,
}

/// Tells which run has written a record.
#[derive(Debug, Default)]
struct Runs {
    /// The newest run so far. Runs are counted from 1.
    newest: u32,
    /// The number of runs that are older than the first one that has a number in its records.
    unnumbered: u32,
    /// The newest record does not say which run has written it.
    is_guessed: bool,
    /// The last run that has a record with this number of a row, among those that do not say it.
    by_index: Vec<u32>,
}

/// Numbers of rows from this one on do not tell where a run begins.
const MAX_TRACKED_INDEX: u64 = 1 << 24;

impl Index {
    /// Adds the next record.
    fn add(&mut self, record: &Head, offset: u64) {
        let run = self.runs.of(record);
        if record.kind == Kind::Unreadable {
            return self.add_unreadable(record.index, offset, run);
        }
        if record.kind == Kind::StillFailed && self.unreadable.contains_key(&record.index) {
            return;
        }
        if !self.unreadable.is_empty()
            && let Some(known) = self.unreadable.remove(&record.index)
        {
            self.rows[known].kind = Kind::Gone;
        }
        let url = self.hasher.hash_one(record.url);
        let latest = self.by_url.get(url).map(position);
        let (listed, may_succeed) = (if record.is_sampled { 0 } else { run }, record.may_succeed);
        let row = Row { index: record.index, newest: offset, file: NONE, run, listed, kind: record.kind, may_succeed };
        if record.kind == Kind::Duplicate {
            let key = self.key(record);
            // With `--keep-duplicates`, an earlier run has fetched it.
            if let Some(fetched) = self.first(key, record.index).filter(|fetched| self.rows[*fetched].run < run) {
                self.by_url_and_index.remove(key, number(fetched));
                self.rows[fetched].kind = Kind::Gone;
            }
            let row = Row { file: url, listed: run, ..row };
            match self.duplicate(key, record.index) {
                Some(known) => self.rows[known] = row,
                None => self.push(row, |index, number| index.by_url_and_index.add(key, number)),
            }
            return;
        }
        // In an earlier list, the row with this number repeated the URL. A sample does not say what became of the others.
        if let Some(repeats) = self.duplicate(self.key(record), record.index).filter(|row| self.rows[*row].run < run) {
            self.by_url_and_index.remove(self.key(record), number(repeats));
            self.rows[repeats].kind = Kind::Gone;
        }
        let Some(latest) = latest else {
            return self.push(row.with_file(NONE), |index, number| index.by_url.set(url, number));
        };
        if self.rows[latest].index == record.index {
            self.rows[latest] = row.after(self.rows[latest]);
        } else if let Some(known) = self.first(self.key(record), record.index) {
            self.rows[known] = row.after(self.rows[known]);
            self.by_url_and_index.remove(self.key(record), number(known));
            self.become_latest(url, latest, known);
        } else if self.is_renumbered(latest, record, run) {
            // The list has changed, and the row has another number.
            self.rows[latest] = row.after(self.rows[latest]);
        } else {
            let new = self.rows.len();
            self.push(row.with_file(NONE), |_, _| {});
            self.become_latest(url, latest, new);
        }
    }

    /// Whether a record is that of the latest row with its URL, though it has another number.
    fn is_renumbered(&self, latest: usize, record: &Head, run: u32) -> bool {
        let latest = &self.rows[latest];
        match record.run {
            // One file would hide another one: with `--keep-duplicates`, a row that got another number is a new row.
            Some(_) if record.is_numbered => latest.run < run && latest.file == NONE,
            Some(_) => true,
            None => latest.run < run,
        }
    }

    /// Adds the record of a row that could not be read. It is current until another row has its number.
    fn add_unreadable(&mut self, index: u64, offset: u64, run: u32) {
        let (kind, may_succeed) = (Kind::Unreadable, false);
        let row = Row { index, newest: offset, file: NONE, run, listed: run, kind, may_succeed };
        if let Some(known) = self.unreadable.get(&index) {
            self.rows[*known] = row;
        } else {
            self.unreadable.insert(index, self.rows.len());
            self.rows.push(row);
        }
    }

    fn push(&mut self, row: Row, register: impl FnOnce(&mut Self, u64)) {
        let number = number(self.rows.len());
        self.rows.push(row);
        register(self, number);
    }

    /// Makes another row the latest one of its URL.
    fn become_latest(&mut self, url: u64, before: usize, now: usize) {
        let key = self.hasher.hash_one((url, self.rows[before].index));
        self.by_url_and_index.add(key, number(before));
        self.by_url.set(url, number(now));
    }

    fn key(&self, record: &Head) -> u64 {
        self.hasher.hash_one((self.hasher.hash_one(record.url), record.index))
    }

    /// The duplicate with this key and number.
    fn duplicate(&self, key: u64, index: u64) -> Option<usize> {
        let is_it = |row: &Row| row.index == index && row.kind == Kind::Duplicate;
        self.by_url_and_index.values(key).map(position).find(|row| is_it(&self.rows[*row]))
    }

    /// The row with this key and number that is no duplicate.
    fn first(&self, key: u64, index: u64) -> Option<usize> {
        let is_it = |row: &Row| row.index == index && row.kind != Kind::Duplicate;
        self.by_url_and_index.values(key).map(position).find(|row| is_it(&self.rows[*row]))
    }

    /// The offset of the record that describes the file of a row, if the row is known.
    fn file_of(&self, record: &Head) -> Option<u64> {
        let latest = self.by_url.get(self.hasher.hash_one(record.url)).map(position);
        let row = latest.filter(|row| self.rows[*row].index == record.index);
        let row = row.or_else(|| self.first(self.key(record), record.index)).or(latest)?;
        Some(self.rows[row].file).filter(|file| *file != NONE)
    }

    /// The rows in the order of their numbers.
    fn into_rows(mut self) -> Vec<Row> {
        for number in 0..self.rows.len() {
            let row = self.rows[number];
            if row.kind != Kind::Duplicate {
                continue;
            }
            let first = self.by_url.get(row.file).map(|first| self.rows[position(first)]);
            let row = &mut self.rows[number];
            match first {
                // A later run has the other row in its list and not this one.
                Some(first) if row.listed < first.listed => row.kind = Kind::Gone,
                Some(first) => {
                    row.file = if first.kind == Kind::StillFailed { NONE } else { first.file };
                    row.may_succeed = first.may_succeed;
                }
                None => row.file = NONE,
            }
        }
        self.rows.retain(|row| row.kind != Kind::Gone);
        self.rows.sort_unstable_by_key(|row| (row.index, row.newest));
        self.rows
    }
}

impl Runs {
    /// The run of the next record.
    fn of(&mut self, record: &Head) -> u32 {
        let run = match record.run {
            None => return self.guess(record.index),
            Some(0) => return 0,
            Some(run) => run,
        };
        if self.is_guessed {
            self.unnumbered = self.newest;
            self.is_guessed = false;
        }
        let run = self.unnumbered.saturating_add(run);
        self.newest = self.newest.max(run);
        run
    }

    /// The run of a record that does not say it. When its number has occurred in this run, another one has begun.
    fn guess(&mut self, index: u64) -> u32 {
        if !self.is_guessed {
            self.is_guessed = true;
            self.newest = self.newest.saturating_add(1);
        }
        let Some(index) = usize::try_from(index).ok().filter(|_| index < MAX_TRACKED_INDEX) else { return self.newest };
        if self.by_index.len() <= index {
            self.by_index.resize(index + 1, 0);
        }
        if self.by_index[index] == self.newest {
            self.newest = self.newest.saturating_add(1);
        }
        self.by_index[index] = self.newest;
        self.newest
    }
}

/// How positions are stored in the tables, where zero is no value.
fn number(position: usize) -> u64 {
    position as u64 + 1
}

fn position(number: u64) -> usize {
    usize::try_from(number - 1).unwrap_or_else(|_| unreachable!("it was a position"))
}

impl Row {
    /// The row of a later record, as it is known after an earlier one.
    fn after(self, before: Self) -> Self {
        if self.run < before.run {
            // A later run has given the file of an earlier one another name.
            let file = self.with_file(before.file).file;
            let newest = if before.newest == before.file { file } else { before.newest };
            return Self { newest, file, ..before };
        }
        let listed = self.listed.max(before.listed);
        let file = if before.kind == Kind::StillFailed { NONE } else { before.file };
        let row = Self { listed, ..self };
        if self.kind != Kind::StillFailed {
            return row.with_file(file);
        }
        // The earlier record says more. Only the number and the columns may be outdated.
        match before.kind {
            Kind::StillFailed => Self { file: before.file, ..row },
            _ if file == NONE => Self { file: before.newest, ..row },
            _ => Self { index: self.index, run: self.run, listed, ..before },
        }
    }

    /// The row with the offset of the record that describes its file. `before`: that of an earlier record, or [`NONE`].
    fn with_file(self, before: u64) -> Self {
        let file = match self.kind {
            Kind::Saved => self.newest,
            Kind::DuplicateContent if before == NONE => self.newest,
            Kind::Removed => NONE,
            // A later record may say that the file is still there.
            _ => before,
        };
        Self { file, ..self }
    }
}

/// Writes the record of a file with the number, the URL and the columns of a newer record of its row. `None` if the newer
/// one is about another file, unless it is about none.
fn merge<'a>((about_file, is_about_none): (&str, bool), newest: &str, merged: &'a mut String) -> Option<&'a str> {
    let is_of_row = |name: &str| matches!(name, "index" | "url" | "url_hash" | "extra");
    let is_of_file = |name: &str| !is_of_row(name) && !RunMark::FIELDS.contains(&name);
    let path = |line| RawFields::of(line).find(|field| field.name == "path").map(|field| field.value);
    if !is_about_none && path(about_file) != path(newest) {
        return None;
    }
    merged.clear();
    let of_row = |is_last: bool| {
        RawFields::of(newest).filter(move |field| is_of_row(field.name) && (field.name == "extra") == is_last)
    };
    of_row(false).for_each(|field| push_field(merged, field));
    RawFields::of(about_file).filter(|field| is_of_file(field.name)).for_each(|field| push_field(merged, field));
    of_row(true).for_each(|field| push_field(merged, field));
    merged.push('}');
    Some(merged)
}

/// Reads lines of a file in nearly ascending order, and sometimes in two places in turn.
#[derive(Debug)]
struct RandomLines {
    file: File,
    path: PathBuf,
    unrecorded: Vec<String>,
    blocks: Vec<Block>,
    line: Vec<u8>,
}

/// A part of the file that is in memory.
#[derive(Clone, Debug, Default)]
struct Block {
    /// Its position in the file, in blocks, plus one.
    number: u64,
    bytes: Vec<u8>,
}

/// Records of a run are in the order in which downloads end, so the next row is rarely further away than a run looks ahead.
const BLOCK_BYTES: usize = 16 << 10;
const BLOCKS: u64 = 1024;

impl RandomLines {
    fn new(file: File, path: &Path, unrecorded: Vec<String>) -> Self {
        let blocks = vec![Block::default(); usize::try_from(BLOCKS).unwrap_or_default()];
        Self { file, path: path.to_owned(), unrecorded, blocks, line: Vec::new() }
    }

    /// The line at this offset, without its line feed.
    fn line(&mut self, offset: u64) -> Result<&str, RunError> {
        if offset >= UNRECORDED {
            let line = usize::try_from(offset - UNRECORDED).ok().and_then(|number| self.unrecorded.get(number));
            return Ok(line.map_or("", String::as_str));
        }
        self.read(offset).map_err(|source| RunError::Journal { path: self.path.clone(), source })?;
        let changed = || io::Error::new(io::ErrorKind::InvalidData, "it was changed while it was read");
        let line = std::str::from_utf8(&self.line);
        line.map_err(|_| RunError::Journal { path: self.path.clone(), source: changed() })
    }

    fn read(&mut self, offset: u64) -> io::Result<()> {
        self.line.clear();
        let mut at = offset;
        while self.line.len() < MAX_LINE_BYTES {
            let number = at / BLOCK_BYTES as u64;
            let block = &mut self.blocks[usize::try_from(number % BLOCKS).unwrap_or_default()];
            if block.number != number + 1 {
                block.number = 0;
                block.bytes.resize(BLOCK_BYTES, 0);
                let length = read_at(&self.file, &mut block.bytes, number * BLOCK_BYTES as u64)?;
                block.bytes.truncate(length);
                block.number = number + 1;
            }
            let start = usize::try_from(at % BLOCK_BYTES as u64).unwrap_or_default();
            let rest = block.bytes.get(start..).unwrap_or_default();
            let end = memchr::memchr(b'\n', rest);
            let taken = &rest[..end.unwrap_or(rest.len())];
            self.line.extend_from_slice(taken);
            at += taken.len() as u64;
            // The last line of a file may have no line feed.
            if end.is_some() || block.bytes.len() < BLOCK_BYTES {
                break;
            }
        }
        Ok(())
    }
}

/// Fills the buffer from this position of a file on, and returns how many bytes there were.
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The current records of a journal with these lines: those that are shown, and those with the file of the row.
    fn current(lines: &[String], unrecorded: &[String]) -> (Vec<String>, Vec<String>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        std::fs::write(&path, lines.concat()).expect("write");
        let unrecorded = unrecorded.iter().map(|line| line.trim_end().as_bytes().to_vec()).collect();
        let mut records = CurrentRecords::read(&path, unrecorded).expect("read").expect("a journal");
        let (mut shown, mut with_file) = (Vec::new(), Vec::new());
        let each = |record: CurrentRecord| {
            shown.push(record.line.to_owned());
            with_file.push(record.with_file.to_owned());
            Ok(())
        };
        records.for_each(each).expect("read");
        assert_eq!(shown.len(), records.len());
        (shown, with_file)
    }

    fn line(index: u64, url: &str, rest: &str) -> String {
        format!("{{\"index\":{index},\"url\":\"http://a/{url}\",{rest}}}\n")
    }

    fn saved(index: u64, url: &str, path: &str) -> String {
        line(index, url, &format!(r#""status":"saved","path":"{path}","bytes":5,"width":7"#))
    }

    fn skipped(index: u64, url: &str, reason: &str, path: &str) -> String {
        line(index, url, &format!(r#""status":"skipped","reason":"{reason}","path":"{path}""#))
    }

    fn failed(index: u64, url: &str, error: &str) -> String {
        line(index, url, &format!(r#""status":"failed","error":"{error}","attempts":1"#))
    }

    fn trimmed(lines: &[String]) -> Vec<&str> {
        lines.iter().map(|line| line.trim_end()).collect()
    }

    #[test]
    fn the_newest_record_of_a_row_counts_and_that_of_its_file_is_not_hidden() {
        let lines = [
            saved(1, "b", "b.png"),
            saved(0, "a", "a.png"),
            failed(2, "c", "dns"),
            skipped(0, "a", "already_saved", "a.png"),
            failed(1, "b", "cut_short"),
            saved(2, "c", "c.png"),
            skipped(0, "a", "already_saved", "a.png"),
            skipped(1, "b", "already_saved", "b.png"),
            failed(2, "c", "timeout"),
        ];
        let (shown, with_file) = current(&lines, &[]);
        assert_eq!(shown, trimmed(&[lines[1].clone(), lines[0].clone(), lines[8].clone()]));
        // The last row failed when it was fetched again, and still has its file.
        assert_eq!(with_file, trimmed(&[lines[1].clone(), lines[0].clone(), lines[5].clone()]));
    }

    #[test]
    fn a_removed_file_is_not_there_any_more() {
        let refused = r#""status":"refused","error":"too_small","attempts":0,"removed":"a.png""#;
        let lines = [saved(0, "a", "a.png"), line(0, "a", refused)];
        let (shown, with_file) = current(&lines, &[]);
        assert_eq!((&shown, &with_file), (&vec![lines[1].trim_end().to_owned()], &shown));
    }

    #[test]
    fn a_row_with_another_number_is_the_same_row_and_has_its_new_columns() {
        let moved = line(3, "a#x", r#""status":"skipped","reason":"already_saved","path":"a.png","extra":{"n":2}"#);
        let before = line(0, "a", r#""status":"saved","path":"a.png","bytes":5,"extra":{"n":1}"#);
        let (shown, _) = current(&[before, failed(1, "b", "dns"), failed(1, "b", "dns"), moved], &[]);
        let expected = [
            failed(1, "b", "dns").trim_end().to_owned(),
            r#"{"index":3,"url":"http://a/a#x","status":"saved","path":"a.png","bytes":5,"extra":{"n":2}}"#.to_owned(),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn duplicates_are_rows_of_their_own_until_a_later_run_has_no_such_row() {
        let first = [saved(0, "a", "a.png"), skipped(2, "a", "duplicate_url", "a.png"), failed(1, "b", "dns")];
        let (shown, with_file) = current(&first, &[]);
        assert_eq!(shown, trimmed(&[first[0].clone(), first[2].clone(), first[1].clone()]));
        assert_eq!(with_file[2], saved(2, "a", "a.png").trim_end());
        // The next list has one row more before it.
        let second = [skipped(1, "a", "already_saved", "a.png"), skipped(3, "a", "duplicate_url", "a.png")];
        let lines = [&first[..], &second].concat();
        let (shown, _) = current(&lines, &[]);
        let expected = [saved(1, "a", "a.png"), failed(1, "b", "dns"), second[1].clone()];
        let mut found = shown.clone();
        found.sort();
        let mut expected = trimmed(&expected).iter().map(ToString::to_string).collect::<Vec<_>>();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn rows_of_one_list_with_one_url_are_two_rows() {
        let run = |word: &str| {
            [(0, "a.png"), (4, "a-1.png"), (7, "a-2.png")].map(|(index, path)| match word {
                "saved" => saved(index, "a", path),
                _ => skipped(index, "a", word, path),
            })
        };
        let (first, second) = (run("saved"), run("already_saved"));
        for count in 0..=3 {
            let lines = [&first[..], &second[..count]].concat();
            assert_eq!(current(&lines, &[]).0, trimmed(&first), "{count}");
        }
        // One row more at the end of the list.
        let more = saved(9, "a", "a-3.png");
        let lines = [&first[..], &second, std::slice::from_ref(&more)].concat();
        assert_eq!(current(&lines, &[]).0, trimmed(&[&first[..], &[more]].concat()));
    }

    #[test]
    fn a_row_that_could_not_be_read_counts_until_its_number_occurs_again() {
        let bad = line(1, "", r#""status":"failed","error":"bad_url","attempts":0"#);
        let first = [saved(0, "a", "a.png"), bad.clone()];
        assert_eq!(current(&first, &[]).0, trimmed(&first));
        let again = [&first[..], &[bad]].concat();
        assert_eq!(current(&again, &[]).0, trimmed(&first));
        let mended = [&again[..], &[saved(1, "b", "b.png")]].concat();
        assert_eq!(current(&mended, &[]).0, trimmed(&[first[0].clone(), saved(1, "b", "b.png")]));
    }

    #[test]
    fn what_is_only_in_the_write_ahead_log_is_current_too() {
        let lines = [saved(0, "a", "a.png"), failed(1, "b", "interrupted")];
        let unrecorded = [saved(0, "a", "a.png"), saved(1, "b", "b.png"), saved(2, "c", "c.png")];
        assert_eq!(current(&lines, &unrecorded).0, trimmed(&unrecorded));
    }

    /// A record of this run.
    fn of_run(run: u32, line: &str) -> String {
        format!("{},\"run\":{run}}}\n", &line[..line.len() - 2])
    }

    #[test]
    fn a_list_that_has_grown_at_its_front_has_each_row_once() {
        let first = [saved(0, "a", "a.png"), saved(1, "b", "b.png")].map(|line| of_run(1, &line));
        // What is saved already is recorded first, whatever its number is.
        let second = [
            skipped(2, "a", "already_saved", "a.png"),
            skipped(3, "b", "already_saved", "b.png"),
            saved(0, "c", "c.png"),
            saved(1, "d", "d.png"),
        ];
        let second = second.map(|line| of_run(2, &line));
        let expected = [saved(0, "c", "c.png"), saved(1, "d", "d.png"), saved(2, "a", "a.png"), saved(3, "b", "b.png")];
        assert_eq!(current(&[&first[..], &second].concat(), &[]).0, trimmed(&expected));
        // Records of a version that had no runs come before them, or after them if it was used again.
        let older = [saved(0, "a", "a.png"), saved(1, "b", "b.png")];
        assert_eq!(current(&[&older[..], &second].concat(), &[]).0, trimmed(&expected));
        let again = skipped(5, "a", "already_saved", "a.png");
        let (shown, _) = current(&[&first[..], &second, &[again]].concat(), &[]);
        assert_eq!((shown.len(), &*shown[3]), (4, saved(5, "a", "a.png").trim_end()));
    }

    #[test]
    fn rows_of_one_run_with_one_url_are_two_rows_if_their_numbers_count() {
        let two = |run, first, second| {
            [saved(first, "a", "a.png"), saved(second, "a", "b.png")].map(|line| {
                let line = of_run(run, &line);
                format!("{},\"numbered\":true}}\n", &line[..line.len() - 2])
            })
        };
        let lines = [two(1, 0, 1), two(2, 0, 1)].concat();
        assert_eq!(current(&lines, &[]).0, trimmed(&[saved(0, "a", "a.png"), saved(1, "a", "b.png")]));
        // In another list without the flag, the URL is one row, and the other one repeats it.
        let later = [skipped(0, "a", "already_saved", "b.png"), skipped(1, "a", "duplicate_url", "b.png")];
        let later = later.map(|line| of_run(3, &line));
        let (shown, _) = current(&[&lines[..], &later].concat(), &[]);
        assert_eq!((shown.len(), &*shown[1]), (2, skipped(1, "a", "duplicate_url", "b.png").trim_end()));
    }

    #[test]
    fn a_sample_is_no_list_without_the_other_rows() {
        let first = [saved(0, "a", "a.png"), skipped(2, "a", "duplicate_url", "a.png")].map(|line| of_run(1, &line));
        let sample = of_run(2, &saved(0, "a", "a.png")).replace("}\n", ",\"sampled\":true}\n");
        let whole = of_run(3, &skipped(0, "a", "already_saved", "a.png"));
        let lines = [&first[..], &[sample]].concat();
        assert_eq!(current(&lines, &[]).0.len(), 2);
        assert_eq!(current(&[&lines[..], &[whole]].concat(), &[]).0, trimmed(&[saved(0, "a", "a.png")]));
    }

    #[test]
    fn a_file_that_got_another_name_later_belongs_to_the_row_as_it_is() {
        let lines = [
            of_run(1, &saved(0, "a", "a.png")),
            of_run(1, &skipped(4, "a", "duplicate_url", "a.png")),
            of_run(2, &skipped(7, "a", "already_saved", "a.png")),
            of_run(2, &skipped(8, "a", "duplicate_url", "a.png")),
            of_run(1, &saved(0, "a", "a-1.png")),
        ];
        let (shown, with_file) = current(&lines, &[]);
        assert_eq!(shown, trimmed(&[saved(7, "a", "a-1.png"), skipped(8, "a", "duplicate_url", "a.png")]));
        assert_eq!(with_file, trimmed(&[saved(7, "a", "a-1.png"), saved(8, "a", "a-1.png")]));
        // The same, of a version that had no runs.
        let older = [saved(0, "a", "a.png"), lines[2].clone(), of_run(0, &saved(0, "a", "a-1.png"))];
        assert_eq!(current(&older, &[]).0, trimmed(&[saved(7, "a", "a-1.png")]));
    }

    #[test]
    fn a_row_that_still_fails_has_the_record_that_says_why_with_what_it_has_now() {
        let skip = |index, n: u32| {
            line(index, "a", &format!(r#""status":"skipped","reason":"failed_permanently","extra":{{"n":{n}}}"#))
        };
        let gone = line(3, "a", r#""status":"failed","error":"http_status","attempts":1,"extra":{"n":1}"#);
        let lines = [of_run(1, &gone), of_run(2, &skip(2, 2)), of_run(3, &skip(1, 3))];
        let expected = line(1, "a", r#""status":"failed","error":"http_status","attempts":1,"extra":{"n":3}"#);
        assert_eq!(current(&lines, &[]).0, trimmed(&[expected]));
        let later = of_run(4, &failed(0, "a", "dns"));
        let (shown, with_file) = current(&[&lines[..], &[later]].concat(), &[]);
        assert_eq!((&shown, &shown), (&with_file, &vec![failed(0, "a", "dns").trim_end().to_owned()]));
    }

    #[test]
    fn rows_that_may_succeed_are_tried_again_with_those_that_repeat_them() {
        let retryable = |index, url: &str| line(index, url, r#""status":"failed","error":"dns","retryable":true"#);
        let lines = [
            retryable(0, "a"),
            skipped(1, "a", "duplicate_url", ""),
            retryable(2, "b"),
            line(2, "b", r#""status":"failed","error":"http_status","retryable":false"#),
            saved(3, "c", "c.png"),
            skipped(4, "c", "duplicate_url", "c.png"),
        ];
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        std::fs::write(&path, lines.iter().map(|line| of_run(1, line)).collect::<String>()).expect("write");
        let records = CurrentRecords::read(&path, Vec::new()).expect("read").expect("a journal");
        let mut shown = Vec::new();
        let each = |record: CurrentRecord| {
            shown.push(record.line.to_owned());
            Ok(())
        };
        records.to_try_again().for_each(each).expect("read");
        assert_eq!(shown, trimmed(&lines[..2]));
        let newest = newest_saved(&path).expect("read").expect("a record");
        assert_eq!(String::from_utf8_lossy(&newest), of_run(1, &lines[4]));
    }

    #[test]
    fn lines_are_found_wherever_blocks_end() {
        let lines =
            (0..2000_u64).map(|row| saved(row, &format!("{row}"), &"x".repeat(usize::try_from(row).expect("few"))));
        let mut lines = lines.collect::<Vec<_>>();
        let expected = lines.clone();
        lines.reverse();
        assert_eq!(current(&lines, &[]).0, trimmed(&expected));
    }
}
