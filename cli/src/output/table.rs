//! Tables with aligned columns, whose last column is cut at the width of the terminal.

use std::fmt;

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::style::{DIM, plain};

/// Alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table, which is printed with `Display`.
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<(String, Style)>>,
    indent: usize,
    /// Largest width of a line, in columns of the terminal; `None` without a terminal.
    width: Option<usize>,
}

impl Table {
    pub(crate) fn new(columns: impl IntoIterator<Item = (&'static str, Align)>) -> Self {
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Self {
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
            indent: 0,
            width,
        }
    }

    /// Spaces before each line.
    pub(crate) fn indent(mut self, indent: usize) -> Self {
        self.indent = indent;
        self
    }

    /// Adds a row of one cell for each column.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.styled(cells.map(|cell| (cell, Style::new())));
    }

    /// Adds a row of cells with styles.
    pub(crate) fn styled(&mut self, cells: impl IntoIterator<Item = (String, Style)>) {
        let cells = cells.into_iter();
        let cells: Vec<_> = cells.map(|(text, style)| (plain(&text), style)).collect();
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    fn write_row(
        &self,
        f: &mut fmt::Formatter<'_>,
        cells: &[(&str, Style)],
        widths: &[usize],
    ) -> fmt::Result {
        write!(f, "{:1$}", "", self.indent)?;
        let mut used = self.indent;
        let last = cells
            .iter()
            .rposition(|(text, _)| !text.is_empty())
            .unwrap_or(0);
        for (at, ((text, style), width)) in cells.iter().zip(widths).enumerate().take(last + 1) {
            if at > 0 {
                f.write_str("  ")?;
                used += 2;
            }
            let text = match self.width {
                Some(line) if at + 1 == cells.len() => shorten(text, line.saturating_sub(used)),
                _ => (*text).to_owned(),
            };
            let padding = width.saturating_sub(text.width());
            let (before, after) = match self.columns[at].1 {
                Align::Left if at == last => (0, 0),
                Align::Left => (0, padding),
                Align::Right => (padding, 0),
            };
            write!(f, "{:before$}{style}{text}{style:#}{:after$}", "", "")?;
            used += width;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().map(|row| row[at].0.width());
                cells.chain([self.columns[at].0.width()]).max().unwrap_or(0)
            })
            .collect();
        let header: Vec<_> = self.columns.iter().map(|(name, _)| (*name, DIM)).collect();
        let headed = header.iter().any(|(name, _)| !name.is_empty());
        if headed {
            self.write_row(f, &header, &widths)?;
        }
        for (at, row) in self.rows.iter().enumerate() {
            if headed || at > 0 {
                f.write_str("\n")?;
            }
            let cells: Vec<_> = row
                .iter()
                .map(|(text, style)| (text.as_str(), *style))
                .collect();
            self.write_row(f, &cells, &widths)?;
        }
        Ok(())
    }
}

/// A text cut to a width, in columns of the terminal and at least 10; ends in `...` if it was cut.
fn shorten(text: &str, max_width: usize) -> String {
    let max_width = max_width.max(10);
    if text.width() <= max_width {
        return text.to_owned();
    }
    let mut width = 0;
    let fits = |c: &char| {
        width += c.width().unwrap_or(0);
        width <= max_width - 3
    };
    let kept: String = text.chars().take_while(fits).collect();
    format!("{}...", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_is_cut() {
        let mut table = Table::new([
            ("n", Align::Right),
            ("id", Align::Left),
            ("text", Align::Left),
        ])
        .indent(2);
        table.width = Some(24);
        table.row(["1".into(), "日本".into(), "short".into()]);
        table.row([
            "10".into(),
            "b".into(),
            "much\ntoo long for the line".into(),
        ]);
        let text = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(
            text,
            "   n  id    text\n   1  日本  short\n  10  b     much too..."
        );
    }

    #[test]
    fn empty_cells_at_the_end_leave_no_spaces() {
        let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
        table.width = None;
        table.row(["long".into(), "x".into()]);
        table.row(["a".into(), String::new()]);
        assert_eq!(
            anstream::adapter::strip_str(&table.to_string()).to_string(),
            "long  x\na"
        );
    }
}
