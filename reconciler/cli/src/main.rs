//! The command line of osmoda.
//!
//! [`args`] is what can be asked, [`commands`] what is done, [`show`] how results read.
//! Invariants: nothing but the answer goes to standard output, failures go to standard error
//! with what to do next, and the exit code is one of [`failure`]'s.

mod args;
mod client;
mod commands;
mod failure;
mod mcp;
mod output;
mod show;
mod top;

use std::process::ExitCode;

use clap::Parser;

use crate::failure::{Answer, NO};

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    match commands::run(cli) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(NO),
        Err(failure) => {
            if !failure.is_broken_pipe() && !failure.message.is_empty() {
                output::note(&failure.to_string());
            }
            ExitCode::from(failure.code)
        }
    }
}
