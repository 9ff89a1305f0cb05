//! Nix: whether it is there, and whether it evaluates specs as osmoda needs it to.

use std::{fs, path::Path};

use osmoda_nix::eval::{EvalError, EvalOptions, EvaluatedSpec, NixInfo, NixSource, evaluate_specs};

use super::{Findings, Request, agents};
use crate::daemon::BundlePlace;

const INSTALL: &str = "install Nix 2.8 or later (package nix-bin on Debian, or nixos.org/download)";

pub(super) fn nix(request: &Request) -> Findings {
    let mut findings = Findings::of("nix");
    judge_store(&mut findings, BundlePlace::find(request.bundles));
    let needed = agents::has_nix_specs(&request.specs);
    let Some(info) = NixInfo::detect_with(&request.load.nix) else {
        match needed {
            true => findings.fail("no nix on PATH, and there are .nix specs", INSTALL),
            false => findings.warn("no nix on PATH: .nix specs cannot be read", INSTALL),
        }
        return findings;
    };
    findings.ok(format!("Nix {}", info.version));
    judge_evaluation(&mut findings, trial(&request.load.nix));
    if let Some(nixpkgs) = &request.load.nix.nixpkgs
        && !nixpkgs.join("default.nix").exists()
    {
        findings.fail(
            format!("{} has no default.nix", nixpkgs.display()),
            "name a checkout of nixpkgs with --nixpkgs",
        );
    }
    findings
}

/// What came of a spec without surprises, and of one that reads what it must not.
struct Trial {
    plain: Result<(), String>,
    /// Whether the other one was refused.
    restricted: bool,
}

/// Evaluates two specs in a directory of their own.
fn trial(options: &EvalOptions) -> Result<Trial, String> {
    let directory = std::env::temp_dir().join(format!("osmoda-doctor-{}", std::process::id()));
    let evaluated = || {
        write_specs(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let source = NixSource::Directory(directory.clone());
        evaluate_specs(&source, options).map_err(|error| crate::error::chain(&error))
    };
    let evaluated = evaluated();
    if let Err(error) = fs::remove_dir_all(&directory) {
        tracing::debug!(%error, "the trial's directory stays");
    }
    let evaluated = evaluated?;
    let result = |name: &str| {
        let mut all = evaluated.iter();
        all.find(|spec: &&EvaluatedSpec| spec.name == name)
            .map(|spec| &spec.result)
    };
    let why = |error: &EvalError| crate::error::chain(error);
    Ok(Trial {
        plain: match result("plain") {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(why(error)),
            None => Err("it was not evaluated".to_owned()),
        },
        restricted: matches!(result("curious"), Some(Err(_))),
    })
}

fn write_specs(directory: &Path) -> std::io::Result<()> {
    fs::create_dir(directory)?;
    fs::write(
        directory.join("plain.nix"),
        "{ command = [ \"/bin/true\" ]; }\n",
    )?;
    let curious = "{ command = [ (builtins.readFile /proc/version) ]; }\n";
    fs::write(directory.join("curious.nix"), curious)
}

/// Where bundles go. Without Nix the state directory is as it should be.
fn judge_store(findings: &mut Findings, place: Result<BundlePlace, String>) {
    match place {
        Ok(BundlePlace::Directory(Some(why))) => {
            findings.ok(format!("bundles are kept in the state directory: {why}"));
        }
        Ok(place) => findings.ok(format!("bundles are made in {place}")),
        Err(why) => findings.fail(
            why,
            "let osmoda write to the Nix store, or use --bundles auto",
        ),
    }
}

fn judge_evaluation(findings: &mut Findings, trial: Result<Trial, String>) {
    let broken = |why: &str| format!("a small spec cannot be evaluated: {why}");
    let trial = match trial {
        Ok(trial) => trial,
        Err(why) => return findings.fail(broken(&why), INSTALL),
    };
    match trial.plain {
        Ok(()) => findings.ok("specs are evaluated; flakes need no setting"),
        Err(why) => findings.fail(broken(&why), INSTALL),
    }
    match trial.restricted {
        true => findings.ok("a spec can read nothing but the specs (restricted mode)"),
        false => findings.fail(
            "a spec can read files outside of the specs: restricted mode does not work",
            INSTALL,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Level, levels};

    #[test]
    fn a_nix_that_is_not_restricted_fails() {
        let judged = |trial| {
            let mut findings = Findings::of("nix");
            judge_evaluation(&mut findings, trial);
            levels(&findings)
        };
        let trial = |plain, restricted| Ok(Trial { plain, restricted });
        assert_eq!(judged(trial(Ok(()), true)), [Level::Ok, Level::Ok]);
        assert_eq!(judged(trial(Ok(()), false)), [Level::Ok, Level::Fail]);
        let broken = Err("no store".to_owned());
        assert_eq!(judged(trial(broken, true)), [Level::Fail, Level::Ok]);
        assert_eq!(judged(Err("no room".to_owned())), [Level::Fail]);
    }

    #[test]
    fn the_installed_nix_is_tried_for_real() {
        let Ok(trial) = trial(&EvalOptions::default()) else {
            return assert!(
                NixInfo::detect().is_none(),
                "Nix is there and was not tried"
            );
        };
        assert_eq!(trial.plain, Ok(()));
        assert!(trial.restricted);
    }
}
