//! Policies from traffic and a budget: what comes out holds on traffic that was not learned from.

mod budgets;
mod command;
mod cost;
mod evaluation;
mod scored;

#[path = "../../examples/support/judge.rs"]
mod judge;
#[path = "../../examples/support/quality.rs"]
mod quality;
#[path = "../../examples/support/workload.rs"]
mod workload;
