//! `lipservice send` against servers in this process, and the made-up traffic that demo and load generator share.

mod demo;
mod send;
mod sink;
mod top;
pub mod traffic;
