# What the service may not do.
#
# The daemon runs as root: it starts agents as any user, reads their credentials wherever they
# are, moves profiles and, where it is allowed to, switches the system's generation. Under the
# native runtime its agents are its children and inherit every restriction of this unit, and an
# agent is any program. So there are two sets: what holds for both, and what holds where agents
# are units of their own, each with its own `sandbox`.
#
# Every value is a default: systemd.services.osmoda.serviceConfig overrides it.
{ lib }:
{ agentsAreUnits, writable }:
let
  # For daemon and agents alike: what no program that does its work needs.
  always = {
    LockPersonality = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    RestrictRealtime = true;
    SystemCallErrorNumber = "EPERM";
    SystemCallFilter = [ "~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap" ];

    # Each agent has a cgroup below this unit's, made and removed by the daemon.
    ProtectControlGroups = false;
  };

  # Left open because agents inherit it:
  #   NoNewPrivileges        an agent may call sudo, or a browser's setuid sandbox
  #   RestrictNamespaces     browsers and bubblewrap make namespaces
  #   MemoryDenyWriteExecute JavaScript, Java and Python's ffi write code at run time
  #   SystemCallArchitectures an agent may be a 32-bit program
  #   PrivateDevices, ProtectClock   both close the device cgroup, and with it the GPU
  #   PrivateTmp             a daemon that comes back would see another /tmp than the agents that
  #                          outlived it, and take a heartbeat's file there for silent
  #   ProtectHome            agents work there
  #   ProtectProc, ProcSubset  whether an agent lives is read in /proc, and of every process
  #   RestrictAddressFamilies, IPAddressDeny   which networks an agent speaks is not known here
  withAgents = {
    # /usr, /boot and /etc are not for programs to write on NixOS.
    ProtectSystem = "full";
  };

  daemonAlone = {
    NoNewPrivileges = true;
    MemoryDenyWriteExecute = true;
    SystemCallArchitectures = "native";
    RestrictNamespaces = true;
    RestrictSUIDSGID = true;
    PrivateDevices = true;
    ProtectClock = true;
    # Read-only and not hidden: credentials and files of heartbeats may lie there.
    ProtectHome = "read-only";
    ProtectSystem = "strict";
    ReadWritePaths = writable;
    # Probes and anchors speak IP; everything else is a Unix socket (D-Bus among them), or netlink
    # of the resolver.
    RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" "AF_NETLINK" ];
    # Files of other users are read (credentials) and owned (state), probes run as the agent,
    # and /proc of other users' processes is looked at. Systemd is told of an agent's new main
    # process in that agent's name (SCM_CREDENTIALS), which takes CAP_SYS_ADMIN; a root daemon
    # that may start any unit gains nothing by it.
    CapabilityBoundingSet = [
      "CAP_CHOWN" "CAP_DAC_OVERRIDE" "CAP_DAC_READ_SEARCH" "CAP_FOWNER" "CAP_KILL"
      "CAP_SETGID" "CAP_SETUID" "CAP_SYS_ADMIN" "CAP_SYS_PTRACE"
    ];
    # As above: a daemon that comes back must see what its agents see.
    PrivateTmp = false;
  };
in
lib.mapAttrs (_: lib.mkDefault) (always // (if agentsAreUnits then daemonAlone else withAgents))
