//! When automatic experiments start: flags for all platforms, and tables of the file for single ones.

use std::{str::FromStr, time::Duration};

use chaos_kitty::{hours::Hours, settings::Entry, units::positive_duration};
use clap::Args;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::schedule::{Calendar, Holidays, NONSTOP, Office, Plan, Settings};

/// The key of the file's tables, one for each platform that has a plan of its own.
pub(super) const PLATFORM: &str = "platform";
/// Holidays of no country in particular.
const NONE: &str = "NONE";
/// A mean beyond this would be no plan.
const LONGEST_MEAN: Duration = Duration::from_secs(30 * 24 * 3600);

/// See the module.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Automatic experiments (off until `kittyctl schedule on`)")]
pub struct ScheduleArgs {
    /// Mean time between two of them on one platform, in working time
    #[arg(long, value_name = "DURATION", value_parser = mean, default_value = "4h")]
    pub automated_mean: Duration,
    /// That each target of a platform takes part, 0 to 1
    #[arg(long, value_name = "NUMBER", value_parser = probability, default_value = "0.2")]
    pub automated_probability: f64,
    /// From the end of the last experiment to the next automatic one, until a call says otherwise
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "15m")]
    pub automated_backoff: Duration,
    /// Methods that may be drawn by chance, repeatable: their names; tame: all that harm no more than their target; all
    #[arg(long, value_name = "METHOD", value_delimiter = ',', default_value = "tame")]
    pub automated_methods: Vec<String>,
    /// Whose clocks the working hours are of, e.g. Europe/Prague
    #[arg(long, value_name = "ZONE", value_parser = zone, default_value = "UTC")]
    pub time_zone: TimeZone,
    /// Working hours, Monday to Friday unless days are named, e.g. 22:00-06:00 (into the next day) or
    /// "Mon-Thu 08:00-12:00,13:00-17:00; Fri 08:00-12:00"
    #[arg(long, value_name = "HOURS", default_value = "09:00-17:00")]
    pub working_hours: Hours,
    /// The country whose holidays are kept, e.g. CZ. NONE: of no country; NONSTOP: no holidays, weekends or hours
    #[arg(long, value_name = "COUNTRY", default_value = NONE)]
    pub holidays: HolidaysOf,
}

/// Which days and hours are free.
#[derive(Clone, Debug)]
pub enum HolidaysOf {
    /// None at all, nor are weekends and nights.
    Nonstop,
    /// These.
    Days(Holidays),
}

impl FromStr for HolidaysOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_uppercase().as_str() {
            NONSTOP => Ok(Self::Nonstop),
            NONE => Ok(Self::Days(Holidays::default())),
            country => country.parse().map(Self::Days),
        }
    }
}

/// A platform's own plan; what it leaves out is as for all.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PlatformTable {
    name: String,
    mean: Option<String>,
    probability: Option<f64>,
    time_zone: Option<String>,
    working_hours: Option<String>,
    holidays: Option<String>,
}

impl ScheduleArgs {
    /// What the schedule needs.
    pub(super) fn settings(
        &self,
        tick: Duration,
        min_survivors: usize,
        platforms: &[(String, Self)],
    ) -> Settings {
        Settings {
            backoff: self.automated_backoff,
            tick,
            min_survivors,
            plan: self.plan(),
            platforms: platforms.iter().map(|(name, own)| (name.clone(), own.plan())).collect(),
        }
    }

    fn plan(&self) -> Plan {
        let calendar = match &self.holidays {
            HolidaysOf::Nonstop => Calendar::Nonstop,
            HolidaysOf::Days(holidays) => Calendar::Office(Office {
                zone: self.time_zone.clone(),
                hours: self.working_hours.clone(),
                holidays: holidays.clone(),
            }),
        };
        Plan { mean: self.automated_mean, probability: self.automated_probability, calendar }
    }

    /// The platform of a table, and what holds for it.
    ///
    /// # Errors
    /// A value that can not be used, with its place.
    pub(super) fn overridden(&self, table: Entry<PlatformTable>) -> Result<(String, Self), String> {
        let Entry { place, value: table } = table;
        let name = table.name.clone();
        self.with(table).map(|own| (name, own)).map_err(|what| format!("{place}: {what}"))
    }

