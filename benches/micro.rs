//! Measures single steps of the program: those done for every row of a list, and those done for every byte of an image.
//!
//! ```text
//! cargo bench --bench micro                  # all, in about a minute
//! cargo bench --bench micro -- 'piece loop'  # those whose name contains these words
//! cargo bench --bench micro -- --test        # each once, without measuring, to see that they still work
//! ```
//!
//! The figures are processor time of the thread that does the work, including time in the kernel. Waiting does not
//! count, and other work on the machine affects them only through its caches.
//!
//! - `list`: reading a list of 10,000 rows from a file, by its format, and as text compressed in two ways. Text
//!   contains only URLs; the other formats contain a caption, a width and a height, too.
//! - `naming`: the names of 10,000 rows, all different or all the same.
//! - `piece loop`: one complete download through [`Fetcher::fetch`] from a server on loopback into a folder: the
//!   request, the body in pieces of 512 or 65,536 bytes, the file and its record. The loop cannot be measured alone;
//!   its cost shows in the difference between the two sizes of pieces. `received` is the same response with its body
//!   dropped frame by frame, so the difference to it is the cost of handling the body.
//! - `part`: writing the same pieces to a body, without a network. 25 KB stay in memory, 10 MB go to the part file.
//! - `header`: the signature of a first piece of 512 bytes, and the name in a `Content-Disposition`.
//! - `inspector`: an image of 25 KB, in pieces of 512 bytes and in frames of 16 KB as it arrives, with and without
//!   checking its structure.
//! - `record`: 1,000 rows that end as saved: looking up their URLs, serialising their records, and appending these to
//!   the journal, with one write for all or one for each, as when downloads end one by one.
//!
//! Files are written to the folder for temporary files; `TMPDIR=/dev/shm` keeps the disk out of the figures.

mod common;

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Result, lists};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, BenchmarkId, Throughput};
use fetchimg::internals::fetch::{Fetcher, Work};
use fetchimg::internals::http::Client;
use fetchimg::internals::http::disposition::filename;
use fetchimg::internals::image::transform::CpuPool;
use fetchimg::internals::image::{InspectOptions, Inspector, Recognition, recognise};
use fetchimg::internals::input::{Options, rows_of};
use fetchimg::internals::journal::{Journal, Key, Lookup, RowIdentity};
use fetchimg::internals::limiter::{self, Limiter, OpenAfter};
use fetchimg::internals::naming::Namer;
use fetchimg::internals::record::{Digests, Format, Job, MadeWith, Measures, Outcome, Phase, Record, Saved, Timing};
use fetchimg::internals::run;
use fetchimg::internals::sink::{Folder, OnConflict, Sink, folder};
use fetchimg::internals::util::redact;
use nix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use url::Url;

/// The number of rows of a list, and of names.
const ROWS: u64 = 10_000;

/// The number of records in the journal.
const RECORDS: u64 = 1_000;

/// Sizes of pieces in bytes: the default of `--chunk-size`, and the size of a large read.
const PIECE_SIZES: [usize; 2] = [512, 65_536];

/// Names and sizes in bytes of bodies: the median image on the web, and a photograph.
const BODIES: [(&str, usize); 2] = [("25 KB", 25_000), ("10 MB", 10_000_000)];

type Criterion = criterion::Criterion<ProcessorTime>;

fn main() -> Result<()> {
    let mut criterion = criterion::Criterion::default()
        .with_measurement(ProcessorTime(WallTime))
        .without_plots()
        .sample_size(40)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .nresamples(10_000)
        .configure_from_args();
    let folder = tempfile::tempdir()?;
    list(&mut criterion, folder.path())?;
    naming(&mut criterion)?;
    piece_loop(&mut criterion, folder.path())?;
    part(&mut criterion, folder.path())?;
    header(&mut criterion);
    inspector(&mut criterion);
    record(&mut criterion, folder.path())?;
    criterion.final_summary();
    Ok(())
}

