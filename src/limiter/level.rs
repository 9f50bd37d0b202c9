//! How many seats a host bears, learned from how the visits went.
//!
//! As TCP finds out what a path carries: quick growth until the first overload, which takes half of the seats and is
//! remembered; quick growth back to just below what broke; and from there one seat more now and then. A try that
//! fails doubles the time to the next one, so that a host with a fixed limit says "no" to very few of many requests; a
//! try that holds is followed by a bolder one.
//!
//! Requests take a while on their way, so a host with a limit of eight meets nine of them at once only at times, and a
//! try for nine may hold by luck. The tries that failed are not forgotten for that, nor when the nine break later: a
//! limit that seems to move a little is still the same limit.

/// What browsers open to one host over HTTP/1.1.
pub const MODEST: usize = 6;
/// No host gets more by itself: a server that serves 64 at once is not faster with 65.
pub const MOST: usize = 64;

/// A level that served so many visits well in a row is trusted ...
const TRUSTED: u32 = 50;
/// ... and a refusal costs so much of that trust: one in 25 is the page's fault, not the load's. So much at most: of a
/// host that refuses every tenth also when few are there, more is expected.
const DISTRUST: u32 = 25;
/// And so much at least: a host that refuses more than every sixth is overloaded, or will not be hurt by fewer visits.
const LEAST_DISTRUST: u32 = 5;

/// So many visits of few at once tell how many refusals have nothing to do with the load ...
const ENOUGH: u32 = 30;
/// ... and of so many, the older half counts half.
const PLENTY: u32 = 300;

/// However often a try for more failed, there is another one after so many doublings.
const MOST_DOUBLINGS: u32 = 10;

/// The seats of one host.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    seats: usize,
    /// Of the user's choice; nothing changes them.
    is_fixed: bool,
    /// So many are known to be borne, or not known not to be.
    ceiling: usize,
    /// Visits that went well at the present number of seats.
    well: u32,
    /// The same, less what refusals have cost.
    trust: u32,
    /// Seats that the next try adds.
    step: usize,
    /// Tries that failed, half as many for each that has held.
    failed: u32,
    /// Visits that were among few, and how many of them met a refusal.
    among_few: (u32, u32),
}

impl Level {
    /// As a host is met that nothing is known about.
    pub const fn new() -> Self {
        Self { seats: MODEST, is_fixed: false, ceiling: MOST, well: 0, trust: 0, step: 1, failed: 0, among_few: (0, 0) }
    }

    /// So many, whatever happens.
    pub const fn fixed(seats: usize) -> Self {
        Self { seats, is_fixed: true, ..Self::new() }
    }

    /// The same as it was at first.
    pub const fn anew(self) -> Self {
        if self.is_fixed { self } else { Self::new() }
    }

    /// How many may be taken.
    pub const fn seats(&self) -> usize {
        self.seats
    }

    /// A visit went well that was one of `among` when it began.
    pub fn well(&mut self, among: usize) {
        self.remember(among, false);
        // Seats that nobody sits on prove nothing.
        if self.is_fixed || self.seats >= 2 * among {
            return;
        }
        self.well = self.well.saturating_add(1);
        self.trust = (self.trust + 1).min(TRUSTED);
        let rounds = u32::try_from(2 * self.seats).unwrap_or(u32::MAX);
        if self.seats < self.ceiling {
            self.set(self.seats + 1);
        } else if self.seats > self.ceiling {
            if self.well >= rounds {
                // The try has held, but perhaps by luck.
                self.ceiling = self.seats;
                self.failed /= 2;
                self.step *= 2;
                self.set(self.seats + self.step);
            }
        } else if self.seats < MOST && self.well >= rounds << self.failed.min(MOST_DOUBLINGS) {
            self.set(self.seats + self.step);
        }
    }

    /// A visit met an overload that was one of `among`. It takes half of the seats, but leaves `least` of them. Says
    /// whether it was believed; `asked` for less by the host, it always is.
    pub fn broke(&mut self, among: usize, least: usize, asked: bool) -> bool {
        self.remember(among, true);
        let distrust = self.distrust();
        if !asked && self.trust >= distrust {
            self.trust -= distrust;
            return false;
        }
        if self.is_fixed {
            return true;
        }
        let half = (self.seats / 2).max(self.seats.min(least)).max(1);
        let before = self.ceiling;
        if self.seats <= before {
            self.ceiling = half;
        }
        // What broke was more than that; a single page that is refused among few others says less.
        let highest = self.seats.saturating_sub(1).max(self.ceiling);
        self.ceiling = among.saturating_sub(1).clamp(self.ceiling, highest);
        // A ceiling that is a little lower is the same limit, met at another moment. One that is much lower is news.
        let is_the_same = before - self.ceiling.min(before) <= (before / 4).max(1);
        self.failed = if is_the_same { self.failed.saturating_add(1) } else { 0 };
        self.step = 1;
        self.set(half);
        true
    }

    /// A visit met the same overload, which has taken its seats already: perhaps with fewer others.
    pub fn broke_too(&mut self, among: usize) {
        if !self.is_fixed {
            self.ceiling = self.ceiling.min(among.saturating_sub(1).max(self.seats));
        }
    }

