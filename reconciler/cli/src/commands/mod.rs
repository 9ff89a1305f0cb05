//! What each command does. Start at [`run`].

mod act;
mod anchor;
mod describe;
mod doctor;
mod events;
mod follow;
mod generations;
mod ledger;
mod logs;
mod new;
mod pages;
mod plan;
mod report;
mod run;
mod specs;
mod status;
mod timeline;
mod wait;
mod witness;

use clap::CommandFactory;
use osmoda_node::paths::{Host, Paths, Wanted};

use crate::{
    args::{Cli, Command, Global},
    client::Client,
    failure::{Answer, Failure, Outcome},
    output,
};

/// Does what the command line asks.
///
/// # Errors
/// [`Failure`], with its exit code.
pub fn run(cli: Cli) -> Outcome {
    let global = cli.global;
    match cli.command {
        Command::Run(args) => run::run(&global, args),
        Command::Validate(args) => specs::validate(&args),
        Command::Render(args) => specs::render(&args),
        Command::New(args) => new::new(&args),
        Command::Ledger(command) => ledger::ledger(&global, command),
        Command::Doctor(args) => doctor::doctor(&global, &args),
        Command::Completions { shell } => completions(shell),
        Command::Man => man(),
        Command::Witness(args) => witness::witness(&global, &args),
        Command::Plan(args) => plan::plan(&global, &args),
        Command::Status(args) => on_runtime(status::status(&client(&global)?, &args)),
        Command::Describe(args) => on_runtime(describe::describe(&client(&global)?, &args)),
        Command::Logs(args) => on_runtime(logs::logs(&client(&global)?, &args)),
        Command::Events(args) => on_runtime(events::events(&client(&global)?, &args)),
        Command::Restart(args) => on_runtime(act::restart(&client(&global)?, &args)),
        Command::Pause(args) => on_runtime(act::pause(&client(&global)?, &args)),
        Command::Resume(args) => on_runtime(act::resume(&client(&global)?, &args)),
        Command::Generations(args) => {
            on_runtime(generations::generations(&client(&global)?, &args))
        }
        Command::Rollback(args) => on_runtime(generations::rollback(&client(&global)?, &args)),
        Command::Wait(args) => on_runtime(wait::wait(&client(&global)?, &args)),
    }
}

fn paths(global: &Global) -> Result<Paths, Failure> {
    resolve(Wanted {
        state: global.state_dir.clone(),
        runtime: global.runtime_dir.clone(),
        profiles: None,
    })
}

fn resolve(wanted: Wanted) -> Result<Paths, Failure> {
    Paths::resolve(&wanted, &Host::of_process())
        .map_err(|error| Failure::usage(error.to_string()).hint("name one with --state-dir"))
}

fn client(global: &Global) -> Result<Client, Failure> {
    Ok(Client::new(paths(global)?.socket()))
}

/// Runs a command that speaks to the daemon; the others do without a runtime.
fn on_runtime(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .map_err(|error| Failure::because(&error))?
        .block_on(command)
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "osmoda", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Answer::Yes)
}

fn man() -> Outcome {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    output::print(&String::from_utf8_lossy(&page))?;
    Ok(Answer::Yes)
}