/// Processor time of this thread, shown like any other time.
struct ProcessorTime(WallTime);

fn spent() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has such a clock").into()
}

impl Measurement for ProcessorTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        spent()
    }

    fn end(&self, start: Duration) -> Duration {
        spent().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        self.0.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self.0.formatter()
    }
}

fn list(criterion: &mut Criterion, folder: &Path) -> Result<()> {
    let mut group = criterion.benchmark_group("list");
    group.throughput(Throughput::Elements(ROWS));
    let mut paths = Vec::new();
    for format in lists::FORMATS {
        let path = folder.join(format!("list.{format}"));
        lists::write(&path, ROWS, |row| format!("https://img{}.example.org/photos/2024/{row:07}/large.jpg", row % 97))?;
        paths.push(path);
    }
    let text = fs::read(&paths[0])?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&text)?;
    for (suffix, packed) in [("gz", gzip.finish()?), ("zst", zstd::encode_all(&*text, 0)?)] {
        paths.push(paths[0].with_extension(format!("txt.{suffix}")));
        fs::write(&paths[paths.len() - 1], packed)?;
    }
    for path in paths {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        group.bench_function(&*name, |bencher| {
            bencher.iter_with_large_drop(|| {
                let options = Options::default();
                let rows = rows_of(File::open(&path).expect("the list"), "list", &options).expect("rows");
                assert_eq!(rows.iter().flatten().count() as u64, ROWS);
                rows
            });
        });
    }
    group.finish();
    Ok(())
}

fn naming(criterion: &mut Criterion) -> Result<()> {
    let template = "{basename}".parse::<fetchimg::internals::naming::Template>()?;
    let mut group = criterion.benchmark_group("naming");
    group.throughput(Throughput::Elements(ROWS));
    for (what, same) in [("all different", false), ("all the same", true)] {
        let name = |row| if same { "large.jpg".to_owned() } else { format!("photo-{row:07}.jpg") };
        let jobs = jobs(ROWS, |row| format!("https://img.example.org/{row:07}/{}", name(row)))?;
        group.bench_function(what, |bencher| {
            let namer = || Namer::new(template.clone(), false);
            let name_all = |mut namer: Namer| {
                for job in &jobs {
                    black_box(namer.reserve(job));
                }
                namer
            };
            bencher.iter_batched(namer, name_all, BatchSize::PerIteration);
        });
    }
    group.finish();
    Ok(())
}

fn piece_loop(criterion: &mut Criterion, folder: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut group = criterion.benchmark_group("piece loop");
    for (size, bytes) in BODIES {
        let url = Url::parse(&format!("http://127.0.0.1:{}/a.png", serve(body(bytes))?))?;
        group.throughput(Throughput::BytesDecimal(bytes as u64));
        for pieces in PIECE_SIZES {
            let output = folder.join(format!("{size}-{pieces}"));
            let fetcher = fetcher(&output, pieces)?;
            let job = Job::new(0, url.clone());
            let name = Namer::new("{basename}".parse()?, false).reserve(&job);
            let work = Work { job, name, on_conflict: OnConflict::Keep, replaces: None, stored: None };
            group.bench_function(BenchmarkId::new(size, pieces), |bencher| {
                let fetch = async |times| {
                    let mut taken = Duration::ZERO;
                    for _ in 0..times {
                        let before = spent();
                        let done = fetcher.fetch(&work, None).await;
                        taken += spent().saturating_sub(before);
                        let Outcome::Saved(saved) = done.record.outcome else { panic!("{:?}", done.record) };
                        assert_eq!(saved.bytes, bytes as u64);
                        // The next download has the same name.
                        done.receipt.release();
                        fs::remove_file(output.join(saved.path)).expect("the file is there");
                    }
                    taken
                };
                bencher.iter_custom(|times| runtime.block_on(fetch(times)));
            });
        }
        let client = Client::new(options(PIECE_SIZES[0]).http)?;
        group.bench_function(BenchmarkId::new(size, "received"), |bencher| {
            let receive = async || {
                let mut answer = client.get(&url, None, client.deadline(None, None)).await.expect("an answer");
                let mut received = 0;
                while let Some(frame) = answer.next().await.expect("a frame") {
                    received += frame.len();
                }
                assert_eq!(received, bytes);
            };
            bencher.iter(|| runtime.block_on(receive()));
        });
    }
    group.finish();
    Ok(())
}

