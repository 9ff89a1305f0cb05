# Agents that fail when they are told to, and `deploy NAME`, which switches to a configuration with
# another spec of one of them.
{ config, lib, pkgs, testkit, ... }:
let
  all = import ./agents.nix {
    sh = lib.getExe pkgs.bash;
    perl = lib.getExe pkgs.perl;
    testAgent = "${testkit}/bin/osmoda-test-agent";
    osmoda = lib.getExe config.services.osmoda.package;
  };
in
{
  services.osmoda.agents = all.agents;
  specialisation = lib.mapAttrs (_: agent: {
    configuration.services.osmoda.agents.deployed = lib.mkForce agent;
  }) all.deployments;

  system.switch.enable = true;
  environment.systemPackages = [
    (pkgs.writeShellScriptBin "deploy" ''
      exec "/run/booted-system/specialisation/$1/bin/switch-to-configuration" test
    '')
  ];
  systemd.tmpfiles.rules = [
    "d /run/answers 0755 root root"
    "f /etc/secret 0600 root root - hunter-two"
  ];
}
