//! Tables as people read them.

use std::fmt::{self, Write};

/// Rows under headings, columns as wide as they need to be.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(super) fn new(headings: &[&str]) -> Table {
        Table { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a row with a cell for each heading.
    pub(super) fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }
}

/// What clients chose must not move the reader's cursor.
fn printable(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |cell: &String| cell.chars().count();
        let widest = |column| self.rows.iter().filter_map(|row| row.get(column)).map(width).max();
        let widths: Vec<usize> = (0..columns).map(|column| widest(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, &width) in row.iter().zip(&widths) {
                write!(line, "{cell:width$}  ")?;
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
