//! The runtime that would be used, its cgroups, and the kernel.

use osmoda_runtime::{
    native::survey::{self, CgroupSurvey, Feature},
    systemd::{self, Survey},
};

use super::Findings;
use crate::{
    daemon::{RuntimeChoice, RuntimeKind, choose},
    error::chain,
};

/// What a controller enforces, by its name.
const ENFORCES: [(&str, &str); 3] = [
    (
        "memory",
        "resources.memory.max is not enforced, memory is summed over processes, and an OOM kill \
         cannot be told from another SIGKILL",
    ),
    ("cpu", "resources.cpu.max is not enforced"),
    ("pids", "resources.tasksMax is not enforced"),
];

const DELEGATE: &str = "run the daemon as a service with Delegate=yes \
    (contrib/systemd/osmoda.service), on a host that boots with cgroup v2 alone";

/// The runtime that is taken on this host, and what is found about it.
pub(super) fn runtime(wanted: RuntimeChoice, daemon: Option<u32>) -> (RuntimeKind, Findings) {
    let mut findings = Findings::of("runtime");
    let (kind, why) = choose(wanted, systemd::check()).unwrap_or_else(|why| {
        findings.fail(
            format!("systemd: {why}"),
            "use --runtime native; what follows is about that one",
        );
        (RuntimeKind::Native, None)
    });
    match kind {
        RuntimeKind::Native => findings.ok(format!(
            "native: agents are children of the daemon{}",
            why.map(|why| format!(" ({why})")).unwrap_or_default()
        )),
        RuntimeKind::Systemd => match systemd::survey() {
            Ok(survey) => judge_systemd(&mut findings, &survey),
            Err(error) => findings.fail(
                format!("systemd: {}", chain(&error)),
                "or use --runtime native",
            ),
        },
    }
    match daemon {
        Some(pid) => findings.ok(format!("a daemon is at work: pid {pid}")),
        None => findings.ok("no daemon is at work in this state directory"),
    }
    (kind, findings)
}

fn judge_systemd(findings: &mut Findings, survey: &Survey) {
    findings.ok(format!(
        "systemd {}: agents are units in osmoda.slice, each with a sandbox",
        survey.version
    ));
    match &survey.journal {
        Ok(()) => findings.ok("the journal keeps what agents write"),
        Err(why) => findings.fail(
            format!("the journal cannot be read, and with it what agents write: {why}"),
            "start systemd-journald, and install journalctl",
        ),
    }
    for (controller, effect) in ENFORCES {
        if !survey.controllers.iter().any(|known| known == controller) {
            findings.warn(
                format!("no {controller} controller: {effect}"),
                "boot with cgroup v2 alone and without cgroup_disable=; in a container, have it \
                 passed on",
            );
        }
    }
}

pub(super) fn cgroups(daemon: Option<u32>) -> Findings {
    judge_cgroups(survey::cgroups(daemon), daemon.is_some())
}

fn judge_cgroups(survey: Result<CgroupSurvey, String>, of_daemon: bool) -> Findings {
    let mut findings = Findings::of("cgroups");
    let survey = match survey {
        Ok(survey) => survey,
        Err(why) => {
            let worse = "no limit is enforced, and what an agent starts can escape its end with \
                         setsid and a cleared environment";
            findings.warn(
                format!("{why}: {worse}"),
                "mount cgroup v2 at /sys/fs/cgroup",
            );
            return findings;
        }
    };
    let whose = match of_daemon {
        true => "of the daemon",
        false => "of this shell; a daemon started as a service has its own",
    };
    let parent = survey.parent.display();
    match &survey.creatable {
        Ok(()) => findings.ok(format!(
            "v2, {parent} ({whose}); agents get their own below"
        )),
        Err(why) => findings.warn(
            format!("no cgroup can be made in {parent} ({whose}): {why}"),
            DELEGATE,
        ),
    }
    match (&survey.creatable, survey.kill) {
        (Err(_), _) => {}
        (Ok(()), true) => findings.ok("cgroup.kill: a whole tree is killed at once"),
        (Ok(()), false) => findings.warn(
            "no cgroup.kill: the processes of a tree are killed one by one",
            "Linux 5.14 or later has it",
        ),
    }
    if !survey.controllers.is_empty() {
        findings.ok(format!("controllers: {}", survey.controllers.join(", ")));
    }
    for (controller, why) in survey.missing {
        let effect = ENFORCES.iter().find(|(name, _)| *name == controller);
        let effect = effect.map_or("", |(_, effect)| effect);
        findings.warn(
            format!("no {controller} controller, {why}: {effect}"),
            DELEGATE,
        );
    }
    findings
}

