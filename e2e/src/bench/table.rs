//! The table that `make bench` prints.

use std::fmt::{self, Display};

use super::figures::{Goal, Spread};

/// What one row of the bench found.
#[derive(Debug, Default)]
pub struct Report {
    /// The figures.
    pub lines: Vec<Line>,
    /// What is good to know beside them: the machine's noise, what was generated, where the time went.
    pub notes: Vec<String>,
}

/// One figure.
#[derive(Debug)]
pub struct Line {
    /// The row of the goals' table that it belongs to.
    pub row: u8,
    /// What is compared.
    pub what: String,
    /// The service's own figure.
    pub ours: String,
    /// The anchor's.
    pub anchor: String,
    /// Ours ÷ the anchor.
    pub ratio: Spread,
    /// What the ratio is to be.
    pub goal: Goal,
}

impl Line {
    fn cells(&self) -> [String; 7] {
        let Spread { median, min, max } = self.ratio;
        let met = if self.goal.is_met(median) { "yes" } else { "NO" };
        [
            self.row.to_string(),
            self.what.clone(),
            self.ours.clone(),
            self.anchor.clone(),
            format!("{} ({}–{})", short(median), short(min), short(max)),
            match self.goal {
                Goal::AtLeast(goal) => format!("≥ {}", short(goal)),
                Goal::AtMost(goal) => format!("≤ {}", short(goal)),
            },
            met.to_owned(),
        ]
    }
}

const HEAD: [&str; 7] = ["row", "what", "ours", "anchor", "ratio (min–max)", "goal", "met"];

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(self.lines.iter().map(Line::cells));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 7] = std::array::from_fn(width);
        for row in &rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<String>>().join("  ").trim_end())?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        Ok(())
    }
}

/// Three digits are all that the noise lets one believe.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// A rate, as in `4,210/s`.
pub fn rate(per_second: f64) -> String {
    format!("{}/s", thousands(per_second))
}

/// A time given in milliseconds.
pub fn millis(value: f64) -> String {
    format!("{} ms", short(value))
}

/// A whole number with its thousands set apart.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up_and_says_what_is_met() {
        let line = |what: &str, median, goal| Line {
            row: 1,
            what: what.to_owned(),
            ours: rate(4210.4),
            anchor: millis(0.6543),
            ratio: Spread { median, min: median / 2.0, max: median * 2.0 },
            goal,
        };
        let report = Report {
            lines: vec![line("accepts", 3.0, Goal::AtLeast(3.0)), line("a lone accept", 1.5, Goal::AtMost(1.3))],
            notes: vec!["noise: none".to_owned()],
        };
        let expected = "\
row  what           ours     anchor   ratio (min–max)   goal    met
1    accepts        4,210/s  0.65 ms  3.00 (1.50–6.00)  ≥ 3.00  yes
1    a lone accept  4,210/s  0.65 ms  1.50 (0.75–3.00)  ≤ 1.30  NO
  noise: none
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(thousands(10_000_000.0), "10,000,000");
        assert_eq!(thousands(999.6), "1,000");
        assert_eq!(thousands(12.0), "12");
        assert_eq!(millis(123.4), "123 ms");
        assert_eq!(millis(12.34), "12.3 ms");
    }
}
