//! The command line: the flags, the texts of the help, shell completions and the man page. Only this file uses clap.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory as _, Parser, ValueEnum, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::{command_line, habits};
use crate::{fetch, http, input, naming, progress, run, sink};

/// Example command lines and what each does, for the end of the help and of the man page.
const EXAMPLES: &[(&str, &str)] = &[
    ("fetchimg --demo", "a demonstration, offline"),
    ("fetchimg urls.txt -o images", "all at once"),
    ("fetchimg urls.txt -o images --sequential", "one after the other"),
    ("fetchimg urls.txt -o images --compare", "both, side by side"),
    ("fetchimg urls.txt --dry-run", "what would be fetched"),
    ("fetchimg urls.txt --sample 200", "a forecast for the whole list"),
    ("generate-urls | fetchimg -o images", "a list from standard input"),
    ("fetchimg photos.csv --url-column image", "a list with columns"),
    ("fetchimg --status --failed -o images", "what failed, from the journal"),
    ("fetchimg urls.txt --name '{host}/{index:06}'", "a folder for each host"),
    ("fetchimg list.csv --output-format parquet", "shards for training"),
];

/// Exit statuses and their meanings.
const STATUSES: &[(&str, &str)] = &[
    ("0", "every row is saved, knowingly skipped, or refused by the filters that were given"),
    ("1", "the run finished; some rows failed"),
    ("2", "the command line is wrong"),
    ("3", "the run could not start or go on: list unreadable, output not writable, disk full"),
    ("129", "interrupted by SIGHUP, where the terminal was closed; records and report are written"),
    ("130", "interrupted by SIGINT; records and report are written"),
    ("143", "interrupted by SIGTERM; likewise"),
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
    after_help = "Exit status: 0 every row is saved, knowingly skipped or refused by filters; 1 some rows failed; 2 the command line is \
                  wrong; 3 the run could not start or go on; 129, 130 or 143 interrupted.",
    after_long_help = after_long_help()
)]
pub struct Args {
    /// List files, here or in an object store (s3://, gs://, az://), URLs of images, or - for standard input; read in order as
    /// one list
    #[arg(value_name = "INPUT", value_hint = ValueHint::FilePath)]
    pub input: Vec<OsString>,

    /// The command line as a report shows it, if it holds no secret.
    #[arg(skip)]
    pub command: Option<String>,

    /// Print completions of flags and values for this shell, and exit
    #[arg(long, value_name = "SHELL", conflicts_with = "man")]
    pub completions: Option<Shell>,

    /// Print the man page, and exit
    #[arg(long)]
    pub man: bool,

    /// Run a demonstration without the internet: fetch five pictures from a built-in server
    ///
    /// An HTTPS server on loopback stands in for codeflex.co. It draws a picture for each of the tutorial's five URLs,
    /// and waits 150 ms before each answer, like a server overseas. Both modes fetch the list (--compare) into
    /// demo_images, and the files are compared with what the server sent. Other flags may be added, such as
    /// --sequential, -j 2 or -o DIR.
    #[arg(long, conflicts_with_all = ["completions", "man"])]
    pub demo: bool,

    /// Format of the lists; auto: detected by the file name (.csv), else by the content; any format may be compressed
    /// with gzip or zstd
    #[arg(long, value_name = "FORMAT", default_value = "auto", help_heading = "Input")]
    pub input_format: InputFormat,

    /// Character between the fields of CSV: comma, semicolon, bar or tab, or the character itself; by default the header
    /// tells
    #[arg(long, value_name = "CHAR", help_heading = "Input")]
    pub delimiter: Option<String>,

    /// Encoding of lists that are not Parquet, such as windows-1252, latin1, utf-16 or shift_jis
    ///
    /// The names are those of the WHATWG Encoding Standard. A byte-order mark wins over the name.
    #[arg(long, value_name = "NAME", default_value = "utf-8", help_heading = "Input")]
    pub input_encoding: String,

