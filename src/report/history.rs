//! The times of earlier runs in the same folder, so that a run can be compared with one in the other mode.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::Summary;
use crate::record::Mode;
use crate::util::private_file;

/// One pass of an earlier run: one line of `.fetchimg.runs.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
struct EarlierPass {
    mode: Mode,
    /// When it ended, in seconds since 1970.
    date: u64,
    /// The hash of the list ([`Summary::list`]).
    list: u64,
    saved: u64,
    bytes: u64,
    wall_seconds: f64,
}

/// Whether a pass fetched the whole list: nothing failed, and nothing was saved before. Only such a pass shows how long the
/// list takes.
fn is_whole(summary: &Summary) -> bool {
    let duplicates = summary.skipped_by_reason.get("duplicate_url").copied().unwrap_or(0);
    // What is made anew from stored files is not fetched.
    summary.saved > 0 && summary.saved + duplicates == summary.rows && summary.changed.remade == 0
}

/// Appends a pass to the file, if it fetched the whole list.
///
/// # Errors
/// When the file cannot be written.
pub fn remember(file: &Path, summary: &Summary) -> io::Result<()> {
    if !is_whole(summary) {
        return Ok(());
    }
    let pass = EarlierPass {
        mode: summary.mode,
        date: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
        list: summary.list,
        saved: summary.saved,
        bytes: summary.bytes,
        wall_seconds: summary.wall_seconds,
    };
    let mut line = serde_json::to_vec(&pass)?;
    line.push(b'\n');
    let mut out = private_file::open(OpenOptions::new().create(true).append(true), file)?;
    out.write_all(&line)?;
    if out.metadata()?.len() > MAX_BYTES { compact(file) } else { Ok(()) }
}

/// A file with more bytes is written anew.
const MAX_BYTES: u64 = 64 * 1024;

/// The passes that are kept then, of about 120 bytes each: few enough that the file is not written anew by every run.
const MAX_KEPT: usize = 256;

/// Writes the file anew with the last passes that can still be asked for: of two passes that are alike, the later one
/// counts. The new file gets its name when it is complete, so a run that is killed leaves the old one.
fn compact(file: &Path) -> io::Result<()> {
    let lines = io::read_to_string(private_file::open(OpenOptions::new().read(true), file)?)?;
    let mut seen = HashSet::new();
    let mut kept = lines
        .lines()
        .rev()
        .filter(|line| {
            let pass = serde_json::from_str::<EarlierPass>(line);
            pass.is_ok_and(|pass| seen.insert((pass.mode.name(), pass.list, pass.saved, pass.bytes)))
        })
        .take(MAX_KEPT)
        .collect::<Vec<_>>();
    kept.reverse();
    // Its name is one of fetchimg's own, and the next time that it is made replaces what a killed run has left of it.
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let copy = file.with_file_name(name);
    private_file::remove_if_there(&copy)?;
    let mut out = private_file::open(OpenOptions::new().write(true).create_new(true), &copy)?;
    kept.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    // Without this, a loss of power could leave an empty file under the old name.
    out.sync_all()?;
    fs::rename(&copy, file)
}

/// The wall time in seconds of the last pass in the other mode over the same list with the same bytes, and its date.
#[must_use]
pub fn other_mode(file: &Path, summary: &Summary) -> Option<(f64, SystemTime)> {
    if !is_whole(summary) {
        return None;
    }
    let is_same = |pass: &EarlierPass| {
        pass.mode == summary.mode.other()
            && pass.list == summary.list
            && pass.saved == summary.saved
            && pass.bytes == summary.bytes
    };
    let lines = io::read_to_string(private_file::open(OpenOptions::new().read(true), file).ok()?).ok()?;
    let pass = lines.lines().rev().filter_map(|line| serde_json::from_str::<EarlierPass>(line).ok()).find(is_same)?;
    Some((pass.wall_seconds, SystemTime::UNIX_EPOCH + Duration::from_secs(pass.date)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Tally;

    #[test]
    fn only_whole_runs_of_the_same_list_are_compared() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("runs.jsonl");
        let summary = |mode, list| {
            let mut summary = Tally::new(mode).summary(Duration::from_secs(4), 1);
            (summary.list, summary.rows, summary.saved, summary.bytes) = (list, 5, 5, 1000);
            summary
        };
        remember(&file, &summary(Mode::Sequential, 1)).expect("write");
        let partial = Summary { saved: 4, ..summary(Mode::Sequential, 2) };
        remember(&file, &partial).expect("write");
        let found = other_mode(&file, &summary(Mode::Concurrent, 1)).expect("a run");
        assert!((found.0 - 4.0).abs() < 1e-9);
        assert!(other_mode(&file, &summary(Mode::Sequential, 1)).is_none());
        assert!(other_mode(&file, &summary(Mode::Concurrent, 2)).is_none());
    }

    #[test]
    fn the_file_stays_small_and_keeps_the_last_pass_of_each_kind() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("runs.jsonl");
        let summary = |mode, list| {
            let mut summary = Tally::new(mode).summary(Duration::from_secs(list), 1);
            (summary.list, summary.rows, summary.saved, summary.bytes) = (list, 5, 5, 1000);
            summary
        };
        // What a killed run has left is in the way of nothing.
        fs::write(folder.path().join("runs.jsonl.new"), "half of a li").expect("write");
        remember(&file, &summary(Mode::Sequential, 1)).expect("write");
        let mut largest = 0;
        for number in 0..2000 {
            let list = if number % 2 == 0 { 2 } else { 1000 + number };
            remember(&file, &summary(Mode::Concurrent, list)).expect("write");
            largest = largest.max(fs::metadata(&file).expect("a file").len());
        }
        assert!(largest < MAX_BYTES, "{largest} bytes");
        let names = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["runs.jsonl"]);
        for (list, is_there) in [(2, true), (2999, true), (2001, false), (1, false)] {
            let mode = if list == 1 { Mode::Concurrent } else { Mode::Sequential };
            assert_eq!(other_mode(&file, &summary(mode, list)).is_some(), is_there, "{list}");
        }
    }
}
