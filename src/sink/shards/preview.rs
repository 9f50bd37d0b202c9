//! What a run that makes shards would find in its folder (`--dry-run`). Nothing is created or changed.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::marker::Marker;
use super::scratch::Scratch;
use super::set::SetInfo;
use super::target::{read_marker, shard_names};
use super::unit::{Conditions, KeyRules, MORE_ROWS, Unit, UnitError, UnitLookup};
use super::{
    MARKER_SUFFIX, Options, PresentShard, made_with_other_options, other_origin, other_shard, scratch_settings, set,
};
use crate::record::{Record, Row, RunError};
use crate::util::location::Location;

/// A set, as a run would find it.
#[derive(Debug)]
pub struct Preview<'a> {
    options: &'a Options,
    /// Where the set is, with the names of the shards in it; `None` if the run leaves none as they are.
    found: Option<(Location, BTreeSet<String>)>,
    /// Where unfinished shards wait.
    scratch: PathBuf,
    settings: String,
    scratch_settings: String,
    boot: String,
    present: Option<PresentShard>,
    /// What a killed run has left of the shard that is entered.
    unfinished: Option<Unit>,
    /// What the set says of itself.
    noted: Option<SetInfo>,
}

impl<'a> Preview<'a> {
    /// Looks at the set that a run with these options would make.
    ///
    /// # Errors
    /// When the run would be refused.
    pub fn open(options: &'a Options) -> Result<Self, RunError> {
        let info = options.info();
        let settings = info.digest();
        let (mut found, mut scratch, mut scratch_digest) = (None, PathBuf::new(), String::new());
        let mut noted = None;
        if let Some(root) = options.destination.location() {
            root.folder().map_or(Ok(()), set::refuse_file)?;
            noted = set::check(&root, &info, options.access())?.filter(|_| options.units.retries.is_none());
            let shards = match root.names() {
                Ok(names) => shard_names(&names),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(source) => return Err(RunError::Output { path: root.root(), source }),
            };
            if !options.replaces {
                scratch = set::scratch_of(&root, options.scratch.as_deref());
                scratch_digest = match scratch_settings(&settings, options) {
                    // There is nothing that could be gone on with.
                    Err(_) if shards.is_empty() => settings.clone(),
                    digest => digest?,
                };
                found = Some((root, shards.into_iter().collect()));
            }
        }
        let (present, unfinished, boot) = (None, None, options.boot());
        let scratch_settings = scratch_digest;
        Ok(Self { options, found, scratch, settings, scratch_settings, boot, present, unfinished, noted })
    }

    /// Begins with the rows of a shard, after all rows of the one before it. Returns whether the shard is there.
    ///
    /// # Errors
    /// When the run would be refused because of this shard or of the one before it.
    pub fn enter(&mut self, number: u64, name: &str) -> Result<bool, RunError> {
        self.end()?;
        let Some((root, shards)) = &self.found else { return Ok(false) };
        let fail = |sentence| other_shard(&root.root(), self.options.format, (name, sentence));
        let marker = if shards.contains(name) { read_marker(root, name) } else { Ok(None) };
        let path = || root.path(&format!("{name}{MARKER_SUFFIX}"));
        let marker = marker.map_err(|source| RunError::Output { path: path(), source })?;
        let is_outdated = |marker: &Marker| self.noted.as_ref().is_some_and(|noted| noted.is_outdated(marker));
        if let Some(marker) = marker.filter(|marker| !is_outdated(marker)) {
            if marker.fetchimg.settings != self.settings {
                return Err(fail(made_with_other_options(name)));
            }
            self.present = Some(PresentShard::new(marker, Unit::without_files(number, name.to_owned())));
            return Ok(true);
        }
        let units = &self.options.units;
        let conditions = Conditions {
            settings: &self.scratch_settings,
            boot: &self.boot,
            begins_anew: false,
            gives_way: units.retries.is_some(),
            is_shared: units.is_shared(),
        };
        let unfinished = Unit::look((number, name.to_owned()), &self.scratch, conditions, |index| units.row(index));
        self.unfinished = unfinished.map_err(|error| match error {
            UnitError::Io(source) => RunError::Output { path: self.scratch.join(name), source },
            other => fail(other_origin(&other, &self.scratch, name)),
        })?;
        Ok(false)
    }

    /// Takes a row of the shard that is entered. `row`: its number there. Returns its record, if a killed run has settled it.
    ///
    /// # Errors
    /// When it cannot be expressed in JSON, or the run would be refused because of it.
    pub fn add(&mut self, row: u64, read: &Row) -> Result<Option<Record>, RunError> {
        let unit = self.present.as_ref().map(|present| &present.unit).or(self.unfinished.as_ref());
        let Some(unit) = unit else { return Ok(None) };
        let rules = KeyRules { dedupes: false, is_unique: true };
        let added = match read {
            Ok(job) => unit.admit(row, job, String::new(), rules).map(|lookup| match lookup {
                UnitLookup::Earlier(line) => serde_json::from_slice(&line).ok(),
                _ => None,
            }),
            Err(record) => unit.admit_invalid(row, record, String::new(), rules).map(|_| None),
        };
        let added = added.map_err(|error| match error {
            UnitError::Io(source) => RunError::System(source),
            other => self.other_shard(&unit.name, other_origin(&other, &self.scratch, &unit.name)),
        });
        if let Some(present) = &mut self.present {
            present.count();
        }
        added
    }

    /// Ends with the rows of the shard that is entered.
    ///
    /// # Errors
    /// When it was made from other rows.
    pub fn end(&mut self) -> Result<(), RunError> {
        let (present, unfinished) = (self.present.take(), self.unfinished.take());
        if let Some(unit) = unfinished.filter(Unit::has_more_rows) {
            let remedy = Scratch::remedy(&self.scratch, &unit.name);
            return Err(self.other_shard(&unit.name, format!("{MORE_ROWS}; {remedy}")));
        }
        match present.as_ref().and_then(PresentShard::difference).zip(present) {
            None => Ok(()),
            Some((sentence, present)) => Err(self.other_shard(&present.unit.name, sentence)),
        }
    }

    fn other_shard(&self, name: &str, sentence: String) -> RunError {
        let root = self.found.as_ref().map_or_else(PathBuf::new, |(root, _)| root.root());
        other_shard(&root, self.options.format, (name, sentence))
    }
}
