//! Clocks and dates.

use crate::sys;
use abi::info::{CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_TSC};
use core::fmt;
pub use core::time::Duration;

fn clock(which: i32) -> Duration {
    let time = sys::gettime(which).unwrap_or_default();
    Duration::new(time.seconds.max(0) as u64, time.nanoseconds.max(0) as u32)
}

/// A point on the clock that never goes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant(Duration);

impl Instant {
    /// Now.
    pub fn now() -> Self {
        Self(clock(CLOCK_MONOTONIC))
    }

    /// Time since then.
    pub fn elapsed(&self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// Time since boot.
    pub fn since_boot(&self) -> Duration {
        self.0
    }
}

/// Time since 1970.
pub fn since_1970() -> Duration {
    clock(CLOCK_REALTIME)
}

/// Frequency of the time-stamp counter in Hz, and its value.
pub fn tsc() -> (u64, u64) {
    let time = sys::gettime(CLOCK_TSC).unwrap_or_default();
    (time.seconds as u64, time.nanoseconds as u64)
}

/// A date and time of day in UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DateTime {
    /// Year, for example 2026.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// Seconds since midnight.
    pub second_of_day: u32,
    /// Days since 1970-01-01.
    days: i64,
}

impl DateTime {
    /// From seconds since 1970.
    pub fn from_unix(seconds: i64) -> Self {
        let days = seconds.div_euclid(86_400);
        // Years that begin in March put the leap day last; 719,468 days lie between 0000-03-01 and 1970.
        let from_march = days + 719_468;
        let era = from_march.div_euclid(146_097);
        let day_of_era = from_march.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            second_of_day: seconds.rem_euclid(86_400) as u32,
            days,
        }
    }

    /// Three letters.
    pub fn weekday(&self) -> &'static str {
        ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][self.days.rem_euclid(7) as usize]
    }
}

/// ISO 8601.
impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, second) = (self.year, self.month, self.day, self.second_of_day);
        let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn dates_agree_with_the_calendar() {
        let dates = [
            (0, "1970-01-01T00:00:00Z", "Thu"),
            (-1, "1969-12-31T23:59:59Z", "Wed"),
            (951_782_400, "2000-02-29T00:00:00Z", "Tue"),
            (951_868_800, "2000-03-01T00:00:00Z", "Wed"),
            (4_107_542_399, "2100-02-28T23:59:59Z", "Sun"),
            (4_107_542_400, "2100-03-01T00:00:00Z", "Mon"),
            (1_795_434_245, "2026-11-23T11:44:05Z", "Mon"),
        ];
        for (seconds, text, weekday) in dates {
            let date = DateTime::from_unix(seconds);
            assert_eq!((date.to_string().as_str(), date.weekday()), (text, weekday));
        }
    }
}
