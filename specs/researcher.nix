# An HTTP worker: GET /search?q=WORD answers with the lines of its sources that contain WORD.
#
# A spec is what follows: a plain attribute set. Only `command` is required; everything else has
# a default, and what is set here is set to show it.
let
  port = 18080;
in
{
  # argv. A name without a slash is looked up on PATH; `toString` gives the absolute path of a
  # file beside this one, without copying it into the Nix store.
  command = [ "python3" (toString ./programs/researcher.py) ];

  environment = {
    RESEARCHER_PORT = toString port;
    # What it searches. Any directory of text files will do.
    RESEARCHER_SOURCES = toString ./.;
    # Lines appear at once, so `osmoda logs -f` shows them.
    PYTHONUNBUFFERED = "1";
  };

  # The program tells us that it is alive (sd_notify, WATCHDOG=1). It does so from the loop that
  # serves requests: a heartbeat from a thread of its own would go on when that loop hangs.
  heartbeat = {
    source = "Notify";
    timeout = "5s";
  };

  probes = {
    # Until this succeeds the other two wait: reading the sources may take a while.
    startup.httpGet = { inherit port; path = "/healthz"; };
    startup.failureThreshold = 60;
    # Not ready means: nothing depends on me now. It never restarts.
    readiness.httpGet = { inherit port; path = "/readyz"; };
    # Not alive means: restart me.
    liveness.httpGet = { inherit port; path = "/healthz"; };
    liveness.period = "2s";
  };

  # Above `high` it is restarted gracefully, long before the kernel would kill it at `max`.
  resources.memory = { high = "256Mi"; max = "512Mi"; };

  # A new version counts as good once it was ready for this long; before that, it goes back.
  rollout.minReady = "5s";
}
