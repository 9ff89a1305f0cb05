//! The built binary with everything real around it: processes, sockets, SQLite, Nix, full disks.
//!
//! Each test has a [`support::Scene`] of its own: directories, specs and, while it holds a
//! [`support::Daemon`], a daemon. What happened is read where users read it: from the JSON of
//! the command line and from the ledger's file. Nothing sleeps to let something happen: every
//! wait is for a condition, with [`support::PATIENCE`] as its bound.
//!
//! Where to start: `main_job` shows what the product is for; the other files, what could go
//! wrong with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod support;

mod alerts;
mod bad_input;
mod cascade;
mod credentials;
mod doctor;
mod environment;
mod exhaustion;
mod full_disk;
mod handover;
mod heartbeat;
mod held_places;
mod killed_daemon;
mod kubernetes_probes;
mod late_specs;
mod live_view;
mod log_keeping;
mod looking;
mod main_job;
mod metrics;
mod nix_builds;
mod nix_bundles;
mod operating;
mod probes;
mod process_trees;
mod resources;
mod rights;
mod rollout;
mod signals;
mod spec_changes;
mod storm;
mod supervision;
mod system_closures;
mod systemd;
mod systems;
mod transitions;
mod witnesses;
