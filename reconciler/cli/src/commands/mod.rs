//! What each command does. Start at [`run`].

mod act;
mod alerts;
mod anchor;
mod describe;
mod doctor;
mod events;
mod follow;
mod generations;
mod ledger;
mod logs;
mod man;
mod mcp;
mod new;
mod pages;
mod plan;
mod report;
mod run;
mod shell;
mod specs;
mod status;
mod timeline;
mod wait;
mod witness;

pub use self::{follow::since, status::only};
use osmoda_node::paths::{Host, Paths, Wanted};

use crate::{
    args::{Cli, Command, Global},
    client::Client,
    failure::{Failure, Outcome},
    top,
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
        Command::Alerts(args) => on_runtime(alerts::alerts(&client(&global)?, &args)),
        Command::Doctor(args) => doctor::doctor(&global, &args),
        Command::Completions { shell } => shell::completions(shell),
        Command::Man(args) => man::man(&args),
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
        Command::Top => on_runtime(top::top(client(&global)?)),
        Command::Mcp(args) => mcp::mcp(&global, &args),
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
