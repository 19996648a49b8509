//! Tables without borders: a head, then one line per row, columns two blanks apart.

use std::time::SystemTime;

use clap::builder::styling::{AnsiColor, Style};

use super::text::printable;

/// What can be shown as a line of a table, and as one name.
pub(crate) trait Row {
    /// What many of them are called.
    const PLURAL: &'static str;
    /// The columns' heads.
    const HEAD: &'static [&'static str];
    /// One cell per column.
    fn cells(&self, now: SystemTime) -> Vec<Cell>;
    /// What `-o name` prints.
    fn key(&self) -> &str;
}

/// What a cell says by its colour, beside its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Busy,
    Bad,
    Dim,
}

impl Tone {
    /// Its style; plain text has none.
    pub(crate) fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
            Self::Busy => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
            Self::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())),
            Self::Dim => Style::new().dimmed(),
        }
    }
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Text with a tone.
    pub(crate) fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: printable(text.as_ref()).into_owned(), tone }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Self {
        Self::new(value.to_string(), Tone::Plain)
    }
}

/// The table of these rows.
pub(super) fn render<R: Row>(rows: &[R], now: SystemTime) -> String {
    let head = R::HEAD.iter().map(|name| Cell::new(name, Tone::Dim)).collect();
    let lines: Vec<Vec<Cell>> = std::iter::once(head).chain(rows.iter().map(|row| row.cells(now))).collect();
    align(&lines)
}

/// Lines of cells as text, each column as wide as its widest cell.
pub(super) fn align(lines: &[Vec<Cell>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    lines.iter().map(|line| line_of(line, &widths)).collect()
}

fn line_of(cells: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    let mut gap = 0;
    for (cell, width) in cells.iter().zip(widths) {
        if !cell.text.is_empty() {
            let style = cell.tone.style();
            line.push_str(&" ".repeat(gap));
            line.push_str(&format!("{style}{}{style:#}", cell.text));
            gap = 0;
        }
        gap += width + 2 - cell.text.chars().count();
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cells: &[&str]) -> Vec<Cell> {
        cells.iter().map(Cell::from).collect()
    }

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let text = align(&[line(&["ID", "STATE"]), line(&["long-id", ""]), line(&["a", "ok"])]);
        assert_eq!(text, "ID       STATE\nlong-id\na        ok\n");
    }

    #[test]
    fn a_name_from_outside_can_not_steer_the_terminal() {
        let text = align(&[line(&["evil\u{1b}[2J\nname"])]);
        assert_eq!(text, "evil\\u{1b}[2J\\nname\n");
    }

    #[test]
    fn colour_does_not_move_columns() {
        let bad = Cell::new("x", Tone::Bad);
        let text = align(&[vec![bad, Cell::from("y")]]);
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "x  y\n");
    }
}
