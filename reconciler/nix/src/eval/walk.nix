# Turns the value of a spec into plain data that `--json` can print without a side effect.
#
# Printing a spec as it is would copy every path it mentions into the world-readable store, and
# would never end for a value that contains itself. So each value is looked at by type first, and
# what cannot be a part of a manifest comes out as a marked leaf that the Rust side refuses, with
# its place. Positions are those of attribute names; lists and strings have none in Nix.
#
# A node is one of
#   { n = null; } { b = bool; } { i = int; } { f = float; } { s = string; }
#   { l = [ node ]; }  { a = [ [ name [ line column ] node ] ]; }      ([ ] where not known)
#   { path = text; } { copied = text; } { function = null; } { deep = null; }     (refused)
#
# Works on Nix 2.8 and later; uses builtins alone.
{ maxDepth, maxNodes, allowSources }:
let
  inherit (builtins)
    addErrorContext attrNames concatMap concatStringsSep filter foldl' functionArgs getContext intersectAttrs isFunction map
    pathExists typeOf unsafeDiscardStringContext unsafeGetAttrPos;

  # A derivation, or anything else that Nix itself would read as one piece of text.
  isText = v: v ? outPath || v ? __toString;

  # How many nodes of `left` remain after `v`; negative once they are used up. Runs before `node`,
  # so that a value which doubles at every level ends here and not in exhausted memory.
  # Being the first to look at everything, it also tells Nix' trace which attribute it was at:
  # not every version does so itself.
  spend = file: depth: left: v:
    let
      type = typeOf v;
      attribute = left: name:
        let at = unsafeGetAttrPos name v; in
        if left < 0 then left
        else if at == null || at.file != file then spend file (depth - 1) left v.${name}
        else
          addErrorContext "at ${at.file}:${toString at.line}:${toString at.column}:"
            (spend file (depth - 1) left v.${name});
    in
    if left < 0 || depth < 0 then left
    else if type == "list" then foldl' (spend file (depth - 1)) (left - 1) v
    else if type == "set" && !(isText v) then foldl' attribute (left - 1) (attrNames v)
    else left - 1;

  # A string that mentions a path by interpolation names a copy in the store that this evaluation
  # does not make; one that mentions a derivation's output is fine.
  text = s:
    let
      context = getContext s;
      copied = filter (path: context.${path}.path or false) (attrNames context);
    in
    if allowSources || copied == [ ]
    then { s = unsafeDiscardStringContext s; }
    else { copied = builtins.head copied; };

  node = file: depth: v:
    let
      type = typeOf v;
      deeper = node file (depth - 1);
      attribute = name:
        let at = unsafeGetAttrPos name v; in
        [ name (if at == null || at.file != file then [ ] else [ at.line at.column ]) (deeper v.${name}) ];
      set =
        if v ? __toString then deeper (v.__toString v)
        else if v ? outPath then deeper v.outPath
        else { a = map attribute (attrNames v); };
    in
    if depth < 0 then { deep = null; }
    else if type == "set" then set
    else if type == "list" then { l = map deeper v; }
    else if type == "string" then text v
    else if type == "int" then { i = v; }
    else if type == "bool" then { b = v; }
    else if type == "float" then { f = v; }
    else if type == "null" then { n = null; }
    else if type == "path" then { path = toString v; }
    else { function = null; };

  # The derivations whose outputs a value mentions, as `nix-store --realise` takes them:
  # DRV!OUTPUT,OUTPUT. Walks as `node` does.
  needs = v: if spend "" maxDepth maxNodes v < 0 then [ ] else needed maxDepth v;
  needed = depth: v:
    let
      type = typeOf v;
      deeper = needed (depth - 1);
      context = getContext v;
      outputs = drv: let of = context.${drv}; in
        if of.allOutputs or false then [ drv ]
        else if of ? outputs then [ "${drv}!${concatStringsSep "," of.outputs}" ]
        else [ ];
    in
    if depth < 0 then [ ]
    else if type == "list" then concatMap deeper v
    else if type == "string" then concatMap outputs (attrNames context)
    else if type != "set" then [ ]
    else if v ? __toString then deeper (v.__toString v)
    else if v ? outPath then deeper v.outPath
    else concatMap (name: deeper v.${name}) (attrNames v);

  walk = file: v:
    if spend file maxDepth maxNodes v < 0 then { large = null; } else { root = node file maxDepth v; };

  # A spec may be a function of { pkgs, lib, ... }. It is given what it names; one that names
  # nothing (`args: ...`) is given all.
  apply = available: v:
    if !(isFunction v) then v
    else if functionArgs v == { } then v available
    else v (intersectAttrs (functionArgs v) available);

  packages = nixpkgs:
    let
      absent = name: throw
        "this spec uses `${name}`, and no nixpkgs was given: pass --nixpkgs PATH";
    in
    if nixpkgs == null then { pkgs = absent "pkgs"; lib = absent "lib"; }
    else rec {
      pkgs = import nixpkgs { };
      lib = if pathExists (nixpkgs + "/lib") then import (nixpkgs + "/lib") else pkgs.lib;
    };

  inFlake = name: throw
    "a spec in a flake takes `${name}` from the flake's own inputs, not as an argument";

  given = { pkgs = inFlake "pkgs"; lib = inFlake "lib"; };
in
{
  # Paths of spec files, nixpkgs or null -> one walk for each.
  files = files: nixpkgs: map (file: walk file (apply (packages nixpkgs) (import file))) files;

  # What the spec in a file has to have built.
  fileNeeds = file: nixpkgs: needs (apply (packages nixpkgs) (import file));

  # The attribute of a flake: { NAME = spec; } or a list of manifests.
  flake = v: walk "" (
    if typeOf v == "set" then builtins.mapAttrs (_: apply given) v
    else if typeOf v == "list" then map (apply given) v
    else v
  );

  # What one spec of such an attribute has to have built.
  flakeNeeds = name: v:
    let called = spec: (spec.metadata or { }).name or null == name; in
    if typeOf v == "list" then concatMap needs (filter called (map (apply given) v))
    else if v ? apiVersion then needs v
    else needs (apply given v.${name});
}
