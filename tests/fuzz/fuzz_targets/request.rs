//! What a gateway sends to the centre.

#![no_main]

tidegate_fuzz::target!(tidegate_fuzz::wire::Request);
