//! An identifier of one run, for the names of files that several runs may make in one folder at the same time.

use std::hash::{BuildHasher as _, RandomState};

/// Sixteen hexadecimal digits that no other call gets, in this process or in another one. The number of the process would
/// not do: in containers, each program is process 1, and they may share a folder.
#[must_use]
pub fn unique() -> String {
    // The keys of the hasher come from the system's source of random numbers.
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_are_the_same() {
        let (one, other) = (super::unique(), super::unique());
        assert_eq!((one.len(), one == other), (16, false));
    }
}
