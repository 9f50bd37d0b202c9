//! What is meant: [`Args`] with defaults filled in, formats recognised, templates parsed and contradictions refused, each
//! with a sentence that says what to type instead.

use std::fmt;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;

use super::args::{Args, EncodeChoice, InputFormat, LogFormat, ProgressChoice, ResizeModeChoice, VerifyChoice};
use crate::fetch::{self, Accept, Bounds, Verify, Wanted};
use crate::http::{self, Credentials, Family, HeaderName, HeaderValue, Identity, Pinned, retry};
use crate::image::transform::{Encoding, Limits, Quality, Resize, ResizeMode, TransformOptions};
use crate::input::{self, Source};
use crate::journal::RowIdentity;
use crate::journal::manifest::ManifestTarget;
use crate::limiter::PerHost;
use crate::naming::Template;
use crate::progress::ProgressMode;
use crate::record::{Algorithm, Existing, Format, Mode};
use crate::run::reservoir::{MAX_SAMPLE_ROWS, Sample};
use crate::run::{self, ReportFormat, Reports};
use crate::sink::folder;

/// What the program will do.
#[derive(Debug)]
pub struct Config {
    /// What the run does.
    pub run: run::Options,
    /// Only say what would be done.
    pub dry_run: bool,
    /// What is logged and shown meanwhile.
    pub log: Log,
}

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

/// The command line contradicts itself or cannot be understood (exit status 2).
#[derive(Debug)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

fn usage<T>(sentence: impl Into<String>) -> Result<T, UsageError> {
    Err(UsageError(sentence.into()))
}

impl TryFrom<Args> for Config {
    type Error = UsageError;

