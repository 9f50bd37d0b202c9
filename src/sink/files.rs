//! Files in a folder.
//!
//! A body of up to 256 KiB waits in memory and is written in one go into a file without a name, which is then linked
//! into place: complete from the moment it can be seen, and nothing to clean up when the program dies. A larger body
//! goes through a named part file under `.fetchimg/parts`, as does everything where the file system has no unnamed
//! files or an existing file is to be replaced. When it is known of which body it is a part ([`Origin`]), the part
//! file's name says so, and a later run can go on with it.
//!
//! All calls block. They are made on the threads that run the downloads, in line: handing every small file to a pool
//! of threads costs more than the files themselves.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom, Write};
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use rustix::fs::Access;
#[cfg(target_os = "linux")]
use rustix::fs::{Mode, OFlags};
use url::Url;

use crate::error::RunError;
use crate::job::url_hash;
use crate::own;

/// A body of up to so many bytes waits in memory until it is complete, and needs no part file. The median picture of the
/// web has 23 KB, and hardly one in a hundred has more; were they all just below, 256 downloads at once would hold 64 MiB.
const SMALL: usize = 256 * 1024;

/// So much of a larger one waits before it is written.
const BUFFER: usize = 64 * 1024;

/// From so many bytes on a call of the system costs less than a copy into the buffer.
const LARGE: usize = 16 * 1024;

/// The folder of everything that is no image, inside the output folder.
const PRIVATE: &str = ".fetchimg";

/// Less of a body is fetched again sooner than a file of its own is made for it, looked through and removed.
const WORTH_KEEPING: u64 = BUFFER as u64;

/// An unfinished body that no run has asked for in so long is removed.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// The output folder, held by this run alone.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    fsync: bool,
    boot: Option<String>,
    /// Whether there was nothing but what is fetchimg's own when the run began.
    was_empty: bool,
    /// What earlier runs have left unfinished, by the start of the URL's hash.
    left: HashMap<String, Left>,
    /// The folder itself: a path from here is shorter than one from the root of the system.
    #[cfg(target_os = "linux")]
    folder: OwnedFd,
    /// Whether files without a name can be made and linked here.
    unnamed: AtomicBool,
    /// Whether they can be linked by their descriptor.
    #[cfg(target_os = "linux")]
    by_descriptor: AtomicBool,
    parts: AtomicU64,
    /// Released by the system when the program ends, however it ends.
    _lock: File,
}

/// What to do when the name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// Leave the file that is there.
    New,
    /// Put the new one in its place.
    Replace,
}

/// Of which body a part is, so that a later run can go on with it.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    /// By what URL the list knows it.
    pub url: &'a Url,
    /// Where the answer came from, after redirects: a validator means something there alone (RFC 9110, section 8.8.1).
    pub source: u64,
    /// What the server calls this version of it.
    pub validator: Box<[u8]>,
    /// Its length in bytes, if that is known.
    pub total: Option<u64>,
}

/// A body that an earlier run has left unfinished.
#[derive(Debug)]
struct Left {
    path: PathBuf,
    length: u64,
    source: u64,
    validator: Box<[u8]>,
    total: Option<u64>,
}

/// How publishing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The file is there under its name.
    Done,
    /// There is another file of that name, and it stays.
    NameTaken,
}

/// What came of the wish to have a body as another name of a file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// The file has this name too.
    Done,
    /// There is another file of that name, and it stays.
    NameTaken,
    /// The bytes are the same, but one file cannot have two names here.
    Impossible,
    /// The file is gone, or its bytes are others.
    Differs,
}

/// Makes a folder inside one that is there. A symbolic link in its place may lead anywhere, and is no folder.
fn make_real_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_dir() {
                return Ok(());
            }
            Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder, or a link to one"))
        }
        made => made,
    }
}

