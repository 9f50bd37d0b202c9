//! An identifier of the current boot of the system.
//!
//! Data that a killed program has written stays with the kernel and is safe. After a loss of power, a file may have its
//! name and size in the folder while its data never reached the disk. The boot in which a file was written tells the two
//! cases apart.

use std::fs;

/// The first 8 hexadecimal digits of the kernel's boot id (`random(4)`), the same for every process until the next boot.
///
/// `None` outside Linux: then no unfinished file is trusted later.
#[must_use]
pub fn id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits = id.trim().split('-').next()?;
    (digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| digits.to_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_id_stays_the_same_within_a_boot() {
        let id = super::id().expect("Linux has one");
        assert_eq!((id.len(), super::id()), (8, Some(id.clone())));
    }
}
