//! Whether spec files are as they were when they were last read.
//!
//! What is written in Nix may import other files, so that nobody knows.

use std::path::PathBuf;

use osmoda_nix::stamp;

use super::files::{Language, SpecsRef, list};

/// Names of all spec files, and each as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, stamp::Stamp)>);

impl Stamp {
    /// `None`: what is read of these specs may differ each time.
    pub fn of(specs: &SpecsRef) -> Option<Self> {
        let files = list(specs.path()?).ok()?.into_iter();
        let stamped = files.map(|(path, language)| match language {
            Language::Nix => None,
            Language::Yaml | Language::Json => {
                let stamp = stamp::Stamp::of(&path)?;
                Some((path, stamp))
            }
        });
        stamped.collect::<Option<_>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use super::*;

    /// Waits until what is there is old enough for a stamp.
    fn settled(specs: &SpecsRef) -> Stamp {
        loop {
            match Stamp::of(specs) {
                Some(stamp) => return stamp,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn write(path: &Path) {
        fs::write(path, "kind: Agent\n").unwrap();
    }

    #[test]
    fn files_have_a_stamp_until_one_is_changed_added_replaced_or_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let specs = SpecsRef::Path(directory.path().to_owned());
        write(&path("a.yaml"));
        assert_eq!(Stamp::of(&specs), None, "it is too young");
        let first = settled(&specs);
        assert_eq!(Stamp::of(&specs), Some(first.clone()));
        write(&path("a.yaml")); // the same bytes, at another time
        assert_eq!(Stamp::of(&specs), None);
        let second = settled(&specs);
        assert_ne!(second, first);
        fs::rename(path("a.yaml"), path("b.yaml")).unwrap();
        let third = settled(&specs);
        assert_ne!(third, second);
        fs::remove_file(path("b.yaml")).unwrap();
        assert_ne!(settled(&specs), third);
    }

    #[test]
    fn what_may_import_others_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let written_in_nix = SpecsRef::Path(directory.path().join("a.nix"));
        write(&directory.path().join("a.nix"));
        // It is old enough when what was written later is.
        let later = directory.path().join("b.yaml");
        write(&later);
        settled(&SpecsRef::Path(later));
        assert_eq!(Stamp::of(&written_in_nix), None);
        assert_eq!(Stamp::of(&SpecsRef::Flake("x#y".to_owned())), None);
    }
}
