//! Which rows belong to which shard. The list alone decides it, so every machine that reads the list knows it.

use std::fmt;
use std::num::NonZeroU64;

/// `--shard-size`: rows of the list for each shard.
pub const DEFAULT_SHARD_SIZE: NonZeroU64 = NonZeroU64::MIN.saturating_add(9_999);

/// Begins the names of shards with rows that are tried again (`--retry-failed`). No list has shards with such names.
const RETRY_PREFIX: &str = "retry-";

/// One of the equal shares of a list (`--slice`): every `count`th shard, from number `number` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The number of this share, from 0.
    pub number: u64,
    /// The number of shares.
    pub count: NonZeroU64,
}

impl Slice {
    /// A share, unless its number is not below the number of shares.
    #[must_use]
    pub fn new(number: u64, count: u64) -> Option<Self> {
        let count = NonZeroU64::new(count)?;
        (number < count.get()).then_some(Self { number, count })
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

/// How the rows of a list are cut into shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units {
    /// Rows of each shard but the last.
    pub size: NonZeroU64,
    /// The whole list is one shard of this name (`--shard`).
    pub name: Option<String>,
    /// Only the shards of this share are made (`--slice`).
    pub slice: Option<Slice>,
    /// The rows are tried again (`--retry-failed`), in shards with names of their own: the numbers of those that are there
    /// already, in order. These are passed over, so that a shard which a killed run has begun gets the same rows again,
    /// whichever others that run has completed.
    pub retries: Option<Vec<u64>>,
}

impl Default for Units {
    fn default() -> Self {
        Self { size: DEFAULT_SHARD_SIZE, name: None, slice: None, retries: None }
    }
}

impl Units {
    /// Whether a shard of this name has rows that are tried again.
    #[must_use]
    pub fn is_retry_name(name: &str) -> bool {
        name.starts_with(RETRY_PREFIX)
    }

    /// The number in the name of a shard with rows that are tried again.
    #[must_use]
    pub fn retry_number(name: &str) -> Option<u64> {
        name.strip_prefix(RETRY_PREFIX)?.parse().ok()
    }

    /// The number of the shard of the row `index`, counted from that of the first row.
    #[must_use]
    pub fn number(&self, index: u64) -> u64 {
        if self.name.is_some() { 0 } else { index / self.size }
    }

    /// The number of the row within its shard.
    #[must_use]
    pub fn row(&self, index: u64) -> u64 {
        if self.name.is_some() { index } else { index % self.size }
    }

    /// The name of a shard: five digits, or what `--shard` says.
    #[must_use]
    pub fn name(&self, number: u64) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let Some(taken) = &self.retries else { return format!("{number:05}") };
        let free = taken.iter().fold(number, |free, taken| if *taken <= free { free + 1 } else { free });
        format!("{RETRY_PREFIX}{free:05}")
    }

    /// The number of the shard of a list that has this name, if one has.
    #[must_use]
    pub fn list_number(name: &str) -> Option<u64> {
        name.parse().ok().filter(|number| format!("{number:05}") == name)
    }

    /// The number from which on a list that was read to its end has no shards, as far as this run knows it: a share does not
    /// know of shards of others that are just behind its own. `entered`: the number behind that of its last shard, or 0.
    #[must_use]
    pub fn end(&self, entered: u64) -> u64 {
        match self.slice {
            None => entered,
            Some(slice) if entered == 0 => slice.number,
            // The shards in between are those of other shares.
            Some(slice) => entered - 1 + slice.count.get(),
        }
    }

    /// Whether this run makes the shard.
    #[must_use]
    pub fn includes(&self, number: u64) -> bool {
        self.slice.is_none_or(|slice| number % slice.count == slice.number)
    }

    /// The number of rows of a whole shard; `None` if only the end of the list tells.
    #[must_use]
    pub const fn whole(&self) -> Option<u64> {
        if self.name.is_some() { None } else { Some(self.size.get()) }
    }

    /// Whether several runs may work in the folder at the same time, each at shards of its own.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.name.is_some() || self.slice.is_some()
    }

    /// Decimal digits of the largest number of a row within a shard, at least four.
    #[must_use]
    pub fn row_digits(&self) -> usize {
        let largest = self.size.get() - 1;
        usize::try_from(largest.checked_ilog10().unwrap_or(0) + 1).unwrap_or(20).max(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_the_list_and_no_row_is_in_two() {
        let size = NonZeroU64::new(7).expect("not zero");
        for count in [1, 2, 3, 10] {
            let slices = (0..count).map(|number| Units { size, slice: Slice::new(number, count), ..Units::default() });
            let slices = slices.collect::<Vec<_>>();
            for index in 0..100 {
                let number = slices[0].number(index);
                assert_eq!(slices.iter().filter(|units| units.includes(number)).count(), 1, "{index} of {count}");
                assert_eq!(number * 7 + slices[0].row(index), index);
            }
        }
        assert_eq!([Slice::new(2, 2), Slice::new(0, 0)], [None, None]);
    }

    #[test]
    fn names_sort_as_their_numbers_do() {
        let units = Units::default();
        assert_eq!([0, 96].map(|number| units.name(number)), ["00000", "00096"]);
        let again = Units { retries: Some(vec![0, 2, 3, 7]), ..Units::default() };
        let names = ["retry-00001", "retry-00004", "retry-00005", "retry-00006", "retry-00008", "retry-00009"];
        assert_eq!([0, 1, 2, 3, 4, 5].map(|number| again.name(number)), names);
        assert_eq!(names.map(Units::retry_number)[1..3], [Some(4), Some(5)]);
        assert_eq!(
            ["00007", "123456", "000123", "7", "a"].map(Units::list_number),
            [Some(7), Some(123_456), None, None, None]
        );
        let third = Units { slice: Slice::new(2, 5), ..Units::default() };
        assert_eq!([units.end(4), third.end(0), third.end(3), third.end(8)], [4, 2, 7, 12]);
        let whole = Units { name: Some("a".into()), ..Units::default() };
        assert_eq!((whole.number(12_345), whole.row(12_345), whole.name(0)), (0, 12_345, "a".to_owned()));
        let digits = |size| Units { size: NonZeroU64::new(size).expect("not zero"), ..Units::default() }.row_digits();
        assert_eq!([1, 10, 10_000, 10_001, 1_000_000].map(digits), [4, 4, 4, 5, 6]);
    }
}
