# What `nix flake check` looks at in the module itself: that its tests pass, and that the
# documents made from it are those in docs/.
{ pkgs }:
let
  inherit (pkgs) lib;
  failures = import ./tests { inherit lib; };
  made = import ./reference { inherit lib; };

  # A document as `cargo xtask docs` would write it.
  written =
    path: content:
    if builtins.isString content then
      pkgs.writeText (baseNameOf path) content
    else
      pkgs.runCommand (baseNameOf path) {
        nativeBuildInputs = [ pkgs.jq ];
        json = builtins.toJSON content;
        passAsFile = [ "json" ];
      } ''jq --sort-keys . "$jsonPath" >"$out"'';
  compare = path: content: ''
    diff --unified ${../. + "/${path}"} ${written path content} || {
      echo "${path} is stale: cargo xtask docs" >&2
      exit 1
    }
  '';
in
{
  module =
    if failures == [ ] then
      pkgs.runCommand "osmoda-module-tests" { } ''touch "$out"''
    else
      throw "tests of the module fail:\n${lib.generators.toPretty { } failures}";

  documents = pkgs.runCommand "osmoda-documents" { } ''
    ${lib.concatStrings (lib.mapAttrsToList compare made)}
    touch "$out"
  '';
}
