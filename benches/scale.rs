//! Measures how a run scales: the memory for each URL, and the time for each image.
//!
//! ```text
//! cargo bench --bench scale                                      # all four, half an hour
//! cargo bench --bench scale -- memory 1000000                    # peak memory, lists of up to a million URLs
//! cargo bench --bench scale -- formats                           # lists of a million rows with captions
//! TMPDIR=/dev/shm cargo bench --bench scale -- images 100000     # images a second, up to this number in one run
//! TMPDIR=/dev/shm cargo bench --bench scale -- downloads         # images a second, by `-j`
//! ```
//!
//! A server in a process of its own answers every request at once. The list comes through a pipe from a thread that
//! generates it. Output folders are in the temporary folder (`TMPDIR`), and are removed after each run.
//!
//! `memory` uses up to ten million URLs. They cannot become ten million files, because a file system in memory needs a
//! kilobyte for each, so the server answers 404. The program keeps as much in memory for a failed row as for a saved
//! one: its URL and its name. The journal, 2.3 GB for ten million rows, goes to the disk. `images` stores every image,
//! so its column for memory shows the same for saved rows. `formats` reads lists from files, whose rows fail with 404
//! too; the first URL leads to a listener in the benchmark, which takes the time of the request. The time begins just
//! before the program is started.

#![expect(clippy::print_stdout, reason = "a benchmark talks")]

#[path = "common/mod.rs"]
mod common;

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{self, Duration};

use common::instant::{self, Instant};
use common::measure::{self, Taken, measure_fed};
use common::{Result, lists, megabytes, spread};

/// The time after which a run is killed.
const MAX_RUN_TIME: Duration = Duration::from_secs(3600);

/// The memory that a run takes independently of the number of rows, in bytes.
const BASE_BYTES: f64 = 40e6;

/// What a file of one kilobyte takes in a file system in memory, in bytes: a page, an inode, a name, and a line of the
/// journal.
const BYTES_PER_FILE: usize = 7000;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1).peekable();
    match words.peek().map(String::as_str) {
        Some(instant::WORD) => return instant::serve(),
        Some(measure::WORD) => return measure::child(words.skip(1)),
        _ => {}
    }
    let words = words.collect::<Vec<_>>();
    let max = words.iter().find_map(|word| word.parse().ok());
    let is_wanted = |part: &str| {
        let parts = ["memory", "formats", "images", "downloads"];
        !words.iter().any(|word| parts.contains(&word.as_str())) || words.iter().any(|word| word == part)
    };
    let bench = Bench { server: Instant::start()?, folder: tempfile::tempdir()?, picture: instant::picture() };
    println!("Output in {}", std::env::temp_dir().display());
    if is_wanted("images") {
        bench.images(max.unwrap_or(1_000_000))?;
    }
    if is_wanted("downloads") {
        bench.downloads(max.unwrap_or(10_000))?;
    }
    if is_wanted("formats") {
        bench.formats(max.unwrap_or(1_000_000))?;
    }
    if is_wanted("memory") {
        bench.memory(max.unwrap_or(10_000_000))?;
    }
    Ok(())
}

struct Bench {
    server: Instant,
    folder: tempfile::TempDir,
    picture: Vec<u8>,
}

impl Bench {
    /// Peak memory by the length of the list, with and without `--keep-duplicates`.
    fn memory(&self, max: u64) -> Result<()> {
        println!(
            "\nPeak memory; every row fails with 404 after one request, is recorded, and keeps its name reserved\n"
        );
        println!("| flags | URLs | memory, MB | bytes per URL above 40 MB | wall, s |");
        println!("|---|---:|---:|---:|---:|");
        for flags in [&["--name", "{index:08}", "--keep-duplicates"][..], &[]] {
            for rows in sizes(10_000, max) {
                let output = self.output();
                let taken = run(&output, self.server.nothing, rows, 0, &[flags, &["--retries", "0"]].concat())?;
                let records = records(&output)?;
                fs::remove_dir_all(&output)?;
                if (taken.status, records) != (Some(1), rows) {
                    return Err(format!("{records} records of {rows} rows, status {:?}", taken.status).into());
                }
                let each = (float(taken.peak) - BASE_BYTES).max(0.0) / float(rows);
                let (flags, memory) = (flags.join(" "), megabytes(taken.peak));
                println!("| `{flags}` | {rows} | {memory:.1} | {each:.1} | {:.0} |", taken.wall);
            }
        }
        Ok(())
    }

