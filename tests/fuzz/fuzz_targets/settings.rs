//! The reader of all files that an operator writes.

#![no_main]

tidegate_fuzz::target!(tidegate_fuzz::settings::Settings);
