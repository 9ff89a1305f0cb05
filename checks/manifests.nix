# Agents, and what a Node says if there is one, as manifests in one text of YAML: for machines
# without the NixOS module, so that a scenario declares its agents once.
{ agents, node ? null }:
let
  manifest = kind: name: spec: builtins.toJSON {
    apiVersion = "osmoda/v1";
    inherit kind spec;
    metadata.name = name;
  };
  nodes = if node == null then [ ] else [ (manifest "Node" "machine" node) ];
in
builtins.concatStringsSep "\n---\n" (
  nodes ++ builtins.attrValues (builtins.mapAttrs (manifest "Agent") agents)
)
