# An agent that serves a directory of notes over HTTP. A spec is a plain set, or, as here, a
# function that is given pkgs and lib.
{ pkgs, lib, ... }:
{
  command = [ (lib.getExe pkgs.python3) "-m" "http.server" "8080" "--bind" "127.0.0.1" ];

  # Not alive means: restart me.
  probes.liveness = {
    httpGet = { port = 8080; path = "/"; };
    period = "2s";
  };

  # Above `high` it is restarted gracefully, long before the kernel would kill it at `max`.
  resources.memory = { high = "128Mi"; max = "256Mi"; };
}
