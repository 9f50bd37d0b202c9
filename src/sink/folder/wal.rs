//! The write-ahead log: what is about to be published is noted before it happens.
//!
//! A file appears under its name first and has its record in the journal a moment later. If a run were killed in between,
//! the next run would find a file that no record speaks of, and would have to take it for one that fetchimg did not write.
//! So the record is written here before the file appears, with a [`Mark`] of the file, and the entry is released when the
//! record is in the journal. What a run finds here when it begins was noted by a run that was killed: the record holds if
//! its very file is there.
//!
//! The entries are lines in small files. Each file is removed when the last of its entries is released.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::view::not_a_folder;
use crate::record::is_plain_path;
use crate::util::lock;

/// Bytes of entries that go into one file, about 2,500 of them.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The folder of the entries, among what is private in the output folder.
pub(super) const FOLDER: &str = "intents";

/// Stands for the boot in the names of files whose entries speak of images that were on the disk before they had a name
/// (`--fsync`).
const SYNCED: &str = "synced";

/// The entries of a run.
#[derive(Debug)]
pub struct Wal {
    folder: PathBuf,
    /// The beginning of the files' names. It says in which boot of the system they can be trusted.
    holds_in: String,
    synced: bool,
    files: AtomicU64,
    current: Mutex<Option<Arc<LogFile>>>,
}

/// One file of entries. It is removed with its last owner.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    length: AtomicU64,
    /// An entry was dropped without being released.
    is_kept: AtomicBool,
}

/// An entry about one file. Dropped without [`WalEntry::release`], it is left to the next run.
#[derive(Debug)]
#[must_use = "the entry is kept until it is released"]
pub struct WalEntry(Option<Arc<LogFile>>);

impl WalEntry {
    /// The record is in the journal, or the file was not published.
    pub fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for WalEntry {
    fn drop(&mut self) {
        if let Some(log) = &self.0 {
            log.is_kept.store(true, Ordering::Relaxed);
        }
    }
}

/// What distinguishes a file from every other one that was ever under its name: numbers of inodes are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Mark {
    /// The number of its inode.
    pub inode: u64,
    /// When its bytes were last written, in nanoseconds since 1970.
    pub modified: i64,
}

impl Mark {
    /// The mark of the file with these metadata.
    #[must_use]
    pub fn of(file: &fs::Metadata) -> Self {
        Self { inode: file.ino(), modified: file.mtime().saturating_mul(1_000_000_000) + file.mtime_nsec() }
    }
}

/// An entry of a killed run.
#[derive(Debug, PartialEq, Eq)]
pub struct Noted {
    /// The file that it is about.
    pub mark: Mark,
    /// Its record, as the journal would hold it.
    pub record: Vec<u8>,
}

#[derive(Deserialize)]
struct Line<'a> {
    mark: Mark,
    #[serde(borrow)]
    record: &'a RawValue,
}

impl Noted {
    /// The file that the record says was saved, and its size in bytes. `None` if it speaks of none that fetchimg can have
    /// written.
    pub(super) fn file(&self) -> Option<(String, u64)> {
        #[derive(Deserialize)]
        struct File {
            path: String,
            bytes: u64,
        }
        let File { path, bytes } = serde_json::from_slice(&self.record).ok()?;
        is_plain_path(&path).then_some((path, bytes))
    }
}

/// What killed runs noted in this folder and what can be trusted of it. Nothing if the folder is not there.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read(folder: &Path, boot: Option<&str>) -> io::Result<Vec<Noted>> {
    let mut noted = Vec::new();
    for path in paths(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let holds_in = name.split('-').next().unwrap_or_default();
        if holds_in != SYNCED && Some(holds_in) != boot {
            continue;
        }
        // The last line of a file may be torn, and says nothing then.
        let lines = fs::read(&path)?;
        noted.extend(lines.split(|byte| *byte == b'\n').filter_map(|line| {
            let line = serde_json::from_slice::<Line>(line).ok()?;
            Some(Noted { mark: line.mark, record: line.record.get().as_bytes().to_vec() })
        }));
    }
    Ok(noted)
}

fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(not_a_folder()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        if entry?.is_file() && path.extension().is_some_and(|extension| extension == "jsonl") {
            paths.push(path);
        }
    }
    Ok(paths)
}

impl Wal {
    /// A log in this folder, which is made with the first entry. `boot`: see [`boot_id`](crate::util::boot_id); `synced`:
    /// images are on the disk before they are noted.
    #[must_use]
    pub fn new(folder: PathBuf, boot: Option<&str>, synced: bool) -> Self {
        let holds_in = if synced { SYNCED } else { boot.unwrap_or("unknown") };
        Self { folder, holds_in: holds_in.to_owned(), synced, files: AtomicU64::new(0), current: Mutex::default() }
    }

