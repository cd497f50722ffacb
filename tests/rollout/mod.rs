//! Rollouts: the rules, the store, the API, the command, and whole gateways.

mod api;
mod gateways;
mod offer;
mod rules;
mod store;
