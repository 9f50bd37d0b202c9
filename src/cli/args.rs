//! What can be typed: the only file that names clap.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use clap::{ArgAction, CommandFactory as _, Parser, ValueEnum, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::{fetch, http, input, naming, run};

/// Command lines that show what the program is for, and what each does; at the end of the help and of the man page.
const EXAMPLES: &[(&str, &str)] = &[
    ("fetchimg --demo", "a demonstration, offline"),
    ("fetchimg urls.txt -o images", "all at once"),
    ("fetchimg urls.txt -o images --sequential", "one after the other"),
    ("fetchimg urls.txt -o images --compare", "both, side by side"),
    ("fetchimg urls.txt --dry-run", "what would be done"),
    ("fetchimg urls.txt --sample 200", "how long all of it would take"),
    ("generate-urls | fetchimg -o images", "a list from standard input"),
    ("fetchimg photos.csv --url-column image", "a list with columns"),
    ("fetchimg urls.txt --name '{host}/{index:06}'", "a folder for each host"),
];

/// What the exit status says.
const STATUSES: &[(&str, &str)] = &[
    ("0", "every row is saved or knowingly skipped"),
    ("1", "the run finished; some rows failed"),
    ("2", "the command line is wrong"),
    ("3", "the run could not start or go on: list unreadable, output not writable, disk full"),
    ("130", "interrupted by SIGINT; records and report are written"),
    ("143", "the same by SIGTERM"),
];

/// Downloads the images of a list of URLs: many at once, each file complete and checked.
///
/// Every URL becomes one file in the output folder and one record. Run the same command again to continue.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that can be typed")]
#[expect(clippy::doc_markdown, reason = "the docs are the help, where backticks would be noise")]
#[command(
    name = "fetchimg",
    version,
    max_term_width = 100,
    // As with curl, the last one counts; wrappers append their own.
    args_override_self = true,
    after_help = "Exit status: 0 every row is saved or knowingly skipped; 1 some rows failed; 2 the command line is \
                  wrong; 3 the run could not start or go on; 130 or 143 interrupted.",
    after_long_help = after_long_help()
)]
pub struct Args {
    /// List files, URLs of images, or - for standard input; read in order as one list
    #[arg(value_name = "INPUT", value_hint = ValueHint::FilePath)]
    pub input: Vec<OsString>,

    /// Print completions of flags and values for this shell, and do nothing else
    #[arg(long, value_name = "SHELL", conflicts_with = "man")]
    pub completions: Option<Shell>,

    /// Print the man page, and do nothing else
    #[arg(long)]
    pub man: bool,

    /// Show what this program does without the internet: the five pictures of a tutorial, from a server of its own
    ///
    /// A small HTTPS server on loopback plays codeflex.co, draws a picture for each URL, and lets each answer wait 150 ms,
    /// as one from the other side of an ocean. Then both modes fetch the list (--compare) into codeflex_images, and the
    /// files are compared with what the server sent. Other flags may follow, such as --sequential, -j 2 or -o DIR.
    #[arg(long, conflicts_with_all = ["completions", "man"])]
    pub demo: bool,

    /// What lists are; auto: by their names (.csv), else by their first bytes; all may be packed as gzip or zstd
    #[arg(long, value_name = "FORMAT", default_value = "auto", help_heading = "Input")]
    pub input_format: InputFormat,

    /// Column with the URL, or key of the JSON objects
    #[arg(long, value_name = "NAME", default_value = input::DEFAULT_URL_COLUMN, help_heading = "Input")]
    pub url_column: String,

    /// Column with what the image must hash to, in hex; its length tells md5, sha1, sha256 or sha512
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub checksum_column: Option<String>,

    /// Folder for the images; made if missing
    #[arg(short, long, value_name = "DIR", default_value = run::DEFAULT_OUTPUT, value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub output: PathBuf,

    /// Whether that was said.
    #[arg(skip)]
    pub output_is_given: bool,

    /// File name, with / for folders; fields: {basename} {stem} {ext} {index} {index:06} {host} {url_hash} {sha256}
    /// {col.NAME}
    ///
    /// {index/10000} is the number of the row divided by that, {index/10000:04} with leading zeros too. {sha256} is the
    /// SHA-256 of the file, {url_hash} that of the URL, {col.NAME} what the row holds in the column NAME, or "none". Two
    /// numbers take a part: {sha256:0:2} are its first two characters; so with {stem}, {host}, {url_hash} and {col.NAME}.
    #[arg(long, value_name = "TEMPLATE", default_value = naming::DEFAULT_TEMPLATE, help_heading = "Output")]
    pub name: String,

    /// Fetch again what is already there, and replace it
    #[arg(long, help_heading = "Output")]
    pub overwrite: bool,

