//! Who asks a centre.

#![no_main]

tidegate_fuzz::target!(tidegate_fuzz::texts::DeviceClaim);