    fn try_from(args: Args) -> Result<Self, UsageError> {
        let sources = sources(&args)?;
        let Some(concurrency) = NonZeroUsize::new(args.concurrency) else {
            return usage("-j 0 would download nothing; the smallest is -j 1 (or --sequential)");
        };
        let template = match args.name.parse::<Template>() {
            Ok(template) => template,
            Err(error) => return usage(format!("--name {}: {error}", args.name)),
        };
        let input = input_options(&args)?;
        only_what_is_carried(&template, &input)?;
        let manifest = args.manifest.as_ref().map(|path| match path.to_str() {
            Some("-") => ManifestTarget::Stdout,
            _ => ManifestTarget::File(path.clone()),
        });
        if manifest == Some(ManifestTarget::Stdout) && args.json {
            return usage(
                "--manifest - and --json both want standard output; write the report to a file with --report run.json",
            );
        }
        let (modes, existing) = match (args.compare, args.sequential, args.overwrite) {
            (true, _, false) => (vec![Mode::Sequential, Mode::Concurrent], Existing::Refresh),
            (true, _, true) => (vec![Mode::Sequential, Mode::Concurrent], Existing::Replace),
            (false, true, overwrite) => (vec![Mode::Sequential], existing(overwrite)),
            (false, false, overwrite) => (vec![Mode::Concurrent], existing(overwrite)),
        };
        let chunk_size = match size("--chunk-size", &args.chunk_size)? {
            0 => return usage("--chunk-size 0 would never get to the end; the smallest is 1"),
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        let wanted = wanted(&args)?;
        let reports = reports(&args, manifest.as_ref())?;
        let log = log(&args);
        let mut run = run::Options {
            template,
            folder: folder::Options { fsync: args.fsync, dedupe: args.dedupe, ..folder::Options::default() },
            existing,
            row_identity: if args.keep_duplicates {
                RowIdentity::UrlAndNumber { several_passes: modes.len() > 1 }
            } else {
                RowIdentity::Url
            },
            manifest,
            modes,
            sample: args.sample.map(|rows| sample(rows, args.sample_seed)).transpose()?,
            concurrency,
            per_host: per_host(&args.per_host)?,
            request_interval: args.rate.map(request_interval).transpose()?,
            fetch: fetch::Options {
                wanted,
                chunk_size,
                max_bytes: size("--max-bytes", &args.max_bytes)?,
                fix_extension: args.fix_extension,
                plan: plan(&args)?,
                limit_rate: args.limit_rate.as_deref().map(limit_rate).transpose()?,
                is_impatient: !args.stall_timeout_is_given,
                policy: retry::Policy {
                    retries: args.retries,
                    first_wait: seconds("--retry-wait", args.retry_wait, true)?,
                },
            },
            http: http_options(&args)?,
            reports,
            sources,
            input,
            output: args.output,
        };
        run.reconcile();
        Ok(Self { run, dry_run: args.dry_run, log })
    }
}

const fn existing(overwrite: bool) -> Existing {
    if overwrite { Existing::Replace } else { Existing::Keep }
}

fn sample(rows: usize, seed: Option<u64>) -> Result<Sample, UsageError> {
    // One that is made up has few digits, so that it can be typed again.
    let seed = seed.unwrap_or_else(|| fastrand::u64(1..1_000_000));
    match NonZeroUsize::new(rows) {
        Some(rows) if rows.get() <= MAX_SAMPLE_ROWS => Ok(Sample { rows, seed }),
        Some(_) => usage(format!(
            "--sample {rows}: {MAX_SAMPLE_ROWS} rows tell as much as can be told of any list; leave it out to fetch them all"
        )),
        None => usage("--sample 0 would tell nothing; write the rows to fetch, such as 200"),
    }
}

fn sources(args: &Args) -> Result<Vec<Source>, UsageError> {
    if args.input.is_empty() {
        if io::stdin().is_terminal() {
            return usage(format!(
                "there is no list: name one, or pipe one in (--help tells more)\n\n{}",
                Args::usage()
            ));
        }
        return Ok(vec![Source::Stdin]);
    }
    let mut sources = Vec::with_capacity(args.input.len());
    for input in &args.input {
        let text = input.to_str().unwrap_or_default();
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        sources.push(match scheme.as_deref() {
            Some("http" | "https") => Source::Url(text.to_owned()),
            _ if text == "-" => Source::Stdin,
            _ => Source::File(PathBuf::from(input)),
        });
    }
    if sources.iter().filter(|source| **source == Source::Stdin).count() > 1 {
        return usage("standard input can be read once: give - only once");
    }
    Ok(sources)
}

fn input_options(args: &Args) -> Result<input::Options, UsageError> {
    let format = match args.input_format {
        InputFormat::Auto => None,
        InputFormat::Text => Some(input::ListFormat::Text),
        InputFormat::Csv => Some(input::ListFormat::Csv),
        InputFormat::Tsv => Some(input::ListFormat::Tsv),
        InputFormat::Jsonl => Some(input::ListFormat::Jsonl),
        InputFormat::Parquet => Some(input::ListFormat::Parquet),
    };
    let (url_column, checksum_column) = (args.url_column.clone(), args.checksum_column.clone());
    if checksum_column.is_some() && format == Some(input::ListFormat::Text) {
        return usage(
            "--checksum-column needs a list with columns, and a text list has none; leave out one of the two",
        );
    }
    if checksum_column.as_ref() == Some(&url_column) {
        return usage(format!(
            "--checksum-column {url_column}: the URL is in that column; name the one with the digests"
        ));
    }
    Ok(input::Options { format, url_column, checksum_column, ..input::Options::default() })
}

/// Columns that are taken for something else are not among those that names can hold: all of them would be `none`.
fn only_what_is_carried(template: &Template, input: &input::Options) -> Result<(), UsageError> {
    for column in template.columns() {
        if column == input.url_column {
            return usage(format!(
                "--name {{col.{column}}}: that column holds the URL, of which names have {{basename}}, {{stem}}, {{host}} \
                 and {{url_hash}}"
            ));
        }
        if Some(column) == input.checksum_column.as_deref() {
            return usage(format!(
                "--name {{col.{column}}}: that column holds the checksum, which is compared and no part of a name; write \
                 {{sha256}}, which is made from the file"
            ));
        }
    }
    Ok(())
}

fn size(flag: &str, text: &str) -> Result<u64, UsageError> {
    // As in curl, k and M alone are powers of 1024; 1kB and 1KiB say which they mean.
    let spelled = match text.char_indices().last() {
        Some((at, unit @ ('k' | 'K' | 'm' | 'M' | 'g' | 'G' | 't' | 'T'))) => format!("{}{unit}iB", &text[..at]),
        _ => text.to_owned(),
    };
    match spelled.parse::<ByteSize>() {
        Ok(size) => Ok(size.as_u64()),
        Err(_) => usage(format!("{flag} {text} is no size; write 512, 64k or 10MiB")),
    }
}

/// A year, in seconds, stands for ever; timers do not count further.
const EVER: f64 = 365.0 * 86400.0;

fn seconds(flag: &str, seconds: f64, zero: bool) -> Result<Duration, UsageError> {
    let at_most_a_year = if seconds > EVER { EVER } else { seconds };
    match Duration::try_from_secs_f64(at_most_a_year) {
        Ok(duration) if zero || !duration.is_zero() => Ok(duration),
        Ok(_) => usage(format!("{flag} 0 leaves no time at all; write the seconds to wait, such as 10")),
        Err(_) => usage(format!("{flag} {seconds} is no time; write seconds, such as 10 or 0.5")),
    }
}

fn per_host(text: &str) -> Result<PerHost, UsageError> {
    match text.parse() {
        _ if text == "auto" => Ok(PerHost::Auto),
        Ok(0) => usage("--per-host 0 would download nothing; the smallest is 1"),
        Ok(seats) => Ok(PerHost::Fixed(seats)),
        Err(_) => usage(format!("--per-host {text} is neither a number nor auto")),
    }
}

/// `--rate`: requests a second to the time between two of them.
fn request_interval(rate: f64) -> Result<Duration, UsageError> {
    match Duration::try_from_secs_f64((1.0 / rate).min(EVER)) {
        Ok(interval) if rate > 0.0 && !interval.is_zero() => Ok(interval),
        _ => usage(format!("--rate {rate} is no number of requests a second; write 5, or 0.5 for one in two seconds")),
    }
}

fn limit_rate(text: &str) -> Result<NonZeroU32, UsageError> {
    let bytes = size("--limit-rate", text)?;
    // Four gigabytes a second is no limit to anybody.
    NonZeroU32::new(u32::try_from(bytes).unwrap_or(u32::MAX)).ok_or_else(|| {
        UsageError("--limit-rate 0 would download nothing; write the bytes a second, such as 500k".into())
    })
}

fn accept(list: &str) -> Result<Accept, UsageError> {
    match list {
        "image" => return Ok(Accept::Images),
        "any" => return Ok(Accept::Anything),
        _ => {}
    }
    let mut formats = Vec::new();
    for name in list.split(',').map(str::trim) {
        if let Some(format) = Format::from_name(name) {
            formats.push(format);
        } else {
            let known = Format::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join(" ");
            return usage(format!("--accept {name}: unknown; write image, any, or a comma list of: {known}"));
        }
    }
    Ok(Accept::Formats(formats))
}

/// What is done with the pixels; nothing if there is nothing to do.
fn plan(args: &Args) -> Result<Option<Arc<TransformOptions>>, UsageError> {
    for (flag, is_given) in [("--resize-mode", args.resize_mode.is_some()), ("--enlarge", args.enlarge)] {
        if is_given && args.resize.is_none() {
            return usage(format!("{flag} says how to resize; say to what size, such as --resize 256"));
        }
    }
    if args.quality.is_some() && args.resize.is_none() && args.encode.is_none() {
        return usage("--quality says how to encode; images stay as they are without --encode jpeg or --resize 256");
    }
    if (args.resize.is_some() || args.encode.is_some()) && args.accept == "any" {
        return usage("--accept any saves whatever comes, which can be neither resized nor encoded; leave it out");
    }
    if args.verify == VerifyChoice::Decode && args.accept == "any" {
        return usage("--accept any saves whatever comes, sound or not; leave out that or --verify decode");
    }
    let mode = match args.resize_mode.unwrap_or(ResizeModeChoice::KeepRatio) {
        ResizeModeChoice::KeepRatio => ResizeMode::KeepRatio,
        ResizeModeChoice::CenterCrop => ResizeMode::CenterCrop,
        ResizeModeChoice::Border => ResizeMode::Border,
    };
    let resize = args.resize.as_deref().map(sides).transpose()?;
    let target = args.encode.map(|format| match format {
        EncodeChoice::Jpeg => Encoding::Jpeg,
        EncodeChoice::Png => Encoding::Png,
        EncodeChoice::Webp => Encoding::Webp,
    });
    let quality = match args.quality.map(Quality::new) {
        None => Quality::default(),
        Some(Some(quality)) => quality,
        Some(None) => return usage("--quality: from 1 (small) to 100 (good); 90 is usual"),
    };
    let plan = TransformOptions {
        limits: Limits::default(),
        verify: args.verify == VerifyChoice::Decode,
        resize: resize.map(|(width, height)| Resize { width, height, mode, enlarge: args.enlarge }),
        target,
        quality,
        hash: args.phash,
    };
    Ok((!plan.is_empty()).then(|| Arc::new(plan)))
}

/// `256`, or `320x240`.
fn sides(text: &str) -> Result<(NonZeroU32, NonZeroU32), UsageError> {
    let (width, height) = text.split_once('x').unwrap_or((text, text));
    match (width.parse::<NonZeroU32>(), height.parse::<NonZeroU32>()) {
        (Ok(width), Ok(height)) if width.get().max(height.get()) <= LONGEST_SIDE => Ok((width, height)),
        _ => usage(format!(
            "--resize {text}: write the pixels of a side, such as 256, or 320x240; {LONGEST_SIDE} at most"
        )),
    }
}

/// What JPEG and WebP files can say of a side is not much more.
const LONGEST_SIDE: u32 = 16_383;

fn wanted(args: &Args) -> Result<Wanted, UsageError> {
    let pixels = |text: &str| match text.parse::<u64>() {
        Ok(pixels) if pixels > 0 => Ok(pixels),
        _ => usage(format!("--max-pixels {text} is no number of pixels; write 50000000 for fifty million")),
    };
    if let Some(aspect) = args.max_aspect.filter(|aspect| !aspect.is_finite() || *aspect < 1.0) {
        return usage(format!(
            "--max-aspect {aspect}: the longer side divided by the shorter one is never below 1; write 3 for 3:1"
        ));
    }
    let bounds = Bounds {
        min_width: args.min_width.unwrap_or(0),
        min_height: args.min_height.unwrap_or(0),
        max_pixels: args.max_pixels.as_deref().map(pixels).transpose()?,
        max_aspect: args.max_aspect,
        min_bytes: args.min_bytes.as_deref().map_or(Ok(0), |text| size("--min-bytes", text))?,
    };
    let verify = match args.verify {
        VerifyChoice::None => Verify::Nothing,
        VerifyChoice::Structure => Verify::Structure,
        VerifyChoice::Decode => Verify::Decode,
    };
    Ok(Wanted { accept: accept(&args.accept)?, bounds, verify, exif: args.exif, digests: digests(args)? })
}

/// `--hash`: algorithms by their names.
fn digests(args: &Args) -> Result<Vec<Algorithm>, UsageError> {
    let by_name = |name: &String| {
        Algorithm::by_name(name.trim()).ok_or_else(|| {
            let known = Algorithm::ALL.map(Algorithm::name).join(" ");
            UsageError(format!("--hash {name}: unknown; write a comma list of: {known}"))
        })
    };
    args.hash.iter().map(by_name).collect()
}

fn http_options(args: &Args) -> Result<http::Options, UsageError> {
    let family = match (args.ipv4, args.ipv6) {
        (true, _) => Some(Family::V4),
        (_, true) => Some(Family::V6),
        _ => None,
    };
    if args.public_only && args.proxy.as_deref().is_some_and(|proxy| !proxy.is_empty()) {
        return usage(
            "--public-only cannot be kept through a proxy, which looks names up by itself; leave out --proxy",
        );
    }
    let pinned = args.resolve.iter().map(|text| pinned(text)).collect::<Result<Vec<_>, _>>()?;
    if let Some(Err(error)) = args.proxy.as_deref().map(http::check_proxy) {
        return usage(format!(
            "--proxy: {error}; write a URL such as http://127.0.0.1:3128 or socks5://127.0.0.1:1080"
        ));
    }
    Ok(http::Options {
        identity: identity(args)?,
        proxy: args.proxy.clone(),
        cacert: args.cacert.clone(),
        insecure: args.insecure,
        pinned,
        dns_servers: args.dns_servers.as_deref().map(dns_servers).transpose()?.unwrap_or_default(),
        family,
        public_only: args.public_only,
        http1_only: args.http1_1,
        max_redirects: args.max_redirs,
        allow_downgrade: args.allow_downgrade,
        connect_timeout: seconds("--connect-timeout", args.connect_timeout, false)?,
        stall_timeout: seconds("--stall-timeout", args.stall_timeout, false)?,
        attempt_timeout: seconds("--timeout", args.timeout, false)?,
        ..http::Options::default()
    })
}

fn identity(args: &Args) -> Result<Identity, UsageError> {
    let value = |flag: &str, text: &str| {
        HeaderValue::from_str(text)
            .or_else(|_| HeaderValue::from_bytes(text.as_bytes()))
            .map_err(|_| UsageError(format!("{flag} {text:?} holds characters that cannot be sent in a header")))
    };
    let user_agent = value("--user-agent", args.user_agent.as_deref().unwrap_or(http::USER_AGENT))?;
    let referer = args.referer.as_deref().map(|text| value("--referer", text)).transpose()?;
    let cookie = match args.cookie.as_deref() {
        Some(text) if !text.contains('=') => {
            return usage(format!("--cookie {text} holds no NAME=VALUE; files of cookies are not read"));
        }
        text => text.map(|text| value("--cookie", text)).transpose()?,
    };
    let user = args.user.as_deref().map(|text| {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Credentials { user: user.to_owned(), password: password.to_owned() }
    });
    let netrc = if args.netrc {
        match netrc::Netrc::new() {
            Ok(netrc) => Some(Arc::new(netrc)),
            Err(error) => return usage(format!("--netrc: {error}")),
        }
    } else {
        None
    };
    let mut headers = Vec::with_capacity(args.headers.len());
    for header in &args.headers {
        // As in curl: "Name: value", "Name:" sends none, "Name;" sends it empty.
        let (name, text) = match (header.split_once(':'), header.strip_suffix(';')) {
            (Some((name, text)), _) => (name, Some(text.trim()).filter(|text| !text.is_empty())),
            (None, Some(name)) => (name, Some("")),
            (None, None) => return usage(format!("--header {header:?} is not of the form \"Name: value\"")),
        };
        let Ok(name) = HeaderName::from_bytes(name.trim().as_bytes()) else {
            return usage(format!("--header {header:?}: {name:?} is no name of a header"));
        };
        if name.as_str() == "accept" && text.is_none() {
            return usage(
                "--header \"Accept:\": an Accept is always sent; give it a value, such as \"Accept: image/*\"",
            );
        }
        headers.push((name, text.map(|text| value("--header", text)).transpose()?));
    }
    Ok(Identity { user_agent: Some(user_agent), referer, cookie, user, netrc, headers })
}

/// `HOST:PORT:ADDRESS`, where ADDRESS is an IP address, in brackets or not, or an address with a port.
fn pinned(text: &str) -> Result<Pinned, UsageError> {
    let parsed = || {
        let (host, rest) = match text.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once("]:")?,
            None => text.split_once(':')?,
        };
        let (port, address) = rest.split_once(':')?;
        let port = port.parse::<u16>().ok()?;
        let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
        let address = match bare.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, 0),
            Err(_) => address.parse::<SocketAddr>().ok()?,
        };
        (!host.is_empty()).then(|| Pinned { host: host.to_ascii_lowercase(), port, address })
    };
    parsed().ok_or_else(|| {
        UsageError(format!("--resolve {text} is not of the form HOST:PORT:ADDRESS, such as example.org:443:127.0.0.1"))
    })
}

