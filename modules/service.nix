# The daemon as a systemd service, and what on the machine belongs to it.
#
# A switch to another configuration never restarts it: it is reloaded, which means that it reads
# its manifests again, and becomes the new program where there is one, in place and with its agents
# running on. That is why it is started by a name that stays (/etc/osmoda/bin/osmoda), and why
# nothing that can change is among its arguments.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkEnableOption mkIf mkOption mkPackageOption types;
  cfg = config.services.osmoda;
  t = import ./fields/types.nix { inherit lib; };

  program = "/etc/osmoda/bin/osmoda";
  agentsDirectory = "/etc/osmoda/agents";

  manifests = import ./manifests.nix {
    inherit lib pkgs;
    inherit (cfg) package declared;
  };

  specs = lib.mapAttrs (_: manifest: manifest.spec) cfg.declared.manifests;

  # Under the native runtime a stop ends the agents in reverse order of dependency, each with its
  # own grace period: at worst one after the other.
  graceful = lib.mapAttrsToList (_: agent: t.milliseconds agent.stop.gracePeriod) cfg.agents;
  stopSeconds = lib.max 300 (30 + lib.foldl' builtins.add 0 graceful / 1000);

  reload = pkgs.writeShellScript "osmoda-reload" ''
    # The same program: read the manifests again. Another one: become it, which reads them too.
    if [ "/proc/$MAINPID/exe" -ef ${program} ]; then
      kill -HUP "$MAINPID"
    else
      kill -USR2 "$MAINPID"
    fi
  '';

  anchors = lib.filter (one: one ? directory) (cfg.declared.node.spec.ledger.anchors or [ ]);
  hardening = import ./hardening.nix { inherit lib; } {
    # On NixOS `auto` finds what systemd as runtime needs.
    agentsAreUnits = cfg.runtime != "native";
    writable = [ "-/nix/var/nix/profiles" "-/nix/var/nix/gcroots" ] ++ map (one: "-${one.directory}") anchors;
  };

  # Users that an agent names and this configuration does not declare must be known to the host
  # (LDAP, say); credentials may well come later, so that a missing one is only told.
  undeclared = lib.unique (
    lib.filter (user: !(config.users.users ? ${user})) (
      lib.mapAttrsToList (_: spec: spec.user) (lib.filterAttrs (_: spec: spec ? user) specs)
    )
  );
  credentials = lib.unique (
    lib.concatLists (
      lib.mapAttrsToList (_: spec: lib.mapAttrsToList (_: one: one.path) (spec.credentials or { })) specs
    )
  );
  hostCheck = ''
    for user in ${lib.escapeShellArgs undeclared}; do
      if ! ${lib.getExe' pkgs.getent "getent"} passwd "$user" >/dev/null; then
        echo "osmoda: an agent is to run as $user, and neither this configuration nor the host knows that user" >&2
        exit 1
      fi
    done
    for file in ${lib.escapeShellArgs credentials}; do
      if [ ! -e "$file" ]; then
        echo "osmoda: $file is not there yet; the agent that needs it starts once it is" >&2
      fi
    done
  '';
in
{
  options.services.osmoda = {
    enable = mkEnableOption "osmoda, which keeps AI agents alive";

    package = mkPackageOption pkgs "osmoda" { };

    runtime = mkOption {
      type = types.enum [ "auto" "native" "systemd" ];
      default = "auto";
      example = "native";
      description = ''
        What starts agents: `systemd` as transient units in osmoda.slice, each with a sandbox and a
        user of its own; `native` as children of the daemon; `auto` takes systemd where the daemon
        can, which on NixOS it can. Without `native` the daemon itself is hardened further. A
        change counts from the next start of the service.
      '';
    };

    group = mkOption {
      type = types.str;
      default = "osmoda";
      example = "wheel";
      description = ''
        Group of the daemon's socket: its members may look (status, logs, events). Who may act
        says `operators`.
      '';
    };
  };

  config = mkIf cfg.enable {
    assertions = map (message: { assertion = false; inherit message; }) (
      cfg.declared.mistakes { onNixOS = true; }
    );

    environment.systemPackages = [ cfg.package ];
    environment.etc."osmoda/agents".source = manifests;
    environment.etc."osmoda/bin/osmoda".source = lib.getExe cfg.package;

    users.groups = mkIf (cfg.group == "osmoda") { osmoda = { }; };

    system.preSwitchChecks.osmoda = hostCheck;

    # Agents that are units are in it, whether or not the daemon runs. A stop of the slice, as when
    # this module is removed, ends them all.
    systemd.slices.osmoda = {
      description = "AI agents and the daemon that keeps them alive";
      documentation = [ "man:osmoda(1)" ];
    };

    systemd.services.osmoda = {
      description = "osmoda, which keeps AI agents alive";
      documentation = [ "man:osmoda(1)" ];
      wantedBy = [ "multi-user.target" ];
      # Agents may run as any user.
      after = [ "nss-user-lookup.target" ];
      # It is never given up: see Restart below.
      startLimitIntervalSec = 0;

      # Any change of this unit, and of what the triggers name, is a reload.
      reloadIfChanged = true;
      reloadTriggers = [
        manifests
        cfg.package
      ];

      # Closures are looked at with the machine's own Nix.
      path = [ config.nix.package ];
      environment.OSMODA_RUNTIME = cfg.runtime;

      serviceConfig = hardening // {
        ExecStart = "${program} run ${agentsDirectory}";
        ExecReload = reload;

        # "Started" means: the ledger is open, running agents are adopted, the API answers. A
        # daemon whose loop hangs no longer says WATCHDOG=1, and is replaced.
        Type = "notify";
        NotifyAccess = "main";
        WatchdogSec = "30s";

        # However the daemon ends, it comes back, and agents do not notice: only the daemon
        # itself is ever signalled, what it knows of them stays in /run/osmoda, and the next
        # daemon adopts what it finds. `systemctl stop` leaves agents that are units running; under
        # the native runtime it ends them, each with its grace period, before the daemon ends.
        Restart = "always";
        RestartSec = "100ms";
        KillMode = "process";
        TimeoutStopSec = "${toString stopSeconds}s";

        # The socket that agents send their heartbeats to: one that connected to it once still
        # reaches the daemon that follows. A daemon that was given it stores it again: one more
        # than is kept.
        FileDescriptorStoreMax = 2;

        # The socket's group is that of the process.
        Group = cfg.group;
        RuntimeDirectory = "osmoda";
        RuntimeDirectoryPreserve = true;
        StateDirectory = "osmoda";
        # Agents of other users pass through it to their own directories.
        StateDirectoryMode = "0711";
        LogsDirectory = "osmoda";
        LogsDirectoryMode = "0750";

        # Under the native runtime each agent gets a cgroup of its own below this unit's, with the
        # limits of its spec. The daemon lives in one called `daemon`, because a cgroup that hands
        # controllers on may hold no process.
        Slice = "osmoda.slice";
        Delegate = true;
        DelegateSubgroup = "daemon";

        # This unit's limits would be those of all agents together; they have their own.
        TasksMax = "infinity";
        LimitNOFILE = "524288";
        # When memory runs out, osmoda is what should be left.
        OOMScoreAdjust = -900;
        OOMPolicy = "continue";
      };
    };
  };
}
