# Agents with limits. The first keeps within them; each of the others goes beyond one, some time
# after its start, so that the scenario meets it running. The same as in agents/agents.yaml.
{ lib, pkgs, testkit, ... }:
let
  shell = script: [ (lib.getExe pkgs.bash) "-c" script ];
in
{
  # The suite was compiled to look for the test agent where it was built.
  environment.systemPackages = [ testkit ];
  systemd.services.test-agent-origin = {
    description = "The test agent where it was built";
    wantedBy = [ "multi-user.target" ];
    before = [ "multi-user.target" ];
    serviceConfig.Type = "oneshot";
    script = ''
      origin="$(cat ${testkit}/share/osmoda-testkit/origin)"
      mkdir -p "$(dirname "$origin")"
      ln -sf ${testkit}/bin/osmoda-test-agent "$origin"
    '';
  };

  services.osmoda = {
    # What is tried are the limits of the native runtime.
    runtime = "native";
    agents = {
      modest = {
        command = shell "while :; do sleep 3600; done";
        resources = { memory.max = "64Mi"; cpu.max = "50%"; tasksMax = 20; };
      };
      leaking = {
        command = [ "${testkit}/bin/osmoda-test-agent" "leak" "--mib-per-s" "64" ];
        resources.memory.max = "32Mi";
        # It is OOM-killed again and again; the scenario only looks at the first times.
        restart = { backoff = { initial = "1s"; max = "2s"; }; maxRestarts = 1000; };
      };
      spinning = {
        command = shell "while :; do :; done";
        resources.cpu.max = "20%";
      };
      forking = {
        # Tries to have forty children and goes on when it is refused one, as few shells do.
        command = [
          (lib.getExe pkgs.perl)
          "-e"
          ''
            for (1 .. 40) { my $child = fork; if (defined $child && !$child) { sleep 3600; exit } }
            open(my $done, ">", "/tmp/forking-is-done");
            sleep 3600 while 1;
          ''
        ];
        resources.tasksMax = 10;
      };
    };
  };
}
