//! Queue of rows that wait for a permit, by host, so that a busy host does not hold up the others.
//!
//! Without it, a list that is sorted by host would be fetched host by host, and a host in back-off would stop the whole
//! run. [`with_permits`] reads a bounded number of rows ahead, sorts them by host, and yields the next one whose host
//! has a permit, together with the permit. Within a host rows keep the order of the list; hosts take turns.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use futures::{FutureExt, Stream, StreamExt};
use tokio::time::{Instant, sleep_until};

use crate::limiter::{HostKey, Limiter, Permit, TryAcquire};

/// Yields the jobs of the list, each with a permit, in an order that leaves no permit unused for which there is a job
/// among the next `max_queued` rows. A job of no host, or whose host has an open circuit, gets no permit. When `ending`
/// completes, the list is not read on, and the queued jobs are dropped: they have not begun, so the next run begins with
/// them.
pub fn with_permits<J>(
    jobs: impl Stream<Item = J>,
    host: impl Fn(&J) -> HostKey,
    limiter: Limiter,
    max_queued: usize,
    ending: impl Future<Output = ()>,
) -> impl Stream<Item = (J, Option<Permit>)> {
    let start = (Box::pin(jobs), Box::pin(ending.fuse()), host, HostQueue::new(limiter));
    futures::stream::unfold(start, move |(mut jobs, mut ending, host, mut queue)| async move {
        loop {
            if let Some(with_permits) = queue.next() {
                return Some((with_permits, (jobs, ending, host, queue)));
            }
            if queue.rows == 0 && queue.is_input_done {
                return None;
            }
            let changed = queue.changed();
            tokio::select! {
                biased;
                () = &mut ending => return None,
                // Before the list: a long one that is always ready would leave permits unused.
                freed = changed => queue.make_ready(freed),
                job = jobs.next(), if !queue.is_input_done && queue.rows < max_queued => match job {
                    Some(job) => queue.push(host(&job), job),
                    None => queue.is_input_done = true,
                },
            }
        }
    })
}

/// Rows that have been read and wait for a permit.
struct HostQueue<J> {
    limiter: Limiter,
    hosts: HashMap<HostKey, QueuedRows<J>, RandomState>,
    /// Hosts with queued rows that may have a free permit, in the order in which they are asked.
    ready: VecDeque<HostKey>,
    /// Hosts with queued rows that must not be contacted before a given time.
    delayed: Vec<(Instant, HostKey)>,
    rows: usize,
    /// The list has ended.
    is_input_done: bool,
}

/// The queued rows of one host, in the order of the list.
struct QueuedRows<J> {
    jobs: VecDeque<J>,
    /// Whether the host is in `ready`. Twice there, it would be asked for permits without rows.
    is_ready: bool,
    /// Where the number of rows is counted for the display, once the host was at its limit.
    counted: Option<Arc<AtomicUsize>>,
}

impl<J> QueuedRows<J> {
    /// Shows how many rows there are, if that is wanted.
    fn count(&self) {
        if let Some(counted) = &self.counted {
            counted.store(self.jobs.len(), Ordering::Relaxed);
        }
    }
}

impl<J> HostQueue<J> {
    fn new(limiter: Limiter) -> Self {
        let (hosts, ready, delayed) = (HashMap::default(), VecDeque::new(), Vec::new());
        Self { limiter, hosts, ready, delayed, rows: 0, is_input_done: false }
    }

    fn push(&mut self, host: HostKey, job: J) {
        self.rows += 1;
        if let Some(rows) = self.hosts.get_mut(&host) {
            rows.jobs.push_back(job);
            rows.count();
        } else {
            let rows = QueuedRows { jobs: VecDeque::from([job]), is_ready: false, counted: None };
            self.hosts.insert(host.clone(), rows);
            self.mark_ready(host);
        }
    }

