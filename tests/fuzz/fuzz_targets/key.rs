//! A key, as it stands in a file or document.

#![no_main]

tidegate_fuzz::target!(tidegate_fuzz::texts::Key);
