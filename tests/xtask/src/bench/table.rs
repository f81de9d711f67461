//! A line of the table, its target, and whether that is met.

/// One comparison.
#[derive(Debug)]
pub(crate) struct Line {
    name: String,
    ours: f64,
    reference: f64,
    unit: &'static str,
    target: Target,
}

/// What is to be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// Nothing: it is only told.
    Told,
    /// Ours is at most this.
    AtMost(f64),
    /// Ours is at least this.
    AtLeast(f64),
    /// Ours is at most the reference and this.
    AtMostBeyond(f64),
    /// Ours is at least this share of the reference.
    ShareAtLeast(f64),
    /// Ours is at most this share of the reference.
    ShareAtMost(f64),
}

impl Line {
    /// Two measurements in the same unit.
    pub(crate) fn new(
        name: impl Into<String>,
        ours: f64,
        reference: f64,
        unit: &'static str,
        target: Target,
    ) -> Self {
        Self {
            name: name.into(),
            ours,
            reference,
            unit,
            target,
        }
    }

    fn ratio(&self) -> f64 {
        self.ours / self.reference
    }

    fn met(&self) -> bool {
        match self.target {
            Target::Told => true,
            Target::AtMost(bound) => self.ours <= bound,
            Target::AtLeast(bound) => self.ours >= bound,
            Target::AtMostBeyond(bound) => self.ours <= self.reference + bound,
            Target::ShareAtLeast(share) => self.ratio() >= share,
            Target::ShareAtMost(share) => self.ratio() <= share,
        }
    }

    fn cells(&self) -> [String; 6] {
        let unit = self.unit;
        let target = match self.target {
            Target::Told => "-".to_owned(),
            Target::AtMost(bound) => format!("<= {} {unit}", number(bound)),
            Target::AtLeast(bound) => format!(">= {} {unit}", number(bound)),
            Target::AtMostBeyond(bound) => format!("<= reference + {} {unit}", number(bound)),
            Target::ShareAtLeast(share) => format!("ratio >= {share}"),
            Target::ShareAtMost(share) => format!("ratio <= {share}"),
        };
        [
            self.name.clone(),
            format!("{} {unit}", number(self.ours)),
            format!("{} {unit}", number(self.reference)),
            format!("{:.2}", self.ratio()),
            target,
            if self.met() { "yes" } else { "no" }.to_owned(),
        ]
    }
}

/// The whole table, as Markdown.
pub(crate) fn table(lines: &[Line]) -> String {
    let head = ["name", "ours", "reference", "ratio", "target", "met"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head)
        .chain(lines.iter().map(Line::cells))
        .collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; 6], fill: char| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| {
            let gap = width - cell.chars().count();
            format!("{cell}{}", fill.to_string().repeat(gap))
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule = line(&[const { String::new() }; 6], '-');
    let mut text = String::new();
    for (position, row) in rows.iter().enumerate() {
        text.push_str(&line(row, ' '));
        if position == 0 {
            text.push_str(&rule);
        }
    }
    text
}

/// Three digits that say something, thousands with a comma.
fn number(value: f64) -> String {
    if value >= 1000.0 {
        let digits = format!("{value:.0}");
        let mut text = String::new();
        for (position, digit) in digits.chars().enumerate() {
            if position > 0 && (digits.len() - position) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        text
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_on_its_bound_and_missed_beyond_it() {
        for (target, met, missed) in [
            (Target::AtMost(5.0), 5.0, 5.1),
            (Target::AtLeast(5.0), 5.0, 4.9),
            (Target::AtMostBeyond(3.0), 13.0, 13.1),
            (Target::ShareAtLeast(0.7), 7.0, 6.9),
            (Target::ShareAtMost(0.7), 7.0, 7.1),
        ] {
            assert!(Line::new("a", met, 10.0, "ms", target).met(), "{target:?}");
            assert!(
                !Line::new("a", missed, 10.0, "ms", target).met(),
                "{target:?}"
            );
        }
        assert!(!Line::new("a", f64::NAN, 1.0, "ms", Target::AtMost(1.0)).met());
    }

    #[test]
    fn the_table_is_aligned() {
        let lines = [
            Line::new(
                "messages in",
                65_432.1,
                70_000.0,
                "msg/s",
                Target::ShareAtLeast(0.7),
            ),
            Line::new("p50", 0.123, 0.1, "ms", Target::AtMost(0.5)),
        ];
        let text = table(&lines);
        assert!(
            text.contains(
                "| messages in | 65,432 msg/s | 70,000 msg/s | 0.93  | ratio >= 0.7 | yes |"
            ),
            "{text}"
        );
        let widths: Vec<_> = text.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }
}
