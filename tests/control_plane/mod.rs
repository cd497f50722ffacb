//! The control plane: the store on both engines, the API, replicas, faults.

mod api;
mod commands;
mod described;
mod faults;
mod feed;
mod fleet;
mod replicas;
mod store;
