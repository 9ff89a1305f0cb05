//! Evaluation with the real Nix.

use std::{fs, path::PathBuf, sync::OnceLock};

use osmoda_core::spec::tree::Value;
use tempfile::TempDir;

use super::*;

/// Whether Nix is installed; says so if not.
pub(crate) fn nix_is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| {
        let found = NixInfo::detect();
        #[expect(clippy::print_stderr, reason = "a skipped test says why")]
        if found.is_none() {
            eprintln!("skipped: `nix` does not answer (install it: apt install nix-bin)");
        }
        found.is_some()
    })
}

/// A directory of specs.
struct Specs {
    dir: TempDir,
    options: EvalOptions,
}

impl Specs {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let options = EvalOptions::default();
        Self { dir, options }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn evaluate(&self) -> Vec<EvaluatedSpec> {
        let source = NixSource::Directory(self.dir.path().to_path_buf());
        evaluate_specs(&source, &self.options).unwrap()
    }
}

/// The one value that `text` evaluates to.
fn value(text: &str) -> Value {
    let specs = Specs::new(&[("a.nix", text)]);
    let mut all = specs.evaluate();
    all.remove(0).result.unwrap_or_else(|e| panic!("{e}")).value
}

/// What is wrong with `text`: `LINE:COLUMN: MESSAGE` for each.
fn wrong(text: &str) -> Vec<String> {
    let specs = Specs::new(&[("a.nix", text)]);
    let mut all = specs.evaluate();
    let error = all.remove(0).result.unwrap_err();
    let shown = error.diagnostics().iter();
    shown
        .map(|d| format!("{}:{}: {}", d.line, d.column, d.message))
        .collect()
}

