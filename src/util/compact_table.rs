//! What is remembered of millions of rows, in a few bytes each.
//!
//! A [`Table`] keeps small numbers under hashes. It never holds what was hashed, so two things with one hash are one
//! thing here, and whoever asks has to live with that or look at the things themselves.
//!
//! It is made of 256 parts, told apart by the first byte of the hash, which is therefore not stored. In a part the
//! entries stand in the order of their hashes, each near the place that its hash asks for: a quarter of the way along
//! if the hash is a quarter of the way to the largest. Where entries crowd, they push each other back; the free slots
//! between them take up the pushing. Because hashes are spread evenly, an entry is found a few slots from where it
//! should be, even when nine slots of ten are taken.
//!
//! That is why there is no hash table of the usual kind here. Those double when they are full, and are half empty just
//! after that; here a part grows by a quarter. Growing keeps the order, so it happens in place, one part after the
//! other, and never holds the old and the new beside each other.
//!
//! The hashes must be spread so that nobody outside can arrange that they crowd.

/// The first byte of a hash selects the part.
const PARTS: usize = 256;

/// Room in a part for so many entries to begin with.
const FIRST_ROOM: usize = 16;

/// Values of `VALUE` bytes under hashes, of which the first `1 + KEY` bytes count. An entry takes `KEY + VALUE` bytes,
/// and a quarter more for the free slots.
///
/// A value is a number other than zero. Several may stand under one hash.
#[derive(Clone, Debug)]
pub struct Table<const KEY: usize, const VALUE: usize> {
    parts: Box<[Part<KEY, VALUE>]>,
}

impl<const KEY: usize, const VALUE: usize> Default for Table<KEY, VALUE> {
    fn default() -> Self {
        const { assert!(4 <= KEY && KEY <= 7 && 1 <= VALUE && VALUE <= 8, "what the arithmetic below is made for") };
        Self { parts: vec![Part::default(); PARTS].into_boxed_slice() }
    }
}

impl<const KEY: usize, const VALUE: usize> Table<KEY, VALUE> {
    /// The part of a hash, and what is stored of it there.
    fn split(hash: u64) -> (usize, u64) {
        let [first, ..] = hash.to_be_bytes();
        (usize::from(first), (hash << 8) >> (64 - 8 * KEY))
    }

    /// The values under a hash.
    pub fn values(&self, hash: u64) -> impl Iterator<Item = u64> {
        let (part, key) = Self::split(hash);
        let part = &self.parts[part];
        (part.lower_bound(key)..part.slots()).map_while(move |slot| match part.entry(slot) {
            Some((found, value)) if found == key => Some(value),
            _ => None,
        })
    }

    /// The value under a hash that has one at most.
    #[must_use]
    pub fn get(&self, hash: u64) -> Option<u64> {
        self.values(hash).next()
    }

    /// Puts a value beside those that are there.
    pub fn add(&mut self, hash: u64, value: u64) {
        let (part, key) = Self::split(hash);
        self.parts[part].add(key, value);
    }

    /// Puts a value in the place of the one that is there, if there is one.
    pub fn set(&mut self, hash: u64, value: u64) {
        let (part, key) = Self::split(hash);
        let part = &mut self.parts[part];
        let slot = part.lower_bound(key);
        match part.entry(slot) {
            Some((found, _)) if found == key => part.put(slot, key, value),
            _ => part.add(key, value),
        }
    }

    /// Takes a value away, once.
    pub fn remove(&mut self, hash: u64, value: u64) {
        let (part, key) = Self::split(hash);
        let part = &mut self.parts[part];
        let mut slot = part.lower_bound(key);
        while let Some((found, there)) = part.entry(slot)
            && found == key
        {
            if there == value {
                part.remove(slot);
                return;
            }
            slot += 1;
        }
    }

    /// Changes every value to what it becomes; those that become nothing go.
    pub fn revise(&mut self, mut becomes: impl FnMut(u64) -> Option<u64>) {
        for part in &mut self.parts {
            let mut slot = 0;
            while slot < part.slots() {
                if let Some((key, value)) = part.entry(slot) {
                    let Some(value) = becomes(value) else {
                        // Another entry may stand here now.
                        part.remove(slot);
                        continue;
                    };
                    part.put(slot, key, value);
                }
                slot += 1;
            }
        }
    }
}

/// The entries whose hashes begin with the same byte.
#[derive(Clone, Debug, Default)]
struct Part<const KEY: usize, const VALUE: usize> {
    /// Slots of `KEY + VALUE` bytes: the rest of the hash and the value, each with its first byte first. No value, no
    /// entry.
    bytes: Vec<u8>,
    /// Places that hashes ask for. Entries that were pushed back at the end stand beyond.
    room: usize,
    entries: usize,
}

impl<const KEY: usize, const VALUE: usize> Part<KEY, VALUE> {
    const SLOT: usize = KEY + VALUE;

    fn slots(&self) -> usize {
        self.bytes.len() / Self::SLOT
    }

