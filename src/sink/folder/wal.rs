//! What is about to be published, noted before it happens.
//!
//! A file appears under its name first and has its record in the journal a moment later. A run that is killed in that
//! moment would leave a file that nobody knows of, which the next run would have to take for somebody else's. So the
//! record is written here before the file appears, with a mark of the file, and goes when it is in the journal.
//! What a run finds here when it begins was noted by one that was killed: the record holds if its very file is there.
//!
//! The notes are lines in small files, each removed when the last of its records has been written elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::value::RawValue;

/// So many bytes of notes go into one file, about 2,500 of them.
const ENOUGH: u64 = 1 << 20;

/// Stands for the boot in the names of notes about files that were on the disk before they had a name (`--fsync`).
const SYNCED: &str = "synced";

/// Where the notes of a run go.
#[derive(Debug)]
pub struct Wal {
    folder: PathBuf,
    /// What the files' names begin with: when what they say can be trusted.
    holds_in: String,
    synced: bool,
    files: AtomicU64,
    current: Mutex<Option<Arc<Notes>>>,
}

/// One file of notes. It goes with its last owner.
#[derive(Debug)]
struct Notes {
    path: PathBuf,
    file: File,
    length: AtomicU64,
    stays: AtomicBool,
}

/// A note on one file. Whoever drops it without a word that it is [`WalEntry::done`] leaves it to the next run.
#[derive(Debug)]
#[must_use = "the note stays until it is said to be done"]
pub struct WalEntry(Option<Arc<Notes>>);

impl WalEntry {
    /// The record is in the journal, or nothing came of it.
    pub fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for WalEntry {
    fn drop(&mut self) {
        if let Some(notes) = &self.0 {
            notes.stays.store(true, Ordering::Relaxed);
        }
    }
}

/// What tells a file from every other one there ever was under its name: numbers of inodes are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Mark {
    /// The number of its inode.
    pub inode: u64,
    /// When its bytes were last written, in nanoseconds since 1970.
    pub modified: i64,
}

impl Mark {
    /// That of the file with these data.
    #[must_use]
    pub fn of(file: &fs::Metadata) -> Self {
        Self { inode: file.ino(), modified: file.mtime().saturating_mul(1_000_000_000) + file.mtime_nsec() }
    }
}

/// What a killed run had noted.
#[derive(Debug, PartialEq, Eq)]
pub struct Noted {
    /// Which file it is about.
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

impl Wal {
    /// Notes in a folder, which is made with the first of them. `boot`: see [`crate::util::boot_id::id`]; `synced`: files are on
    /// the disk before they are noted.
    #[must_use]
    pub fn new(folder: PathBuf, boot: Option<&str>, synced: bool) -> Self {
        let holds_in = if synced { SYNCED } else { boot.unwrap_or("unknown") };
        Self { folder, holds_in: holds_in.to_owned(), synced, files: AtomicU64::new(0), current: Mutex::default() }
    }

