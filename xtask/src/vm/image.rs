//! The Debian guest's disk and kernel, built once for each recipe.
//!
//! The recipe is checks/guest: a list of packages, the files that are put in, and the script that
//! runs inside the finished tree. Its hash names the image's directory below target/vm, so a
//! changed recipe makes a new image and an unchanged one costs nothing. An image is never written
//! to after it has its name; each run works on a copy of it.
//!
//! Nothing is mounted where this machine could see it: debootstrap and the script run in mount
//! and process namespaces of their own, which end with them, and the disk is filled without a
//! mount (mke2fs -d).

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{apt::Source, bounded, directory, logs};
use crate::project;

/// The release of Debian.
const SUITE: &str = "trixie";

/// Size of the root file system, in the words of mke2fs; the file is sparse.
const DISK_SIZE: &str = "3G";

/// What an image directory starts with.
const PREFIX: &str = "image-";

/// Raised when this module does something else with the same recipe.
const BUILDER_VERSION: u32 = 1;

/// How long each step of the build may take; the first one downloads about 100 MiB.
const STEP_BOUND: Duration = Duration::from_secs(20 * 60);

/// Files of the recipe and where they go in the guest, with their mode.
const FILES: [(&str, &str, u32); 2] = [
    ("backdoor", "usr/local/lib/guest/backdoor", 0o755),
    (
        "backdoor.service",
        "etc/systemd/system/backdoor.service",
        0o644,
    ),
];

/// A guest that can be started.
pub struct Image {
    /// Raw image of the root file system.
    pub disk: PathBuf,
    /// bzImage.
    pub kernel: PathBuf,
}

impl Image {
    /// The image of the current recipe, built if there is none yet or `rebuild` is asked for.
    ///
    /// # Errors
    /// The recipe cannot be read, or a step of the build fails.
    pub fn ready(rebuild: bool) -> anyhow::Result<Self> {
        let recipe = Recipe::read(&project::root().join("checks/guest"))?;
        let home = directory().join(format!("{PREFIX}{:016x}", recipe.digest()));
        if rebuild || !home.join("disk.raw").exists() {
            build(&recipe, &home)?;
        }
        Ok(Self {
            disk: home.join("disk.raw"),
            kernel: home.join("kernel"),
        })
    }
}

/// Everything that decides what an image holds.
#[derive(Hash)]
struct Recipe {
    builder: u32,
    suite: &'static str,
    packages: Vec<String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Recipe {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in
            fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?
        {
            let path = entry.context("reading the recipe")?.path();
            let name = path.file_name().and_then(OsStr::to_str);
            let name = name.context("a file of the recipe has an unreadable name")?;
            let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            files.insert(name.to_owned(), content);
        }
        let list = files.remove("packages.txt").unwrap_or_default();
        Ok(Self {
            builder: BUILDER_VERSION,
            suite: SUITE,
            packages: package_names(&String::from_utf8_lossy(&list)),
            files,
        })
    }

    /// Not for security: only to tell recipes apart. A new compiler may change it, which costs
    /// one build.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    fn file(&self, name: &str) -> anyhow::Result<&[u8]> {
        let content = self.files.get(name).map(Vec::as_slice);
        content.with_context(|| format!("checks/guest/{name} is missing"))
    }
}

/// Names without comments and blank lines; their order does not matter, so it is sorted.
fn package_names(list: &str) -> Vec<String> {
    let mut names: Vec<String> = list
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names
}

