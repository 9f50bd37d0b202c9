//! What a run that makes shards would find in its folder (`--dry-run`). Nothing is created or changed.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::target::{read_marker, shard_names};
use super::unit::{KeyRules, Unit, UnitError};
use super::{MARKER_SUFFIX, OTHER_OPTIONS, Options, OutputFormat, PresentShard, other_shard, set};
use crate::record::{Row, RunError};
use crate::util::location::Location;

/// A set, as a run would find it.
#[derive(Debug)]
pub struct Preview {
    /// Where the set is, with the names of the shards in it; `None` if the run leaves none as they are.
    found: Option<(Location, BTreeSet<String>)>,
    format: OutputFormat,
    settings: String,
    present: Option<PresentShard>,
}

impl Preview {
    /// Looks at the set that a run with these options would make.
    ///
    /// # Errors
    /// When the run would be refused.
    pub fn open(options: &Options) -> Result<Self, RunError> {
        let info = options.info();
        let mut found = None;
        if let Some(root) = options.destination.location() {
            root.folder().map_or(Ok(()), set::refuse_file)?;
            set::check(&root, &info, options.replaces)?;
            let shards = match root.names() {
                Ok(names) => shard_names(&names),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(source) => return Err(RunError::Output { path: root.root(), source }),
            };
            found = Some((root, shards.into_iter().collect())).filter(|_| !options.replaces);
        }
        Ok(Self { found, format: options.format, settings: info.digest(), present: None })
    }

    /// Begins with the rows of a shard, after all rows of the one before it. Returns whether the shard is there.
    ///
    /// # Errors
    /// When the run would be refused because of this shard or of the one before it.
    pub fn enter(&mut self, number: u64, name: &str) -> Result<bool, RunError> {
        self.end()?;
        let Some((root, _)) = self.found.as_ref().filter(|(_, shards)| shards.contains(name)) else {
            return Ok(false);
        };
        let path = || root.path(&format!("{name}{MARKER_SUFFIX}"));
        let marker = read_marker(root, name);
        let Some(marker) = marker.map_err(|source| RunError::Output { path: path(), source })? else {
            return Ok(false);
        };
        if marker.fetchimg.settings != self.settings {
            return Err(other_shard(&root.root(), self.format, (name, OTHER_OPTIONS.to_owned())));
        }
        self.present = Some(PresentShard::new(marker, Unit::without_files(number, name.to_owned())));
        Ok(true)
    }

    /// Takes a row of the shard that is entered. `row`: its number there.
    ///
    /// # Errors
    /// When it cannot be expressed in JSON.
    pub fn add(&mut self, row: u64, read: &Row) -> Result<(), RunError> {
        let Some(present) = &mut self.present else { return Ok(()) };
        let rules = KeyRules { dedupes: false, is_unique: true };
        let added = match read {
            Ok(job) => present.unit.admit(row, job, String::new(), rules).map(|_| ()),
            Err(record) => present.unit.admit_invalid(row, record, String::new(), rules).map(|_| ()),
        };
        present.count();
        added.map_err(|error| match error {
            UnitError::Io(source) => RunError::System(source),
            UnitError::OtherOrigin => RunError::System(std::io::Error::other("a shard without files has an origin")),
        })
    }

    /// Ends with the rows of the shard that is entered.
    ///
    /// # Errors
    /// When it was made from other rows.
    pub fn end(&mut self) -> Result<(), RunError> {
        let Some(present) = self.present.take() else { return Ok(()) };
        let root = self.found.as_ref().map_or_else(PathBuf::new, |(root, _)| root.root());
        match present.difference() {
            None => Ok(()),
            Some(sentence) => Err(other_shard(&root, self.format, (&present.unit.name, sentence))),
        }
    }
}
