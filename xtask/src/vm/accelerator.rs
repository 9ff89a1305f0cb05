//! KVM where it really works, else emulation (TCG).
//!
//! That /dev/kvm exists says little: inside another machine, guests may fail under it. So a
//! guest is booted once; the answer holds until this machine boots again, or its image changes.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{bounded, directory, image::Image, logs, scenario};
use crate::project;

/// How long a guest may take to boot for KVM to be worth it: it takes 2 s where KVM works, and
/// about 10 s by emulation.
const PROBE_BOUND: Duration = Duration::from_secs(20);

/// `kvm` or `tcg`.
///
/// # Errors
/// The probe cannot be run, or its answer cannot be kept.
pub fn choose(image: &Image) -> anyhow::Result<&'static str> {
    if fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_err()
    {
        return Ok("tcg");
    }
    let boot =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").context("reading the boot id")?;
    let question = format!("{}\n{}\n", boot.trim_end(), image.disk.display());
    let answer = directory().join("kvm");
    if let Some(works) = recall(&answer, &question) {
        return Ok(name(works));
    }
    let works = guest_boots(image)?;
    let verdict = if works { "works" } else { "fails" };
    println!("a guest under KVM {verdict} here: using {}", name(works));
    project::write_file(&answer, format!("{question}{verdict}\n"))?;
    Ok(name(works))
}

fn name(kvm_works: bool) -> &'static str {
    if kvm_works { "kvm" } else { "tcg" }
}

/// What an earlier probe found, if it was asked the same.
fn recall(answer: &Path, question: &str) -> Option<bool> {
    let text = fs::read_to_string(answer).ok()?;
    match text.strip_prefix(question)?.trim_end() {
        "works" => Some(true),
        "fails" => Some(false),
        _ => None,
    }
}

fn guest_boots(image: &Image) -> anyhow::Result<bool> {
    let log = logs().join("kvm-probe.log");
    let run = directory().join(format!("run-{}-probe", std::process::id()));
    let mut command = scenario::driver(image, "kvm", &run, PROBE_BOUND);
    command.arg("--probe");
    let start = Instant::now();
    let status = bounded::run("the probe of KVM", &mut command, &log, PROBE_BOUND * 2)?;
    Ok(status.success() && start.elapsed() <= PROBE_BOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_the_same_question_only() {
        let path = std::env::temp_dir().join(format!("osmoda-kvm-{}", std::process::id()));
        fs::write(&path, "boot 1\nimage 1\nworks\n").unwrap();
        assert_eq!(recall(&path, "boot 1\nimage 1\n"), Some(true));
        assert_eq!(recall(&path, "boot 2\nimage 1\n"), None);
        fs::write(&path, "boot 1\nimage 1\nfails\n").unwrap();
        assert_eq!(recall(&path, "boot 1\nimage 1\n"), Some(false));
        fs::write(&path, "boot 1\nimage 1\n").unwrap();
        assert_eq!(recall(&path, "boot 1\nimage 1\n"), None);
        fs::remove_file(&path).unwrap();
    }
}
