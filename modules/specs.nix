# Reads a directory of specs as `osmoda` itself does (docs/specs.md), for evaluation within Nix.
#
# directory -> { agents = { NAME = { file, value }; }; node = definition; files = { NAME = path; }; }
#
# `agents` and `node` are definitions for the options of the same fields; `files` are the *.yaml,
# *.yml and *.json, which are taken as they are and checked when the manifests are built.
{ lib }:
{ directory, arguments }:
let
  inherit (builtins) attrNames functionArgs intersectAttrs isFunction listToAttrs mapAttrs readDir;

  entries = readDir directory;
  isSpec = name: !(lib.hasPrefix "." name || lib.hasPrefix "_" name) && entries.${name} != "directory";
  named = suffixes: lib.filter (name: isSpec name && lib.any (end: lib.hasSuffix end name) suffixes) (attrNames entries);

  # A function is given the arguments that it names; one that names none (`args: …`), all.
  applied =
    value:
    if !isFunction value then value
    else if functionArgs value == { } then value arguments
    else value (intersectAttrs (functionArgs value) arguments);

  # In a flake the specs lie in the store, and a file beside a spec, named by `toString ./file`, is
  # in the flake's source. As text alone nothing keeps it there. So the entry of the directory that
  # is meant becomes a store path of its own, which the agent's closure then holds. Nothing gets
  # into the store that was not there. Elsewhere the text names a file of the machine, and stays.
  inStore = lib.hasPrefix "${builtins.storeDir}/" (toString directory);
  source =
    name: path:
    builtins.path {
      name = lib.strings.sanitizeDerivationName name;
      inherit path;
    };
  held =
    text:
    let
      root = toString directory;
      # The longest first, so that `a` is not taken for a part of `ab`.
      longer = a: b: lib.stringLength a > lib.stringLength b;
      candidates = lib.filter (name: lib.hasInfix "${root}/${name}" text) (lib.sort longer (attrNames entries));
      inner = builtins.replaceStrings (map (name: "${root}/${name}") candidates) (
        map (name: "${source name (directory + "/${name}")}") candidates
      ) text;
    in
    if !inStore || !lib.hasInfix root text then text
    else builtins.replaceStrings [ root ] [ "${source "specs" directory}" ] inner;
  heldWithin =
    value:
    if builtins.isString value then held value
    else if builtins.isList value then map heldWithin value
    else if builtins.isAttrs value && !lib.isDerivation value then mapAttrs (_: heldWithin) value
    else value;
  # A credential is never moved into the store; where it lies already, its option refuses it.
  withClosure =
    spec: heldWithin (removeAttrs spec [ "credentials" ]) // lib.optionalAttrs (spec ? credentials) { inherit (spec) credentials; };

  # What a file gives -> { kind, name, value }.
  read =
    file:
    let
      name = lib.removeSuffix ".nix" file;
      value = applied (import (directory + "/${file}"));
      where = "${toString directory}/${file}";
      agent = name: labels: spec: {
        kind = "Agent";
        file = where;
        inherit name;
        value = withClosure spec // lib.optionalAttrs (labels != null) { inherit labels; };
      };
    in
    if !(builtins.isAttrs value) then
      throw "${where} is not a spec: it gives neither a set nor a function that gives one"
    else if value ? apiVersion then
      if value.apiVersion != "osmoda/v1" then
        throw "${where}: apiVersion is `${toString value.apiVersion}`; this version reads `osmoda/v1`"
      else if value.kind or null == "Agent" then
        agent (value.metadata.name or name) (value.metadata.labels or null) (value.spec or { })
      else if value.kind or null == "Node" then
        {
          kind = "Node";
          name = where;
          value = lib.optionalAttrs (value ? metadata.name) { inherit (value.metadata) name; } // value.spec or { };
        }
      else
        throw "${where}: kind must be Agent or Node"
    else if value ? spec then
      let
        strangers = attrNames (removeAttrs value [ "spec" "labels" ]);
      in
      if strangers != [ ] then
        throw "${where}: beside `spec` there can be `labels`, not `${builtins.head strangers}`"
      else
        agent name (value.labels or null) value.spec
    else
      agent name (value.labels or null) (removeAttrs value [ "labels" ]);

  found = map read (named [ ".nix" ]);
  ofKind = kind: lib.filter (one: one.kind == kind) found;
  nodes = ofKind "Node";
  # Two files may name one agent only by whole manifests; merging them silently would be a guess.
  agents = lib.groupBy (one: one.name) (ofKind "Agent");
  twice = lib.filterAttrs (_: all: lib.length all > 1) agents;
in
if twice != { } then
  throw "${toString directory}: agent `${builtins.head (attrNames twice)}` is declared more than once"
else if lib.length nodes > 1 then
  throw "${toString directory}: there is more than one Node: ${lib.concatMapStringsSep ", " (one: one.name) nodes}"
else
  {
    agents = mapAttrs (_: all: { inherit (builtins.head all) file value; }) agents;
    node = if nodes == [ ] then { } else (builtins.head nodes).value;
    files = listToAttrs (
      map (name: lib.nameValuePair name (directory + "/${name}")) (named [ ".yaml" ".yml" ".json" ])
    );
  }
