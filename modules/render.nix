# Specs as manifests, without NixOS: what the module makes of the same fields.
#
#   agents = osmoda.lib.renderSpecs { inherit pkgs; specsDir = ./specs; };
#
# gives { NAME = manifest; } which `osmoda run FLAKE#agents` and the other commands take. All of
# services.osmoda's fields can be given; mistakes are errors of the evaluation.
{ lib }:
{ pkgs ? null, specsDir ? null, agents ? { }, ... }@arguments:
let
  evaluated = lib.evalModules {
    modules = [
      ./declared.nix
      {
        _file = "lib.renderSpecs";
        services.osmoda = removeAttrs arguments [ "pkgs" ];
      }
    ];
    specialArgs = lib.optionalAttrs (pkgs != null) { inherit pkgs; };
  };
  inherit (evaluated.config.services.osmoda) declared;
  mistakes = declared.mistakes { onNixOS = false; };
  unread = lib.attrNames declared.files;
in
if mistakes != [ ] then
  throw "\n${lib.concatMapStringsSep "\n" (one: "- ${one}") mistakes}"
else if unread != [ ] then
  throw "${toString specsDir}: Nix does not read ${lib.concatStringsSep ", " unread}; name the directory itself as SPECS instead"
else
  declared.manifests // lib.optionalAttrs (declared.node != null) { Node = declared.node; }
