//! The control plane: the store on both engines, the API, replicas, faults.

mod api;
mod commands;
mod faults;
mod feed;
mod replicas;
mod store;
