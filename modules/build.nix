# What is built from the Rust workspace.
#
# Dependencies are built once, from Cargo.toml and Cargo.lock alone; program, lints and tests start
# from there. Each takes the files it needs and no others: a changed spec, document or module
# builds nothing again.
{ pkgs, craneLib }:
let
  inherit (pkgs) lib;
  inherit (lib.fileset) maybeMissing toSource unions;

  root = ../.;
  source =
    files:
    toSource {
      inherit root;
      fileset = unions files;
    };
  code = [
    (root + "/.cargo")
    (root + "/Cargo.lock")
    (root + "/Cargo.toml")
    (root + "/reconciler")
    (root + "/xtask")
  ];

  common = {
    pname = "osmoda";
    inherit ((lib.importTOML (root + "/Cargo.toml")).workspace.package) version;
    src = source code;
    strictDeps = true;
    # One choice of packages for all, so that every dependency is built with the same features.
    # nixpkgs may be somewhat behind the Rust that Cargo.toml names; what is built is tested here.
    cargoExtraArgs = "--locked --workspace --ignore-rust-version";
  };
  cargoArtifacts = craneLib.buildDepsOnly common;
  withDependencies = common // {
    inherit cargoArtifacts;
  };
in
rec {
  osmoda = craneLib.buildPackage (
    withDependencies
    // {
      # Tests are a check of their own.
      doCheck = false;
      nativeBuildInputs = [ pkgs.installShellFiles ];
      postInstall = ''
        find "$out/bin" -type f ! -name osmoda -delete
        export OSMODA_STATE_DIR="$TMPDIR/state" OSMODA_RUNTIME_DIR="$TMPDIR/run"
        "$out/bin/osmoda" man --dir man
        installManPage man/*.1
        for shell in bash fish zsh; do
          "$out/bin/osmoda" completions "$shell" >"osmoda.$shell"
        done
        installShellCompletion osmoda.bash osmoda.fish
        installShellCompletion --zsh --name _osmoda osmoda.zsh
      '';
      meta = {
        description = "Keeps AI agents alive on Linux, and proves what it did";
        license = with lib.licenses; [ mit asl20 ];
        mainProgram = "osmoda";
        platforms = lib.platforms.linux;
      };
    }
  );

  # What scenarios need beside osmoda: the agent that misbehaves on request, and as commands the
  # runtime's conformance suite and the one that compares profiles with nix-env's. `origin` says
  # where the first was compiled to look for the agent.
  testkit = craneLib.mkCargoDerivation (
    withDependencies
    // {
      pname = "osmoda-testkit";
      nativeBuildInputs = [ pkgs.jq ];
      buildPhaseCargoCommand = ''
        cargo test --no-run --locked --ignore-rust-version --profile release --message-format json \
          --package osmoda-testkit --package osmoda-nix --bins \
          --test conformance_native --test conformance_systemd \
          --test profile_like_nix_env >built.json
      '';
      installPhaseCommand = ''
        executable() {
          jq --raw-output --slurp --arg name "$1" \
            '[.[] | select(.executable != null and .target.name == $name) | .executable] | last' built.json
        }
        mkdir -p "$out/bin" "$out/share/osmoda-testkit"
        install -m 755 "$(executable conformance_native)" "$out/bin/osmoda-conformance"
        install -m 755 "$(executable conformance_systemd)" "$out/bin/osmoda-conformance-systemd"
        install -m 755 "$(executable profile_like_nix_env)" "$out/bin/profile-like-nix-env"
        agent="$(dirname "$(dirname "$(executable conformance_native)")")/osmoda-test-agent"
        install -m 755 "$agent" "$out/bin/osmoda-test-agent"
        printf '%s\n' "$agent" >"$out/share/osmoda-testkit/origin"
      '';
      doInstallCargoArtifacts = false;
    }
  );

  clippy = craneLib.cargoClippy (
    withDependencies
    // {
      src = source (code ++ [ (root + "/clippy.toml") (root + "/docs/manifest.schema.json") ]);
      cargoClippyExtraArgs = "--all-targets -- --deny warnings";
    }
  );

  format = craneLib.cargoFmt {
    inherit (common) pname version;
    src = source (code ++ [ (root + "/rustfmt.toml") ]);
    cargoExtraArgs = "--all";
  };

  # Unit tests and those of documents. The others, and those of developer's commands, run agents
  # and need a machine of their own: the scenarios are that, and `cargo xtask test`.
  nextest = craneLib.cargoNextest (
    withDependencies
    // {
      src = source (
        code
        ++ [
          (maybeMissing (root + "/.config"))
          (root + "/checks")
          (root + "/docs")
          (root + "/specs")
        ]
      );
      nativeBuildInputs = [
        pkgs.nix
        pkgs.python3
      ];
      cargoNextestExtraArgs = "--lib --bins --test schema -E 'not (package(xtask) & kind(bin))'";
      NIX_STATE_DIR = "/build/nix/state";
      NIX_STORE_DIR = "/build/nix/store";
    }
  );

  # `cargo xtask demo` on a copy of the example specs.
  demo =
    let
      xtask = craneLib.buildPackage (
        withDependencies
        // {
          pname = "osmoda-xtask";
          doCheck = false;
          postInstall = ''find "$out/bin" -type f ! -name xtask -delete'';
          meta.mainProgram = "xtask";
        }
      );
      specs = source [ (root + "/specs") ];
    in
    pkgs.writeShellApplication {
      name = "osmoda-demo";
      runtimeInputs = [
        pkgs.nix
        pkgs.python3
      ];
      text = ''
        directory="$(mktemp -d)"
        cp --recursive --no-preserve=mode ${specs}/. "$directory"
        echo "The demo's files are in $directory/target/demo."
        OSMODA_CHECKOUT="$directory" exec ${lib.getExe xtask} demo --osmoda ${lib.getExe osmoda}
      '';
    };

  shell = craneLib.devShell {
    packages = [
      pkgs.cargo-deny
      pkgs.cargo-nextest
      pkgs.nixfmt-tree
      pkgs.python3
      # Supervisors to compare with, and the Debian machine.
      pkgs.daemontools
      pkgs.debootstrap
      pkgs.e2fsprogs
      pkgs.qemu
      pkgs.runit
      pkgs.s6
    ];
    OSMODA_NIXPKGS = pkgs.path;
  };
}
