//! A year in a few seconds.

use jiff::{civil::Weekday, tz::TimeZone};

use super::*;
use crate::schedule::Office;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);
const MEAN: Duration = Duration::from_secs(4 * 3600);

/// Platforms that live in other places, with their own hours.
const PLACES: &[(&str, &str, &str, &str)] = &[
    ("PraguePlatform", "Europe/Prague", "09:00-17:00", "CZ"),
    ("TorontoPlatform", "America/Toronto", "09:00-17:00", "CA"),
    ("SydneyPlatform", "Australia/Sydney", "00:00-24:00", "AU"),
];

/// Off in 2026 besides weekends: a few holidays and bridge days of each that anybody can look up.
const OFF: &[(&str, &[(i8, i8)])] = &[
    ("PraguePlatform", &[(4, 3), (4, 6), (5, 1), (5, 8), (7, 6), (9, 28), (10, 28), (11, 16), (11, 17)]),
    ("TorontoPlatform", &[(4, 3), (7, 1), (9, 7)]),
    ("SydneyPlatform", &[(1, 26), (4, 3)]),
];

fn settings(places: &[(&str, &str, &str, &str)]) -> Settings {
    let plan = |(platform, zone, hours, country): &(&str, &str, &str, &str)| {
        let zone = TimeZone::get(zone).unwrap();
        let hours = hours.parse().unwrap();
        let calendar = Calendar::Office(Office { zone, hours, holidays: country.parse().unwrap() });
        ((*platform).to_owned(), Plan { mean: MEAN, probability: 0.9, calendar })
    };
    Settings { platforms: places.iter().map(plan).collect(), ..Settings::default() }
}

async fn a_year(places: &[(&str, &str, &str, &str)], seed: u64) -> (Arc<Fleet>, Settings) {
    let fleet = Fleet::new(places.iter().flat_map(|(platform, ..)| group(platform)).collect());
    let settings = settings(places);
    let scheduler = scheduler(&fleet, settings.clone(), seed).await;
    scheduler.update(switched(true)).await.unwrap();
    live_by(MINUTE, &fleet, &scheduler, YEAR).await;
    (fleet, settings)
}

#[tokio::test]
async fn in_a_year_nothing_starts_on_a_holiday_a_bridge_day_a_weekend_or_out_of_hours_in_any_zone() {
    let (fleet, _) = a_year(PLACES, 1).await;
    let mut seen = BTreeMap::<String, usize>::new();
    for (at, platform) in fleet.started() {
        let (_, zone, hours, _) = PLACES.iter().find(|(name, ..)| *name == platform).unwrap();
        let local = at.in_tz(zone).unwrap();
        *seen.entry(platform.clone()).or_default() += 1;
        let day = local.date();
        assert!(!matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday), "{platform}: {local}");
        if *hours != "00:00-24:00" {
            assert!((9..17).contains(&local.hour()), "{platform}: {local}");
        }
        let (_, off) = OFF.iter().find(|(name, _)| *name == platform).unwrap();
        assert!(!off.contains(&(day.month(), day.day())), "{platform}: {local}");
        let between_the_years = day >= date(2026, 12, 24) || day == date(2026, 1, 1);
        assert!(!between_the_years || day.year() == 2027, "{platform}: {local}");
    }
    // About 2000 working hours in offices, 6000 day and night, at 4 hours each.
    assert!(seen["PraguePlatform"] > 350 && seen["TorontoPlatform"] > 350, "{seen:?}");
    assert!(seen["SydneyPlatform"] > 1000, "{seen:?}");
}

#[tokio::test]
async fn starts_of_a_year_come_in_summer_and_in_winter_at_the_same_hours_of_the_clock() {
    let (fleet, _) = a_year(&PLACES[..1], 2).await;
    let hours_of = |months: std::ops::RangeInclusive<i8>| {
        let local = fleet.started().into_iter().map(|(at, _)| at.in_tz("Europe/Prague").unwrap());
        let hours = local.filter(|local| months.contains(&local.month())).map(|local| local.hour());
        hours.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(hours_of(1..=3), (9..17).collect());
    assert_eq!(hours_of(5..=9), (9..17).collect());
}

#[tokio::test]
async fn the_mean_gap_of_a_year_in_working_time_is_the_configured_one() {
    let (fleet, settings) = a_year(&PLACES[..1], 3).await;
    let calendar = &settings.platforms["PraguePlatform"].calendar;
    let starts: Vec<_> = fleet.started().into_iter().map(|(at, _)| at).collect();
    // Working time is counted by asking how far a minute's steps get.
    let worked = |from: Timestamp, to: Timestamp| {
        let (mut at, mut minutes) = (from, 0_u32);
        while at < to {
            at = calendar.after(at, MINUTE);
            minutes += 1;
        }
        f64::from(minutes)
    };
    let gaps: f64 = starts.windows(2).map(|pair| worked(pair[0], pair[1])).sum();
    let mean = gaps / (starts.len() - 1) as f64;
    // Some 500 gaps only, and those below backoff and duration are lengthened to 20 minutes.
    assert!((mean / 240.0 - 1.0).abs() < 0.15, "{mean} minutes over {} starts", starts.len());
}

#[tokio::test]
async fn a_year_is_the_same_for_a_seed_and_another_for_another() {
    let month = |seed| async move {
        let fleet = Fleet::new(group("PraguePlatform"));
        let scheduler = scheduler(&fleet, settings(&PLACES[..1]), seed).await;
        scheduler.update(switched(true)).await.unwrap();
        live(&fleet, &scheduler, YEAR / 12).await;
        fleet.state(|state| {
            let all = state.started.iter();
            all.map(|(at, drawn)| (*at, drawn.seed, drawn.picks.clone())).collect::<Vec<_>>()
        })
    };
    let first = month(7).await;
    assert!(first.len() > 10);
    assert_eq!(first, month(7).await);
    assert_ne!(first, month(8).await);
}