fn part(criterion: &mut Criterion, folder: &Path) -> Result<()> {
    let output = Folder::open(&folder.join("parts"), None, folder::Options::default())?;
    let mut group = criterion.benchmark_group("part");
    for (size, bytes) in BODIES {
        let body = body(bytes);
        group.throughput(Throughput::BytesDecimal(bytes as u64));
        for pieces in PIECE_SIZES {
            let cut = body.chunks(pieces).map(Bytes::copy_from_slice).collect::<Vec<_>>();
            group.bench_function(BenchmarkId::new(size, pieces), |bencher| {
                let write = |()| {
                    let mut body = output.spill_dir().body(Some(bytes as u64), None);
                    for piece in &cut {
                        body.write(piece).expect("written");
                    }
                    // It is returned, so that dropping it is not measured.
                    body
                };
                bencher.iter_batched(|| (), write, BatchSize::PerIteration);
            });
        }
    }
    group.finish();
    Ok(())
}

fn header(criterion: &mut Criterion) {
    let avif = b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1A";
    let svg = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- Drawn by hand -->\n<svg width=\"9\" height=\"9\">";
    let html = Recognition::Other("an HTML page");
    let signatures: [(&str, &[u8], Recognition); 6] = [
        ("jpeg", b"\xFF\xD8\xFF\xE0\0\x10JFIF\0\x01\x01", Recognition::Image(Format::Jpeg)),
        ("png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Recognition::Image(Format::Png)),
        ("webp", b"RIFF\x24\x60\0\0WEBPVP8 ", Recognition::Image(Format::Webp)),
        ("avif", avif, Recognition::Image(Format::Avif)),
        ("svg", svg, Recognition::Image(Format::Svg)),
        ("html", b"<!DOCTYPE html>\n<html lang=\"en\"><head><title>Not found</title></head>", html),
    ];
    let mut group = criterion.benchmark_group("header");
    for (what, signature, verdict) in signatures {
        let mut piece = signature.to_vec();
        piece.resize(PIECE_SIZES[0], b' ');
        assert_eq!(recognise(&piece, false), verdict, "{what}");
        group.bench_function(what, |bencher| bencher.iter(|| recognise(black_box(&piece), false)));
    }
    let field = b"attachment; filename=\"na_ve cat.jpg\"; filename*=UTF-8''na%C3%AFve%20cat.jpg";
    assert_eq!(filename(field).as_deref(), Some("na\u{ef}ve cat.jpg"));
    group.bench_function("disposition", |bencher| bencher.iter(|| filename(black_box(field))));
    group.finish();
}

fn inspector(criterion: &mut Criterion) {
    let noise = body(BODIES[0].1);
    let mut group = criterion.benchmark_group("inspector");
    group.throughput(Throughput::BytesDecimal(noise.len() as u64));
    let files = [
        ("jpeg", Format::Jpeg, jpeg(&noise)),
        ("png", Format::Png, png(&noise)),
        ("gif", Format::Gif, gif(&noise)),
        ("webp", Format::Webp, webp(&noise)),
    ];
    for (what, format, file) in &files {
        for pieces in [PIECE_SIZES[0], 16_384] {
            for (how, structure) in [("structure", true), ("size", false)] {
                let inspect = || {
                    let mut inspector = Inspector::new(*format, InspectOptions { structure, exif: false });
                    for piece in black_box(file).chunks(pieces) {
                        inspector.feed(piece).expect("it is sound");
                    }
                    inspector.end(|| Ok(std::io::Cursor::new(file))).expect("it is sound").measures
                };
                assert_eq!(inspect().width, Some(1024), "{what}");
                group.bench_function(BenchmarkId::new(format!("{what}, {how}"), pieces), |bencher| {
                    bencher.iter(inspect);
                });
            }
        }
    }
    group.finish();
}

/// A JPEG of 1024 by 768 with a valid structure, whose compressed data are these bytes and cannot be decoded.
fn jpeg(data: &[u8]) -> Vec<u8> {
    let mut file = b"\xFF\xD8\xFF\xC0\0\x0B\x08\x03\0\x04\0\x01\x01\x11\0\xFF\xDA\0\x08\x01\x01\0\0\x3F\0".to_vec();
    for byte in data {
        file.push(*byte);
        if *byte == 0xFF {
            file.push(0);
        }
    }
    file.extend(b"\xFF\xD9");
    file
}

/// The same as a PNG with data chunks of 8 KiB.
fn png(data: &[u8]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1A\n".to_vec();
    let mut chunk = |kind: &[u8], content: &[u8]| {
        let content = [kind, content].concat();
        file.extend(u32::try_from(content.len() - 4).expect("a short one").to_be_bytes());
        file.extend(&content);
        file.extend(crc32fast::hash(&content).to_be_bytes());
    };
    chunk(b"IHDR", b"\0\0\x04\0\0\0\x03\0\x08\x02\0\0\0");
    data.chunks(8192).for_each(|data| chunk(b"IDAT", data));
    chunk(b"IEND", b"");
    file
}

/// The same as a GIF.
fn gif(data: &[u8]) -> Vec<u8> {
    let mut file = b"GIF89a\0\x04\0\x03\0\0\0,\0\0\0\0\0\x04\0\x03\0\x08".to_vec();
    for block in data.chunks(255) {
        file.extend(u8::try_from(block.len()));
        file.extend(block);
    }
    file.extend(b"\0;");
    file
}

/// The same as a WebP.
fn webp(data: &[u8]) -> Vec<u8> {
    let length = |more: usize| u32::try_from(data.len() + more).expect("a short one").to_le_bytes();
    let start = b"\x30\x01\0\x9D\x01\x2A\0\x04\0\x03";
    [b"RIFF".as_slice(), &length(22), b"WEBPVP8 ", &length(10), start, data].concat()
}

fn record(criterion: &mut Criterion, folder: &Path) -> Result<()> {
    let path = folder.join("journal.jsonl");
    let jobs = jobs(RECORDS, |row| format!("https://img{}.example.org/photos/2024/{row:07}/large.jpg", row % 97))?;
    let records = jobs.iter().map(saved).collect::<Vec<_>>();
    // The one before is gone, so that the file does not grow from one to the next.
    let empty = || {
        let _ = fs::remove_file(&path);
        Journal::open(&path, RowIdentity::Url, |_| {}).expect("a journal")
    };
    let meet = |mut journal: Journal| {
        let meet = |job: &Job| {
            let key = journal.key(job);
            assert_eq!(journal.look_up(key, job).expect("met"), Lookup::New(None));
            key
        };
        let keys = jobs.iter().map(meet).collect::<Vec<_>>();
        (journal, keys)
    };
    let note = |(mut journal, keys): (Journal, Vec<Key>), each: bool| {
        for (record, key) in records.iter().zip(keys) {
            let line = redact::json(record, false).expect("JSON");
            journal.append(record, &line, Some(key)).expect("noted");
            if each {
                journal.flush().expect("written");
            }
        }
        journal.flush().expect("written");
        journal
    };
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("met", |bencher| bencher.iter_batched(empty, meet, BatchSize::PerIteration));
    group.bench_function("as JSON", |bencher| {
        bencher.iter(|| {
            records.iter().map(|record| redact::json(record, false).map_or(0, |line| line.len())).sum::<usize>()
        });
    });
    for (what, each) in [("journal, one write", false), ("journal, a write each", true)] {
        group.bench_function(what, |bencher| {
            bencher.iter_batched(|| meet(empty()), |met| note(met, each), BatchSize::PerIteration);
        });
    }
    group.finish();
    Ok(())
}

fn jobs(count: u64, url: impl Fn(u64) -> String) -> Result<Vec<Job>> {
    (0..count).map(|index| Ok(Job::new(index, Url::parse(&url(index))?))).collect()
}

/// The record of a download as most of them end.
fn saved(job: &Job) -> Record {
    Record::of(
        job,
        Outcome::Saved(Saved {
            path: format!("large-{:08x}.jpg", job.index),
            bytes: 25_000 + job.index,
            format: Some(Format::Jpeg),
            measures: Measures { width: Some(1024), height: Some(768), ..Measures::default() },
            content_type: Some("image/jpeg".into()),
            http_status: 200,
            final_url: job.url.to_string(),
            attempts: 1,
            resumed_from: 0,
            timing: Timing { start_ms: 1523.07, ttfb_ms: Some(80.11), total_ms: 95.74, ..Timing::default() },
            exif: serde_json::Map::new(),
            digests: Digests::default(),
            phash: None,
            verified: None,
            original: None,
            same_as: None,
            extension_mismatch: false,
            smaller_than_box: false,
            made_with: MadeWith::default(),
            from_earlier_run: 0,
        }),
    )
}

/// A body of this number of bytes that begins like a PNG file.
fn body(bytes: usize) -> Vec<u8> {
    let mut body = vec![0; bytes];
    fastrand::Rng::with_seed(7).fill(&mut body);
    let signature = b"\x89PNG\r\n\x1a\n";
    body[..signature.len()].copy_from_slice(signature);
    body
}

/// Starts a server that answers every request with this body, and returns its port.
fn serve(body: Vec<u8>) -> Result<u16> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer: Arc<[u8]> = [head.into_bytes(), body].concat().into();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // A client that closes its connection ends only this thread.
            std::thread::spawn(move || speak(&stream, &answer));
        }
    });
    Ok(port)
}

