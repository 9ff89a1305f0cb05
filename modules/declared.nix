# What users declare: agents and the machine's settings, as options of `services.osmoda`, and the
# manifests that follow. Nothing here needs NixOS: lib.renderSpecs evaluates it alone.
#
# Where to start: fields/agent.nix for an agent's fields, specs.nix for directories of specs,
# rules.nix for what is refused.
{ config, lib, options, pkgs ? throw "this spec uses `pkgs`, and none were given", ... }:
let
  inherit (lib) mkDefault mkIf mkOption types;
  inherit (import ./fields/record.nix { inherit lib; }) record written;
  t = import ./fields/types.nix { inherit lib; };
  fields = {
    agent = import ./fields/agent.nix { inherit lib; };
    node = import ./fields/node.nix { inherit lib; };
  };
  cfg = config.services.osmoda;

  # What is an agent's beside the fields of its spec.
  besides = {
    labels = mkOption {
      type = t.mapOf t.keys.label t.label;
      default = { };
      example = { team = "research"; };
      description = "`metadata.labels` of the manifest; alerts can be chosen by them.";
    };
    package = mkOption {
      type = types.nullOr types.package;
      default = null;
      example = lib.literalExpression "pkgs.researcher";
      description = "Short for a `command` that is this package's main program with `args`.";
    };
    args = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "--port" "8080" ];
      description = "Arguments of `package`.";
    };
  };

  agentModule =
    { config, ... }:
    {
      options = besides;
      config.command = mkIf (config.package != null) (mkDefault ([ (lib.getExe config.package) ] ++ config.args));
    };
  # The record's submodule with the rest beside it.
  agent = (record fields.agent { }).substSubModules (
    (record fields.agent { }).getSubModules ++ [ agentModule ]
  );

  specs = (import ./specs.nix { inherit lib; }) {
    directory = cfg.specsDir;
    arguments = { inherit pkgs lib; };
  };
  fromSpecs = if cfg.specsDir == null then { agents = { }; node = { }; files = { }; } else specs;

  specOf = agent: removeAttrs agent._written (lib.attrNames besides);
  manifest =
    name: agent:
    {
      apiVersion = "osmoda/v1";
      kind = "Agent";
      metadata = {
        inherit name;
      }
      // lib.optionalAttrs (agent.labels != { }) { inherit (agent) labels; };
      spec = specOf agent;
    };
  # The node's fields lie beside other options; only they are looked at.
  nodeWritten = written (builtins.intersectAttrs fields.node options.services.osmoda);
  nodeManifest = {
    apiVersion = "osmoda/v1";
    kind = "Node";
    spec = nodeWritten;
  };

  misusedShorthand = lib.concatLists (
    lib.mapAttrsToList (
      name: agent:
      let
        where = "services.osmoda.agents.${name}";
        own = if agent.package == null then null else [ (lib.getExe agent.package) ] ++ agent.args;
      in
      if agent.package == null then
        lib.optional (agent.args != [ ]) "${where}.args belongs to `package`, which is not set; write them into `command`"
      else
        lib.optional (agent.command != own) "${where} has both `command` and `package`; `package` with `args` is short for a command"
    ) cfg.agents
  );
in
{
  options.services.osmoda = fields.node // {
    agents = mkOption {
      type = types.attrsOf agent;
      default = { };
      example = lib.literalExpression ''
        {
          researcher = {
            package = pkgs.researcher;
            args = [ "--port" "8080" ];
            credentials.openai.path = "/run/secrets/openai";
            probes.liveness.httpGet = { port = 8080; path = "/healthz"; };
          };
        }
      '';
      description = "The agents of this machine, by name.";
    };

    specsDir = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = lib.literalExpression "./specs";
      description = ''
        Directory of specs: each `NAME.nix` in it is the agent NAME, as for `osmoda run`; `pkgs`
        and `lib` are this configuration's. What `agents` says of the same name is added to it.
        `*.yaml`, `*.yml` and `*.json` are taken as they are. Names that begin with `.` or `_`
        are left out.
      '';
    };

    declared = mkOption {
      type = types.raw;
      internal = true;
      visible = false;
      readOnly = true;
      description = ''
        What follows: `manifests` by name of agent, `node` or null, `files` that are taken as they
        are, and `mistakes`, a function of `onNixOS` that gives sentences.
      '';
    };
  };

  config.services.osmoda = lib.mkMerge [
    {
      # Each by its file, so that errors name it.
      agents = lib.mkMerge (
        lib.mapAttrsToList (
          name: one:
          lib.mkDefinition {
            inherit (one) file;
            value.${name} = one.value;
          }
        ) fromSpecs.agents
      );
    }
    {
      declared = {
        manifests = lib.mapAttrs manifest cfg.agents;
        node = if nodeWritten == { } then null else nodeManifest;
        inherit (fromSpecs) files;
        mistakes =
          { onNixOS }:
          misusedShorthand
          ++ (import ./rules.nix { inherit lib; }) {
            agents = lib.mapAttrs (_: specOf) cfg.agents;
            node = nodeWritten;
            complete = fromSpecs.files == { };
            inherit onNixOS;
          };
      };
    }
    # A Node of the directory is like a definition of the same options.
    (lib.genAttrs (lib.attrNames fields.node) (
      name: mkIf (fromSpecs.node ? ${name}) (fromSpecs.node.${name} or { })
    ))
  ];
}
