//! Developer commands: `cargo xtask test`, `sim`, `demo`, `docs`, `bench`, `vm`. Each has a module of
//! its own; [`project`] and [`process`] are what they share.

#![allow(clippy::print_stdout, reason = "a command for people at a terminal")]

mod architecture;
mod bench;
mod demo;
mod docs;
mod node;
mod package;
mod process;
mod project;
mod sim;
mod test;
mod vm;

use clap::Parser;

/// Developer commands of osmoda.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    /// Run what CI runs; --all adds what is too long for it.
    Test(test::Args),
    /// Run the deterministic simulator on many seeds, or replay one.
    Sim(sim::Args),
    /// Show the main job on the example specs, as a story.
    Demo(demo::Args),
    /// Write the documents that are generated from the NixOS module.
    Docs(docs::Args),
    /// Measure osmoda beside its peers.
    Bench(bench::Args),
    /// Run scenarios in a Debian virtual machine.
    Vm(vm::Args),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Test(args) => test::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Docs(args) => docs::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Vm(args) => vm::run(&args),
    }
}
