# Agents whose memory is judged by the kernel's own account, and one that forks without end. The
# same as in agents/agents.yaml.
{ lib, pkgs, testkit, ... }:
let
  shell = script: [ (lib.getExe pkgs.bash) "-c" script ];
in
{
  services.osmoda = {
    # What is tried are the limits of the native runtime.
    runtime = "native";
    agents = {
      growing = {
        command = shell "${testkit}/bin/osmoda-test-agent leak --mib-per-s 24 & wait";
        resources.memory = { high = "96Mi"; max = "512Mi"; };
        restart = { backoff = { initial = "1s"; max = "2s"; }; maxRestarts = 1000; };
        rollout.minReady = "1s";
      };
      reading = {
        command = shell ''
          head -c 160M /dev/zero >/var/tmp/read-again
          cat /var/tmp/read-again /var/tmp/read-again >/dev/null
          echo I have read it
          while :; do sleep 3600; done
        '';
        resources.memory.high = "64Mi";
      };
      bomb = {
        command = [ (lib.getExe pkgs.perl) "-e" "fork while 1" ];
        resources = { tasksMax = 30; cpu.max = "40%"; };
      };
      modest = {
        command = shell "while :; do sleep 3600; done";
        resources = { memory.max = "64Mi"; cpu.max = "50%"; tasksMax = 20; };
      };
    };
  };
}