    fn set(&mut self, seats: usize) {
        // What is expected in any case is forgiven at each level once.
        let trust = Some(self.distrust()).filter(|distrust| *distrust < DISTRUST).unwrap_or_default();
        (self.seats, self.well, self.trust) = (seats.min(MOST), 0, trust);
    }

    fn remember(&mut self, among: usize, is_refusal: bool) {
        if among > MODEST {
            return;
        }
        let (visits, refusals) = &mut self.among_few;
        if *visits >= PLENTY {
            (*visits, *refusals) = (*visits / 2, *refusals / 2);
        }
        *visits += 1;
        *refusals += u32::from(is_refusal);
    }

    /// What a refusal costs: so much that twice as many as there are among few would use up what the good visits earn.
    fn distrust(&self) -> u32 {
        match self.among_few {
            (visits @ ENOUGH.., refusals @ 1..) => (visits / (2 * refusals)).clamp(LEAST_DISTRUST, DISTRUST),
            _ => DISTRUST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visits one round after the other to a host that refuses those beyond its limit. How many were refused.
    fn visits(level: &mut Level, limit: usize, visits: usize) -> usize {
        let (mut made, mut refused) = (0, 0);
        while made < visits {
            let seats = level.seats();
            let mut believed = false;
            for among in 1..=seats {
                if among <= limit {
                    level.well(among);
                } else if believed {
                    level.broke_too(among);
                } else {
                    believed = level.broke(among, 1, false);
                }
            }
            made += seats;
            refused += seats.saturating_sub(limit);
        }
        refused
    }

    #[test]
    fn it_grows_quickly_while_nothing_breaks() {
        let mut level = Level::new();
        assert_eq!(visits(&mut level, MOST, 6 + 12 + 24 + 48), 0);
        assert!(level.seats() >= 48, "{level:?}");
        visits(&mut level, MOST, 100);
        assert_eq!(level.seats(), MOST);
    }

    #[test]
    fn a_limit_is_found_and_seldom_touched() {
        for limit in [1, 2, 3, 5, 8, 13, 40] {
            let mut level = Level::new();
            let refused = visits(&mut level, limit, 2000);
            assert!(refused <= 60, "{refused} of 2000 with a limit of {limit}");
            let long = level.seats();
            assert!(long + 1 >= limit && long <= limit + 1, "{long} seats with a limit of {limit}: {level:?}");
        }
    }

    #[test]
    fn an_overload_halves_and_the_way_back_is_quick() {
        let mut level = Level::new();
        visits(&mut level, MOST, 200);
        assert!(level.broke(MOST, 1, true));
        assert_eq!(level.seats(), MOST / 2);
        visits(&mut level, MOST, 100);
        assert_eq!(level.seats(), MOST - 1, "just below what broke");
    }

    #[test]
    fn a_host_that_bears_more_than_before_gets_more() {
        let mut level = Level::new();
        visits(&mut level, 8, 300);
        assert!((8..=9).contains(&level.seats()), "{level:?}");
        visits(&mut level, MOST, 2000);
        assert_eq!(level.seats(), MOST);
    }

    #[test]
    fn one_bad_page_among_many_takes_no_seat() {
        let mut level = Level::new();
        visits(&mut level, MOST, 300);
        for _ in 0..20 {
            assert!(!level.broke(30, 1, false));
            visits(&mut level, MOST, 40);
        }
        assert_eq!(level.seats(), MOST);
        assert!((0..9).any(|_| level.broke(30, 1, false)), "several in a row are the load's");
    }

    #[test]
    fn pages_that_fail_whoever_asks_take_no_seats() {
        let mut level = Level::new();
        let mut sum = 0;
        // Every tenth visit, with few others as with many.
        for number in 0..3000_usize {
            let among = level.seats();
            if number * 7 % 10 == 0 {
                level.broke(among, 1, false);
            } else {
                level.well(among);
            }
            sum += if number >= 1000 { level.seats() } else { 0 };
        }
        assert!(sum / 2000 > MOST / 2, "{} seats on average: {level:?}", sum / 2000);
    }

    #[test]
    fn silence_leaves_a_few_seats() {
        let mut level = Level::new();
        for _ in 0..9 {
            level.broke(6, MODEST, false);
        }
        assert_eq!(level.seats(), MODEST);
        for _ in 0..9 {
            level.broke(6, 1, false);
        }
        assert_eq!(level.seats(), 1);
        level.broke(6, MODEST, false);
        assert_eq!(level.seats(), 1, "it gives none either");
    }

    #[test]
    fn seats_that_nobody_takes_do_not_grow_in_number() {
        let mut level = Level::new();
        (0..100).for_each(|_| level.well(1));
        assert_eq!(level.seats(), MODEST);
    }

    #[test]
    fn a_fixed_number_stays() {
        let mut level = Level::fixed(3);
        assert!(level.broke(3, 1, true));
        (0..100).for_each(|_| level.well(3));
        assert_eq!((level.seats(), level.anew().seats()), (3, 3));
    }
}
