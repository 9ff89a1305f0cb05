//! `osmoda new`: a spec to begin with.

use std::{fs, io::Write, path::Path};

use crate::{
    args::New,
    failure::{Answer, Failure, Outcome, USAGE},
    output,
};

/// Writes SPECS/NAME.nix, unless there is one.
pub fn new(args: &New) -> Outcome {
    let mut command = Vec::new();
    for word in &args.command {
        let word = word.to_str().ok_or_else(|| {
            Failure::usage(format!(
                "{} is not UTF-8, as specs are",
                word.to_string_lossy()
            ))
        })?;
        command.push(word);
    }
    let path = args.specs.join(format!("{}.nix", args.name));
    write_new(&path, &spec(&command))?;
    let shown = path.display();
    output::print(&format!(
        "wrote {shown}\n  edit it, then: osmoda validate {shown}\n"
    ))?;
    Ok(Answer::Yes)
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            let message = format!("{} exists already and is not overwritten", path.display());
            return Failure::new(USAGE, message).hint("edit it, or choose another name");
        }
        Failure::internal(format!("cannot write {}: {error}", path.display()))
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let mut file = fs::File::create_new(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

/// The text of a spec that runs `command`. What it may need besides stands there as a comment:
/// nothing can be known about a port or a heartbeat.
fn spec(command: &[&str]) -> String {
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    format!(
        r#"# The desired state of one agent. Its name is the name of this file.
{{
  command = [ {} ];

  # Restarted whenever it ends, at once and then more and more slowly.
  # OnFailure: not after exit code 0. Never: not at all.
  restart.policy = "Always";

  # Asked to end with this signal; killed after the grace period.
  stop = {{
    signal = "SIGTERM";
    gracePeriod = "10s";
  }};

  # If it answers HTTP: restarted when it answers no more.
  # probes.liveness.httpGet = {{ port = 8080; path = "/healthz"; }};

  # If it says WATCHDOG=1 on $NOTIFY_SOCKET (sd_notify): restarted when it falls silent.
  # For any other program, what it writes can count: source = "Output".
  # heartbeat = {{ source = "Notify"; timeout = "15s"; }};

  # Restarted before it takes the machine's memory.
  # resources.memory = {{ high = "512Mi"; max = "1Gi"; }};

  # Secrets are read afresh at each start and never stored.
  # credentials.API_KEY = {{ path = "/run/secrets/api-key"; environmentVariable = "API_KEY"; }};
}}
"#,
        words.join(" ")
    )
}

/// A string of the Nix language (Nix manual, "String literal"): `$` begins an interpolation
/// only before `{{`.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '$' if letters.peek() == Some(&'{') => quoted.push_str("\\$"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_nix_reads_them() {
        assert_eq!(quoted("plain"), r#""plain""#);
        assert_eq!(quoted(r#"a "b" \c"#), r#""a \"b\" \\c""#);
        assert_eq!(quoted("${x} $y $$"), r#""\${x} $y $$""#);
        assert_eq!(quoted("1\n2\t"), r#""1\n2\t""#);
    }

    #[test]
    fn the_command_is_in_the_spec() {
        let text = spec(&["/bin/sleep", "1 h"]);
        assert!(
            text.contains(r#"command = [ "/bin/sleep" "1 h" ];"#),
            "{text}"
        );
    }

    #[test]
    fn what_exists_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("specs/a.nix");
        write_new(&path, "mine").unwrap();
        assert_eq!(write_new(&path, "yours").unwrap_err().code, USAGE);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