/// `--dns-servers`: addresses with or without a port, an IPv6 address with one in brackets.
fn dns_servers(list: &str) -> Result<Vec<SocketAddr>, UsageError> {
    let parsed = |text: &str| {
        let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        let server = match bare.unwrap_or(text).parse::<IpAddr>() {
            Ok(address) if bare.is_none() || address.is_ipv6() => SocketAddr::new(address, 53),
            _ => text.parse::<SocketAddr>().ok()?,
        };
        (server.port() != 0).then_some(server)
    };
    let servers = list.split(',').map(|text| {
        parsed(text.trim()).ok_or_else(|| {
            UsageError(format!(
                "--dns-servers {list}: {text:?} is no address of a name server; write a comma list such as \
                 192.0.2.53,127.0.0.1:5353,[2001:db8::53]:53"
            ))
        })
    });
    servers.collect()
}

fn reports(args: &Args, manifest: Option<&ManifestTarget>) -> Result<Reports, UsageError> {
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

fn log(args: &Args) -> Log {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(line: &str) -> Result<Config, UsageError> {
        let words = std::iter::once("fetchimg").chain(line.split_whitespace()).map(Into::into);
        Config::try_from(Args::parse_line(words).expect("a command line"))
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_sentence() {
        for (line, hint) in [
            ("list -j 0", "-j 1"),
            ("list --sample 0", "such as 200"),
            ("list --sample 100001", "100000 rows"),
            ("list --per-host 0", "smallest is 1"),
            ("list --per-host many", "auto"),
            ("list --chunk-size 0", "smallest is 1"),
            ("list --max-bytes big", "10MiB"),
            ("list --name {nmae}", "{basename}"),
            ("list --name ../{basename}", "inside the output folder"),
            ("list --accept jpeg,doc", "comma list"),
            ("list --report run.docx", ".json"),
            ("list --manifest - --json", "--report run.json"),
            ("list --resolve example.org:127.0.0.1", "HOST:PORT:ADDRESS"),
            ("list --dns-servers example.org", "127.0.0.1:5353"),
            ("list --dns-servers 127.0.0.1,", "127.0.0.1:5353"),
            ("list --dns-servers 127.0.0.1:0", "127.0.0.1:5353"),
            ("list --dns-servers 127.0.0.1:99999", "127.0.0.1:5353"),
            ("list --dns-servers [127.0.0.1]", "127.0.0.1:5353"),
            ("list -H nonsense", "Name: value"),
            ("list -b nonsense", "NAME=VALUE"),
            ("list --timeout 0", "seconds"),
            ("list --rate 0", "write 5"),
            ("list --rate=-1", "write 5"),
            ("list --rate nan", "write 5"),
            ("list --limit-rate 0", "500k"),
            ("list --limit-rate fast", "10MiB"),
            ("list --public-only -x http://p:1", "leave out --proxy"),
            ("list --retry-wait nan", "seconds"),
            ("list --retry-wait=-1", "seconds"),
            ("list --proxy ::", "--proxy"),
            ("list --proxy ftp://127.0.0.1:1", "no kind of proxy"),
            ("- -", "only once"),
            ("list --checksum-column url", "the one with the digests"),
            ("list --url-column md5 --checksum-column md5", "the one with the digests"),
            ("list --input-format text --checksum-column md5", "needs a list with columns"),
            ("list --name {col.url}.{ext}", "{basename}, {stem}"),
            ("list --url-column link --name {index}-{col.link:0:8}", "{basename}, {stem}"),
            ("list --checksum-column md5 --name {col.md5:0:2}/{basename}", "write {sha256}"),
        ] {
            let sentence = config(line).expect_err(line).to_string();
            assert!(sentence.contains(hint), "{line}: {sentence}");
        }
    }

    #[test]
    fn what_is_not_typed_is_the_default_of_the_library() {
        let config = config("list").expect("a config");
        let mut expected = run::Options { sources: vec![Source::File("list".into())], ..run::Options::default() };
        expected.reconcile();
        // The report on standard output is the command's alone.
        expected.reports.to_stdout = Some(ReportFormat::Text);
        assert_eq!(format!("{:#?}", config.run), format!("{expected:#?}"));
    }

    #[test]
    fn names_may_hold_any_other_column() {
        for line in ["list --name {col.md5}", "list --url-column link --name {col.url}", "list --name {col.url2}"] {
            assert!(config(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_rate_is_the_time_between_two_requests_and_that_is_never_longer_than_a_year() {
        for (rate, interval) in [
            ("5", Duration::from_millis(200)),
            ("0.5", Duration::from_secs(2)),
            ("1e-11", Duration::from_secs(365 * 86_400)),
            ("1e-300", Duration::from_secs(365 * 86_400)),
        ] {
            assert_eq!(
                config(&format!("list --rate {rate}")).expect(rate).run.request_interval,
                Some(interval),
                "{rate}"
            );
        }
    }

    #[test]
    fn sizes_are_read_as_curl_reads_them() {
        for (text, bytes) in [("512", 512), ("64k", 65536), ("10M", 10_485_760), ("256MiB", 268_435_456), ("1kB", 1000)]
        {
            assert_eq!(size("--x", text).expect(text), bytes);
        }
    }

    #[test]
    fn inputs_are_told_apart() {
        let config = config("a.txt - HTTPS://a.example/x.png ftp://b").expect("a config");
        let url = Source::Url("HTTPS://a.example/x.png".into());
        assert_eq!(
            config.run.sources,
            [Source::File("a.txt".into()), Source::Stdin, url, Source::File("ftp://b".into())]
        );
    }

    #[test]
    fn name_servers_may_be_of_either_family_and_carry_a_port() {
        let servers = dns_servers("127.0.0.1, 127.0.0.1:5353,::1,[::1],[::1]:5353").expect("addresses");
        let expected = ["127.0.0.1:53", "127.0.0.1:5353", "[::1]:53", "[::1]:53", "[::1]:5353"];
        assert_eq!(servers, expected.map(|server| server.parse().expect(server)));
    }

    #[test]
    fn an_address_may_be_of_either_family_and_carry_a_port() {
        for (text, host, address) in [
            ("A.example:443:127.0.0.1", "a.example", "127.0.0.1:0"),
            ("a.example:443:127.0.0.1:8443", "a.example", "127.0.0.1:8443"),
            ("a.example:443:::1", "a.example", "[::1]:0"),
            ("a.example:443:[::1]", "a.example", "[::1]:0"),
            ("a.example:443:[::1]:8443", "a.example", "[::1]:8443"),
        ] {
            let expected = Pinned { host: host.into(), port: 443, address: address.parse().expect("an address") };
            assert_eq!(pinned(text).expect(text), expected);
        }
    }
}
