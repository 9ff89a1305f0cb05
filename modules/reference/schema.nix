# JSON Schema (2020-12) of a manifest. Beyond it, `x-osmoda` names the unit and bounds of
# quantities with a unit; editors leave it aside, our tests read it.
{ lib }:
let
  inherit (import ../fields/record.nix { inherit lib; }) schema;
  t = import ../fields/types.nix { inherit lib; };
  agent = import ../fields/agent.nix { inherit lib; };
  node = import ../fields/node.nix { inherit lib; };

  object = required: properties: {
    type = "object";
    additionalProperties = false;
    inherit required properties;
  };
  document =
    kind: metadata: required: spec:
    object ([ "apiVersion" "kind" ] ++ required) {
      apiVersion.const = "osmoda/v1";
      kind.const = kind;
      inherit metadata spec;
    };
  labels = (t.mapOf t.keys.label t.label).schema // {
    description = "Labels; alerts can be chosen by them.";
  };
in
{
  "$schema" = "https://json-schema.org/draft/2020-12/schema";
  title = "osmoda manifest";
  description = "One agent, or the settings of one machine (docs/specs.md). Generated: cargo xtask docs.";
  oneOf = [
    { "$ref" = "#/$defs/Agent"; }
    { "$ref" = "#/$defs/Node"; }
  ];
  "$defs" = {
    Agent = document "Agent" (object [ "name" ] {
      name = t.agentName.schema // { description = "Name of the agent."; };
      inherit labels;
    }) [ "metadata" "spec" ] (schema agent);
    Node = document "Node" (object [ ] {
      name = t.host.schema // { description = "Name in the ledger, as spec.name."; };
    }) [ ] (schema node);
  };
}