impl Files {
    /// Makes the folder and what is private in it, and takes hold of it. `fsync`: flush each file and its folder;
    /// `boot`: see [`crate::boot::id`].
    pub fn open(root: &Path, fsync: bool, boot: Option<String>) -> Result<Self, RunError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Output { path, source }
        };
        let private = root.join(PRIVATE);
        let parts = private.join("parts");
        if root.metadata().is_ok_and(|found| !found.is_dir()) {
            return Err(at(root)(io::Error::new(io::ErrorKind::NotADirectory, "it is a file, not a folder")));
        }
        fs::create_dir_all(root).map_err(at(root))?;
        for folder in [&private, &parts] {
            make_real_folder(folder).map_err(at(folder))?;
        }
        let lock_path = private.join("lock");
        let lock = own::open(OpenOptions::new().create(true).truncate(false).write(true), &lock_path);
        let lock = lock.map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RunError::Busy(root.to_owned())),
            // Some network file systems have no locks. Two runs on one folder are then the user's care.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(at(&lock_path)(error)),
        }
        let left = look_through(&parts, boot.as_deref()).map_err(at(&parts))?;
        let was_empty = fs::read_dir(root).map_err(at(root))?.flatten().all(|entry| entry.file_name() == PRIVATE);
        Ok(Self {
            root: root.to_owned(),
            fsync,
            boot,
            was_empty,
            left,
            #[cfg(target_os = "linux")]
            folder: rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| at(root)(error.into()))?,
            unnamed: AtomicBool::new(cfg!(target_os = "linux")),
            #[cfg(target_os = "linux")]
            by_descriptor: AtomicBool::new(true),
            parts: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Whether what is stored has to survive a loss of power (`--fsync`).
    #[must_use]
    pub const fn syncs(&self) -> bool {
        self.fsync
    }

    /// With `--fsync`, makes the names of the folder, and of what is in it now, survive a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        if !self.fsync {
            return Ok(());
        }
        let above = self.root.parent().map(|above| if above == Path::new("") { Path::new(".") } else { above });
        sync_folder(&self.root.join(PRIVATE))?;
        sync_folder(&self.root)?;
        above.map_or(Ok(()), sync_folder)
    }

    /// The output folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes an image of so many bytes that another one has replaced under another name. A file of another size is
    /// not that image any more, and stays.
    pub fn remove(&self, path: &str, bytes: u64) -> io::Result<()> {
        if self.size(path) != Some(bytes) {
            return Ok(());
        }
        remove_if_there(&self.root.join(path))
    }

    /// A file of fetchimg's own inside the output folder.
    #[must_use]
    pub fn private(&self, name: &str) -> PathBuf {
        self.root.join(PRIVATE).join(name)
    }

    /// Whether the path leads to what is fetchimg's own.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        let private = self.root.join(PRIVATE).canonicalize();
        matches!((path.canonicalize(), private), (Ok(path), Ok(private)) if path.starts_with(&private))
    }

    /// The size of the regular file of that name, if there is one.
    #[must_use]
    pub fn size(&self, path: &str) -> Option<u64> {
        self.look_at(path).map(|found| found.len())
    }

    /// Whether the name is known to be taken, by whatever. In a folder that was empty nobody looks: every name is given
    /// once, and publishing looks in any case.
    #[must_use]
    pub fn is_taken(&self, path: &str) -> bool {
        !self.was_empty && fs::symlink_metadata(self.root.join(path)).is_ok()
    }

    /// What the system says about the regular file of that name, if there is one.
    #[must_use]
    pub fn look_at(&self, path: &str) -> Option<fs::Metadata> {
        fs::symlink_metadata(self.root.join(path)).ok().filter(fs::Metadata::is_file)
    }

    /// A place for a body of about `expected` bytes, if that is known. With its `origin`, what there is of it is kept
    /// when it is dropped, unless that is hardly anything.
    #[must_use]
    pub fn begin<'a>(&'a self, expected: Option<u64>, origin: Option<Origin<'a>>) -> Part<'a> {
        let room = if expected.is_some_and(|expected| expected > SMALL as u64) { BUFFER } else { SMALL };
        let (buffer, end) = (Vec::new(), Bytes::new());
        Part { files: self, origin, buffer, room, end, expected, file: None, length: 0 }
    }

    /// What an earlier run has of the body at this URL, if it can be gone on with.
    #[must_use]
    pub fn left<'a>(&'a self, url: &'a Url) -> Option<Part<'a>> {
        if self.left.is_empty() {
            return None;
        }
        let Left { path, length, source, validator, total } = self.left.get(&url_hash(url)[..HASH_DIGITS])?;
        // It is asked for once in a run; a second pass over the list finds it gone, or as the first one left it.
        let found = fs::symlink_metadata(path).ok().filter(|found| found.is_file() && found.len() == *length)?;
        let origin = Origin { url, source: *source, validator: validator.clone(), total: *total };
        let file = Some(Named { file: None, path: path.clone(), stays: true });
        let (buffer, end) = (Vec::new(), Bytes::new());
        let (expected, length) = (*total, found.len());
        Some(Part { files: self, origin: Some(origin), buffer, room: BUFFER, end, expected, file, length })
    }

    /// Makes the folders of a name, below the output folder only: when that is gone, somebody has removed it, and
    /// making it again would hide that.
    fn make_folders(&self, path: &str) -> io::Result<()> {
        path.match_indices('/').try_for_each(|(slash, _)| make_real_folder(&self.root.join(&path[..slash])))
    }

    /// Gives a name to a file that has none.
    #[cfg(target_os = "linux")]
    fn link(&self, file: &File, path: &str) -> Result<(), rustix::io::Errno> {
        use rustix::fs::{AtFlags, CWD, linkat};
        use rustix::io::Errno;
        use std::os::fd::AsRawFd;

        // By its descriptor: the shortest way, which kernels before 6.10 allow to the privileged alone.
        if self.by_descriptor.load(Ordering::Relaxed) {
            match linkat(file, "", &self.folder, path, AtFlags::EMPTY_PATH) {
                Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => self.by_descriptor.store(false, Ordering::Relaxed),
                linked => return linked,
            }
        }
        // The way through /proc needs no privilege; where there is no /proc, parts have names.
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        linkat(CWD, source, &self.folder, path, AtFlags::SYMLINK_FOLLOW)
    }

    /// With `--fsync`, makes the name of the file survive a loss of power, and those of the folders it is in: one of
    /// them may be new, and its maker not yet have got so far.
    fn sync_folders_of(&self, path: &str) -> io::Result<()> {
        if !self.fsync {
            return Ok(());
        }
        let folders = Path::new(path).ancestors().skip(1);
        folders.map(|folder| self.root.join(folder)).try_for_each(|folder| sync_folder(&folder))
    }

    /// Whether images can be stored at all. When not, it is no use to go on after a storage error.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        [&self.root, &self.private("parts")].into_iter().all(|folder| rustix::fs::access(folder, access).is_ok())
    }

    /// A name in the folder of parts that says nothing.
    fn next_number(&self) -> String {
        format!("{:06}.part", self.parts.fetch_add(1, Ordering::Relaxed))
    }

    /// A part file. Its name says what a later run must know to go on with it, or else is a mere number.
    fn new_part(&self, origin: Option<&Origin>) -> io::Result<Named> {
        let telling = origin.zip(self.boot.as_deref()).and_then(|(origin, boot)| telling_name(origin, boot));
        let stays = telling.is_some();
        let name = telling.unwrap_or_else(|| self.next_number());
        let path = self.private("parts").join(name);
        remove_if_there(&path)?;
        let file = OpenOptions::new().create_new(true).write(true).open(&path)?;
        Ok(Named { file: Some(file), path, stays })
    }
}

