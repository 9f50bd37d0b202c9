//! Measures what shards cost: 10,000 images of about 25 KB from nginx on loopback, as tar files, as Parquet, as files, and
//! dropped after they are checked.
//!
//! ```text
//! TMPDIR=/dev/shm cargo bench --bench shards                                   # 5 rounds
//! TMPDIR=/dev/shm IMG2DATASET=path/to/img2dataset cargo bench --bench shards -- 9
//! TMPDIR=/dev/shm cargo bench --bench shards -- rows 1000000                    # the memory of long lists
//! ```
//!
//! The programs alternate, each writes into a new folder, and the number of samples is compared with that of the list.
//! img2dataset (pip) gets the same list, writes webdataset and does not encode again. nginx has to be installed.
//!
//! `rows` makes sets of images of one kilobyte in shards of 10,000 rows, from a server that answers at once, up to this number
//! of rows: the memory must not grow with the list, nor the time of a row. The set of a million rows takes 4 GB.

#![expect(clippy::print_stdout, reason = "a benchmark talks")]

#[path = "common/mod.rs"]
mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use common::corpus::Corpus;
use common::instant::{self, Instant};
use common::measure::{self, Taken, measure, measure_fed};
use common::nginx::Nginx;
use common::{Result, megabytes, spread};

const IMAGES: usize = 10_000;
const MEDIAN_BYTES: f64 = 25_000.0;
const MAX_TIME: Duration = Duration::from_secs(600);
const MAX_TIME_OF_ROWS: Duration = Duration::from_secs(3600);

/// Our runs: a name, and the flags.
const OURS: [(&str, &[&str]); 4] = [
    ("files", &[]),
    ("webdataset", &["--output-format", "webdataset"]),
    ("parquet", &["--output-format", "parquet"]),
    ("dropped", &["--output-format", "webdataset", "--sample", "10000"]),
];

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1).peekable();
    if words.next_if(|word| word == measure::WORD).is_some() {
        return measure::child(words);
    }
    if words.peek().is_some_and(|word| word == instant::WORD) {
        return instant::serve();
    }
    // Cargo passes `--bench`.
    let words = words.filter(|word| word != "--bench").collect::<Vec<_>>();
    if let [word, rows] = &*words
        && word == "rows"
    {
        return many_rows(rows.parse()?);
    }
    let rounds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(5);
    let folder = tempfile::tempdir()?;
    let corpus = Corpus::of_the_web(&folder.path().join("corpus"), IMAGES, MEDIAN_BYTES)?;
    println!("{IMAGES} pictures, {:.0} MB; {rounds} rounds, in turn", megabytes(corpus.bytes()));
    let nginx = Nginx::start(folder.path(), &corpus.folder)?;
    for (scheme, base) in [
        ("http", format!("http://127.0.0.1:{}", nginx.port)),
        ("https", format!("https://localhost:{}", nginx.tls_port)),
    ] {
        let list = folder.path().join(format!("{scheme}.txt"));
        let mut text = String::new();
        for (name, _) in &corpus.files {
            writeln!(text, "{base}/{name}")?;
        }
        fs::write(&list, text)?;
        println!("\n{scheme}");
        compare(folder.path(), &list, &nginx.authority, rounds)?;
    }
    Ok(())
}

/// The memory and the time of sets, by the length of their lists.
fn many_rows(max: u64) -> Result<()> {
    let (server, folder) = (Instant::start()?, tempfile::tempdir()?);
    println!("| rows | shards | memory, MB | wall per row, µs | processor time per row, µs |");
    println!("|---:|---:|---:|---:|---:|");
    for rows in std::iter::successors(Some(10_000), |rows| Some(rows * 10)).take_while(|rows| *rows <= max) {
        let output = folder.path().join("output");
        let command = [env!("CARGO_BIN_EXE_fetchimg"), "-", "-q", "--output-format", "webdataset", "-o"];
        let mut command = command.map(str::to_owned).to_vec();
        command.push(output.to_string_lossy().into_owned());
        let taken = measure_fed(&command, MAX_TIME_OF_ROWS, 0, |pipe| {
            (0..rows).try_for_each(|row| writeln!(pipe, "http://127.0.0.1:{}/{row:08}.png", server.pictures))
        })?;
        let (found, shards) = (samples(&output)?, rows.div_ceil(10_000));
        fs::remove_dir_all(&output)?;
        if (taken.status, found) != (Some(0), rows) {
            return Err(format!("{found} samples of {rows}, status {:?}", taken.status).into());
        }
        #[expect(clippy::cast_precision_loss, reason = "shown")]
        let each = |seconds: f64| seconds * 1e6 / rows as f64;
        let (memory, wall, cpu) = (megabytes(taken.peak), each(taken.wall), each(taken.cpu()));
        println!("| {rows} | {shards} | {memory:.1} | {wall:.1} | {cpu:.1} |");
    }
    Ok(())
}

