//! Metrics as a strict reader takes them: what does not follow OpenMetrics 1.0 to the letter is an error.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

/// Every sample by its name and labels, as they are written: `a_total{b="c"}`.
pub type Samples = BTreeMap<String, f64>;

/// The family that is being read.
#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    samples: usize,
}

/// Reads an exposition.
///
/// # Errors
/// With the line at which it breaks a rule.
pub fn read(text: &str) -> Result<Samples> {
    let body = text.strip_suffix("# EOF\n").context("no end: # EOF")?;
    let (mut samples, mut seen, mut family) = (Samples::new(), BTreeSet::new(), Family::default());
    for line in body.lines() {
        let read = match line.strip_prefix("# ") {
            Some(said) => metadata(said, &mut family, &mut seen),
            None => sample(line, &mut family).and_then(|(key, value)| {
                let twice = samples.insert(key, value);
                ensure!(twice.is_none(), "a sample comes twice");
                Ok(())
            }),
        };
        read.with_context(|| format!("not OpenMetrics: {line}"))?;
    }
    Ok(samples)
}

fn metadata(said: &str, family: &mut Family, seen: &mut BTreeSet<String>) -> Result<()> {
    let mut words = said.splitn(3, ' ');
    let (Some(word), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
        bail!("neither TYPE, UNIT nor HELP");
    };
    match word {
        "TYPE" => {
            ensure!(is_name(name), "not a name");
            ensure!(seen.insert(name.to_owned()), "a family comes twice");
            let kinds = ["counter", "gauge", "info", "summary"];
            ensure!(kinds.contains(&rest), "not a type of ours");
            ensure!(
                !name.ends_with("_total"),
                "a family with its samples' suffix"
            );
            *family = Family {
                name: name.to_owned(),
                kind: rest.to_owned(),
                samples: 0,
            };
        }
        "UNIT" | "HELP" => {
            ensure!(name == family.name, "of another family");
            ensure!(family.samples == 0, "after the first sample");
            ensure!(
                word == "HELP" || name.ends_with(&format!("_{rest}")),
                "a unit that is not in the name"
            );
        }
        _ => bail!("neither TYPE, UNIT nor HELP"),
    }
    Ok(())
}

fn sample(line: &str, family: &mut Family) -> Result<(String, f64)> {
    let (key, value) = line.rsplit_once(' ').context("no value")?;
    let name = key.split('{').next().unwrap_or(key);
    let suffix = match family.kind.as_str() {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    ensure!(
        name == format!("{}{suffix}", family.name),
        "of another family"
    );
    let names = match key.strip_prefix(name).unwrap_or_default() {
        "" => Vec::new(),
        braced => labels(braced)?,
    };
    ensure!(
        family.kind != "summary" || names == ["quantile"],
        "a summary has quantiles"
    );
    let value: f64 = value.parse().context("not a number")?;
    ensure!(value.is_finite(), "not finite");
    ensure!(
        family.kind != "counter" || value >= 0.0,
        "a counter below 0"
    );
    ensure!(family.kind != "info" || value == 1.0, "an info is 1");
    family.samples += 1;
    Ok((key.to_owned(), value))
}

/// The names in `{a="b",c="d"}`.
fn labels(braced: &str) -> Result<Vec<&str>> {
    let mut rest = braced
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .context("no braces")?;
    let mut names = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"").context("no label")?;
        ensure!(is_name(name) && !names.contains(&name), "not a label");
        names.push(name);
        let end = quoted_end(after).context("no end of a label")?;
        rest = after.get(end + 1..).unwrap_or_default();
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(names),
            None => bail!("no comma"),
        }
    }
}

/// Where the quote is that is not escaped.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(index, character)| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends.then_some(index)
    })
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    let first = characters.next();
    first.is_some_and(|c| c.is_ascii_lowercase())
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_formed_is_read_and_nothing_else() {
        let good = "# TYPE a_bytes counter\n# UNIT a_bytes bytes\n# HELP a_bytes Text.\na_bytes_total{b=\"x\\\"},\",c=\"\"} 7\na_bytes_total 0.5\n# EOF\n";
        let samples = read(good).unwrap();
        assert_eq!(samples["a_bytes_total{b=\"x\\\"},\",c=\"\"}"], 7.0);
        assert_eq!(samples["a_bytes_total"], 0.5);
        let end = "# EOF\n";
        for bad in [
            "",
            "a 1\n",
            "# TYPE a gauge\nb 1\n# EOF\n",
            "# TYPE a counter\na 1\n# EOF\n",
            "# TYPE a gauge\na 1\na 1\n# EOF\n",
            "# TYPE a gauge\na 1\n# TYPE a gauge\n# EOF\n",
            "# TYPE a gauge\n# UNIT a bytes\n# EOF\n",
            "# TYPE a gauge\na 1\n# HELP a Late.\n# EOF\n",
            "# TYPE a gauge\na NaN\n# EOF\n",
            "# TYPE a gauge\na{b=\"c} 1\n# EOF\n",
            "# TYPE a gauge\na{b=\"c\"d=\"e\"} 1\n# EOF\n",
            "# TYPE a gauge\na{B=\"c\"} 1\n# EOF\n",
            "# TYPE a gauge\n\n# EOF\n",
            "# TYPE a_total counter\n# EOF\n",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(read(end).unwrap().len(), 0);
    }
}
