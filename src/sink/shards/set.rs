//! The place of a set: what kind of set it is, who works in it, and where unfinished shards wait.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::OutputFormat;
use super::marker::Marker;
use crate::record::{RunError, hex};
use crate::util::location::Location;
use crate::util::private_file;
use crate::util::redact::escaped;
use crate::util::store::{Creation, StoreUrl};
use crate::util::{lock, run_id};

/// The locked file, in the private folder.
const LOCK: &str = "lock";

/// The hidden file that says that a folder holds a set.
pub const FILE: &str = private_file::SET;

/// The journals of folders of files, that of earlier versions last.
fn journals(root: &Path) -> [PathBuf; 2] {
    [root.join(private_file::JOURNAL), root.join(private_file::FOLDER).join("manifest.jsonl")]
}

/// What a set was made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetInfo {
    /// `webdataset` or `parquet`.
    pub output_format: String,
    /// The options that decide what is in the shards, as they are typed.
    pub settings: Vec<(String, String)>,
    /// When a run began to make all shards anew that has not come to its end, in milliseconds since 1970: older shards are
    /// those of the set as it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anew_since_ms: Option<u64>,
}

impl SetInfo {
    /// The digest of the settings.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(&self.output_format);
        for (flag, value) in &self.settings {
            digest.update(format!("\n{flag}\0{value}"));
        }
        hex(&digest.finalize())
    }

    /// Whether the shards of both are made with the same options.
    fn has_options_of(&self, other: &Self) -> bool {
        (&self.output_format, &self.settings) == (&other.output_format, &other.settings)
    }

    /// Whether a shard was to be made anew by a run that was stopped before.
    #[must_use]
    pub fn is_outdated(&self, marker: &Marker) -> bool {
        let Some(since) = self.anew_since_ms else { return false };
        marker.end_time < Duration::from_millis(since).as_secs_f64() || marker.fetchimg.settings != self.digest()
    }

    /// What the set in a folder or a store was made with, if there is one.
    ///
    /// # Errors
    /// When the file that says it cannot be read.
    pub fn read(root: &Location) -> io::Result<Option<Self>> {
        let Some(text) = root.read(FILE)? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).map_err(|_| {
            let sentence =
                "it is empty or damaged; remove it, and run the command that makes the set, which writes it anew";
            io::Error::new(io::ErrorKind::InvalidData, sentence)
        })
    }

    /// The file that says it.
    fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// The first option that is another one in `other`, and what it is here.
    fn difference<'a>(&'a self, other: &'a Self) -> Option<(&'a str, String)> {
        let value =
            |info: &Self, flag: &str| info.settings.iter().find(|(name, _)| name == flag).map(|(_, v)| v.clone());
        let mut flags = self.settings.iter().chain(&other.settings).map(|(flag, _)| flag.as_str());
        let flag = flags.find(|flag| value(self, flag) != value(other, flag))?;
        let here = match value(self, flag) {
            Some(value) if value == "true" => format!("with --{flag}"),
            Some(value) => format!("with --{flag} {value}"),
            None => format!("without --{flag}"),
        };
        Some((flag, here))
    }
}

/// Fails if a folder for files holds a set.
///
/// # Errors
/// When it does, or may do so.
pub fn refuse_set(root: &Path) -> Result<(), RunError> {
    match SetInfo::read(&Location::Folder(root.to_owned())) {
        Err(source) if source.kind() == io::ErrorKind::InvalidData => {
            Err(RunError::Journal { path: root.join(FILE), source })
        }
        Ok(Some(info)) => Err(refused(
            root,
            format!(
                "it holds shards (--output-format {}), and a folder holds one kind; choose another folder with -o",
                escaped(&info.output_format)
            ),
        )),
        _ => Ok(()),
    }
}

fn refused(path: &Path, sentence: String) -> RunError {
    RunError::Output { path: path.to_owned(), source: io::Error::new(io::ErrorKind::InvalidInput, sentence) }
}

/// How a run works at a set.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Shards that are there are made anew (`--overwrite`).
    pub replaces: bool,
    /// Other runs may work at it at the same time.
    pub is_shared: bool,
    /// It makes further shards, with rows that are tried again.
    pub is_retry: bool,
}

/// A set that a run works at, and the folder in which its unfinished shards wait.
#[derive(Debug)]
pub struct SetFolder {
    /// Where the set is.
    pub root: Location,
    /// The folder of what is not complete: hidden in that of the set, or near by if the set is in a store.
    private: PathBuf,
    /// Where unfinished shards wait.
    pub scratch: PathBuf,
    /// Where large bodies wait.
    pub parts: PathBuf,
    lock: File,
    /// What the folder does not say yet of the set.
    unnoted: Mutex<Option<SetInfo>>,
    /// Whether it says something else, which holds until a shard is made anew.
    says_otherwise: bool,
    /// What it says when this run has made a shard.
    info: SetInfo,
    access: Access,
}

