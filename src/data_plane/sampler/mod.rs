//! Keep or drop, and say why.

pub mod config;
