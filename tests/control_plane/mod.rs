//! The control plane: the store on both engines, the API, replicas, faults.

mod api;
mod cache;
mod commands;
mod faults;
mod replicas;
mod store;
