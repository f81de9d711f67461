//! `policy.toml`: from text to [`Policy`], all problems at once.

use std::collections::BTreeSet;

use tidegate_bundle::text;
use tidegate_record::Limits;
use tidegate_settings::{Problem, Section, size};

use super::{Entry, NewPermissions, Permission, Policy};

pub(super) fn read(text: &str) -> Result<Policy, Vec<Problem>> {
    tidegate_settings::read(text, |top| {
        let new_permissions = top.optional_as("new-permissions", |text| match text {
            "named" => Ok(NewPermissions::Named),
            "covered" => Ok(NewPermissions::Covered),
            other => Err(format!("{other:?} is neither \"named\" nor \"covered\"")),
        });
        let mut entries: Vec<Entry> = Vec::new();
        for section in top.sections("module") {
            entries.extend(entry(section, &entries));
        }
        Some(Policy {
            new_permissions: new_permissions.unwrap_or_default(),
            entries,
        })
    })
}

/// None where its name is wrong; the problem is noted.
fn entry(mut section: Section<'_>, before: &[Entry]) -> Option<Entry> {
    let name = section.required_as("name", |text| {
        checked(text, text::check_pattern)?;
        // Of two entries for one module the first counts: a second would be read, and mean nothing.
        let start = text.strip_suffix('*').unwrap_or(text);
        let hides = |entry: &&Entry| match text.ends_with('*') {
            true => entry
                .name
                .strip_suffix('*')
                .is_some_and(|wide| start.starts_with(wide)),
            false => text::pattern_covers(&entry.name, text),
        };
        match before.iter().find(hides) {
            None => Ok(text.to_owned()),
            Some(entry) => Err(format!(
                "{text:?} is never looked at: {:?} stands before it and covers it",
                entry.name
            )),
        }
    });
    let permissions = permissions(&mut section);
    let memory_bytes = section.optional_as("memory", size);
    let state_bytes = section.optional_as("state", size);
    let may_leave_site = section.boolean("may-leave-site").unwrap_or(true);
    let regions = section.list_as("regions", |text| checked(text, text::check_name));
    if !may_leave_site {
        section.refuse(
            "regions",
            "has no meaning where rows may not leave the site",
        );
    }
    section.end();
    Some(Entry {
        name: name?,
        permissions,
        memory_bytes: memory_bytes.unwrap_or(bytes(Limits::DEFAULT.memory_bytes_max)),
        state_bytes: state_bytes.unwrap_or(bytes(Limits::DEFAULT.state_bytes_max)),
        may_leave_site,
        regions,
    })
}

fn permissions(section: &mut Section<'_>) -> Vec<Permission> {
    let mut all = Vec::new();
    for mut publish in section.sections("publish") {
        let to = publish.required_as("to", |text| checked(text, text::check_name));
        let topic = publish.required_as("topic", |text| checked(text, text::check_filter));
        publish.end();
        let pair = to.zip(topic);
        all.extend(pair.map(|(to, topic)| Permission::Publish { to, topic }));
    }
    let line = |text: &str| checked(text, text::check_line);
    let name = |text: &str| checked(text, text::check_name);
    let actuate = section.list_as("actuate", line);
    all.extend(actuate.into_iter().map(Permission::Actuate));
    let wasi = section.list_as("wasi", line);
    all.extend(wasi.into_iter().map(Permission::Wasi));
    let secrets = section.list_as("secrets", name);
    all.extend(secrets.into_iter().map(Permission::Secret));
    let distinct: BTreeSet<_> = all.into_iter().collect();
    distinct.into_iter().collect()
}

fn checked(text: &str, check: fn(&str) -> Result<(), &'static str>) -> Result<String, String> {
    check(text).map_err(|problem| format!("{text:?} {problem}"))?;
    Ok(text.to_owned())
}

fn bytes(limit: usize) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}
