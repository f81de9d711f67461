//! `[buffer]`: how large it may grow, and when it commits.

use tidegate_buffer::{Profile, QUOTA_BYTES_DEFAULT, QUOTA_BYTES_MIN};
use tidegate_settings::Section;

/// The buffer, as its operator wants it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BufferSettings {
    /// When it commits.
    pub(crate) profile: Profile,
    /// What it may take on disk, in bytes.
    pub(crate) quota_bytes: u64,
}

impl Default for BufferSettings {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            quota_bytes: QUOTA_BYTES_DEFAULT,
        }
    }
}

impl BufferSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let profile = section.optional_as("profile", |text| match text {
            "latency" => Ok(Profile::Latency),
            "flash" => Ok(Profile::Flash),
            other => Err(format!("{other:?} is neither \"latency\" nor \"flash\"")),
        });
        let quota_bytes = section.optional_as("quota", quota);
        section.end();
        Self {
            profile: profile.unwrap_or_default(),
            quota_bytes: quota_bytes.unwrap_or(QUOTA_BYTES_DEFAULT),
        }
    }
}

/// `64MiB` or `2GiB`.
fn quota(text: &str) -> Result<u64, String> {
    let shift = |unit| if unit == "GiB" { 30 } else { 20 };
    let number = ["MiB", "GiB"]
        .iter()
        .find_map(|unit| Some((text.strip_suffix(unit)?, shift(*unit))));
    let bytes = number.and_then(|(number, shift)| {
        let number: u64 = number.trim().parse().ok()?;
        number.checked_mul(1 << shift)
    });
    match bytes {
        Some(bytes) if bytes >= QUOTA_BYTES_MIN => Ok(bytes),
        Some(_) => Err(format!("{text} is less than {} MiB", QUOTA_BYTES_MIN >> 20)),
        None => Err(format!(
            "{text:?} is not a size such as \"64MiB\" or \"2GiB\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_has_a_unit_and_a_least_size() {
        assert_eq!(quota("64MiB"), Ok(64 << 20));
        assert_eq!(quota("2 GiB"), Ok(2 << 30));
        assert_eq!(quota("8MiB"), Err("8MiB is less than 16 MiB".into()));
        for wrong in ["", "64", "64MB", "-1GiB", "99999999999999GiB"] {
            assert!(quota(wrong).unwrap_err().contains("not a size"), "{wrong}");
        }
    }
}