/// Runs all programs in turn, and prints what they took.
fn compare(folder: &Path, list: &Path, authority: &Path, rounds: usize) -> Result<()> {
    let mut programs = OURS.map(|(name, flags)| (name.to_owned(), ours(list, authority, flags))).to_vec();
    if let Ok(program) = std::env::var("IMG2DATASET") {
        programs.push(("img2dataset".to_owned(), img2dataset(&program, list, authority)));
    }
    let mut taken = vec![Vec::<Taken>::new(); programs.len()];
    for round in 0..=rounds {
        for number in (0..programs.len()).map(|turn| (turn + round) % programs.len()) {
            let (name, command) = &programs[number];
            let output = folder.join("output");
            let command = command.iter().map(|word| word.replace("OUTPUT", &output.to_string_lossy()));
            let result = measure(&command.collect::<Vec<_>>(), None, MAX_TIME)?;
            if result.status != Some(0) {
                return Err(format!("{name} ended with {:?}", result.status).into());
            }
            if name != "dropped" {
                let found = samples(&output)?;
                fs::remove_dir_all(&output)?;
                if found != IMAGES as u64 {
                    return Err(format!("{name} made {found} samples of {IMAGES}").into());
                }
            }
            // The first round only warms up memory and the page cache.
            if round > 0 {
                taken[number].push(result);
            }
        }
    }
    for ((name, _), taken) in programs.iter().zip(&taken) {
        let figure = |of: fn(&Taken) -> f64| spread(taken.iter().map(of).collect());
        let (cpu, cpu_low, cpu_high) = figure(Taken::cpu);
        let (wall, wall_low, wall_high) = figure(|taken| taken.wall);
        let peak = taken.iter().map(|taken| taken.peak).max().unwrap_or_default();
        println!(
            "{name:<12} cpu {cpu:.3} s ({cpu_low:.3} to {cpu_high:.3})  wall {wall:.3} s ({wall_low:.3} to \
             {wall_high:.3})  memory {:.0} MB",
            megabytes(peak)
        );
    }
    Ok(())
}

fn ours(list: &Path, authority: &Path, flags: &[&str]) -> Vec<String> {
    let mut command = vec![env!("CARGO_BIN_EXE_fetchimg").to_owned(), list.to_string_lossy().into_owned()];
    command.extend(["-o", "OUTPUT", "-q", "--cacert"].map(str::to_owned));
    command.push(authority.to_string_lossy().into_owned());
    command.extend(flags.iter().map(|flag| (*flag).to_owned()));
    command
}

fn img2dataset(program: &str, list: &Path, authority: &Path) -> Vec<String> {
    let list = format!("--url_list={}", list.display());
    let rest = ["--output_folder=OUTPUT", "--output_format=webdataset", "--resize_mode=no", "--processes_count=2"];
    let more = ["--skip_reencode=True", "--thread_count=256", "--number_sample_per_shard=10000", "--retries=0"];
    let trusts = format!("SSL_CERT_FILE={}", authority.display());
    let words = ["env".to_owned(), trusts, program.to_owned(), list].into_iter();
    words.chain(rest.into_iter().chain(more).map(str::to_owned)).collect()
}

/// The number of images in an output: files, or what the markers of shards say.
fn samples(output: &Path) -> Result<u64> {
    let (mut files, mut samples) = (0, 0);
    for entry in fs::read_dir(output)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files += u64::from(path.extension().is_some_and(|extension| extension == "png"));
        if name.ends_with("_stats.json") {
            let marker = serde_json::from_slice::<serde_json::Value>(&fs::read(path)?)?;
            samples += marker["successes"].as_u64().unwrap_or_default();
        }
    }
    Ok(files.max(samples))
}
