//! The public holidays of a country, as a library knows them.

use std::str::FromStr;

use chrono::NaiveDate;
use jiff::civil::{Date, Weekday, date};
use opening_hours::{ContextHolidays, localization::Country};

/// Days on which nobody works although it is no weekend: the holidays of a country, with the days that people
/// take off between one and a weekend, and the days from 24 December to 1 January.
#[derive(Clone, Debug, Default)]
pub struct Holidays(Option<(Country, ContextHolidays)>);

impl Holidays {
    /// ISO 3166 code of the country, e.g. `CZ`. `None`: of none in particular.
    pub fn country(&self) -> Option<&'static str> {
        self.0.as_ref().map(|(country, _)| country.iso_code())
    }

    /// Nobody works on that day, whichever day of the week it is.
    pub(super) fn is_off(&self, day: Date) -> bool {
        let year = day.year();
        let between_the_years = day >= date(year, 12, 24) || day == date(year, 1, 1);
        between_the_years || self.is_public(day) || self.is_bridge(day)
    }

    fn is_public(&self, day: Date) -> bool {
        let chrono = |day: Date| {
            let (year, month, day) =
                (day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs());
            NaiveDate::from_ymd_opt(year, month.into(), day.into())
        };
        let holidays = self.0.as_ref().map(|(_, holidays)| holidays.get_public());
        holidays.zip(chrono(day)).is_some_and(|(holidays, day)| holidays.contains(day))
    }

    /// The Monday before a holiday on Tuesday, the Friday after one on Thursday.
    fn is_bridge(&self, day: Date) -> bool {
        let beside = match day.weekday() {
            Weekday::Monday => day.tomorrow(),
            Weekday::Friday => day.yesterday(),
            _ => return false,
        };
        beside.is_ok_and(|beside| self.is_public(beside))
    }
}

impl FromStr for Holidays {
    type Err = String;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        let country: Country = code.to_ascii_uppercase().parse().map_err(|_| {
            format!("no holidays are known of {code:?}: give a country's two letters, e.g. CZ")
        })?;
        Ok(Self(Some((country, country.holidays()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn off(country: &str, day: Date) -> bool {
        country.parse::<Holidays>().unwrap().is_off(day)
    }

    #[test]
    fn fixed_and_movable_holidays_of_several_countries_are_known() {
        for (country, day, what) in [
            ("CZ", date(2026, 10, 28), "Independent Czechoslovak State Day"),
            ("CZ", date(2026, 4, 3), "Good Friday"),
            ("CA", date(2027, 7, 1), "Canada Day"),
            ("US", date(2026, 11, 26), "Thanksgiving"),
            ("FR", date(2027, 5, 6), "Ascension Day"),
            ("JP", date(2026, 1, 12), "Coming of Age Day"),
            ("fr", date(2050, 7, 14), "14 July"),
        ] {
            assert!(off(country, day), "{what}");
        }
        assert!(!off("US", date(2026, 10, 28)) && !off("CZ", date(2026, 11, 26)));
    }

    #[test]
    fn days_between_a_holiday_and_a_weekend_are_off_and_others_are_not() {
        // 17 November 2026 is a Tuesday and a holiday of CZ, 6 May 2027 a Thursday and one of FR.
        assert!(off("CZ", date(2026, 11, 16)) && !off("CZ", date(2026, 11, 18)));
        assert!(off("FR", date(2027, 5, 7)) && !off("FR", date(2027, 5, 5)));
        // 28 October 2026 is a Wednesday: no bridge either way.
        assert!(!off("CZ", date(2026, 10, 26)) && !off("CZ", date(2026, 10, 30)));
        assert!(!off("US", date(2026, 11, 16)));
    }

    #[test]
    fn the_days_between_the_years_are_off_everywhere() {
        let nowhere = Holidays::default();
        assert!(nowhere.is_off(date(2026, 12, 24)) && nowhere.is_off(date(2026, 12, 31)));
        assert!(nowhere.is_off(date(2027, 1, 1)));
        assert!(!nowhere.is_off(date(2026, 12, 23)) && !nowhere.is_off(date(2027, 1, 4)));
    }

    #[test]
    fn a_country_that_is_none_is_refused() {
        assert!("XX".parse::<Holidays>().unwrap_err().contains("CZ"));
        assert!("".parse::<Holidays>().is_err());
    }
}
