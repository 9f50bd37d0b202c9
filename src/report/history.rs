//! The times of earlier runs in the same folder, so that a run can be compared with one in the other mode.

use std::fs::OpenOptions;
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
    private_file::open(OpenOptions::new().create(true).append(true), file)?.write_all(&line)
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
}
