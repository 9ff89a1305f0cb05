use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_flag_has_its_variable_and_every_command_a_sentence() {
    fn look(command: &clap::Command) {
        assert!(
            command.get_about().is_some(),
            "{} says nothing",
            command.get_name()
        );
        for flag in command
            .get_arguments()
            .filter(|arg| arg.get_long().is_some())
        {
            let name = flag.get_long().unwrap();
            if ["help", "version"].contains(&name) {
                continue;
            }
            let variable = flag.get_env().unwrap_or_else(|| panic!("--{name}"));
            let expected = format!("OSMODA_{}", name.to_uppercase().replace('-', "_"));
            let variable = variable.to_str().unwrap();
            // An agent's own environment has OSMODA_AGENT: it must not choose here.
            let filter = format!("{expected}_FILTER");
            // OSMODA_LOG says what a daemon logs, not which logs a witness watches.
            let witness = name == "log" && variable == "OSMODA_WITNESS_LOG";
            assert!(
                variable == expected || variable == filter || witness,
                "{variable} for --{name}"
            );
            assert!(flag.get_help().is_some(), "--{name} says nothing");
        }
        command.get_subcommands().for_each(look);
    }
    look(&Cli::command());
}