    /// The place that a hash asks for, among so many.
    fn home(key: u64, room: usize) -> usize {
        // The product fits: no part has room for 2^32 entries, for all of them together would be many terabytes.
        (((key >> (8 * KEY - 32)) * room as u64) >> 32) as usize
    }

    /// What stands in a slot.
    fn entry(&self, slot: usize) -> Option<(u64, u64)> {
        let (key, value) = self.bytes.get(slot * Self::SLOT..)?.get(..Self::SLOT)?.split_at(KEY);
        let (mut key_bytes, mut value_bytes) = ([0; 8], [0; 8]);
        key_bytes[8 - KEY..].copy_from_slice(key);
        value_bytes[8 - VALUE..].copy_from_slice(value);
        let value = u64::from_be_bytes(value_bytes);
        (value != 0).then_some((u64::from_be_bytes(key_bytes), value))
    }

    fn put(&mut self, slot: usize, key: u64, value: u64) {
        let slot = &mut self.bytes[slot * Self::SLOT..][..Self::SLOT];
        slot[..KEY].copy_from_slice(&key.to_be_bytes()[8 - KEY..]);
        slot[KEY..].copy_from_slice(&value.to_be_bytes()[8 - VALUE..]);
    }

    /// Moves the slots of a range so that they begin at another one.
    fn shift(&mut self, slots: std::ops::Range<usize>, to: usize) {
        self.bytes.copy_within(slots.start * Self::SLOT..slots.end * Self::SLOT, to * Self::SLOT);
    }

    /// The first slot, from where the key asks to be, that is free or holds no smaller key.
    fn lower_bound(&self, key: u64) -> usize {
        let mut slot = Self::home(key, self.room);
        while self.entry(slot).is_some_and(|(found, _)| found < key) {
            slot += 1;
        }
        slot
    }

    fn add(&mut self, key: u64, value: u64) {
        if (self.entries + 1) * 10 > self.room * 9 {
            self.grow();
        }
        let slot = self.lower_bound(key);
        let mut free = slot;
        while self.entry(free).is_some() {
            free += 1;
        }
        if free == self.slots() {
            self.lengthen(free + FIRST_ROOM);
        }
        self.shift(slot..free, slot + 1);
        self.put(slot, key, value);
        self.entries += 1;
    }

    /// Takes the entry of a slot away. Those that it had pushed back move up.
    fn remove(&mut self, slot: usize) {
        let mut end = slot + 1;
        while self.entry(end).is_some_and(|(key, _)| Self::home(key, self.room) < end) {
            end += 1;
        }
        self.shift(slot + 1..end, slot);
        self.bytes[(end - 1) * Self::SLOT..end * Self::SLOT].fill(0);
        self.entries -= 1;
    }

    fn lengthen(&mut self, slots: usize) {
        let missing = (slots * Self::SLOT).saturating_sub(self.bytes.len());
        // Exactly: left to itself, a vector doubles.
        self.bytes.reserve_exact(missing);
        self.bytes.resize(self.bytes.len() + missing, 0);
    }

