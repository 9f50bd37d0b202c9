//! Where the progress of a run is shown: on the screen, or not at all, as in a library without a terminal.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::Counters;
use super::facts::FactsOf;
#[cfg(feature = "cli")]
use super::screen::{self, Screen};

/// Where the progress of a run is shown.
#[derive(Clone, Debug, Default)]
pub enum Display {
    /// Nowhere.
    #[default]
    None,
    /// On standard error.
    #[cfg(feature = "cli")]
    Screen(Screen),
}

/// Shows the progress of a pass until it is dropped.
#[derive(Debug)]
pub struct DisplayGuard {
    #[cfg(feature = "cli")]
    _on_screen: Option<screen::WatchGuard>,
}

impl Display {
    /// Counters with what is shown; about `at_once` downloads are in flight at the same time.
    #[must_use]
    pub fn counters(&self, at_once: NonZeroUsize) -> Counters {
        match self {
            Self::None => {
                let _ = at_once;
                Counters::default()
            }
            #[cfg(feature = "cli")]
            Self::Screen(screen) => screen.counters(at_once),
        }
    }

    /// Shows the progress of a pass until the guard is dropped. `title` is the name of the pass, or empty if there is only
    /// one.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn watch(&self, title: &'static str, counters: Arc<Counters>, facts: FactsOf) -> io::Result<DisplayGuard> {
        match self {
            Self::None => {
                drop((title, counters, facts));
                Ok(DisplayGuard {
                    #[cfg(feature = "cli")]
                    _on_screen: None,
                })
            }
            #[cfg(feature = "cli")]
            Self::Screen(screen) => Ok(DisplayGuard { _on_screen: Some(screen.watch(title, counters, facts)?) }),
        }
    }
}
