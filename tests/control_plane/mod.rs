//! The control plane: the store on both engines, the API, replicas, faults.

pub mod api;
mod cache;
mod commands;
mod described;
mod faults;
mod feed;
mod fleet;
mod mirror;
mod replicas;
mod shared;
pub mod store;