impl SetFolder {
    /// Creates the folder if it is missing, and locks it: for this run alone, or together with others that make other
    /// shards of it.
    ///
    /// # Errors
    /// When it cannot be created or written, another run holds it, or it holds something else than this set.
    pub fn open(root: &Path, info: SetInfo, access: Access) -> Result<Self, RunError> {
        let fail = |path: &Path, source| RunError::Output { path: path.to_owned(), source };
        refuse_file(root)?;
        fs::create_dir_all(root).map_err(|error| fail(root, error))?;
        let private = root.join(private_file::FOLDER);
        Self::lock(Location::Folder(root.to_owned()), private, (info, access))?.begin()
    }

    /// The same for a set in a store, whose unfinished shards wait in `scratch`, or in the system's folder for what is
    /// temporary. Only runs on this machine are kept out: those on others are met when a shard is committed.
    ///
    /// # Errors
    /// When the store cannot be written, the folder cannot be used, another run holds it, or the set is another one.
    pub fn open_in_store(
        url: &StoreUrl,
        scratch: Option<&Path>,
        info: SetInfo,
        access: Access,
    ) -> Result<Self, RunError> {
        let base = scratch_base(scratch);
        let fail = |source| RunError::Output { path: base.clone(), source };
        fs::create_dir_all(&base).map_err(fail)?;
        // Other users of the machine must not be able to put anything in it.
        let private = base.join(private_name(url));
        make_own_folder(&private).map_err(|source| RunError::Output { path: private.clone(), source })?;
        let set = Self::lock(Location::Store(url.clone()), private, (info, access))?;
        try_out(url, None).map_err(|source| RunError::Output { path: PathBuf::from(url.to_string()), source })?;
        set.begin()
    }

    /// Locks the folder of what is not complete, and makes what is needed in it.
    fn lock(root: Location, private: PathBuf, (info, access): (SetInfo, Access)) -> Result<Self, RunError> {
        let is_shared = access.is_shared;
        let scratch = private.join(SCRATCH);
        let parts = private.join(if is_shared { format!("parts-{}", run_id::unique()) } else { "parts".to_owned() });
        let lock = acquire(&private, &root.root(), is_shared)?;
        for folder in [&scratch, &parts] {
            make_folder(folder).map_err(|source| RunError::Output { path: folder.clone(), source })?;
        }
        if !is_shared {
            remove_leftovers(&private, &scratch);
        }
        let (unnoted, says_otherwise) = (Mutex::default(), false);
        Ok(Self { root, private, scratch, parts, lock, unnoted, says_otherwise, info, access })
    }

    /// Compares what the set is to be with what the folder or the store says of it.
    fn begin(mut self) -> Result<Self, RunError> {
        let Access { replaces, is_shared, is_retry } = self.access;
        let found = check(&self.root, &self.info, self.access)?;
        self.says_otherwise = found.is_some();
        self.info.anew_since_ms = if replaces && !is_shared && !is_retry {
            // The shares of a list do not know when the last of them has come to its end.
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).ok()
        } else {
            found.as_ref().and_then(|found| found.anew_since_ms)
        };
        self.unnoted = Mutex::new(Some(self.info.clone()).filter(|info| found.as_ref() != Some(info)));
        Ok(self)
    }

    /// Whether this run goes on to make all shards anew, as one before it that was stopped, or begins to.
    #[must_use]
    pub const fn makes_anew(&self) -> bool {
        self.info.anew_since_ms.is_some() && !self.access.is_retry
    }

    /// Whether a shard that is there is made anew.
    #[must_use]
    pub fn replaces(&self, marker: &Marker) -> bool {
        self.access.replaces || self.makes_anew() && self.info.is_outdated(marker)
    }

    /// Notes that all shards have been made anew, when a run over the whole list has come to its end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_end(&self) -> Result<(), RunError> {
        // What is not noted yet is not, because nothing was made anew.
        if !self.makes_anew() || self.access.is_shared || lock(&self.unnoted).is_some() {
            return Ok(());
        }
        self.write(&SetInfo { anew_since_ms: None, ..self.info.clone() }, false)
    }

    /// Writes what the set says of itself. `is_first`: it says nothing yet.
    fn write(&self, info: &SetInfo, is_first: bool) -> Result<(), RunError> {
        let path = self.root.path(FILE);
        let waiting = self.scratch.join(format!("set.{}.new", run_id::unique()));
        let write = || match &self.root {
            Location::Store(url) if is_first => try_out(url, Some(info.text()?)),
            Location::Store(url) => url.store()?.put(FILE, info.text()?),
            Location::Folder(_) => {
                let mut file = File::create_new(&waiting)?;
                file.write_all(&info.text()?)?;
                file.sync_all()?;
                fs::rename(&waiting, &path)
            }
        };
        write().map_err(|source| RunError::Output { path: path.clone(), source })
    }

    /// Notes what kind of set this is, when a run of it has begun: unless something else is noted. Then that holds until the
    /// first shard is made anew, so that a run which ends before that changes nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_begin(&self) -> Result<(), RunError> {
        if self.says_otherwise { Ok(()) } else { self.note() }
    }

    /// Notes what kind of set this is, because a shard of it is about to be put in place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note(&self) -> Result<(), RunError> {
        let mut unnoted = lock(&self.unnoted);
        let Some(info) = &*unnoted else { return Ok(()) };
        // Another run, of another share, may have noted something since.
        let found = check(&self.root, info, self.access)?;
        if found.as_ref() != Some(info) {
            self.write(info, found.is_none())?;
            // Of two runs that begin at the same time, one may have noted something else.
            check(&self.root, info, self.access)?;
        }
        *unnoted = None;
        Ok(())
    }
}

