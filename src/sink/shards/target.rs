//! Where complete shards go. Each file of a shard appears as a whole or not at all, and its marker comes last.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::marker::{Marker, SUFFIX};
use crate::util::location::Location;
use crate::util::private_file::remove_if_there;
use crate::util::run_id;
use crate::util::store::{Creation, StoreUrl};

/// A place for complete shards.
#[derive(Debug)]
pub enum Target {
    /// A folder.
    Folder(ShardFolder),
    /// A prefix of an object store.
    Store(StoreUrl),
}

/// The files of a shard that is complete, and waits to be put in place.
#[derive(Debug)]
pub struct CompleteShard<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its files, in the order in which they are put in place, with their names.
    pub files: Vec<(PathBuf, String)>,
    /// Its marker.
    pub marker: Marker,
}

impl Target {
    /// The marker of a shard, if the shard is there. A marker that is empty or torn is none.
    ///
    /// # Errors
    /// When the marker cannot be read, or is none of fetchimg.
    pub async fn marker(&self, shard: &str) -> io::Result<Option<Marker>> {
        match self {
            Self::Folder(folder) => folder.marker(shard),
            Self::Store(url) => {
                let (url, shard) = (url.clone(), shard.to_owned());
                let read = move || read_marker(&Location::Store(url), &shard);
                tokio::task::spawn_blocking(read).await.unwrap_or_else(|panicked| Err(panicked.into()))
            }
        }
    }

    /// Puts a shard in place. `replaces`: what is there of it is removed first. Blocks until it is there.
    ///
    /// # Errors
    /// When a file cannot be put in place. The shard does not exist then, or is another one that is whole.
    pub fn commit(&self, shard: &CompleteShard<'_>, replaces: bool) -> io::Result<()> {
        match self {
            Self::Folder(folder) => folder.commit(shard, replaces),
            Self::Store(url) => commit_to_store(url, shard, replaces),
        }
    }

    /// The path of a file of a shard, for messages.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.root.join(name),
            Self::Store(url) => Location::Store(url.clone()).path(name),
        }
    }
}

/// Puts a shard into a store. Objects appear as a whole or not at all.
fn commit_to_store(url: &StoreUrl, shard: &CompleteShard<'_>, replaces: bool) -> io::Result<()> {
    let store = url.store()?;
    let marker = format!("{}{SUFFIX}", shard.name);
    if replaces {
        // Without its marker the shard does not exist, whenever this run is killed.
        store.remove(&marker)?;
    }
    let began = Instant::now();
    let put_files = || {
        let put = shard.files.iter().map(|(from, name)| store.put_file(name, from));
        put.collect::<io::Result<Vec<_>>>()
    };
    put_files()?;
    let text = shard.marker.text()?;
    let put_all = || {
        let tags = put_files()?;
        store.put(&marker, text.clone())?;
        for ((_, name), tag) in shard.files.iter().zip(tags) {
            if tag.is_some() && store.look_at(name).ok().and_then(|(_, found)| found) != tag {
                return Ok(false);
            }
        }
        Ok(store.get(&marker).is_ok_and(|found| found == text))
    };
    match store.create(&marker, text.clone())? {
        Creation::New => {}
        Creation::Exists => {
            // Another run has made the same shard meanwhile, or this is our own marker, whose answer was lost. Of two
            // markers, the last one is true.
            let found = read_marker(&Location::Store(url.clone()), shard.name).ok().flatten();
            if !found.is_some_and(|other| other.has_same_files(&shard.marker)) {
                until_undisturbed(put_all)?;
            }
        }
        // That was said when the set was opened. The run that ends last leaves its marker, as in any other store.
        Creation::Unsupported => until_undisturbed(put_all)?,
    }
    tracing::debug!(target: "fetchimg", "Shard {}: put into the store in {:.3} s", shard.name, began.elapsed().as_secs_f64());
    Ok(())
}

/// How often a run puts its files and its marker, while others put theirs in between.
const MAX_ROUNDS: u32 = 12;

/// Puts files and marker again, until no other run that makes the same shard has put its own in between. `put` tells
/// whether what is there afterwards is what it has put. So the last run to end leaves a shard whose marker is true.
fn until_undisturbed(mut put: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    for round in 0..MAX_ROUNDS {
        if put()? {
            return Ok(());
        }
        // Two runs that disturb each other must not go on in step.
        let longest = 50 << round.min(6);
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..longest)));
    }
    Err(io::Error::other("other runs go on putting the same shard in place"))
}

/// The marker of a shard, if the shard is there. A marker that is empty or torn is none.
///
/// # Errors
/// When the marker cannot be read, or is none of fetchimg.
pub fn read_marker(location: &Location, shard: &str) -> io::Result<Option<Marker>> {
    let text = location.read(&format!("{shard}{SUFFIX}"))?;
    text.map_or(Ok(None), |text| Marker::parse(&text))
}

/// A folder of shards.
#[derive(Debug)]
pub struct ShardFolder {
    root: PathBuf,
    /// For files that wait for their names, on the same file system.
    scratch: PathBuf,
    /// Flush the marker's name to the disk, too.
    fsync: bool,
}

impl ShardFolder {
    /// The folder `root`. `scratch` is on the same file system.
    #[must_use]
    pub const fn new(root: PathBuf, scratch: PathBuf, fsync: bool) -> Self {
        Self { root, scratch, fsync }
    }

    fn marker(&self, shard: &str) -> io::Result<Option<Marker>> {
        read_marker(&Location::Folder(self.root.clone()), shard)
    }

