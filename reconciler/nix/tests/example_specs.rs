//! The example agents in specs/: they evaluate, and their programs do what they say.

#![expect(clippy::unwrap_used, reason = "a fixture fails as its test does")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use osmoda_core::spec::{
    API_VERSION,
    decode::decode,
    tree::{Key, Span, Tree, Value},
};
use osmoda_nix::eval::{EvalOptions, NixInfo, NixSource, evaluate_specs};

/// Longest wait for a program to start, work or end.
const PATIENCE: Duration = Duration::from_secs(30);

fn specs() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../../specs").canonicalize().unwrap()
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skipped(what: &str) {
    eprintln!("skipped: {what} is not installed");
}

fn get<'a>(tree: &'a Tree, name: &str) -> Option<&'a Tree> {
    match &tree.value {
        Value::Map(entries) => entries.iter().find(|(k, _)| k.text == name).map(|(_, t)| t),
        _ => None,
    }
}

#[test]
fn the_examples_evaluate_and_name_programs_that_exist() {
    if NixInfo::detect().is_none() {
        return skipped("nix");
    }
    let found = evaluate_specs(&NixSource::Directory(specs()), &EvalOptions::default()).unwrap();
    let names: Vec<_> = found.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["researcher", "summarizer", "toolbox"]);
    for spec in &found {
        let tree = spec.result.as_ref().unwrap();
        let tree = get(tree, "spec").unwrap_or(tree);
        let Some(Value::List(argv)) = get(tree, "command").map(|t| &t.value) else {
            panic!("{} has no command", spec.name)
        };
        let program = specs().join(format!("programs/{}.py", spec.name));
        let expected = Value::String(program.display().to_string());
        assert_eq!(argv[1].value, expected);
        assert!(program.is_file());
    }
}

#[test]
fn the_example_for_nixos_evaluates_with_a_nixpkgs() {
    if NixInfo::detect().is_none() {
        return skipped("nix");
    }
    let nixpkgs = tempfile::tempdir().unwrap();
    let packages = "{ }: rec { drv = name: derivation { inherit name; system = \"x86_64-linux\"; \
        builder = \"/bin/sh\"; }; python3 = drv \"python3\"; \
        writeShellApplication = { name, text, ... }: drv name; \
        lib.getExe = p: \"${p}/bin/${p.name}\"; }";
    fs::write(nixpkgs.path().join("default.nix"), packages).unwrap();
    let options = EvalOptions {
        nixpkgs: Some(nixpkgs.path().to_path_buf()),
        ..EvalOptions::default()
    };
    let file = NixSource::File(specs().join("_nixos-example.nix"));
    let found = evaluate_specs(&file, &options).unwrap();
    let tree = found[0].result.as_ref().unwrap();
    let Value::List(argv) = &get(tree, "command").unwrap().value else {
        panic!("a command is a list")
    };
    let Value::String(program) = &argv[0].value else {
        panic!("argv is text")
    };
    assert!(program.starts_with("/nix/store/") && program.ends_with("-researcher/bin/researcher"));
}

/// The manifest that a spec in a file of its own stands for.
fn manifest(name: &str, tree: &Tree) -> Tree {
    let entry = |name: &str, tree: Tree| {
        let key = Key {
            span: Span::default(),
            text: name.to_owned(),
        };
        (key, tree)
    };
    let node = |value| Tree {
        span: Span::default(),
        value,
    };
    let text = |text: &str| node(Value::String(text.to_owned()));
    let mut metadata = vec![entry("name", text(name))];
    metadata.extend(get(tree, "labels").map(|labels| entry("labels", labels.clone())));
    let spec = get(tree, "spec").unwrap_or(tree).clone();
    node(Value::Map(vec![
        entry("apiVersion", text(API_VERSION)),
        entry("kind", text("Agent")),
        entry("metadata", node(Value::Map(metadata))),
        entry("spec", spec),
    ]))
}

#[test]
fn the_examples_are_valid_specs() {
    if NixInfo::detect().is_none() {
        return skipped("nix");
    }
    let found = evaluate_specs(&NixSource::Directory(specs()), &EvalOptions::default()).unwrap();
    assert!(!found.is_empty());
    for spec in &found {
        let document = manifest(&spec.name, spec.result.as_ref().unwrap());
        assert!(
            decode(&document).is_ok(),
            "{}: {:?}",
            spec.name,
            decode(&document).err()
        );
    }
}

/// A program of specs/programs that ends with the test.
struct Running(Child);