/// The folder of unfinished shards, in the private folder.
const SCRATCH: &str = "shards";

/// The folder below which unfinished shards of a set in a store wait.
fn scratch_base(scratch: Option<&Path>) -> PathBuf {
    scratch.map_or_else(std::env::temp_dir, Path::to_owned)
}

/// The name of the private folder of a set in a store there: the same command finds it again.
fn private_name(url: &StoreUrl) -> String {
    format!("fetchimg-{}", &hex(&Sha256::digest(url.to_string()))[..16])
}

/// Where unfinished shards of a set wait; `scratch`: those of a set in a store.
pub fn scratch_of(root: &Location, scratch: Option<&Path>) -> PathBuf {
    match root {
        Location::Folder(root) => root.join(private_file::FOLDER),
        Location::Store(url) => scratch_base(scratch).join(private_name(url)),
    }
    .join(SCRATCH)
}

/// Fails if there is a file in the place of the folder.
///
/// # Errors
/// When there is.
pub fn refuse_file(root: &Path) -> Result<(), RunError> {
    if root.metadata().is_ok_and(|found| !found.is_dir()) {
        let source = io::Error::new(io::ErrorKind::NotADirectory, "it is a file, not a folder");
        return Err(RunError::Output { path: root.to_owned(), source });
    }
    Ok(())
}

/// What a folder or a store says of the set in it, if there is one. Nothing is changed.
///
/// # Errors
/// When it cannot be read, or a run with these options must not write into it.
pub fn check(root: &Location, info: &SetInfo, access: Access) -> Result<Option<SetInfo>, RunError> {
    let place = root.root();
    let has_journal = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.len() > 0);
    if root.folder().is_some_and(|root| journals(root).iter().any(has_journal)) {
        let sentence = "it holds files, one for each image, and a folder holds one kind; choose another folder with -o";
        return Err(refused(&place, sentence.to_owned()));
    }
    let found = SetInfo::read(root).map_err(|source| RunError::Journal { path: root.path(FILE), source })?;
    let Some(found) = found else { return Ok(None) };
    if found.output_format != info.output_format {
        let format = escaped(&found.output_format).into_owned();
        let what = format!("it holds shards of --output-format {format}, and a folder holds one kind");
        let remedy = if access.is_retry { "leave --output-format out" } else { "choose another folder with -o" };
        return Err(refused(&place, format!("{what}; {remedy}")));
    }
    if !found.has_options_of(info) && !access.replaces {
        let (flag, what) = found.difference(info).unwrap_or(("", "with other options".to_owned()));
        let is_given = info.settings.iter().any(|(name, _)| name == flag);
        let remedy = match access.is_retry {
            true if is_given => format!("leave --{flag} out, because the options are those of the set"),
            true => format!("--{flag} is to be given again"),
            false => "say the same, choose another folder with -o, or make them anew with --overwrite".to_owned(),
        };
        return Err(refused(&place, format!("its shards were made {what}; {remedy}")));
    }
    Ok(Some(found))
}

