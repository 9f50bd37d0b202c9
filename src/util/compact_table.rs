//! A hash table of small numbers for millions of rows, which takes a few bytes for each entry.
//!
//! A [`CompactTable`] stores numbers under hashes and never the keys that were hashed. Two keys with the same hash are the
//! same key here; the caller must tolerate that or compare the keys itself.
//!
//! The table has 256 partitions, selected by the first byte of the hash, which therefore is not stored. A partition is a
//! hash table with linear probing whose entries are kept in the order of their hashes. The home slot of a hash is
//! proportional to it: a hash at a quarter of the range has its home slot at a quarter of the partition. Entries with
//! neighbouring home slots push each other back into the free slots that follow. Hashes are distributed evenly, so an entry
//! is found a few slots after its home slot, even when nine of ten slots are in use.
//!
//! The hash table of the standard library doubles when it is full and is half empty after that. Here a partition grows by
//! a quarter. Growing keeps the order of the entries, so it is done in place, one partition at a time; the old and the new
//! entries never exist side by side.
//!
//! The hash must be keyed or cryptographic. Otherwise a list of URLs could be written so that its hashes collide, and every
//! look-up would become a linear search.

/// Number of partitions: the values of the first byte of a hash.
const PARTITIONS: usize = 256;

/// Slots that a partition has when it gets its first entry, and by which it is lengthened beyond its home slots.
const MIN_SLOTS: usize = 16;

/// A hash table of numbers of `VALUE` bytes. Of a hash, only the first `1 + KEY` bytes are compared. An entry takes
/// `KEY + VALUE` bytes, and about a quarter more for free slots.
///
/// A value is any number except zero. One hash may have several values.
#[derive(Clone, Debug)]
pub struct CompactTable<const KEY: usize, const VALUE: usize> {
    partitions: Box<[Partition<KEY, VALUE>]>,
}

impl<const KEY: usize, const VALUE: usize> Default for CompactTable<KEY, VALUE> {
    fn default() -> Self {
        const { assert!(4 <= KEY && KEY <= 7 && 1 <= VALUE && VALUE <= 8, "the arithmetic below needs these sizes") };
        Self { partitions: vec![Partition::default(); PARTITIONS].into_boxed_slice() }
    }
}

impl<const KEY: usize, const VALUE: usize> CompactTable<KEY, VALUE> {
    /// The partition of a hash, and the part of the hash that is stored there as the key.
    fn split(hash: u64) -> (usize, u64) {
        let [first, ..] = hash.to_be_bytes();
        (usize::from(first), (hash << 8) >> (64 - 8 * KEY))
    }

    /// The values under a hash.
    pub fn values(&self, hash: u64) -> impl Iterator<Item = u64> {
        let (partition, key) = Self::split(hash);
        let partition = &self.partitions[partition];
        (partition.lower_bound(key)..partition.slots()).map_while(move |slot| match partition.entry(slot) {
            Some((found, value)) if found == key => Some(value),
            _ => None,
        })
    }

    /// The value under a hash that has at most one value.
    #[must_use]
    pub fn get(&self, hash: u64) -> Option<u64> {
        self.values(hash).next()
    }

    /// Adds a value to those that the hash already has.
    pub fn add(&mut self, hash: u64, value: u64) {
        let (partition, key) = Self::split(hash);
        self.partitions[partition].add(key, value);
    }

    /// Replaces the value of a hash, or adds it if there is none.
    pub fn set(&mut self, hash: u64, value: u64) {
        let (partition, key) = Self::split(hash);
        let partition = &mut self.partitions[partition];
        let slot = partition.lower_bound(key);
        match partition.entry(slot) {
            Some((found, _)) if found == key => partition.put(slot, key, value),
            _ => partition.add(key, value),
        }
    }

