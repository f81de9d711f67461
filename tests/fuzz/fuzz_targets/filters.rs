//! Two topic filters and a topic.

#![no_main]

tidegate_fuzz::target!(tidegate_fuzz::texts::Filters);
