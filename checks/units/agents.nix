# Agents that are units of systemd.
{ sh }:
let
  shell = script: [ sh "-c" script ];
  idle = shell "echo here I am; while :; do sleep 3600; done";
in
{
  steady = { command = idle; rollout.minReady = "1s"; };

  limited = {
    command = idle;
    resources = { memory.max = "64Mi"; cpu.max = "50%"; tasksMax = 20; };
  };

  # Whoever ends it is obeyed.
  obedient = { command = idle; restart.policy = "Never"; };

  # Fails all the time; somebody else's switch must not be told.
  failing = {
    command = shell "exit 3";
    restart = { maxRestarts = 1; backoff = { initial = "1s"; max = "1m"; }; };
  };

  # Tells what it is, and sees.
  sandboxed = {
    command = shell ''
      echo "user $(id -u)"
      grep NoNewPrivs /proc/self/status
      touch /etc/here 2>/dev/null || echo "etc is closed"
      touch /usr/here 2>/dev/null || echo "usr is closed"
      [ -z "$(ls /tmp)" ] && echo "tmp is its own"
      touch "$HOME/here" && echo "home is its own"
      while :; do sleep 3600; done
    '';
  };

  free = { command = shell "echo user $(id -u); while :; do sleep 3600; done"; sandbox = "Off"; };
}
