//! What the site says to a deployment: its policy, and whether it has what the deployment refers to.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tidegate_bundle::{DeployedModule, Digest, Release};
use tidegate_update::{Denial, Policy, Rules};

use crate::deployed::{self, Surroundings};
use crate::secrets;

/// The policy as it is now, and what is here.
pub(super) struct SiteRules<'a> {
    pub(super) policy: Policy,
    pub(super) here: &'a Surroundings,
}

impl Rules for SiteRules<'_> {
    fn denials(
        &self,
        module: &DeployedModule,
        release: &Release,
        before: Option<&DeployedModule>,
    ) -> Vec<Denial> {
        let mut denials = self.policy.denials(module, release, before);
        // One that does not run needs nothing, and one that does not change is left alone.
        if module.enabled() && before != Some(module) {
            denials.extend(deployed::missing(module, release, self.here));
        }
        denials
    }
}

/// Another one as soon as the policy, or a secret, is another file or can be read by others: what was refused may now be
/// taken. A variable of the environment changes with a restart only.
pub(super) fn stamp(policy: Option<&Path>, secrets: &Path) -> Digest {
    let mut marks: Vec<_> = policy.iter().map(|path| mark(path)).collect();
    for folder in secrets::folders(secrets) {
        marks.push(mark(&folder));
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut inside: Vec<_> = entries.map(|entry| mark(&entry.path())).collect();
        inside.sort();
        marks.extend(inside);
    }
    Digest::of(marks.join("\n").as_bytes())
}

/// The time of a change of contents, mode or owner counts, which nobody can set back.
fn mark(path: &Path) -> String {
    let path_text = path.display();
    match fs::metadata(path) {
        Ok(found) => format!(
            "{path_text:?} {} {} {} {}.{}",
            found.dev(),
            found.ino(),
            found.len(),
            found.ctime(),
            found.ctime_nsec()
        ),
        Err(error) => format!("{path_text:?} {}", error.kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_change_of_the_policy_or_of_a_secret_is_seen_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let (policy, secrets) = (
            folder.path().join("policy.toml"),
            folder.path().join("secrets"),
        );
        let stamp = || stamp(Some(&policy), &secrets);
        let mut last = stamp();
        let mut changes = |what: &str, change: &dyn Fn()| {
            change();
            let now = stamp();
            assert_ne!(now, last, "{what}");
            assert_eq!(stamp(), now, "nothing changed");
            last = now;
        };
        let token = secrets.join("pump-token");
        let mode = |mode| fs::set_permissions(&token, fs::Permissions::from_mode(mode)).unwrap();
        changes("a policy comes to be", &|| fs::write(&policy, "a").unwrap());
        changes("it grows", &|| fs::write(&policy, "ab").unwrap());
        changes("another takes its place", &|| {
            let other = folder.path().join("other");
            fs::write(&other, "cd").unwrap();
            fs::rename(&other, &policy).unwrap();
        });
        changes("a folder", &|| fs::create_dir(&secrets).unwrap());
        changes("a secret", &|| fs::write(&token, "s3cret").unwrap());
        changes("it is gone", &|| fs::remove_file(&token).unwrap());
        fs::write(&token, "s3cret").unwrap();
        mode(0o000);
        let hidden = stamp();
        // The clock of a file system may take some milliseconds to a tick.
        while stamp() == hidden {
            mode(0o600);
        }
        let other = folder.path().join("elsewhere");
        let before = stamp();
        fs::write(&other, "x").unwrap();
        assert_eq!(stamp(), before);
    }
}
