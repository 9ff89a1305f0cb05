//! Golden specs: what is valid arrives as declared, what is not is explained word for word.
//!
//! `tests/specs/invalid` holds files and directories, each with its expected output beside it
//! (`NAME.txt`). After a wanted change: `OSMODA_BLESS=1 cargo test -p osmoda-node --test specs`,
//! and read the difference.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use osmoda_core::{
    name::AgentName,
    spec::{
        Agent, AgentSpec, Alert, AlertProvider, Anchor, Backoff, CpuRunaway, Credential, Heartbeat,
        HeartbeatSource, LedgerSettings, Node, NodeRollback, Operators, Probe, ProbeCheck, Probes,
        Resources, Restart, RestartPolicy, Rollback, Rollout, Sandbox, Scheme, Severity, Signal,
        Stop, SystemRollback,
    },
    units::{ByteSize, CpuPercent, Period},
};
use osmoda_node::specs::{
    LoadOptions, Loaded, ManifestFormat, SpecsRef, load, load_manifest, render_errors,
    render_manifests,
};

fn load_path(path: &Path) -> Loaded {
    let specs = SpecsRef::Path(path.to_owned());
    load(&specs, &LoadOptions::default()).expect("SPECS can be read")
}

fn valid() -> Loaded {
    let loaded = load_path(Path::new("tests/specs/valid"));
    assert_eq!(render_errors(&loaded.rejected, false), "");
    loaded
}

fn agent<'a>(loaded: &'a Loaded, name: &str) -> &'a Agent {
    &loaded.agents.get(name).expect("the agent is valid").agent
}

