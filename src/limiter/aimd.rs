//! How many permits a host bears, learned from how the visits went.
//!
//! As TCP finds out what a path carries: quick growth until the first overload, which takes half of the permits and is
//! remembered; quick growth back to just below what broke; and from there one permit more now and then. A try that
//! fails doubles the time to the next one, so that a host with a fixed limit says "no" to very few of many requests; a
//! try that holds is followed by a bolder one.

/// What browsers open to one host over HTTP/1.1.
pub const INITIAL_PERMITS: usize = 6;
/// No host gets more by itself: a server that serves 64 at once is not faster with 65.
pub const MAX_PER_HOST: usize = 64;

/// A adaptive that served so many visits well in a row is trusted ...
const MAX_TRUST: u32 = 50;
/// ... and a refusal costs so much of that trust: one in 25 is the page's fault, not the load's. So much at most: of a
/// host that refuses every tenth also when few are there, more is expected.
const MAX_OVERLOAD_COST: u32 = 25;
/// And so much at least: a host that refuses more than every sixth is overloaded, or will not be hurt by fewer visits.
const MIN_OVERLOAD_COST: u32 = 5;

/// So many visits of few at once tell how many refusals have nothing to do with the load ...
const MIN_BASELINE_REQUESTS: u32 = 30;
/// ... and of so many, the older half counts half.
const MAX_BASELINE_REQUESTS: u32 = 300;

/// However often a try for more failed, there is another one after so many doublings.
const MAX_DOUBLINGS: u32 = 10;

/// The permits of one host.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveLimit {
    permits: usize,
    /// Of the user's choice; nothing changes them.
    is_fixed: bool,
    /// So many are known to be borne, or not known not to be.
    ceiling: usize,
    /// Visits that went well at the present number of permits.
    successes: u32,
    /// The same, less what refusals have cost.
    trust: u32,
    /// Seats that the next try adds.
    step: usize,
    /// Tries that failed since one has held.
    failed_increases: u32,
    /// Visits that were in_flight few, and how many of them met a refusal.
    baseline: (u32, u32),
}

impl AdaptiveLimit {
    /// As a host is met that nothing is known about.
    pub const fn new() -> Self {
        Self {
            permits: INITIAL_PERMITS,
            is_fixed: false,
            ceiling: MAX_PER_HOST,
            successes: 0,
            trust: 0,
            step: 1,
            failed_increases: 0,
            baseline: (0, 0),
        }
    }

    /// So many, whatever happens.
    pub const fn fixed(permits: usize) -> Self {
        Self { permits, is_fixed: true, ..Self::new() }
    }

    /// The same as it was at first.
    pub const fn restarted(self) -> Self {
        if self.is_fixed { self } else { Self::new() }
    }

    /// How many may be taken.
    pub const fn permits(&self) -> usize {
        self.permits
    }

    /// A visit went well that was one of `in_flight` when it began.
    pub fn on_success(&mut self, in_flight: usize) {
        self.note_baseline(in_flight, false);
        // Seats that nobody sits on prove nothing.
        if self.is_fixed || self.permits >= 2 * in_flight {
            return;
        }
        self.successes = self.successes.saturating_add(1);
        self.trust = (self.trust + 1).min(MAX_TRUST);
        let rounds = u32::try_from(2 * self.permits).unwrap_or(u32::MAX);
        if self.permits < self.ceiling {
            self.set(self.permits + 1);
        } else if self.permits > self.ceiling {
            if self.successes >= rounds {
                // The try has held.
                self.ceiling = self.permits;
                self.failed_increases = 0;
                self.step *= 2;
                self.set(self.permits + self.step);
            }
        } else if self.permits < MAX_PER_HOST && self.successes >= rounds << self.failed_increases.min(MAX_DOUBLINGS) {
            self.set(self.permits + self.step);
        }
    }

    /// A visit met an overload that was one of `in_flight`. It takes half of the permits, but leaves `least` of them. Says
    /// whether it was believed; `asked` for less by the host, it always is.
    pub fn on_overload(&mut self, in_flight: usize, least: usize, asked: bool) -> bool {
        self.note_baseline(in_flight, true);
        let cost = self.overload_cost();
        if !asked && self.trust >= cost {
            self.trust -= cost;
            return false;
        }
        if self.is_fixed {
            return true;
        }
        let half = (self.permits / 2).max(self.permits.min(least)).max(1);
        if self.permits > self.ceiling {
            self.failed_increases += 1;
        } else {
            (self.ceiling, self.failed_increases) = (half, 0);
        }
        // What broke was more than that; a single page that is refused in_flight few others says less.
        let highest = self.permits.saturating_sub(1).max(self.ceiling);
        self.ceiling = in_flight.saturating_sub(1).clamp(self.ceiling, highest);
        self.step = 1;
        self.set(half);
        true
    }

    /// A visit met the same overload, which has taken its permits already: perhaps with fewer others.
    pub fn on_same_overload(&mut self, in_flight: usize) {
        if !self.is_fixed {
            self.ceiling = self.ceiling.min(in_flight.saturating_sub(1).max(self.permits));
        }
    }

    fn set(&mut self, permits: usize) {
        // What is expected in any case is forgiven at each adaptive once.
        let trust = Some(self.overload_cost()).filter(|cost| *cost < MAX_OVERLOAD_COST).unwrap_or_default();
        (self.permits, self.successes, self.trust) = (permits.min(MAX_PER_HOST), 0, trust);
    }

    fn note_baseline(&mut self, in_flight: usize, is_refusal: bool) {
        if in_flight > INITIAL_PERMITS {
            return;
        }
        let (requests, refusals) = &mut self.baseline;
        if *requests >= MAX_BASELINE_REQUESTS {
            (*requests, *refusals) = (*requests / 2, *refusals / 2);
        }
        *requests += 1;
        *refusals += u32::from(is_refusal);
    }

