//! The ledger through its public interface, on real files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout
)]

mod attacks;
mod copies;
mod crash;
mod damage;
mod failing_disk;
mod full_disk;
mod group;
mod mutation;
mod powercut;
mod signing;
mod store;
mod support;
