//! `lipservice send` against servers in this process, and the made-up traffic that demo and load generator share.

mod send;
mod sink;
mod traffic;
