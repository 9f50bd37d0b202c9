//! fetchimg beside its peers: the same lists from the same servers, in turn, in one run.
//!
//! ```text
//! cargo bench --bench peers                            # every workload, 5 rounds
//! cargo bench --bench peers -- small tiny --rounds 9   # these two, 9 rounds
//! cargo bench --bench peers -- small --only fetchimg,curl-50,limit
//! cargo bench --bench peers -- --json peers.json
//! ```
//!
//! Peers are whatever is installed of curl, aria2c, wget2, wget (by xargs) and python3 with aiohttp, which runs the
//! tutorial's two programs written anew (`tutorial.py`). `limit` is a stand-in for the least work there can be: a loop
//! over epoll that knows the lengths beforehand, and links unnamed files into place. Plain lists come from nginx, which
//! has to be installed; lists with waits and faults from a small server in a process of its own.
//!
//! The first round warms up and is not counted. Every run writes into a folder of its own, and every file is compared
//! with its original. Ratios are taken round by round, so that a slow minute of the machine meets both sides.

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

/// What was typed.
struct Wanted {
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
    let wanted = wanted()?;
    let mut all = Vec::new();
    for workload in &wanted.workloads {
        let measured = workload.measure(wanted.rounds, &wanted.only)?;
        table::print(&measured);
        all.push(measured);
    }
    if let Some(path) = wanted.json {
        serde_json::to_writer_pretty(std::fs::File::create(&path)?, &all)?;
        println!("written to {}", path.display());
    }
    let wrong = all.iter().filter(|measured: &&Measured| !measured.fetchimg_is_right()).count();
    if wrong > 0 { Err(format!("fetchimg missed files in {wrong} workloads").into()) } else { Ok(()) }
}

fn wanted() -> Result<Wanted> {
    let mut wanted = Wanted { workloads: Vec::new(), only: Vec::new(), rounds: 5, json: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match &*word {
            // What cargo adds.
            "--bench" => {}
            "--rounds" => wanted.rounds = value()?.parse()?,
            "--only" => wanted.only = value()?.split(',').map(str::to_owned).collect(),
            "--json" => wanted.json = Some(value()?.into()),
            name => {
                let workload = Workload::by_name(name).ok_or_else(|| format!("there is no workload {name}"))?;
                wanted.workloads.push(workload);
            }
        }
    }
    if wanted.workloads.is_empty() {
        wanted.workloads = Workload::ALL.to_vec();
    }
    Ok(wanted)
}
