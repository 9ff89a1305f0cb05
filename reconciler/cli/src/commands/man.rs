//! `osmoda man`: manual pages, made from the command line itself and from [`examples`].
//!
//! Format: man(7), section 1. A page for every command, named as git does: osmoda-ledger-verify.

mod examples;

use std::{fs, io, path::Path};

use clap::{Command, CommandFactory};

use crate::{
    args::{Cli, Man},
    failure::{Answer, Failure, Outcome},
    output,
};

/// Prints one page, or writes all of them.
pub fn man(args: &Man) -> Outcome {
    let mut osmoda = Cli::command();
    osmoda.build();
    if let Some(dir) = &args.dir {
        fs::create_dir_all(dir).map_err(|error| unwritable(dir, &error))?;
        let count = write_all(&osmoda, dir)?;
        output::print(&format!("wrote {count} pages into {}\n", dir.display()))?;
        return Ok(Answer::Yes);
    }
    let mut command = &osmoda;
    for name in &args.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            Failure::usage(format!("there is no command {:?}", args.command.join(" ")))
                .hint("`osmoda help` lists them")
        })?;
    }
    output::print(&page(command)?)?;
    Ok(Answer::Yes)
}

fn write_all(command: &Command, dir: &Path) -> Result<usize, Failure> {
    let path = dir.join(format!("{}.1", page_name(command)));
    fs::write(&path, page(command)?).map_err(|error| unwritable(&path, &error))?;
    let mut count = 1;
    for below in documented(command) {
        count += write_all(below, dir)?;
    }
    Ok(count)
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()))
        .hint("name a directory in which you may write with --dir")
}

/// Its commands, without `help`, which explains the others.
fn documented(command: &Command) -> impl Iterator<Item = &Command> {
    let all = command.get_subcommands();
    all.filter(|below| below.get_name() != "help" && !below.is_hide_set())
}

/// `osmoda-ledger-verify`.
fn page_name(command: &Command) -> String {
    command
        .get_display_name()
        .unwrap_or(command.get_name())
        .to_owned()
}

/// The words that call it: `ledger verify`; empty for osmoda itself.
fn words(command: &Command) -> String {
    let called = command.get_bin_name().unwrap_or(command.get_name());
    let words = called.strip_prefix("osmoda").unwrap_or(called);
    words.trim_start().to_owned()
}

fn page(command: &Command) -> Result<String, Failure> {
    let name = page_name(command);
    let man = clap_mangen::Man::new(command.clone()).title(name.to_uppercase());
    let mut page = title(&name).into_bytes();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut text = String::from_utf8_lossy(&page).into_owned();
    commands(command, &mut text);
    examples(command, &mut text);
    exit_status(&mut text);
    see_also(command, &mut text);
    Ok(text)
}

/// Name, section, date, source and title of the manual (man(7)). The date is left empty, but it has
/// its place: without it the next one would be taken for it.
fn title(name: &str) -> String {
    let name = escaped(&name.to_uppercase());
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH \"{name}\" \"1\" \"\" \"osmoda {version}\" \"osmoda manual\"\n")
}

fn commands(command: &Command, text: &mut String) {
    let mut below = documented(command).peekable();
    if below.peek().is_none() {
        return;
    }
    text.push_str(".SH COMMANDS\n");
    for each in below {
        let about = each
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        text.push_str(&format!(
            ".TP\n\\fB{}\\fR(1)\n{}\n",
            escaped(&page_name(each)),
            line(&about)
        ));
    }
}

fn examples(command: &Command, text: &mut String) {
    text.push_str(".SH EXAMPLES\n");
    for (call, does) in examples::of(&words(command)) {
        text.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", escaped(call), line(does)));
    }
}

fn exit_status(text: &mut String) {
    text.push_str(".SH EXIT STATUS\n");
    let codes = [
        ("0", "Done."),
        (
            "1",
            "The answer is no: a difference, an agent that is not ready, a ledger that fails.",
        ),
        ("2", "Wrong usage, or an invalid spec."),
        ("3", "The daemon cannot be reached."),
        ("4", "Refused."),
        ("5", "An internal error, or one of the system."),
    ];
    for (code, means) in codes {
        text.push_str(&format!(".TP\n\\fB{code}\\fR\n{}\n", line(means)));
    }
}

fn see_also(command: &Command, text: &mut String) {
    let name = page_name(command);
    let mut pages = Vec::new();
    // The page above: everything before the last word of what it is called by.
    let call = words(command);
    if let Some((above, _)) = call.rsplit_once(' ') {
        pages.push(format!("osmoda-{}", above.replace(' ', "-")));
    }
    if name != "osmoda" {
        pages.push("osmoda".to_owned());
    }
    if pages.is_empty() {
        return;
    }
    let pages = pages
        .iter()
        .map(|page| format!("\\fB{}\\fR(1)", escaped(page)));
    let pages = pages.collect::<Vec<_>>().join(", ");
    text.push_str(&format!(".SH SEE ALSO\n{pages}\n"));
}

/// A hyphen that is typed is `\-`; a backslash begins a request's escape.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// Running text; at the beginning of a line `.` and `'` would be requests.
fn line(text: &str) -> String {
    let text = escaped(text);
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(command: &Command, look: &mut impl FnMut(&Command)) {
        look(command);
        documented(command).for_each(|below| every(below, look));
    }

    fn built() -> Command {
        let mut osmoda = Cli::command();
        osmoda.build();
        osmoda
    }

    #[test]
    fn every_command_has_a_page_with_examples_that_the_command_line_takes() {
        let mut count = 0;
        every(&built(), &mut |command| {
            count += 1;
            let call = words(command);
            let found: Vec<_> = examples::of(&call).collect();
            assert!(
                !found.is_empty(),
                "no example of {call:?} in man/examples.rs"
            );
            for (example, does) in found {
                assert!(example.starts_with("osmoda"), "{example}");
                assert!(does.ends_with('.'), "{does}");
                let taken = Cli::command().try_get_matches_from(example.split(' '));
                if let Err(error) = taken {
                    // --help and --version end so.
                    assert!(!error.use_stderr(), "{example}: {error}");
                }
            }
            let page = page(command).unwrap();
            let title = format!(
                "\"\" \"osmoda {}\" \"osmoda manual\"",
                env!("CARGO_PKG_VERSION")
            );
            assert!(
                page.lines()
                    .any(|line| line.starts_with(".TH ") && line.ends_with(&title))
            );
            for section in ["NAME", "SYNOPSIS", "EXAMPLES", "\"EXIT STATUS\""] {
                let unquoted = section.replace('"', "");
                assert!(
                    page.contains(&format!(".SH {section}"))
                        || page.contains(&format!(".SH {unquoted}")),
                    "{call}: no {section}"
                );
            }
        });
        assert!(count > 25, "{count} pages");
    }

    #[test]
    fn no_example_is_of_a_command_that_there_is_not() {
        let mut known = Vec::new();
        every(&built(), &mut |command| known.push(words(command)));
        for call in examples::calls() {
            assert!(known.iter().any(|known| known == call), "{call:?}");
        }
    }

    #[test]
    fn what_begins_with_a_request_is_text() {
        assert_eq!(line(".SH x-y"), "\\&.SH x\\-y");
        assert_eq!(line("'a\\b"), "\\&'a\\eb");
    }
}
