//! What is remembered of each row: how far it has come, and where the record is that says so, in a few bytes.

use std::collections::HashMap;

use crate::util::compact_table::Table;

/// What a row is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(super) u64);

/// Where a record begins in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub u64);

impl Place {
    /// As many bits as there is room for: no journal is 35 terabytes long. If one were, the rows beyond would be taken
    /// for unknown, because another record stands in the place.
    const BITS: u32 = 45;
    const LAST: u64 = (1 << Self::BITS) - 1;

    pub fn at(offset: u64) -> Self {
        Self(offset.min(Self::LAST))
    }
}

/// How far a row has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// An earlier pass or run saved it, as the record there says.
    Earlier(Place),
    /// This pass has met it and it is under way; perhaps it was saved before.
    InFlight(Option<Place>),
    /// This pass is done with it: what it came to, and the record that says it is saved, if it is.
    Done(Place, Option<Place>),
}

/// How far each row has come that is remembered.
#[derive(Debug, Default)]
pub(super) struct Known {
    table: Table<7, 6>,
    /// The places of the records that say a row is saved, by those of later ones that do not, because fetching it again
    /// has failed. There are few.
    saved_before: HashMap<u64, Place>,
}

impl Known {
    const EARLIER: u64 = 1;
    const UNDER_WAY: u64 = 2;
    const UNDER_WAY_AGAIN: u64 = 3;
    const SAVED: u64 = 4;
    const NOT_SAVED: u64 = 5;
    const SAVED_BEFORE: u64 = 6;

    pub fn get(&self, key: Key) -> Option<Standing> {
        self.table.get(key.0).map(|value| self.read(value))
    }

    pub fn set(&mut self, key: Key, standing: Standing) {
        let (state, Place(place)) = match standing {
            Standing::Earlier(place) => (Self::EARLIER, place),
            Standing::InFlight(None) => (Self::UNDER_WAY, Place(0)),
            Standing::InFlight(Some(place)) => (Self::UNDER_WAY_AGAIN, place),
            Standing::Done(place, None) => (Self::NOT_SAVED, place),
            Standing::Done(place, Some(saved)) if saved == place => (Self::SAVED, place),
            Standing::Done(place, Some(saved)) => {
                self.saved_before.insert(place.0, saved);
                (Self::SAVED_BEFORE, place)
            }
        };
        self.table.set(key.0, state << Place::BITS | place);
    }

    fn read(&self, value: u64) -> Standing {
        let place = Place(value & Place::LAST);
        match value >> Place::BITS {
            Self::EARLIER => Standing::Earlier(place),
            Self::UNDER_WAY => Standing::InFlight(None),
            Self::UNDER_WAY_AGAIN => Standing::InFlight(Some(place)),
            Self::SAVED => Standing::Done(place, Some(place)),
            Self::SAVED_BEFORE => Standing::Done(place, self.saved_before.get(&place.0).copied()),
            _ => Standing::Done(place, None),
        }
    }

    /// What this pass has saved counts as saved by an earlier one, and nothing is met.
    pub fn begin_pass(&mut self) {
        let saved_before = std::mem::take(&mut self.saved_before);
        self.table.revise(|value| {
            let place = match value >> Place::BITS {
                Self::EARLIER | Self::UNDER_WAY_AGAIN | Self::SAVED => value & Place::LAST,
                Self::SAVED_BEFORE => saved_before.get(&(value & Place::LAST))?.0,
                _ => return None,
            };
            Some(Self::EARLIER << Place::BITS | place)
        });
    }
}
