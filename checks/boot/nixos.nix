# An agent, and one that depends on it. Neither ends by itself.
{ lib, pkgs, ... }:
let
  idle = name: {
    command = [ (lib.getExe pkgs.bash) "-c" "echo ${name} runs; while :; do sleep 3600; done" ];
  };
in
{
  services.osmoda.agents = {
    gateway = idle "gateway";
    worker = idle "worker" // { dependsOn = [ "gateway" ]; };
  };
}
