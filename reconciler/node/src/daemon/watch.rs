//! Tells when the specs may have changed.
//!
//! inotify(7) watches directories, not names: a directory that is reached through a symlink is
//! exchanged as a whole without any event inside it (so NixOS switches /etc). Watched is
//! therefore every directory that holds a link on the way, and the way is followed anew after
//! every event. The daemon's resync makes up for anything missed.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// An edit is often several events: they count as one when this close together.
const SETTLE: Duration = Duration::from_millis(100);
/// An edit that never settles is read all the same after this.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// Most links followed on the way to a file (as the kernel's own bound, path_resolution(7)).
const LINKS_MAX: usize = 40;
/// Most files whose links are followed.
const FILES_MAX: usize = 4096;

/// Watches a directory or file of specs.
pub struct SpecWatch {
    specs: PathBuf,
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    events: mpsc::Receiver<()>,
}

impl SpecWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// inotify cannot be used (its limits, mostly: fs.inotify.max_user_instances).
    pub fn new(specs: PathBuf) -> notify::Result<Self> {
        // Only an absolute path has a parent that can be watched.
        let specs = std::path::absolute(specs).map_err(notify::Error::io)?;
        // One waiting event is as good as many: the specs are read as a whole.
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|event| event.kind.is_access()) {
                // Full: somebody is told already. Closed: nobody listens any longer.
                let _ = sender.try_send(());
            }
        })?;
        let mut this = Self {
            specs,
            watcher,
            watched: BTreeSet::new(),
            events,
        };
        this.follow();
        Ok(this)
    }

    /// Resolves when something on the way to the specs, or in them, has changed and settled.
    pub async fn changed(&mut self) {
        if self.events.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        let settled = async {
            while let Ok(Some(())) = tokio::time::timeout(SETTLE, self.events.recv()).await {}
        };
        // Still changing after the bound: what is there now is read, and the rest as it comes.
        let _ = tokio::time::timeout(SETTLE_MAX, settled).await;
        self.follow();
    }

    /// Watches what is on the way now, and no longer what was.
    pub(super) fn follow(&mut self) {
        let wanted = directories(&self.specs);
        for gone in self.watched.difference(&wanted) {
            // It may be gone from the disk too, and its watch with it.
            let _ = self.watcher.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for directory in wanted {
            let known = self.watched.contains(&directory);
            // A directory that was replaced by another of the same name needs a new watch.
            if known {
                let _ = self.watcher.unwatch(&directory);
            }
            match self.watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(directory)),
                Err(error) => {
                    tracing::warn!(directory = %directory.display(), error = %error, "changes here are seen at the next resync only");
                }
            }
        }
        self.watched = watched;
    }
}

/// Every directory in which a change can change the specs.
fn directories(specs: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    follow_links(specs, &mut found);
    if let Ok(entries) = std::fs::read_dir(specs) {
        if let Ok(real) = specs.canonicalize() {
            found.insert(real);
        }
        for entry in entries.flatten().take(FILES_MAX) {
            let path = entry.path();
            if path.is_symlink() {
                follow_links(&path, &mut found);
            } else if path.is_dir() {
                found.insert(path); // what .nix files import
            }
        }
    }
    found
}

/// Adds the directory of every link on the way to `path`, and the one that holds its end.
fn follow_links(path: &Path, found: &mut BTreeSet<PathBuf>) {
    let mut todo: Vec<PathBuf> = vec![path.to_owned()];
    let mut links = 0;
    while let Some(path) = todo.pop() {
        let mut at = PathBuf::new();
        let mut components = path.components();
        while let Some(component) = components.next() {
            match component {
                Component::ParentDir => drop(at.pop()),
                other => at.push(other),
            }
            let Ok(target) = std::fs::read_link(&at) else {
                continue;
            };
            let holder = at.parent().unwrap_or(Path::new("/")).to_owned();
            links += 1;
            if links <= LINKS_MAX {
                todo.push(holder.join(target).join(components.as_path()));
            }
            found.insert(holder);
            break;
        }
        // Where the way ends, or is broken off: its nearest directory that exists.
        let mut end = at.as_path();
        while let Some(parent) = end.parent() {
            if parent.is_dir() {
                found.insert(parent.to_owned());
                break;
            }
            end = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    async fn sees(watch: &mut SpecWatch, change: impl FnOnce()) {
        change();
        tokio::time::timeout(BOUND, watch.changed())
            .await
            .expect("the change is seen");
    }

    #[tokio::test]
    async fn edits_additions_and_removals_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.nix");
        fs::write(&file, "1").unwrap();
        let mut watch = SpecWatch::new(dir.path().to_owned()).unwrap();
        sees(&mut watch, || fs::write(&file, "2").unwrap()).await;
        sees(&mut watch, || {
            fs::write(dir.path().join("b.nix"), "1").unwrap()
        })
        .await;
        sees(&mut watch, || fs::remove_file(&file).unwrap()).await;
        let temporary = dir.path().join(".c.tmp");
        sees(&mut watch, || {
            fs::write(&temporary, "1").unwrap();
            fs::rename(&temporary, dir.path().join("c.nix")).unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn a_directory_that_is_a_link_is_exchanged_as_a_whole_and_seen_each_time() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["one", "two", "three"] {
            fs::create_dir_all(dir.path().join(name).join("agents")).unwrap();
        }
        let link = dir.path().join("static");
        symlink("one", &link).unwrap();
        let specs = dir.path().join("etc");
        symlink("static/agents", &specs).unwrap();
        let mut watch = SpecWatch::new(specs.clone()).unwrap();
        for name in ["two", "three"] {
            sees(&mut watch, || {
                let next = dir.path().join("next");
                symlink(name, &next).unwrap();
                fs::rename(&next, &link).unwrap();
            })
            .await;
            sees(&mut watch, || {
                fs::write(specs.join("a.yaml"), name).unwrap()
            })
            .await;
        }
    }

    #[tokio::test]
    async fn a_directory_that_appears_later_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let specs = dir.path().join("specs");
        let mut watch = SpecWatch::new(specs.clone()).unwrap();
        sees(&mut watch, || fs::create_dir(&specs).unwrap()).await;
        sees(&mut watch, || fs::write(specs.join("a.yaml"), "1").unwrap()).await;
    }

    #[test]
    fn links_that_lead_nowhere_or_in_circles_are_followed_no_further() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        symlink("missing/x", dir.path().join("c")).unwrap();
        for name in ["a", "c"] {
            assert!(
                directories(&dir.path().join(name)).contains(dir.path()),
                "{name}"
            );
        }
    }
}
