//! The file of a journal: lines are appended through a buffer and read back by their offsets.
//!
//! A dry run must not change the journal. It opens the file of earlier runs read-only as a base and appends its own lines to
//! a temporary file. The offsets of these lines continue at the end of the base.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::record::RunError;
use crate::util::private_file;

/// Appended lines are written once they have this many bytes, if they are not flushed earlier.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;

/// The longest line that is read as a record. A row of a list has at most 1 MiB, and JSON may need 6 bytes for one; the
/// rest of a record is far shorter than what is left.
pub(super) const MAX_LINE_BYTES: usize = 16 << 20;

/// An append-only file of lines.
#[derive(Debug)]
pub(super) struct LineFile {
    path: PathBuf,
    /// The lines of earlier runs, for a dry run.
    base: Option<ReadOnlyBase>,
    /// Where lines are appended. With a base it is a temporary file, which is created by the first flush.
    file: Option<File>,
    /// Appended lines that are not in the file yet.
    unwritten: Vec<u8>,
    /// The offset at which `unwritten` begins.
    written: u64,
}

/// A file of earlier runs that is read and never changed.
#[derive(Debug)]
struct ReadOnlyBase {
    /// `None` if there is no such file.
    file: Option<File>,
    length: u64,
}

/// A line, when the file is written anew.
pub(super) struct LineToRewrite<'a> {
    /// The old file, for other lines.
    pub file: &'a File,
    /// Where the line begins in it.
    pub offset: u64,
    /// Where it begins in the new file, if it stays.
    pub new_offset: u64,
    /// The line, without its line feed.
    pub line: &'a [u8],
}

/// What becomes of a line.
pub(super) enum Rewritten {
    /// It is left out.
    Gone,
    /// It stays.
    AsItIs,
    /// This is in its place.
    Anew(Vec<u8>),
}

/// The end of a file as a run has left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileEnd {
    /// The last line is complete, perhaps without its line feed.
    Complete,
    /// The last line is part of a record: the run was killed while it was writing.
    Torn,
}

impl LineFile {
    /// Opens the file, or creates it, and reads its lines. An incomplete last line is removed.
    ///
    /// `on_line` gets the file, and the offset and the text of each line, and returns whether it is a record.
    pub fn open(path: &Path, mut on_line: impl FnMut(&File, u64, &[u8]) -> bool) -> Result<Self, RunError> {
        let fail = |source| RunError::Output { path: path.to_owned(), source };
        let file = private_file::open(OpenOptions::new().create(true).append(true).read(true), path).map_err(fail)?;
        let mut lines = Self::new(path);
        if lines.read_all(&file, &mut on_line).map_err(fail)? == FileEnd::Torn {
            file.set_len(lines.written).map_err(fail)?;
        }
        lines.file = Some(file);
        Ok(lines)
    }