/// So many digits of a URL's hash tell its part from those of others; all 64 would leave too little of a name to the
/// validator.
const HASH_DIGITS: usize = 32;

/// The name of the part of a body: the hash of its URL, the boot in which it was written, its whole length, its source,
/// and its validator. `None` if that makes too long a name.
fn telling_name(origin: &Origin, boot: &str) -> Option<String> {
    let total = origin.total.map_or_else(|| "x".to_owned(), |total| total.to_string());
    let validator = URL_SAFE_NO_PAD.encode(&origin.validator);
    let (hash, source) = (url_hash(origin.url), origin.source);
    let name = format!("{}-{boot}-{total}-{source:016x}-{validator}.part", &hash[..HASH_DIGITS]);
    (name.len() <= 255).then_some(name)
}

/// What [`telling_name`] says, if it is about a body that can be gone on with: written since the system was started, for
/// a loss of power leaves holes, and not long ago.
fn told(path: PathBuf, found: &fs::Metadata, boot: Option<&str>) -> Option<(String, Left)> {
    let name = path.file_stem()?.to_str()?;
    let mut words = name.splitn(5, '-');
    let (hash, written_in, total) = (words.next()?, words.next()?, words.next()?);
    let (source, validator) = (u64::from_str_radix(words.next()?, 16).ok()?, words.next()?);
    let total = match total {
        "x" => None,
        digits => Some(digits.parse().ok()?),
    };
    let validator = URL_SAFE_NO_PAD.decode(validator).ok()?.into_boxed_slice();
    let age = SystemTime::now().duration_since(found.modified().ok()?).unwrap_or_default();
    let can_go_on = boot == Some(written_in)
        && hash.len() == HASH_DIGITS
        && age < KEPT
        && found.len() > 0
        && total.is_none_or(|total| found.len() < total);
    let hash = hash.to_owned();
    can_go_on.then_some((hash, Left { length: found.len(), path, source, validator, total }))
}

