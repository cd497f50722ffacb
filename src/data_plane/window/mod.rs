//! Rates, exactly and bounded.

pub mod config;
