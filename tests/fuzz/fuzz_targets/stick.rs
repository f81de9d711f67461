//! The stick.

#![no_main]

tidegate_fuzz::target!(tidegate_fuzz::archives::StickArchive);
