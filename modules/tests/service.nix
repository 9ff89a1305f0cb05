# What of the machine belongs to the daemon.
{ is, lib, machine, pkgs }:
let
  agent = { command = [ "/bin/it" ]; };
  config = machine { agents.it = agent // { stop.gracePeriod = "20m"; user = "ldap-user"; credentials.key.path = "/run/secrets/key"; }; };
  unit = config.systemd.services.osmoda;
  manifests = config.environment.etc."osmoda/agents".source;
in
{
  "nothing is there unless it is enabled" = is { services = { }; etc = { }; } (
    let
      off = machine { enable = lib.mkForce false; agents.it = agent; };
    in
    {
      inherit (off.systemd) services;
      inherit (off.environment) etc;
    }
  );

  "it is reloaded, never restarted, when manifests or program change" =
    is
      {
        reloadIfChanged = true;
        reloadTriggers = [ "osmoda-agents" "osmoda" ];
      }
      {
        inherit (unit) reloadIfChanged;
        reloadTriggers = map (one: one.name) unit.reloadTriggers;
      };

  "it is started by a name that stays, with arguments that never change" =
    is [ "/etc/osmoda/bin/osmoda run /etc/osmoda/agents" (lib.getExe pkgs.osmoda) ] [
      unit.serviceConfig.ExecStart
      config.environment.etc."osmoda/bin/osmoda".source
    ];

  "the same program reads again, another one takes its place" = is [ true true ] [
    (lib.hasInfix ''kill -HUP "$MAINPID"'' unit.serviceConfig.ExecReload.text)
    (lib.hasInfix ''kill -USR2 "$MAINPID"'' unit.serviceConfig.ExecReload.text)
  ];

  "manifests are checked while they are built" = is true (
    lib.hasInfix "${lib.getExe pkgs.osmoda} validate \"$out\"" manifests.script
  );
  "each agent's manifest is a path of its own" = is true (
    lib.hasInfix "-osmoda-agent-it.json \"$out/\"'it.json'" manifests.script
    || lib.hasInfix "-osmoda-agent-it.json \"$out/\"it.json" manifests.script
  );

  "a stop has time for every grace period" = is "1230s" unit.serviceConfig.TimeoutStopSec;
  "agents outlive the daemon" = is [ "process" true 2 ] [
    unit.serviceConfig.KillMode
    unit.serviceConfig.RuntimeDirectoryPreserve
    unit.serviceConfig.FileDescriptorStoreMax
  ];
  "its cgroup is its own to divide" = is [ true "daemon" "osmoda.slice" ] [
    unit.serviceConfig.Delegate
    unit.serviceConfig.DelegateSubgroup
    unit.serviceConfig.Slice
  ];

  "agents that are its children inherit no restriction that programs need to be without" =
    is
      { ProtectSystem = "full"; ProtectControlGroups = false; }
      (lib.filterAttrs (
        name: _:
        lib.elem name [
          "NoNewPrivileges" "RestrictNamespaces" "MemoryDenyWriteExecute" "PrivateDevices" "ProtectClock"
          "PrivateTmp" "ProtectHome" "ProtectSystem" "ProtectControlGroups" "CapabilityBoundingSet"
        ]
      ) (machine { runtime = "native"; }).systemd.services.osmoda.serviceConfig);
  "alone it may write little" =
    is [ "strict" [ "-/nix/var/nix/profiles" "-/nix/var/nix/gcroots" "-/mnt/anchor" ] true ] (
      let
        alone = (machine { ledger.anchors = [ { directory = "/mnt/anchor"; } ]; }).systemd.services.osmoda.serviceConfig;
      in
      [ alone.ProtectSystem alone.ReadWritePaths alone.NoNewPrivileges ]
    );
  "agents are units unless the machine asks for children" =
    is { auto = true; native = null; systemd = true; } (
      lib.genAttrs [ "auto" "native" "systemd" ] (
        runtime: (machine { inherit runtime; }).systemd.services.osmoda.serviceConfig.NoNewPrivileges or null
      )
    );
  "the daemon is told which runtime" = is [ "auto" "native" ] [
    unit.environment.OSMODA_RUNTIME
    (machine { runtime = "native"; }).systemd.services.osmoda.environment.OSMODA_RUNTIME
  ];
  "the slice of daemon and agents is the machine's, so that its removal ends them" = is [ "osmoda" ] (
    lib.attrNames config.systemd.slices
  );
  "a restriction can be lifted" = is false (
    (lib.evalModules {
      modules = [
        (import ./stand-in.nix { inherit lib; }).nixos
        ../default.nix
        {
          services.osmoda.enable = true;
          systemd.services.osmoda.serviceConfig.ProtectSystem = false;
        }
      ];
    }).config.systemd.services.osmoda.serviceConfig.ProtectSystem
  );

  "the socket's group exists, unless it is another's" = is [ [ "osmoda" ] [ ] "wheel" ] [
    (lib.attrNames config.users.groups)
    (lib.attrNames (machine { group = "wheel"; }).users.groups)
    (machine { group = "wheel"; }).systemd.services.osmoda.serviceConfig.Group
  ];

  "before a switch the host is asked for users and credentials" = is [ true true ] [
    (lib.hasInfix "for user in ldap-user; do" config.system.preSwitchChecks.osmoda)
    (lib.hasInfix "for file in /run/secrets/key; do" config.system.preSwitchChecks.osmoda)
  ];
}
