# On NixOS a command is a store path, so that an agent and all it needs are one closure: built
# together, kept together, rolled back together. A spec takes `pkgs` and `lib` as arguments:
#
#   osmoda validate specs --nixpkgs /path/to/nixpkgs
#
# The name begins with `_`, so this is an example to copy and not an agent.
{ pkgs, lib, ... }:
let
  # The program is copied into the store as a part of a package; the package, not the file, is
  # what the spec mentions. A secret must never be mentioned like this: see `credentials`.
  researcher = pkgs.writeShellApplication {
    name = "researcher";
    runtimeInputs = [ pkgs.python3 ];
    text = ''exec python3 ${./programs/researcher.py} "$@"'';
  };
in
{
  command = [ (lib.getExe researcher) ];
  environment.RESEARCHER_SOURCES = "${pkgs.python3.doc or pkgs.python3}/share";

  # Read afresh at every start, by osmoda; the agent finds it in $CREDENTIALS_DIRECTORY/api-key.
  # A string: the path itself, which is not copied anywhere.
  credentials.api-key.path = "/run/secrets/researcher-api-key";

  heartbeat = { source = "Notify"; timeout = "5s"; };
  probes.liveness.httpGet = { port = 18080; path = "/healthz"; };
}