/// The unfinished bodies of earlier runs. Those that are no use go; what is anything else is not fetchimg's.
fn look_through(parts: &Path, boot: Option<&str>) -> io::Result<HashMap<String, Left>> {
    let mut left = HashMap::new();
    for entry in fs::read_dir(parts)? {
        let path = entry?.path();
        let found = fs::symlink_metadata(&path)?;
        if !found.is_file() || path.extension().is_none_or(|extension| extension != "part") {
            continue;
        }
        match told(path.clone(), &found, boot) {
            Some((hash, body)) if !left.contains_key(&hash) => drop(left.insert(hash, body)),
            _ => fs::remove_file(path)?,
        }
    }
    Ok(left)
}

/// The bytes of one body on their way.
#[derive(Debug)]
pub struct Part<'a> {
    files: &'a Files,
    origin: Option<Origin<'a>>,
    buffer: Vec<u8>,
    /// So many bytes fit into it.
    room: usize,
    /// The end of the body, where it is known to be that: it goes into the file as it came. Others would keep the memory
    /// of a whole read for themselves while more is awaited.
    end: Bytes,
    /// The length of the whole, if that is known.
    expected: Option<u64>,
    file: Option<Named>,
    length: u64,
}

/// The bytes of a body, wherever they are.
#[derive(Debug)]
pub enum Whole<'a> {
    /// All in memory.
    InMemory(Cursor<&'a [u8]>),
    /// In its part file.
    Stored(File),
}

impl Read for Whole<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::InMemory(bytes) => bytes.read(into),
            Self::Stored(file) => file.read(into),
        }
    }
}

impl Seek for Whole<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::InMemory(bytes) => bytes.seek(to),
            Self::Stored(file) => file.seek(to),
        }
    }
}

/// The bytes of a body on their own.
#[derive(Debug)]
pub enum Detached {
    /// All in memory.
    InMemory(Cursor<Vec<u8>>),
    /// In the part file.
    Stored(File),
}

impl Read for Detached {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::InMemory(bytes) => bytes.read(into),
            Self::Stored(file) => file.read(into),
        }
    }
}

/// A part file. Its name disappears with it, unless it stays for a later run.
#[derive(Debug)]
struct Named {
    /// Closed while the body rests.
    file: Option<File>,
    path: PathBuf,
    stays: bool,
}