/// A value as text: `{command: [/bin/x], probes: {...}}`.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) => format!("{f:?}"),
        Value::String(s) => s.clone(),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| show(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, tree)| format!("{}: {}", key.text, show(&tree.value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

#[test]
fn every_kind_of_value_comes_through_in_the_order_of_the_file() {
    if !nix_is_here() {
        return;
    }
    let text = "{\n  z = [ 1 (-2) ];\n  y = { b = true; n = null; };\n  f = 1.5; g = 2.0;\n  a = \"ä\\n\";\n}";
    assert_eq!(
        show(&value(text)),
        "{z: [1, -2], y: {b: true, n: null}, f: 1.5, g: 2.0, a: ä\n}"
    );
}

#[test]
fn places_are_those_of_names() {
    if !nix_is_here() {
        return;
    }
    let text = "{\n  command = [ \"x\" ];\n  probes.liveness.httpGet = { port = 1; };\n}";
    let Value::Map(entries) = value(text) else {
        panic!("a set")
    };
    let (command, argv) = &entries[0];
    let at = |s: osmoda_core::spec::tree::Span| (s.line, s.column, s.length);
    assert_eq!(at(command.span), (2, 3, 7));
    assert_eq!(argv.span, command.span);
    let Value::List(items) = &argv.value else {
        panic!("a list")
    };
    assert_eq!(items[0].span, command.span);

    let mut found = Vec::new();
    let mut rest = &entries[1];
    loop {
        found.push((rest.0.text.as_str(), at(rest.0.span)));
        match &rest.1.value {
            Value::Map(inner) => rest = &inner[0],
            _ => break,
        }
    }
    let expected = [
        ("probes", (3, 3, 6)),
        ("liveness", (3, 10, 8)),
        ("httpGet", (3, 19, 7)),
        ("port", (3, 31, 4)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_environment_does_not_leak_in() {
    if !nix_is_here() {
        return;
    }
    let text = "{ e = map builtins.getEnv [ \"PATH\" \"HOME\" \"CARGO_PKG_NAME\" ]; \
                n = builtins.nixPath == [ ] || builtins.all (e: e.prefix != \"\") builtins.nixPath; }";
    assert_eq!(show(&value(text)), "{e: [, , ], n: true}");
}

#[test]
fn nothing_outside_the_specs_can_be_reached() {
    if !nix_is_here() {
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.nix"), "{ a = 1; }").unwrap();
    let secret = outside.path().join("secret.nix");
    let secret = secret.display();
    for text in [
        "{ a = builtins.readFile \"/etc/passwd\"; }".to_owned(),
        "{ a = builtins.attrNames (builtins.readDir \"/etc\"); }".to_owned(),
        format!("{{ a = import {secret}; }}"),
        format!("{{ a = builtins.hashFile \"sha256\" {secret}; }}"),
        "{ a = builtins.fetchurl \"http://127.0.0.1:9/x\"; }".to_owned(),
        "{ a = builtins.fetchTarball \"http://127.0.0.1:9/x.tar.gz\"; }".to_owned(),
        "{ a = (builtins.fetchGit \"file:///etc\").rev; }".to_owned(),
        "{ a = builtins.getFlake \"path:/etc\"; }".to_owned(),
        "{ a = builtins.exec [ \"/bin/true\" ]; }".to_owned(),
        "{ a = import <nixpkgs> { }; }".to_owned(),
        "{ a = builtins.storePath \"/nix/store\"; }".to_owned(),
    ] {
        assert_eq!(wrong(&text).len(), 1, "{text}");
    }
}

#[test]
fn a_link_out_of_the_specs_is_no_way_out() {
    if !nix_is_here() {
        return;
    }
    let specs = Specs::new(&[("a.nix", "{ a = builtins.readFile ./link; }")]);
    std::os::unix::fs::symlink("/etc/passwd", specs.path("link")).unwrap();
    let error = specs.evaluate().remove(0).result.unwrap_err();
    assert!(matches!(error, EvalError::Eval(_)), "{error}");
}

#[test]
fn a_spec_that_is_itself_a_link_is_read() {
    if !nix_is_here() {
        return;
    }
    let elsewhere = Specs::new(&[("real.nix", "{ a = 1; }"), ("other.nix", "{ }")]);
    let specs = Specs::new(&[]);
    std::os::unix::fs::symlink(elsewhere.path("real.nix"), specs.path("a.nix")).unwrap();
    let found = specs.evaluate().remove(0);
    assert_eq!(found.name, "a");
    assert_eq!(show(&found.result.unwrap().value), "{a: 1}");
}

#[test]
fn what_would_be_built_is_not() {
    if !nix_is_here() {
        return;
    }
    let text = "let d = derivation { name = \"d\"; system = builtins.currentSystem; \
                builder = \"/bin/sh\"; }; in { a = import d; }";
    assert_eq!(wrong(text).len(), 1);
}

#[test]
fn a_derivation_reads_as_the_path_of_its_output() {
    if !nix_is_here() {
        return;
    }
    let text = "let d = derivation { name = \"prog\"; system = \"x86_64-linux\"; \
                builder = \"/bin/sh\"; }; in { command = [ \"${d}/bin/x\" d ]; }";
    let shown = show(&value(text));
    assert!(shown.starts_with("{command: [/nix/store/"), "{shown}");
    assert!(shown.contains("-prog/bin/x, /nix/store/"), "{shown}");
    assert!(shown.ends_with("-prog]}"), "{shown}");
}

#[test]
fn a_path_is_refused_wherever_it_stands_and_nothing_is_copied() {
    if !nix_is_here() {
        return;
    }
    let text = "{\n  credentials.key.path = ./key;\n  command = [ ./x \"y\" ];\n}";
    let found = wrong(text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("2:19: /"), "{found:?}");
    assert!(
        found[0].ends_with("/key is a path, not a string"),
        "{found:?}"
    );
    assert!(found[1].starts_with("3:3: /"), "{found:?}");
}

#[test]
fn a_text_that_stands_for_a_copy_in_the_store_is_refused() {
    if !nix_is_here() {
        return;
    }
    for text in [
        "{ a = \"${./a.nix}\"; }",
        "{ a = \"--config=${./a.nix}\"; }",
        "{ a = builtins.toFile \"x\" \"y\"; }",
        "{ a = { outPath = ./a.nix; }; }",
    ] {
        let found = wrong(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with("1:3: "), "{found:?}");
    }
}

#[test]
fn the_own_path_of_a_file_is_had_with_to_string() {
    if !nix_is_here() {
        return;
    }
    let specs = Specs::new(&[("a.nix", "{ a = toString ./programs/x.py; }")]);
    let found = specs.evaluate().remove(0).result.unwrap();
    let real = specs.dir.path().canonicalize().unwrap();
    let expected = format!("{{a: {}/programs/x.py}}", real.display());
    assert_eq!(show(&found.value), expected);
}

#[test]
fn a_value_without_end_is_an_error() {
    if !nix_is_here() {
        return;
    }
    let deep = "the value is nested more than 32 levels deep";
    let large = "the value is too large: more than 20000 parts";
    let cyclic = wrong("let x = { a = x; }; in { b = x; }");
    assert_eq!(cyclic.len(), 1);
    assert!(cyclic[0].ends_with(deep), "{cyclic:?}");
    let doubling = wrong("let x = { a = x; b = [ x x ]; }; in x");
    assert!(doubling[0].ends_with(large), "{doubling:?}");
    let wide = wrong("{ a = builtins.genList (i: i) 30000; }");
    assert!(wide[0].ends_with(large), "{wide:?}");
    for text in [
        "let x = x; in x",
        "let f = x: 1 + f (x + 1); in { a = f 1; }",
    ] {
        assert_eq!(wrong(text).len(), 1, "{text}");
    }
}

#[test]
fn a_function_in_a_manifest_is_refused() {
    if !nix_is_here() {
        return;
    }
    let found = wrong("{\n  hook = x: x;\n}");
    assert_eq!(found, ["2:3: a function cannot stand in a manifest"]);
    let found = wrong("{ pkgs, ... }: { lib, ... }: { }");
    assert_eq!(found, ["1:1: a function cannot stand in a manifest"]);
}

#[test]
fn a_spec_that_never_touches_pkgs_needs_none() {
    if !nix_is_here() {
        return;
    }
    let expected = "{a: 1}";
    for text in [
        "{ pkgs, lib, ... }: { a = 1; }",
        "{ lib }: { a = 1; }",
        "{ ... }: { a = 1; }",
        "args: { a = if args ? pkgs then 1 else 2; }",
        "{ pkgs ? null, other ? 1 }: { a = other; }",
    ] {
        assert_eq!(show(&value(text)), expected, "{text}");
    }
    let found = wrong("{ pkgs, ... }:\n{\n  command = [ \"${pkgs.hello}/bin/hello\" ];\n}");
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("--nixpkgs PATH"), "{found:?}");
    assert!(found[0].starts_with("3:"), "{found:?}");
}

#[test]
fn pkgs_and_lib_come_from_nixpkgs() {
    if !nix_is_here() {
        return;
    }
    let nixpkgs = Specs::new(&[
        (
            "default.nix",
            "{ ... }: { hello = derivation { name = \"hello\"; system = \"x\"; builder = \"y\"; }; }",
        ),
        (
            "lib/default.nix",
            "{ concat = builtins.concatStringsSep \"-\"; }",
        ),
    ]);
    let text = "{ pkgs, lib, ... }: { c = lib.concat [ \"a\" \"b\" ]; d = pkgs.hello; }";
    let mut specs = Specs::new(&[("a.nix", text)]);
    specs.options.nixpkgs = Some(nixpkgs.dir.path().to_path_buf());
    let found = show(&specs.evaluate().remove(0).result.unwrap().value);
    assert!(found.starts_with("{c: a-b, d: /nix/store/"), "{found}");
}

#[test]
fn broken_files_do_not_take_the_others_down() {
    if !nix_is_here() {
        return;
    }
    let specs = Specs::new(&[
        ("a.nix", "{ a = 1; }"),
        ("b.nix", "{\n  a = 1\n  b = 2;\n}"),
        ("c.nix", "{\n  a = {}.missing;\n}"),
        ("d.nix", "{ d = ./x; }"),
        ("e.nix", "import ./_shared.nix"),
        ("_shared.nix", "{\n  e = abort \"no\";\n}"),
        (".hidden.nix", "syntax error"),
        ("sub/z.nix", "{ }"),
        ("notes.yaml", "a: 1"),
    ]);
    std::os::unix::fs::symlink("nowhere", specs.path("dangling.nix")).unwrap();
    let found: Vec<(String, String)> = specs
        .evaluate()
        .into_iter()
        .map(|spec| {
            let shown = match &spec.result {
                Ok(tree) => show(&tree.value),
                Err(error @ (EvalError::Syntax(d) | EvalError::Eval(d))) => {
                    let kind = if matches!(error, EvalError::Syntax(_)) {
                        "syntax"
                    } else {
                        "eval"
                    };
                    let file = d.file.file_name().unwrap().to_string_lossy().into_owned();
                    assert!(d.column > 0);
                    format!("{kind} {file}:{}", d.line)
                }
                Err(EvalError::Refused(all)) => format!("refused {}", all.len()),
                Err(other) => format!("{other:?}").chars().take(2).collect(),
            };
            (spec.name, shown)
        })
        .collect();
    let expected = [
        ("a", "{a: 1}"),
        ("b", "syntax b.nix:3"),
        ("c", "eval c.nix:2"),
        ("d", "refused 1"),
        ("dangling", "Io"),
        ("e", "eval _shared.nix:2"),
    ];
    let expected = expected.map(|(name, shown)| (name.to_owned(), shown.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn an_evaluation_that_takes_too_long_is_stopped() {
    if !nix_is_here() {
        return;
    }
    // Counts to a number out of reach, without depth.
    let text = "{ a = builtins.length (builtins.filter (x: x < 0) (builtins.genList (i: \
                builtins.foldl' (a: b: a + b) 0 (builtins.genList (j: j) 100000)) 100000)); }";
    let mut specs = Specs::new(&[("a.nix", text)]);
    specs.options.timeout = Duration::from_secs(1);
    let error = specs.evaluate().remove(0).result.unwrap_err();
    assert!(matches!(error, EvalError::Timeout { .. }), "{error}");
    assert!(error.is_retryable());
}

#[test]
fn a_value_that_is_too_large_is_stopped() {
    if !nix_is_here() {
        return;
    }
    let text = "{ a = builtins.concatStringsSep \"x\" (builtins.genList toString 9000); }";
    let mut specs = Specs::new(&[("a.nix", text)]);
    specs.options.max_output = 10_000;
    let error = specs.evaluate().remove(0).result.unwrap_err();
    assert!(matches!(error, EvalError::TooLarge { .. }), "{error}");
}

#[test]
fn without_nix_the_package_is_named() {
    let mut specs = Specs::new(&[("a.nix", "{ }"), ("b.nix", "{ }")]);
    specs.options.program_dir = Some(specs.path("no-such-directory"));
    let source = NixSource::Directory(specs.dir.path().to_path_buf());
    let error = evaluate_specs(&source, &specs.options).unwrap_err();
    assert!(matches!(error, EvalError::NixMissing { .. }), "{error}");
    assert!(error.to_string().contains("apt install nix-bin"), "{error}");
    assert_eq!(NixInfo::detect_with(&specs.options), None);
}

#[test]
fn a_directory_without_specs_gives_none_and_needs_no_nix() {
    let mut specs = Specs::new(&[("a.yaml", ""), ("_a.nix", "")]);
    specs.options.program_dir = Some(specs.path("no-such-directory"));
    assert!(specs.evaluate().is_empty());
    let source = NixSource::Directory(specs.path("absent"));
    let error = evaluate_specs(&source, &specs.options).unwrap_err();
    assert!(matches!(error, EvalError::Io { .. }), "{error}");
}

#[test]
fn odd_names_of_directories_are_no_obstacle() {
    if !nix_is_here() {
        return;
    }
    let odd = "a=b \"c\" ${d} :e";
    let specs = Specs::new(&[
        (&format!("{odd}/a.nix"), "{ a = import ./_b.nix; }"),
        (&format!("{odd}/_b.nix"), "7"),
    ]);
    let file = NixSource::File(specs.path(odd).join("a.nix"));
    let mut found = evaluate_specs(&file, &specs.options).unwrap();
    assert_eq!(show(&found.remove(0).result.unwrap().value), "{a: 7}");
}

/// A store of the test's own, so that evaluating a flake leaves nothing in the machine's.
fn flake(output: &str) -> (Specs, Result<Vec<EvaluatedSpec>, EvalError>) {
    let text = format!("{{ outputs = {{ self }}: {{ agents = {output}; }}; }}");
    let mut specs = Specs::new(&[("flake.nix", &text), ("x.py", "")]);
    specs.options.store = Some(format!("local?root={}", specs.path("store").display()));
    // The store must not be part of the flake's own source.
    let source = specs.path("source");
    fs::create_dir(&source).unwrap();
    for file in ["flake.nix", "x.py"] {
        fs::rename(specs.path(file), source.join(file)).unwrap();
    }
    let reference = NixSource::Flake(format!("path:{}#agents", source.display()));
    let result = evaluate_specs(&reference, &specs.options);
    (specs, result)
}

#[test]
fn a_flake_gives_specs_by_name() {
    if !nix_is_here() {
        return;
    }
    let output = "{ one = { command = [ \"${self}/x.py\" ]; }; two = { lib, ... }: { b = 2; }; }";
    let (_specs, found) = flake(output);
    let shown: Vec<_> = found
        .unwrap_or_else(|e| panic!("{e}"))
        .into_iter()
        .map(|spec| (spec.name, show(&spec.result.unwrap().value)))
        .collect();
    assert_eq!(shown[0].0, "one");
    assert!(
        shown[0].1.starts_with("{command: [/nix/store/"),
        "{shown:?}"
    );
    assert_eq!(shown[1], ("two".to_owned(), "{b: 2}".to_owned()));
}

#[test]
fn a_flake_gives_a_list_of_manifests() {
    if !nix_is_here() {
        return;
    }
    let manifest = "{ apiVersion = \"osmoda/v1\"; metadata.name = \"m\"; }";
    let (_specs, found) = flake(&format!("[ {manifest} {manifest} ]"));
    let names: Vec<_> = found.unwrap().into_iter().map(|spec| spec.name).collect();
    assert_eq!(names, ["m", "m"]);
    let (_specs, found) = flake(manifest);
    assert_eq!(found.unwrap()[0].name, "m");
}

#[test]
fn a_flake_that_fails_says_why() {
    if !nix_is_here() {
        return;
    }
    let (_specs, found) = flake("{ a = throw \"boom\"; }");
    let error = found.unwrap_err();
    assert_eq!(error.diagnostics()[0].message, "boom");
    let (_specs, found) = flake("{ a.command = [ ./x.py ]; }");
    assert!(matches!(found.unwrap_err(), EvalError::Refused(_)));
    for bad in ["--option#x", "."] {
        let source = NixSource::Flake(bad.to_owned());
        let error = evaluate_specs(&source, &EvalOptions::default()).unwrap_err();
        assert!(matches!(error, EvalError::Eval(_)), "{error}");
    }
}

#[test]
fn the_version_of_nix_is_known() {
    if !nix_is_here() {
        return;
    }
    let version = NixInfo::detect().unwrap().version;
    assert!(version.split('.').count() >= 2, "{version}");
}