    fn with(&self, table: PlatformTable) -> Result<Self, String> {
        fn read<T>(
            field: &str,
            text: Option<String>,
            parse: impl Fn(&str) -> Result<T, String>,
            usual: &T,
        ) -> Result<T, String>
        where
            T: Clone,
        {
            text.map_or_else(|| Ok(usual.clone()), |text| parse(&text))
                .map_err(|what| format!("{field}: {what}"))
        }
        let given = table.probability.map(|number| number.to_string());
        Ok(Self {
            automated_mean: read("mean", table.mean, mean, &self.automated_mean)?,
            automated_probability: read("probability", given, probability, &self.automated_probability)?,
            automated_backoff: self.automated_backoff,
            automated_methods: self.automated_methods.clone(),
            time_zone: read("time-zone", table.time_zone, zone, &self.time_zone)?,
            working_hours: read("working-hours", table.working_hours, str::parse, &self.working_hours)?,
            holidays: read("holidays", table.holidays, str::parse, &self.holidays)?,
        })
    }
}

fn mean(text: &str) -> Result<Duration, String> {
    let mean = positive_duration(text)?;
    if mean <= LONGEST_MEAN { Ok(mean) } else { Err("it must be 30 days or less".to_owned()) }
}

fn probability(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "it must be from 0 to 1".to_owned())
}

fn zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| format!("there is no time zone {text:?}; write it like Europe/Prague"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        schedule: ScheduleArgs,
    }

    fn parse(flags: &[&str]) -> Result<ScheduleArgs, clap::Error> {
        Line::try_parse_from(["kittyd"].iter().chain(flags)).map(|line| line.schedule)
    }

    fn table(text: &str) -> Entry<PlatformTable> {
        Entry { place: "kittyd.toml:7".to_owned(), value: toml::from_str(text).unwrap() }
    }

    #[test]
    fn without_flags_it_is_as_the_manual_says() {
        let settings = parse(&[]).unwrap().settings(Duration::from_secs(15), 1, &[]);
        let usual = Settings::default();
        assert_eq!((settings.backoff, settings.tick), (usual.backoff, usual.tick));
        assert_eq!(
            (settings.plan.mean, settings.plan.probability),
            (usual.plan.mean, usual.plan.probability)
        );
        assert_eq!(settings.plan.calendar.to_string(), "UTC Mon-Fri 09:00-17:00");
    }

    #[test]
    fn calendars_come_from_flags_and_a_platforms_from_its_table() {
        let all =
            parse(&["--time-zone", "Europe/Prague", "--holidays", "cz", "--automated-mean", "1h"]).unwrap();
        let own = r#"name = "DockerPlatform"
            probability = 0.5
            time-zone = "America/Toronto"
            working-hours = "08:00-12:00"
            holidays = "CA""#;
        let platforms = [
            all.overridden(table(own)).unwrap(),
            all.overridden(table("name = \"HostPlatform\"\nholidays = \"NONSTOP\"")).unwrap(),
        ];
        let settings = all.settings(Duration::from_secs(15), 1, &platforms);
        let calendar = |name: &str| settings.platforms[name].calendar.to_string();
        assert_eq!(settings.plan.calendar.to_string(), "Europe/Prague Mon-Fri 09:00-17:00, holidays of CZ");
        assert_eq!(calendar("DockerPlatform"), "America/Toronto Mon-Fri 08:00-12:00, holidays of CA");
        assert_eq!(calendar("HostPlatform"), NONSTOP);
        let docker = &settings.platforms["DockerPlatform"];
        assert_eq!((docker.probability, docker.mean), (0.5, Duration::from_secs(3600)));
    }

    #[test]
    fn what_can_not_be_used_is_refused_with_its_place() {
        for flags in [
            ["--automated-mean", "0s"],
            ["--automated-mean", "31d"],
            ["--automated-probability", "1.1"],
            ["--automated-probability", "NaN"],
            ["--time-zone", "Europe/Nowhere"],
            ["--working-hours", "09:00-09:00"],
            ["--working-hours", "Mon-Fri"],
            ["--holidays", "Atlantis"],
        ] {
            assert!(parse(&flags).is_err(), "{flags:?}");
        }
        let refused = parse(&[]).unwrap().overridden(table("name = \"P\"\nmean = \"often\"")).unwrap_err();
        assert!(refused.starts_with("kittyd.toml:7: mean: "), "{refused}");
    }
}
