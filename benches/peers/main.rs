//! Compares fetchimg with other downloaders: the same lists from the same servers, alternating, in one run.
//!
//! ```text
//! cargo bench --bench peers                            # every workload, 5 rounds
//! cargo bench --bench peers -- small tiny --rounds 9   # these two, 9 rounds
//! cargo bench --bench peers -- small --only fetchimg,curl-50,limit
//! cargo bench --bench peers -- --json peers.json
//! cargo bench --bench peers -- --on disk               # or memory; both unless told
//! cargo bench --bench peers -- --files 50 --rounds 1   # a quick look: at most 50 files of each list
//! cargo bench --bench peers -- --callgrind small       # instructions where there are no hardware counters; slow
//! cargo bench --bench peers -- --no-counts             # without the runs that count
//! CURL=/path/to/curl WGET2=/path/to/wget2 cargo bench --bench peers
//! FETCHIMG_OTHER=/path/to/fetchimg cargo bench --bench peers  # another build beside this one, as `fetchimg-other`
//! ```
//!
//! The disk is a journaled ext4 of the benchmark's own, mounted from a file with direct I/O and made anew for each list
//! (`place.rs`). That takes root and a loop device; the benchmark says so where it cannot have them, and measures in
//! memory alone. Memory is `/dev/shm`, unless `TMPDIR` is another file system in memory.
//!
//! The peers are those that are installed of curl, aria2c, wget2, wget (through xargs) and python3 with aiohttp, which
//! runs rewritten versions of the tutorial's two programs (`tutorial.py`). `limit` does the least possible work: an
//! epoll loop that links unnamed files to their names, with 32 connections, or with 64 where the server waits. Images of plain lists come from nginx, which has to be
//! installed; those of lists with waits and faults come from a small server in a process of its own.
//!
//! The first round warms up and is not counted. Every run writes into a new folder, and every file is compared with its
//! original. Instructions (`perf stat`) and system calls (`strace -c`) are counted in runs of their own, one of each for
//! each program, and divided by the number of pictures. Ratios are taken round by round, so that a slow minute of the machine affects both sides.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks")]

mod counts;
mod limit;
mod peers;
mod place;
mod server;
mod table;
mod workloads;

#[path = "../common/mod.rs"]
mod common;

use std::path::PathBuf;

use common::Result;
use counts::Counters;
use place::Place;
use workloads::{Measured, Plan, Workload};

/// The arguments of the benchmark.
struct Arguments {
    workloads: Vec<Workload>,
    places: Vec<Place>,
    plan: Plan,
    /// Whether the counts were asked for, and from a simulator.
    counts: bool,
    callgrind: bool,
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let is_in_namespace = match words.next().as_deref() {
        Some(common::measure::WORD) => return common::measure::child(words),
        Some(server::WORD) => return server::serve(words),
        Some(limit::WORD) => return limit::fetch(words),
        Some(place::WORD) => true,
        _ => false,
    };
    let mut arguments = arguments(std::env::args().skip(1 + usize::from(is_in_namespace)))?;
    if arguments.places.contains(&Place::Disk) {
        let obstacle = if is_in_namespace {
            place::try_disk().err().map(|error| error.to_string())
        } else {
            Some(place::enter_namespace())
        };
        if let Some(obstacle) = obstacle {
            arguments.places = vec![Place::Memory];
            println!("Nothing is measured on a disk: {obstacle}.");
        }
    }
    if arguments.counts {
        let counters = Counters::of_this_machine(arguments.callgrind)?;
        arguments.plan.counters = Some(counters);
        counters.missing().into_iter().for_each(|missing| println!("Not available: {missing}."));
    }
    measure(&arguments)
}

fn measure(arguments: &Arguments) -> Result<()> {
    let mut all = Vec::new();
    for workload in &arguments.workloads {
        for place in &arguments.places {
            let measured = workload.measure(&arguments.plan, *place)?;
            table::print(&measured);
            all.push(measured);
        }
    }
    if let Some(path) = &arguments.json {
        serde_json::to_writer_pretty(std::fs::File::create(path)?, &all)?;
        println!("written to {}", path.display());
    }
    let wrong = all.iter().filter(|measured: &&Measured| !measured.fetchimg_is_right()).count();
    if wrong > 0 { Err(format!("fetchimg missed files in {wrong} workloads").into()) } else { Ok(()) }
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments> {
    let mut arguments = Arguments {
        workloads: Vec::new(),
        places: vec![Place::Disk, Place::Memory],
        plan: Plan { rounds: 5, only: Vec::new(), files: usize::MAX, counters: None },
        counts: true,
        callgrind: false,
        json: None,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match &*word {
            // What cargo adds.
            "--bench" => {}
            "--rounds" => arguments.plan.rounds = value()?.parse()?,
            "--only" => arguments.plan.only = value()?.split(',').map(str::to_owned).collect(),
            "--files" => arguments.plan.files = value()?.parse()?,
            "--on" => {
                let place = value()?;
                arguments.places = Place::by_name(&place).ok_or("--on wants disk, memory or both")?;
            }
            "--no-counts" => arguments.counts = false,
            "--callgrind" => arguments.callgrind = true,
            "--json" => arguments.json = Some(value()?.into()),
            name => {
                let workload = Workload::by_name(name).ok_or_else(|| format!("there is no workload {name}"))?;
                arguments.workloads.push(workload);
            }
        }
    }
    if arguments.workloads.is_empty() {
        arguments.workloads = Workload::ALL.to_vec();
    }
    Ok(arguments)
}
