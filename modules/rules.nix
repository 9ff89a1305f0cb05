# What no single type can say: the rules between fields and between agents. They are those of the
# program (reconciler/core/src/spec/decode and set.rs), told as early as possible and by name.
#
# { agents, node, complete, onNixOS } -> list of sentences, each about one mistake.
# `agents` and `node` are what was written (fields/record.nix); `complete` says that no agents are
# declared elsewhere, in files that Nix cannot read.
{ lib }:
{ agents, node, complete, onNixOS }:
let
  inherit (lib) attrNames concatLists concatMap concatStringsSep elem flatten hasPrefix mapAttrsToList optional;
  t = import ./fields/types.nix { inherit lib; };
  names = attrNames agents;
  get = path: lib.attrByPath path null;
  show = value: if builtins.isInt value then toString value else value;

  # `low` must not exceed `high`, both read by `read`; a bad value is already told by its type.
  ordered =
    where: read: low: high:
    let
      least = read low.value;
      most = read high.value;
    in
    optional (low.value != null && high.value != null && least != null && most != null && least > most)
      "${where}.${low.name} is ${show low.value}, above ${high.name}, which is ${show high.value}";

  checks = [ "exec" "httpGet" "mcp" "tcpSocket" ];
  probe =
    where: value:
    let
      given = lib.filter (name: value ? ${name}) checks;
      all = "exec, httpGet, mcp or tcpSocket";
    in
    if given == [ ] then [ "${where} needs one of ${all}" ]
    else optional (lib.length given > 1) "${where} has ${concatStringsSep " and " given}; give exactly one of ${all}";

  heartbeat =
    where: value:
    if value == null then [ ]
    else if value.source == "File" then optional (!(value ? file)) "${where}.file is needed with source File"
    else optional (value ? file) "${where}.file goes with source File only";

  variables =
    where: spec:
    let
      credentials = lib.filterAttrs (_: one: one ? environmentVariable) (spec.credentials or { });
      byVariable = lib.groupBy (name: credentials.${name}.environmentVariable) (attrNames credentials);
    in
    mapAttrsToList (variable: users: "${where}.credentials: `${concatStringsSep "` and `" users}` both set the variable `${variable}`")
      (lib.filterAttrs (_: users: lib.length users > 1) byVariable)
    ++ map (variable: "${where}.credentials and environment both set the variable `${variable}`")
      (lib.filter (variable: spec ? environment.${variable}) (attrNames byVariable));

  dependencies =
    where: name: spec:
    let
      all = spec.dependsOn or [ ];
      others = lib.remove name names;
      known = if others == [ ] then "there is no other agent" else "there are ${concatStringsSep ", " others}";
    in
    optional (elem name all) "${where}.dependsOn: `${name}` is the agent itself"
    ++ optional (lib.unique all != all) "${where}.dependsOn names an agent twice: ${concatStringsSep ", " all}"
    ++ map (missing: "${where}.dependsOn: no agent is called `${missing}`; ${known}") (
      lib.filter (one: complete && one != name && !(elem one names)) all
    );

  agent =
    name: spec:
    let
      where = "services.osmoda.agents.${name}";
      at = path: { name = concatStringsSep "." path; value = get path spec; };
      backoff = field: default: {
        name = "restart.backoff.${field}";
        value = lib.attrByPath [ "restart" "backoff" field ] default spec;
      };
      program = builtins.head spec.command;
    in
    optional (!(t.isAgentName name)) (
      "${where}: `${name}` is not a name of an agent: at most 63 of a-z, 0-9 and '-', no '-' at either end"
      + lib.optionalString (t.isGenerationLink name) ", and not ending in -N-link, which is how Nix names generations"
    )
    ++ optional (onNixOS && !(hasPrefix "/" program))
      "${where}.command begins with `${program}`, which is no absolute path: on NixOS an agent brings its program along, as in lib.getExe pkgs.${program}"
    ++ variables where spec
    ++ dependencies where name spec
    ++ heartbeat "${where}.heartbeat" (spec.heartbeat or null)
    ++ concatLists (mapAttrsToList (kind: probe "${where}.probes.${kind}") (spec.probes or { }))
    ++ ordered where t.bytes (at [ "resources" "memory" "high" ]) (at [ "resources" "memory" "max" ])
    ++ ordered where t.milliseconds (backoff "initial" "100ms") (backoff "max" "5m");

  # The agents that are left when those without a dependency are taken away again and again.
  ringed =
    left:
    let
      open = lib.filter (name: lib.any (one: elem one left) (agents.${name}.dependsOn or [ ])) left;
    in
    if open == left then left else ringed open;
  # From the first of them along dependencies until one comes again.
  circle =
    let
      within = ringed names;
      follow =
        seen:
        let
          next = lib.findFirst (one: elem one within) null (agents.${lib.last seen}.dependsOn or [ ]);
        in
        if elem next seen then
          lib.drop (lib.lists.findFirstIndex (one: one == next) 0 seen) seen ++ [ next ]
        else
          follow (seen ++ [ next ]);
    in
    # One that depends on itself is told of already.
    optional (within != [ ]) (follow [ (builtins.head within) ]);

  needs = {
    Slack = { needed = [ "urlFile" ]; understood = [ ]; };
    PagerDuty = { needed = [ "keyFile" ]; understood = [ "urlFile" ]; };
    Opsgenie = { needed = [ "keyFile" ]; understood = [ "urlFile" ]; };
    Telegram = { needed = [ "keyFile" "chatId" ]; understood = [ "urlFile" ]; };
    Webhook = { needed = [ "urlFile" ]; understood = [ "keyFile" ]; };
  };
  alert =
    value:
    let
      where = "services.osmoda.alerts: `${value.name}` (${value.provider})";
      inherit (needs.${value.provider}) needed understood;
    in
    map (field: "${where} needs ${field}") (lib.filter (field: !(value ? ${field})) needed)
    ++ map (field: "${where}: ${field} means nothing to it") (
      lib.filter (field: value ? ${field} && !(elem field (needed ++ understood))) [ "urlFile" "keyFile" "chatId" ]
    );
  alertNames = map (one: one.name) (node.alerts or [ ]);
  anchor =
    value:
    optional (lib.length (attrNames value) != 1)
      "services.osmoda.ledger.anchors: give exactly one of directory, webhook or witness for each anchor";
in
flatten (mapAttrsToList agent agents)
++ map (ring: "dependsOn leads in a circle: ${concatStringsSep " -> " ring}") (
  lib.filter (ring: lib.length ring > 2) circle
)
++ concatMap alert (node.alerts or [ ])
++ optional (lib.unique alertNames != alertNames) "services.osmoda.alerts: a name is given twice: ${concatStringsSep ", " alertNames}"
++ concatMap anchor (node.ledger.anchors or [ ])
++ concatLists (mapAttrsToList (name: probe "services.osmoda.healthChecks.${name}") (node.healthChecks or { }))
