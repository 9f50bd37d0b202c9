//! The index of the journal: the state of each row and the offset of its record in the file, in a few bytes per row.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

use crate::util::compact_table::CompactTable;

/// Which rows of a list count as the same row, within a run and across runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowIdentity {
    /// Rows with the same URL: it is fetched once.
    Url,
    /// Rows with the same URL and the same number, so that only another run or another pass has the same row
    /// (`--keep-duplicates`).
    UrlAndNumber {
        /// Whether the run makes more than one pass over the list, and so meets each row again.
        several_passes: bool,
    },
}

/// Which rows of earlier runs the index remembers besides those that were saved or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Which rows are the same.
    pub identity: RowIdentity,
    /// Whether rows are remembered that failed with an error that is not worth a retry (`--skip-permanent`).
    pub failures: bool,
}

impl From<RowIdentity> for Remembered {
    fn from(identity: RowIdentity) -> Self {
        Self { identity, failures: false }
    }
}

/// The key by which a row is looked up in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub(super) u64);

/// The offset of a record in the journal, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset(pub u64);

impl Offset {
    /// What is left of 6 bytes beside the state of a row: enough for a journal of 35 terabytes. In a longer one, the offsets
    /// of later records are wrong. Each record is compared with its row when it is read, so these rows count as unknown.
    const BITS: u32 = 45;
    const MAX: u64 = (1 << Self::BITS) - 1;

    pub fn new(offset: u64) -> Self {
        Self(offset.min(Self::MAX))
    }
}

/// How far a row has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowState {
    /// An earlier pass or run saved it, as the record at this offset says.
    SavedEarlier(Offset),
    /// An earlier run has ended it without an image, as the record at this offset says: refused, or failed for good.
    EndedEarlier(Offset),
    /// This pass has begun it and not ended it. The offset is that of the record of an earlier pass or run that saved it.
    InFlight(Option<Offset>),
    /// This pass has ended it: the offset of its record, and that of the last record that says it is saved, if there is one.
    Done(Offset, Option<Offset>),
}

/// The states of all rows that are remembered.
#[derive(Debug)]
pub(super) struct RowIndex {
    remembered: Remembered,
    /// Keyed anew in every run, so that no list can be written whose rows collide.
    hasher: RandomState,
    table: CompactTable<7, 6>,
    /// For a row that was saved and failed when it was fetched again: the offset of the record that says it is saved, by the
    /// offset of the later one. There are few such rows.
    saved_before: HashMap<u64, Offset>,
}

impl RowIndex {
    const SAVED_EARLIER: u64 = 1;
    const IN_FLIGHT: u64 = 2;
    const IN_FLIGHT_AGAIN: u64 = 3;
    const SAVED: u64 = 4;
    const NOT_SAVED: u64 = 5;
    const SAVED_BEFORE: u64 = 6;
    const ENDED_EARLIER: u64 = 7;

    pub fn new(remembered: Remembered) -> Self {
        Self { remembered, hasher: RandomState::new(), table: CompactTable::default(), saved_before: HashMap::new() }
    }

    pub const fn identity(&self) -> RowIdentity {
        self.remembered.identity
    }

    /// Whether rows are remembered that failed for good.
    pub const fn remembers_failures(&self) -> bool {
        self.remembered.failures
    }

    /// Whether the record at this offset is the one that says which file the row has.
    pub fn says_saved(&self, key: Key, offset: Offset) -> bool {
        match self.get(key) {
            Some(RowState::SavedEarlier(said) | RowState::InFlight(Some(said)) | RowState::Done(_, Some(said))) => {
                said == offset
            }
            _ => false,
        }
    }

    /// The key of a row with this number. `url` is the text or the hash that identifies its URL.
    pub fn key(&self, url: &str, number: u64) -> Key {
        Key(match self.remembered.identity {
            RowIdentity::Url => self.hasher.hash_one(url),
            RowIdentity::UrlAndNumber { .. } => self.hasher.hash_one((url, number)),
        })
    }

    /// The key of a row whose number is needed to tell it from others with the same URL, under any identity.
    pub fn numbered_key(&self, url: &str, number: u64) -> Key {
        Key(self.hasher.hash_one(("numbered", url, number)))
    }

    /// A few bits by which texts are compared.
    pub fn fingerprint(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    /// The key of a row that is no URL. `text` is what its record shows in place of one.
    pub fn key_without_url(&self, text: &str, number: u64) -> Key {
        // Rows without any text differ by their numbers alone.
        let number = if text.is_empty() { Some(number) } else { None };
        Key(self.hasher.hash_one(("no URL", text, number)))
    }

    /// Whether a row that no earlier run has saved may be looked up again, and so has to be remembered.
    pub fn remembers_new_rows(&self) -> bool {
        self.identity() != RowIdentity::UrlAndNumber { several_passes: false }
    }

    pub fn get(&self, key: Key) -> Option<RowState> {
        self.table.get(key.0).map(|value| self.decode(value))
    }

    pub fn set(&mut self, key: Key, state: RowState) {
        let (state, Offset(offset)) = match state {
            RowState::SavedEarlier(offset) => (Self::SAVED_EARLIER, offset),
            RowState::EndedEarlier(offset) => (Self::ENDED_EARLIER, offset),
            RowState::InFlight(None) => (Self::IN_FLIGHT, Offset(0)),
            RowState::InFlight(Some(offset)) => (Self::IN_FLIGHT_AGAIN, offset),
            RowState::Done(offset, None) => (Self::NOT_SAVED, offset),
            RowState::Done(offset, Some(saved)) if saved == offset => (Self::SAVED, offset),
            RowState::Done(offset, Some(saved)) => {
                self.saved_before.insert(offset.0, saved);
                (Self::SAVED_BEFORE, offset)
            }
        };
        self.table.set(key.0, state << Offset::BITS | offset);
    }

    /// Forgets that an earlier run has ended a row without an image, because a later record says something else.
    pub fn forget_ended(&mut self, key: Key) {
        if let Some(RowState::EndedEarlier(Offset(offset))) = self.get(key) {
            self.table.remove(key.0, Self::ENDED_EARLIER << Offset::BITS | offset);
        }
    }

    fn decode(&self, value: u64) -> RowState {
        let offset = Offset(value & Offset::MAX);
        match value >> Offset::BITS {
            Self::SAVED_EARLIER => RowState::SavedEarlier(offset),
            Self::ENDED_EARLIER => RowState::EndedEarlier(offset),
            Self::IN_FLIGHT => RowState::InFlight(None),
            Self::IN_FLIGHT_AGAIN => RowState::InFlight(Some(offset)),
            Self::SAVED => RowState::Done(offset, Some(offset)),
            Self::SAVED_BEFORE => RowState::Done(offset, self.saved_before.get(&offset.0).copied()),
            _ => RowState::Done(offset, None),
        }
    }

    /// Begins another pass: rows that the last pass saved count as saved earlier, and all other rows are new.
    pub fn begin_pass(&mut self) {
        let saved_before = std::mem::take(&mut self.saved_before);
        self.table.filter_map_in_place(|value| {
            let offset = match value >> Offset::BITS {
                Self::SAVED_EARLIER | Self::IN_FLIGHT_AGAIN | Self::SAVED => value & Offset::MAX,
                Self::SAVED_BEFORE => saved_before.get(&(value & Offset::MAX))?.0,
                _ => return None,
            };
            Some(Self::SAVED_EARLIER << Offset::BITS | offset)
        });
    }
}
