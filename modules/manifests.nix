# The directory of manifests that the daemon reads: one store path, made of one for each agent.
#
# An agent's manifest is a store path of its own and holds a reference to everything the agent
# runs. It does not depend on osmoda's package: an upgrade of osmoda changes no manifest. The
# directory does, because `osmoda validate` looks at all of them together while it is built, so
# that an invalid spec fails the build and never becomes a generation.
{ lib, pkgs, package, declared }:
let
  file = name: manifest: pkgs.writeText name (builtins.toJSON manifest);

  agents = lib.mapAttrs' (
    name: manifest: lib.nameValuePair "${name}.json" (file "osmoda-agent-${name}.json" manifest)
  ) declared.manifests;
  # No agent can be called Node: names are in lower case.
  node = lib.optionalAttrs (declared.node != null) {
    "Node.json" = file "osmoda-node.json" declared.node;
  };
  entries = node // agents // declared.files;
in
pkgs.runCommand "osmoda-agents" { } (
  ''
    mkdir "$out"
  ''
  + lib.concatStrings (
    lib.mapAttrsToList (name: path: ''
      ln -s ${path} "$out/"${lib.escapeShellArg name}
    '') entries
  )
  + ''
    export OSMODA_STATE_DIR="$TMPDIR/state"
    ${lib.getExe package} validate "$out"
  ''
)
