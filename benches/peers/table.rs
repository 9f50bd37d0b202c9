//! Prints the results as a table.

use crate::common::{megabytes, spread};
use crate::counts::Counts;
use crate::workloads::{Measured, Run, Runs};

/// Prints a table in Markdown: medians, with their range, and ratios to fetchimg, round by round.
pub fn print(measured: &Measured) {
    println!("\n### {}, {}: {}\n", measured.workload, measured.place.name(), measured.about);
    println!(
        "| who | wall s (range) | cpu s (user + system) | memory MB | files right | wall, times fetchimg's | cpu | \
         instructions a picture | system calls a picture |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let ours = measured.peers.iter().find(|runs| runs.peer == "fetchimg");
    for runs in &measured.peers {
        println!("{}", row(runs, ours, measured.files));
    }
    println!();
}

fn row(runs: &Runs, ours: Option<&Runs>, files: usize) -> String {
    let of = |figure: fn(&Run) -> f64| spread(runs.counted.iter().map(figure).collect());
    let (wall, low, high) = of(|run| run.taken.wall);
    let (cpu, user, system) = (of(|run| run.taken.cpu()).0, of(|run| run.taken.user).0, of(|run| run.taken.system).0);
    let memory = of(|run| megabytes(run.taken.peak)).2;
    let fewest = runs.counted.iter().map(|run| run.right).min().unwrap_or(0);
    // A program that misses files is not comparable in time, and should have ended with an error.
    let succeeded = runs.counted.iter().all(|run| run.taken.status == Some(0));
    let note = match (fewest == files, succeeded) {
        (true, true) => "",
        (false, true) => ", at status 0",
        (_, false) => ", with an error",
    };
    let ratio = |figure: fn(&Run) -> f64| {
        let same_round = |run: &Run| ours?.counted.iter().find(|other| other.round == run.round).copied();
        let ratios = runs.counted.iter().filter_map(|run| Some(figure(run) / figure(&same_round(run)?)));
        let (middle, low, high) = spread(ratios.collect());
        format!("{middle:.2} ({low:.2}-{high:.2})")
    };
    let counted = |figure: fn(&Counts) -> Option<f64>, digits: usize| {
        let count = runs.counts.as_ref().and_then(figure);
        count.map_or_else(|| "not available".to_owned(), |count| format!("{count:.digits$}"))
    };
    format!(
        "| {} | {wall:.3} ({low:.3}-{high:.3}) | {cpu:.3} ({user:.2} + {system:.2}) | {memory:.0} | {fewest}/{files}{note} | {} | {} | {} | {} |",
        runs.peer,
        ratio(|run| run.taken.wall),
        ratio(|run| run.taken.cpu()),
        counted(|counts| counts.instructions, 0),
        counted(|counts| counts.system_calls, 1),
    )
}