    /// Last line of a list from standard input: without it, the list was cut off, and the run fails
    ///
    /// A pipe also ends when what writes it is killed. With this, such a list is not taken for a whole one: what was
    /// fetched is kept, no shard is completed with some of its rows, and the status is 3. Nothing behind the line is
    /// read. It must be none of the rows, such as "end of list".
    #[arg(long, value_name = "LINE", help_heading = "Input")]
    pub end_line: Option<String>,

    /// Column with the URL, or key in the JSON objects
    #[arg(long, value_name = "NAME", default_value = input::DEFAULT_URL_COLUMN, help_heading = "Input")]
    pub url_column: String,

    /// Column with the expected digest of the image, in hexadecimal: md5, sha1, sha256 or sha512, by its length
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub checksum_column: Option<String>,

    /// Read the files of this machine that file:// URLs in lists name; without it such rows fail
    ///
    /// The author of the list chooses the files, so this is for your own lists.
    #[arg(long, help_heading = "Input")]
    pub file_urls: bool,

    /// Read the objects that s3://, gs:// and az:// URLs in lists name, with the credentials of the environment; without
    /// it such rows fail
    ///
    /// The author of the list chooses the objects, so this is for your own lists.
    #[arg(long, help_heading = "Input")]
    pub store_urls: bool,

    /// Folder for the images; created if missing; - is standard output, for --output-format webdataset; shards may go to
    /// s3://, gs:// and az:// too
    #[arg(short, long, value_name = "DIR", default_value = run::DEFAULT_OUTPUT, value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub output: PathBuf,

    /// Whether `--output` is on the command line.
    #[arg(skip)]
    pub output_is_given: bool,

    /// Folder for the journal and unfinished downloads, instead of hidden files in the output folder
    ///
    /// It is created if missing, and may be on another disk. It belongs to one output folder. What an earlier run without
    /// --state has hidden in that folder moves here.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub state: Option<PathBuf>,

    /// File name; / makes folders; fields: {basename} {stem} {ext} {index} {index:06} {host} {url_hash} {sha256}
    /// {col.NAME}
    ///
    /// {index/10000} is the row number divided by 10000, without remainder; {index/10000:04} has leading zeros.
    /// {sha256} is the SHA-256 of the file, {url_hash} that of the URL. {col.NAME} is the row's value in the column
    /// NAME, or "none". Two numbers select a slice: {sha256:0:2} is the first two characters. Slices work for {stem},
    /// {host}, {url_hash}, {sha256} and {col.NAME}.
    #[arg(long, value_name = "TEMPLATE", default_value = naming::DEFAULT_TEMPLATE, help_heading = "Output")]
    pub name: String,

    /// Fetch again what is already there, and replace it
    #[arg(long, help_heading = "Output")]
    pub overwrite: bool,

    /// Skip rows that an earlier run found to be gone (404, 410), no URL or no image; they do not count as failed
    ///
    /// Skipped are rows whose last record is an error that every request meets: a status that is not worth a retry, a
    /// line that is no URL, a body that is no image or a damaged one. What other flags may mend (credentials,
    /// certificates, limits) is asked for again. A run in which nothing new failed ends with status 0.
    #[arg(long, help_heading = "Output", conflicts_with = "compare")]
    pub skip_permanent: bool,
    /// Make images anew that were made with other wishes, such as another --resize; remove those that filters refuse now
    ///
    /// Without this flag, what is saved stays as it is, and the report tells how many images were made with other wishes.
    /// An image that is stored as it was received is made anew from its file, without a request. Others are fetched.
    #[arg(long, help_heading = "Output")]
    pub remake: bool,

    /// Give the files of earlier runs the names that the list and --name give now
    ///
    /// The names are those of a run into an empty folder. Rows may change places in any way. Files of rows that are not in
    /// the list keep their names, and no file is replaced that fetchimg did not write.
    #[arg(long, help_heading = "Output")]
    pub rename: bool,

