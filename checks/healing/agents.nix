# One agent for each way to fail. Each is well until the scenario has it fail, and again after its
# restart. Programs are where this machine has them.
{ sh, perl, testAgent, osmoda }:
let
  shell = script: [ sh "-c" script ];
  idle = shell "while :; do sleep 3600; done";
  # The scenario has it fail several times, and looks at each.
  patient = {
    restart = { backoff = { initial = "100ms"; max = "1s"; }; maxRestarts = 1000; };
    rollout.minReady = "2s";
  };
  longer.environment.OSMODA_TEST_AGENT_LIFE = "3600";
in
{
  agents = {
    steady = { command = idle; };

    crashing = patient // { command = idle; };

    beating = patient // longer // {
      command = [
        testAgent "notify" "READY=1" "STATUS=asks_the_model" "then" "heartbeat" "--every" "300"
      ];
      heartbeat = { source = "Notify"; timeout = "6s"; };
    };

    # Takes more than it may have when it is told to by SIGUSR1; the next one is frugal again.
    greedy = patient // {
      command = [ perl "-e" ''$SIG{USR1} = sub { $hog .= "x" x (8 << 20) while 1 }; sleep 3600 while 1'' ];
      resources.memory.max = "48Mi";
    };

    # Spins when it is told to.
    spinning = patient // {
      command = [ perl "-e" ''$SIG{USR1} = sub { 1 while 1 }; sleep 3600 while 1'' ];
      resources.cpu.runaway = { above = "10%"; for = "4s"; };
    };

    # Answers with the status that the file /run/answers/live holds.
    serving = patient // longer // {
      command = [ testAgent "serve" "--port" "8101" "--status-from" "/run/answers" ];
      probes.liveness = { httpGet = { port = 8101; path = "/live"; }; timeout = "5s"; };
    };

    secretive = {
      command = idle;
      credentials.key = { path = "/etc/secret"; environmentVariable = "KEY"; };
    };

    # Tries what an agent may not do; each line tells how that ended.
    inmate = {
      command = shell ''
        try() { what="$1"; shift; if "$@" >/dev/null 2>&1; then echo "$what: done"; else echo "$what: $?"; fi; }
        try status ${osmoda} status
        try restart ${osmoda} restart steady
        try pause ${osmoda} pause steady --reason inmate
        try ledger head -c 16 /var/lib/osmoda/ledger.db
        try file cat /etc/secret
        try secret grep -rqs hunter-two /run/osmoda /run/credentials /var/lib/osmoda /var/lib/private
        try variables grep -qs hunter-two /proc/[0-9]*/environ
        echo all tried
        while :; do sleep 3600; done
      '';
      user = "nobody";
    };

    deployed = { command = shell "echo first; while :; do sleep 3600; done"; rollout.minReady = "2s"; };
  };

  # What the agent `deployed` becomes.
  deployments = {
    second = { command = shell "echo second; while :; do sleep 3600; done"; rollout.minReady = "2s"; };
    bad = { command = shell "exit 3"; rollout.minReady = "2s"; };
    # Runs until the file /run/answers/worse is there.
    worse = {
      command = shell "while [ ! -e /run/answers/worse ]; do sleep 0.5; done; exit 4";
      rollout.minReady = "1h";
    };
  };
}
