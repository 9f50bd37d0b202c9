//! Flags of the group "Output and logging".

use super::{UsageError, usage};
use crate::cli::args::{Args, LogFormat, ProgressChoice};
use crate::journal::manifest::ManifestTarget;
use crate::progress::ProgressMode;
use crate::run::{ReportFormat, Reports};

/// What is logged and shown while the run goes on.
#[derive(Debug)]
pub struct Log {
    /// How much the log says: -1 only failures, 0 what happens, 1 and more details.
    pub verbosity: i8,
    /// The form of the log.
    pub format: LogFormat,
    /// What is shown meanwhile.
    pub show: ProgressMode,
}

pub fn reports(args: &Args, manifest: Option<&ManifestTarget>) -> Result<Reports, UsageError> {
    let mut files = Vec::with_capacity(args.report.len());
    for path in &args.report {
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => ReportFormat::Json,
            Some("txt") => ReportFormat::Text,
            Some("html" | "htm") => ReportFormat::Html,
            Some("md") => ReportFormat::Markdown,
            _ => {
                return usage(format!("--report {}: the name must end in .html, .md, .json or .txt", path.display()));
            }
        };
        files.push((format, path.clone()));
    }
    let stdout_taken = manifest == Some(&ManifestTarget::Stdout);
    Ok(Reports {
        files,
        to_stdout: match (stdout_taken, args.json, args.quiet) {
            (true, _, _) | (false, false, true) => None,
            (false, true, _) => Some(ReportFormat::Json),
            (false, false, false) => Some(ReportFormat::Text),
        },
        to_stderr: (stdout_taken && !args.quiet).then_some(ReportFormat::Text),
    })
}

pub fn log(args: &Args) -> Log {
    let show = match args.progress {
        _ if args.quiet => ProgressMode::Off,
        ProgressChoice::Auto => ProgressMode::auto(),
        ProgressChoice::Bar => ProgressMode::Bar,
        ProgressChoice::Log => ProgressMode::Log,
        ProgressChoice::None => ProgressMode::Off,
    };
    let verbosity = if args.quiet { -1 } else { i8::try_from(args.verbose).unwrap_or(i8::MAX) };
    Log { verbosity, format: args.log_format, show }
}