    /// Adds a host to `ready`, if it has rows and is not there already.
    fn mark_ready(&mut self, host: HostKey) {
        if let Some(rows) = self.hosts.get_mut(&host).filter(|rows| !rows.is_ready) {
            rows.is_ready = true;
            self.ready.push_back(host);
        }
    }

    /// The next job whose host has a permit.
    fn next(&mut self) -> Option<(J, Option<Permit>)> {
        for _ in 0..self.ready.len() {
            let host = self.ready.pop_front()?;
            let Some(rows) = self.hosts.get_mut(&host) else { continue };
            rows.is_ready = false;
            if host.is_none() {
                let job = self.pop(&host)?;
                self.mark_ready(host);
                return Some((job, None));
            }
            let is_last = rows.jobs.len() == 1;
            let acquired = self.limiter.try_acquire(&host, is_last);
            if matches!(acquired, TryAcquire::HostFull | TryAcquire::NotBefore(_)) && rows.counted.is_none() {
                rows.counted = Some(self.limiter.queued(&host));
                rows.count();
            }
            match acquired {
                TryAcquire::Permit(permit) => {
                    let job = self.pop(&host)?;
                    self.mark_ready(host);
                    return Some((job, Some(permit)));
                }
                TryAcquire::HostFull => {} // It will be among the freed.
                // The row needs no permit to fail.
                TryAcquire::CircuitOpen => {
                    let job = self.pop(&host)?;
                    self.mark_ready(host);
                    return Some((job, None));
                }
                TryAcquire::NotBefore(until) => self.delayed.push((until, host)),
                TryAcquire::RunFull => {
                    rows.is_ready = true;
                    self.ready.push_front(host);
                    return None;
                }
            }
        }
        None
    }

    fn pop(&mut self, host: &HostKey) -> Option<J> {
        let rows = self.hosts.get_mut(host)?;
        let job = rows.jobs.pop_front()?;
        rows.count();
        self.rows -= 1;
        if rows.jobs.is_empty() {
            self.hosts.remove(host);
        }
        Some(job)
    }

    /// Waits until a permit may be free, and returns the hosts that have become ready.
    fn changed(&self) -> impl Future<Output = Vec<HostKey>> + use<J> {
        let limiter = self.limiter.clone();
        let earliest = self.delayed.iter().map(|(until, _)| *until).min();
        async move {
            let time = async {
                match earliest {
                    Some(until) => sleep_until(until).await,
                    None => futures::future::pending().await,
                }
            };
            tokio::select! {
                freed = limiter.freed() => freed,
                () = time => Vec::new(),
            }
        }
    }

