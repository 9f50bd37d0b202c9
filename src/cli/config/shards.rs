//! Flags of the group "Datasets".

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::num::NonZeroU64;
use std::path::Path;

use super::{UsageError, usage};
use crate::cli::args::{Args, OutputFormatChoice};
use crate::naming::KeyTemplate;
use crate::record::RunError;
use crate::run::SetOptions;
use crate::sink::shards::{Destination, Options, OutputFormat, SetInfo, Slice, Units};
use crate::util::location::Location;

/// `--output -`.
const STDOUT: &str = "-";

/// Whether the images go to standard output.
pub fn takes_stdout(args: &Args) -> bool {
    args.output == Path::new(STDOUT)
}

/// How a set of shards is made, or `None` if each image becomes a file.
pub fn set_options(args: &Args) -> Result<Option<SetOptions>, UsageError> {
    let format = match args.output_format {
        OutputFormatChoice::Files => return files_only(args).map(|()| None),
        OutputFormatChoice::Webdataset => OutputFormat::Webdataset,
        OutputFormatChoice::Parquet => OutputFormat::Parquet,
    };
    let of_files = [
        ("--state", args.state.is_some(), "a set keeps what it needs in its folder"),
        ("--metadata", args.metadata.is_some(), "each shard has a table with all columns"),
        ("--remake", args.remake, "--overwrite makes shards anew"),
        ("--rename", args.rename, "--overwrite makes shards anew"),
        ("--skip-permanent", args.skip_permanent, "rows of a complete shard are not asked for again"),
        ("--name", args.name_is_given, "samples have keys, which --key makes"),
    ];
    if let Some((flag, _, instead)) = of_files.iter().find(|(_, is_given, _)| *is_given) {
        return usage(format!("{flag} is for folders of files; {instead}, so leave it out"));
    }
    if args.compare {
        return usage("--compare fetches everything twice, and a set is made once; compare with --output-format files");
    }
    let destination = if takes_stdout(args) {
        if format == OutputFormat::Parquet {
            return usage(
                "-o - is a tar stream, so it needs --output-format webdataset; Parquet is written to a folder",
            );
        }
        if io::stdout().is_terminal() {
            return usage(
                "-o - is a tar stream, which a terminal cannot show; write it to a file or to another program",
            );
        }
        Destination::Stdout
    } else {
        match location(&args.output)? {
            Location::Folder(folder) => Destination::Folder(folder),
            Location::Store(url) => Destination::Store(url),
        }
    };
    if args.scratch.is_some() && !matches!(destination, Destination::Store(_)) {
        return usage(
            "--scratch is for sets in object stores; a set in a folder keeps unfinished shards there, so leave it out",
        );
    }
    let Some(size) = NonZeroU64::new(args.shard_size) else {
        return usage("--shard-size 0 would hold nothing; write the rows of a shard, such as 10000");
    };
    if args.shard.is_some() && args.slice.is_some() {
        return usage(
            "--shard says that the whole list is one shard, of which --slice cannot take a share; leave out one",
        );
    }
    let slice = args.slice.as_deref().map(|text| slice(text, |name| std::env::var(name).ok())).transpose()?;
    let keys = args.key.parse::<KeyTemplate>().or_else(|error| usage(format!("--key {}: {error}", args.key)))?;
    let column = |column: &str| column == args.url_column || Some(column) == args.checksum_column.as_deref();
    if let Some(taken) = args.caption_column.iter().map(String::as_str).chain(keys.columns()).find(|name| column(name))
    {
        return usage(format!(
            "column {taken} holds the URL or the checksum, which is neither a caption nor part of a key"
        ));
    }
    let name = args.shard.as_deref().map(shard_name).transpose()?;
    Ok(Some(SetOptions {
        shards: Options {
            format,
            destination,
            scratch: args.scratch.clone(),
            units: Units { size, name, slice, retries: None },
            caption_column: args.caption_column.clone(),
            column_types: Vec::new(),
            settings: args.set_settings.clone(),
            fsync: args.fsync,
            digests: Vec::new(),
            dedupe: args.dedupe,
            replaces: args.overwrite,
        },
        keys,
    }))
}

