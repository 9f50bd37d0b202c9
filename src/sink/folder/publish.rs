//! How a complete body comes to its name.
//!
//! What has waited in memory is written into a file without a name, which is then linked into place (see `unnamed`).
//! Everything else has a part file, which is linked or renamed: larger bodies, and all of them where the file system
//! has no unnamed files or an existing file is to be replaced. Or the name goes to a file that is there already and has
//! the same bytes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::remove_if_there;
use crate::sink::body::{Body, write_both};

/// What to do when the name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Leave the file that is there.
    Keep,
    /// Put the new one in its place.
    Replace,
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

impl Body<'_> {
    /// Gives the file `first` this name too, if it has the same bytes. `announce`: see [`Body::commit`].
    pub fn link(
        &mut self,
        first: &str,
        path: &str,
        publish: OnConflict,
        mut announce: impl FnMut(&fs::Metadata) -> io::Result<()>,
    ) -> io::Result<Linked> {
        if !self.is_the_same_as(first)? {
            return Ok(Linked::Differs);
        }
        let Some(found) = self.files.look_at(first) else { return Ok(Linked::Differs) };
        self.files.make_folders(path)?;
        announce(&found)?;
        let (from, target) = (self.files.root.join(first), self.files.root.join(path));
        let linked = match publish {
            // It has this name already.
            OnConflict::Replace
                if self
                    .files
                    .look_at(path)
                    .is_some_and(|other| (other.dev(), other.ino()) == (found.dev(), found.ino())) =>
            {
                Ok(())
            }
            OnConflict::Replace => {
                let aside = self.files.private("parts").join(self.files.next_number());
                remove_if_there(&aside)?;
                fs::hard_link(&from, &aside).and_then(|()| {
                    let renamed = fs::rename(&aside, &target);
                    renamed.inspect_err(|_| drop(fs::remove_file(&aside)))
                })
            }
            OnConflict::Keep => fs::hard_link(&from, &target),
        };
        match linked {
            Ok(()) => {
                self.files.sync_folders_of(path)?;
                Ok(Linked::Done)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::AlreadyExists if publish == OnConflict::Keep => Ok(Linked::NameTaken),
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
        publish: OnConflict,
        mut announce: impl FnMut(&fs::Metadata) -> io::Result<()>,
    ) -> io::Result<Published> {
        self.origin = None;
        self.files.make_folders(path)?;
        if self.file.is_none()
            && publish == OnConflict::Keep
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
            OnConflict::Replace => fs::rename(&named.path, &target).map(|()| Published::Done),
            OnConflict::Keep => rename_new(&named.path, &target),
        }?;
        self.files.sync_folders_of(path)?;
        Ok(published)
    }
}

#[cfg(not(target_os = "linux"))]
impl Body<'_> {
    fn link_unnamed(
        &self,
        _: &str,
        _: &mut impl FnMut(&fs::Metadata) -> io::Result<()>,
    ) -> io::Result<Option<Published>> {
        Ok(None)
    }
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
    use std::fs;
    use std::io;
    use std::sync::atomic::Ordering;

    use bytes::Bytes;

    use super::super::testing::{parts, visible};
    use super::{OnConflict, Published};
    use crate::sink::Folder;
    use crate::sink::body::{BUFFER, SMALL};
    use crate::sink::folder::wal::Mark;

    #[test]
    fn a_file_appears_when_it_is_committed_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        for (unnamed, fsync) in [(true, false), (false, false), (true, true)] {
            let root = folder.path().join(format!("{unnamed}-{fsync}"));
            let files = Folder::open(&root, fsync, None).expect("open");
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
                    assert_eq!(part.commit("a/b.png", OnConflict::Keep, |_| Ok(())).expect("commit"), Published::Done);
                    assert_eq!(fs::read(root.join("a/b.png")).expect("read"), bytes);
                    assert_eq!(files.size("a/b.png"), Some(size as u64));
                    fs::remove_dir_all(root.join("a")).expect("remove");
                }
            }
            assert_eq!(parts(&files), 0);
        }
    }

    #[test]
    fn a_file_is_announced_before_it_appears() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Folder::open(folder.path(), false, None).expect("open");
        for (name, size, publish) in
            [("a", 5, OnConflict::Keep), ("b", 2 * SMALL, OnConflict::Keep), ("c", 5, OnConflict::Replace)]
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
        part.commit("d", OnConflict::Keep, |_| Err(io::ErrorKind::StorageFull.into())).expect_err("it cannot be noted");
        assert!(files.look_at("d").is_none(), "nothing appears that could not be announced");
    }

    #[test]
    fn a_taken_name_is_kept_or_replaced_as_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Folder::open(folder.path(), false, None).expect("open");
        for size in [10, 2 * SMALL] {
            fs::write(folder.path().join("a.png"), "theirs").expect("write");
            let part = |byte: u8| {
                let mut part = files.begin(Some(size as u64), None);
                part.write(&vec![byte; size].into()).expect("write");
                part
            };
            assert_eq!(part(1).commit("a.png", OnConflict::Keep, |_| Ok(())).expect("commit"), Published::NameTaken);
            assert_eq!(fs::read(folder.path().join("a.png")).expect("read"), b"theirs");
            assert_eq!(part(2).commit("a.png", OnConflict::Replace, |_| Ok(())).expect("commit"), Published::Done);
            assert_eq!(fs::read(folder.path().join("a.png")).expect("read"), vec![2; size]);
        }
        drop(files.begin(None, None));
        assert_eq!((visible(folder.path()), parts(&files)), (vec!["a.png".to_owned()], 0));
    }
}