    fn commit(&self, shard: &CompleteShard<'_>, replaces: bool) -> io::Result<()> {
        let name = format!("{}{SUFFIX}", shard.name);
        let place = self.root.join(&name);
        if replaces {
            // Without its marker the shard does not exist, whenever this run is killed.
            remove_if_there(&place)?;
        }
        self.put_files(shard)?;
        let waiting = self.waiting(&name);
        write_marker(shard, &waiting)?;
        match fs::hard_link(&waiting, &place) {
            Ok(()) => fs::remove_file(&waiting)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Another run has made the same shard meanwhile. Of two markers, the last one is true.
                let found = self.marker(shard.name).ok().flatten();
                fs::remove_file(&waiting)?;
                if !found.is_some_and(|other| other.has_same_files(&shard.marker)) {
                    until_undisturbed(|| {
                        let put = self.put_files(shard)?;
                        write_marker(shard, &waiting)?;
                        fs::rename(&waiting, &place)?;
                        for ((_, name), put) in shard.files.iter().zip(put) {
                            if identity(&self.root.join(name)).ok() != Some(put) {
                                return Ok(false);
                            }
                        }
                        Ok(self.marker(shard.name)?.is_some_and(|found| found.has_same_files(&shard.marker)))
                    })?;
                }
            }
            // The file system has no hard links.
            Err(_) => fs::rename(&waiting, &place)?,
        }
        if self.fsync { self.sync_root() } else { Ok(()) }
    }

    /// Puts the files in place, and flushes them to the disk. Returns what tells them from files of other runs. A marker
    /// that survives a loss of power without its files would say that the shard is there, so this does not depend on
    /// `--fsync`; without it, what a run has not completed is lost.
    fn put_files(&self, shard: &CompleteShard<'_>) -> io::Result<Vec<(u64, u64)>> {
        let mut put = Vec::with_capacity(shard.files.len());
        for (from, name) in &shard.files {
            // A second name, so that the file can be put in place once more.
            let waiting = self.waiting(name);
            remove_if_there(&waiting)?;
            fs::hard_link(from, &waiting).or_else(|_| fs::copy(from, &waiting).map(|_| ()))?;
            File::open(&waiting)?.sync_all()?;
            put.push(identity(&waiting)?);
            fs::rename(&waiting, self.root.join(name))?;
            // Where both are names of one file already, the system does nothing.
            remove_if_there(&waiting)?;
        }
        self.sync_root()?;
        Ok(put)
    }

    /// Where a file waits for its name. Other runs may put a file of the same name in place at the same time.
    fn waiting(&self, name: &str) -> PathBuf {
        self.scratch.join(format!("{name}.{}.new", run_id::unique()))
    }

    fn sync_root(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }
}

/// Writes a marker to a file that waits for its name.
fn write_marker(shard: &CompleteShard<'_>, waiting: &Path) -> io::Result<()> {
    remove_if_there(waiting)?;
    let mut file = File::create_new(waiting)?;
    file.write_all(&shard.marker.text()?)?;
    file.sync_all()
}

/// The device and the inode of a file.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// The names of the shards among the files of a set.
#[must_use]
pub fn shard_names(files: &[String]) -> Vec<String> {
    let shards = files.iter().filter_map(|name| name.strip_suffix(SUFFIX)).filter(|shard| !shard.starts_with('.'));
    shards.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::marker::{Counts, Origin, StoredFile};
    use std::path::Path;

    use super::*;

    fn shard(dir: &Path, text: &str) -> CompleteShard<'static> {
        let from = dir.join(format!("{text}.scratch"));
        fs::write(&from, text).expect("written");
        let data = StoredFile { name: "a.tar".into(), bytes: text.len() as u64, sha256: text.into() };
        let (input, settings, version) = (String::new(), String::new(), String::new());
        let origin = Origin { version, input, settings, data, metadata: None };
        let marker = Counts::default().marker(std::time::SystemTime::UNIX_EPOCH, origin);
        CompleteShard { name: "a", files: vec![(from, "a.tar".into())], marker }
    }

    #[test]
    fn the_last_run_to_end_leaves_a_shard_whose_marker_is_true() {
        let dir = tempfile::tempdir().expect("a folder");
        let (root, scratch) = (dir.path().join("set"), dir.path().join("scratch"));
        fs::create_dir(&root).and_then(|()| fs::create_dir(&scratch)).expect("folders");
        let target = Target::Folder(ShardFolder::new(root.clone(), scratch.clone(), true));
        let location = Location::Folder(root.clone());
        assert_eq!(read_marker(&location, "a").expect("read"), None);
        for (text, replaces) in [("one", false), ("one", false), ("three", false), ("one", false), ("two", true)] {
            let shard = shard(&scratch, text);
            target.commit(&shard, replaces).expect("committed");
            assert_eq!(fs::read_to_string(root.join("a.tar")).expect("read"), text);
            let marker = read_marker(&location, "a").expect("read").expect("a marker");
            assert_eq!(marker.fetchimg, shard.marker.fetchimg, "{text}");
        }
        let left = fs::read_dir(&scratch)
            .expect("read")
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "new"));
        assert_eq!(left.count(), 0);
        assert_eq!(shard_names(&location.names().expect("read")), ["a"]);
        let marker = fs::read(root.join("a_stats.json")).expect("read");
        for torn in [0, 1, 50, marker.len() - 3] {
            fs::write(root.join("a_stats.json"), &marker[..torn]).expect("written");
            assert_eq!(read_marker(&location, "a").expect("read"), None, "{torn} bytes");
        }
        let shard = shard(&scratch, "four");
        target.commit(&shard, false).expect("committed");
        assert_eq!(read_marker(&location, "a").expect("read"), Some(shard.marker));
        fs::write(root.join("a_stats.json"), "{}").expect("written");
        read_marker(&location, "a").expect_err("it is no marker");
    }
}