    /// The first request and the memory of a long list, by its format.
    fn formats(&self, rows: u64) -> Result<()> {
        println!("\nLists of {rows} rows, all but the first of which fail with 404; default flags\n");
        println!("| list | size, MB | first request after, ms | memory, MB | wall, s |");
        println!("|---|---:|---:|---:|---:|");
        for format in lists::FORMATS {
            let list = self.folder.path().join(format!("list.{format}"));
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let (first, nothing) = (listener.local_addr()?.port(), self.server.nothing);
            let port = |row| if row == 0 { first } else { nothing };
            lists::write(&list, rows, |row| format!("http://127.0.0.1:{}/pictures/{}", port(row), name(row)))?;
            let begin = time::Instant::now();
            let asked = std::thread::spawn(move || -> io::Result<Duration> {
                let (mut stream, _) = listener.accept()?;
                BufReader::new(&stream).read_line(&mut String::new())?;
                let asked = begin.elapsed();
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
                Ok(asked)
            });
            let output = self.output();
            let mut command = Command::new(env!("CARGO_BIN_EXE_fetchimg"));
            command.env("RUST_LOG", "off").arg(&list).args(["-q", "--retries", "0", "-o"]).arg(&output);
            let watched = measure::watch(&mut command)?;
            let asked = asked.join().map_err(|_| "the listener panicked")??;
            let (size, records) = (fs::metadata(&list)?.len(), records(&output)?);
            fs::remove_dir_all(&output)?;
            fs::remove_file(&list)?;
            if (watched.status.code(), records) != (Some(1), rows) {
                return Err(format!("{format}: {records} records of {rows} rows, {}", watched.status).into());
            }
            let (size, memory) = (megabytes(size), megabytes(watched.peak_bytes));
            let asked = asked.as_secs_f64() * 1000.0;
            println!("| {format} | {size:.0} | {asked:.1} | {memory:.1} | {:.0} |", watched.wall);
        }
        Ok(())
    }

    /// Images a second by their number.
    fn images(&self, max: u64) -> Result<()> {
        println!("\nImages of {} bytes, by their number; default flags\n", self.picture.len());
        let mut rows = Vec::new();
        for count in sizes(1000, max) {
            let rounds = match count {
                0..10_000 => 60,
                10_000..100_000 => 40,
                100_000..1_000_000 => 12,
                _ => 4,
            };
            rows.push((format!("{count}"), count, rounds, vec![]));
        }
        self.table("images", &rows)
    }

    /// Images a second by the number of downloads at once.
    fn downloads(&self, count: u64) -> Result<()> {
        println!("\n{count} images of {} bytes, by downloads at once\n", self.picture.len());
        let row = |at_once: u32| {
            let at_once = at_once.to_string();
            let flags = vec!["-j".to_owned(), at_once.clone(), "--per-host".to_owned(), at_once.clone()];
            (format!("`-j {at_once} --per-host {at_once}`"), count, 7, flags)
        };
        self.table("flags", &[1, 4, 16, 64, 256, 1024].map(row))
    }

