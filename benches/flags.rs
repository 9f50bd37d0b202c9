//! Measures what the defaults and other flags cost: 10,000 images from nginx on loopback, with different sets of flags.
//!
//! ```text
//! TMPDIR=/dev/shm cargo bench --bench flags            # 15 rounds
//! TMPDIR=/dev/shm cargo bench --bench flags -- 30      # 30 rounds
//! FETCHIMG_OTHER=path/to/fetchimg TMPDIR=/dev/shm cargo bench --bench flags    # beside another build of the program
//! ```
//!
//! The sets alternate, every run writes into a new folder, and every file is compared with the original. Printed are
//! the wall time, the processor time, the peak memory and the largest number of open files of each set, and the ratios
//! of two sets, by their sums and round by round. nginx has to be installed; it is started on a free port and stopped
//! at the end.

#![expect(clippy::print_stdout, reason = "a benchmark talks")]

#[path = "common/mod.rs"]
mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::corpus::Corpus;
use common::measure::{Watched, watch};
use common::nginx::Nginx;
use common::{Result, megabytes, spread};
use nix::sys::resource::{UsageWho, getrusage};

const IMAGES: usize = 10_000;
const MEDIAN_BYTES: f64 = 25_000.0;

fn main() -> Result<()> {
    // Cargo passes `--bench`; the only other argument is the number of rounds.
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(15);
    let folder = tempfile::tempdir()?;
    let corpus = Corpus::of_the_web(&folder.path().join("corpus"), IMAGES, MEDIAN_BYTES)?;
    let all = megabytes(corpus.bytes());
    println!("{IMAGES} pictures, {all:.0} MB, from nginx on loopback; {rounds} rounds, in turn");
    let nginx = Nginx::start(folder.path(), &corpus.folder)?;
    let list = folder.path().join("list.txt");
    let mut text = String::new();
    for (name, _) in &corpus.files {
        writeln!(text, "http://127.0.0.1:{}/{name}", nginx.port)?;
    }
    fs::write(&list, text)?;

    let other = std::env::var("FETCHIMG_OTHER").ok();
    let (sets, compared) = if let Some(other) = &other {
        let sets = vec![Set::new("this build", &[]), Set { program: other, ..Set::new("the other build", &[]) }];
        (sets, &[("this build beside the other", 0, 1)][..])
    } else {
        (SETS.iter().map(|(name, flags)| Set::new(name, flags)).collect(), &COMPARED[..])
    };
    let mut taken: Vec<Vec<Run>> = sets.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        // The order changes, because a set that always runs after the same other one may have an advantage.
        for set in (0..sets.len()).map(|turn| (turn + round) % sets.len()) {
            let output = folder.path().join(format!("out-{set}-{round}"));
            let run = run(&sets[set], &corpus, &list, &output)?;
            // The first round only warms up memory and the page cache.
            if round > 0 {
                taken[set].push(run);
            }
        }
    }
    for (Set { name, flags, .. }, taken) in sets.iter().zip(&taken) {
        println!("\n{name}: {}", if flags.is_empty() { "no flags".to_owned() } else { flags.join(" ") });
        for run in taken {
            println!("  {run}");
        }
    }
    println!();
    for &(what, set, beside) in compared {
        for (unit, figure) in [("wall", (|run| run.wall) as fn(&Run) -> f64), ("processor", |run| run.cpu)] {
            let sum = |set: usize| taken[set].iter().map(figure).sum::<f64>();
            let ratios = taken[set].iter().zip(&taken[beside]).map(|(run, beside)| figure(run) / figure(beside));
            let (median, low, high) = spread(ratios.collect());
            let all = sum(set) / sum(beside);
            println!("{what}, {unit} time: {all:.3} in all, {median:.3} in the middle (from {low:.3} to {high:.3})");
        }
    }
    Ok(())
}

/// A program with flags.
struct Set<'a> {
    name: &'a str,
    program: &'a str,
    flags: &'a [&'a str],
}

impl<'a> Set<'a> {
    /// The program of this build.
    const fn new(name: &'a str, flags: &'a [&'a str]) -> Self {
        Self { name, program: env!("CARGO_BIN_EXE_fetchimg"), flags }
    }
}

/// The sets of flags.
const SETS: [(&str, &[&str]); 5] = [
    ("default", &[]),
    ("large pieces", &["--chunk-size", "65536"]),
    ("nothing is looked at", &["--accept", "any", "--verify", "none"]),
    ("heads are looked at", &["--verify", "none"]),
    ("all reports", &["--report", "run.html", "--report", "run.md", "--report", "run.json"]),
];

/// The compared pairs of sets: what the difference is, the set, and the one that it is compared with.
const COMPARED: [(&str, usize, usize); 5] = [
    ("pieces of 512 bytes beside 64 KiB", 0, 1),
    ("recognition and headers", 3, 2),
    ("--verify structure", 0, 3),
    ("both together", 0, 2),
    ("--report, three files", 4, 0),
];

/// What one run of the program took.
struct Run {
    wall: f64,
    cpu: f64,
    most_open: usize,
    peak_bytes: u64,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let memory = megabytes(self.peak_bytes);
        write!(
            f,
            "wall {:.3} s  cpu {:.3} s  memory {memory:.0} MB  open files {}",
            self.wall, self.cpu, self.most_open
        )
    }
}

fn run(set: &Set, corpus: &Corpus, list: &Path, output: &Path) -> Result<Run> {
    let before = processor_time()?;
    let mut program = Command::new(set.program);
    program.current_dir(list.parent().ok_or("a list in a folder")?);
    program.arg(list).arg("-o").arg(output).arg("-q").args(set.flags);
    let Watched { wall, status, most_open, peak_bytes } = watch(&mut program)?;
    let cpu = processor_time()? - before;
    if !status.success() {
        return Err(format!("fetchimg ended with {status}").into());
    }
    let right = corpus.right_in(output)?;
    // In a file system in memory, the next run then gets this run's memory, which the machine does not have to provide
    // again.
    fs::remove_dir_all(output)?;
    if right != IMAGES {
        return Err(format!("only {right} of {IMAGES} files are identical to their originals").into());
    }
    Ok(Run { wall, cpu, most_open, peak_bytes })
}

/// Processor time of all children that have ended, in seconds.
fn processor_time() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}
