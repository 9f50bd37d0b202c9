//! The bytes of one body on their way.
//!
//! A body of up to 256 KiB waits in memory, and is written in one go when it is complete. A larger one goes through a
//! named part file under `.fetchimg/parts`, and so does one that rests: the memory is for those that move. What is
//! dropped before it is complete stays there if a later run can go on with it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use bytes::Bytes;
use url::Url;

use super::folder::{Folder, remove_if_there};
use super::resume::{HASH_DIGITS, Origin, Unfinished, telling_name};
use crate::record::url_hash;

/// A body of up to so many bytes waits in memory until it is complete, and needs no part file. The median picture of the
/// web has 23 KB, and hardly one in a hundred has more; were they all just below, 256 downloads at once would hold 64 MiB.
pub(in crate::sink) const SMALL: usize = 256 * 1024;

/// So much of a larger one waits before it is written.
pub(in crate::sink) const BUFFER: usize = 64 * 1024;

/// From so many bytes on a call of the system costs less than a copy into the buffer.
const LARGE: usize = 16 * 1024;

/// Less of a body is fetched again sooner than a file of its own is made for it, looked through and removed.
const WORTH_KEEPING: u64 = BUFFER as u64;

/// The bytes of one body on their way.
#[derive(Debug)]
pub struct Body<'a> {
    pub(in crate::sink) files: &'a Folder,
    pub(in crate::sink) origin: Option<Origin<'a>>,
    pub(in crate::sink) buffer: Vec<u8>,
    /// So many bytes fit into it.
    room: usize,
    /// The end of the body, where it is known to be that: it goes into the file as it came. Others would keep the memory
    /// of a whole read for themselves while more is awaited.
    pub(in crate::sink) end: Bytes,
    /// The length of the whole, if that is known.
    expected: Option<u64>,
    pub(in crate::sink) file: Option<Named>,
    length: u64,
}

impl Folder {
    /// A place for a body of about `expected` bytes, if that is known. With its `origin`, what there is of it is kept
    /// when it is dropped, unless that is hardly anything.
    #[must_use]
    pub fn begin<'a>(&'a self, expected: Option<u64>, origin: Option<Origin<'a>>) -> Body<'a> {
        let room = if expected.is_some_and(|expected| expected > SMALL as u64) { BUFFER } else { SMALL };
        let (buffer, end) = (Vec::new(), Bytes::new());
        Body { files: self, origin, buffer, room, end, expected, file: None, length: 0 }
    }

    /// What an earlier run has of the body at this URL, if it can be gone on with.
    #[must_use]
    pub fn left<'a>(&'a self, url: &'a Url) -> Option<Body<'a>> {
        if self.left.is_empty() {
            return None;
        }
        let Unfinished { path, length, source, validator, total } = self.left.get(&url_hash(url)[..HASH_DIGITS])?;
        // It is asked for once in a run; a second pass over the list finds it gone, or as the first one left it.
        let found = fs::symlink_metadata(path).ok().filter(|found| found.is_file() && found.len() == *length)?;
        let origin = Origin { url, source: *source, validator: validator.clone(), total: *total };
        let file = Some(Named { file: None, path: path.clone(), stays: true });
        let (buffer, end) = (Vec::new(), Bytes::new());
        let (expected, length) = (*total, found.len());
        Some(Body { files: self, origin: Some(origin), buffer, room: BUFFER, end, expected, file, length })
    }

    /// A part file. Its name says what a later run must know to go on with it, or else is a mere number.
    pub(in crate::sink) fn new_part(&self, origin: Option<&Origin>) -> io::Result<Named> {
        let telling = origin.zip(self.boot.as_deref()).and_then(|(origin, boot)| telling_name(origin, boot));
        let stays = telling.is_some();
        let name = telling.unwrap_or_else(|| self.next_number());
        let path = self.private("parts").join(name);
        remove_if_there(&path)?;
        let file = OpenOptions::new().create_new(true).write(true).open(&path)?;
        Ok(Named { file: Some(file), path, stays })
    }
}

