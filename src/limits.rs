//! What the system lets us have: open files.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A download has a connection and a file, and may leave two idle connections behind.
const PER_DOWNLOAD: u64 = 4;

/// Standard streams, the list, the journal, the runtime's own.
const RESERVE: u64 = 32;

/// Raises the soft limit on open files to the hard one, and says how many downloads at once that allows: `wanted`, or
/// fewer.
#[must_use]
pub fn allow(wanted: NonZeroUsize) -> NonZeroUsize {
    let limit = getrlimit(Resource::Nofile);
    let needed = PER_DOWNLOAD.saturating_mul(wanted.get() as u64).saturating_add(RESERVE);
    // No limit at all, or room enough already.
    let Some(soft) = limit.current.filter(|soft| *soft < needed) else { return wanted };
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let available = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // macOS says unlimited and means less.
        Err(_) => Some(soft),
    };
    let fits = available.map_or(u64::MAX, |files| files.saturating_sub(RESERVE) / PER_DOWNLOAD).max(1);
    match usize::try_from(fits).ok().and_then(NonZeroUsize::new) {
        Some(fits) if fits < wanted => fits,
        _ => wanted,
    }
}
