# The machine's systems: each brings its own agents. `base` is booted; the others are its
# specialisations. Shared by all scenarios about systems.
{ sh }:
let
  shell = script: [ sh "-c" script ];
  steady = { command = shell "while :; do sleep 3600; done"; rollout.minReady = "1s"; };
  extra = steady // { environment.SYSTEM = "second"; };

  # Fails for good as soon as /run/fail is there, and asks for the whole system to go back.
  hopeless = number: {
    command = shell "while [ ! -e /run/fail ]; do sleep 0.5; done; exit 3";
    environment.NUMBER = toString number;
    restart = { maxRestarts = 1; backoff = { initial = "10ms"; max = "1s"; }; };
    rollout = { rollback = "System"; minReady = "1h"; };
  };
  failing = number: {
    name = "failing-${toString number}";
    value = { inherit steady; hopeless = hopeless number; };
  };
in
{
  base = { inherit steady; };

  # No two rollbacks ever start from one system, so that there is one for each.
  specialisations = {
    second = { inherit steady extra; };
    quiet = { inherit steady; };
  } // builtins.listToAttrs (map failing [ 1 2 3 4 5 6 ]);

  node = {
    healthChecks.machine = { exec.command = shell "test ! -e /run/ill"; period = "1s"; timeout = "20s"; };
    rollback.budget = 20;
  };
}
