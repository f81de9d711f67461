//! What the centre answers.

#![no_main]

tidegate_fuzz::target!(tidegate_fuzz::wire::Reply);