pub(super) fn kernel() -> Findings {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    judge_kernel(&release, survey::kernel_features())
}

fn judge_kernel(release: &str, features: Vec<Feature>) -> Findings {
    let mut findings = Findings::of("kernel");
    let mut working = Vec::new();
    for feature in features {
        let (name, since) = (feature.name, feature.since);
        match (feature.works, feature.without) {
            (Ok(()), _) => working.push(name),
            (Err(error), "") => findings.fail(
                format!("{name} does not work ({error}): no agent can be watched"),
                format!("use Linux {since} or later, and let the container's filter allow it"),
            ),
            (Err(error), without) => findings.warn(
                format!("{name} does not work ({error}): {without}"),
                format!("Linux {since} or later has it, unless a container's filter forbids it"),
            ),
        }
    }
    findings.ok(format!("Linux {release}: {} work", working.join(", ")));
    findings
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::doctor::{Level, levels};

    fn survey(creatable: Result<(), String>) -> CgroupSurvey {
        CgroupSurvey {
            parent: "/sys/fs/cgroup/a".into(),
            creatable,
            kill: true,
            controllers: vec!["pids"],
            missing: vec![("memory", "it is not offered".to_owned())],
        }
    }

    #[test]
    fn under_systemd_the_journal_is_needed_and_missing_controllers_are_told() {
        let judged = |journal: Result<(), String>, controllers: &[&str]| {
            let mut findings = Findings::of("runtime");
            let controllers = controllers.iter().map(|&name| name.to_owned()).collect();
            let survey = Survey {
                version: 252,
                controllers,
                journal,
            };
            judge_systemd(&mut findings, &survey);
            levels(&findings)
        };
        let all = ["cpu", "io", "memory", "pids"];
        assert_eq!(judged(Ok(()), &all), [Level::Ok, Level::Ok]);
        assert_eq!(judged(Err("no".to_owned()), &all), [Level::Ok, Level::Fail]);
        let some = judged(Ok(()), &["memory"]);
        assert_eq!(some, [Level::Ok, Level::Ok, Level::Warn, Level::Warn]);
    }

    #[test]
    fn a_missing_controller_says_what_is_not_enforced() {
        let findings = judge_cgroups(Ok(survey(Ok(()))), true);
        assert_eq!(
            levels(&findings),
            [Level::Ok, Level::Ok, Level::Ok, Level::Warn]
        );
        let last = findings.all.last().unwrap();
        assert!(
            last.message
                .contains("resources.memory.max is not enforced")
        );
        assert!(last.remedy.contains("Delegate=yes"));
    }

    #[test]
    fn without_a_cgroup_what_may_escape_is_said() {
        let none = judge_cgroups(Err("no cgroup v2 file system is mounted".to_owned()), false);
        assert_eq!(levels(&none), [Level::Warn]);
        assert!(none.all[0].message.contains("setsid"));
        let refused = judge_cgroups(Ok(survey(Err("Permission denied".to_owned()))), false);
        assert_eq!(levels(&refused), [Level::Warn, Level::Ok, Level::Warn]);
    }

    #[test]
    fn only_what_nothing_works_without_fails() {
        let feature = |name, works, without| Feature {
            name,
            since: "5.3",
            works,
            without,
        };
        let missing = || Err(io::ErrorKind::Unsupported.into());
        let findings = judge_kernel(
            "5.2",
            vec![
                feature("a", Ok(()), ""),
                feature("b", missing(), "slower"),
                feature("c", missing(), ""),
            ],
        );
        assert_eq!(levels(&findings), [Level::Warn, Level::Fail, Level::Ok]);
        assert_eq!(findings.all[2].message, "Linux 5.2: a work");
    }
}
