//! The closing table.

use crate::paint::Paint;

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What it shows.
    pub(crate) scenario: String,
    /// Webhooks sent.
    pub(crate) sent: String,
    /// What was to arrive.
    pub(crate) expected: String,
    /// What arrived.
    pub(crate) arrived: String,
    /// What is wrong: nothing, if it went as expected.
    pub(crate) faults: Vec<String>,
}

/// The rows under a heading, columns aligned, faults under their row.
pub(crate) fn render(rows: &[Row], paint: Paint) -> String {
    let heading = ["scenario", "sent", "expected", "arrived", "verdict"];
    let cells = |row: &Row| [row.scenario.clone(), row.sent.clone(), row.expected.clone(), row.arrived.clone()];
    let mut widths: Vec<usize> = heading.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(cells(row)) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let columns = |cells: &[String]| -> String {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  "));
        padded.collect()
    };
    let titles: Vec<String> = heading.iter().map(|title| (*title).to_owned()).collect();
    let mut text = paint.dim(columns(&titles).trim_end());
    let rule: usize = widths.iter().map(|width| width + 2).sum();
    text = format!("  {text}\n  {}", paint.dim(&"─".repeat(rule.saturating_sub(2))));
    for row in rows {
        let verdict = if row.faults.is_empty() { paint.good("✓") } else { paint.bad("✗") };
        text = format!("{text}\n  {}{verdict}", columns(&cells(row)));
        for fault in &row.faults {
            text = format!("{text}\n    {}", paint.bad(fault));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_what_went_wrong_is_said_under_its_row() {
        let row = |scenario: &str, faults: &[&str]| Row {
            scenario: scenario.into(),
            sent: "1".into(),
            expected: "1 notification".into(),
            arrived: "0".into(),
            faults: faults.iter().map(|fault| (*fault).to_owned()).collect(),
        };
        let text = render(&[row("short", &[]), row("rather a long one", &["missing: x"])], Paint::plain());
        let expected = "
  scenario           sent  expected        arrived  verdict
  ─────────────────────────────────────────────────────────
  short              1     1 notification  0        ✓
  rather a long one  1     1 notification  0        ✗
    missing: x";
        assert_eq!(format!("\n{text}"), expected);
    }
}
