//! The deployment document.

#![no_main]

tidegate_fuzz::target!(tidegate_fuzz::deployment::DeploymentDocument);
