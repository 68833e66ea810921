//! Times as the server API writes them: `YYYY-MM-DD HH:MM:SS` at a fixed distance from UTC.

use crate::model::Stamp;

/// `at` as text, `offset` minutes east of UTC.
#[must_use]
pub fn datetime(at: Stamp, offset: i32) -> String {
    let seconds = (at.0 / 1_000_000).cast_signed() + i64::from(offset) * 60;
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`, 2013. Years start in March,
/// so that the leap day is a year's last; an era is 400 years, 146,097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // 0000-03-01
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_read_right() {
        for (seconds, offset, want) in [
            (0, 0, "1970-01-01 00:00:00"),
            (0, 480, "1970-01-01 08:00:00"),
            (0, -60, "1969-12-31 23:00:00"),
            (951_782_400, 0, "2000-02-29 00:00:00"),
            (951_868_799, 0, "2000-02-29 23:59:59"),
            (1_700_000_000, 480, "2023-11-15 06:13:20"),
            (4_107_542_400, 0, "2100-03-01 00:00:00"),
            (4_107_542_399, 0, "2100-02-28 23:59:59"),
        ] {
            assert_eq!(datetime(Stamp(seconds * 1_000_000 + 999_999), offset), want);
        }
    }

    #[test]
    fn days_follow_each_other_for_eight_hundred_years() {
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..292_194 {
            assert_eq!(civil(days), (year, month, day));
            let length = match month {
                2 if leap(year) => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }

    #[test]
    fn the_last_stamps_are_no_trouble() {
        assert!(datetime(Stamp::MAX, 840).starts_with("2255-06-"));
        let _ = datetime(Stamp(u64::MAX), i32::MAX);
    }
}
