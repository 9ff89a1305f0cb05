//! What a scenario takes into its guest: its own folder, and the programs it names.
//!
//! checks/NAME/payload.txt names them, one a line, as `bin PACKAGE NAME`, `test PACKAGE NAME`
//! (an integration test's executable) or `file PATH` (from the checkout). They are built with all
//! other tests (a choice of packages would choose other features of their dependencies), so CI
//! builds nothing twice, and lie side by side in the guest; a measurement brings programs that it has
//! built for itself. A program's
//! place on this machine is noted in `origins`, for tests that were compiled to look for it there.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;

use crate::project;

/// The list's name in a scenario's folder.
const LIST: &str = "payload.txt";

/// One line of a payload.txt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A program of a package.
    Bin { package: String, name: String },
    /// The executable of an integration test.
    Test { package: String, name: String },
    /// A file of the checkout.
    File(PathBuf),
    /// A program, or another file, that is there already.
    Program(PathBuf),
}

impl FromStr for Item {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["bin", package, name] => Ok(Self::Bin {
                package: package.into(),
                name: name.into(),
            }),
            ["test", package, name] => Ok(Self::Test {
                package: package.into(),
                name: name.into(),
            }),
            ["file", path] => Ok(Self::File(path.into())),
            _ => bail!("`{line}` is none of: bin PACKAGE NAME, test PACKAGE NAME, file PATH"),
        }
    }
}

/// What a scenario's folder asks for.
///
/// # Errors
/// The list cannot be read, or a line is not one of the known ones.
pub fn read_list(folder: &Path) -> anyhow::Result<Vec<Item>> {
    let path = folder.join(LIST);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| {
            line.parse()
                .with_context(|| format!("in {}", path.display()))
        })
        .collect()
}

/// Programs that were built, by what asked for them.
#[derive(Default)]
pub struct Built(BTreeMap<Item, PathBuf>);

impl Built {
    /// Builds what is asked for.
    ///
    /// # Errors
    /// The build fails, or makes no program of that name.
    pub fn of(items: impl IntoIterator<Item = Item>) -> anyhow::Result<Self> {
        let mut messages = None;
        let mut built = BTreeMap::new();
        for item in items {
            if let Entry::Vacant(place) = built.entry(item) {
                let path = match place.key() {
                    Item::File(path) => project::root().join(path),
                    Item::Program(path) => path.clone(),
                    program => {
                        let messages = match &mut messages {
                            Some(messages) => messages,
                            None => messages.insert(build()?),
                        };
                        find_executable(messages, program)
                            .ok_or_else(|| anyhow!("there is no program for {program:?}"))?
                    }
                };
                place.insert(path);
            }
        }
        Ok(Self(built))
    }

    /// Lays a scenario's folder and programs into `target`, which is made anew.
    ///
    /// # Errors
    /// A file cannot be copied.
    pub fn assemble(&self, folder: &Path, items: &[Item], target: &Path) -> anyhow::Result<()> {
        if target.exists() {
            fs::remove_dir_all(target).with_context(|| format!("removing {}", target.display()))?;
        }
        fs::create_dir_all(target).with_context(|| format!("creating {}", target.display()))?;
        for entry in
            fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?
        {
            copy(
                &entry.context("reading a scenario's folder")?.path(),
                target,
            )?;
        }
        let mut origins = String::new();
        for item in items {
            let source = self.0.get(item).context("it was not built")?;
            let copied = copy_as(source, &target.join(name_of(item, source)))?;
            if !matches!(item, Item::File(_)) {
                strip(&copied);
                // Writing to a String cannot fail.
                let _ = writeln!(origins, "{}\t{}", name_of(item, source), source.display());
            }
        }
        project::write_file(&target.join("origins"), origins)
    }
}

/// Its name beside the others: a test's has a hash in its own.
fn name_of(item: &Item, source: &Path) -> String {
    match item {
        Item::Bin { name, .. } | Item::Test { name, .. } => name.clone(),
        Item::File(_) | Item::Program(_) => source
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
    }
}