impl Named {
    /// The file, open at its end.
    fn open(&mut self) -> io::Result<&mut File> {
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

impl Drop for Part<'_> {
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

impl Part<'_> {
    /// Takes the next bytes.
    pub fn write(&mut self, bytes: &Bytes) -> io::Result<()> {
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
        write_both(named.open()?, &self.buffer, &self.end)?;
        named.file = None;
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
    pub fn whole(&mut self) -> io::Result<Whole<'_>> {
        let end = std::mem::take(&mut self.end);
        if let Some(named) = &mut self.file {
            write_both(named.open()?, &self.buffer, &end)?;
            self.buffer.clear();
            return Ok(Whole::Stored(File::open(&named.path)?));
        }
        if self.buffer.is_empty() {
            self.end = end;
            return Ok(Whole::InMemory(Cursor::new(&self.end)));
        }
        self.buffer.extend_from_slice(&end);
        Ok(Whole::InMemory(Cursor::new(&self.buffer)))
    }

    /// The same for somebody who takes his time elsewhere: what is in memory is copied.
    pub fn detached(&mut self) -> io::Result<Detached> {
        Ok(match self.whole()? {
            Whole::InMemory(bytes) => Detached::InMemory(Cursor::new(bytes.into_inner().to_vec())),
            Whole::Stored(file) => Detached::Stored(file),
        })
    }

    /// Whether the file of that name has the same bytes.
    pub fn is_the_same_as(&mut self, path: &str) -> io::Result<bool> {
        if self.files.size(path) != Some(self.length) {
            return Ok(false);
        }
        let mut there = io::BufReader::with_capacity(BUFFER, File::open(self.files.root.join(path))?);
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

    /// Gives the file `first` this name too, if it has the same bytes. `announce`: see [`Part::commit`].
    pub fn link(
        &mut self,
        first: &str,
        path: &str,
        publish: Publish,
        mut announce: impl FnMut(&fs::Metadata) -> io::Result<()>,
    ) -> io::Result<Linked> {
        match self.is_the_same_as(first) {
            Ok(true) => {}
            Ok(false) => return Ok(Linked::Differs),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Linked::Differs),
            Err(error) => return Err(error),
        }
        let Some(found) = self.files.look_at(first) else { return Ok(Linked::Differs) };
        self.files.make_folders(path)?;
        announce(&found)?;
        let (from, target) = (self.files.root.join(first), self.files.root.join(path));
        let linked = match publish {
            // It has this name already.
            Publish::Replace
                if self
                    .files
                    .look_at(path)
                    .is_some_and(|other| (other.dev(), other.ino()) == (found.dev(), found.ino())) =>
            {
                Ok(())
            }
            Publish::Replace => {
                let aside = self.files.private("parts").join(self.files.next_number());
                remove_if_there(&aside)?;
                fs::hard_link(&from, &aside).and_then(|()| {
                    let renamed = fs::rename(&aside, &target);
                    renamed.inspect_err(|_| drop(fs::remove_file(&aside)))
                })
            }
            Publish::New => fs::hard_link(&from, &target),
        };
        match linked {
            Ok(()) => {
                self.files.sync_folders_of(path)?;
                Ok(Linked::Done)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::AlreadyExists if publish == Publish::New => Ok(Linked::NameTaken),
                io::ErrorKind::NotFound => Ok(Linked::Differs),
                io::ErrorKind::Unsupported
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::TooManyLinks
                | io::ErrorKind::CrossesDevices => Ok(Linked::Impossible),
                _ => Err(error),
            },
        }
    }

    /// Publishes the file under its name, which is relative to the output folder. `announce` is told what the system
    /// says about the complete file before it gets its name.
    pub fn commit(
        mut self,
        path: &str,
        publish: Publish,
        mut announce: impl FnMut(&fs::Metadata) -> io::Result<()>,
    ) -> io::Result<Published> {
        self.origin = None;
        self.files.make_folders(path)?;
        if self.file.is_none()
            && publish == Publish::New
            && let Some(published) = self.link_unnamed(path, &mut announce)?
        {
            return Ok(published);
        }
        let target = self.files.root.join(path);
        let mut named = match self.file.take() {
            Some(named) => named,
            None => self.files.new_part(None)?,
        };
        named.stays = false;
        let file = named.open()?;
        write_both(file, &self.buffer, &self.end)?;
        if self.files.fsync {
            file.sync_all()?;
        }
        announce(&file.metadata()?)?;
        let published = match publish {
            Publish::Replace => fs::rename(&named.path, &target).map(|()| Published::Done),
            Publish::New => rename_new(&named.path, &target),
        }?;
        self.files.sync_folders_of(path)?;
        Ok(published)
    }

    /// Writes the buffer into a file without a name and gives it one. `None`: that cannot be done here. A file may have
    /// been announced by then; it is gone, and the one that comes instead is announced in its turn.
    #[cfg(target_os = "linux")]
    fn link_unnamed(
        &self,
        path: &str,
        announce: &mut impl FnMut(&fs::Metadata) -> io::Result<()>,
    ) -> io::Result<Option<Published>> {
        use rustix::fs::openat;
        use rustix::io::Errno;

        let files = self.files;
        if !files.unnamed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let give_up = || {
            files.unnamed.store(false, Ordering::Relaxed);
            Ok(None)
        };
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
        // open(2): file systems without unnamed files say EOPNOTSUPP, kernels before 3.11 EISDIR.
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = match openat(&files.folder, folder, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => File::from(file),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => return give_up(),
            Err(error) => return Err(error.into()),
        };
        write_both(&mut file, &self.buffer, &self.end)?;
        if files.fsync {
            file.sync_all()?;
        }
        announce(&file.metadata()?)?;
        match files.link(&file, path) {
            Ok(()) => {
                files.sync_folders_of(path)?;
                Ok(Some(Published::Done))
            }
            Err(Errno::EXIST) => Ok(Some(Published::NameTaken)),
            Err(Errno::NOENT | Errno::XDEV | Errno::OPNOTSUPP | Errno::PERM) if files.root.join(folder).is_dir() => {
                give_up()
            }
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn link_unnamed(
        &self,
        _: &str,
        _: &mut impl FnMut(&fs::Metadata) -> io::Result<()>,
    ) -> io::Result<Option<Published>> {
        Ok(None)
    }
}

/// Writes what waits of a body, mostly in one call.
fn write_both(file: &mut File, buffer: &[u8], end: &[u8]) -> io::Result<()> {
    [buffer, end].into_iter().filter(|bytes| !bytes.is_empty()).try_for_each(|bytes| file.write_all(bytes))
}

/// What stands in a place of ours is nobody's, and it may be a link to somewhere else.
fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Renames unless the new name is taken. A hard link does it everywhere in one step; where there are no hard links
/// (FAT, some network file systems), looking first is the best there is.
fn rename_new(from: &Path, to: &Path) -> io::Result<Published> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(Published::Done),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Published::NameTaken),
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            if fs::symlink_metadata(to).is_ok() {
                return Ok(Published::NameTaken);
            }
            fs::rename(from, to).map(|()| Published::Done)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intents::Mark;

    fn visible(root: &Path) -> Vec<String> {
        let mut names = fs::read_dir(root)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name != PRIVATE)
            .collect::<Vec<_>>();
        names.sort();
        names
    }

