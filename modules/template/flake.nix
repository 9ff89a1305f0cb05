{
  description = "A NixOS host with two agents that osmoda keeps alive";

  inputs = {
    osmoda.url = "github:osmoda/osmoda";
    nixpkgs.follows = "osmoda/nixpkgs";
  };

  outputs =
    { osmoda, nixpkgs, ... }:
    {
      # nixos-rebuild switch --flake .#host
      nixosConfigurations.host = nixpkgs.lib.nixosSystem {
        system = "x86_64-linux";
        modules = [
          osmoda.nixosModules.default
          ./host.nix
        ];
      };
    };
}