/// Builds all programs and tests; gives cargo's messages.
fn build() -> anyhow::Result<String> {
    let mut command = project::cargo();
    command
        .args(["test", "--workspace", "--no-run", "--locked"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(std::process::Stdio::inherit());
    let output = command.output().context("running cargo")?;
    if !output.status.success() {
        bail!("{} failed", project::show(&command));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The part of cargo's messages that matters here (Cargo book, External tools).
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

impl Message {
    /// Whether it tells of this program, and not of the unit tests of one.
    fn is_of(&self, item: &Item) -> bool {
        let (wanted, name, test) = match item {
            Item::Bin { name, .. } => ("bin", name, false),
            Item::Test { name, .. } => ("test", name, true),
            Item::File(_) | Item::Program(_) => return false,
        };
        let is_it =
            |target: &Target| target.name == *name && target.kind.iter().any(|kind| kind == wanted);
        self.reason == "compiler-artifact"
            && self.target.as_ref().is_some_and(is_it)
            && self
                .profile
                .as_ref()
                .is_some_and(|profile| profile.test == test)
    }
}

fn find_executable(messages: &str, item: &Item) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.is_of(item))
        .find_map(|message| message.executable)
}

fn copy(source: &Path, directory: &Path) -> anyhow::Result<()> {
    let name = source.file_name().context("a file without a name")?;
    let target = directory.join(name);
    if source.is_dir() {
        fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
        for entry in
            fs::read_dir(source).with_context(|| format!("reading {}", source.display()))?
        {
            copy(
                &entry.context("reading a scenario's folder")?.path(),
                &target,
            )?;
        }
        return Ok(());
    }
    copy_as(source, &target).map(drop)
}

fn copy_as(source: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    fs::copy(source, target)
        .with_context(|| format!("copying {} to {}", source.display(), target.display()))?;
    Ok(target.to_owned())
}

/// Leaves out what only a debugger reads: less to copy into the guest. Where strip is missing,
/// or cannot do it, the program goes as it is.
fn strip(program: &Path) {
    let _ = Command::new("strip")
        .arg("--strip-debug")
        .arg(program)
        .output();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_unknown_ones_refused() {
        let bin: Item = "bin osmoda  osmoda".parse().unwrap();
        assert!(
            matches!(bin, Item::Bin { package, name } if package == "osmoda" && name == package)
        );
        assert_eq!(
            "file contrib/x".parse::<Item>().unwrap(),
            Item::File("contrib/x".into())
        );
        for line in ["bin osmoda", "library a b", "file"] {
            let error = line.parse::<Item>().unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
        }
    }

    #[test]
    fn the_executable_of_the_right_target_is_found_in_cargos_messages() {
        let artifact = |name: &str, kind: &str, test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"{name}","kind":["{kind}"]}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let messages = [
            artifact("other", "bin", false, r#""/x/other""#),
            "not json".to_owned(),
            artifact("it", "lib", false, "null"),
            artifact("it", "bin", true, r#""/x/it-unit-tests""#),
            artifact("it", "bin", false, r#""/x/it""#),
            artifact("it", "test", true, r#""/x/it-1a2b""#),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ]
        .join("\n");
        let bin = "bin some it".parse().unwrap();
        assert_eq!(find_executable(&messages, &bin), Some("/x/it".into()));
        let test = "test some it".parse().unwrap();
        assert_eq!(find_executable(&messages, &test), Some("/x/it-1a2b".into()));
        let absent = "bin some absent".parse().unwrap();
        assert_eq!(find_executable(&messages, &absent), None);
    }

    #[test]
    fn every_scenario_of_the_checkout_has_a_list_that_can_be_read() {
        for scenario in super::super::scenario::all().unwrap() {
            read_list(&scenario.folder).unwrap();
        }
    }
}
