//! Markdown tables that can be read without rendering them.

use std::iter::repeat_n;

/// A table whose columns are as wide as their longest cell: the first column to the left, figures to
/// the right.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: impl IntoIterator<Item: Into<String>>) -> Self {
        Table { rows: vec![head.into_iter().map(Into::into).collect()] }
    }

    /// As many cells as the head has.
    pub fn push(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }

    pub fn text(&self) -> String {
        let n_columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| n_letters(&row[column])).max();
        let widths: Vec<usize> = (0..n_columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut lines = self.rows.iter().map(|row| line(row, &widths));
        let head = lines.next().unwrap_or_default();
        head + &rule(&widths) + &String::from_iter(lines)
    }
}

fn n_letters(text: &str) -> usize {
    text.chars().count()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut text = String::from("|");
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let padding = String::from_iter(repeat_n(' ', width - n_letters(cell)));
        text += &match column {
            0 => format!(" {cell}{padding} |"),
            _ => format!(" {padding}{cell} |"),
        };
    }
    text + "\n"
}

fn rule(widths: &[usize]) -> String {
    let mut text = String::from("|");
    for (column, width) in widths.iter().enumerate() {
        let end = if column == 0 { "-|" } else { ":|" };
        text += &format!("{}{end}", "-".repeat(width + 1));
    }
    text + "\n"
}
