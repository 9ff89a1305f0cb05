# Tests of the module with lib alone: `nix-instantiate --eval --strict --json modules/tests
# --arg lib 'import PATH/lib'` prints the tests that failed, which should be none.
{ lib }:
let
  standIn = import ./stand-in.nix { inherit lib; };
  inherit (standIn) machine pkgs;

  # The sentences in which a machine with these agents is refused.
  mistakes = settings: map (one: one.message) (lib.filter (one: !one.assertion) (machine settings).assertions);
  manifests = settings: (machine settings).services.osmoda.declared.manifests;
  spec = agent: (manifests { agents.it = { command = [ "/bin/it" ]; } // agent; }).it.spec;
  # Whether Nix itself refuses a value: its type is wrong, or there is no such field.
  refused = value: !(builtins.tryEval (builtins.deepSeq value true)).success;
  refusedAgent = agent: refused (spec agent);

  is = expected: expr: { inherit expr expected; };
  sentence = sentences: settings: is sentences (mistakes settings);
  agents = lib.mapAttrs (_: dependsOn: { command = [ "/bin/it" ]; inherit dependsOn; });

  cases = {
    field = import ./fields.nix { inherit is lib; };
    manifest = import ./manifests.nix { inherit is lib machine manifests pkgs spec; };
    refusal = import ./refusals.nix { inherit agents is lib machine pkgs refused refusedAgent sentence; };
    service = import ./service.nix { inherit is lib machine pkgs; };
    specs = import ./specs.nix { inherit is lib machine pkgs refused; };
    units = import ./units.nix { inherit is lib; };
  };
in
# Every name says what holds; lib.runTests runs those that begin with "test".
lib.concatLists (
  lib.mapAttrsToList (
    group: tests: lib.runTests (lib.mapAttrs' (name: test: lib.nameValuePair "test ${group}: ${name}" test) tests)
  ) cases
)
