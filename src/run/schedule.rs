//! Runs the jobs of a stream: one after the other, or many at once with a task for each.
//!
//! Both functions take the work as a function and do not depend on the rest of the program. `done` is called with all
//! results that have come since the last call, so that the caller takes its lock once for all of them.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::pin;

use futures::{Stream, StreamExt};
use tokio::task::JoinSet;

/// Does one job after the other, in the order of the stream.
pub async fn sequential<J, R, W>(jobs: impl Stream<Item = J>, work: impl Fn(J) -> W, mut done: impl FnMut(&mut Vec<R>))
where
    W: Future<Output = R>,
{
    let mut jobs = pin!(jobs);
    let mut ended = Vec::with_capacity(1);
    while let Some(job) = jobs.next().await {
        ended.push(work(job).await);
        done(&mut ended);
        ended.clear();
    }
}

/// Does up to `window` jobs at once, each in a task of its own. A job is taken from the stream only when fewer than
/// `window` tasks run, so a list of ten million lines needs memory for one window, and for what the stream itself reads
/// ahead.
///
/// # Panics
/// When `work` panics.
pub async fn concurrent<J, R, W>(
    jobs: impl Stream<Item = J>,
    window: NonZeroUsize,
    work: impl Fn(J) -> W,
    mut done: impl FnMut(&mut Vec<R>),
) where
    R: Send + 'static,
    W: Future<Output = R> + Send + 'static,
{
    let mut jobs = pin!(jobs);
    let mut tasks = JoinSet::new();
    let mut ended = Vec::new();
    let mut more = true;
    while more || !tasks.is_empty() {
        tokio::select! {
            Some(first) = tasks.join_next(), if !tasks.is_empty() => {
                let rest = std::iter::from_fn(|| tasks.try_join_next());
                for result in std::iter::once(first).chain(rest) {
                    match result {
                        Ok(result) => ended.push(result),
                        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                        // Cancelled, which happens only when the runtime is shut down.
                        Err(_) => return,
                    }
                }
                done(&mut ended);
                ended.clear();
            }
            next = jobs.next(), if more && tasks.len() < window.get() => match next {
                Some(job) => drop(tasks.spawn(work(job))),
                None => more = false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::stream;
    use tokio::time::{Instant, sleep};

    use super::*;

    #[derive(Clone, Default)]
    struct Peak(Arc<(AtomicUsize, AtomicUsize)>);

    impl Peak {
        async fn work(self, number: u64) -> u64 {
            let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.1.fetch_max(now, Ordering::SeqCst);
            sleep(Duration::from_secs(1)).await;
            self.0.0.fetch_sub(1, Ordering::SeqCst);
            number
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_is_filled_and_never_exceeded() {
        let peak = Peak::default();
        let mut seen = Vec::new();
        let begin = Instant::now();
        let window = NonZeroUsize::new(7).expect("not zero");
        concurrent(stream::iter(0..70), window, |n| peak.clone().work(n), |ended| seen.append(ended)).await;
        seen.sort_unstable();
        assert_eq!(seen, (0..70).collect::<Vec<_>>());
        assert_eq!(peak.0.1.load(Ordering::SeqCst), 7);
        assert_eq!(begin.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn one_after_the_other_keeps_the_order() {
        let peak = Peak::default();
        let mut seen = Vec::new();
        sequential(stream::iter(0..5), |n| peak.clone().work(n), |ended| seen.append(ended)).await;
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        assert_eq!(peak.0.1.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_starts_while_the_list_is_still_being_read() {
        let begin = Instant::now();
        let slow = stream::unfold(0, |n| async move {
            if n > 0 {
                sleep(Duration::from_secs(10)).await;
            }
            (n < 2).then_some((n, n + 1))
        });
        let mut first = None;
        let window = NonZeroUsize::new(4).expect("not zero");
        let work = |n| Peak::default().work(n);
        concurrent(slow, window, work, |_: &mut Vec<u64>| {
            first.get_or_insert_with(|| begin.elapsed());
        })
        .await;
        assert_eq!(first.map(|after| after.as_secs()), Some(1));
    }
}
