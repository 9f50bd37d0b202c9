//! Adaptive concurrency limit of one host (additive increase, multiplicative decrease), learned from how its requests
//! ended.
//!
//! It works as TCP's congestion control does. The limit grows by one with every success until the first overload, which
//! halves it and is remembered as a ceiling. A host that has failed no request yet and answers quickly gets more in its
//! first round trips (slow start, RFC 5681, section 3.1): each answer adds [`QUICK_STEP`] as soon as its head is there.
//! New connections need a round trip before they carry a request, so each step of the way up costs two.
//! After an overload the limit grows back quickly to just below the number that was too many, and from
//! there by one permit now and then. A failed increase doubles the number of successes before the next one, so that a
//! host with a fixed limit refuses very few of many requests; a successful increase is followed by a larger one.
//!
//! Requests take time to arrive, so a host that serves eight at once does not always meet nine of them together, and an
//! increase to nine may succeed by luck. A success therefore only halves the count of failed increases, and a ceiling
//! that moves a little counts as the same ceiling.

use std::time::Duration;

/// The initial limit of a host: the number of connections that browsers open to one host over HTTP/1.1.
pub const INITIAL_PERMITS: usize = 6;
/// The largest limit that a host can reach by itself: a server that serves 64 requests at once is not faster with 65.
pub const MAX_PER_HOST: usize = 64;

/// What the head of a quick answer adds to the limit in slow start. The six requests of the first round trip are followed
/// by up to 36, so that a host with a limit below that refuses at most thirty before it has made its limit known.
const QUICK_STEP: usize = 5;
/// In slow start the limit is at most this multiple of the requests that the host has had in flight at once: what it has
/// not been asked for yet proves nothing.
const MAX_QUICK_FACTOR: usize = 6;
/// The longest time from the beginning of a request to the head of its answer in which an answer is a quick one. An
/// answer from the other side of the world takes that, with the handshakes before it.
pub const MAX_QUICK_LATENCY: Duration = Duration::from_secs(1);

/// Successes add one to the trust in the present limit, up to this number.
const MAX_TRUST: u32 = 50;
/// What one overload takes from the trust, at most: one refusal in 25 requests is blamed on the page, not on the load.
/// It is less for a host that also refuses every tenth request when few are in flight.
const MAX_OVERLOAD_COST: u32 = 25;
/// What one overload takes from the trust, at least: a host that refuses more than one request in six is either
/// overloaded, or not harmed by fewer requests.
const MIN_OVERLOAD_COST: u32 = 5;

/// Requests with few in flight that are needed to estimate how many refusals have nothing to do with the load.
const MIN_BASELINE_REQUESTS: u32 = 30;
/// Requests with few in flight after which the counts are halved, so that older ones weigh less.
const MAX_BASELINE_REQUESTS: u32 = 300;

/// The wait for the next increase doubles with each failed one, at most this many times.
const MAX_DOUBLINGS: u32 = 10;

/// The adaptive limit of one host, in permits.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveLimit {
    permits: usize,
    /// The user chose the limit, and nothing changes it.
    is_fixed: bool,
    /// The highest limit not known to be too high.
    ceiling: usize,
    /// Successes since the limit last changed.
    successes: u32,
    /// Successes since the limit last changed, less what overloads have cost.
    trust: u32,
    /// Permits that the next increase adds.
    step: usize,
    /// Increases that failed; halved by each one that succeeds.
    failed_increases: u32,
    /// No request has failed yet.
    is_slow_start: bool,
    /// The limit has grown by quick answers, and no request that began near it has ended.
    is_ahead: bool,
    /// Requests that began with at most [`INITIAL_PERMITS`] in flight, and the refusals among them.
    baseline: (u32, u32),
}

impl AdaptiveLimit {
    /// The limit of a host of which nothing is known.
    pub const fn new() -> Self {
        Self {
            permits: INITIAL_PERMITS,
            is_fixed: false,
            ceiling: MAX_PER_HOST,
            successes: 0,
            trust: 0,
            step: 1,
            failed_increases: 0,
            is_slow_start: true,
            is_ahead: false,
            baseline: (0, 0),
        }
    }