/// Notes in a store what kind of set this is, where nothing is noted yet: not before there is a `note`, so that a run without
/// a row leaves nothing. So it is known before anything is fetched that the store can be read and written, and whether it
/// creates an object only where there is none.
///
/// # Errors
/// When it cannot be read or written, or is no object store.
fn try_out(url: &StoreUrl, note: Option<Vec<u8>>) -> io::Result<()> {
    let store = url.store()?;
    let there = match store.get(FILE) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(note) = note else { return Ok(()) };
            if store.create(FILE, note.clone())? == Creation::Unsupported {
                store.put(FILE, note)?;
            }
            store.get(FILE)?
        }
        Err(error) => return Err(error),
    };
    // There is one now, and another one would be the same.
    if store.create(FILE, there)? != Creation::Exists {
        tracing::warn!(
            target: "fetchimg",
            "{url}: this store does not keep to \"create only where there is none\" (If-None-Match), so of two runs that make the \
             same shard at the same time, one may leave a marker that does not fit; look with --verify-output",
        );
    }
    Ok(())
}

impl Drop for SetFolder {
    fn drop(&mut self) {
        // What is empty is not needed; what is not, waits for the next run.
        let _ = fs::remove_dir(&self.parts);
        let private = &self.private;
        // The file of the lock is removed while it is locked, by this run alone, so that no run holds a lock on it then.
        if self.lock.try_lock().is_ok() && is_named(&self.lock, &private.join(LOCK)) {
            remove_leftovers(private, &self.scratch);
            let _ = fs::remove_dir(&self.scratch);
            let _ = fs::remove_file(private.join(LOCK));
            let _ = fs::remove_dir(private);
        }
        let _ = self.lock.unlock();
    }
}

/// Locks the folder `private`: for this run alone, or together with others that make other shards.
fn acquire(private: &Path, root: &Path, is_shared: bool) -> Result<File, RunError> {
    let path = private.join(LOCK);
    let fail = |source| RunError::Output { path: path.clone(), source };
    loop {
        make_folder(private).map_err(fail)?;
        let lock = match private_file::open(OpenOptions::new().create(true).truncate(false).write(true), &path) {
            // A run that has just ended has removed the folder.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(fail)?,
        };
        match if is_shared { lock.try_lock_shared() } else { lock.try_lock() } {
            Ok(()) => {}
            // A run of another share looks for a moment whether it is the last one.
            Err(TryLockError::WouldBlock) if is_shared && is_shared_by_others(&path) => continue,
            Err(TryLockError::WouldBlock) => return Err(RunError::Busy(root.to_owned())),
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        // A run that has ended meanwhile has removed the file, and a third one would lock another.
        if is_named(&lock, &path) {
            return Ok(lock);
        }
    }
}

/// Whether the lock is free for runs of shares after a moment.
fn is_shared_by_others(path: &Path) -> bool {
    std::thread::sleep(std::time::Duration::from_millis(20));
    match private_file::open(OpenOptions::new().write(true), path) {
        Ok(lock) => lock.try_lock_shared().is_ok(),
        // It was removed.
        Err(_) => true,
    }
}

/// Whether an open file is still the one of this name.
fn is_named(file: &File, path: &Path) -> bool {
    let id = |found: fs::Metadata| (found.dev(), found.ino());
    file.metadata().is_ok_and(|own| fs::symlink_metadata(path).is_ok_and(|found| id(found) == id(own)))
}

/// Removes what killed runs have left and no run goes on with.
fn remove_leftovers(private: &Path, scratch: &Path) {
    let names = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in names(scratch).filter(|path| path.extension().is_some_and(|extension| extension == "new")) {
        // What cannot be removed does no harm.
        let _ = fs::remove_file(path);
    }
    let is_of_share = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("parts-"));
    for folder in names(private).filter(|path| is_of_share(path)) {
        names(&folder).for_each(|part| drop(fs::remove_file(part)));
        let _ = fs::remove_dir(folder);
    }
}

/// Creates a folder that only this user can read, if it is not there. That of another user is refused.
fn make_own_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(path)?;
            if found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() {
                return Ok(());
            }
            let sentence = "it belongs to another user; choose another place with --scratch";
            Err(io::Error::new(io::ErrorKind::PermissionDenied, sentence))
        }
        made => made,
    }
}

/// Creates a folder, if it is not there. A symbolic link in its place may lead anywhere, and is refused.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && fs::symlink_metadata(path)?.is_dir() => Ok(()),
        made => made,
    }
}

impl OutputFormat {
    /// The name of the format, and of its files' extension.
    #[must_use]
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Webdataset => ("webdataset", "tar"),
            Self::Parquet => ("parquet", "parquet"),
        }
    }
}
