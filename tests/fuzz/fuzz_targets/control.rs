//! The negative control: it must be found out.

#![no_main]

tidegate_fuzz::target!(tidegate_fuzz::deployment::Control);
