//! Checks that are left out on purpose when `TIDEGATE_FAULT` names one: negative controls of the attacks. Nothing that is
//! shipped is built with the feature `faults`; without it, none is ever left out.

/// Whether this check is left out.
pub(crate) fn left_out(check: &str) -> bool {
    cfg!(feature = "faults") && std::env::var_os("TIDEGATE_FAULT").is_some_and(|left| left == check)
}