    /// Fetch every row into a file of its own, even if its URL occurred before
    ///
    /// Rows with the same URL get different names: the first keeps the plain one, later ones get a part of the URL's
    /// hash and, if needed, the row number, unless --name tells them apart already. A later run identifies a row by its
    /// URL and its row number together, so a list to be continued may grow only at its end. Rows that an earlier run
    /// without this flag skipped as duplicates are fetched now. Partial bodies are not kept for the next run. With a
    /// name that begins with {index}, nothing is remembered per row, and memory does not grow with the list.
    #[arg(long, help_heading = "Output")]
    pub keep_duplicates: bool,

    /// Replace an extension that contradicts the content
    #[arg(long, help_heading = "Output")]
    pub fix_extension: bool,

    /// Flush each file and its folder to disk before it is recorded as saved
    #[arg(long, help_heading = "Output")]
    pub fsync: bool,

    /// Handle bodies in pieces of at most this size
    #[arg(long, value_name = "BYTES", default_value_t = fetch::DEFAULT_CHUNK_SIZE.to_string(), help_heading = "Output")]
    pub chunk_size: String,

    /// Maximum size of a body; a larger one is refused, or fails where this is not given
    #[arg(long, value_name = "SIZE", default_value_t = mebibytes(fetch::DEFAULT_MAX_BYTES), help_heading = "Output")]
    pub max_bytes: String,

    /// Whether `--max-bytes` is on the command line.
    #[arg(skip)]
    pub max_bytes_is_given: bool,

    /// Write the records to FILE too; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub manifest: Option<PathBuf>,

    /// What the output holds: a file for each image, or shards with thousands of images each
    ///
    /// webdataset makes tar files with samples (KEY.jpg, KEY.json, KEY.txt) and a Parquet file with the metadata of each;
    /// parquet makes Parquet files with the images inside. A shard exists when its file SHARD_stats.json does. The same
    /// command again goes on inside the shards that are not complete, and leaves the others as they are.
    #[arg(long, value_name = "FORMAT", default_value = "files", help_heading = "Datasets")]
    pub output_format: OutputFormatChoice,

    /// Rows of the list in each shard
    #[arg(long, value_name = "N", default_value_t = sink::shards::DEFAULT_SHARD_SIZE.get(), help_heading = "Datasets")]
    pub shard_size: u64,

    /// Column with the caption: it is stored as KEY.txt beside the image, and in the column caption
    #[arg(long, value_name = "NAME", help_heading = "Datasets")]
    pub caption_column: Option<String>,

    /// Name of a sample within its shard; fields: {shard} {row} {row:04}, and those of --name that are known before the
    /// download
    #[arg(long, value_name = "TEMPLATE", default_value = naming::DEFAULT_KEY, help_heading = "Datasets")]
    pub key: String,

    /// Make only the shards of this share: number I, from 0, of N; auto: as the variables of the scheduler say; auto/N
    #[arg(long, value_name = "I/N|auto", help_heading = "Datasets")]
    pub slice: Option<String>,

    /// The whole list is one shard of this name
    #[arg(long, value_name = "NAME", help_heading = "Datasets")]
    pub shard: Option<String>,

    /// Folder in which open shards wait for an object store [default: the system's for what is temporary]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Datasets")]
    pub scratch: Option<PathBuf>,

    /// Fetch again what failed in the output and may succeed now, with the flags that what is there was made with; of a set,
    /// into further shards: retry-00000 and so on
    #[arg(long, help_heading = "Datasets", conflicts_with_all = ["input", "overwrite", "slice", "shard", "state"])]
    pub retry_failed: bool,

    /// Compare what is in the output with what its records say, and fetch nothing
    #[arg(long, help_heading = "Datasets", conflicts_with_all = ["input", "retry_failed", "dry_run", "sample"])]
    pub verify_output: bool,

    /// Whether `--key` is on the command line.
    #[arg(skip)]
    pub key_is_given: bool,

    /// Whether `--shard-size` is on the command line.
    #[arg(skip)]
    pub shard_size_is_given: bool,

    /// Whether `--name` is on the command line.
    #[arg(skip)]
    pub name_is_given: bool,

