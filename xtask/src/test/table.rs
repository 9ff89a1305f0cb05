//! The one table of parts.

use std::fmt::Write;

use anyhow::anyhow;

use super::{Context, Verdict, parts};

/// Name of the part whose tool is built beside the others.
pub const DENY: &str = "deny";

/// One thing that is checked.
pub struct Part {
    /// One word.
    pub name: &'static str,
    /// What it checks.
    pub about: &'static str,
    /// When it runs.
    pub when: When,
    /// Does it.
    pub run: fn(&mut Context) -> anyhow::Result<Verdict>,
}

/// When a part runs.
pub enum When {
    /// In CI, too.
    Always,
    /// With `--all` only; the text says why it takes long.
    Asked(&'static str),
}

/// The parts, quick and likely to fail first.
pub const PARTS: &[Part] = &[
    Part {
        name: "format",
        about: "the code is formatted",
        when: When::Always,
        run: parts::format,
    },
    Part {
        name: "architecture",
        about: "dependencies point one way, unsafe stays in one place",
        when: When::Always,
        run: parts::architecture,
    },
    Part {
        name: "python",
        about: "every Python file compiles",
        when: When::Always,
        run: parts::python,
    },
    Part {
        name: "nix",
        about: "every Nix file is Nix",
        when: When::Always,
        run: parts::nix,
    },
    Part {
        name: "module",
        about: "the NixOS module does what its tests say, its documents are fresh",
        when: When::Always,
        run: parts::module,
    },
    Part {
        name: "clippy",
        about: "no warning anywhere",
        when: When::Always,
        run: parts::clippy,
    },
    Part {
        name: "tests",
        about: "unit, property, simulation, conformance and end-to-end tests",
        when: When::Always,
        run: parts::tests,
    },
    Part {
        name: "systemd",
        about: "the systemd runtime and its daemon, under a systemd of their own",
        when: When::Always,
        run: parts::systemd,
    },
    Part {
        name: "doctest",
        about: "the examples in the documentation run",
        when: When::Always,
        run: parts::doctest,
    },
    Part {
        name: "demo",
        about: "every fact of the demo's story",
        when: When::Always,
        run: parts::demo,
    },
    Part {
        name: DENY,
        about: "licences, bans and sources of every dependency",
        when: When::Always,
        run: parts::deny,
    },
    Part {
        name: "vm",
        about: "the scenarios of checks/ in a Debian virtual machine, but for long ones",
        when: When::Always,
        run: parts::vm,
    },
    Part {
        name: "scenarios",
        about: "the long scenarios of checks/ in a Debian virtual machine",
        when: When::Asked("they boot again and again"),
        run: parts::scenarios,
    },
    Part {
        name: "simulation",
        about: "the simulator on many more seeds",
        when: When::Asked("thousands of simulated days"),
        run: parts::simulation,
    },
    Part {
        name: "day",
        about: "24 simulated hours of 20 agents: no task and no memory is left behind",
        when: When::Asked("it takes minutes"),
        run: parts::day,
    },
    Part {
        name: "powercuts",
        about: "500 power cuts and failing disks under ext4: no acknowledged entry is lost",
        when: When::Asked("each cut is a mount"),
        run: parts::powercuts,
    },
    Part {
        name: "programs",
        about: "redis, nginx, PostgreSQL, sdnotify and an MCP server, killed and frozen",
        when: When::Asked("they are installed by name"),
        run: parts::programs,
    },
    Part {
        name: "metrics",
        about: "promtool on alert rules, their tests, and a daemon's metrics",
        when: When::Asked("promtool is downloaded"),
        run: parts::metrics,
    },
    Part {
        name: "api",
        about: "schemathesis on the API and its OpenAPI document",
        when: When::Asked("schemathesis is installed by name"),
        run: parts::api,
    },
    Part {
        name: "mcp",
        about: "a client of the Model Context Protocol with `osmoda mcp`",
        when: When::Asked("the client is installed by name"),
        run: parts::mcp,
    },
];

/// The part of this name.
///
/// # Errors
/// There is none; the error lists those there are.
pub fn find(name: &str) -> anyhow::Result<&'static Part> {
    PARTS.iter().find(|part| part.name == name).ok_or_else(|| {
        let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        anyhow!("there is no part {name:?}; there are {}", names.join(", "))
    })
}

/// The table as text.
pub fn describe() -> String {
    let mut text = String::new();
    for part in PARTS {
        let when = match part.when {
            When::Always => String::new(),
            When::Asked(why) => format!(" (with --all: {why})"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<13} {}{when}", part.name, part.about);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PARTS.len());
    }
}