impl Body<'_> {
    /// Takes the next bytes.
    pub fn write(&mut self, bytes: &Bytes) -> io::Result<()> {
        let written = self.append(bytes);
        self.or_nothing_more(written)
    }

    /// When a write has failed halfway, what the file has is the beginning of the body all the same, and a later run can
    /// go on with it; but nothing may come behind it, for nobody knows where it ends.
    fn or_nothing_more<T>(&mut self, written: io::Result<T>) -> io::Result<T> {
        if written.is_err() {
            (self.buffer, self.end) = (Vec::new(), Bytes::new());
            if self.file.is_none() {
                self.origin = None;
            }
        }
        written
    }

    fn append(&mut self, bytes: &Bytes) -> io::Result<()> {
        if self.file.is_none() && self.expected == Some(self.length + bytes.len() as u64) && self.end.is_empty() {
            self.end = bytes.clone();
            self.length += bytes.len() as u64;
            return Ok(());
        }
        let end = std::mem::take(&mut self.end);
        self.buffer.extend_from_slice(&end);
        let is_full = self.buffer.len() + bytes.len() > self.room;
        // What is in a file already, and comes in large amounts, is not copied once more.
        let is_large = bytes.len() > LARGE && (is_full || self.file.is_some());
        if is_full || is_large {
            let file = match &mut self.file {
                Some(file) => file,
                empty => empty.insert(self.files.new_part(self.origin.as_ref())?),
            };
            let file = file.open()?;
            if !self.buffer.is_empty() {
                file.write_all(&self.buffer)?;
                self.buffer.clear();
            }
            if self.room > BUFFER {
                self.room = BUFFER;
                self.buffer.shrink_to(BUFFER);
            }
            if is_large {
                file.write_all(bytes)?;
            }
        }
        if !is_large {
            if self.buffer.capacity() == 0 {
                let expected = self.expected.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
                self.buffer.reserve_exact(expected.min(self.room));
            }
            self.buffer.extend_from_slice(bytes);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Gives back the memory and the open file until more comes: many bodies may rest at once.
    pub fn rest(&mut self) -> io::Result<()> {
        let named = match &mut self.file {
            Some(named) => named,
            empty => empty.insert(self.files.new_part(self.origin.as_ref())?),
        };
        let written = named.open().and_then(|file| write_both(file, &self.buffer, &self.end));
        named.file = None;
        self.or_nothing_more(written)?;
        (self.buffer, self.room, self.end) = (Vec::new(), BUFFER, Bytes::new());
        Ok(())
    }

    /// Shows what an earlier run has left, block by block, as long as it is `wanted`. Whether it was so to the end.
    pub fn each_block(&self, mut wanted: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
        let Some(named) = &self.file else { return Ok(true) };
        let mut file = File::open(&named.path)?;
        let mut block = vec![0; BUFFER];
        loop {
            match file.read(&mut block)? {
                0 => return Ok(true),
                length if wanted(&block[..length]) => {}
                _ => return Ok(false),
            }
        }
    }

    /// What the body is known by, if it can be gone on with.
    #[must_use]
    pub const fn origin(&self) -> Option<&Origin<'_>> {
        self.origin.as_ref()
    }

    /// Gives the body up: no later run is to go on with it.
    pub fn discard(mut self) {
        self.origin = None;
        if let Some(named) = &mut self.file {
            named.stays = false;
        }
    }

    /// Bytes taken so far.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// All bytes taken so far, to be read from anywhere.
    pub fn whole(&mut self) -> io::Result<BodyReader<'_>> {
        let end = std::mem::take(&mut self.end);
        if let Some(named) = &mut self.file {
            let written = named.open().and_then(|file| write_both(file, &self.buffer, &end));
            let stored = written.and_then(|()| File::open(&named.path));
            self.buffer.clear();
            return self.or_nothing_more(stored).map(BodyReader::Stored);
        }
        if self.buffer.is_empty() {
            self.end = end;
            return Ok(BodyReader::InMemory(Cursor::new(&self.end)));
        }
        self.buffer.extend_from_slice(&end);
        Ok(BodyReader::InMemory(Cursor::new(&self.buffer)))
    }

    /// The same for somebody who takes his time elsewhere: what is in memory is copied.
    pub fn detached(&mut self) -> io::Result<OwnedBody> {
        Ok(match self.whole()? {
            BodyReader::InMemory(bytes) => OwnedBody::InMemory(Cursor::new(bytes.into_inner().to_vec())),
            BodyReader::Stored(file) => OwnedBody::Stored(file),
        })
    }

    /// Whether the file of that name has the same bytes.
    pub fn is_the_same_as(&mut self, path: &str) -> io::Result<bool> {
        if self.files.size(path) != Some(self.length) {
            return Ok(false);
        }
        let there = match File::open(self.files.root.join(path)) {
            // It has gone since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            there => there?,
        };
        let mut there = io::BufReader::with_capacity(BUFFER, there);
        let mut here = io::BufReader::with_capacity(BUFFER, self.whole()?);
        loop {
            let (left, right) = (here.fill_buf()?, there.fill_buf()?);
            let length = left.len().min(right.len());
            if left[..length] != right[..length] || length == 0 {
                return Ok(left.is_empty() && right.is_empty());
            }
            here.consume(length);
            there.consume(length);
        }
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        // It has been published or given up, or nobody could go on with it.
        let Some(origin) = self.origin.take() else { return };
        // Its end makes a body whole, and of that there is no rest to ask for.
        if self.length - (self.end.len() as u64) < WORTH_KEEPING {
            self.file.iter_mut().for_each(|named| named.stays = false);
            return;
        }
        let named = match self.file.take() {
            Some(named) => Ok(named),
            None => self.files.new_part(Some(&origin)),
        };
        // Less of it than there could be is as good for a later run.
        let _ = named.and_then(|mut named| {
            let has_more = named.stays && !self.buffer.is_empty();
            if has_more { named.open()?.write_all(&self.buffer) } else { Ok(()) }
        });
    }
}

