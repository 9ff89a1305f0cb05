//! Developer commands: `cargo xtask test`, `demo`, `bench`, `vm`. Each has a module of its own.

mod bench;
mod demo;
mod test;
mod vm;

use clap::Parser;

/// Developer commands of osmoda.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    /// Run what CI runs; --all adds what is too long for it.
    Test(test::Args),
    /// Show the main job on the example specs, as a story.
    Demo(demo::Args),
    /// Measure osmoda beside its peers.
    Bench(bench::Args),
    /// Run scenarios in a Debian virtual machine.
    Vm(vm::Args),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Test(args) => test::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Vm(args) => vm::run(&args),
    }
}
