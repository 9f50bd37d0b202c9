//! Runs work that takes a processor, beside the network tasks.
//!
//! [`CpuPool::run`] first waits for memory and then for a worker, without blocking a thread, so network tasks go on
//! meanwhile. The threads are tokio's for blocking work, at most as many at once as the pool has workers. They start
//! when there is work and end when there is none; a panic is returned as a value, and the runtime waits for them when
//! it shuts down. Own threads would do the same with more code. rayon would also split single images, for which
//! thumbnails are too small and lists too long.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Unit of memory permits, in bytes.
const UNIT_BYTES: u64 = 1 << 16;

/// Bounds the number and the memory of jobs that keep a processor busy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CpuPool {
    workers: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    /// Total memory, in units.
    units: u32,
}

impl CpuPool {
    /// Default memory for all jobs together: 512 MiB.
    pub const DEFAULT_MEMORY_BYTES: u64 = 512 << 20;

    /// A pool of `workers` jobs at once, which take at most `memory` bytes together.
    #[must_use]
    pub fn new(workers: NonZeroUsize, memory: u64) -> Self {
        let units = u32::try_from(memory / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        let workers = Arc::new(Semaphore::new(workers.get().min(Semaphore::MAX_PERMITS)));
        Self { workers, memory: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// A pool with one worker per processor of this machine, and [`Self::DEFAULT_MEMORY_BYTES`].
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN), Self::DEFAULT_MEMORY_BYTES)
    }

    /// Runs a job when memory and a worker are free. `memory` is what the job takes, in bytes; a job that needs more
    /// than the pool has runs alone. Jobs start in the order of their calls, so a large one is not passed over.
    ///
    /// Must be called within a tokio runtime. If the future is dropped, a job that has begun goes on, and keeps its
    /// permits until it ends.
    pub async fn run<T, F>(&self, memory: u64, work: F) -> Result<T, Panicked>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let units = u32::try_from(memory.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(self.units);
        let memory = Arc::clone(&self.memory).acquire_many_owned(units).await;
        let worker = Arc::clone(&self.workers).acquire_owned().await;
        let permits = PoolPermits { _worker: worker.ok(), _memory: memory.ok() };
        let done = tokio::task::spawn_blocking(move || {
            // The permits are released after the job has freed its memory.
            let _permits = permits;
            work()
        });
        done.await.map_err(|error| Panicked::new(error.try_into_panic().ok().as_deref()))
    }
}

/// Permits that a running job holds. Both are always there, because the semaphores are never closed.
struct PoolPermits {
    _worker: Option<OwnedSemaphorePermit>,
    _memory: Option<OwnedSemaphorePermit>,
}

/// The job has panicked, which is a defect, or the runtime is shutting down.
#[derive(Debug, PartialEq, Eq)]
pub struct Panicked(String);

impl Panicked {
    fn new(panic: Option<&(dyn Any + Send)>) -> Self {
        let text = panic.and_then(|panic| {
            panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied())
        });
        Self(text.unwrap_or("no words").to_owned())
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.0)
    }
}

impl Error for Panicked {}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt as _;

    use super::*;

    fn pool(workers: usize, memory: u64) -> CpuPool {
        CpuPool::new(NonZeroUsize::new(workers).expect("a worker"), memory)
    }

    /// Jobs that run now, and the most that ran at once.
    #[derive(Clone, Default)]
    struct PeakWorkers(Arc<(AtomicUsize, AtomicUsize)>);

    impl PeakWorkers {
        fn work(&self) {
            let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.1.fetch_max(now, Ordering::SeqCst);
            std::thread::yield_now();
            self.0.0.fetch_sub(1, Ordering::SeqCst);
        }

        fn highest(&self) -> usize {
            self.0.1.load(Ordering::SeqCst)
        }
    }

    async fn peak_of(pool: &CpuPool, memory: u64) -> usize {
        let peak = PeakWorkers::default();
        let work = (0..200).map(|_| {
            let peak = peak.clone();
            pool.run(memory, move || peak.work())
        });
        for done in futures::future::join_all(work).await {
            done.expect("no panic");
        }
        peak.highest()
    }

    #[tokio::test]
    async fn workers_bound_the_jobs_at_once_and_all_are_used() {
        assert!((1..=3).contains(&peak_of(&pool(3, 1 << 30), 1).await));
        // Three jobs that wait for each other end only if all three run at once.
        let pool = pool(3, 1 << 30);
        let all = Arc::new(Barrier::new(3));
        let work = (0..3).map(|_| {
            let all = Arc::clone(&all);
            pool.run(1, move || all.wait().is_leader())
        });
        for done in futures::future::join_all(work).await {
            done.expect("no panic");
        }
    }

    #[tokio::test]
    async fn memory_bounds_the_jobs_too() {
        assert!((1..=2).contains(&peak_of(&pool(8, 10 * UNIT_BYTES), 5 * UNIT_BYTES).await));
        assert_eq!(peak_of(&pool(8, 10 * UNIT_BYTES), 6 * UNIT_BYTES).await, 1);
        assert_eq!(peak_of(&pool(8, 10 * UNIT_BYTES), u64::MAX).await, 1, "alone, but done");
    }

    #[tokio::test]
    async fn waiting_for_permits_blocks_no_thread_of_the_runtime() {
        let pool = pool(1, 1 << 20);
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let first = pool.run(1, move || gone.recv());
        let second = pool.run(1, || 2);
        let (mut first, mut second) = (Box::pin(first), Box::pin(second));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        // This runtime has one thread, the one that runs this test.
        go.send(()).expect("the first one listens");
        first.await.expect("no panic").expect("told to go");
        assert_eq!(second.await, Ok(2));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_releases_the_permits() {
        let pool = pool(1, 1 << 20);
        for _ in 0..2 {
            let panicked = pool.run(1 << 20, || -> u8 { panic!("for a test") }).await;
            assert_eq!(panicked.map_err(|error| error.to_string()), Err("panicked: for a test".to_owned()));
        }
        assert_eq!(pool.run(1 << 20, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_job_whose_future_was_dropped_keeps_its_permits_to_the_end() {
        let pool = pool(2, 1 << 20);
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let mut first = Box::pin(pool.run(1 << 20, move || gone.recv()));
        assert!(first.as_mut().now_or_never().is_none());
        drop(first);
        let mut second = Box::pin(pool.run(1 << 20, || 2));
        assert!(second.as_mut().now_or_never().is_none(), "the memory is still taken");
        go.send(()).expect("the first one listens");
        assert_eq!(second.await, Ok(2));
    }
}