/// A part file. Its name disappears with it, unless it stays for a later run.
#[derive(Debug)]
pub(in crate::sink) struct Named {
    /// Closed while the body rests.
    file: Option<File>,
    pub(in crate::sink) path: PathBuf,
    pub(in crate::sink) stays: bool,
}

impl Named {
    /// The file, open at its end.
    pub(in crate::sink) fn open(&mut self) -> io::Result<&mut File> {
        Ok(match &mut self.file {
            Some(file) => file,
            closed => closed.insert(OpenOptions::new().append(true).open(&self.path)?),
        })
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if !self.stays {
            // When it has been published there is nothing left to remove, and nobody to tell about anything else.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The bytes of a body, wherever they are.
#[derive(Debug)]
pub enum BodyReader<'a> {
    /// All in memory.
    InMemory(Cursor<&'a [u8]>),
    /// In its part file.
    Stored(File),
}

impl Read for BodyReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::InMemory(bytes) => bytes.read(into),
            Self::Stored(file) => file.read(into),
        }
    }
}

impl Seek for BodyReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::InMemory(bytes) => bytes.seek(to),
            Self::Stored(file) => file.seek(to),
        }
    }
}

/// The bytes of a body on their own.
#[derive(Debug)]
pub enum OwnedBody {
    /// All in memory.
    InMemory(Cursor<Vec<u8>>),
    /// In the part file.
    Stored(File),
}

impl Read for OwnedBody {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::InMemory(bytes) => bytes.read(into),
            Self::Stored(file) => file.read(into),
        }
    }
}

/// Writes what waits of a body, mostly in one call.
pub(in crate::sink) fn write_both(file: &mut File, buffer: &[u8], end: &[u8]) -> io::Result<()> {
    [buffer, end].into_iter().filter(|bytes| !bytes.is_empty()).try_for_each(|bytes| file.write_all(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::folder::testing::parts;
    use super::*;
    use crate::sink::{OnConflict, Published};

    #[test]
    fn a_body_that_rests_holds_nothing_and_goes_on_where_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Folder::open(folder.path(), false, None).expect("open");
        for size in [10, 3 * SMALL + 7] {
            let bytes = (0..=250).cycle().take(size).collect::<Vec<u8>>();
            let mut part = files.begin(None, None);
            for piece in bytes.chunks(size / 3) {
                part.write(&Bytes::copy_from_slice(piece)).expect("write");
                part.rest().expect("rest");
                assert_eq!(part.buffer.capacity(), 0);
                assert!(part.file.as_ref().is_some_and(|named| named.file.is_none()));
            }
            assert_eq!(part.commit("a.png", OnConflict::Replace, |_| Ok(())).expect("commit"), Published::Done);
            assert_eq!(fs::read(folder.path().join("a.png")).expect("read"), bytes);
            assert_eq!(parts(&files), 0);
        }
    }

    #[test]
    fn what_is_kept_of_a_body_is_its_beginning_though_a_write_failed_halfway() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Folder::open(folder.path(), false, Some("boot".into())).expect("open");
        let url = Url::parse("http://a.example/a.png").expect("a URL");
        let body = (0..=250).cycle().take(SMALL + 3 * BUFFER).collect::<Vec<u8>>();
        let origin = Origin { url: &url, source: 1, validator: (*b"\"1\"").into(), total: Some(body.len() as u64) };
        let mut part = files.begin(Some(body.len() as u64), Some(origin));
        let (first, rest) = body.split_at(body.len() - 100);
        first.chunks(1000).for_each(|piece| part.write(&Bytes::copy_from_slice(piece)).expect("write"));
        // As on a disk that is full: nothing can be written there any more.
        let named = part.file.as_mut().expect("a file");
        named.file = Some(File::open(&named.path).expect("open"));
        let path = named.path.clone();
        part.write(&Bytes::copy_from_slice(rest)).expect("room in memory");
        assert!(part.whole().is_err());
        // And then there is room again.
        part.file.as_mut().expect("a file").file = None;
        drop(part);
        let kept = fs::read(path).expect("read");
        assert!(kept.len() >= BUFFER && body.starts_with(&kept), "{} bytes", kept.len());
    }
}
