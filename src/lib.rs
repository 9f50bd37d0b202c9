//! fetchimg turns a list of image URLs into verified images on disk.
//!
//! Every row of the input becomes exactly one [`Job`](job::Job), every `Job` becomes exactly one
//! [`Record`](job::Record), and everything a user sees (files, journal, progress, report, exit status) is made from
//! records.
//!
//! The rooms, in the order a URL meets them; [`run`], [`dry_run`] and [`pass`] wire them, and nothing else does:

pub mod cli;
pub mod config;
pub mod dry_run;
pub mod run;
pub mod stop;

pub mod pass;

pub mod input;
pub mod rows;
// Where the list is gone through before, or instead:
pub mod sample;
pub mod survey;
// A row asks these in turn:
pub mod admission;
pub mod intents;
pub mod journal;
pub mod lookahead;
pub mod naming;
pub mod schedule;
// What the two that remember every row are made of:
pub mod table;
// Its download goes through these:
pub mod contents;
pub mod fetch;
pub mod http;
pub mod image;
pub mod limiter;
pub mod meter;
pub mod sink;
pub mod transform;
// And what came of it is told here:
pub mod exit;
pub mod logging;
pub mod manifest;
pub mod manual;
pub mod progress;
pub mod report;
// The vocabulary, and what the system allows:
pub mod boot;
pub mod digest;
pub mod error;
pub mod format;
pub mod job;
pub mod limits;
pub mod own;
pub mod shown;
pub mod weight;

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::Arc;

use crate::cli::Args;
use crate::config::Config;
use crate::error::RunError;
pub use crate::exit::Exit;
use crate::progress::{Paint, Screen};
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
    match args.document() {
        Ok(None) => {}
        Ok(Some(document)) => return print(&document),
        Err(error) => return complain(&RunError::System(error), Exit::Aborted),
    }
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => return complain(&error, Exit::Usage),
    };
    let screen = Screen::new(config.seeing.show, Paint::of_locale(logging::colours()));
    logging::start(config.seeing.verbosity, config.seeing.show, config.seeing.log_format, screen.clone());
    supervise(config, &screen).unwrap_or_else(|error| complain(&RunError::System(error), Exit::Aborted))
}

/// Lets the run go on and waits for it or for a second signal, whichever comes first: a run may be stuck in a write to
/// somebody who has stopped reading, and has to be left all the same. So signals have a thread of their own, this one.
///
/// The run itself is a task among those of the downloads: what a download hands over, it takes on the same thread, and
/// nobody has to be woken for that.
fn supervise(config: Config, screen: &Screen) -> io::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let watch = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = Arc::new(Stop::default());
    let ended = watch.block_on(async {
        let signals = Signals::catch()?;
        let run = runtime.spawn({
            let (stop, screen) = (Arc::clone(&stop), screen.clone());
            async move {
                if config.dry_run {
                    dry_run::run(&config, &stop).await
                } else {
                    run::run(&config, &screen, &stop).await
                }
            }
        });
        Ok::<_, io::Error>(tokio::select! {
            ended = run => match ended {
                Ok(Ok(exit)) => exit,
                Ok(Err(error)) => complain(&error, Exit::Aborted),
                // A defect, which has told about itself.
                Err(_) => Exit::Aborted,
            },
            exit = stop.listen(signals) => exit,
        })
    });
    screen.leave();
    // A lookup by the system's resolver may still hold a thread, or the reader of a log; nobody waits for them any more.
    runtime.shutdown_background();
    watch.shutdown_background();
    ended
}

/// Prints a document that was asked for.
fn print(document: &[u8]) -> Exit {
    let mut stdout = io::stdout();
    match stdout.write_all(document).and_then(|()| stdout.flush()) {
        // Whoever has closed the pipe does not want the rest.
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            complain(&RunError::Output { path: "standard output".into(), source }, Exit::Aborted)
        }
        _ => Exit::Clean,
    }
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
