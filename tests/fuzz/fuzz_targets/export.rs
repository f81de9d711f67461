//! Rows in a file.

#![no_main]

tidegate_fuzz::target!(tidegate_fuzz::wire::Export);
