//! What a gateway remembers of its fleet.

#![no_main]

tidegate_fuzz::target!(tidegate_fuzz::deployment::Memory);