    /// Removes one occurrence of a value.
    pub fn remove(&mut self, hash: u64, value: u64) {
        let (partition, key) = Self::split(hash);
        let partition = &mut self.partitions[partition];
        let mut slot = partition.lower_bound(key);
        while let Some((found, stored)) = partition.entry(slot)
            && found == key
        {
            if stored == value {
                partition.remove(slot);
                return;
            }
            slot += 1;
        }
    }

    /// Replaces every value by what `change` returns for it, and removes the entry where that is `None`.
    pub fn filter_map_in_place(&mut self, mut change: impl FnMut(u64) -> Option<u64>) {
        for partition in &mut self.partitions {
            let mut slot = 0;
            while slot < partition.slots() {
                if let Some((key, value)) = partition.entry(slot) {
                    let Some(value) = change(value) else {
                        // The next entry may have moved into this slot.
                        partition.remove(slot);
                        continue;
                    };
                    partition.put(slot, key, value);
                }
                slot += 1;
            }
        }
    }
}

/// The entries whose hashes begin with the same byte, in the order of their hashes.
#[derive(Clone, Debug, Default)]
struct Partition<const KEY: usize, const VALUE: usize> {
    /// Slots of `KEY + VALUE` bytes: the stored part of the hash and the value, both big-endian. A slot is free if its value
    /// is zero.
    bytes: Vec<u8>,
    /// Number of slots that are the home slot of some hash. Further slots hold the entries pushed back beyond these.
    home_slots: usize,
    entries: usize,
}

impl<const KEY: usize, const VALUE: usize> Partition<KEY, VALUE> {
    const SLOT_BYTES: usize = KEY + VALUE;

    fn slots(&self) -> usize {
        self.bytes.len() / Self::SLOT_BYTES
    }

    /// The home slot of a key among `home_slots`.
    fn home(key: u64, home_slots: usize) -> usize {
        // The product does not overflow: with 2^32 slots in a partition, the table would take many terabytes.
        (((key >> (8 * KEY - 32)) * home_slots as u64) >> 32) as usize
    }

    /// The key and the value in a slot; `None` for a free slot and beyond the end.
    fn entry(&self, slot: usize) -> Option<(u64, u64)> {
        let (key, value) = self.bytes.get(slot * Self::SLOT_BYTES..)?.get(..Self::SLOT_BYTES)?.split_at(KEY);
        let (mut key_bytes, mut value_bytes) = ([0; 8], [0; 8]);
        key_bytes[8 - KEY..].copy_from_slice(key);
        value_bytes[8 - VALUE..].copy_from_slice(value);
        let value = u64::from_be_bytes(value_bytes);
        (value != 0).then_some((u64::from_be_bytes(key_bytes), value))
    }

    fn put(&mut self, slot: usize, key: u64, value: u64) {
        let slot = &mut self.bytes[slot * Self::SLOT_BYTES..][..Self::SLOT_BYTES];
        slot[..KEY].copy_from_slice(&key.to_be_bytes()[8 - KEY..]);
        slot[KEY..].copy_from_slice(&value.to_be_bytes()[8 - VALUE..]);
    }

    /// Moves a range of slots so that it begins at the slot `to`.
    fn shift(&mut self, slots: std::ops::Range<usize>, to: usize) {
        self.bytes.copy_within(slots.start * Self::SLOT_BYTES..slots.end * Self::SLOT_BYTES, to * Self::SLOT_BYTES);
    }

    /// The first slot, from the key's home slot on, that is free or holds a key that is not smaller.
    fn lower_bound(&self, key: u64) -> usize {
        let mut slot = Self::home(key, self.home_slots);
        while self.entry(slot).is_some_and(|(found, _)| found < key) {
            slot += 1;
        }
        slot
    }

    fn add(&mut self, key: u64, value: u64) {
        if (self.entries + 1) * 10 > self.home_slots * 9 {
            self.grow();
        }
        let slot = self.lower_bound(key);
        let mut free = slot;
        while self.entry(free).is_some() {
            free += 1;
        }
        if free == self.slots() {
            self.lengthen(free + MIN_SLOTS);
        }
        self.shift(slot..free, slot + 1);
        self.put(slot, key, value);
        self.entries += 1;
    }