    /// Forgets what killed runs had noted. To be called before the first entry of this run.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn clear(&self) -> io::Result<()> {
        paths(&self.folder)?.iter().try_for_each(fs::remove_file)
    }

    /// Notes that this file is about to be published, and its record.
    ///
    /// # Errors
    /// When that cannot be written. Then the file must not be published.
    pub fn append(&self, Mark { inode, modified }: Mark, record: &[u8]) -> io::Result<WalEntry> {
        let mut line = Vec::with_capacity(record.len() + 80);
        write!(line, "{{\"mark\":{{\"inode\":{inode},\"modified\":{modified}}},\"record\":")?;
        line.extend_from_slice(record);
        line.extend_from_slice(b"}\n");
        let log = self.current()?;
        log.length.fetch_add(line.len() as u64, Ordering::Relaxed);
        // Appended in one call: lines of several threads do not mix.
        let written = (&log.file).write_all(&line);
        // The name of the file is soon on the disk, and the entry has to be there first.
        if let Err(error) = written.and_then(|()| if self.synced { log.file.sync_data() } else { Ok(()) }) {
            // What follows a torn line would be lost with it.
            *lock(&self.current) = None;
            return Err(error);
        }
        Ok(WalEntry(Some(log)))
    }

    fn current(&self) -> io::Result<Arc<LogFile>> {
        let mut current = lock(&self.current);
        if let Some(log) = current.as_ref().filter(|log| log.length.load(Ordering::Relaxed) < MAX_FILE_BYTES) {
            return Ok(Arc::clone(log));
        }
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{}-{number:06}.jsonl", self.holds_in));
        let log = Arc::new(LogFile::create(path, self.synced)?);
        *current = Some(Arc::clone(&log));
        Ok(log)
    }
}

impl LogFile {
    fn create(path: PathBuf, synced: bool) -> io::Result<Self> {
        let create = |path: &Path| OpenOptions::new().append(true).create_new(true).open(path);
        let folder = path.parent().unwrap_or(Path::new("."));
        let file = match create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The folder above has to be there: if it was removed, all of the output was.
                match fs::create_dir(folder) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => create(&path),
                }
            }
            made => made,
        }?;
        if synced {
            // The folder may be as new as the file.
            folder.ancestors().take(2).try_for_each(|folder| File::open(folder)?.sync_all())?;
        }
        Ok(Self { path, file, length: AtomicU64::new(0), is_kept: AtomicBool::new(false) })
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        if !*self.is_kept.get_mut() {
            // If it cannot be removed, the next run reads it and finds its records in the journal.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(inode: u64) -> Mark {
        Mark { inode, modified: 1_700_000_000_123_456_789 }
    }

    fn noted(inode: u64, record: &str) -> Noted {
        Noted { mark: mark(inode), record: record.into() }
    }

    fn wal(folder: &Path, boot: &str, synced: bool) -> Wal {
        Wal::new(folder.join(FOLDER), Some(boot), synced)
    }

    #[test]
    fn what_was_noted_by_a_killed_run_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let killed = wal(folder.path(), "boot", false);
        assert_eq!(read(&folder.path().join(FOLDER), Some("boot")).expect("left"), [], "there is no folder yet");
        let done = killed.append(mark(1), br#"{"a":1}"#).expect("append");
        done.release();
        let open = killed.append(mark(2), br#"{"b":[2]}"#).expect("append");
        std::mem::forget((killed, open));

        let next = wal(folder.path(), "boot", false);
        assert_eq!(
            read(&folder.path().join(FOLDER), Some("boot")).expect("left"),
            [noted(1, r#"{"a":1}"#), noted(2, r#"{"b":[2]}"#)]
        );
        assert_eq!(
            read(&folder.path().join(FOLDER), Some("other")).expect("left"),
            [],
            "power may have been lost in between"
        );
        assert_eq!(read(&folder.path().join(FOLDER), None).expect("left"), []);
        next.clear().expect("clear");
        assert_eq!(read(&folder.path().join(FOLDER), Some("boot")).expect("left"), []);
    }

    #[test]
    fn what_was_on_the_disk_before_it_was_noted_holds_for_every_boot() {
        let folder = tempfile::tempdir().expect("a folder");
        let killed = wal(folder.path(), "boot", true);
        std::mem::forget(killed.append(mark(7), b"{}").expect("append"));
        assert_eq!(read(&folder.path().join(FOLDER), Some("other")).expect("left"), [noted(7, "{}")]);
        assert_eq!(read(&folder.path().join(FOLDER), None).expect("left"), [noted(7, "{}")]);
    }

    #[test]
    fn files_of_notes_go_when_all_their_records_are_written_and_stay_when_they_cannot_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let count = || fs::read_dir(folder.path().join(FOLDER)).map_or(0, Iterator::count);
        let run = wal(folder.path(), "boot", false);
        let long = vec![b' '; 300_000];
        let mut notes = (0..9).map(|inode| run.append(mark(inode), &long).expect("append")).collect::<Vec<_>>();
        assert_eq!(count(), 3);
        notes.drain(..4).for_each(WalEntry::release);
        assert_eq!(count(), 2, "the oldest has no open note any more");
        let last = notes.pop();
        notes.drain(..).for_each(WalEntry::release);
        assert_eq!(count(), 1);
        drop(last);
        drop(run);
        assert_eq!(count(), 1, "kept for the next run");
    }

    #[test]
    fn a_torn_line_harms_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join(FOLDER)).expect("a folder");
        let text = "{\"mark\":{\"inode\":1,\"modified\":1700000000123456789},\"record\":{}}\n\0\u{1b}\n{\"mark\":{\"inode\":2,\"modified\":1700000000123456789},\"record\":{}}\n{\"mark\":{\"inode\":3";
        fs::write(folder.path().join("intents/boot-000000.jsonl"), text).expect("write");
        assert_eq!(read(&folder.path().join(FOLDER), Some("boot")).expect("left"), [noted(1, "{}"), noted(2, "{}")]);
    }
}
