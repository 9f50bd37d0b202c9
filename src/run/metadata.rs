//! Metadata of the saved images (`--metadata`): a table with the name of each file beside the columns of the list, for
//! programs that load folders of images.
//!
//! It is made from the journal, so it has the images of all runs into the folder. It appears under its name when it is
//! complete, and may lie among the images.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use tempfile::NamedTempFile;

use super::Options;
use super::output::{no_folder, parent};
use super::state::State;
use super::status::current_records;
use crate::input::Lists;
use crate::journal::{CurrentRecord, CurrentRecords};
use crate::record::{KnownFile, Reason, RunError, is_plain_path};
use crate::report::table::{ColumnFinder, Purpose, Table, TableFormat, TableRow};
use crate::sink::folder::FolderView;
use crate::util::human::counted;
use crate::util::raw_json::{RawFields, inner};
use crate::util::redact::{escaped, json};

/// The file of the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Where it is.
    pub path: PathBuf,
    /// Its format.
    pub format: TableFormat,
}

/// How many images are in the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The rows of the table.
    pub rows: u64,
    /// The rows that are saved, and whose file is not there any more, or not as it was stored.
    pub missing: u64,
}

/// Checks that the metadata of a run can be written, and keeps its name from the images.
///
/// # Errors
/// Those of [`Metadata::check`].
pub fn prepare(options: &Options, lists: &Lists, state: &mut State) -> Result<(), RunError> {
    let Some(metadata) = &options.metadata else { return Ok(()) };
    metadata.check(lists, &state.folder)?;
    if let Some(path) = metadata.path_in(&state.folder) {
        state.namer.mark_taken(&path);
    }
    Ok(())
}

/// Writes the metadata at the end of a run, when the journal has all records.
///
/// # Errors
/// Those of [`Metadata::write`].
pub fn write(options: &Options, folder: &FolderView) -> Result<(), RunError> {
    let Some(metadata) = &options.metadata else { return Ok(()) };
    let mut records = current_records(folder)?;
    metadata.write(&mut records, folder, options.folder.fsync)?.log(&metadata.path);
    Ok(())
}

impl Metadata {
    /// Checks that the file can be written, before anything is fetched.
    ///
    /// # Errors
    /// When it cannot, or when it is one of the lists or a file that fetchimg keeps for itself.
    pub fn check(&self, lists: &Lists, folder: &FolderView) -> Result<(), RunError> {
        let refuse = |what: &str| Err(self.failed(io::Error::new(io::ErrorKind::InvalidInput, what)));
        if let Ok(existing) = fs::metadata(&self.path) {
            if lists.includes(&existing) {
                return refuse("it is one of the lists");
            }
            if existing.is_dir() {
                return refuse("it is a folder");
            }
        }
        if folder.is_private(&self.path) {
            return refuse("fetchimg keeps its own records there");
        }
        self.begin().map(drop)
    }

    /// The path of the file in the output folder, if it is there: no image may get it.
    #[must_use]
    pub fn path_in(&self, folder: &FolderView) -> Option<String> {
        let (parent, root) = (self.parent().canonicalize().ok()?, folder.root().canonicalize().ok()?);
        let path = parent.strip_prefix(root).ok()?.join(self.path.file_name()?);
        path.to_str().map(str::to_owned)
    }

    /// Writes the metadata of all images in the folder.
    ///
    /// # Errors
    /// When the journal cannot be read, the file cannot be written, or an image has its name.
    pub fn write(
        &self,
        records: &mut CurrentRecords,
        folder: &FolderView,
        is_synced: bool,
    ) -> Result<Written, RunError> {
        let own = self.path_in(folder);
        let mut written = Written { rows: 0, missing: 0 };
        let mut finder = ColumnFinder::new(Purpose::Metadata);
        // Whether each row has a file. Asking for it twice would cost as much as all the rest.
        let mut have_files = Vec::with_capacity(records.len());
        let mut files_of_others = HashMap::new();
        records.for_each(|record| {
            let Some(file) = NamedFile::of(&record) else {
                have_files.push(false);
                return Ok(());
            };
            if Some(&file.path) == own.as_ref() {
                let what = "an image of the list has this name; choose another one";
                return Err(self.failed(io::Error::new(io::ErrorKind::AlreadyExists, what)));
            }
            let is_there = file.is_in(folder);
            have_files.push(is_there);
            if is_there {
                written.rows += 1;
                finder.add(record.with_file);
            } else {
                written.missing += 1;
            }
            if is_there && file.is_of_another {
                files_of_others.insert(file.path, KnownFile::default());
            }
            Ok(())
        })?;
        if !files_of_others.is_empty() {
            describe(&mut files_of_others, records)?;
        }
        let columns = finder.finish();
        let mut file = self.begin()?;
        let to_folder = self.to_folder(folder);
        let mut table = Table::begin(self.format, &columns, io::BufWriter::new(file.as_file_mut()), false)
            .map_err(|source| self.failed(source))?;
        let mut have_files = have_files.into_iter();
        records.for_each(|record| {
            if have_files.next() != Some(true) {
                return Ok(());
            }
            let Some(file) = NamedFile::of(&record) else { return Ok(()) };
            let name = json(&format!("{to_folder}{}", file.path), false);
            let name = name.map_err(|error| RunError::System(error.into()))?;
            let known = files_of_others.get(&file.path).filter(|_| file.is_of_another).map(KnownFile::as_json);
            let row = TableRow { record: record.with_file, known, file_name: std::str::from_utf8(&name).ok() };
            table.write(row).map_err(|source| self.failed(source))
        })?;
        table.finish().map_err(|source| self.failed(source))?;
        if is_synced {
            file.as_file().sync_all().map_err(|source| self.failed(source))?;
        }
        file.persist(&self.path).map_err(|error| self.failed(error.error))?;
        Ok(written)
    }

