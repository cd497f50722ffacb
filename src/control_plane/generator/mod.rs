//! From counts to a policy: what each pattern is worth, which share of it a budget allows, and the document that says so.
//!
//! Purpose: the half of the control loop that writes.
//! Promises: worth comes from outside or from statistics, rates from the solver alone; what is written says why.
//! Never: publishes, or lets a text from a log decide a rate.

pub mod budget;
pub mod candidates;
pub mod config;
pub mod document;
pub mod llm;
pub mod offline;
pub mod plan;
pub mod review;
pub mod solver;
pub mod worth;
