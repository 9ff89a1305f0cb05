//! Tells when the specs may have changed.
//!
//! inotify(7) watches directories, not names: a directory that is reached through a symlink is
//! exchanged as a whole without any event inside it (so NixOS switches /etc). Watched is
//! therefore every directory that holds a link on the way, and the way is followed anew after
//! every event. Of those only the links themselves matter: a log that is written beside the specs
//! is no reason to read them. The daemon's resync makes up for anything missed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Component, Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
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

/// The directories to be watched, and what in each of them matters.
type Places = BTreeMap<PathBuf, Matters>;

/// What in a directory can change the specs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Matters {
    Everything,
    Names(BTreeSet<OsString>),
}

/// Watches a directory or file of specs.
pub struct SpecWatch {
    specs: PathBuf,
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    places: Arc<RwLock<Places>>,
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
        let places = Arc::new(RwLock::new(Places::new()));
        let known = Arc::clone(&places);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let known = known.read().unwrap_or_else(PoisonError::into_inner);
            if event.is_ok_and(|event| is_news(&known, &event)) {
                // Full: somebody is told already. Closed: nobody listens any longer.
                let _ = sender.try_send(());
            }
        })?;
        let mut this = Self {
            specs,
            watcher,
            watched: BTreeSet::new(),
            places,
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
        let places = places(&self.specs);
        let wanted: BTreeSet<_> = places.keys().cloned().collect();
        // Known before they are watched, so that no first event is taken for a stranger's.
        *self.places.write().unwrap_or_else(PoisonError::into_inner) = places;
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

/// Whether an event can have changed the specs. One without a path tells of events lost.
fn is_news(places: &Places, event: &notify::Event) -> bool {
    let matters = |path: &PathBuf| {
        let holder = path.parent().and_then(|parent| places.get(parent));
        let inside = match (holder, path.file_name()) {
            (Some(Matters::Everything), _) => true,
            (Some(Matters::Names(names)), Some(name)) => names.contains(name),
            _ => false,
        };
        inside || places.get(path) == Some(&Matters::Everything)
    };
    !event.kind.is_access() && (event.paths.is_empty() || event.paths.iter().any(matters))
}

/// Every directory in which a change can change the specs.
fn places(specs: &Path) -> Places {
    let mut found = Places::new();
    follow_links(specs, &mut found);
    if let Ok(entries) = std::fs::read_dir(specs) {
        if let Ok(real) = specs.canonicalize() {
            found.insert(real, Matters::Everything);
        }
        for entry in entries.flatten().take(FILES_MAX) {
            let path = entry.path();
            if path.is_symlink() {
                follow_links(&path, &mut found);
            } else if path.is_dir() {
                found.insert(path, Matters::Everything); // what .nix files import
            }
        }
    }
    found
}

/// Adds every link on the way to `path`, and its end.
fn follow_links(path: &Path, found: &mut Places) {
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
            break;
        }
        // Where the way goes on, ends, or is broken off: in the nearest directory that exists.
        let mut end = at.as_path();
        while let (Some(parent), Some(name)) = (end.parent(), end.file_name()) {
            if parent.is_dir() {
                add_name(found, parent, name.to_owned());
                break;
            }
            end = parent;
        }
    }
}

fn add_name(found: &mut Places, directory: &Path, name: OsString) {
    let new = || Matters::Names(BTreeSet::new());
    if let Matters::Names(names) = found.entry(directory.to_owned()).or_insert_with(new) {
        names.insert(name);
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
    fn only_what_can_change_the_specs_is_news() {
        let dir = tempfile::tempdir().unwrap();
        let specs = dir.path().join("specs");
        fs::create_dir(&specs).unwrap();
        let places = places(&specs);
        let event = |path: PathBuf| {
            let kind = notify::EventKind::Modify(notify::event::ModifyKind::Any);
            notify::Event::new(kind).add_path(path)
        };
        for news in [specs.clone(), specs.join("a.nix")] {
            assert!(is_news(&places, &event(news.clone())), "{news:?}");
        }
        assert!(!is_news(&places, &event(dir.path().join("daemon.log"))));
        let lost = notify::Event::new(notify::EventKind::Other);
        assert!(is_news(&places, &lost));
    }

    #[test]
    fn links_that_lead_nowhere_or_in_circles_are_followed_no_further() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        symlink("missing/x", dir.path().join("c")).unwrap();
        for name in ["a", "c"] {
            assert!(
                places(&dir.path().join(name)).contains_key(dir.path()),
                "{name}"
            );
        }
    }
}