impl Running {
    fn start(program: &str, environment: &[(&str, &str)]) -> Self {
        let child = Command::new("python3")
            .arg(specs().join("programs").join(program))
            .envs(environment.iter().copied())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// SIGTERM, and the exit code that follows.
    fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = until("the program ends", || self.0.try_wait().unwrap());
        status.code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Waits for a condition, within [`PATIENCE`].
fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

/// One HTTP exchange: status and body; `None` if nobody answers.
fn http(port: &str, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

fn python_is_here() -> bool {
    let found = Command::new("python3").arg("--version").output();
    found.is_ok_and(|output| output.status.success())
}

#[test]
fn the_summarizer_has_its_jobs_done_by_the_researcher() {
    if !python_is_here() {
        return skipped("python3");
    }
    let dir = tempfile::tempdir().unwrap();
    let (sources, spool) = (dir.path().join("sources"), dir.path().join("spool"));
    fs::create_dir(&sources).unwrap();
    fs::write(
        sources.join("a.txt"),
        "to reconcile\nand again: Reconcile\n",
    )
    .unwrap();
    let port = free_port();
    let researcher = Running::start(
        "researcher.py",
        &[
            ("RESEARCHER_PORT", &port),
            ("RESEARCHER_SOURCES", sources.to_str().unwrap()),
        ],
    );
    until("the researcher is ready", || {
        http(&port, "GET", "/readyz", "").filter(|(status, _)| *status == 200)
    });
    assert_eq!(http(&port, "GET", "/search?q=", "").unwrap().0, 400);
    assert_eq!(http(&port, "GET", "/nowhere", "").unwrap().0, 404);

    fs::create_dir_all(spool.join("jobs")).unwrap();
    fs::write(spool.join("jobs/first.txt"), "reconcile\nabsent\n").unwrap();
    fs::write(spool.join("jobs/empty.txt"), "\n").unwrap();
    let summarizer = Running::start(
        "summarizer.py",
        &[
            ("SUMMARIZER_SPOOL", spool.to_str().unwrap()),
            ("SUMMARIZER_RESEARCHER", &format!("http://127.0.0.1:{port}")),
        ],
    );
    let result = until("the job is done", || {
        fs::read_to_string(spool.join("results/first.json")).ok()
    });
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["summary"]["reconcile"]["matches"], 2);
    assert_eq!(result["summary"]["reconcile"]["files"][0], "a.txt");
    assert_eq!(result["summary"]["absent"]["matches"], 0);
    until("the job leaves the queue", || {
        (!spool.join("jobs/first.txt").exists()).then_some(())
    });
    assert!(spool.join("failed/empty.txt").exists());

    assert_eq!(summarizer.stop(), Some(0));
    assert_eq!(researcher.stop(), Some(0));
}

#[test]
fn the_researcher_sends_heartbeats() {
    if !python_is_here() {
        return skipped("python3");
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let receiver = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let researcher = Running::start(
        "researcher.py",
        &[
            ("RESEARCHER_PORT", &free_port()),
            ("RESEARCHER_SOURCES", dir.path().to_str().unwrap()),
            ("NOTIFY_SOCKET", socket.to_str().unwrap()),
            ("WATCHDOG_USEC", "200000"),
        ],
    );
    let mut wanted = vec!["READY=1", "WATCHDOG=1"];
    let mut buffer = [0; 4096];
    until("ready, and alive", || {
        let count = receiver.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        wanted.retain(|state| !text.contains(state));
        wanted.is_empty().then_some(())
    });
    assert_eq!(researcher.stop(), Some(0));
}

#[test]
fn the_toolbox_speaks_mcp() {
    if !python_is_here() {
        return skipped("python3");
    }
    let port = free_port();
    let toolbox = Running::start("toolbox.py", &[("TOOLBOX_PORT", &port)]);
    let call = |method: &str, params: &str| {
        let body =
            format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{params}}}");
        let (status, answer) = until("the toolbox answers", || http(&port, "POST", "/mcp", &body));
        assert_eq!(status, 200);
        serde_json::from_str::<serde_json::Value>(&answer).unwrap()
    };
    let version = |asked: &str| {
        let answer = call(
            "initialize",
            &format!("{{\"protocolVersion\":\"{asked}\"}}"),
        );
        answer["result"]["protocolVersion"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(version("2025-03-26"), "2025-03-26");
    assert_eq!(version("1999-01-01"), "2025-06-18");
    assert_eq!(call("ping", "{}")["result"], serde_json::json!({}));
    let tools = call("tools/list", "{}");
    assert_eq!(tools["result"]["tools"][0]["name"], "word_count");
    let counted = call(
        "tools/call",
        "{\"name\":\"word_count\",\"arguments\":{\"text\":\"two words\"}}",
    );
    let text = &counted["result"]["content"][0]["text"];
    assert_eq!(text, "2 words, 1 lines, 9 characters");
    let failed = call("tools/call", "{\"name\":\"time_in\",\"arguments\":{}}");
    assert_eq!(failed["result"]["isError"], true);
    assert_eq!(call("nonsense", "{}")["error"]["code"], -32601);
    assert_eq!(
        call("tools/call", "{\"name\":\"rm\"}")["error"]["code"],
        -32602
    );

    let initialized = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";
    assert_eq!(http(&port, "POST", "/mcp", initialized).unwrap().0, 202);
    assert_eq!(http(&port, "POST", "/mcp", "{").unwrap().0, 400);
    assert_eq!(http(&port, "GET", "/mcp", "").unwrap().0, 405);
    assert_eq!(toolbox.stop(), Some(0));
}
