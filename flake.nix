{
  description = "Keeps AI agents alive on Linux, and proves what it did";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-25.11";
    crane.url = "github:ipetkov/crane";
  };

  outputs =
    {
      self,
      nixpkgs,
      crane,
    }:
    let
      inherit (nixpkgs) lib;

      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEachSystem = each: lib.genAttrs systems (system: each nixpkgs.legacyPackages.${system});

      # Everything that is built from the Rust workspace, for one set of packages.
      buildsFor = pkgs: import ./modules/build.nix {
        inherit pkgs;
        craneLib = crane.mkLib pkgs;
      };
    in
    {
      # services.osmoda, with this flake's own osmoda as its package.
      nixosModules.default =
        { pkgs, ... }:
        {
          imports = [ ./modules ];
          services.osmoda.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.osmoda;
        };

      overlays.default = final: _: { inherit (buildsFor final) osmoda; };

      # Specs as manifests, for machines without NixOS: `osmoda run .#agents`.
      lib.renderSpecs = import ./modules/render.nix { inherit lib; };

      packages = forEachSystem (
        pkgs:
        let
          builds = buildsFor pkgs;
        in
        {
          inherit (builds) osmoda testkit;
          default = builds.osmoda;
        }
      );

      checks = forEachSystem (
        pkgs:
        let
          builds = buildsFor pkgs;
        in
        {
          inherit (builds) osmoda clippy format nextest;
        }
        // import ./modules/checks.nix { inherit pkgs; }
        # The scenarios of checks/, each in a virtual machine.
        // import ./checks/nixos.nix {
          inherit pkgs;
          inherit (builds) testkit;
          module = self.nixosModules.default;
        }
      );

      apps = forEachSystem (pkgs: {
        demo = {
          type = "app";
          program = lib.getExe (buildsFor pkgs).demo;
          meta.description = "The main job of osmoda on the example agents, told as a story";
        };
      });

      devShells = forEachSystem (pkgs: {
        default = (buildsFor pkgs).shell;
      });

      formatter = forEachSystem (pkgs: pkgs.nixfmt-tree);

      templates.default = {
        path = ./modules/template;
        description = "A NixOS host with two agents that osmoda keeps alive";
      };

      # What the template makes, from this checkout: so it is evaluated by `nix flake check`.
      nixosConfigurations.example = lib.nixosSystem {
        modules = [
          self.nixosModules.default
          ./modules/template/host.nix
          { nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux"; }
        ];
      };
    };
}
