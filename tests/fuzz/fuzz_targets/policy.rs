//! The site's policy.

#![no_main]

tidegate_fuzz::target!(tidegate_fuzz::settings::SitePolicy);