fn build(recipe: &Recipe, home: &Path) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("debootstrap has to be root to make the Debian image: run this as root once");
    }
    println!("building the image of Debian {SUITE} (once for each recipe; some minutes)");
    let start = Instant::now();
    let log = logs().join("image.log");
    // What an interrupted build left is of no use.
    let work = directory().join("image.partial");
    remove(&work)?;
    remove(&log)?;
    fs::create_dir_all(&work).with_context(|| format!("creating {}", work.display()))?;
    let tree = work.join("tree");
    let result = bootstrap(recipe, &work, &log)
        .and_then(|()| configure(recipe, &tree, &log))
        .and_then(|()| make_disk(&tree, &work, &log));
    // Logins for the mirror do not outlive the build.
    remove(&work.join("private"))?;
    if let Err(error) = result {
        eprintln!("{}", bounded::tail(&log, super::TAIL_LINES));
        return Err(error.context("building the image"));
    }
    remove(&tree)?;
    remove_images()?;
    fs::rename(&work, home).with_context(|| format!("naming {}", home.display()))?;
    println!("image built in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Downloads and unpacks Debian; packages are kept for the next build.
fn bootstrap(recipe: &Recipe, work: &Path, log: &Path) -> anyhow::Result<()> {
    let source = Source::configured()?;
    let cache = directory().join("packages");
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    let mut command = isolated();
    command
        .arg("debootstrap")
        .arg("--variant=minbase")
        .arg(format!("--include={}", recipe.packages.join(",")))
        .arg(format!("--cache-dir={}", cache.display()))
        .arg(SUITE)
        .arg(work.join("tree"))
        .arg(&source.mirror);
    if !Path::new("/usr/share/debootstrap/scripts")
        .join(SUITE)
        .exists()
    {
        // An older debootstrap does not know this release's name; they all share one script.
        command.arg("/usr/share/debootstrap/scripts/sid");
    }
    source.apply(&mut command, &work.join("private"))?;
    bounded::demand("debootstrap", &mut command, log, STEP_BOUND)
}

/// Puts the recipe's files in and runs its script inside the tree.
fn configure(recipe: &Recipe, tree: &Path, log: &Path) -> anyhow::Result<()> {
    for (name, place, mode) in FILES {
        write(&tree.join(place), recipe.file(name)?, mode)?;
    }
    let script = tree.join("configure.sh");
    write(&script, recipe.file("configure.sh")?, 0o755)?;
    let mut command = isolated();
    command.arg("chroot").arg(tree).arg("/configure.sh");
    // No setting of this machine's belongs into the guest.
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    bounded::demand("checks/guest/configure.sh", &mut command, log, STEP_BOUND)?;
    remove(&script)
}

/// Makes the file system and takes the kernel out of the tree.
fn make_disk(tree: &Path, work: &Path, log: &Path) -> anyhow::Result<()> {
    let kernel = fs::read_dir(tree.join("boot"))
        .context("reading the guest's /boot")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"vmlinuz-"))
        })
        .context("the guest has no kernel")?;
    fs::copy(&kernel, work.join("kernel")).context("copying the guest's kernel")?;
    let mut command = Command::new("mkfs.ext4");
    command
        .args(["-q", "-F", "-L", "root"])
        // All is laid out now, rather than by the guest in the background.
        .args(["-E", "lazy_itable_init=0,lazy_journal_init=0"])
        .arg("-d")
        .arg(tree)
        .arg(work.join("disk.raw"))
        .arg(DISK_SIZE);
    bounded::demand("mkfs.ext4", &mut command, log, STEP_BOUND)
}

/// A command in namespaces of its own: what it mounts and starts ends with it, also when this
/// process is killed (setpriv(1): --pdeathsig, unshare(1): --kill-child).
fn isolated() -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "unshare", "--mount"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command
}

/// Removes every image; only the newest is kept, since each takes some hundred MiB.
fn remove_images() -> anyhow::Result<()> {
    for entry in fs::read_dir(directory()).context("reading target/vm")? {
        let path = entry.context("reading target/vm")?.path();
        let name = path.file_name().map(OsStr::as_encoded_bytes);
        if name.is_some_and(|name| name.starts_with(PREFIX.as_bytes())) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a file or directory; one that is not there is fine.
fn remove(path: &Path) -> anyhow::Result<()> {
    let result = if path.is_dir() {
        fs::remove_dir_all(path)
    } else if path.exists() {
        fs::remove_file(path)
    } else {
        Ok(())
    };
    result.with_context(|| format!("removing {}", path.display()))
}

fn write(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    project::write_file(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("setting the mode of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(packages: &str, script: &str) -> Recipe {
        Recipe {
            builder: BUILDER_VERSION,
            suite: SUITE,
            packages: package_names(packages),
            files: [("configure.sh".to_owned(), script.into())].into(),
        }
    }

    #[test]
    fn comments_and_order_of_packages_make_no_new_image() {
        let one = recipe("# why\nb # here\n\na\n", "x");
        assert_eq!(one.packages, ["a", "b"]);
        assert_eq!(one.digest(), recipe("a\nb", "x").digest());
    }

    #[test]
    fn another_package_or_script_makes_another_image() {
        let one = recipe("a", "x").digest();
        assert_ne!(one, recipe("a\nb", "x").digest());
        assert_ne!(one, recipe("a", "y").digest());
    }

    #[test]
    fn every_file_of_the_recipe_has_its_place_in_the_guest() {
        let recipe = Recipe::read(&project::root().join("checks/guest")).unwrap();
        let mut expected: Vec<&str> = FILES.iter().map(|(name, ..)| *name).collect();
        expected.push("configure.sh");
        let found: Vec<&str> = recipe.files.keys().map(String::as_str).collect();
        assert_eq!(found, expected);
        assert!(recipe.packages.contains(&"nix-bin".to_owned()));
    }
}
