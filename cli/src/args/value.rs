//! Values as people write them on a command line: shares, labels, platforms; durations and sizes as everywhere.

use chaos_kitty::Timestamp;
pub(crate) use chaos_kitty::units::{duration, positive_duration, size};

/// A share above `0` and up to `highest`.
fn share(text: &str, highest: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= highest => Ok(value),
        _ => Err(format!("it must be a number above 0, up to {highest}")),
    }
}

/// Percent of a group, above 0 to 100; a sign may follow.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    share(text.strip_suffix('%').unwrap_or(text), 100.0)
}

/// Above 0 to 1.
pub(crate) fn likelihood(text: &str) -> Result<f64, String> {
    share(text, 1.0)
}

/// 0 to 1: an operation may be put to sleep with 0.
pub(crate) fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("it must be a number from 0 to 1".to_owned()),
    }
}

/// `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it like key=value".to_owned()),
    }
}

/// `process` or `ProcessPlatform`: both mean the latter. Other words go to the server as they are.
pub(crate) fn platform(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it must not be empty".to_owned());
    }
    let mut letters = text.chars();
    if text.ends_with("Platform") || !text.chars().all(|c| c.is_ascii_lowercase()) {
        return Ok(text.to_owned());
    }
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    Ok(first.into_iter().chain(letters).chain("Platform".chars()).collect())
}

/// The time of a suite, RFC 3339.
pub(crate) fn timestamp(text: &str) -> Result<Timestamp, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "write it as `experiment history` shows it, like 2026-05-04T12:55:31.139495Z".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_stay_in_their_range() {
        assert_eq!(percent("30"), Ok(30.0));
        assert_eq!(percent("30%"), Ok(30.0));
        assert!(percent("0").is_err() && percent("101").is_err() && percent("NaN").is_err());
        assert!(likelihood("0").is_err() && likelihood("1").is_ok() && likelihood("1.1").is_err());
        assert!(probability("0").is_ok() && probability("-0.1").is_err());
    }

    #[test]
    fn a_platform_has_a_short_name() {
        assert_eq!(platform("process").as_deref(), Ok("ProcessPlatform"));
        assert_eq!(platform("ProcessPlatform").as_deref(), Ok("ProcessPlatform"));
        assert_eq!(platform("Weird").as_deref(), Ok("Weird"));
    }

    #[test]
    fn a_suites_time_is_exact_to_the_microsecond() {
        let time = timestamp("2019-08-29T12:55:31.139495Z");
        assert_eq!(time, Ok(Timestamp { seconds: 1_567_083_331, nanos: 139_495_000 }));
        assert!(timestamp("yesterday").is_err_and(|hint| hint.contains("experiment history")));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,24}") {
            let _ = (percent(&text), label(&text), platform(&text), timestamp(&text));
        }
    }
}
