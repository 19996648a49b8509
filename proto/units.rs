//! Durations and sizes as people write them, on command lines and in files.

use std::time::Duration;

use crate::limits;

/// `500ms`, `2s`, `1h30m`, or ISO 8601 (`PT5S`).
///
/// # Errors
/// How to write it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = if text.starts_with(['P', 'p']) { iso_duration(text) } else { words_duration(text) };
    let parsed = parsed.ok_or_else(|| "write it like 500ms, 2s, 1h30m or PT5S".to_owned())?;
    // What is added to a clock's time must stay one.
    if parsed.as_secs() > limits::SPAN_SECONDS {
        return Err("it is more than 10,000 years".to_owned());
    }
    Ok(parsed)
}

/// A [`duration`] above zero.
///
/// # Errors
/// How to write it.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be more than 0".to_owned()),
        duration => Ok(duration),
    }
}

fn words_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// The time part of ISO 8601, with days; years and months have no fixed length.
fn iso_duration(text: &str) -> Option<Duration> {
    let upper = text.to_ascii_uppercase();
    let rest = upper.strip_prefix('P')?;
    let (days, time) = rest.split_once('T').map_or((rest, None), |(days, time)| (days, Some(time)));
    if time.is_some_and(str::is_empty) || (days.is_empty() && time.is_none()) {
        return None;
    }
    let days = iso_fields(days, &[('D', 86_400.0)])?;
    let time = iso_fields(time.unwrap_or_default(), &[('H', 3_600.0), ('M', 60.0), ('S', 1.0)])?;
    Duration::try_from_secs_f64(days + time).ok()
}

/// The sum in seconds of `1H2M3.5S`: each unit at most once, in order.
fn iso_fields(mut text: &str, units: &[(char, f64)]) -> Option<f64> {
    let mut seconds = 0.0;
    for (unit, factor) in units {
        if let Some((number, rest)) = text.split_once(*unit) {
            if number.is_empty() || !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
                return None;
            }
            seconds += number.parse::<f64>().ok()? * factor;
            text = rest;
        }
    }
    text.is_empty().then_some(seconds)
}

const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Bytes: `256MiB`, `100MB`, `1048576`. Above zero.
///
/// # Errors
/// How to write it.
pub fn size(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let (Ok(number), Some(factor)) = (number.parse::<u64>(), factor) else {
        return Err("write it like 256MiB, 100MB or 1048576 (bytes)".to_owned());
    };
    match number.checked_mul(factor) {
        Some(0) => Err("it must be more than 0".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("it is more than 64 bits can count".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_in_words_and_in_iso() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("2s", 2_000),
            ("1h30m", 5_400_000),
            ("PT5S", 5_000),
            ("PT0.5S", 500),
            ("PT1H2M3S", 3_723_000),
            ("P1DT1S", 86_401_000),
            ("P1D", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_what_to_write() {
        for text in ["", "5", "-1s", "P", "PT", "PT5", "PT-5S", "P1Y", "PT5S1M", "PTS", "soon", "PT1e999S"] {
            assert!(duration(text).expect_err(text).contains("500ms"), "{text}");
        }
        assert!(positive_duration("0s").is_err());
    }

    #[test]
    fn a_duration_that_no_clock_can_count_is_refused() {
        for text in ["18446744073709551615s", "P9999999999999D", "300000000weeks"] {
            assert!(duration(text).is_err_and(|what| what.contains("10,000 years")), "{text}");
        }
        assert_eq!(duration("315576000000s"), Ok(Duration::from_secs(limits::SPAN_SECONDS)));
    }

    #[test]
    fn sizes_are_binary_or_decimal_as_written() {
        assert_eq!(size("256MiB"), Ok(256 << 20));
        assert_eq!(size("100MB"), Ok(100_000_000));
        assert_eq!(size("1048576"), Ok(1 << 20));
        for text in
            ["", "0", "MiB", "-1MiB", "1.5GiB", "10M", "1 parsec", "99999999999999999999", "99999999TiB"]
        {
            assert!(size(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in "\\PC{0,24}") {
            let _ = (duration(&text), size(&text), duration(&format!("P{text}")));
        }

        #[test]
        fn a_size_in_mebibytes_is_exact(mebibytes in 1u64..1 << 40) {
            prop_assert_eq!(size(&format!("{mebibytes}MiB")), Ok(mebibytes << 20));
        }
    }
}