    /// What killed runs had noted and can be trusted. Nothing if there are no notes.
    pub fn left(&self, boot: Option<&str>) -> io::Result<Vec<Noted>> {
        let mut noted = Vec::new();
        for path in self.paths()? {
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

    /// Forgets what killed runs had noted. To be called before the first note of this one.
    pub fn clear(&self) -> io::Result<()> {
        self.paths()?.iter().try_for_each(fs::remove_file)
    }

    fn paths(&self) -> io::Result<Vec<PathBuf>> {
        match fs::symlink_metadata(&self.folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder, or a link to one")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
            if entry?.is_file() && path.extension().is_some_and(|extension| extension == "jsonl") {
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// Notes that this file is about to be published, and what its record will be.
    pub fn note(&self, Mark { inode, modified }: Mark, record: &[u8]) -> io::Result<WalEntry> {
        let mut line = Vec::with_capacity(record.len() + 80);
        write!(line, "{{\"mark\":{{\"inode\":{inode},\"modified\":{modified}}},\"record\":")?;
        line.extend_from_slice(record);
        line.extend_from_slice(b"}\n");
        let notes = self.current()?;
        notes.length.fetch_add(line.len() as u64, Ordering::Relaxed);
        // Appended in one call: lines of several threads do not mix.
        let written = (&notes.file).write_all(&line);
        // The name of the file that it is about is soon on the disk, and the note has to be there first.
        if let Err(error) = written.and_then(|()| if self.synced { notes.file.sync_data() } else { Ok(()) }) {
            // Whatever follows a torn line is lost with it.
            *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
            return Err(error);
        }
        Ok(WalEntry(Some(notes)))
    }

    fn current(&self) -> io::Result<Arc<Notes>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notes) = current.as_ref().filter(|notes| notes.length.load(Ordering::Relaxed) < ENOUGH) {
            return Ok(Arc::clone(notes));
        }
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{}-{number:06}.jsonl", self.holds_in));
        let notes = Arc::new(Notes::create(path, self.synced)?);
        *current = Some(Arc::clone(&notes));
        Ok(notes)
    }
}

impl Notes {
    fn create(path: PathBuf, synced: bool) -> io::Result<Self> {
        let create = |path: &Path| OpenOptions::new().append(true).create_new(true).open(path);
        let folder = path.parent().unwrap_or(Path::new("."));
        let file = match create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The folder above has to be there; if it is gone, so is everything.
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
        Ok(Self { path, file, length: AtomicU64::new(0), stays: AtomicBool::new(false) })
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        if !*self.stays.get_mut() {
            // Nobody to tell; what stays is read by the next run, which finds the records in the journal.
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
        Wal::new(folder.join("wal"), Some(boot), synced)
    }

    #[test]
    fn what_was_noted_by_a_killed_run_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let killed = wal(folder.path(), "boot", false);
        assert_eq!(killed.left(Some("boot")).expect("left"), [], "there is no folder yet");
        let done = killed.note(mark(1), br#"{"a":1}"#).expect("note");
        done.done();
        let open = killed.note(mark(2), br#"{"b":[2]}"#).expect("note");
        std::mem::forget((killed, open));

        let next = wal(folder.path(), "boot", false);
        assert_eq!(next.left(Some("boot")).expect("left"), [noted(1, r#"{"a":1}"#), noted(2, r#"{"b":[2]}"#)]);
        assert_eq!(next.left(Some("other")).expect("left"), [], "power may have been lost in between");
        assert_eq!(next.left(None).expect("left"), []);
        next.clear().expect("clear");
        assert_eq!(next.left(Some("boot")).expect("left"), []);
    }

    #[test]
    fn what_was_on_the_disk_before_it_was_noted_holds_for_every_boot() {
        let folder = tempfile::tempdir().expect("a folder");
        let killed = wal(folder.path(), "boot", true);
        std::mem::forget(killed.note(mark(7), b"{}").expect("note"));
        assert_eq!(killed.left(Some("other")).expect("left"), [noted(7, "{}")]);
        assert_eq!(killed.left(None).expect("left"), [noted(7, "{}")]);
    }

    #[test]
    fn files_of_notes_go_when_all_their_records_are_written_and_stay_when_they_cannot_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let count = || fs::read_dir(folder.path().join("wal")).map_or(0, Iterator::count);
        let run = wal(folder.path(), "boot", false);
        let long = vec![b' '; 300_000];
        let mut notes = (0..9).map(|inode| run.note(mark(inode), &long).expect("note")).collect::<Vec<_>>();
        assert_eq!(count(), 3);
        notes.drain(..4).for_each(WalEntry::done);
        assert_eq!(count(), 2, "the oldest has no open note any more");
        let last = notes.pop();
        notes.drain(..).for_each(WalEntry::done);
        assert_eq!(count(), 1);
        drop(last);
        drop(run);
        assert_eq!(count(), 1, "kept for the next run");
    }

    #[test]
    fn a_torn_line_harms_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = wal(folder.path(), "boot", false);
        fs::create_dir(folder.path().join("wal")).expect("a folder");
        let text = "{\"mark\":{\"inode\":1,\"modified\":1700000000123456789},\"record\":{}}\n\0\u{1b}\n{\"mark\":{\"inode\":2,\"modified\":1700000000123456789},\"record\":{}}\n{\"mark\":{\"inode\":3";
        fs::write(folder.path().join("wal/boot-000000.jsonl"), text).expect("write");
        assert_eq!(run.left(Some("boot")).expect("left"), [noted(1, "{}"), noted(2, "{}")]);
    }
}