    /// Creates a hidden file beside the one that it becomes.
    fn begin(&self) -> Result<NamedTempFile, RunError> {
        if !self.parent().is_dir() {
            return Err(no_folder(&self.path, self.parent()));
        }
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{name}.");
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(&prefix).suffix(".part").permissions(Permissions::from_mode(0o666));
        // The error of the system names the hidden file, which the user has not heard of.
        builder.tempfile_in(self.parent()).map_err(|source| self.failed(source.kind().into()))
    }

    fn parent(&self) -> &Path {
        parent(&self.path)
    }

    /// The way from the folder of the file to the images: empty, or a path that ends in a slash.
    fn to_folder(&self, folder: &FolderView) -> String {
        let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        relative(&whole(self.parent()), &whole(folder.root()))
    }

    fn failed(&self, source: io::Error) -> RunError {
        RunError::Output { path: self.path.clone(), source }
    }
}

impl Written {
    /// Logs the result, at the end of a run.
    pub fn log(self, path: &Path) {
        let path = path.display().to_string();
        let Self { rows, missing } = self;
        tracing::info!(target: "fetchimg", "Metadata of {}: {}", counted(rows, "image"), escaped(&path));
        if missing > 0 {
            let images = counted(missing, "image");
            let (were, are, they) = if missing == 1 { ("was", "is", "it is") } else { ("were", "are", "they are") };
            let path = escaped(&path);
            tracing::warn!(
                target: "fetchimg",
                "{images} that {were} saved {are} not there any more, or not of that size; {they} not in {path}"
            );
        }
    }
}

/// The way from one folder to another, both without links: empty, or a path that ends in a slash.
fn relative(from: &Path, to: &Path) -> String {
    let (from, to) = (from.components().collect::<Vec<_>>(), to.components().collect::<Vec<_>>());
    let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let up = from[common..].iter().map(|_| Component::ParentDir);
    let way = up.chain(to[common..].iter().copied());
    way.flat_map(|component| [component.as_os_str().to_string_lossy(), "/".into()]).collect()
}

/// Finds what the records of these files say of them. The records of other rows that have them say no more than the path.
fn describe(files: &mut HashMap<String, KnownFile>, records: &mut CurrentRecords) -> Result<(), RunError> {
    records.for_each(|record| {
        if let Some(file) = NamedFile::of(&record).filter(|file| !file.is_of_another)
            && let Some(known) = files.get_mut(&file.path)
        {
            *known = KnownFile::of_record(record.with_file);
        }
        Ok(())
    })
}

/// The file that a row has.
struct NamedFile {
    path: String,
    /// Its size, if the record says it.
    bytes: Option<u64>,
    /// It was stored for another row with the same content.
    is_of_another: bool,
}

impl NamedFile {
    /// The file of a row that is saved, or whose URL or content is that of another row that is.
    fn of(record: &CurrentRecord) -> Option<Self> {
        let (mut status, mut reason, mut path, mut bytes) = ("", "", None, None);
        for field in RawFields::of(record.with_file) {
            match field.name {
                "status" => status = inner(field.value)?,
                "reason" => reason = inner(field.value)?,
                "path" => path = serde_json::from_str::<String>(field.value).ok(),
                "bytes" => bytes = field.value.parse().ok(),
                _ => {}
            }
        }
        let has_file = match status {
            "saved" => true,
            "skipped" => [Reason::AlreadySaved, Reason::DuplicateUrl, Reason::DuplicateContent]
                .iter()
                .any(|with_file| with_file.name() == reason),
            _ => false,
        };
        let path = path.filter(|path| has_file && is_plain_path(path))?;
        Some(Self { path, bytes, is_of_another: reason == Reason::DuplicateContent.name() })
    }

    /// Whether it is there, as it was stored.
    fn is_in(&self, folder: &FolderView) -> bool {
        folder.size(&self.path).is_some_and(|size| self.bytes.is_none_or(|bytes| bytes == size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_another_folder_is_relative() {
        for (from, to, way) in
            [("/a/b", "/a/b", ""), ("/a", "/a/b/c", "b/c/"), ("/a/b", "/a", "../"), ("/a/x/y", "/a/b", "../../b/")]
        {
            assert_eq!(relative(Path::new(from), Path::new(to)), way, "{from} {to}");
        }
    }
}
