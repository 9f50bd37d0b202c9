//! Which start of the system this is.
//!
//! What a killed program has written is in the hands of the system, and safe; what a loss of power has met may be in
//! the folder by name and size and yet not on the disk. The two are told apart by the boot in which it was written.

use std::fs;

/// A short name of this boot, the same for every process until the next one. `None` where the system does not tell
/// (outside Linux): then nothing unfinished is trusted later.
#[must_use]
pub fn id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits = id.trim().split('-').next()?;
    (digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| digits.to_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn a_boot_has_a_name_that_stays() {
        let name = super::id().expect("Linux tells");
        assert_eq!((name.len(), super::id()), (8, Some(name.clone())));
    }
}
