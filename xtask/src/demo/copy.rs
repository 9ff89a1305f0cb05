//! The copy of specs/ that the story edits. It differs from the original in places only: the
//! spool is in target/demo, and a port that somebody else has is replaced by a free one.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use anyhow::{Context, ensure};

use super::story::Story;

/// Ports of the example agents, as specs/ has them.
const RESEARCHER_PORT: u16 = 18080;
const TOOLBOX_PORT: u16 = 18081;

/// How far above its usual port a free one is looked for.
const PORTS_TRIED: u16 = 200;

/// The directory in which the summarizer of specs/ finds its jobs.
const SPOOL: &str = "/tmp/osmoda-summarizer";

/// Where the agents of the copy listen, on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub researcher: u16,
    pub toolbox: u16,
}

/// Copies `from` to `to`, with free ports and a spool of its own.
///
/// # Errors
/// A file cannot be copied, no port is free, or the specs no longer say what is replaced.
pub fn copy_specs(story: &Story, from: &Path, to: &Path, spool: &Path) -> anyhow::Result<Ports> {
    let researcher = free_port(RESEARCHER_PORT, None)?;
    let ports = Ports {
        researcher,
        toolbox: free_port(TOOLBOX_PORT, Some(researcher))?,
    };
    let chosen = [
        (RESEARCHER_PORT, ports.researcher),
        (TOOLBOX_PORT, ports.toolbox),
    ];
    for (usual, chosen) in chosen.into_iter().filter(|(usual, chosen)| usual != chosen) {
        story.says(&format!(
            "port {usual} is taken by another program: the copy of specs/ uses {chosen}"
        ));
    }
    copy_directory(from, to)?;
    adapt(to, ports, spool)?;
    Ok(ports)
}

fn adapt(specs: &Path, ports: Ports, spool: &Path) -> anyhow::Result<()> {
    let spool = spool.to_str().context("target/demo is no UTF-8")?;
    ensure!(
        !spool.contains(['"', '\\', '$']),
        "{spool} would need quoting in Nix"
    );
    let researcher = (RESEARCHER_PORT.to_string(), ports.researcher.to_string());
    let toolbox = (TOOLBOX_PORT.to_string(), ports.toolbox.to_string());
    let changes = [
        ("researcher.nix", &researcher),
        ("summarizer.nix", &researcher),
        ("summarizer.nix", &(SPOOL.to_owned(), spool.to_owned())),
        ("toolbox.nix", &toolbox),
    ];
    for (name, (old, new)) in changes {
        replace(&specs.join(name), old, new)?;
    }
    Ok(())
}

/// Replaces every occurrence; there has to be one.
fn replace(file: &Path, old: &str, new: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    ensure!(
        text.contains(old),
        "{} no longer mentions {old}, which the demo replaces",
        file.display()
    );
    fs::write(file, text.replace(old, new)).with_context(|| format!("writing {}", file.display()))
}

/// The first port from `usual` on that nobody has, and that is not `chosen` already.
fn free_port(usual: u16, chosen: Option<u16>) -> anyhow::Result<u16> {
    (usual..usual.saturating_add(PORTS_TRIED))
        .filter(|port| Some(*port) != chosen)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .with_context(|| format!("no port from {usual} on is free"))
}

fn copy_directory(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry.with_context(|| format!("reading {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_directory(&source, &target)?;
        } else {
            fs::copy(&source, &target).with_context(|| format!("copying {}", source.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project;

    #[test]
    fn a_port_that_somebody_has_is_passed_over() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let usual = held.local_addr().unwrap().port();
        let free = free_port(usual, None).unwrap();
        assert!(free > usual);
        assert!(free_port(free, Some(free)).unwrap() > free);
    }

    #[test]
    fn the_copy_has_its_own_places_and_the_original_stays() {
        let target = project::target().join("test/demo-copy");
        let _ = fs::remove_dir_all(&target);
        let original = project::root().join("specs");
        copy_directory(&original, &target).unwrap();
        let ports = Ports {
            researcher: 1234,
            toolbox: 1235,
        };
        adapt(&target, ports, Path::new("/nowhere/spool")).unwrap();
        let read = |name: &str| fs::read_to_string(target.join(name)).unwrap();
        assert!(read("researcher.nix").contains("port = 1234;"));
        assert!(read("summarizer.nix").contains("127.0.0.1:1234"));
        assert!(read("summarizer.nix").contains(r#"spool = "/nowhere/spool""#));
        assert!(read("toolbox.nix").contains("port = 1235;"));
        assert!(target.join("programs/researcher.py").is_file());
        let untouched = fs::read_to_string(original.join("researcher.nix")).unwrap();
        assert!(untouched.contains("port = 18080;"));
    }

    #[test]
    fn specs_that_say_something_else_are_noticed() {
        let file = project::target().join("test/demo-replace.nix");
        project::write_file(&file, "port = 1;").unwrap();
        let error = replace(&file, "18080", "18090").unwrap_err();
        assert!(
            error.to_string().contains("no longer mentions 18080"),
            "{error}"
        );
    }
}