    fn make_ready(&mut self, freed: Vec<HostKey>) {
        let now = Instant::now();
        self.delayed.retain(|(_, host)| !freed.contains(host));
        let due = self.delayed.extract_if(.., |(until, _)| *until <= now).map(|(_, host)| host);
        let due = due.collect::<Vec<_>>();
        freed.into_iter().chain(due).for_each(|host| self.mark_ready(host));
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use futures::stream;
    use url::Url;

    use super::*;
    use crate::limiter::{Attempt, Feedback, OpenAfter, Options, PerHost};
    use crate::record::ErrorKind;

    type TestJob = (&'static str, usize);

    fn host(job: &TestJob) -> HostKey {
        HostKey::of(&Url::parse(&format!("http://{}/", job.0)).expect("a URL"))
    }

    fn limiter(per_host: usize, concurrency: usize) -> Limiter {
        Limiter::new(Options {
            per_host: PerHost::Fixed(per_host),
            concurrency: NonZeroUsize::new(concurrency).expect("not zero"),
            request_interval: None,
            initial_backoff: Duration::from_secs(1),
            open_after: OpenAfter {
                attempts: 1,
                unconnected: Duration::from_secs(9),
                unanswered: Duration::from_secs(9),
            },
            new_rows_first_below: 0,
        })
    }

    fn ahead(
        jobs: Vec<TestJob>,
        limiter: Limiter,
        max_queued: usize,
    ) -> impl Stream<Item = (TestJob, Option<Permit>)> + Unpin {
        Box::pin(with_permits(stream::iter(jobs), host, limiter, max_queued, futures::future::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_host_is_passed_over_and_its_order_kept() {
        let list = vec![("a", 0), ("a", 1), ("a", 2), ("b", 3), ("b", 4)];
        let mut jobs = ahead(list, limiter(1, 10), 10);
        let (first, permit_a) = jobs.next().await.expect("a job");
        let (second, _permit_b) = jobs.next().await.expect("a job");
        assert_eq!((first, second), (("a", 0), ("b", 3)));
        assert!(futures::poll!(jobs.next()).is_pending());
        drop(permit_a);
        assert_eq!(jobs.next().await.expect("a job").0, ("a", 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_of_no_host_needs_no_permit() {
        let list = vec![("a", 0), ("a", 1), ("", 2), ("", 3)];
        let host = |job: &TestJob| if job.0.is_empty() { HostKey::none() } else { host(job) };
        let mut jobs = Box::pin(with_permits(stream::iter(list), host, limiter(1, 10), 10, futures::future::pending()));
        let (first, permit) = jobs.next().await.expect("a job");
        for expected in [2, 3] {
            let (job, permit) = jobs.next().await.expect("a job");
            assert_eq!((job.1, permit.is_some()), (expected, false), "while the only permit is taken");
        }
        assert!(futures::poll!(jobs.next()).is_pending());
        drop(permit);
        assert_eq!((first.1, jobs.next().await.expect("a job").0), (0, ("a", 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_rows_are_queued_than_allowed() {
        let taken = std::cell::Cell::new(0);
        let list = stream::iter((0..100).map(|n| ("a", n))).inspect(|_| taken.set(taken.get() + 1));
        let mut jobs = Box::pin(with_permits(list, host, limiter(1, 10), 7, futures::future::pending()));
        let _first = jobs.next().await.expect("a job");
        assert!(futures::poll!(jobs.next()).is_pending());
        assert_eq!(taken.get(), 1 + 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_in_back_off_is_asked_again_in_time() {
        let limiter = limiter(1, 10);
        let mut jobs = ahead(vec![("a", 0), ("a", 1), ("b", 2)], limiter.clone(), 10);
        let begin = Instant::now();
        let (_, permit) = jobs.next().await.expect("a job");
        permit
            .expect("a permit")
            .release(Feedback::Throttled(ErrorKind::HttpStatus(429), Some(Duration::from_secs(60))));
        assert_eq!(jobs.next().await.expect("a job").0, ("b", 2));
        assert_eq!(begin.elapsed().as_secs(), 0);
        assert_eq!(jobs.next().await.expect("a job").0, ("a", 1));
        assert_eq!(begin.elapsed().as_secs(), 60);
        assert!(jobs.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_take_turns_for_the_permits_of_the_run() {
        let list = [0, 1, 2].into_iter().flat_map(|n| [("a", n), ("b", n)]).collect::<Vec<_>>();
        let mut sorted = list.clone();
        sorted.sort_unstable();
        let mut jobs = ahead(sorted, limiter(5, 1), 10);
        let mut order = Vec::new();
        while let Some((job, permit)) = jobs.next().await {
            drop(permit);
            order.push(job);
        }
        order.sort_unstable();
        let mut all = list;
        all.sort_unstable();
        assert_eq!(order, all);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_drops_what_is_queued_and_reads_no_further() {
        let (end, ending) = tokio::sync::oneshot::channel::<()>();
        let ending = async {
            let _ = ending.await;
        };
        let limiter = limiter(1, 10);
        let list = stream::iter((0..100).map(|n| ("a", n)));
        let mut jobs = Box::pin(with_permits(list, host, limiter, 3, ending));
        let _first = jobs.next().await.expect("a job");
        assert!(futures::poll!(jobs.next()).is_pending());
        end.send(()).expect("a receiver");
        assert!(jobs.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn rows_that_wait_for_a_host_are_counted() {
        let limiter = limiter(1, 10);
        let mut jobs = ahead((0..5).map(|n| ("a", n)).collect(), limiter.clone(), 10);
        let (_, permit) = jobs.next().await.expect("a job");
        assert!(futures::poll!(jobs.next()).is_pending());
        tokio::time::advance(Duration::from_secs(6)).await;
        let rows = |limiter: &Limiter| limiter.unanswered(Duration::from_secs(5)).first().map(|host| host.rows);
        assert_eq!(rows(&limiter), Some(5), "one in flight and four in the queue");
        drop(permit);
        let (_, _second) = jobs.next().await.expect("a job");
        assert_eq!(rows(&limiter), Some(4));
    }

    /// Responses of all kinds, retries, hosts that go down and come back: all rows end.
    #[tokio::test(start_paused = true)]
    async fn no_row_waits_for_ever() {
        for seed in 0..60 {
            let mut random = fastrand::Rng::with_seed(seed);
            let limiter = Limiter::new(Options {
                per_host: if random.bool() { PerHost::Auto } else { PerHost::Fixed(random.usize(1..5)) },
                concurrency: NonZeroUsize::new(random.usize(1..20)).expect("not zero"),
                request_interval: random.bool().then(|| Duration::from_millis(random.u64(1..200))),
                initial_backoff: Duration::from_millis(500),
                open_after: OpenAfter {
                    attempts: 3,
                    unconnected: Duration::from_secs(5),
                    unanswered: Duration::from_secs(9),
                },
                new_rows_first_below: random.usize(0..40),
            });
            let rows = random.usize(1..600);
            let list = (0..rows).map(|n| (["a", "b", "c"][random.usize(0..3)], n)).collect::<Vec<_>>();
            let jobs = with_permits(stream::iter(list), host, limiter.clone(), 100, futures::future::pending());
            let work = |(job, mut permit): (TestJob, Option<Permit>)| {
                let (limiter, mut random) = (limiter.clone(), fastrand::Rng::with_seed(seed ^ job.1 as u64));
                async move {
                    let mut backing_off = None;
                    for attempt in 0..3 {
                        let attempt = if attempt == 0 { Attempt::First } else { Attempt::Retry };
                        let taken = match permit.take() {
                            Some(permit) => Ok(permit),
                            None => limiter.acquire(&host(&job), attempt).await,
                        };
                        let Ok(permit) = taken else { return 1 };
                        drop(backing_off.take());
                        tokio::time::sleep(Duration::from_millis(random.u64(0..2000))).await;
                        let worst = if job.0 == "a" { 9 } else { 5 };
                        let feedback = match random.u32(0..worst) {
                            0 | 1 => Feedback::Unanswered(ErrorKind::Connect),
                            2 => Feedback::Throttled(
                                ErrorKind::HttpStatus(429),
                                random.bool().then_some(Duration::from_secs(2)),
                            ),
                            5 => Feedback::Silent,
                            6.. => Feedback::Unanswered(ErrorKind::Stalled),
                            _ => Feedback::Success,
                        };
                        if feedback == Feedback::Success {
                            permit.release(feedback);
                            return 1;
                        }
                        backing_off = Some(permit.back_off(feedback));
                        tokio::time::sleep(Duration::from_millis(random.u64(0..1000))).await;
                    }
                    1
                }
            };
            let mut ended = 0;
            let tasks = NonZeroUsize::new(200).expect("not zero");
            let all =
                crate::run::schedule::concurrent(jobs, tasks, work, |batch| ended += batch.drain(..).sum::<usize>());
            let in_time = tokio::time::timeout(Duration::from_secs(36_000), all).await;
            assert!(in_time.is_ok() && ended == rows, "seed {seed}: {ended} of {rows} rows");
        }
    }
}
