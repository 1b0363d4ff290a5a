//! The table and its JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::goals::Goal;
use crate::scenario::{Setup, Work};

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub gateway: f64,
    pub bare: Option<f64>,
    /// Gateway against bare proxy, where both were measured.
    pub ratio: Option<f64>,
    pub goal: Option<Goal>,
    /// The least share of its core that either process used; near one at saturation.
    pub busy: Option<f64>,
    /// What was measured, for rows that others are computed from.
    pub setup: Option<(Setup, Work)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// As good as aimed for.
    Aim,
    Hold,
    Miss,
}

impl Row {
    /// A number against the bare proxy's; the goal is for the ratio.
    pub fn ratio(name: String, gateway: f64, bare: f64, goal: Option<Goal>) -> Self {
        let ratio = (bare > 0.0).then_some(gateway / bare);
        Self { name, gateway, bare: Some(bare), ratio, goal, busy: None, setup: None }
    }

    /// A number by itself; the goal is for the number.
    pub fn number(name: &str, value: f64, goal: Option<Goal>) -> Self {
        Self { name: name.to_owned(), gateway: value, bare: None, ratio: None, goal, busy: None, setup: None }
    }

    /// None without a goal, and a miss where there is one and no number to compare.
    pub fn verdict(&self) -> Option<Verdict> {
        let goal = self.goal?;
        let value = if self.bare.is_some() { self.ratio.unwrap_or(f64::INFINITY) } else { self.gateway };
        Some(match value {
            value if value <= goal.aim => Verdict::Aim,
            value if value <= goal.hold => Verdict::Hold,
            _ => Verdict::Miss,
        })
    }

    /// The row as the table has it.
    pub fn line(&self) -> String {
        let number = |value: Option<f64>| value.map_or_else(String::new, decimal);
        let mut line = format!(
            "{:<58} {:>9} {:>9} {:>7}",
            self.name,
            decimal(self.gateway),
            number(self.bare),
            self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}×"))
        );
        let goal = self.goal;
        let _ = write!(line, " {:>6} {:>6}", number(goal.map(|goal| goal.hold)), number(goal.map(|goal| goal.aim)));
        line.push_str(match self.verdict() {
            Some(Verdict::Aim) => "  aim ",
            Some(Verdict::Hold) => "  hold",
            Some(Verdict::Miss) => "  MISS",
            None => "      ",
        });
        if let Some(busy) = self.busy {
            let _ = write!(line, " {:>4.0} %", busy * 100.0);
        }
        line.trim_end().to_owned()
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "gateway": self.gateway,
            "bare": self.bare,
            "ratio": self.ratio,
            "hold": self.goal.map(|goal| goal.hold),
            "aim": self.goal.map(|goal| goal.aim),
            "verdict": self.verdict().map(|verdict| format!("{verdict:?}").to_lowercase()),
            "busy": self.busy,
        })
    }
}

/// The table's head.
pub fn head() -> String {
    let head = format!(
        "{:<58} {:>9} {:>9} {:>7} {:>6} {:>6}        {:>4}",
        "", "gateway", "bare", "ratio", "hold", "aim", "busy"
    );
    format!("{head}\n{}", "-".repeat(head.len()))
}

/// One line that counts what was held.
pub fn summary(rows: &[Row]) -> String {
    let count = |wanted| rows.iter().filter(|row| row.verdict() == Some(wanted)).count();
    let (aim, hold, miss) = (count(Verdict::Aim), count(Verdict::Hold), count(Verdict::Miss));
    format!("{} of {} numbers held, {aim} of them as aimed for; {miss} missed", aim + hold, aim + hold + miss)
}

/// Every row, for machines.
pub fn json(rows: &[Row]) -> Value {
    json!({"rows": rows.iter().map(Row::json).collect::<Vec<_>>()})
}

fn decimal(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let goal = Some(Goal { hold: 2.0, aim: 1.5 });
        for (gateway, verdict) in [(15.0, Verdict::Aim), (20.0, Verdict::Hold), (20.1, Verdict::Miss)] {
            assert_eq!(Row::ratio("x".into(), gateway, 10.0, goal).verdict(), Some(verdict));
            assert_eq!(Row::number("x", gateway / 10.0, goal).verdict(), Some(verdict));
        }
        // A bare proxy that adds nothing measurable leaves nothing to compare with.
        assert_eq!(Row::ratio("x".into(), 1.0, 0.0, goal).verdict(), Some(Verdict::Miss));
        assert_eq!(Row::number("x", 1.0, None).verdict(), None);
    }

    #[test]
    fn lines() {
        let row = Row::ratio("work".into(), 50.0, 25.0, Some(Goal { hold: 2.3, aim: 1.9 }));
        let words: Vec<_> = row.line().split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["work", "50.0", "25.0", "2.00×", "2.30", "1.90", "hold"]);
        assert_eq!(summary(&[row]), "1 of 1 numbers held, 0 of them as aimed for; 0 missed");
    }
}