    /// Makes a quarter more room.
    fn grow(&mut self) {
        let room = (self.room + self.room / 4).max(FIRST_ROOM);
        // All entries together at the front, then at the back of what will be needed, and from there to their places:
        // none comes to stand where another one still waits.
        let mut kept = 0;
        let mut end = room;
        for slot in 0..self.slots() {
            let Some((key, value)) = self.entry(slot) else { continue };
            self.put(kept, key, value);
            // So far it reaches if this entry is at home and all those behind it follow closely.
            end = end.max(Self::home(key, room) + self.entries - kept);
            kept += 1;
        }
        self.lengthen(end);
        let waiting = self.slots() - kept;
        self.shift(0..kept, waiting);
        let mut next = 0;
        for from in waiting..waiting + kept {
            let Some((key, value)) = self.entry(from) else { unreachable!("{kept} entries stand there") };
            let slot = Self::home(key, room).max(next);
            self.bytes[next * Self::SLOT..slot * Self::SLOT].fill(0);
            self.put(slot, key, value);
            next = slot + 1;
        }
        self.bytes[next * Self::SLOT..].fill(0);
        self.room = room;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// What is done to a table, with the number of a hash and a value.
    #[derive(Clone, Debug)]
    enum Deed {
        Add(u64, u64),
        Set(u64, u64),
        Remove(u64, u64),
        /// Values that this number divides go, and the others are halved, as far as they stay values.
        Revise(u64),
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        // Few hashes, many at the very ends of parts, some that differ in nothing that counts, and some that crowd.
        let hash = prop_oneof![
            3 => (0..4_u64, 0..40_u64).prop_map(|(part, place)| (part << 56) | (place << 50)),
            1 => (0..4_u64, 0..40_u64).prop_map(|(part, place)| (part << 56) | (0x00FF_FFFF_FFFF_FFFF - (place << 8))),
            1 => (0..4_u64, 0..3_u64).prop_map(|(part, place)| (part << 56) | (7 << 40) | place),
            1 => any::<u64>(),
        ];
        let deed = (0..20, hash, 1..=9_u64).prop_map(|(kind, hash, value)| match kind {
            0..10 => Deed::Add(hash, value),
            10..14 => Deed::Set(hash, value),
            14..19 => Deed::Remove(hash, value),
            _ => Deed::Revise(value),
        });
        prop::collection::vec(deed, 0..400)
    }

    /// The same with a map. What counts of a hash are its first seven bytes.
    fn model(deeds: &[Deed]) -> BTreeMap<u64, Vec<u64>> {
        let mut map = BTreeMap::<u64, Vec<u64>>::new();
        for deed in deeds {
            match *deed {
                Deed::Add(hash, value) => map.entry(hash >> 8).or_default().push(value),
                Deed::Set(hash, value) => {
                    let values = map.entry(hash >> 8).or_default();
                    // There may be several; what takes the place of which does not matter to anybody.
                    values.sort_unstable();
                    match values.first_mut() {
                        Some(first) => *first = value,
                        None => values.push(value),
                    }
                }
                Deed::Remove(hash, value) => {
                    let values = map.entry(hash >> 8).or_default();
                    if let Some(at) = values.iter().position(|there| *there == value) {
                        values.remove(at);
                    }
                }
                Deed::Revise(number) => {
                    for values in map.values_mut() {
                        values.retain_mut(|value| {
                            let becomes = revised(*value, number);
                            *value = becomes.unwrap_or(*value);
                            becomes.is_some()
                        });
                    }
                }
            }
        }
        map.retain(|_, values| !values.is_empty());
        for values in map.values_mut() {
            values.sort_unstable();
        }
        map
    }

    fn revised(value: u64, number: u64) -> Option<u64> {
        (!value.is_multiple_of(number)).then_some(value / 2).filter(|half| *half > 0)
    }

    fn sorted<const KEY: usize, const VALUE: usize>(table: &Table<KEY, VALUE>, hash: u64) -> Vec<u64> {
        let mut values = table.values(hash).collect::<Vec<_>>();
        values.sort_unstable();
        values
    }

    /// The entries stand in order, none before its place and none behind a free slot that it could have.
    fn check<const KEY: usize, const VALUE: usize>(table: &Table<KEY, VALUE>) {
        for part in &table.parts {
            let mut before = None;
            let mut entries = 0;
            for slot in 0..part.slots() {
                let Some((key, _)) = part.entry(slot) else { continue };
                let home = Part::<KEY, VALUE>::home(key, part.room);
                assert!(home <= slot && (home..slot).all(|between| part.entry(between).is_some()));
                assert!(before <= Some(key));
                before = Some(key);
                entries += 1;
            }
            assert_eq!(entries, part.entries);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 64,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(7),
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_table_holds_what_a_map_holds(deeds in deeds()) {
            let mut table = Table::<6, 1>::default();
            for deed in &deeds {
                match *deed {
                    Deed::Add(hash, value) => table.add(hash, value),
                    Deed::Set(hash, value) => {
                        // As the model does, where there are several.
                        match sorted(&table, hash).first() {
                            Some(first) => {
                                table.remove(hash, *first);
                                table.add(hash, value);
                            }
                            None => table.set(hash, value),
                        }
                        if table.values(hash).count() == 1 {
                            table.set(hash, value);
                        }
                    }
                    Deed::Remove(hash, value) => table.remove(hash, value),
                    Deed::Revise(number) => table.revise(|value| revised(value, number)),
                }
            }
            check(&table);
            let map = model(&deeds);
            for (hash, values) in &map {
                prop_assert_eq!(&sorted(&table, hash << 8), values);
            }
            let entries = table.parts.iter().map(|part| part.entries).sum::<usize>();
            prop_assert_eq!(entries, map.values().map(Vec::len).sum::<usize>(), "and nothing else");
        }
    }

    #[test]
    fn large_tables_find_everything_and_waste_little() {
        const ENTRIES: u64 = 100_000;
        let hasher = RandomState::new();
        let mut table = Table::<7, 6>::default();
        for number in 1..=ENTRIES {
            table.set(hasher.hash_one(number), number);
        }
        check(&table);
        for number in 1..=ENTRIES {
            assert_eq!(table.get(hasher.hash_one(number)), Some(number));
            assert_eq!(table.get(hasher.hash_one(number + ENTRIES)), None);
        }
        let bytes = table.parts.iter().map(|part| part.bytes.capacity()).sum::<usize>();
        assert!(bytes < 20 * 100_000, "{bytes} bytes");
        let furthest = table.parts.iter().flat_map(|part| {
            (0..part.slots()).filter_map(|slot| Some(slot - Part::<7, 6>::home(part.entry(slot)?.0, part.room)))
        });
        assert!(furthest.max() < Some(300), "an entry is near the place that it asks for");
    }

    #[test]
    fn the_largest_value_comes_back() {
        let mut table = Table::<7, 6>::default();
        table.set(u64::MAX, (1 << 48) - 1);
        table.set(0, 1);
        assert_eq!((table.get(u64::MAX), table.get(0)), (Some((1 << 48) - 1), Some(1)));
    }
}
