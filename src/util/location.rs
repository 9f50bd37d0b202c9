//! Where an output lies: in a folder, or below a prefix of an object store. What is there is read in the same way.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::private_file::remove_if_there;
use super::store::{ObjectReader, StoreUrl};

/// A folder, or a prefix of an object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder.
    Folder(PathBuf),
    /// A prefix of an object store.
    Store(StoreUrl),
}

impl Location {
    /// The location that a user has typed: a path, or the URL of an object store.
    ///
    /// # Errors
    /// A sentence, if it is such a URL and names no place.
    pub fn parse(path: &Path) -> Result<Self, String> {
        match path.to_str().and_then(StoreUrl::parse) {
            Some(url) => url.map(Self::Store),
            None => Ok(Self::Folder(path.to_owned())),
        }
    }

    /// The folder, if it is one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Store(_) => None,
        }
    }

    /// Its path, or its URL, for messages.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.clone(),
            Self::Store(url) => PathBuf::from(url.to_string()),
        }
    }

    /// The path of a file in it, or its URL, for messages.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(name),
            Self::Store(url) => PathBuf::from(url.to_string()).join(name),
        }
    }

    /// The content of a small file, if it is there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let content = match self {
            Self::Folder(folder) => fs::read(folder.join(name)),
            Self::Store(url) => url.store()?.get(name),
        };
        match content {
            Ok(content) => Ok(Some(content)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of all files in it, in order. Those of folders in it may be among them.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = match self {
            Self::Folder(folder) => fs::read_dir(folder)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>()?,
            Self::Store(url) => url.store()?.names()?,
        };
        names.sort();
        Ok(names)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// When it is not there ([`io::ErrorKind::NotFound`]), or cannot be opened.
    pub fn open(&self, name: &str) -> io::Result<OpenFile> {
        match self {
            Self::Folder(folder) => File::open(folder.join(name)).map(OpenFile::Disk),
            Self::Store(url) => url.store()?.open(name).map(OpenFile::Object),
        }
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match self {
            Self::Folder(folder) => remove_if_there(&folder.join(name)),
            Self::Store(url) => url.store()?.remove(name),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Store(url) => url.fmt(f),
        }
    }
}

/// A file that is open for reading. Of an object, only what is read is fetched.
#[derive(Debug)]
pub enum OpenFile {
    /// A file on a disk.
    Disk(File),
    /// An object of a store.
    Object(ObjectReader),
}

impl OpenFile {
    /// Its size in bytes.
    ///
    /// # Errors
    /// When the system does not say it.
    pub fn length(&self) -> io::Result<u64> {
        match self {
            Self::Disk(file) => file.metadata().map(|metadata| metadata.len()),
            Self::Object(object) => Ok(object.length()),
        }
    }

    /// Another handle of it. Those of a file on a disk share one position; that of an object is at its beginning.
    ///
    /// # Errors
    /// When the process has too many open files.
    pub fn another(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Disk(file) => Self::Disk(file.try_clone()?),
            Self::Object(object) => Self::Object(object.at(0)),
        })
    }

    /// Whether it can be read from any position: it is no pipe.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        match self {
            Self::Disk(file) => file.metadata().is_ok_and(|metadata| metadata.is_file()),
            Self::Object(_) => true,
        }
    }
}

impl Read for OpenFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Disk(file) => file.read(buffer),
            Self::Object(object) => object.read(buffer),
        }
    }
}

impl Seek for OpenFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Disk(file) => file.seek(to),
            Self::Object(object) => object.seek(to),
        }
    }
}

#[cfg(feature = "parquet")]
mod parquet {
    use std::io::{self, BufReader, Read};

    use bytes::Bytes;
    use parquet::errors::{ParquetError, Result};
    use parquet::file::reader::{ChunkReader, Length};

    use super::OpenFile;

    impl Length for OpenFile {
        fn len(&self) -> u64 {
            self.length().unwrap_or(0)
        }
    }

    impl ChunkReader for OpenFile {
        type T = Box<dyn Read + Send>;

        fn get_read(&self, start: u64) -> Result<Self::T> {
            Ok(match self {
                Self::Disk(file) => Box::new(file.get_read(start)?) as Self::T,
                Self::Object(object) => Box::new(BufReader::new(object.at(start))),
            })
        }

        fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
            match self {
                Self::Disk(file) => file.get_bytes(start, length),
                Self::Object(object) => {
                    let mut bytes = vec![0; length];
                    let external = |error: io::Error| ParquetError::External(Box::new(error));
                    object.at(start).read_exact(&mut bytes).map_err(external)?;
                    Ok(bytes.into())
                }
            }
        }
    }
}
