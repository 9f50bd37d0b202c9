//! Measures the ways to make a complete file appear under its name.
//!
//! ```text
//! cargo bench --bench publish -- FOLDER…                    # on the file systems of these folders
//! … -- FOLDER --files 10000 --bytes 25000 --rounds 7
//! ```
//!
//! A file is written and gets its name in one step: a file without a name is linked (as fetchimg does), a file with another
//! name in the same folder is renamed, or one in a sub-folder is. Each round makes the files in each way, each time in a
//! new folder, because creating files soon after removing many is slow on ext4. Kernel time is that of this process,
//! so what the disk does later is not in it. Ratios are taken round by round, to the first way.

#![expect(clippy::print_stdout, reason = "a benchmark talks")]

#[path = "common/mod.rs"]
mod common;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use common::{Result, spread};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, linkat, openat, renameat_with};

#[derive(Clone, Copy)]
enum Way {
    Linked,
    Renamed,
    RenamedFromBelow,
}

const WAYS: [(Way, &str); 3] = [
    (Way::Linked, "a file without a name, linked"),
    (Way::Renamed, "another name, renamed"),
    (Way::RenamedFromBelow, "a name in a sub-folder, renamed"),
];

/// The sub-folder of [`Way::RenamedFromBelow`].
const BELOW: &str = "below";

/// The time for a file in microseconds.
#[derive(Clone, Copy)]
struct Taken {
    wall: f64,
    kernel: f64,
}

fn main() -> Result<()> {
    let (mut files, mut bytes, mut rounds, mut folders) = (5_000, 25_000, 7, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<usize> { Ok(words.next().ok_or("a number is missing")?.parse()?) };
        match &*word {
            // What cargo adds.
            "--bench" => {}
            "--files" => files = number()?,
            "--bytes" => bytes = number()?,
            "--rounds" => rounds = number()?,
            folder => folders.push(PathBuf::from(folder)),
        }
    }
    let content = vec![7; bytes];
    for folder in &folders {
        let home = tempfile::tempdir_in(folder)?;
        println!("{}: {files} files of {bytes} bytes, {rounds} rounds; microseconds a file", folder.display());
        let mut taken = vec![Vec::new(); WAYS.len()];
        // The first round warms up.
        for round in 0..=rounds {
            for (index, (way, _)) in WAYS.iter().enumerate() {
                let one = make(*way, &home.path().join(format!("{round}-{index}")), &content, files)?;
                if round > 0 {
                    taken[index].push(one);
                }
            }
        }
        for ((_, name), of_way) in WAYS.iter().zip(&taken) {
            let show = |figure: fn(&Taken) -> f64| {
                let (median, least, most) = spread(of_way.iter().map(figure).collect());
                let ratios = of_way.iter().zip(&taken[0]).map(|(one, first)| figure(one) / figure(first)).collect();
                format!("{median:6.1} ({least:.1} to {most:.1}), {:.2} times", spread(ratios).0)
            };
            println!("{name:32} kernel {}   wall {}", show(|one| one.kernel), show(|one| one.wall));
        }
    }
    Ok(())
}

fn make(way: Way, folder: &Path, content: &[u8], files: usize) -> Result<Taken> {
    fs::create_dir_all(folder.join(BELOW))?;
    let at = File::open(folder)?;
    let kernel_time = || getrusage(UsageWho::RUSAGE_SELF).map(|usage| usage.system_time().num_microseconds());
    let (begin, kernel) = (Instant::now(), kernel_time()?);
    let mode = Mode::from_raw_mode(0o666);
    let write = OFlags::WRONLY | OFlags::CLOEXEC;
    for index in 0..files {
        let name = format!("{index:07}.jpg");
        let temporary = match way {
            Way::Linked => {
                let mut file = File::from(openat(&at, ".", write | OFlags::TMPFILE, mode)?);
                file.write_all(content)?;
                linkat(&file, "", &at, &name, AtFlags::EMPTY_PATH)?;
                continue;
            }
            Way::Renamed => format!(".part-{index:07}"),
            Way::RenamedFromBelow => format!("{BELOW}/{index:07}"),
        };
        let mut file = File::from(openat(&at, &temporary, write | OFlags::CREATE | OFlags::EXCL, mode)?);
        file.write_all(content)?;
        renameat_with(&at, &temporary, &at, &name, RenameFlags::NOREPLACE)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let each = |microseconds: i64| microseconds as f64 / files as f64;
    let wall = i64::try_from(begin.elapsed().as_micros())?;
    Ok(Taken { wall: each(wall), kernel: each(kernel_time()? - kernel) })
}