fn name(text: &str) -> AgentName {
    AgentName::new(text).unwrap()
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

fn pairs<const N: usize>(texts: [(&str, &str); N]) -> BTreeMap<String, String> {
    texts
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Compares with the golden file, or rewrites it.
fn check_golden(path: &Path, actual: &str) -> Result<(), String> {
    if std::env::var_os("OSMODA_BLESS").is_some() {
        fs::write(path, actual).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return Ok(());
    }
    Err(format!(
        "{} differs\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    ))
}

#[test]
fn every_mistake_is_explained_as_in_its_golden_file() {
    let directory = Path::new("tests/specs/invalid");
    let entries = fs::read_dir(directory).unwrap();
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_none_or(|end| end != "txt"));
    cases.sort();
    let mut failures = Vec::new();
    for case in &cases {
        let loaded = load_path(case);
        let mut text = render_errors(&loaded.rejected, false);
        let valid: Vec<&str> = loaded.agents.keys().map(AsRef::as_ref).collect();
        text.push_str(&format!("valid: {}\n", valid.join(" ")));
        for rejected in &loaded.rejected {
            let names: Vec<&str> = rejected.agents.iter().map(AsRef::as_ref).collect();
            let node = if rejected.node { " Node" } else { "" };
            let more = if rejected.incomplete { " …" } else { "" };
            let file = rejected.file.display();
            text.push_str(&format!(
                "refused: {file}: {}{node}{more}\n",
                names.join(" ")
            ));
        }
        let mut golden = case.clone().into_os_string();
        golden.push(".txt");
        failures.extend(check_golden(Path::new(&golden), &text).err());
    }
    assert!(cases.len() >= 20, "the golden files are there");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn defaults_are_those_of_the_contract() {
    let loaded = valid();
    let agent = agent(&loaded, "minimal");
    assert_eq!(agent.labels, BTreeMap::new());
    let expected = AgentSpec {
        command: strings(["/bin/true"]),
        environment: BTreeMap::new(),
        credentials: BTreeMap::new(),
        working_directory: None,
        user: None,
        group: None,
        depends_on: Vec::new(),
        heartbeat: None,
        probes: Probes {
            startup: None,
            readiness: None,
            liveness: None,
        },
        resources: Resources {
            memory_high: None,
            memory_max: None,
            cpu_max: None,
            cpu_runaway: None,
            tasks_max: None,
        },
        restart: Restart {
            policy: RestartPolicy::Always,
            backoff: Backoff {
                initial: Period::millis(100),
                factor_milli: 2000,
                max: Period::secs(5 * 60),
                jitter_milli: 100,
                reset_after: Period::secs(10 * 60),
            },
            max_restarts: 5,
            within: Period::secs(10 * 60),
        },
        stop: Stop {
            signal: Signal(15),
            grace_period: Period::secs(10),
        },
        rollout: Rollout {
            progress_deadline: Period::secs(2 * 60),
            min_ready: Period::secs(10),
            rollback: Rollback::Agent,
            suspect_for: Period::secs(24 * 3600),
            history_limit: 10,
        },
        sandbox: None,
    };
    assert_eq!(*agent.spec, expected);
}

#[test]
fn nested_defaults_are_those_of_the_contract() {
    let yaml = "
apiVersion: osmoda/v1
kind: Agent
metadata: {name: nested}
spec:
  command: [a]
  heartbeat: {source: Notify}
  probes: {readiness: {httpGet: {port: 80}}, startup: {tcpSocket: {port: 80}}}
  resources: {cpu: {runaway: {}}}
---
apiVersion: osmoda/v1
kind: Node
";
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), yaml).unwrap();
    let loaded = load_path(directory.path());
    let spec = &agent(&loaded, "nested").spec;
    let heartbeat = spec.heartbeat.as_ref().unwrap();
    assert_eq!(heartbeat.timeout, Period::secs(15));
    let probe = |check| Probe {
        check,
        initial_delay: Period::secs(0),
        period: Period::millis(500),
        retry_interval: Period::millis(200),
        timeout: Period::secs(1),
        success_threshold: 1,
        failure_threshold: 3,
    };
    let http = ProbeCheck::HttpGet {
        host: "127.0.0.1".to_owned(),
        port: 80,
        path: "/".to_owned(),
        scheme: Scheme::Http,
        headers: BTreeMap::new(),
        expect: (200, 399),
    };
    let tcp = ProbeCheck::TcpSocket {
        host: "127.0.0.1".to_owned(),
        port: 80,
    };
    assert_eq!(spec.probes.readiness, Some(probe(http)));
    assert_eq!(spec.probes.startup, Some(probe(tcp)));
    let runaway = CpuRunaway {
        above: CpuPercent(95),
        window: Period::secs(120),
    };
    assert_eq!(spec.resources.cpu_runaway, Some(runaway));
    let node = &loaded.node.as_ref().unwrap().node;
    let rollback = NodeRollback {
        system: SystemRollback::Auto,
        budget: 3,
        per: Period::secs(24 * 3600),
    };
    let expected = Node {
        name: None,
        operators: Operators::default(),
        metrics: None,
        health_checks: BTreeMap::new(),
        rollback,
        alerts: Vec::new(),
        ledger: LedgerSettings {
            checkpoint_every: Period::secs(30),
            anchors: Vec::new(),
        },
    };
    assert_eq!(*node, expected);
}

#[test]
fn every_field_of_an_agent_arrives_as_declared() {
    let loaded = valid();
    let agent = agent(&loaded, "everything");
    let labels = [("osmoda.dev/tier", "1"), ("team", "research")];
    assert_eq!(agent.labels, pairs(labels));
    assert_eq!(*agent.spec, everything());
}

fn everything() -> AgentSpec {
    let credential = |path: &str, variable: Option<&str>| Credential {
        path: path.to_owned(),
        environment_variable: variable.map(str::to_owned),
    };
    AgentSpec {
        command: strings(["/usr/bin/python3", "worker.py", "--port", "8080", ""]),
        environment: pairs([("EMPTY", ""), ("MODE", "fast")]),
        credentials: [
            (
                "OPENAI_API_KEY".to_owned(),
                credential("/run/secrets/openai", Some("OPENAI_API_KEY")),
            ),
            ("cert.pem".to_owned(), credential("/run/secrets/cert", None)),
        ]
        .into(),
        working_directory: Some("/var/lib/everything".to_owned()),
        user: Some("alice".to_owned()),
        group: Some("agents".to_owned()),
        depends_on: vec![name("minimal"), name("listed")],
        heartbeat: Some(Heartbeat {
            source: HeartbeatSource::File("/run/everything/alive".to_owned()),
            timeout: Period::secs(90),
        }),
        probes: every_probe(),
        resources: Resources {
            memory_high: Some(ByteSize(512 << 20)),
            memory_max: Some(ByteSize(1 << 30)),
            cpu_max: Some(CpuPercent(150)),
            cpu_runaway: Some(CpuRunaway {
                above: CpuPercent(90),
                window: Period::secs(300),
            }),
            tasks_max: Some(64),
        },
        restart: Restart {
            policy: RestartPolicy::OnFailure,
            backoff: Backoff {
                initial: Period::millis(200),
                factor_milli: 1500,
                max: Period::secs(60),
                jitter_milli: 250,
                reset_after: Period::secs(3600),
            },
            max_restarts: 3,
            within: Period::secs(60),
        },
        stop: Stop {
            signal: Signal(2),
            grace_period: Period::secs(30),
        },
        rollout: Rollout {
            progress_deadline: Period::secs(300),
            min_ready: Period::secs(60),
            rollback: Rollback::System,
            suspect_for: Period::secs(7 * 86_400),
            history_limit: 3,
        },
        sandbox: Some(Sandbox::Off),
    }
}

fn every_probe() -> Probes {
    let tcp = ProbeCheck::TcpSocket {
        host: "localhost".to_owned(),
        port: 8080,
    };
    let http = ProbeCheck::HttpGet {
        host: "::1".to_owned(),
        port: 8080,
        path: "/readyz?full=1".to_owned(),
        scheme: Scheme::Https,
        headers: pairs([("Accept", "application/json")]),
        expect: (200, 204),
    };
    let exec = ProbeCheck::Exec {
        command: strings(["/bin/check", "--quick"]),
    };
    Probes {
        startup: Some(Probe {
            check: tcp,
            initial_delay: Period::secs(1),
            period: Period::secs(2),
            retry_interval: Period::millis(100),
            timeout: Period::secs(3),
            success_threshold: 2,
            failure_threshold: 30,
        }),
        readiness: Some(Probe::new(http)),
        liveness: Some(Probe::new(exec)),
    }
}

#[test]
fn every_field_of_a_node_arrives_as_declared() {
    let loaded = valid();
    let telegram = Alert {
        name: "ops".to_owned(),
        provider: AlertProvider::Telegram,
        url_file: None,
        key_file: Some("/run/secrets/telegram".to_owned()),
        chat_id: Some("-100".to_owned()),
        min_severity: Severity::Critical,
        labels: pairs([("team", "research")]),
        kinds: strings(["FailureDetected", "EscalationExhausted"]),
    };
    let pager = Alert {
        name: "pager".to_owned(),
        provider: AlertProvider::PagerDuty,
        url_file: None,
        key_file: Some("/run/secrets/pager".to_owned()),
        chat_id: None,
        min_severity: Severity::Warning,
        labels: BTreeMap::new(),
        kinds: Vec::new(),
    };
    let key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let check = ProbeCheck::Mcp {
        url: "http://127.0.0.1:9000/mcp".to_owned(),
    };
    let expected = Node {
        name: Some("host-1.example".to_owned()),
        operators: Operators {
            users: strings(["alice"]),
            groups: strings(["wheel"]),
        },
        metrics: Some("[::1]:9464".parse().unwrap()),
        health_checks: [("gateway".to_owned(), Probe::new(check))].into(),
        rollback: NodeRollback {
            system: SystemRollback::Never,
            budget: 1,
            per: Period::secs(3600),
        },
        alerts: vec![telegram, pager],
        ledger: LedgerSettings {
            checkpoint_every: Period::secs(10),
            anchors: vec![
                Anchor::Directory("/mnt/anchor".to_owned()),
                Anchor::Webhook {
                    url_file: "/run/secrets/anchor".to_owned(),
                },
                Anchor::Witness {
                    url: "https://witness.example".to_owned(),
                    key: key.to_owned(),
                },
            ],
        },
    };
    assert_eq!(loaded.node.unwrap().node, expected);
}

#[test]
fn documents_lists_line_endings_and_byte_order_marks_do_not_matter() {
    let loaded = valid();
    let names: Vec<&str> = loaded.agents.keys().map(AsRef::as_ref).collect();
    let expected = [
        "everything",
        "first",
        "listed",
        "minimal",
        "second",
        "windows",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        agent(&loaded, "windows").spec,
        agent(&loaded, "minimal").spec
    );
    let probes = &agent(&loaded, "first").spec.probes;
    assert_eq!(probes.liveness, probes.readiness);
}

#[test]
fn a_manifest_is_what_was_written_in_canonical_form() {
    let loaded = valid();
    assert_eq!(
        &*agent(&loaded, "minimal").manifest,
        r#"{"apiVersion":"osmoda/v1","kind":"Agent","metadata":{"name":"minimal"},"spec":{"command":["/bin/true"]}}"#
    );
    assert_eq!(
        &*agent(&loaded, "listed").manifest,
        r#"{"apiVersion":"osmoda/v1","kind":"Agent","metadata":{"name":"listed"},"spec":{"command":["/bin/true"],"heartbeat":{"source":"Notify"}}}"#
    );
}

#[test]
fn spelling_does_not_change_a_manifest() {
    let manifest = |spec: &str| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        let text =
            format!("kind: Agent\napiVersion: osmoda/v1\nmetadata: {{name: a}}\nspec: {spec}\n");
        fs::write(&file, text).unwrap();
        agent(&load_path(&file), "a").manifest.clone()
    };
    let plain = manifest("{command: [a], restart: {backoff: {factor: 2, jitter: 0.25}}}");
    let odd = "{restart: {backoff: {jitter: 25e-2, factor: 2.0}}, \"command\": ['a']}";
    assert_eq!(manifest(odd), plain);
    assert_ne!(manifest("{command: [b]}"), plain);
}

#[test]
fn a_manifest_reads_back_as_the_same_agent() {
    for loaded in valid().agents.values() {
        let agent = load_manifest(&loaded.agent.manifest).expect("a valid manifest");
        assert_eq!(agent, *loaded.agent);
    }
    let errors = load_manifest("{\"kind\":\"Agent\"}").unwrap_err();
    let codes: Vec<&str> = errors.iter().map(|error| error.code()).collect();
    assert_eq!(codes, ["missing-field"; 3]);
    assert_eq!(load_manifest("{").unwrap_err().len(), 1);
    let node = r#"{"apiVersion":"osmoda/v1","kind":"Node"}"#;
    let errors = load_manifest(node).unwrap_err();
    assert_eq!(errors[0].to_string(), "kind is `Node`; it must be Agent");
}

#[test]
fn rendered_manifests_declare_the_same_again() {
    let loaded = valid();
    for (format, file) in [
        (ManifestFormat::Yaml, "all.yaml"),
        (ManifestFormat::Json, "all.json"),
    ] {
        let text = render_manifests(&loaded, format).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(file), text).unwrap();
        let again = load_path(directory.path());
        assert_eq!(render_errors(&again.rejected, false), "");
        let manifests = |loaded: &Loaded| -> Vec<_> {
            let agents = loaded.agents.values();
            agents.map(|agent| agent.agent.manifest.clone()).collect()
        };
        assert_eq!(manifests(&again), manifests(&loaded));
        let node = |loaded: &Loaded| loaded.node.as_ref().map(|node| node.manifest.clone());
        assert_eq!(node(&again), node(&loaded));
    }
}

#[test]
fn colour_is_only_added_when_asked_for() {
    let loaded = load_path(Path::new("tests/specs/invalid/types.yaml"));
    let plain = render_errors(&loaded.rejected, false);
    let coloured = render_errors(&loaded.rejected, true);
    assert!(!plain.contains('\u{1b}'));
    assert!(coloured.contains("\u{1b}["));
}