    /// Opens the file read-only, if it exists, and reads its lines. Nothing is created or changed in its folder: appended
    /// lines go to a temporary file.
    ///
    /// `on_line` gets the file, and the offset and the text of each line, and returns whether it is a record.
    pub fn open_overlay(path: &Path, mut on_line: impl FnMut(&File, u64, &[u8]) -> bool) -> Result<Self, RunError> {
        let fail = |source| RunError::Output { path: path.to_owned(), source };
        let mut lines = Self::new(path);
        let file = match private_file::open(OpenOptions::new().read(true), path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(fail)?),
        };
        if let Some(file) = &file {
            lines.read_all(file, &mut on_line).map_err(fail)?;
        }
        lines.base = Some(ReadOnlyBase { file, length: lines.written });
        Ok(lines)
    }

    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), base: None, file: None, unwritten: Vec::new(), written: 0 }
    }

    fn read_all(&mut self, file: &File, on_line: &mut impl FnMut(&File, u64, &[u8]) -> bool) -> io::Result<FileEnd> {
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let mut line = Vec::new();
        loop {
            let Line { length, is_ended } = read_line(&mut reader, &mut line)?;
            let is_record = line.len() as u64 == length && on_line(file, self.written, &line);
            if !is_ended {
                // The end of the file, or a line that was not written completely. If only its line feed is missing, the
                // line is a record and gets one.
                if is_record {
                    self.written += length;
                    self.unwritten.push(b'\n');
                }
                return Ok(if !is_record && length > 0 { FileEnd::Torn } else { FileEnd::Complete });
            }
            self.written += length;
        }
    }

    /// Whether a line was appended by a dry run, and not written by an earlier run.
    pub fn is_in_overlay(&self, offset: u64) -> bool {
        self.base.as_ref().is_some_and(|base| offset >= base.length)
    }

    /// Appends a line, which is given without its line feed, to the buffer. Returns its offset.
    pub fn append(&mut self, line: &[u8]) -> u64 {
        let offset = self.end();
        self.unwritten.extend_from_slice(line);
        self.unwritten.push(b'\n');
        offset
    }

    /// The line at an offset, without its line feed.
    pub fn line(&mut self, offset: u64) -> Result<Vec<u8>, RunError> {
        if offset >= self.written {
            self.flush()?;
        }
        let mut line = Vec::with_capacity(512);
        let (file, position) = match &mut self.base {
            Some(ReadOnlyBase { file, length }) if offset < *length => (file, offset),
            Some(ReadOnlyBase { length, .. }) => (&mut self.file, offset - *length),
            None => (&mut self.file, offset),
        };
        let read = match file {
            Some(file) => file.seek(SeekFrom::Start(position)).and_then(|_| {
                read_line(&mut BufReader::with_capacity(1024, Read::by_ref(file)), &mut line).map(|_| ())
            }),
            // Nothing was ever written.
            None => Ok(()),
        };
        read.map_err(|source| self.failed(source))?;
        line.pop_if(|last| *last == b'\n');
        Ok(line)
    }

    /// The offset at which the next line is appended.
    pub fn end(&self) -> u64 {
        self.written + self.unwritten.len() as u64
    }

    /// Calls `each` with the offset and the text of each line, without its line feed. Writes the appended lines first.
    pub fn for_each(&mut self, mut each: impl FnMut(u64, &[u8])) -> Result<(), RunError> {
        self.flush()?;
        let (base, begin) = self.base.as_mut().map_or((None, 0), |base| (base.file.as_mut(), base.length));
        let files = [(base, 0, begin), (self.file.as_mut(), begin, u64::MAX)];
        let read = files.into_iter().try_for_each(|(file, begin, length)| {
            file.map_or(Ok(()), |file| each_line(file, length, |offset, line| each(begin + offset, line)))
        });
        read.map_err(|source| self.failed(source))
    }

    /// Writes the lines anew to the file `beside`, which then takes the place of this one in one step. `each` is called for
    /// each line. `is_wanted` decides at the end whether the new file is used. Returns whether it is. If the program is
    /// killed, the file under the old name is whole, be it the old one or the new one.
    pub fn rewrite(
        &mut self,
        beside: &Path,
        mut each: impl FnMut(LineToRewrite) -> io::Result<Rewritten>,
        is_wanted: impl FnOnce() -> bool,
    ) -> io::Result<bool> {
        self.flush().map_err(io::Error::other)?;
        let Some(file) = &mut self.file else { return Ok(false) };
        private_file::remove_if_there(beside)?;
        let new = private_file::open(OpenOptions::new().create_new(true).append(true).read(true), beside)?;
        new.set_permissions(file.metadata()?.permissions())?;
        let mut out = BufWriter::with_capacity(1 << 18, &new);
        let (reader, mut new_offset, mut written) = (file.try_clone()?, 0, Ok(()));
        let mut write = |line: &[u8], new_offset: &mut u64| {
            *new_offset += line.len() as u64 + 1;
            out.write_all(line).and_then(|()| out.write_all(b"\n"))
        };
        each_line(file, u64::MAX, |offset, line| {
            if written.is_ok() {
                let decided = each(LineToRewrite { file: &reader, offset, new_offset, line });
                written = decided.and_then(|decided| match decided {
                    Rewritten::Gone => Ok(()),
                    Rewritten::AsItIs => write(line, &mut new_offset),
                    Rewritten::Anew(line) => write(&line, &mut new_offset),
                });
            }
        })?;
        written?;
        out.flush()?;
        drop(out);
        if !is_wanted() {
            private_file::remove_if_there(beside)?;
            return Ok(false);
        }
        // Its bytes are on the disk before it has the name, so that a loss of power leaves one of the two.
        new.sync_all()?;
        fs::rename(beside, &self.path)?;
        (self.file, self.written) = (Some(new), new_offset);
        Ok(true)
    }

    /// Makes the name of a new file survive a loss of power, so that what is appended from now on does.
    pub fn sync_name(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Writes the appended lines if there are enough of them.
    pub fn flush_if_full(&mut self) -> Result<(), RunError> {
        if self.unwritten.len() >= WRITE_BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the appended lines to the file.
    pub fn flush(&mut self) -> Result<(), RunError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let (path, base) = (&self.path, self.base.as_ref());
        let fail = |source| {
            let path = if base.is_some() { "a temporary file".into() } else { path.clone() };
            RunError::Output { path, source }
        };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile().map_err(fail)?),
        };
        let length = self.written - base.map_or(0, |base| base.length);
        // The journal is opened for appending and is written at its end, wherever the last read was. The temporary file is
        // not, so its position is set here.
        let at_end = file.seek(SeekFrom::Start(length));
        if let Err(source) = at_end.and_then(|_| file.write_all(&self.unwritten)) {
            // Remove what was written of these lines, for the next attempt writes them again. If that fails too, a torn line
            // stays.
            let _ = file.set_len(length);
            return Err(fail(source));
        }
        self.written += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    /// Makes the lines in the file survive a loss of power (`fdatasync`).
    pub fn sync(&self) -> Result<(), RunError> {
        self.file.as_ref().map_or(Ok(()), File::sync_data).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> RunError {
        RunError::Output { path: self.path.clone(), source }
    }
}

