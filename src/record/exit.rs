//! The exit status of the program, which is what a shell script sees of a run.

use std::process::ExitCode;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every row is saved, skipped on purpose, or refused by the user's own filters.
    Clean,
    /// The run finished; some rows failed.
    SomeFailed,
    /// The command line is wrong.
    Usage,
    /// The run could not start or could not go on.
    Aborted,
    /// Interrupted by SIGHUP, because the terminal is gone.
    HungUp,
    /// Interrupted by SIGINT.
    Interrupted,
    /// Interrupted by SIGTERM.
    Terminated,
}

impl Exit {
    /// The exit status as a number; the numbers are part of the program's interface.
    #[must_use]
    pub const fn status(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::SomeFailed => 1,
            Self::Usage => 2,
            Self::Aborted => 3,
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}
