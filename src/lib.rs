//! fetchimg turns a list of image URLs into verified images on disk.
//!
//! Every row of the input becomes exactly one [`Job`](job::Job), every `Job` becomes exactly one
//! [`Record`](job::Record), and everything a user sees (files, journal, progress, report, exit status) is made from
//! records.
//!
//! The rooms, in the order a URL meets them; [`run`] and [`pass`] wire them, and nothing else does:

pub mod cli;
pub mod config;
pub mod run;
pub mod stop;

pub mod pass;

pub mod input;
pub mod rows;
// A row asks these in turn:
pub mod intents;
pub mod journal;
pub mod lookahead;
pub mod naming;
pub mod schedule;
// Its download goes through these:
pub mod fetch;
pub mod http;
pub mod image;
pub mod limiter;
pub mod meter;
pub mod sink;
// And what came of it is told here:
pub mod exit;
pub mod logging;
pub mod manifest;
pub mod progress;
pub mod report;
// The vocabulary, and what the system allows:
pub mod boot;
pub mod error;
pub mod format;
pub mod job;
pub mod limits;
pub mod shown;

use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;

use crate::cli::Args;
use crate::config::Config;
use crate::error::RunError;
pub use crate::exit::Exit;
use crate::progress::Screen;
use crate::stop::{Signals, Stop};

/// The whole program: a command line, the program's name first, to an exit status.
#[must_use]
pub fn program(line: Vec<OsString>) -> Exit {
    let args = match Args::parse_line(line) {
        Ok(args) => args,
        Err(error) => {
            error.print();
            return if error.is_mistake() { Exit::Usage } else { Exit::Clean };
        }
    };
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => return complain(&error, Exit::Usage),
    };
    let screen = Screen::new(config.seeing.show);
    logging::start(config.seeing.verbosity, config.seeing.show, config.seeing.log_format, screen.clone());
    supervise(config, screen).unwrap_or_else(|error| complain(&RunError::System(error), Exit::Aborted))
}

/// What ends the program.
enum Ended {
    /// The run itself.
    Run(Result<Exit, RunError>),
    /// A second signal.
    Signal(Exit),
    /// A defect, which has told about itself.
    Panic,
}

/// Lets the run go on in a thread of its own and waits for it or for a second signal, whichever comes first: a run may
/// be stuck in a write to somebody who has stopped reading, and has to be left all the same.
fn supervise(config: Config, screen: Screen) -> io::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let stop = Arc::new(Stop::default());
    let (tell, told) = mpsc::channel();

    let signals = {
        let _within = runtime.enter();
        Signals::catch()?
    };
    let (listener, insisted) = (Arc::clone(&stop), tell.clone());
    runtime.spawn(async move {
        let exit = listener.listen(signals).await;
        // The run may have ended in the same moment.
        let _ = insisted.send(Ended::Signal(exit));
    });
    let handle = runtime.handle().clone();
    thread::Builder::new().name("run".into()).spawn(move || {
        let run = || handle.block_on(run::run(&config, &screen, &stop));
        let ended = catch_unwind(AssertUnwindSafe(run)).map_or(Ended::Panic, Ended::Run);
        // Nobody may be waiting any more.
        let _ = tell.send(ended);
    })?;

    let ended = told.recv();
    // A lookup by the system's resolver may still hold a thread; nobody waits for its answer any more.
    runtime.shutdown_background();
    Ok(match ended {
        Ok(Ended::Run(Ok(exit)) | Ended::Signal(exit)) => exit,
        Ok(Ended::Run(Err(error))) => complain(&error, Exit::Aborted),
        Ok(Ended::Panic) | Err(_) => Exit::Aborted,
    })
}

/// The last word. It may quote what was typed or read.
fn complain(error: &dyn std::fmt::Display, exit: Exit) -> Exit {
    let text = format!("fetchimg: {error}");
    for line in text.lines() {
        // Whoever has closed standard error does not want to know.
        let _ = writeln!(io::stderr(), "{}", shown::harmless(line));
    }
    exit
}
