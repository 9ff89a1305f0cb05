//! `osmoda completions`: what a shell needs to complete commands, flags and names of agents.
//!
//! Commands and flags are those of [`Cli`], made into a script by clap_complete. Names are asked
//! of the daemon when they are wanted, in bash and fish; where there is none, there are no names.

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::{
    args::Cli,
    failure::{Answer, Outcome},
    output,
};

/// Prints names of agents, one a line: the first column of the table, between its heading and
/// the empty line below it.
const NAMES: &str = "osmoda status 2>/dev/null | awk 'NR > 1 && !NF { exit } NR > 1 { print $1 }'";

/// Prints the script.
pub fn completions(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "osmoda", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    let commands = about_an_agent(&Cli::command());
    match shell {
        Shell::Bash => script.push_str(&in_bash(&commands)),
        Shell::Fish => script.push_str(&in_fish(&commands)),
        _ => {}
    }
    output::print(&script)?;
    Ok(Answer::Yes)
}

/// Commands whose argument is an agent that there is.
fn about_an_agent(osmoda: &Command) -> Vec<String> {
    let takes = |command: &&Command| command.get_positionals().any(|arg| arg.get_id() == "agent");
    let commands = osmoda.get_subcommands().filter(takes);
    commands
        .map(|command| command.get_name().to_owned())
        .collect()
}

fn in_bash(commands: &[String]) -> String {
    let commands = commands.join("|");
    format!(
        r#"
_osmoda_with_agents() {{
    _osmoda "$@"
    local word command=
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$word" in
            {commands}) command="$word" ;;
        esac
    done
    if [[ -n $command && "${{COMP_WORDS[COMP_CWORD]}}" != -* && "${{COMP_WORDS[COMP_CWORD-1]}}" == "$command" ]]; then
        COMPREPLY+=($(compgen -W "$({NAMES})" -- "${{COMP_WORDS[COMP_CWORD]}}"))
    fi
}}
complete -F _osmoda_with_agents -o nosort -o bashdefault -o default osmoda
"#
    )
}

fn in_fish(commands: &[String]) -> String {
    let commands = commands.join(" ");
    format!(
        "\nfunction __osmoda_agents\n    {NAMES}\nend\n\
         complete -c osmoda -n '__fish_seen_subcommand_from {commands}' -f -a '(__osmoda_agents)'\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_about_one_agent_complete_its_name() {
        let commands = about_an_agent(&Cli::command());
        let expected = [
            "status",
            "describe",
            "logs",
            "events",
            "restart",
            "pause",
            "resume",
            "generations",
            "rollback",
            "wait",
        ];
        for command in expected {
            assert!(commands.iter().any(|found| found == command), "{command}");
        }
        // A new agent has a name that there is not.
        assert!(!commands.iter().any(|found| found == "new"));
    }
}