    /// What decides what is in a set, as it was typed: flags without their hyphens, and values that are not the default.
    #[arg(skip)]
    pub set_settings: Vec<(String, String)>,
    /// Write the names and columns of all saved images to FILE at the end, as .jsonl, .csv or .parquet
    ///
    /// One row for each saved image, of this run and of earlier ones: file_name, relative to the folder of FILE, what is
    /// known of the file, and the columns of the list. This is what loaders of image folders read. metadata.jsonl may lie
    /// among the images.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub metadata: Option<PathBuf>,

    /// What to accept: image, a comma-separated list of formats such as jpeg,png,webp, or any
    #[arg(long, value_name = "LIST", default_value = "image", help_heading = "Images")]
    pub accept: String,

    /// Refuse images of less width, as soon as their header states the size
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true, help_heading = "Images")]
    pub min_width: Option<u32>,

    /// Refuse images of less height
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true, help_heading = "Images")]
    pub min_height: Option<u32>,

    /// Refuse images of more pixels, width times height
    #[arg(long, value_name = "PIXELS", help_heading = "Images")]
    pub max_pixels: Option<String>,

    /// Refuse images whose longer side is more than RATIO times the shorter one
    #[arg(long, value_name = "RATIO", allow_negative_numbers = true, help_heading = "Images")]
    pub max_aspect: Option<f64>,

    /// Refuse smaller files
    #[arg(long, value_name = "SIZE", help_heading = "Images")]
    pub min_bytes: Option<String>,

    /// Check images for damage: structure follows a file's parts to the end; decode decodes all pixels too
    #[arg(long, value_name = "HOW", default_value = "structure", help_heading = "Images")]
    pub verify: VerifyChoice,

    /// Fit images into PIXELS by PIXELS, or into WIDTHxHEIGHT; resized images are encoded again
    #[arg(long, value_name = "PIXELS", help_heading = "Images")]
    pub resize: Option<String>,

    /// How to fit: keep-ratio shows the whole image, shortest gives the shorter side the size, center-crop fills the
    /// box and crops, border pads with white [default: keep-ratio]
    #[arg(long, value_name = "MODE", hide_possible_values = true, help_heading = "Images")]
    pub resize_mode: Option<ResizeModeChoice>,

    /// Enlarge smaller images too
    #[arg(long, help_heading = "Images")]
    pub enlarge: bool,

    /// Store all images in this format
    #[arg(long, value_name = "FORMAT", help_heading = "Images")]
    pub encode: Option<EncodeChoice>,

    /// Quality of JPEG and WebP files that are encoded again, from 1 to 100 [default: 90]
    #[arg(long, value_name = "N", help_heading = "Images")]
    pub quality: Option<u8>,

    /// Record a perceptual hash of each image, of 64 bits
    #[arg(long, help_heading = "Images")]
    pub phash: bool,

    /// Record digests of each image: a comma-separated list of md5, sha1, sha256, sha512, blake3
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Images")]
    pub hash: Vec<String>,

    /// Record the Exif data: when, where and how the picture was taken
    #[arg(long, help_heading = "Images")]
    pub exif: bool,

    /// Store the same content once: further images with the same bytes become hard links to the first
    #[arg(long, help_heading = "Images")]
    pub dedupe: bool,

    /// Fetch one URL after the other, in the order of the list
    #[arg(long, help_heading = "Modes", conflicts_with = "compare")]
    pub sequential: bool,

    /// Fetch the list in both modes, sequential first, and report them side by side
    #[arg(long, help_heading = "Modes")]
    pub compare: bool,

    /// Report what would be done, and fetch nothing; --manifest FILE gets the planned name of each row's file
    #[arg(long, help_heading = "Modes", conflicts_with = "sample")]
    pub dry_run: bool,

    /// Fetch N rows drawn at random, and forecast time, bytes and failures of the whole list
    #[arg(long, value_name = "N", help_heading = "Modes", conflicts_with = "compare")]
    pub sample: Option<usize>,

    /// Seed for the draw: the same seed draws the same rows of the same list
    #[arg(long, value_name = "N", help_heading = "Modes", requires = "sample")]
    pub sample_seed: Option<u64>,

    /// Show what is there now: the current record of each row, from the journal of the output folder; fetch nothing
    ///
    /// No list is read, and nothing is changed, so this works while a run goes on.
    #[arg(long, help_heading = "Status")]
    pub status: bool,

    /// Show rows that have failed
    #[arg(long, help_heading = "Status", requires = "status")]
    pub failed: bool,

    /// Show rows that are saved
    #[arg(long, help_heading = "Status", requires = "status")]
    pub saved: bool,

    /// Show rows that were refused by filters
    #[arg(long, help_heading = "Status", requires = "status")]
    pub refused: bool,

    /// How to show them: jsonl shows records as they are, the others have a column for each field and column of the list
    /// [default: jsonl]
    #[arg(long, value_name = "FORMAT", help_heading = "Status", requires = "status")]
    pub format: Option<StatusFormat>,

    /// Maximum number of downloads at once, over all hosts
    #[arg(short = 'j', long, value_name = "N", default_value_t = run::DEFAULT_CONCURRENCY.get(), help_heading = "Modes")]
    pub concurrency: usize,

    /// Whether `--concurrency` is on the command line.
    #[arg(skip)]
    pub concurrency_is_given: bool,

    /// Maximum number of downloads at once per host; auto starts at 6 and grows up to 64 while the host keeps up
    #[arg(long, value_name = "N|auto", default_value = "auto", help_heading = "Modes")]
    pub per_host: String,

    /// Maximum requests per second to one host
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Modes")]
    pub rate: Option<f64>,

    /// Maximum bytes per second, over all downloads
    #[arg(long, value_name = "SIZE", help_heading = "Modes")]
    pub limit_rate: Option<String>,

    /// Maximum retries after a row's first attempt
    #[arg(long, value_name = "N", default_value_t = http::DEFAULT_RETRIES, help_heading = "HTTP")]
    pub retries: u32,

    /// Wait before the first retry; doubles each time
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = http::DEFAULT_RETRY_WAIT.as_secs_f64(), help_heading = "HTTP")]
    pub retry_wait: f64,

    /// Time limit for the name lookup and for the connection, each on its own; unless given, a lookup ends sooner if
    /// resolv.conf says so
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = http::DEFAULT_CONNECT_TIMEOUT.as_secs_f64(), help_heading = "HTTP")]
    pub connect_timeout: f64,

    /// Whether `--connect-timeout` is on the command line.
    #[arg(skip)]
    pub connect_timeout_is_given: bool,

    /// Time limit without a byte, connecting included; unless given, a row's first attempt at a fast host has less
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = http::DEFAULT_STALL_TIMEOUT.as_secs_f64(), help_heading = "HTTP")]
    pub stall_timeout: f64,

    /// Whether `--stall-timeout` is on the command line.
    #[arg(skip)]
    pub stall_timeout_is_given: bool,

    /// Time limit for one attempt in all
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

    /// Read credentials by host from ~/.netrc, or the file in NETRC
    #[arg(long, help_heading = "HTTP")]
    pub netrc: bool,

    /// Use this proxy (http, https, socks5), but for the hosts in NO_PROXY; "" uses none
    #[arg(short = 'x', long, value_name = "URL", help_heading = "HTTP")]
    pub proxy: Option<String>,

    /// Trust the certificates of this PEM file instead of the system's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "HTTP")]
    pub cacert: Option<PathBuf>,

    /// Do not check certificates
    #[arg(short = 'k', long, help_heading = "HTTP")]
    pub insecure: bool,

    /// Connect to ADDRESS instead of looking up HOST; ADDRESS may have a port of its own; may be repeated
    #[arg(long, value_name = "HOST:PORT:ADDRESS", help_heading = "HTTP")]
    pub resolve: Vec<String>,

    /// Ask these name servers instead of the system's: a comma-separated list of IP or IP:PORT
    #[arg(long, value_name = "ADDRESSES", help_heading = "HTTP")]
    pub dns_servers: Option<String>,

    /// Use only IPv4
    #[arg(short = '4', long, help_heading = "HTTP", conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// Use only IPv6
    #[arg(short = '6', long, help_heading = "HTTP")]
    pub ipv6: bool,

    /// Connect only to addresses of the public internet, redirects included
    #[arg(long, help_heading = "HTTP")]
    pub public_only: bool,

    /// Do not use HTTP/2
    #[arg(long = "http1.1", help_heading = "HTTP")]
    pub http1_1: bool,

    /// Maximum redirects to follow
    #[arg(long, value_name = "N", default_value_t = http::DEFAULT_MAX_REDIRECTS, help_heading = "HTTP")]
    pub max_redirs: u32,

    /// Follow redirects from https to http
    #[arg(long, help_heading = "HTTP")]
    pub allow_downgrade: bool,

    /// Log only errors, and print no report
    #[arg(short, long, help_heading = "Output and logging", conflicts_with = "verbose")]
    pub quiet: bool,

    /// Log more; -vv logs each request and its answer
    #[arg(short, long, action = ArgAction::Count, help_heading = "Output and logging")]
    pub verbose: u8,

    /// What to show during the run; auto: a bar on a terminal, log lines otherwise; none: only errors (and --heartbeat)
    #[arg(long, value_name = "WHAT", default_value = "auto", help_heading = "Output and logging")]
    pub progress: ProgressChoice,

    /// Format of the log lines on standard error
    #[arg(long, value_name = "FORM", default_value = "text", help_heading = "Output and logging")]
    pub log_format: LogFormat,

    /// Write the report to FILE too, as .html, .md, .json or .txt; may be repeated
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output and logging")]
    pub report: Vec<PathBuf>,

    /// Print the report as JSON on standard output
    #[arg(long, help_heading = "Output and logging")]
    pub json: bool,

    /// After this time without a line on standard error, log that the run goes on; 0: never; not on a terminal
    ///
    /// Schedulers end tasks that are silent for too long. The line tells how many rows are done and left, their rate, and
    /// how many failed. --quiet leaves it out, --progress none does not.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = progress::DEFAULT_HEARTBEAT.as_secs_f64(), help_heading = "Output and logging")]
    pub heartbeat: f64,

    /// Write numbers of the run to FILE, for Prometheus: at the beginning, every ten seconds, and at the end
    ///
    /// FILE is replaced as a whole, so that a reader never finds half of it. The node exporter of Prometheus reads such
    /// files, if their names end in .prom.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output and logging", conflicts_with = "dry_run")]
    pub metrics: Option<PathBuf>,

    /// Exit with status 0 instead of 1 if fewer rows than this share failed, such as 0.05
    ///
    /// The share is that of failed rows in all rows that have a record, those of skipped rows included. Engines often take
    /// any other status than 0 for a crash, and run the task again.
    #[arg(
        long,
        value_name = "SHARE",
        allow_negative_numbers = true,
        help_heading = "Output and logging",
        conflicts_with = "sample"
    )]
    pub ok_if_failed_below: Option<f64>,
}

