# Agents that are units of systemd.
{ lib, pkgs, ... }:
{
  services.osmoda = {
    runtime = "systemd";
    agents = import ./agents.nix { sh = lib.getExe pkgs.bash; };
  };
}
