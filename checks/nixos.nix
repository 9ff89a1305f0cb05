# The scenarios as NixOS tests: each folder with a nixos.nix is one. Its testScript.py is the very
# file that the Debian machine runs (`cargo xtask vm`), after common.py; nixos.nix is the machine: osmoda and the
# scenario's agents. A folder without it is about the Debian machine alone.
{ pkgs, module, testkit }:
let
  inherit (pkgs) lib;

  isScenario =
    name: kind:
    kind == "directory"
    && builtins.pathExists (./. + "/${name}/nixos.nix")
    && builtins.pathExists (./. + "/${name}/testScript.py");

  scenario =
    name:
    pkgs.testers.runNixOSTest {
      name = "osmoda-${name}";
      nodes.machine = {
        imports = [
          module
          (./. + "/${name}/nixos.nix")
        ];
        services.osmoda.enable = true;
        virtualisation.memorySize = lib.mkDefault 1536;
        _module.args = { inherit testkit; };
      };
      testScript = builtins.readFile ./common.py + builtins.readFile (./. + "/${name}/testScript.py");
      # The scripts are written for two drivers, of which only one has types.
      skipTypeCheck = true;
    };
in
lib.mapAttrs' (name: _: lib.nameValuePair "scenario-${name}" (scenario name)) (
  lib.filterAttrs isScenario (builtins.readDir ./.)
)