fn speak(mut stream: &TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream);
    let mut request = String::new();
    while requests.read_line(&mut request)? > 0 {
        if request.ends_with("\r\n\r\n") {
            stream.write_all(answer)?;
            request.clear();
        }
    }
    Ok(())
}

/// What the program does by default, but for the size of pieces and without a proxy from the environment.
fn options(pieces: usize) -> run::Options {
    let mut options = run::Options::default();
    options.http.proxy = Some(String::new());
    options.fetch.chunk_size = pieces;
    options
}

fn fetcher(output: &Path, pieces: usize) -> Result<Fetcher> {
    let run::Options { fetch, http, per_host, concurrency, template, .. } = options(pieces);
    let sink = Sink::Folder(Folder::open(output, None, folder::Options::default())?);
    let minute = Duration::from_secs(60);
    Ok(Fetcher {
        client: Client::new(http)?,
        limiter: Limiter::new(limiter::Options {
            per_host,
            concurrency,
            request_interval: None,
            initial_backoff: minute,
            open_after: OpenAfter { attempts: 1, unconnected: minute, unanswered: minute },
            new_rows_first_below: 0,
        }),
        sink: Arc::new(sink),
        pool: CpuPool::of_this_machine(),
        namer: Arc::new(Mutex::new(Namer::new(template, false))),
        made_with: MadeWith::default(),
        remakes: Fetcher::bound_on_remakes(),
        counters: Arc::default(),
        options: fetch,
        bandwidth: None,
        started: Instant::now(),
        phase: watch::Sender::new(Phase::Running).subscribe(),
    })
}
