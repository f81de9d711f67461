//! The table of a long run: what is promised, and what was measured.

use anyhow::{Result, ensure};
use tidegate_tests::lines::Line;

use crate::columns::aligned;

/// Prints the table. A promise that is broken is an error.
pub(crate) fn judge(lines: &[Line]) -> Result<()> {
    println!("\n{}", table(lines));
    let broken = lines.iter().filter(|line| !line.kept);
    let broken: Vec<_> = broken.map(|line| line.what).collect();
    ensure!(broken.is_empty(), "broken: {}", broken.join("; "));
    println!("every promise was kept");
    Ok(())
}

fn table(lines: &[Line]) -> String {
    let kept = |line: &Line| match (line.promised.is_empty(), line.kept) {
        (true, _) => "",
        (false, true) => "yes",
        (false, false) => "NO",
    };
    let head = ["what", "measured", "promised", "kept"].map(str::to_owned);
    let rows = lines.iter().map(|line| {
        [
            line.what.to_owned(),
            line.measured.clone(),
            line.promised.clone(),
            kept(line).to_owned(),
        ]
    });
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
    aligned(&rows)
}
