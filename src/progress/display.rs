//! Where a run is shown, if anywhere.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::Counters;
#[cfg(feature = "cli")]
use super::screen::{self, Screen};
use super::status::Facts;

/// Where a run is shown while it goes on.
#[derive(Clone, Debug, Default)]
pub enum Display {
    /// Nowhere.
    #[default]
    None,
    /// On standard error.
    #[cfg(feature = "cli")]
    Screen(Screen),
}

/// Shows a pass until it is dropped.
#[derive(Debug)]
pub struct Watch {
    #[cfg(feature = "cli")]
    _on_screen: Option<screen::Watch>,
}

impl Display {
    /// Counters that know what is shown of them: about `at_once` downloads in flight, if anything.
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

    /// Shows a pass until the watch is dropped. `title`: its name, where there is more than one.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch<F>(&self, title: &'static str, counters: Arc<Counters>, facts: F) -> io::Result<Watch>
    where
        F: Fn() -> Facts + Send + 'static,
    {
        match self {
            Self::None => {
                drop((title, counters, facts));
                Ok(Watch {
                    #[cfg(feature = "cli")]
                    _on_screen: None,
                })
            }
            #[cfg(feature = "cli")]
            Self::Screen(screen) => Ok(Watch { _on_screen: Some(screen.watch(title, counters, facts)?) }),
        }
    }
}