/// `--output-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormatChoice {
    Files,
    Webdataset,
    Parquet,
}

/// The flags that decide what is in a set. A set is only gone on with if they are the same.
const SET_FLAGS: [&str; 27] = [
    "shard_size",
    "caption_column",
    "key",
    "url_column",
    "checksum_column",
    "delimiter",
    "input_encoding",
    "file_urls",
    "store_urls",
    "keep_duplicates",
    "max_bytes",
    "accept",
    "min_width",
    "min_height",
    "max_pixels",
    "max_aspect",
    "min_bytes",
    "verify",
    "resize",
    "resize_mode",
    "enlarge",
    "encode",
    "quality",
    "phash",
    "hash",
    "exif",
    "dedupe",
];

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
    Shortest,
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

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    Jsonl,
    Csv,
    Tsv,
    Parquet,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl Args {
    /// Parses a command line whose first element is the program's name.
    ///
    /// # Errors
    /// When the command line is wrong, and when it asks for help or the version: the error holds the text to print.
    pub fn parse_line(line: impl IntoIterator<Item = OsString>) -> Result<Self, CommandLineError> {
        use clap::FromArgMatches as _;
        use clap::parser::ValueSource;
        let words = line.into_iter().collect::<Vec<_>>();
        let matches = Self::command().try_get_matches_from(&words).map_err(CommandLineError)?;
        let mut args = Self::from_arg_matches(&matches).map_err(CommandLineError)?;
        let is_given = |flag| matches.value_source(flag) != Some(ValueSource::DefaultValue);
        args.output_is_given = is_given("output");
        args.key_is_given = is_given("key");
        args.shard_size_is_given = is_given("shard_size");
        args.name_is_given = is_given("name");
        args.set_settings = set_settings(&matches);
        args.max_bytes_is_given = is_given("max_bytes");
        args.stall_timeout_is_given = is_given("stall_timeout");
        args.connect_timeout_is_given = is_given("connect_timeout");
        args.concurrency_is_given = is_given("concurrency");
        // Their values may be secrets.
        let holds_secret =
            ["headers", "cookie", "user", "proxy"].into_iter().any(|flag| matches.value_source(flag).is_some());
        args.command = if holds_secret { None } else { command_line::shown(&words) };
        Ok(args)
    }

    /// The document to print instead of a run (`--completions`, `--man`), or `None`. It is generated from the
    /// definitions above on request, so that other runs do not wait for it.
    ///
    /// # Errors
    /// Never: the document is written into memory.
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

    /// The usage line, for a command line without a list.
    #[must_use]
    pub fn usage() -> String {
        Self::command().render_usage().to_string()
    }
}

