//! Computing beside the network.
//!
//! [`Pool::run`] waits for memory first and for a processor then, without holding a thread, so tasks of the network go on
//! meanwhile. The threads are those that tokio keeps for blocking work, as many at once as the pool has seats: they come
//! when there is work and go when there is none, a panic comes back as a value, and the runtime knows of them when it ends.
//! Threads of our own would do the same with more code; those of rayon would also split single images, for which
//! thumbnails are too small and lists are too long.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory is given out in pieces of so many bytes.
const PIECE: u64 = 1 << 16;

/// Seats for work that keeps a processor busy, and memory for it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool {
    seats: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    /// All there is, in pieces.
    pieces: u32,
}

impl Pool {
    /// Memory for the work of all seats together, where nothing else is said: 512 MiB.
    pub const MEMORY: u64 = 512 << 20;

    /// A pool that does so many things at once, in so many bytes.
    #[must_use]
    pub fn new(seats: NonZeroUsize, memory: u64) -> Self {
        let pieces = u32::try_from(memory / PIECE).unwrap_or(u32::MAX).max(1);
        let seats = Arc::new(Semaphore::new(seats.get().min(Semaphore::MAX_PERMITS)));
        Self { seats, memory: Arc::new(Semaphore::new(pieces as usize)), pieces }
    }

    /// As many seats as the machine has processors, and the usual memory.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN), Self::MEMORY)
    }

    /// Does the work when there is a place for it. `weight` is the memory that it takes, in bytes: what takes more than
    /// there is waits until nothing else takes any, and is done alone. First come, first served, so it does get its turn.
    ///
    /// Has to be called within a tokio runtime. When the future is dropped, work that was begun goes on, and keeps its
    /// place until it ends.
    pub async fn run<T, F>(&self, weight: u64, work: F) -> Result<T, Panicked>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let pieces = u32::try_from(weight.div_ceil(PIECE)).unwrap_or(u32::MAX).min(self.pieces);
        let memory = Arc::clone(&self.memory).acquire_many_owned(pieces).await;
        let seat = Arc::clone(&self.seats).acquire_owned().await;
        let place = Place { _seat: seat.ok(), _memory: memory.ok() };
        let done = tokio::task::spawn_blocking(move || {
            // Memory is given back when the work has let go of it.
            let _place = place;
            work()
        });
        done.await.map_err(|error| Panicked::new(error.try_into_panic().ok().as_deref()))
    }
}

/// What work holds on to while it is done. Both are there: nobody closes the pool.
struct Place {
    _seat: Option<OwnedSemaphorePermit>,
    _memory: Option<OwnedSemaphorePermit>,
}

/// The work has panicked: a defect. Or the runtime is going down.
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

    fn pool(seats: usize, memory: u64) -> Pool {
        Pool::new(NonZeroUsize::new(seats).expect("a seat"), memory)
    }

    /// How many are at work, and the most there were.
    #[derive(Clone, Default)]
    struct Peak(Arc<(AtomicUsize, AtomicUsize)>);

    impl Peak {
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

    async fn peak_of(pool: &Pool, weight: u64) -> usize {
        let peak = Peak::default();
        let work = (0..200).map(|_| {
            let peak = peak.clone();
            pool.run(weight, move || peak.work())
        });
        for done in futures::future::join_all(work).await {
            done.expect("no panic");
        }
        peak.highest()
    }

    #[tokio::test]
    async fn seats_bound_what_is_done_at_once_and_all_are_used() {
        assert!((1..=3).contains(&peak_of(&pool(3, 1 << 30), 1).await));
        // Three that wait for each other end only if all three are at work.
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
    async fn memory_bounds_it_too() {
        assert!((1..=2).contains(&peak_of(&pool(8, 10 * PIECE), 5 * PIECE).await));
        assert_eq!(peak_of(&pool(8, 10 * PIECE), 6 * PIECE).await, 1);
        assert_eq!(peak_of(&pool(8, 10 * PIECE), u64::MAX).await, 1, "alone, but done");
    }

    #[tokio::test]
    async fn waiting_for_a_place_holds_no_thread_of_the_runtime() {
        let pool = pool(1, 1 << 20);
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let first = pool.run(1, move || gone.recv());
        let second = pool.run(1, || 2);
        let (mut first, mut second) = (Box::pin(first), Box::pin(second));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        // This runtime has one thread, and that is here.
        go.send(()).expect("the first one listens");
        first.await.expect("no panic").expect("told to go");
        assert_eq!(second.await, Ok(2));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_gives_its_place_back() {
        let pool = pool(1, 1 << 20);
        for _ in 0..2 {
            let panicked = pool.run(1 << 20, || -> u8 { panic!("for a test") }).await;
            assert_eq!(panicked.map_err(|error| error.to_string()), Err("panicked: for a test".to_owned()));
        }
        assert_eq!(pool.run(1 << 20, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_keeps_its_place_to_the_end() {
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
