# As much of NixOS and of pkgs as the module touches, so that it can be evaluated with nothing but
# nixpkgs' lib. Options have the types that NixOS gives them, and what is "built" is a description
# of itself.
{ lib }:
let
  inherit (lib) mkOption types;
  option =
    type: default:
    mkOption {
      inherit type default;
      description = "As in NixOS.";
    };
  unitValue = types.oneOf [ types.bool types.int types.str types.path (types.listOf types.str) ];

  # A derivation to everybody who asks, with what it was made of beside it.
  made =
    name: attributes:
    {
      type = "derivation";
      inherit name;
      outPath = "${builtins.storeDir}/00000000000000000000000000000000-${name}";
      __toString = self: self.outPath;
    }
    // attributes;
in
rec {
  pkgs = {
    inherit lib;
    writeText = name: text: made name { inherit text; };
    writeShellScript = name: text: made name { inherit text; };
    runCommand = name: environment: script: made name { inherit script; };
    getent = made "getent" { meta.mainProgram = "getent"; };
    osmoda = made "osmoda" { meta.mainProgram = "osmoda"; };
    hello = made "hello" { meta.mainProgram = "hello"; };
  };

  nixos =
    { config, ... }:
    {
      options = {
        assertions = option (types.listOf types.raw) [ ];
        environment.systemPackages = option (types.listOf types.package) [ ];
        environment.etc = option (types.attrsOf (types.submodule { options.source = option types.path null; })) { };
        nix.package = option types.package pkgs.hello;
        system.preSwitchChecks = option (types.attrsOf types.str) { };
        users.users = option (types.attrsOf types.raw) { };
        users.groups = option (types.attrsOf types.raw) { };
        systemd.slices = option (types.attrsOf (types.submodule {
          options = {
            description = option types.singleLineStr "";
            documentation = option (types.listOf types.str) [ ];
            sliceConfig = option (types.attrsOf unitValue) { };
          };
        })) { };
        systemd.services = option (types.attrsOf (types.submodule {
          options = {
            description = option types.singleLineStr "";
            documentation = option (types.listOf types.str) [ ];
            wantedBy = option (types.listOf types.str) [ ];
            after = option (types.listOf types.str) [ ];
            startLimitIntervalSec = option types.int 10;
            reloadIfChanged = option types.bool false;
            reloadTriggers = option (types.listOf types.package) [ ];
            path = option (types.listOf types.package) [ ];
            environment = option (types.attrsOf types.str) { };
            serviceConfig = option (types.attrsOf unitValue) { };
          };
        })) { };
      };
      config._module.args = { inherit pkgs; };
    };

  # `config` of a machine with these settings of services.osmoda.
  machine =
    settings:
    (lib.evalModules {
      modules = [
        nixos
        ../default.nix
        {
          services.osmoda = lib.mkMerge [
            { enable = true; }
            settings
          ];
        }
      ];
    }).config;
}