    /// Fetch every row, also when its URL occurred before, each into a file of its own
    ///
    /// Rows with the same URL get different names: the first keeps the plain one, later ones get a part of the URL's hash
    /// and the number of the row, if --name does not tell them apart already. What an earlier run has saved is found by
    /// URL and row number together, so a list to be continued may grow at its end alone; rows that an earlier run without
    /// this flag left out as duplicates are fetched now. Unfinished bodies are not kept for the next run. With a name
    /// that begins with {index}, nothing is remembered per row, and memory does not grow with the list.
    #[arg(long, help_heading = "Output")]
    pub keep_duplicates: bool,

    /// Replace an extension that contradicts the bytes
    #[arg(long, help_heading = "Output")]
    pub fix_extension: bool,

    /// Flush each file and its folder to the disk before its record says saved
    #[arg(long, help_heading = "Output")]
    pub fsync: bool,

    /// Handle the body in pieces of at most this size
    #[arg(long, value_name = "BYTES", default_value_t = fetch::DEFAULT_CHUNK_SIZE.to_string(), help_heading = "Output")]
    pub chunk_size: String,

    /// A larger body is cut off and fails
    #[arg(long, value_name = "SIZE", default_value_t = mebibytes(fetch::DEFAULT_MAX_BYTES), help_heading = "Output")]
    pub max_bytes: String,

    /// Write the records there too; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub manifest: Option<PathBuf>,

    /// What is wanted: image, a comma list of formats such as jpeg,png,webp, or any
    #[arg(long, value_name = "LIST", default_value = "image", help_heading = "Images")]
    pub accept: String,

