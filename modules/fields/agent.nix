# The fields of an agent's `spec` (docs/specs.md), as options, with the program's own defaults
# (reconciler/core/src/spec/mod.rs). A test compares names, bounds and defaults with the program:
# xtask/tests/schema.
{ lib }:
let
  inherit (lib) literalExpression mkOption;
  t = import ./types.nix { inherit lib; };
  inherit (import ./record.nix { inherit lib; }) record;
  probe = import ./probe.nix { inherit lib; };

  optional =
    type: example: description:
    mkOption {
      type = t.nullable type;
      default = null;
      inherit example description;
    };
  field =
    type: default: example: description:
    mkOption { inherit type default example description; };
in
{
  command = mkOption {
    type = t.command;
    example = literalExpression ''[ (lib.getExe pkgs.researcher) "--port" "8080" ]'';
    description = ''
      Command and arguments. The first word is an absolute path, on NixOS one in the store, so
      that the agent and all it needs are one closure; elsewhere it may be a name on PATH.
    '';
  } // { manifestExample = [ "/usr/bin/python3" "worker.py" "--port" "8080" ]; };

  environment = field (t.mapOf t.keys.variable t.string) { } { MODE = "fast"; } ''
    Variables added to the agent's environment. No secrets: they are for everybody to read here.
    Use `credentials`.
  '';

  credentials = mkOption {
    type = t.mapOf t.keys.credential (
      record {
        path = mkOption {
          type = t.secretFile;
          example = "/run/secrets/openai";
          description = ''
            File that holds the value. It is read afresh at every start; while it is missing, the
            agent is not started (condition CredentialsReady=False). In quotes: a path literal
            would be copied into the store, and is refused.
          '';
        };
        environmentVariable = optional t.keys.variable "OPENAI_API_KEY" ''
          Variable that receives the value too. Other processes of the same user can read it;
          the file is safer.
        '';
      } { }
    );
    default = { };
    example = {
      openai = {
        path = "/run/secrets/openai";
        environmentVariable = "OPENAI_API_KEY";
      };
    };
    description = "Secrets by name: each reaches the agent as `$CREDENTIALS_DIRECTORY/NAME`.";
  };

  workingDirectory = optional t.absolutePath "/srv/researcher" ''
    Directory to start in; otherwise the agent's own below the state directory.
  '';
  user = optional t.account "researcher" ''
    User to run as. Otherwise: a dynamic user under the systemd runtime (without a sandbox: root),
    the daemon's own, which is root, under the native one.
  '';
  group = optional t.account "agents" "Group to run as; otherwise the user's own.";

  dependsOn = field (t.listOf t.agentName) [ ] [ "researcher" ] ''
    Agents that must be Ready before this one starts, and whose failure explains this one's.
  '';

  heartbeat = optional (record {
    source = mkOption {
      type = t.word [ "Notify" "Output" "File" ];
      example = "Notify";
      description = ''
        Where heartbeats come from: `WATCHDOG=1` on `$NOTIFY_SOCKET` (sd_notify), anything
        written to standard output or error, or a file's modification time.
      '';
    };
    timeout = field (t.duration "10ms" "1d") "15s" "1m" "Longest silence.";
    file = optional t.absolutePath "/run/researcher/alive" "The file, with source File only.";
  } {
    "if".properties.source.const = "File";
    "then".required = [ "file" ];
    "else".properties.file = false;
  }) { source = "Notify"; timeout = "5s"; } "How silence is judged; otherwise it is not.";

  probes = {
    startup = optional probe { tcpSocket.port = 8080; failureThreshold = 60; } ''
      Until it succeeds, the others do not run.
    '';
    readiness = optional probe { httpGet = { port = 8080; path = "/readyz"; }; } ''
      Gates Ready and rollouts; never restarts.
    '';
    liveness = optional probe { httpGet = { port = 8080; path = "/healthz"; }; period = "2s"; } ''
      Its failure restarts the agent. Without a startup probe it serves as one, with patience.
    '';
  };

  resources = {
    memory = {
      high = optional (t.size "1Mi" "1024Ti") "256Mi" "Above it the agent is restarted gracefully.";
      max = optional (t.size "1Mi" "1024Ti") "512Mi" "Hard limit of its whole process tree.";
    };
    cpu = {
      max = optional (t.percent "1%" "102400%") "150%" "Hard limit, in percent of one CPU.";
      runaway = optional (record {
        above = field (t.percent "1%" "102400%") "95%" "90%" "Use that counts, in percent of one CPU.";
        for = field (t.duration "1s" "1d") "2m" "5m" "How long it must last.";
      } { }) { above = "95%"; for = "2m"; } "Use of CPU that ends in a graceful restart.";
    };
    tasksMax = optional (t.integer 1 4194304) 64 "Most processes and threads.";
  };

  restart = {
    policy = field (t.word [ "Always" "OnFailure" "Never" ]) "Always" "OnFailure" ''
      Which ends are followed by a restart; OnFailure: all but exit code 0.
    '';
    backoff = {
      initial = field (t.duration "1ms" "1d") "100ms" "500ms" ''
        Wait before the second restart; the first is immediate.
      '';
      factor = field (t.decimal 1 100) 2 1.5 "Growth of the wait with each restart.";
      max = field (t.duration "1ms" "1d") "5m" "1m" "Longest wait.";
      jitter = field (t.decimal 0 1) 0.1 0.25 "Random share by which a wait may grow.";
      resetAfter = field (t.duration "1ms" "365d") "10m" "1h" ''
        Time of health after which the count starts anew.
      '';
    };
    maxRestarts = field (t.integer 0 10000) 5 3 ''
      Restarts within `within` before the rollout's step is taken once; after it, restarts go on
      at `backoff.max`.
    '';
    within = field (t.duration "1s" "365d") "10m" "5m" "Window in which restarts are counted.";
  };

  stop = {
    signal =
      field
        (t.word [
          "SIGHUP" "SIGINT" "SIGQUIT" "SIGABRT" "SIGBUS" "SIGKILL"
          "SIGUSR1" "SIGSEGV" "SIGUSR2" "SIGPIPE" "SIGALRM" "SIGTERM"
        ])
        "SIGTERM" "SIGINT" "First signal, to the whole process tree.";
    gracePeriod = field (t.duration "0s" "1d") "10s" "30s" "Time until SIGKILL.";
  };

  rollout = {
    progressDeadline = field (t.duration "10ms" "1d") "2m" "5m" ''
      Time a new generation has to become Ready.
    '';
    minReady = field (t.duration "0s" "1d") "10s" "1m" ''
      Time it must stay Ready to count as good.
    '';
    rollback = field (t.word [ "Agent" "System" "Never" ]) "Agent" "System" ''
      What may be rolled back: the agent's generation, then also the system's, or nothing.
    '';
    suspectFor = field (t.duration "0s" "365d") "1d" "7d" ''
      How long a good generation may still be blamed for failures.
    '';
    historyLimit = field (t.integer 1 1000) 10 3 "Generations kept.";
  };

  sandbox = field (t.word [ "Default" "Off" ]) "Default" "Off" ''
    Confinement under the systemd runtime: no new privileges, a read-only system, a /tmp and a user
    of its own. The native runtime has none; `osmoda status` says so of an agent that asks for it.
  '';
}