    /// Removes the entry in a slot and moves the entries forward that it had pushed back.
    fn remove(&mut self, slot: usize) {
        let mut end = slot + 1;
        while self.entry(end).is_some_and(|(key, _)| Self::home(key, self.home_slots) < end) {
            end += 1;
        }
        self.shift(slot + 1..end, slot);
        self.bytes[(end - 1) * Self::SLOT_BYTES..end * Self::SLOT_BYTES].fill(0);
        self.entries -= 1;
    }

    fn lengthen(&mut self, slots: usize) {
        let missing = (slots * Self::SLOT_BYTES).saturating_sub(self.bytes.len());
        // `resize` alone would double the capacity.
        self.bytes.reserve_exact(missing);
        self.bytes.resize(self.bytes.len() + missing, 0);
    }

    /// Adds a quarter more home slots and moves every entry to its new place.
    fn grow(&mut self) {
        let home_slots = (self.home_slots + self.home_slots / 4).max(MIN_SLOTS);
        // Pack all entries at the front, move them to the end of the lengthened partition, and from there, in order, to
        // their new slots. An entry is never written over one that has not moved yet.
        let mut kept = 0;
        let mut end = home_slots;
        for slot in 0..self.slots() {
            let Some((key, value)) = self.entry(slot) else { continue };
            self.put(kept, key, value);
            // The slots needed if this entry is in its home slot and all later ones follow without a gap.
            end = end.max(Self::home(key, home_slots) + self.entries - kept);
            kept += 1;
        }
        self.lengthen(end);
        let packed = self.slots() - kept;
        self.shift(0..kept, packed);
        let mut next = 0;
        for from in packed..packed + kept {
            let Some((key, value)) = self.entry(from) else { unreachable!("{kept} entries are there") };
            let slot = Self::home(key, home_slots).max(next);
            self.bytes[next * Self::SLOT_BYTES..slot * Self::SLOT_BYTES].fill(0);
            self.put(slot, key, value);
            next = slot + 1;
        }
        self.bytes[next * Self::SLOT_BYTES..].fill(0);
        self.home_slots = home_slots;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// A call of one of the table's methods, with a hash and a value.
    #[derive(Clone, Debug)]
    enum Operation {
        Add(u64, u64),
        Set(u64, u64),
        Remove(u64, u64),
        /// Removes the values that this number divides and halves the others, removing those that become zero.
        Halve(u64),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        // Few different hashes: many at the end of a partition, some that differ only in bytes that are not compared, and
        // some with neighbouring home slots.
        let hash = prop_oneof![
            3 => (0..4_u64, 0..40_u64).prop_map(|(first, place)| (first << 56) | (place << 50)),
            1 => (0..4_u64, 0..40_u64).prop_map(|(first, place)| (first << 56) | (0x00FF_FFFF_FFFF_FFFF - (place << 8))),
            1 => (0..4_u64, 0..3_u64).prop_map(|(first, place)| (first << 56) | (7 << 40) | place),
            1 => any::<u64>(),
        ];
        let operation = (0..20, hash, 1..=9_u64).prop_map(|(kind, hash, value)| match kind {
            0..10 => Operation::Add(hash, value),
            10..14 => Operation::Set(hash, value),
            14..19 => Operation::Remove(hash, value),
            _ => Operation::Halve(value),
        });
        prop::collection::vec(operation, 0..400)
    }

    /// The same operations on a map. Only the first seven bytes of a hash are compared.
    fn model(operations: &[Operation]) -> BTreeMap<u64, Vec<u64>> {
        let mut map = BTreeMap::<u64, Vec<u64>>::new();
        for operation in operations {
            match *operation {
                Operation::Add(hash, value) => map.entry(hash >> 8).or_default().push(value),
                Operation::Set(hash, value) => {
                    let values = map.entry(hash >> 8).or_default();
                    // With several values, it does not matter which of them is replaced.
                    values.sort_unstable();
                    match values.first_mut() {
                        Some(first) => *first = value,
                        None => values.push(value),
                    }
                }
                Operation::Remove(hash, value) => {
                    let values = map.entry(hash >> 8).or_default();
                    if let Some(at) = values.iter().position(|stored| *stored == value) {
                        values.remove(at);
                    }
                }
                Operation::Halve(number) => {
                    for values in map.values_mut() {
                        values.retain_mut(|value| {
                            let halved = halved(*value, number);
                            *value = halved.unwrap_or(*value);
                            halved.is_some()
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

    fn halved(value: u64, number: u64) -> Option<u64> {
        (!value.is_multiple_of(number)).then_some(value / 2).filter(|half| *half > 0)
    }

    fn sorted<const KEY: usize, const VALUE: usize>(table: &CompactTable<KEY, VALUE>, hash: u64) -> Vec<u64> {
        let mut values = table.values(hash).collect::<Vec<_>>();
        values.sort_unstable();
        values
    }

    /// Checks that the entries are in order, none before its home slot and none after a free slot that it could use.
    fn check<const KEY: usize, const VALUE: usize>(table: &CompactTable<KEY, VALUE>) {
        for partition in &table.partitions {
            let mut before = None;
            let mut entries = 0;
            for slot in 0..partition.slots() {
                let Some((key, _)) = partition.entry(slot) else { continue };
                let home = Partition::<KEY, VALUE>::home(key, partition.home_slots);
                assert!(home <= slot && (home..slot).all(|between| partition.entry(between).is_some()));
                assert!(before <= Some(key));
                before = Some(key);
                entries += 1;
            }
            assert_eq!(entries, partition.entries);
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
        fn a_table_holds_what_a_map_holds(operations in operations()) {
            let mut table = CompactTable::<6, 1>::default();
            for operation in &operations {
                match *operation {
                    Operation::Add(hash, value) => table.add(hash, value),
                    Operation::Set(hash, value) => {
                        // With several values, replace the same one as the model.
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
                    Operation::Remove(hash, value) => table.remove(hash, value),
                    Operation::Halve(number) => table.filter_map_in_place(|value| halved(value, number)),
                }
            }
            check(&table);
            let map = model(&operations);
            for (hash, values) in &map {
                prop_assert_eq!(&sorted(&table, hash << 8), values);
            }
            let entries = table.partitions.iter().map(|partition| partition.entries).sum::<usize>();
            prop_assert_eq!(entries, map.values().map(Vec::len).sum::<usize>(), "and nothing else");
        }
    }

    #[test]
    fn large_tables_find_every_entry_and_waste_little_memory() {
        const ENTRIES: u64 = 100_000;
        let hasher = RandomState::new();
        let mut table = CompactTable::<7, 6>::default();
        for number in 1..=ENTRIES {
            table.set(hasher.hash_one(number), number);
        }
        check(&table);
        for number in 1..=ENTRIES {
            assert_eq!(table.get(hasher.hash_one(number)), Some(number));
            assert_eq!(table.get(hasher.hash_one(number + ENTRIES)), None);
        }
        let bytes = table.partitions.iter().map(|partition| partition.bytes.capacity()).sum::<usize>();
        assert!(bytes < 20 * 100_000, "{bytes} bytes");
        let furthest = table.partitions.iter().flat_map(|partition| {
            (0..partition.slots())
                .filter_map(|slot| Some(slot - Partition::<7, 6>::home(partition.entry(slot)?.0, partition.home_slots)))
        });
        assert!(furthest.max() < Some(300), "an entry is near its home slot");
    }

    #[test]
    fn the_largest_hash_and_value_are_stored_and_found() {
        let mut table = CompactTable::<7, 6>::default();
        table.set(u64::MAX, (1 << 48) - 1);
        table.set(0, 1);
        assert_eq!((table.get(u64::MAX), table.get(0)), (Some((1 << 48) - 1), Some(1)));
    }
}