    /// What a refusal costs: so much that twice as many as there are in_flight few would use up what the good visits earn.
    fn overload_cost(&self) -> u32 {
        match self.baseline {
            (requests @ MIN_BASELINE_REQUESTS.., refusals @ 1..) => {
                (requests / (2 * refusals)).clamp(MIN_OVERLOAD_COST, MAX_OVERLOAD_COST)
            }
            _ => MAX_OVERLOAD_COST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visits one round after the other to a host that refuses those beyond its limit. How many were refused.
    fn visits(adaptive: &mut AdaptiveLimit, limit: usize, visits: usize) -> usize {
        let (mut made, mut refused) = (0, 0);
        while made < visits {
            let permits = adaptive.permits();
            let mut believed = false;
            for in_flight in 1..=permits {
                if in_flight <= limit {
                    adaptive.on_success(in_flight);
                } else if believed {
                    adaptive.on_same_overload(in_flight);
                } else {
                    believed = adaptive.on_overload(in_flight, 1, false);
                }
            }
            made += permits;
            refused += permits.saturating_sub(limit);
        }
        refused
    }

    #[test]
    fn it_grows_quickly_while_nothing_breaks() {
        let mut adaptive = AdaptiveLimit::new();
        assert_eq!(visits(&mut adaptive, MAX_PER_HOST, 6 + 12 + 24 + 48), 0);
        assert!(adaptive.permits() >= 48, "{adaptive:?}");
        visits(&mut adaptive, MAX_PER_HOST, 100);
        assert_eq!(adaptive.permits(), MAX_PER_HOST);
    }

    #[test]
    fn a_limit_is_found_and_seldom_touched() {
        for limit in [1, 2, 3, 5, 8, 13, 40] {
            let mut adaptive = AdaptiveLimit::new();
            let refused = visits(&mut adaptive, limit, 2000);
            assert!(refused <= 60, "{refused} of 2000 with a limit of {limit}");
            let long = adaptive.permits();
            assert!(long + 1 >= limit && long <= limit + 1, "{long} permits with a limit of {limit}: {adaptive:?}");
        }
    }

    #[test]
    fn an_overload_halves_and_the_way_back_is_quick() {
        let mut adaptive = AdaptiveLimit::new();
        visits(&mut adaptive, MAX_PER_HOST, 200);
        assert!(adaptive.on_overload(MAX_PER_HOST, 1, true));
        assert_eq!(adaptive.permits(), MAX_PER_HOST / 2);
        visits(&mut adaptive, MAX_PER_HOST, 100);
        assert_eq!(adaptive.permits(), MAX_PER_HOST - 1, "just below what broke");
    }

    #[test]
    fn a_host_that_bears_more_than_before_gets_more() {
        let mut adaptive = AdaptiveLimit::new();
        visits(&mut adaptive, 8, 300);
        assert!((8..=9).contains(&adaptive.permits()), "{adaptive:?}");
        visits(&mut adaptive, MAX_PER_HOST, 2000);
        assert_eq!(adaptive.permits(), MAX_PER_HOST);
    }

    #[test]
    fn one_bad_page_among_many_takes_no_seat() {
        let mut adaptive = AdaptiveLimit::new();
        visits(&mut adaptive, MAX_PER_HOST, 300);
        for _ in 0..20 {
            assert!(!adaptive.on_overload(30, 1, false));
            visits(&mut adaptive, MAX_PER_HOST, 40);
        }
        assert_eq!(adaptive.permits(), MAX_PER_HOST);
        assert!((0..9).any(|_| adaptive.on_overload(30, 1, false)), "several in a row are the load's");
    }

    #[test]
    fn pages_that_fail_whoever_asks_take_no_seats() {
        let mut adaptive = AdaptiveLimit::new();
        let mut sum = 0;
        // Every tenth visit, with few others as with many.
        for number in 0..3000_usize {
            let in_flight = adaptive.permits();
            if number * 7 % 10 == 0 {
                adaptive.on_overload(in_flight, 1, false);
            } else {
                adaptive.on_success(in_flight);
            }
            sum += if number >= 1000 { adaptive.permits() } else { 0 };
        }
        assert!(sum / 2000 > MAX_PER_HOST / 2, "{} permits on average: {adaptive:?}", sum / 2000);
    }

    #[test]
    fn silence_leaves_a_few_seats() {
        let mut adaptive = AdaptiveLimit::new();
        for _ in 0..9 {
            adaptive.on_overload(6, INITIAL_PERMITS, false);
        }
        assert_eq!(adaptive.permits(), INITIAL_PERMITS);
        for _ in 0..9 {
            adaptive.on_overload(6, 1, false);
        }
        assert_eq!(adaptive.permits(), 1);
        adaptive.on_overload(6, INITIAL_PERMITS, false);
        assert_eq!(adaptive.permits(), 1, "it gives none either");
    }

    #[test]
    fn seats_that_nobody_takes_do_not_grow_in_number() {
        let mut adaptive = AdaptiveLimit::new();
        (0..100).for_each(|_| adaptive.on_success(1));
        assert_eq!(adaptive.permits(), INITIAL_PERMITS);
    }

    #[test]
    fn a_fixed_number_stays() {
        let mut adaptive = AdaptiveLimit::fixed(3);
        assert!(adaptive.on_overload(3, 1, true));
        (0..100).for_each(|_| adaptive.on_success(3));
        assert_eq!((adaptive.permits(), adaptive.restarted().permits()), (3, 3));
    }
}
