//! fetchimg in another program: fetches the URLs that it is given, and prints their records while they come.
//!
//! `cargo run --example library -- https://example.org/a.png https://example.org/b.png`

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]

use std::error::Error;

use fetchimg::{Job, Options, Run};
use futures::{StreamExt, stream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let urls = std::env::args().skip(1).map(|url| url.parse()).collect::<Result<Vec<_>, _>>()?;
    let jobs = stream::iter(urls).enumerate().map(|(index, url)| Job::new(index as u64, url));
    let options = Options { output: "images".into(), ..Options::default() };
    let mut records = Run::new(options)?.records(jobs);
    while let Some(record) = records.next().await {
        println!("{}", serde_json::to_string(&record)?);
    }
    let summary = records.finish().await?;
    eprintln!("{} saved, {} failed", summary.saved, summary.failed);
    Ok(())
}
