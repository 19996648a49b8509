//! Figures and how they are printed.

use std::time::Duration;

/// The value below which that share (0 to 1) of the samples lies.
pub fn quantile(samples: &[Duration], share: f64) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let last = sorted.len() - 1;
    sorted[((last as f64 * share).round() as usize).min(last)]
}

/// Microseconds with one decimal.
pub fn us(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e6)
}

/// Milliseconds with three decimals.
pub fn ms(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1e3)
}

/// Prints rows under a heading, in columns as wide as they need to be.
pub fn table<const N: usize>(title: &str, heading: [&str; N], rows: &[[String; N]]) {
    let mut widths = heading.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    println!("\n{title}");
    let line = |cells: [&str; N]| {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("  {}", padded.join("  ").trim_end());
    };
    line(heading);
    for row in rows {
        line(std::array::from_fn(|index| row[index].as_str()));
    }
}
