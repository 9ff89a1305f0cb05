# Directories of specs.
{ is, lib, machine, pkgs, refused }:
let
  declared = settings: (machine settings).services.osmoda.declared;
  here = declared { specsDir = ./fixtures/specs; };
  mixed = machine { specsDir = ./fixtures/mixed; };
in
{
  "each file is an agent, named by it or by itself" = is [ "bare" "function" "renamed" ] (lib.attrNames here.manifests);
  "a function is given pkgs" = is [ "${pkgs.hello}/bin/hello" ] here.manifests.function.spec.command;
  "labels stand in the file or beside the spec" = is [ { team = "x"; } { team = "y"; } { } ] (
    map (name: here.manifests.${name}.metadata.labels or { }) [ "bare" "function" "renamed" ]
  );
  "a Node among them is the machine's" = is { name = "host-1"; rollback.budget = 1; } here.node.spec;
  "a file beside a spec is named by where it is" = is true (
    lib.hasSuffix "neighbour.txt" (lib.last here.manifests.bare.spec.command)
  );
  "what is added in the configuration counts too" = is [ "/bin/bare" "3s" ] (
    let
      inherit ((declared { specsDir = ./fixtures/specs; agents.bare.stop.gracePeriod = "3s"; }).manifests.bare) spec;
    in
    [ (builtins.head spec.command) spec.stop.gracePeriod ]
  );
  "an agent of a file that Nix cannot read may be depended on" = is [ ] (map (one: one.message) mixed.assertions);
  "such a file is taken as it is" = is true (
    lib.hasInfix "listed.json" mixed.environment.etc."osmoda/agents".source.script
  );
  "two files for one agent are refused" = is true (refused (declared { specsDir = ./fixtures/twice; }).manifests);
}