    /// A limit that never changes.
    pub const fn fixed(permits: usize) -> Self {
        Self { permits, is_fixed: true, is_slow_start: false, ..Self::new() }
    }

    /// The limit as it was at first, but for slow start: the host has failed.
    pub const fn restarted(self) -> Self {
        if self.is_fixed { self } else { Self { is_slow_start: false, ..Self::new() } }
    }

    /// Whether [`AdaptiveLimit::on_quick_answer`] may raise the limit.
    pub const fn is_slow_start(&self) -> bool {
        self.is_slow_start && self.permits < MAX_PER_HOST
    }

    /// The head of a good answer came within [`MAX_QUICK_LATENCY`]. `peak_in_flight` is the number of requests that the
    /// host has had in flight at once.
    pub fn on_quick_answer(&mut self, peak_in_flight: usize) {
        let highest = MAX_QUICK_FACTOR * peak_in_flight;
        if self.is_slow_start() && peak_in_flight >= INITIAL_PERMITS && self.permits < highest {
            self.is_ahead = true;
            self.set((self.permits + QUICK_STEP).min(highest));
        }
    }

    /// A request failed, for whatever reason: from now on only successes raise the limit.
    pub const fn end_slow_start(&mut self) {
        self.is_slow_start = false;
    }

    /// Whether the user has set it.
    pub const fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// How many requests may be in flight at once.
    pub const fn permits(&self) -> usize {
        self.permits
    }

    /// A request succeeded; `in_flight` requests were in flight when it began, itself included.
    pub fn on_success(&mut self, in_flight: usize) {
        self.note_baseline(in_flight, false);
        // Permits that are not used prove nothing.
        if self.is_fixed || self.permits >= 2 * in_flight {
            return;
        }
        self.is_ahead &= 4 * in_flight < 3 * self.permits;
        self.successes = self.successes.saturating_add(1);
        self.trust = (self.trust + 1).min(MAX_TRUST);
        let needed = u32::try_from(2 * self.permits).unwrap_or(u32::MAX);
        if self.permits < self.ceiling {
            self.set(self.permits + 1);
        } else if self.permits > self.ceiling {
            if self.successes >= needed {
                // The increase has succeeded, but perhaps by luck.
                self.ceiling = self.permits;
                self.failed_increases /= 2;
                self.step *= 2;
                self.set(self.permits + self.step);
            }
        } else if self.permits < MAX_PER_HOST && self.successes >= needed << self.failed_increases.min(MAX_DOUBLINGS) {
            self.set(self.permits + self.step);
        }
    }

    /// A request met an overload; `in_flight` requests were in flight when it began. The limit is halved, but not below
    /// `floor`. Returns whether the overload was believed, which it always is if `is_explicit`: the host itself asked
    /// for fewer requests.
    pub fn on_overload(&mut self, in_flight: usize, floor: usize, is_explicit: bool) -> bool {
        self.note_baseline(in_flight, true);
        let cost = self.overload_cost();
        if !is_explicit && self.trust >= cost {
            self.trust -= cost;
            return false;
        }
        if self.is_fixed {
            return true;
        }
        // In slow start the limit may have grown a lot since the request began, which met the earlier one (`FlightSize` in
        // RFC 5681, section 3.1).
        let met = if self.is_ahead { self.permits.min(in_flight.max(INITIAL_PERMITS)) } else { self.permits };
        (self.is_slow_start, self.is_ahead) = (false, false);
        let half = (met / 2).max(met.min(floor)).max(1);
        let before = self.ceiling;
        if met <= before {
            self.ceiling = half;
        }
        // The number that was too high was above the ceiling. A single refusal with few others in flight says less, and
        // must not lower it further.
        let highest = met.saturating_sub(1).max(self.ceiling);
        self.ceiling = in_flight.saturating_sub(1).clamp(self.ceiling, highest);
        // A slightly lower ceiling is the same limit, met at another moment. A much lower one is a new limit.
        let is_same_ceiling = before - self.ceiling.min(before) <= (before / 4).max(1);
        self.failed_increases = if is_same_ceiling { self.failed_increases.saturating_add(1) } else { 0 };
        self.step = 1;
        self.set(half);
        true
    }

