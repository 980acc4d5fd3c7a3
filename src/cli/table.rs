//! Tables as people read them.

use std::fmt::{self, Write};

/// Rows under headings, columns as wide as they need to be or, on a terminal, as it has room for.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Widest line, in characters.
    width: Option<usize>,
}

/// Between two columns.
const GAP: usize = 2;
/// No column is made narrower than this to fit.
const NARROWEST: usize = 8;

impl Table {
    /// A table without rows.
    pub(super) fn new(headings: &[&str]) -> Table {
        let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
        Table { rows: vec![headings], width: None }
    }

    /// Adds a row with a cell for each heading.
    pub(super) fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// The table for this width: what does not fit is cut off and marked. Who reads it by program gets everything.
    pub(super) fn within(self, width: Option<usize>) -> Table {
        Table { width, ..self }
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let length = |cell: &String| cell.chars().count();
        let widest = |column| self.rows.iter().filter_map(|row| row.get(column)).map(length).max();
        let mut widths: Vec<usize> = (0..columns).map(|column| widest(column).unwrap_or(0)).collect();
        let Some(limit) = self.width else { return widths };
        let mut excess =
            (widths.iter().sum::<usize>() + GAP * columns.saturating_sub(1)).saturating_sub(limit);
        // The widest gives way first.
        while excess > 0 {
            let Some(widest) = widths.iter_mut().filter(|width| **width > NARROWEST).max() else { break };
            *widest -= 1;
            excess -= 1;
        }
        widths
    }
}

/// The width of the terminal that the results go to, if it is one.
pub(super) fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0))
}

/// What clients chose must not move the reader's cursor.
pub(super) fn printable(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The beginning of a text that is too long for its column.
fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, &width) in row.iter().zip(&widths) {
                write!(line, "{:width$}{:GAP$}", cut(cell, width), "")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["FILTER", "NODES"]);
        table.push(vec!["t/#".to_owned(), "node2@host".to_owned()]);
        table.push(vec!["größer/als/überschrift".to_owned(), "a@b, c@d".to_owned()]);
        assert_eq!(
            table.to_string(),
            "FILTER                  NODES\n\
             t/#                     node2@host\n\
             größer/als/überschrift  a@b, c@d\n"
        );
    }

    #[test]
    fn on_a_terminal_the_widest_columns_give_way() {
        let mut table = Table::new(&["CLIENT", "NODE", "N"]);
        table.push(vec![
            "a-very-long-client-identifier".to_owned(),
            "node1@host".to_owned(),
            "12".to_owned(),
        ]);
        table.push(vec!["short".to_owned(), "n".to_owned(), "1".to_owned()]);
        let table = table.within(Some(30));
        assert_eq!(
            table.to_string(),
            "CLIENT          NODE        N\n\
             a-very-long-c…  node1@host  12\n\
             short           n           1\n"
        );
        assert!(table.to_string().lines().all(|line| line.chars().count() <= 30));
        // What cannot fit is as narrow as it can be, and the terminal wraps it.
        assert!(
            table.within(Some(5)).to_string().starts_with("CLIENT    NODE      N\na-very-…  node1@h…  12\n")
        );
    }

    #[test]
    fn an_empty_table_is_its_headings() {
        assert_eq!(Table::new(&["NAME", "STATE"]).to_string(), "NAME  STATE\n");
    }

    #[test]
    fn control_characters_are_not_printed() {
        let mut table = Table::new(&["FILTER"]);
        table.push(vec!["a\x1b[2Jb\n".to_owned()]);
        assert_eq!(table.to_string(), "FILTER\na\u{fffd}[2Jb\u{fffd}\n");
    }
}
