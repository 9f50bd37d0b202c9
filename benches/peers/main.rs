//! Compares fetchimg with other downloaders: the same lists from the same servers, alternating, in one run.
//!
//! ```text
//! cargo bench --bench peers                            # every workload, 5 rounds
//! cargo bench --bench peers -- small tiny --rounds 9   # these two, 9 rounds
//! cargo bench --bench peers -- small --only fetchimg,curl-50,limit
//! cargo bench --bench peers -- --json peers.json
//! ```
//!
//! The peers are those that are installed of curl, aria2c, wget2, wget (through xargs) and python3 with aiohttp, which
//! runs rewritten versions of the tutorial's two programs (`tutorial.py`). `limit` does the least possible work: an
//! epoll loop that links unnamed files to their names. Images of plain lists come from nginx, which has to be
//! installed; those of lists with waits and faults come from a small server in a process of its own.
//!
//! The first round warms up and is not counted. Every run writes into a folder of its own, and every file is compared
//! with its original. Ratios are taken round by round, so that a slow minute of the machine affects both sides.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks")]

mod limit;
mod peers;
mod server;
mod table;
mod workloads;

#[path = "../common/mod.rs"]
mod common;

use std::path::PathBuf;

use common::Result;
use workloads::{Measured, Workload};

/// The arguments of the benchmark.
struct Arguments {
    workloads: Vec<Workload>,
    only: Vec<String>,
    rounds: usize,
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some(common::measure::WORD) => return common::measure::child(words),
        Some(server::WORD) => return server::serve(words),
        Some(limit::WORD) => return limit::fetch(words),
        _ => {}
    }
    let arguments = arguments()?;
    let mut all = Vec::new();
    for workload in &arguments.workloads {
        let measured = workload.measure(arguments.rounds, &arguments.only)?;
        table::print(&measured);
        all.push(measured);
    }
    if let Some(path) = arguments.json {
        serde_json::to_writer_pretty(std::fs::File::create(&path)?, &all)?;
        println!("written to {}", path.display());
    }
    let wrong = all.iter().filter(|measured: &&Measured| !measured.fetchimg_is_right()).count();
    if wrong > 0 { Err(format!("fetchimg missed files in {wrong} workloads").into()) } else { Ok(()) }
}

fn arguments() -> Result<Arguments> {
    let mut arguments = Arguments { workloads: Vec::new(), only: Vec::new(), rounds: 5, json: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match &*word {
            // What cargo adds.
            "--bench" => {}
            "--rounds" => arguments.rounds = value()?.parse()?,
            "--only" => arguments.only = value()?.split(',').map(str::to_owned).collect(),
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
