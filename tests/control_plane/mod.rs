//! The control plane: the store on both engines, the API, replicas, faults.

pub mod api;
mod cache;
mod commands;
mod faults;
mod replicas;
pub mod store;