    /// A request met an overload that has halved the limit already; it may have been met with fewer requests in flight.
    pub fn on_same_overload(&mut self, in_flight: usize) {
        if !self.is_fixed {
            self.ceiling = self.ceiling.min(in_flight.saturating_sub(1).max(self.permits));
        }
    }

    fn set(&mut self, permits: usize) {
        // At each limit, one refusal of the expected rate is forgiven.
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

    /// What an overload costs in trust. At twice the rate of refusals that is seen with few requests in flight,
    /// refusals use up what successes earn.
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

    /// Sends requests in rounds to a host that refuses those beyond its limit. Returns the number of refusals.
    fn send(adaptive: &mut AdaptiveLimit, limit: usize, requests: usize) -> usize {
        let (mut sent, mut refused) = (0, 0);
        while sent < requests {
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
            sent += permits;
            refused += permits.saturating_sub(limit);
        }
        refused
    }

    /// The same for a host in slow start, whose answers are quick: the heads of all answers come before their ends.
    fn send_quickly(adaptive: &mut AdaptiveLimit, limit: usize, requests: usize) -> usize {
        let permits = adaptive.permits();
        let served = permits.min(limit);
        (0..served).for_each(|_| adaptive.on_quick_answer(permits));
        let mut believed = false;
        for in_flight in 1..=permits {
            if in_flight <= served {
                adaptive.on_success(in_flight);
            } else if believed {
                adaptive.on_same_overload(in_flight);
            } else {
                believed = adaptive.on_overload(in_flight, 1, false);
            }
        }
        let rest = requests.saturating_sub(permits);
        let later =
            if adaptive.is_slow_start() { send_quickly(adaptive, limit, rest) } else { send(adaptive, limit, rest) };
        permits - served + later
    }

    #[test]
    fn a_quick_host_gets_every_connection_after_two_round_trips() {
        let mut adaptive = AdaptiveLimit::new();
        assert_eq!(send_quickly(&mut adaptive, MAX_PER_HOST, 6 + 36), 0);
        assert_eq!(adaptive.permits(), MAX_PER_HOST);
        assert!(!adaptive.is_slow_start());
    }

    #[test]
    fn a_quick_host_with_a_limit_refuses_few() {
        for limit in [1, 2, 3, 5, 8, 13, 40] {
            let mut adaptive = AdaptiveLimit::new();
            let refused = send_quickly(&mut adaptive, limit, 2000);
            assert!(refused <= 60, "{refused} of 2000 with a limit of {limit}");
            let permits = adaptive.permits();
            assert!(permits + 1 >= limit && permits <= limit + 1, "{permits} with a limit of {limit}: {adaptive:?}");
        }
    }

    #[test]
    fn slow_start_ends_with_the_first_failure_and_does_not_begin_again() {
        let mut adaptive = AdaptiveLimit::new();
        adaptive.on_quick_answer(INITIAL_PERMITS);
        assert_eq!(adaptive.permits(), INITIAL_PERMITS + QUICK_STEP);
        adaptive.end_slow_start();
        adaptive.on_quick_answer(INITIAL_PERMITS);
        assert_eq!(adaptive.permits(), INITIAL_PERMITS + QUICK_STEP);
        let mut restarted = adaptive.restarted();
        restarted.on_quick_answer(INITIAL_PERMITS);
        assert_eq!(restarted.permits(), INITIAL_PERMITS);
    }

    #[test]
    fn answers_to_few_requests_raise_no_limit() {
        let mut adaptive = AdaptiveLimit::new();
        (0..100).for_each(|_| adaptive.on_quick_answer(INITIAL_PERMITS - 1));
        assert_eq!(adaptive.permits(), INITIAL_PERMITS);
        (0..100).for_each(|_| adaptive.on_quick_answer(INITIAL_PERMITS));
        assert_eq!(adaptive.permits(), INITIAL_PERMITS * MAX_QUICK_FACTOR);
    }

    #[test]
    fn the_limit_grows_quickly_without_overload() {
        let mut adaptive = AdaptiveLimit::new();
        assert_eq!(send(&mut adaptive, MAX_PER_HOST, 6 + 12 + 24 + 48), 0);
        assert!(adaptive.permits() >= 48, "{adaptive:?}");
        send(&mut adaptive, MAX_PER_HOST, 100);
        assert_eq!(adaptive.permits(), MAX_PER_HOST);
    }

    #[test]
    fn a_fixed_limit_of_the_host_is_found_and_seldom_exceeded() {
        for limit in [1, 2, 3, 5, 8, 13, 40] {
            let mut adaptive = AdaptiveLimit::new();
            let refused = send(&mut adaptive, limit, 2000);
            assert!(refused <= 60, "{refused} of 2000 with a limit of {limit}");
            let permits = adaptive.permits();
            assert!(
                permits + 1 >= limit && permits <= limit + 1,
                "{permits} permits with a limit of {limit}: {adaptive:?}"
            );
        }
    }

    #[test]
    fn an_overload_halves_the_limit_which_grows_back_quickly() {
        let mut adaptive = AdaptiveLimit::new();
        send(&mut adaptive, MAX_PER_HOST, 200);
        assert!(adaptive.on_overload(MAX_PER_HOST, 1, true));
        assert_eq!(adaptive.permits(), MAX_PER_HOST / 2);
        send(&mut adaptive, MAX_PER_HOST, 100);
        assert_eq!(adaptive.permits(), MAX_PER_HOST - 1, "just below what was too many");
    }

    #[test]
    fn a_host_that_serves_more_than_before_gets_more() {
        let mut adaptive = AdaptiveLimit::new();
        send(&mut adaptive, 8, 300);
        assert!((8..=9).contains(&adaptive.permits()), "{adaptive:?}");
        send(&mut adaptive, MAX_PER_HOST, 2000);
        assert_eq!(adaptive.permits(), MAX_PER_HOST);
    }

    #[test]
    fn one_bad_page_among_many_takes_no_permit() {
        let mut adaptive = AdaptiveLimit::new();
        send(&mut adaptive, MAX_PER_HOST, 300);
        for _ in 0..20 {
            assert!(!adaptive.on_overload(30, 1, false));
            send(&mut adaptive, MAX_PER_HOST, 40);
        }
        assert_eq!(adaptive.permits(), MAX_PER_HOST);
        assert!((0..9).any(|_| adaptive.on_overload(30, 1, false)), "several in a row are blamed on the load");
    }

    #[test]
    fn pages_that_always_fail_take_no_permits() {
        let mut adaptive = AdaptiveLimit::new();
        let mut sum = 0;
        // Every tenth request, whatever the number in flight.
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
    fn silence_leaves_a_few_permits() {
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
        assert_eq!(adaptive.permits(), 1, "it does not raise the limit either");
    }

    #[test]
    fn unused_permits_do_not_raise_the_limit() {
        let mut adaptive = AdaptiveLimit::new();
        (0..100).for_each(|_| adaptive.on_success(1));
        assert_eq!(adaptive.permits(), INITIAL_PERMITS);
    }

    #[test]
    fn a_limit_of_the_user_stays() {
        let mut adaptive = AdaptiveLimit::fixed(3);
        assert!(adaptive.on_overload(3, 1, true));
        (0..100).for_each(|_| adaptive.on_success(3));
        (0..100).for_each(|_| adaptive.on_quick_answer(30));
        assert_eq!((adaptive.permits(), adaptive.restarted().permits()), (3, 3));
    }
}