/// The extent of a line in the file.
pub(super) struct Line {
    /// The number of bytes, with the line feed.
    pub length: u64,
    /// Whether it ends in a line feed, and not at the end of the file.
    is_ended: bool,
}

/// Calls `each` with the offset and the text of each line in the first `length` bytes of the file.
fn each_line(file: &mut File, length: u64, mut each: impl FnMut(u64, &[u8])) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(1 << 18, Read::by_ref(file).take(length));
    let (mut line, mut offset) = (Vec::new(), 0);
    loop {
        let Line { length, is_ended } = read_line(&mut reader, &mut line)?;
        if length == 0 {
            return Ok(());
        }
        line.pop_if(|last| is_ended && *last == b'\n');
        each(offset, &line);
        offset += length;
    }
}

/// Reads a line with its line feed. Of a line that is too long for a record, which may be a hole that a loss of power
/// has left, only the beginning is kept.
pub(super) fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let mut length = 0;
    loop {
        let bytes = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        let end = memchr::memchr(b'\n', bytes).map(|position| position + 1);
        let taken = end.unwrap_or(bytes.len());
        line.extend_from_slice(&bytes[..taken.min(MAX_LINE_BYTES - line.len())]);
        length += taken as u64;
        reader.consume(taken);
        if end.is_some() || taken == 0 {
            return Ok(Line { length, is_ended: end.is_some() });
        }
    }
}

/// The line at an offset of a file, without changing the position of the file.
pub(super) fn line_at(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    /// A file that is read from a position of its own.
    struct At<'a>(&'a File, u64);

    impl Read for At<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read_at(buffer, self.1)?;
            self.1 += count as u64;
            Ok(count)
        }
    }

    let mut line = Vec::with_capacity(512);
    read_line(&mut BufReader::with_capacity(1024, At(file, offset)), &mut line)?;
    Ok(line)
}

impl Drop for LineFile {
    fn drop(&mut self) {
        // Lines are left only if the run is ended at once. Then there is no caller to report an error to.
        if self.base.is_none() {
            let _ = self.flush();
        }
    }
}