    /// Refuse narrower images, as soon as their header tells
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true, help_heading = "Images")]
    pub min_width: Option<u32>,

    /// Refuse images of less height
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true, help_heading = "Images")]
    pub min_height: Option<u32>,

    /// Refuse images of more pixels, width times height
    #[arg(long, value_name = "PIXELS", help_heading = "Images")]
    pub max_pixels: Option<String>,

    /// Refuse images whose longer side is more than so many times the shorter one
    #[arg(long, value_name = "RATIO", allow_negative_numbers = true, help_heading = "Images")]
    pub max_aspect: Option<f64>,

    /// Refuse smaller files
    #[arg(long, value_name = "SIZE", help_heading = "Images")]
    pub min_bytes: Option<String>,

    /// Whether images are sound: structure follows their parts to the end; decode makes all their pixels
    #[arg(long, value_name = "HOW", default_value = "structure", help_heading = "Images")]
    pub verify: VerifyChoice,

    /// Fit images into so many pixels each way, or WIDTHxHEIGHT; their files are made anew then
    #[arg(long, value_name = "PIXELS", help_heading = "Images")]
    pub resize: Option<String>,

    /// What becomes of the proportions: keep-ratio fits all of it in, center-crop fills, border pads with white [default:
    /// keep-ratio]
    #[arg(long, value_name = "MODE", hide_possible_values = true, help_heading = "Images")]
    pub resize_mode: Option<ResizeModeChoice>,

    /// Resize smaller images as well
    #[arg(long, help_heading = "Images")]
    pub enlarge: bool,

    /// Store all images in this format
    #[arg(long, value_name = "FORMAT", help_heading = "Images")]
    pub encode: Option<EncodeChoice>,

    /// How much detail JPEG and WebP files keep that are made anew, from 1 to 100 [default: 90]
    #[arg(long, value_name = "N", help_heading = "Images")]
    pub quality: Option<u8>,

    /// Record what each picture looks like, as a perceptual hash of 64 bits
    #[arg(long, help_heading = "Images")]
    pub phash: bool,

    /// Record these digests of each image: md5, sha1, sha256, sha512, blake3; a comma list
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Images")]
    pub hash: Vec<String>,

    /// Record what the camera noted down: when, where and how the picture was taken
    #[arg(long, help_heading = "Images")]
    pub exif: bool,

    /// Store the same content once: further images of it become hard links to the first
    #[arg(long, help_heading = "Images")]
    pub dedupe: bool,

    /// One URL after the other, in the order of the list
    #[arg(long, help_heading = "Modes", conflicts_with = "compare")]
    pub sequential: bool,

    /// Both modes, sequential first, side by side
    #[arg(long, help_heading = "Modes")]
    pub compare: bool,

    /// Say what would be done, and fetch nothing; --manifest FILE gets the name of each row's file
    #[arg(long, help_heading = "Modes", conflicts_with = "sample")]
    pub dry_run: bool,

    /// Fetch N rows drawn at random, and forecast time, bytes and failures of the whole list
    #[arg(long, value_name = "N", help_heading = "Modes", conflicts_with = "compare")]
    pub sample: Option<usize>,

    /// Draw the rows that another sample of the list drew with this number
    #[arg(long, value_name = "N", help_heading = "Modes", requires = "sample")]
    pub sample_seed: Option<u64>,

    /// Downloads at once, over all hosts
    #[arg(short = 'j', long, value_name = "N", default_value_t = run::DEFAULT_CONCURRENCY.get(), help_heading = "Modes")]
    pub concurrency: usize,

    /// Whether that was said.
    #[arg(skip)]
    pub concurrency_is_given: bool,

    /// Downloads at once per host; auto grows from 6 to 64 while the host keeps up
    #[arg(long, value_name = "N|auto", default_value = "auto", help_heading = "Modes")]
    pub per_host: String,

    /// Requests a second to one host, at most
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Modes")]
    pub rate: Option<f64>,

    /// Bytes a second of all downloads together, at most
    #[arg(long, value_name = "SIZE", help_heading = "Modes")]
    pub limit_rate: Option<String>,

    /// Tries after the first one
    #[arg(long, value_name = "N", default_value_t = http::DEFAULT_RETRIES, help_heading = "HTTP")]
    pub retries: u32,

    /// Wait before the second try; doubles from there
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = http::DEFAULT_RETRY_WAIT.as_secs_f64(), help_heading = "HTTP")]
    pub retry_wait: f64,

    /// Time to connect
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = http::DEFAULT_CONNECT_TIMEOUT.as_secs_f64(), help_heading = "HTTP")]
    pub connect_timeout: f64,

    /// Time without a byte, connecting included; unless given, less for the first try of a row at a quick host
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = http::DEFAULT_STALL_TIMEOUT.as_secs_f64(), help_heading = "HTTP")]
    pub stall_timeout: f64,

    /// Whether that was said.
    #[arg(skip)]
    pub stall_timeout_is_given: bool,

    /// Time for one attempt in all
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = http::DEFAULT_ATTEMPT_TIMEOUT.as_secs_f64(), help_heading = "HTTP")]
    pub timeout: f64,

    /// Send this header ("Name: value"; "Name:" sends none); may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER", help_heading = "HTTP")]
    pub headers: Vec<String>,

    /// Send this User-Agent
    #[arg(short = 'A', long, value_name = "NAME", help_heading = "HTTP")]
    pub user_agent: Option<String>,

    /// Send this Referer
    #[arg(short = 'e', long, value_name = "URL", help_heading = "HTTP")]
    pub referer: Option<String>,

    /// Send these cookies ("a=1; b=2")
    #[arg(short = 'b', long, value_name = "COOKIES", help_heading = "HTTP")]
    pub cookie: Option<String>,

    /// Basic authentication
    #[arg(short = 'u', long, value_name = "USER:PASSWORD", help_heading = "HTTP")]
    pub user: Option<String>,

    /// Credentials by host from ~/.netrc, or the file that NETRC names
    #[arg(long, help_heading = "HTTP")]
    pub netrc: bool,

    /// Use this proxy (http, https, socks5); "" uses none
    #[arg(short = 'x', long, value_name = "URL", help_heading = "HTTP")]
    pub proxy: Option<String>,

    /// Trust the certificates of this PEM file instead of the system's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "HTTP")]
    pub cacert: Option<PathBuf>,

    /// Do not check certificates
    #[arg(short = 'k', long, help_heading = "HTTP")]
    pub insecure: bool,

    /// Connect to ADDRESS instead of looking HOST up; ADDRESS may carry a port of its own; may be repeated
    #[arg(long, value_name = "HOST:PORT:ADDRESS", help_heading = "HTTP")]
    pub resolve: Vec<String>,

    /// Ask these name servers instead of the system's; IP or IP:PORT, a comma list
    #[arg(long, value_name = "ADDRESSES", help_heading = "HTTP")]
    pub dns_servers: Option<String>,

    /// Use IPv4 alone
    #[arg(short = '4', long, help_heading = "HTTP", conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// Use IPv6 alone
    #[arg(short = '6', long, help_heading = "HTTP")]
    pub ipv6: bool,

    /// Connect to addresses of the public internet alone, redirects included
    #[arg(long, help_heading = "HTTP")]
    pub public_only: bool,

    /// Do not use HTTP/2
    #[arg(long = "http1.1", help_heading = "HTTP")]
    pub http1_1: bool,

    /// Redirects to follow
    #[arg(long, value_name = "N", default_value_t = http::DEFAULT_MAX_REDIRECTS, help_heading = "HTTP")]
    pub max_redirs: u32,

    /// Follow redirects from https to http
    #[arg(long, help_heading = "HTTP")]
    pub allow_downgrade: bool,

    /// Say only what failed, and print no report
    #[arg(short, long, help_heading = "Seeing", conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more; -vv says everything
    #[arg(short, long, action = ArgAction::Count, help_heading = "Seeing")]
    pub verbose: u8,

    /// What to show meanwhile; auto: a bar on a terminal, log lines otherwise; none: failures alone
    #[arg(long, value_name = "WHAT", default_value = "auto", help_heading = "Seeing")]
    pub progress: ProgressChoice,

    /// Form of the log lines on standard error
    #[arg(long, value_name = "FORM", default_value = "text", help_heading = "Seeing")]
    pub log_format: LogFormat,

    /// Write the report to FILE too, as .html, .md, .json or .txt; may be repeated
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Seeing")]
    pub report: Vec<PathBuf>,

    /// The report on standard output as JSON
    #[arg(long, help_heading = "Seeing")]
    pub json: bool,
}