    fn parts(files: &Files) -> usize {
        fs::read_dir(files.private("parts")).expect("a folder").count()
    }

    #[test]
    fn a_file_appears_when_it_is_committed_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        for (unnamed, fsync) in [(true, false), (false, false), (true, true)] {
            let root = folder.path().join(format!("{unnamed}-{fsync}"));
            let files = Files::open(&root, fsync, None).expect("open");
            if !unnamed {
                files.unnamed.store(false, Ordering::Relaxed);
            }
            // Both ways to a name, whichever the kernel and the privileges at hand allow.
            #[cfg(target_os = "linux")]
            files.by_descriptor.store(!fsync, Ordering::Relaxed);
            for size in [0, 1, BUFFER, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL + 7] {
                let bytes = (0..=250).cycle().take(size).collect::<Vec<u8>>();
                for (chunk, expected) in [(512, None), (100_000, None), (512, Some(size)), (SMALL, Some(size))] {
                    let mut part = files.begin(expected.map(|size| size as u64), None);
                    for piece in bytes.chunks(chunk) {
                        part.write(&Bytes::copy_from_slice(piece)).expect("write");
                    }
                    assert_eq!(visible(&root).len(), 0);
                    assert_eq!(part.length(), size as u64);
                    assert_eq!(part.commit("a/b.png", Publish::New, |_| Ok(())).expect("commit"), Published::Done);
                    assert_eq!(fs::read(root.join("a/b.png")).expect("read"), bytes);
                    assert_eq!(files.size("a/b.png"), Some(size as u64));
                    fs::remove_dir_all(root.join("a")).expect("remove");
                }
            }
            assert_eq!(parts(&files), 0);
        }
    }

    #[test]
    fn a_body_that_rests_holds_nothing_and_goes_on_where_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::open(folder.path(), false, None).expect("open");
        for size in [10, 3 * SMALL + 7] {
            let bytes = (0..=250).cycle().take(size).collect::<Vec<u8>>();
            let mut part = files.begin(None, None);
            for piece in bytes.chunks(size / 3) {
                part.write(&Bytes::copy_from_slice(piece)).expect("write");
                part.rest().expect("rest");
                assert_eq!(part.buffer.capacity(), 0);
                assert!(part.file.as_ref().is_some_and(|named| named.file.is_none()));
            }
            assert_eq!(part.commit("a.png", Publish::Replace, |_| Ok(())).expect("commit"), Published::Done);
            assert_eq!(fs::read(folder.path().join("a.png")).expect("read"), bytes);
            assert_eq!(parts(&files), 0);
        }
    }

    fn origin<'a>(url: &'a Url, validator: &str, total: u64) -> Origin<'a> {
        Origin { url, source: 7, validator: validator.as_bytes().into(), total: Some(total) }
    }

    #[test]
    fn an_unfinished_body_waits_for_the_next_run_of_the_same_boot() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |boot: &str| Files::open(folder.path(), false, Some(boot.into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let bytes = (0..=250).cycle().take(3 * SMALL).collect::<Vec<u8>>();
        let (first, rest) = bytes.split_at(BUFFER + 7);
        for boot in ["0", "1"] {
            let files = open("0");
            let total = bytes.len() as u64;
            let mut part = files.begin(Some(total), Some(origin(&url, "\"-tag/\"", total)));
            part.write(&Bytes::copy_from_slice(first)).expect("write");
            part.write(&Bytes::copy_from_slice(&rest[..1])).expect("write");
            drop(part);
            drop(files);

            let files = open(boot);
            let left = files.left(&url);
            if boot == "1" {
                assert!(left.is_none(), "power may have been lost in between");
                assert_eq!(parts(&files), 0);
                continue;
            }
            let mut part = left.expect("the part of the run before");
            let known = part.origin().expect("its origin");
            assert_eq!((&*known.validator, known.source), (&b"\"-tag/\""[..], 7));
            assert_eq!(known.total, Some(bytes.len() as u64));
            assert_eq!(part.length(), first.len() as u64 + 1);
            let mut stored = Vec::new();
            let taken = part.each_block(|block| {
                stored.extend_from_slice(block);
                true
            });
            assert!(taken.expect("read"));
            assert_eq!(stored, bytes[..=first.len()]);
            assert!(!part.each_block(|_| false).expect("read"), "it ends when nothing more is wanted");
            part.write(&Bytes::copy_from_slice(&rest[1..])).expect("write");
            assert_eq!(part.commit("a.png", Publish::New, |_| Ok(())).expect("commit"), Published::Done);
            assert_eq!(fs::read(folder.path().join("a.png")).expect("read"), bytes);
            assert_eq!(parts(&files), 0);
        }
    }

    #[test]
    fn a_body_that_was_all_in_memory_waits_too_if_it_is_worth_it() {
        fn begin<'a>(files: &'a Files, url: &'a Url, first: &[u8], total: u64) -> Part<'a> {
            let mut part = files.begin(Some(total), Some(origin(url, "\"a\"", total)));
            first.chunks(20_000).for_each(|piece| part.write(&Bytes::copy_from_slice(piece)).expect("write"));
            assert!(part.file.is_none());
            part
        }

        let folder = tempfile::tempdir().expect("a folder");
        let open = || Files::open(folder.path(), false, Some("0".into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let bytes = (0..=250).cycle().take(SMALL).collect::<Vec<u8>>();
        let total = bytes.len() as u64;
        // A part, less than is worth it, and what ends with so much that its beginning is less.
        for (length, total, kept) in [
            (SMALL - 1, total, Some(SMALL - 1)),
            (BUFFER, total, Some(BUFFER)),
            (BUFFER - 1, total, None),
            (BUFFER + 1, BUFFER as u64 + 1, None),
        ] {
            let files = open();
            drop(begin(&files, &url, &bytes[..length], total));
            assert_eq!(parts(&files), usize::from(kept.is_some()), "{length}");
            drop(files);
            let files = open();
            let left = files.left(&url).map(|mut left| {
                let mut stored = Vec::new();
                left.whole().and_then(|mut whole| whole.read_to_end(&mut stored)).expect("read");
                left.discard();
                stored
            });
            assert!(left == kept.map(|kept| bytes[..kept].to_vec()), "{length}");
            assert_eq!(parts(&files), 0, "{length}");

            begin(&files, &url, &bytes[..length], total).discard();
            let published = begin(&files, &url, &bytes[..length], total).commit("a.png", Publish::New, |_| Ok(()));
            assert_eq!(published.expect("commit"), Published::Done);
            let taken = begin(&files, &url, &bytes[..length], total).commit("a.png", Publish::New, |_| Ok(()));
            assert_eq!(taken.expect("commit"), Published::NameTaken);
            assert_eq!(parts(&files), 0, "{length}");
            fs::remove_file(folder.path().join("a.png")).expect("remove");
        }
    }

    #[test]
    fn what_is_given_up_or_cannot_be_gone_on_with_does_not_wait() {
        fn begin<'a>(files: &'a Files, origin: Option<Origin<'a>>, drop_it: impl FnOnce(Part<'a>)) {
            let mut part = files.begin(Some(10 * SMALL as u64), origin);
            part.write(&vec![1; BUFFER].into()).expect("write");
            part.write(&Bytes::from_static(b"2")).expect("write");
            drop_it(part);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Files::open(folder.path(), false, Some("0".into())).expect("open");
        let url = Url::parse("http://a.example/1.png").expect("a URL");
        let total = 10 * SMALL as u64;
        let files = open();
        begin(&files, Some(origin(&url, "\"a\"", total)), Part::discard);
        begin(&files, None, drop);
        begin(&files, Some(origin(&url, &"long".repeat(100), total)), drop);
        assert_eq!(parts(&files), 0);
        begin(&files, Some(origin(&url, "\"a\"", total)), drop);
        assert_eq!(parts(&files), 1);
        drop(files);

        // A week later.
        let path = fs::read_dir(folder.path().join(".fetchimg/parts")).expect("a folder").next().expect("a part");
        let path = path.expect("an entry").path();
        let part = OpenOptions::new().append(true).open(&path).expect("open");
        part.set_modified(SystemTime::now() - KEPT).expect("a time");
        let files = open();
        assert!(files.left(&url).is_none());
        assert_eq!(parts(&files), 0);

        // Complete, or longer than it should be.
        begin(&files, Some(origin(&url, "\"a\"", BUFFER as u64 + 1)), drop);
        drop(files);
        assert!(open().left(&url).is_none());
    }

    #[test]
    fn a_file_is_announced_before_it_appears() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::open(folder.path(), false, None).expect("open");
        for (name, size, publish) in
            [("a", 5, Publish::New), ("b", 2 * SMALL, Publish::New), ("c", 5, Publish::Replace)]
        {
            let mut part = files.begin(None, None);
            part.write(&vec![1; size].into()).expect("write");
            let mut announced = None;
            let announce = |file: &fs::Metadata| {
                assert!(files.look_at(name).is_none());
                announced = Some(Mark::of(file));
                Ok(())
            };
            assert_eq!(part.commit(name, publish, announce).expect("commit"), Published::Done);
            assert_eq!(files.look_at(name).map(|file| Mark::of(&file)), announced, "{name}");
        }
        let mut part = files.begin(None, None);
        part.write(&Bytes::from_static(b"x")).expect("write");
        part.commit("d", Publish::New, |_| Err(io::ErrorKind::StorageFull.into())).expect_err("it cannot be noted");
        assert!(files.look_at("d").is_none(), "nothing appears that could not be announced");
    }

    #[test]
    fn a_taken_name_is_kept_or_replaced_as_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::open(folder.path(), false, None).expect("open");
        for size in [10, 2 * SMALL] {
            fs::write(folder.path().join("a.png"), "theirs").expect("write");
            let part = |byte: u8| {
                let mut part = files.begin(Some(size as u64), None);
                part.write(&vec![byte; size].into()).expect("write");
                part
            };
            assert_eq!(part(1).commit("a.png", Publish::New, |_| Ok(())).expect("commit"), Published::NameTaken);
            assert_eq!(fs::read(folder.path().join("a.png")).expect("read"), b"theirs");
            assert_eq!(part(2).commit("a.png", Publish::Replace, |_| Ok(())).expect("commit"), Published::Done);
            assert_eq!(fs::read(folder.path().join("a.png")).expect("read"), vec![2; size]);
        }
        drop(files.begin(None, None));
        assert_eq!((visible(folder.path()), parts(&files)), (vec!["a.png".to_owned()], 0));
    }

    #[test]
    fn a_folder_serves_one_run_and_is_not_made_again_behind_the_users_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("images");
        let files = Files::open(&root, false, None).expect("open");
        assert!(matches!(Files::open(&root, false, None), Err(RunError::Busy(_))));
        fs::remove_dir_all(&root).expect("remove");
        let mut part = files.begin(None, None);
        part.write(&Bytes::from_static(b"x")).expect("write");
        let error = part.commit("deep/a.png", Publish::New, |_| Ok(())).expect_err("no folder");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!root.exists());
    }
}
