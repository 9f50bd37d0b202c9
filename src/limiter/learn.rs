//! What a visit says about its host.
//!
//! Visits overlap, and a slow one ends long after it has met what it tells about; so each counts as of the moment it
//! began. What befalls those that had begun before seats were taken away is the same overload, and takes no more of
//! them. A host that was heard while a visit came to nothing is not down; and when others, begun since, were served
//! well, the page is to blame.

use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::breaker::Failing;
use super::host::Host;
use super::level::MODEST;
use super::seat::Seat;
use crate::error::Kind;

/// However often a host asks for fewer requests, it is asked again after so long.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How a visit went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// The host keeps up.
    Well,
    /// The host asked for fewer requests, or to stay away for so long.
    Throttled(Kind, Option<Duration>),
    /// The host said that it was overloaded.
    Busy(Kind),
    /// The answer had begun, and the connection broke.
    Broken,
    /// The answer had begun, and nothing more came.
    Silent,
    /// No answer came.
    Unanswered(Kind),
    /// Nothing was learned about the host.
    Unclear,
}

impl Host {
    /// Takes note of a visit, whose seat has been given back.
    pub(super) fn learn(&mut self, shared: &Shared, seat: &Seat) {
        let (began, among, visit) = (seat.since, seat.among, seat.visit);
        let now = Instant::now();
        let was_down = self.is_down(now, shared);
        let kind = match visit {
            Visit::Unclear => return,
            Visit::Well => {
                if was_down {
                    // Whatever broke it before, it has been mended.
                    self.level = self.level.anew();
                }
                self.heard = Some(now);
                self.served = self.served.max(Some(began));
                self.failing = None;
                self.usual.note(now.saturating_duration_since(began));
                self.level.well(among);
                return;
            }
            Visit::Broken | Visit::Silent => {
                self.heard = Some(now);
                self.failing = None;
                None
            }
            Visit::Throttled(kind, _) | Visit::Busy(kind) | Visit::Unanswered(kind) => Some(kind),
        };
        let was_heard_meanwhile = self.heard.is_some_and(|heard| heard > began);
        let asked = matches!(visit, Visit::Throttled(..));
        if let Some(kind) = kind.filter(|_| !was_heard_meanwhile) {
            self.failing.get_or_insert_with(|| Failing::new(kind, began)).note(kind, asked, began, now);
        }
        let is_its_own = !asked && self.served.is_some_and(|served| served > began);
        // A host that has never been heard is not overloaded, it is not there.
        let is_absent = matches!(visit, Visit::Unanswered(kind) if kind == Kind::Dns || self.heard.is_none());
        let is_overload = !is_its_own && !is_absent;
        self.overloads += u64::from(is_overload);
        self.throttled += u64::from(is_overload && matches!(kind, Some(Kind::HttpStatus(429 | 503))));
        // One overload is met by all who are there; it takes half of the seats once.
        let is_news = self.halved.is_none_or(|halved| began > halved);
        if is_overload && !was_down {
            // Whoever is silent takes little of the host's strength and much time: a few are no burden.
            let is_silent = matches!(visit, Visit::Silent | Visit::Unanswered(Kind::Timeout | Kind::Stalled));
            let least = if is_silent { MODEST } else { 1 };
            if !is_news {
                self.level.broke_too(among);
            } else if self.level.broke(among, least, asked) {
                self.halved = Some(now);
            }
        }
        let Visit::Throttled(_, asked) = visit else { return };
        let failing = self.failing.get_or_insert_with(|| Failing::new(kind.unwrap_or(Kind::Internal), began));
        if is_news {
            failing.paused();
            self.halved = Some(now);
        }
        let pause = match asked {
            Some(asked) => asked,
            None if is_news => {
                let doublings = failing.pauses().saturating_sub(1).min(16);
                shared.options.pause.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
            }
            None => return,
        };
        let until = now + pause;
        self.not_before = Some(self.not_before.map_or(until, |earlier| earlier.max(until)));
        // Those who wait for a seat wait for the time instead: their senders are dropped.
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;
    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::super::Overloaded;
    use super::super::level::MOST;
    use super::super::testing::{BUSY, REFUSED, SECOND, key, limiter, throttled};
    use super::super::{Entry, GivenUp, Limiter, PerHost, Turn, breaker};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn auto_grows_with_success_and_halves_once_for_one_overload() {
        let limiter = limiter(PerHost::Auto);
        let mut seats = Vec::new();
        for _ in 0..MODEST {
            seats.push(limiter.again(&key("a")).await);
        }
        // The first two came when there were few others, and prove nothing.
        for seat in seats.drain(..4).rev() {
            seat.leave(Visit::Well);
        }
        assert_eq!(limiter.seats("a"), Some((2, MODEST + 1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        for seat in seats.drain(..) {
            seat.leave(BUSY);
        }
        assert_eq!(limiter.seats("a"), Some((0, 3)));
        assert_eq!(limiter.overloaded(), [Overloaded { host: key("a"), times: 2, throttled: 2 }]);
        crowd(&limiter, 3000, MOST).await;
        assert_eq!(limiter.seats("a"), Some((0, MOST)));
    }

    /// Visits to "a", which serves so many at once and says to all others that it is busy. How many were refused.
    async fn crowd(limiter: &Limiter, visits: usize, limit: usize) -> usize {
        let (mut made, mut refused) = (0, 0);
        while made < visits {
            let mut seats = Vec::new();
            while let Entry::Seat(seat) = limiter.try_enter(&key("a"), false) {
                seats.push(seat);
            }
            made += seats.len();
            let rest = seats.split_off(limit.min(seats.len()));
            refused += rest.len();
            for seat in rest {
                seat.leave(BUSY);
            }
            tokio::time::advance(Duration::from_millis(20)).await;
            for seat in seats {
                seat.leave(Visit::Well);
            }
        }
        refused
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_with_a_limit_refuses_few() {
        for limit in [1, 4, 8, 20] {
            let limiter = limiter(PerHost::Auto);
            let refused = crowd(&limiter, 2000, limit).await;
            assert!(refused <= 60, "{refused} of 2000 with a limit of {limit}");
            let begin = Instant::now();
            crowd(&limiter, 100 * limit, limit).await;
            let took = begin.elapsed().as_millis();
            assert!(took <= 2000 * 12 / 10, "{took} ms instead of 2000 with a limit of {limit}");
        }
    }

    /// Visits to "a", which serves so many at once for ten milliseconds each, by a client whose requests and answers take
    /// a while, now more and now less. How many were refused.
    async fn crowd_from_afar(visits: usize, limit: usize, way: Duration, seed: u64) -> usize {
        let (limiter, places) = (limiter(PerHost::Auto), Arc::new(Semaphore::new(limit)));
        // Always the same, so that the test is.
        let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        let travel = move || {
            let share = random.lock().expect("nobody panics with the numbers in hand").f64();
            sleep(way.mul_f64(-(1.0 - share).ln()))
        };
        let mut under_way = JoinSet::new();
        for _ in 0..visits {
            let (limiter, places, travel) = (limiter.clone(), Arc::clone(&places), travel.clone());
            under_way.spawn(async move {
                let seat = limiter.again(&key("a")).await;
                travel().await;
                let place = places.try_acquire();
                let is_refused = place.is_err();
                if !is_refused {
                    sleep(Duration::from_millis(10)).await;
                }
                drop(place);
                travel().await;
                seat.leave(if is_refused { BUSY } else { Visit::Well });
                usize::from(is_refused)
            });
        }
        under_way.join_all().await.into_iter().sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_remembered_though_a_try_for_more_goes_well_at_times() {
        for limit in [3, 8, 20] {
            let mut refused = 0;
            for seed in 0..3 {
                refused += crowd_from_afar(4000, limit, Duration::from_millis(3), seed).await;
            }
            assert!(refused <= 300, "{refused} of 12000 with a limit of {limit}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_hears_a_retry_after() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        let seat = limiter.again(&there).await;
        let begin = Instant::now();
        let mut queued = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut queued).is_pending());
        assert!(matches!(limiter.try_enter(&there, false), Entry::HostFull));
        seat.leave(throttled(Some(Duration::from_secs(7))));
        assert_eq!(limiter.freed().await, std::slice::from_ref(&there), "whoever was refused is told to look again");
        assert!(matches!(limiter.try_enter(&there, false), Entry::NotBefore(_)));
        let left_alone = Duration::from_secs(7);
        assert_eq!(limiter.throttled(SECOND), [(there.clone(), 1, Some(left_alone))]);
        let _seat = queued.await;
        assert_eq!(begin.elapsed().as_secs(), 7);
        assert_eq!(limiter.throttled(8 * SECOND), [(there, 1, None)]);
        assert!(limiter.throttled(SECOND).is_empty(), "that was long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_requests_pause_the_host_longer_each_time() {
        let limiter = limiter(PerHost::Auto);
        let mut waited = Vec::new();
        for _ in 0..3 {
            let begin = Instant::now();
            let (one, two) = (limiter.again(&key("a")).await, limiter.try_enter(&key("a"), false));
            waited.push(begin.elapsed().as_millis());
            tokio::time::advance(Duration::from_millis(1)).await;
            one.leave(throttled(None));
            // Whoever was on the way meets the same, and it is no news.
            if let Entry::Seat(two) = two {
                two.leave(throttled(None));
            }
        }
        assert_eq!(waited, [0, 500, 1000]);
        limiter.again(&key("a")).await.leave(Visit::Well);
        limiter.again(&key("a")).await.leave(throttled(None));
        let begin = Instant::now();
        drop(limiter.again(&key("a")).await);
        assert_eq!(begin.elapsed().as_millis(), 500, "it had kept up in between");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_refuses_is_probed_by_one_at_a_time() {
        let limiter = limiter(PerHost::Fixed(20));
        let mut seats = Vec::new();
        for _ in 0..breaker::REFUSALS {
            seats.push(limiter.again(&key("a")).await);
        }
        seats.drain(..).for_each(|seat| seat.leave(REFUSED));
        // Whoever has tried before need only wait for others who do.
        let probe = limiter.again(&key("a")).await;
        assert!(futures::poll!(Box::pin(limiter.again(&key("a")))).is_pending());
        probe.leave(REFUSED);
        // New rows come after pauses that grow.
        let mut waited = Vec::new();
        for _ in 0..4 {
            let begin = Instant::now();
            let probe = limiter.enter(&key("a"), Turn::First).await.expect("it has not been given up");
            assert!(matches!(limiter.try_enter(&key("a"), false), Entry::HostFull));
            waited.push(begin.elapsed().as_secs());
            probe.leave(REFUSED);
            assert!(matches!(limiter.try_enter(&key("a"), false), Entry::NotBefore(_)));
        }
        assert_eq!(waited, [1, 1, 2, 4]);
        let there = key("a");
        let mut waiting = Box::pin(limiter.enter(&there, Turn::First));
        assert!(futures::poll!(&mut waiting).is_pending());
        let _ = futures::poll!(Box::pin(limiter.freed()));
        limiter.again(&key("a")).await.leave(Visit::Well);
        assert_eq!(limiter.freed().await, [key("a")], "whoever was to come later may come now");
        let (Entry::Seat(_one), Entry::Seat(_two)) =
            (limiter.try_enter(&key("a"), false), limiter.try_enter(&key("a"), false))
        else {
            panic!("the host is back");
        };
        assert_eq!(begin_of(waiting).await, Duration::ZERO);
    }

    async fn begin_of(waiting: impl Future<Output = Result<Seat, GivenUp>>) -> Duration {
        let begin = Instant::now();
        drop(waiting.await.expect("a seat"));
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_serves_nobody_is_given_up_and_may_come_back() {
        for (visit, patience) in [(REFUSED, 40), (BUSY, 40), (Visit::Unanswered(Kind::Stalled), 80)] {
            let limiter = limiter(PerHost::Auto);
            let begin = Instant::now();
            let given_up = loop {
                match limiter.enter(&key("a"), Turn::First).await {
                    Ok(seat) => seat.leave(visit),
                    Err(given_up) => break given_up,
                }
            };
            assert_eq!((begin.elapsed().as_secs(), given_up.time.as_secs()), (patience, patience), "{visit:?}");
            assert!(matches!(limiter.try_enter(&key("a"), false), Entry::GivenUp));
            assert!(limiter.enter(&key("a"), Turn::Again).await.is_err());
            tokio::time::advance(30 * SECOND).await;
            let Entry::Seat(probe) = limiter.try_enter(&key("a"), false) else {
                panic!("one still tries, now and then")
            };
            assert!(matches!(limiter.try_enter(&key("a"), false), Entry::GivenUp), "one");
            probe.leave(Visit::Well);
            assert!(matches!(limiter.try_enter(&key("a"), false), Entry::Seat(_)), "an answer brings it back");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_says_too_many_requests_and_nothing_else_is_given_up() {
        for (asked, patience) in [(None, 40..62), (Some(60 * SECOND), 420..421)] {
            let limiter = limiter(PerHost::Auto);
            let begin = Instant::now();
            while let Ok(seat) = limiter.enter(&key("a"), Turn::First).await {
                tokio::time::advance(Duration::from_millis(1)).await;
                seat.leave(throttled(asked));
            }
            assert!(patience.contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_wish_for_fewer_requests_does_not_keep_a_host_that_is_busy_for_ever() {
        for asked in [None, Some(60 * SECOND)] {
            let limiter = limiter(PerHost::Auto);
            let begin = Instant::now();
            let mut visit = throttled(asked);
            while let Ok(seat) = limiter.enter(&key("a"), Turn::First).await {
                tokio::time::advance(Duration::from_millis(1)).await;
                seat.leave(visit);
                visit = BUSY;
                assert!(begin.elapsed() < 120 * SECOND, "asked for {asked:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silent_pages_of_a_host_that_serves_others_are_their_own_trouble() {
        for visit in [Visit::Unanswered(Kind::Stalled), Visit::Silent, Visit::Broken] {
            let limiter = limiter(PerHost::Auto);
            crowd(&limiter, 1000, MOST).await;
            let mut silent = Vec::new();
            for _ in 0..50 {
                silent.push(limiter.again(&key("a")).await);
            }
            tokio::time::advance(SECOND).await;
            limiter.again(&key("a")).await.leave(Visit::Well);
            silent.drain(..).for_each(|seat| seat.leave(visit));
            assert_eq!(limiter.seats("a"), Some((0, MOST)), "{visit:?}");
            assert!(matches!(limiter.try_enter(&key("a"), false), Entry::Seat(_)));
            assert_eq!(limiter.overloaded(), [], "{visit:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_falls_silent_keeps_a_few_seats_until_it_is_down() {
        let limiter = limiter(PerHost::Auto);
        crowd(&limiter, 1000, MOST).await;
        for _ in 0..breaker::REFUSALS - 1 {
            let seat = limiter.again(&key("a")).await;
            tokio::time::advance(SECOND).await;
            seat.leave(Visit::Unanswered(Kind::Timeout));
        }
        let seats = limiter.seats("a").map_or(0, |(_, seats)| seats);
        assert!((MODEST..MOST / 2).contains(&seats), "{seats}");
    }
}