/// `--input-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InputFormat {
    Auto,
    Text,
    Csv,
    Tsv,
    Jsonl,
    Parquet,
}

/// `--progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressChoice {
    Auto,
    Bar,
    Log,
    None,
}

/// `--verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyChoice {
    None,
    Structure,
    Decode,
}

/// `--resize-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResizeModeChoice {
    KeepRatio,
    CenterCrop,
    Border,
}

/// `--encode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EncodeChoice {
    Jpeg,
    Png,
    Webp,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl Args {
    /// Parses a command line whose first element is the program's name. Help and errors come back as an error that
    /// knows how to print itself.
    pub fn parse_line(line: impl IntoIterator<Item = OsString>) -> Result<Self, CommandLineError> {
        use clap::FromArgMatches as _;
        use clap::parser::ValueSource;
        let matches = Self::command().try_get_matches_from(line).map_err(CommandLineError)?;
        let mut args = Self::from_arg_matches(&matches).map_err(CommandLineError)?;
        let is_given = |flag| matches.value_source(flag) != Some(ValueSource::DefaultValue);
        args.output_is_given = is_given("output");
        args.stall_timeout_is_given = is_given("stall_timeout");
        args.concurrency_is_given = is_given("concurrency");
        Ok(args)
    }

    /// What is printed instead of doing anything (`--completions`, `--man`). It is made from the definitions above, and
    /// only when it is asked for: no run waits for it.
    ///
    /// # Errors
    /// Never: it is written into memory.
    pub fn document(&self) -> io::Result<Option<Vec<u8>>> {
        let mut document = Vec::new();
        if let Some(shell) = self.completions {
            clap_complete::generate(shell, &mut Self::command(), "fetchimg", &mut document);
        } else if self.man {
            write_man_page(&mut document)?;
        } else {
            return Ok(None);
        }
        Ok(Some(document))
    }

    /// The usage, for somebody who typed nothing.
    #[must_use]
    pub fn usage() -> String {
        Self::command().render_usage().to_string()
    }
}

/// A size as it can be typed.
fn mebibytes(bytes: u64) -> String {
    format!("{}MiB", bytes >> 20)
}

/// The end of `--help`.
fn after_long_help() -> String {
    let mut text = String::new();
    for (title, lines) in [("Examples", EXAMPLES), ("\nExit status", STATUSES)] {
        let width = lines.iter().map(|(left, _)| left.len()).max().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, "{title}:");
        for (left, right) in lines {
            let _ = write!(text, "\n  {left:<width$}  {right}");
        }
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// The man page. Its synopsis and its end are laid out here: the usual ones name each of the many flags in one paragraph,
/// and run the lines of the examples together.
fn write_man_page(page: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(Args::command()).manual("User Commands");
    man.render_title(page)?;
    man.render_name_section(page)?;
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]);
    synopsis.text([bold("fetchimg"), roman(" ["), italic("OPTIONS"), roman("] ["), italic("INPUT"), roman("]...")]);
    synopsis.to_writer(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    let mut end = Roff::new();
    for (title, lines) in [("EXAMPLES", EXAMPLES), ("EXIT STATUS", STATUSES)] {
        end.control("SH", [title]);
        for (left, right) in lines {
            end.control("TP", []);
            end.text([bold(*left)]);
            end.text([roman(*right)]);
        }
    }
    end.to_writer(page)
}

/// The command line was wrong, or asked for help.
#[derive(Debug)]
pub struct CommandLineError(clap::Error);

impl CommandLineError {
    /// Prints what there is to say, help on standard output and errors on standard error.
    pub fn print(&self) {
        // Nobody is left to be told that there is nobody to be told.
        let _ = self.0.print();
    }

    /// Help and version were asked for; everything else is a mistake.
    #[must_use]
    pub fn is_mistake(&self) -> bool {
        self.0.use_stderr()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Args::command().debug_assert();
    }
}
