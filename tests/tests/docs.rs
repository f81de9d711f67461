//! Documents point at things that exist.

#![cfg(test)]

use std::path::{Path, PathBuf};

use tidegate_tests::binaries::repository;
use tidegate_tests::process::run_well;

fn documents() -> Vec<PathBuf> {
    let folder = repository().display().to_string();
    let arguments = [
        "-C",
        &folder,
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        "*.md",
    ];
    run_well(Path::new("git"), arguments)
        .unwrap()
        .lines()
        .map(|line| repository().join(line))
        .collect()
}

/// Targets of `[text](target)` outside of code blocks.
fn links(text: &str) -> Vec<String> {
    let mut code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        for after in line.split("](").skip(1) {
            if let Some((target, _)) = after.split_once(')') {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// The anchor that a heading gets: lower case, spaces as dashes, other signs left out.
fn anchors(text: &str) -> Vec<String> {
    let heading = |line: &str| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(heading)
        .collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let documents = documents();
    assert!(!documents.is_empty());
    for document in documents.iter().filter(|document| document.exists()) {
        let text = std::fs::read_to_string(document).unwrap();
        for link in links(&text)
            .into_iter()
            .filter(|link| !link.contains("://") && !link.starts_with("mailto:"))
        {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap().join(path)
            };
            assert!(
                target.exists(),
                "{} links to {link}, which is not there",
                document.display()
            );
            if !anchor.is_empty()
                && target
                    .extension()
                    .is_some_and(|extension| extension == "md")
            {
                let text = std::fs::read_to_string(&target).unwrap();
                assert!(
                    anchors(&text).contains(&anchor.to_owned()),
                    "{}: no heading for {link}",
                    document.display()
                );
            }
        }
    }
}

/// Tests that the specification names, as `` `file::test` `` in its last column.
#[test]
fn every_promise_names_a_test_that_exists() {
    let specification = repository().join("docs/SPECIFICATION.md");
    if !specification.exists() {
        panic!("docs/SPECIFICATION.md is missing");
    }
    let text = std::fs::read_to_string(specification).unwrap();
    let folder = repository().display().to_string();
    let listing = run_well(
        Path::new("git"),
        [
            "-C",
            &folder,
            "grep",
            "--untracked",
            "-hoE",
            "fn [a-z0-9_]+\\(",
            "--",
            "*.rs",
        ],
    );
    let listing = listing.unwrap();
    let names: std::collections::BTreeSet<_> = listing
        .lines()
        .map(|line| line.trim_start_matches("fn ").trim_end_matches('('))
        .collect();
    let promises: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with('|') && line.contains('`'))
        .collect();
    assert!(
        !promises.is_empty(),
        "the specification has no table of promises"
    );
    for line in promises {
        let cell = line.trim_end_matches('|').rsplit('|').next().unwrap();
        for name in cell.split('`').skip(1).step_by(2) {
            let test = name.rsplit("::").next().unwrap();
            if test
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            {
                assert!(
                    names.contains(test),
                    "the specification names the test {name}, which does not exist"
                );
            }
        }
    }
}

/// The files of which each has one `fn reason`: what a gateway may report of a document.
const REASONS: [&str; 6] = [
    "runtime/bundle/src/error.rs",
    "runtime/bundle/src/refusal.rs",
    "runtime/update/src/error.rs",
    "runtime/update/src/policy.rs",
    "runtime/update/src/stick.rs",
    "runtime/update/src/store.rs",
];

/// Texts within quotation marks or backticks.
fn between(text: &str, mark: char) -> impl Iterator<Item = &str> {
    text.split(mark).skip(1).step_by(2)
}

#[test]
fn the_table_of_reason_codes_has_all_of_them_and_no_others() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).unwrap();
    let mut known = std::collections::BTreeSet::new();
    for path in REASONS {
        let source = read(path);
        let (_, body) = source.split_once("pub fn reason(&self)").unwrap();
        let (body, _) = body.split_once("\n    }\n").unwrap();
        let before = known.len();
        known.extend(between(body, '"').map(str::to_owned));
        assert!(known.len() > before || path.ends_with("stick.rs"), "{path}");
    }
    let page = read("docs/formats/documents.md");
    let (_, tables) = page.split_once("\n## Reason codes\n").unwrap();
    let rows = tables.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').nth(1).unwrap());
    let told: Vec<_> = cells.flat_map(|cell| between(cell, '`')).collect();
    let set: std::collections::BTreeSet<_> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), set.len(), "a code stands there twice");
    assert_eq!(set, known);
}