/// Refuses flags of sets where each image becomes a file.
fn files_only(args: &Args) -> Result<(), UsageError> {
    let given = [
        ("--caption-column", args.caption_column.is_some()),
        ("--slice", args.slice.is_some()),
        ("--shard", args.shard.is_some()),
        ("--shard-size", args.shard_size_is_given),
        ("--key", args.key_is_given),
        ("--scratch", args.scratch.is_some()),
        ("-o -", takes_stdout(args)),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => {
            usage(format!("{flag} is for sets of shards; add --output-format webdataset, or leave it out"))
        }
        None => Ok(()),
    }
}

/// `--shard`.
fn shard_name(name: &str) -> Result<String, UsageError> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if name.is_empty() || !name.chars().all(is_plain) || name.len() > 100 {
        return usage(format!("--shard {name}: a shard has a name of letters, digits, - and _, such as 00012"));
    }
    if Units::is_retry_name(name) {
        return usage(format!(
            "--shard {name}: such names are those of the shards that --retry-failed makes; choose another"
        ));
    }
    Ok(name.to_owned())
}

/// Variables with the number of a task and the number of tasks: of AWS Batch, Google Batch and Cloud Run.
const ARRAYS: [(&str, &str); 3] = [
    ("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    ("BATCH_TASK_INDEX", "BATCH_TASK_COUNT"),
    ("CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT"),
];

/// `--slice`: `I/N`, `auto`, or `auto/N` where the number of tasks is not in a variable.
fn slice(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Slice, UsageError> {
    let number = |name: &str| variable(name).and_then(|value| value.trim().parse::<u64>().ok());
    let found = match text.split_once('/') {
        Some(("auto", count)) => count.parse().ok().and_then(|count| {
            let first = ARRAYS.iter().map(|(index, _)| *index).chain(["JOB_COMPLETION_INDEX"]);
            let index = first.chain(["SLURM_ARRAY_TASK_ID"]).find_map(number)?;
            Slice::new(index, count)
        }),
        Some((index, count)) => {
            index.parse().ok().zip(count.parse().ok()).and_then(|(index, count)| Slice::new(index, count))
        }
        None if text == "auto" => {
            let slurm = number("SLURM_ARRAY_TASK_ID").and_then(|task| {
                let (first, step) =
                    (number("SLURM_ARRAY_TASK_MIN")?, number("SLURM_ARRAY_TASK_STEP").unwrap_or(1).max(1));
                let (index, count) = (task.checked_sub(first)? / step, number("SLURM_ARRAY_TASK_COUNT")?);
                // Parts of an array that were asked for one by one say nothing about the others.
                let is_whole = number("SLURM_ARRAY_TASK_MAX").is_none_or(|last| last == first + (count - 1) * step);
                is_whole.then(|| Slice::new(index, count)).flatten()
            });
            let others = ARRAYS.iter().find_map(|(index, count)| Slice::new(number(index)?, number(count)?));
            slurm.or(others)
        }
        None => None,
    };
    let is_slurm = variable("SLURM_ARRAY_TASK_ID").is_some();
    found.ok_or_else(|| {
        UsageError(match text {
            "auto" if is_slurm => {
                "--slice auto: the tasks of this Slurm array are not evenly numbered (SLURM_ARRAY_TASK_MIN, _MAX, _STEP and \
                 _COUNT do not fit together), so they do not tell which share this is; submit it with --array=0-15 or the \
                 like, or write the share, as in --slice 3/16"
                    .to_owned()
            }
            "auto" | "auto/" => {
                "--slice auto: no variable of Slurm, AWS Batch, Google Batch or Cloud Run says which share this is; write it, \
                 as in --slice 3/16, or --slice auto/16 in an indexed Job of Kubernetes"
                    .to_owned()
            }
            _ => format!("--slice {text}: write the number of the share, from 0, and how many there are, such as 3/16"),
        })
    })
}

/// What `-o` names: a folder, or a place in an object store.
pub fn location(output: &Path) -> Result<Location, UsageError> {
    Location::parse(output).or_else(|sentence| usage(format!("-o {}: {sentence}", output.display())))
}

/// Where the set or the files are that `--retry-failed` or `--verify-output` looks at.
pub fn existing_output(args: &Args) -> Result<Location, UsageError> {
    if takes_stdout(args) {
        return usage("-o - leaves nothing behind that could be looked at; name a folder with -o");
    }
    location(&args.output)
}

/// Flags that a set cannot give by itself: its author does not decide what is read here.
const PERMISSIONS: [&str; 2] = ["file-urls", "store-urls"];

/// The command line with the flags before it that a set in the folder was made with, so that its further shards are like
/// those that are there.
///
/// # Errors
/// When it is in a store and cannot be read, or is not there.
pub fn with_flags_of_set(mut command_line: Vec<OsString>, args: &Args) -> Result<Vec<OsString>, RunError> {
    let Ok(output) = location(&args.output) else { return Ok(command_line) };
    let fail = |source| RunError::Journal { path: output.root(), source };
    let found = match SetInfo::read(&output) {
        Ok(None) if output.folder().is_none() && args.output_format == OutputFormatChoice::Files => {
            let sentence = "there is no set in it; name another place with -o";
            return Err(fail(io::Error::new(io::ErrorKind::NotFound, sentence)));
        }
        Err(error) if output.folder().is_none() => return Err(fail(error)),
        // What cannot be read of a folder is found again when the set is opened.
        found => found.unwrap_or_default(),
    };
    if let Some(set) = found {
        let mut flags = vec!["--output-format".into(), set.output_format.into()];
        for (flag, value) in set.settings.into_iter().filter(|(flag, _)| !PERMISSIONS.contains(&&**flag)) {
            // A flag without a value is followed by another one.
            flags.push(if value == "true" { format!("--{flag}").into() } else { format!("--{flag}={value}").into() });
        }
        command_line.splice(1..1, flags);
    }
    Ok(command_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_by_the_variables_of_schedulers() {
        for (text, variables, expected) in [
            ("3/16", &[][..], Some((3, 16))),
            ("16/16", &[], None),
            ("a/2", &[], None),
            ("3", &[], None),
            ("auto", &[], None),
            (
                "auto",
                &[("SLURM_ARRAY_TASK_ID", 5), ("SLURM_ARRAY_TASK_MIN", 1), ("SLURM_ARRAY_TASK_COUNT", 8)],
                Some((4, 8)),
            ),
            (
                "auto",
                &[
                    ("SLURM_ARRAY_TASK_ID", 7),
                    ("SLURM_ARRAY_TASK_MIN", 3),
                    ("SLURM_ARRAY_TASK_MAX", 7),
                    ("SLURM_ARRAY_TASK_COUNT", 2),
                ],
                None,
            ),
            ("auto", &[("AWS_BATCH_JOB_ARRAY_INDEX", 0), ("AWS_BATCH_JOB_ARRAY_SIZE", 2)], Some((0, 2))),
            ("auto", &[("CLOUD_RUN_TASK_INDEX", 1), ("CLOUD_RUN_TASK_COUNT", 2)], Some((1, 2))),
            ("auto", &[("BATCH_TASK_INDEX", 1), ("BATCH_TASK_COUNT", 2)], Some((1, 2))),
            ("auto", &[("JOB_COMPLETION_INDEX", 1)], None),
            ("auto/4", &[("JOB_COMPLETION_INDEX", 1)], Some((1, 4))),
            ("auto/4", &[("JOB_COMPLETION_INDEX", 4)], None),
        ] {
            let variable = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, n)| n.to_string());
            let found = slice(text, variable).ok().map(|slice| (slice.number, slice.count.get()));
            assert_eq!(found, expected, "{text} {variables:?}");
        }
    }
}
