//! The status document.

#![no_main]

tidegate_fuzz::target!(tidegate_fuzz::documents::StatusDocument);
