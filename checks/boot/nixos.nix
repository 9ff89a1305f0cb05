# An agent, and one that depends on it. Neither ends by itself. And `deploy NAME`, which switches to
# a configuration with another osmoda, or with none.
{ config, lib, pkgs, ... }:
let
  idle = name: {
    command = [ (lib.getExe pkgs.bash) "-c" "echo ${name} runs; while :; do sleep 3600; done" ];
  };
  # The same program in another file, as a newer one would be.
  newer = pkgs.runCommand "osmoda-newer" { meta.mainProgram = "osmoda"; } ''
    install -D -m 755 ${lib.getExe config.services.osmoda.package} "$out/bin/osmoda"
  '';
in
{
  services.osmoda.agents = {
    gateway = idle "gateway";
    worker = idle "worker" // { dependsOn = [ "gateway" ]; };
  };

  specialisation = {
    upgraded.configuration.services.osmoda.package = lib.mkForce newer;
    removed.configuration.services.osmoda.enable = lib.mkForce false;
  };

  system.switch.enable = true;
  environment.systemPackages = [
    (pkgs.writeShellScriptBin "deploy" ''
      exec "/run/booted-system/specialisation/$1/bin/switch-to-configuration" test
    '')
  ];
}
