//! Prints counts, sizes and times for people, each of them in one way.

use std::fmt;
use std::time::Duration;

/// A count, in groups of three digits: `1,234,567`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// A count with its noun, which gets an `s` in the plural.
#[must_use]
pub fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", Count(count), if count == 1 { "" } else { "s" })
}

/// A number of bytes in binary units, with three significant digits: `999 B`, `1.00 KiB`, `117 MiB`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size(f64);

impl Size {
    /// A number of bytes that need not be an integer, such as a mean or a rate.
    #[must_use]
    pub const fn of(bytes: f64) -> Self {
        Self(bytes)
    }
}

impl From<u64> for Size {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn from(bytes: u64) -> Self {
        Self(bytes as f64)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut number, mut units) = (self.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter());
        let mut unit = units.next().unwrap_or_default();
        // A number that would be printed as 1024 is printed as 1.00 of the next unit.
        while let Some(larger) = units.next().filter(|_| number >= 1023.5) {
            (number, unit) = (number / 1024.0, larger);
        }
        let text = match number {
            _ if unit == "B" => format!("{number:.0} B"),
            ..9.995 => format!("{number:.2} {unit}"),
            ..99.95 => format!("{number:.1} {unit}"),
            _ => format!("{number:.0} {unit}"),
        };
        f.pad(&text)
    }
}

/// A duration rounded to one unit: `89 seconds`, `2 minutes`; with `{:#}` as `89s`, `2m`.
///
/// A unit is used for durations of at least one and a half of it, so the rounding error is at most a third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounded(pub Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Seconds in a unit, its name, and its abbreviation.
        const UNITS: [(f64, &str, &str); 6] = [
            (365.0 * 86_400.0, "year", "y"),
            (7.0 * 86_400.0, "week", "w"),
            (86_400.0, "day", "d"),
            (3_600.0, "hour", "h"),
            (60.0, "minute", "m"),
            (1.0, "second", "s"),
        ];
        const LAST: usize = UNITS.len() - 1;
        let seconds = self.0.as_secs_f64();
        // Rounded to the next smaller unit, the duration must be at least one and a half of the unit.
        let fits = |at: &usize| seconds + UNITS[at + 1].0 / 2.0 >= 1.5 * UNITS[*at].0;
        let at = (0..LAST).find(fits).unwrap_or(LAST);
        let (unit, name, abbreviation) = UNITS[at];
        let min = if at < LAST { 2.0 } else { 0.0 };
        let number = (seconds / unit).round().max(min);
        if f.alternate() {
            return write!(f, "{number}{abbreviation}");
        }
        let plural = if (number - 1.0).abs() < 0.5 { "" } else { "s" };
        write!(f, "{number} {name}{plural}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_groups_of_three_digits() {
        for (count, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(Count(count).to_string(), text);
        }
        assert_eq!(Count(u64::MAX).to_string(), "18,446,744,073,709,551,615");
        assert_eq!(format!("{:>7}", Count(1_000)), "  1,000");
    }

    #[test]
    fn a_noun_has_the_number_of_its_count() {
        assert_eq!([0, 1, 2, 1_000].map(|count| counted(count, "row")), ["0 rows", "1 row", "2 rows", "1,000 rows"]);
    }

    #[test]
    fn sizes_have_three_digits_and_are_rounded_into_the_next_unit() {
        let sizes = [0, 999, 1023, 1024, 10_240, 117 << 20, (1 << 30) - (1 << 20), (1 << 30) - 1, u64::MAX];
        let texts = ["0 B", "999 B", "1023 B", "1.00 KiB", "10.0 KiB", "117 MiB", "1023 MiB", "1.00 GiB", "16.0 EiB"];
        assert_eq!(sizes.map(|bytes| Size::from(bytes).to_string()), texts);
        assert_eq!(Size::of(1_536.0 * 1024.0).to_string(), "1.50 MiB");
    }

    #[test]
    fn durations_are_rounded_to_the_largest_unit_that_fits() {
        for (seconds, long, short) in [
            (0, "0 seconds", "0s"),
            (1, "1 second", "1s"),
            (89, "89 seconds", "89s"),
            (90, "2 minutes", "2m"),
            (149, "2 minutes", "2m"),
            (150, "3 minutes", "3m"),
            (5_400, "2 hours", "2h"),
            (2 * 86_400, "2 days", "2d"),
            (12 * 86_400, "2 weeks", "2w"),
            (600 * 86_400, "2 years", "2y"),
        ] {
            let time = Rounded(Duration::from_secs(seconds));
            assert_eq!((time.to_string().as_str(), format!("{time:#}").as_str()), (long, short));
        }
        assert_eq!(Rounded(Duration::from_millis(2_600)).to_string(), "3 seconds");
    }
}