    /// Runs each row for its number of rounds, and prints the results.
    fn table(&self, what: &str, rows: &[(String, u64, usize, Vec<String>)]) -> Result<()> {
        // The rounds of each row are spread over the whole time, so that a slow minute of the machine affects all rows.
        let mut turns = Vec::new();
        for (at, (_, _, rounds, _)) in rows.iter().enumerate() {
            let rounds = *rounds as u64;
            turns.extend((0..rounds).map(|round| (float(2 * round + 1) / float(2 * rounds), at)));
        }
        turns.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut taken = vec![Vec::new(); rows.len()];
        self.saved(1000, &[])?;
        for (_, at) in turns {
            let (_, count, _, flags) = &rows[at];
            taken[at].push(self.saved(*count, flags)?);
        }
        println!(
            "| {what} | rounds | images/s, all rounds (range) | wall per image, µs (least) | processor time per image, µs (program + kernel) | memory, MB |"
        );
        println!("|---|---:|---:|---:|---:|---:|");
        for ((name, count, rounds, _), taken) in rows.iter().zip(taken) {
            let count = float(*count);
            // The machine is slow for some seconds now and then. A long run contains such times, and the median of
            // short runs does not, so only means are comparable.
            let mean = |figure: fn(&Taken) -> f64| taken.iter().map(figure).sum::<f64>() / float(taken.len() as u64);
            let (_, shortest, longest) = spread(taken.iter().map(|taken| taken.wall).collect());
            let (_, _, peak) = spread(taken.iter().map(|taken| megabytes(taken.peak)).collect());
            let wall = mean(|taken| taken.wall);
            println!(
                "| {name} | {rounds} | {:.0} ({:.0}–{:.0}) | {:.1} ({:.1}) | {:.1} + {:.1} | {peak:.1} |",
                count / wall,
                count / longest,
                count / shortest,
                wall / count * 1e6,
                shortest / count * 1e6,
                mean(|taken| taken.user) / count * 1e6,
                mean(|taken| taken.system) / count * 1e6,
            );
        }
        Ok(())
    }

    /// A run in which every image has to be saved. Each file is compared with the original.
    fn saved(&self, count: u64, flags: &[String]) -> Result<Taken> {
        let output = self.output();
        let flags = flags.iter().map(String::as_str).collect::<Vec<_>>();
        let taken = run(&output, self.server.pictures, count, BYTES_PER_FILE, &flags)?;
        let right = (0..count).filter(|row| fs::read(output.join(name(*row))).is_ok_and(|file| file == self.picture));
        let right = right.count();
        fs::remove_dir_all(&output)?;
        if taken.status == Some(0) && right as u64 == count {
            Ok(taken)
        } else {
            Err(format!("{right} of {count} images, status {:?}", taken.status).into())
        }
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("out")
    }
}

/// A run over this number of rows, each of which takes `bytes_per_row` of the memory of the machine.
fn run(output: &Path, port: u16, rows: u64, bytes_per_row: usize, flags: &[&str]) -> Result<Taken> {
    // Without a log, because ten million messages about failures would take time.
    let program = ["env", "RUST_LOG=off", env!("CARGO_BIN_EXE_fetchimg"), "-", "-q", "-o"];
    let mut command = program.map(str::to_owned).to_vec();
    command.push(output.to_string_lossy().into_owned());
    command.extend(flags.iter().map(|flag| (*flag).to_owned()));
    measure_fed(&command, MAX_RUN_TIME, usize::try_from(rows)?.saturating_mul(bytes_per_row), |pipe| {
        (0..rows).try_for_each(|row| writeln!(pipe, "http://127.0.0.1:{port}/pictures/{}", name(row)))
    })
}

/// The name of the image of a row.
fn name(row: u64) -> String {
    format!("picture-{row:08}.png")
}

/// `from` times the powers of ten, up to `max`.
fn sizes(from: u64, max: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(from), |size| Some(size * 10)).take_while(move |size| *size <= max)
}

/// The number of records in the journal of a run.
fn records(output: &Path) -> Result<u64> {
    let journal = fs::File::open(output.join(".fetchimg.jsonl"))?;
    Ok(BufReader::new(journal).split(b'\n').count() as u64)
}

#[expect(clippy::cast_precision_loss, reason = "shown")]
fn float(number: u64) -> f64 {
    number as f64
}