/// The flags of [`SET_FLAGS`] whose values are not the default ones.
fn set_settings(matches: &clap::ArgMatches) -> Vec<(String, String)> {
    let command = Args::command();
    let setting = |flag: &str| {
        let argument = command.get_arguments().find(|argument| argument.get_id() == flag)?;
        let values = matches.get_raw(flag)?.collect::<Vec<_>>();
        let is_default = values.iter().copied().eq(argument.get_default_values().iter().map(|value| &**value));
        let value = values.iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",");
        (!is_default && value != "false").then(|| (argument.get_long().unwrap_or(flag).to_owned(), value))
    };
    SET_FLAGS.iter().copied().filter_map(setting).collect()
}

/// A size in the form that flags such as `--max-bytes` read.
fn mebibytes(bytes: u64) -> String {
    format!("{}MiB", bytes >> 20)
}

/// The text at the end of `--help`: examples and exit statuses.
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

/// Writes the man page. The synopsis and the end are written by hand: `clap_mangen` would name all flags in one
/// synopsis paragraph, and would join the lines of the examples.
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

/// The command line is wrong, or asks for help or the version.
#[derive(Debug)]
pub struct CommandLineError(clap::Error);

impl CommandLineError {
    /// Prints help and version on standard output, and errors on standard error.
    pub fn print(&self) {
        if let Some(sentence) = self.sentence() {
            super::print_lines(&format!("fetchimg: {sentence}"));
            return;
        }
        // An error of this write cannot be reported either.
        let _ = self.0.print();
    }

    /// What to type instead, where that is known better than clap knows it.
    fn sentence(&self) -> Option<String> {
        let text = |kind| match self.0.get(kind) {
            Some(ContextValue::String(text)) => Some(text.as_str()),
            _ => None,
        };
        let flag = text(ContextKind::InvalidArg)?;
        match self.0.kind() {
            ErrorKind::UnknownArgument => {
                let answer = habits::answer(flag)?;
                Some(format!("there is no {flag}; {answer}"))
            }
            ErrorKind::ValueValidation => {
                let value = text(ContextKind::InvalidValue)?;
                let name = flag.split([' ', '=']).next()?;
                let command = Args::command();
                let takes = |argument: &&clap::Arg| argument.get_long().is_some_and(|long| name == format!("--{long}"));
                let argument = command.get_arguments().find(takes)?;
                let default = argument.get_default_values().first().and_then(|value| value.to_str());
                let example = default.unwrap_or(if name == "--ok-if-failed-below" { "0.05" } else { "256" });
                Some(format!("{name} {value} is no number that it takes; write one such as {example}"))
            }
            _ => None,
        }
    }

    /// Whether the command line is wrong; otherwise it asks for help or the version.
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
