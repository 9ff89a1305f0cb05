# What is refused at evaluation, before anything is built: by a type, or by a sentence.
{ agents, is, lib, machine, pkgs, refused, refusedAgent, sentence }:
let
  one = agent: { agents.it = { command = [ "/bin/it" ]; } // agent; };
  where = "services.osmoda.agents.it";
in
{
  # A secret would be copied into the store, for everybody to read.
  "a path literal for a credential" = is true (refusedAgent { credentials.key.path = ./default.nix; });
  "a credential in the store" = is true (refusedAgent { credentials.key.path = "${builtins.storeDir}/x-key"; });
  "a credential that is the copy of a file" = is true (refusedAgent { credentials.key.path = "${./default.nix}"; });
  "a credential elsewhere is fine" = is false (refusedAgent { credentials.key.path = "/run/secrets/key"; });
  "an alert's URL in the store" = is true (
    refused
      (machine {
        alerts = [ { name = "a"; provider = "Slack"; urlFile = ./default.nix; } ];
      }).services.osmoda.declared.node
  );

  "an unknown field" = is true (refusedAgent { restarts = 3; });
  "an unknown word" = is true (refusedAgent { restart.policy = "Sometimes"; });
  "a duration without a unit" = is true (refusedAgent { stop.gracePeriod = 10; });
  "a duration beyond its bound" = is true (refusedAgent { stop.gracePeriod = "25h"; });
  "a duration at its bound is fine" = is false (refusedAgent { stop.gracePeriod = "24h"; });
  "a size that forgot its unit" = is true (refusedAgent { resources.memory.max = 512; });
  "a port of none" = is true (refusedAgent { probes.liveness.tcpSocket.port = 0; });
  "a fraction finer than the program keeps" = is true (refusedAgent { restart.backoff.jitter = 0.12345; });
  "a variable that osmoda sets" = is true (refusedAgent { environment.NOTIFY_SOCKET = "x"; });
  "a credential's name that would leave its directory" = is true (refusedAgent { credentials."../x".path = "/run/x"; });
  "a relative program" = is true (refusedAgent { command = [ "bin/it" ]; });
  "a URL with a password" = is true (refusedAgent { probes.liveness.mcp.url = "http://me:secret@host/mcp"; });

  "a name that is no name" = sentence [
    "services.osmoda.agents.It: `It` is not a name of an agent: at most 63 of a-z, 0-9 and '-', no '-' at either end"
  ] { agents.It.command = [ "/bin/it" ]; };
  "a name that Nix would take for a generation" = sentence [
    "services.osmoda.agents.it-3-link: `it-3-link` is not a name of an agent: at most 63 of a-z, 0-9 and '-', no '-' at either end, and not ending in -N-link, which is how Nix names generations"
  ] { agents.it-3-link.command = [ "/bin/it" ]; };
  "an agent without a program" = is true (refused (machine { agents.it = { }; }).assertions);
  "a probe without what it needs" = is true (refusedAgent { probes.liveness.exec = { }; });
  "a program that would be looked up" = sentence [
    "${where}.command begins with `python3`, which is no absolute path: on NixOS an agent brings its program along, as in lib.getExe pkgs.python3"
  ] { agents.it.command = [ "python3" ]; };
  "arguments without a package" = sentence [
    "${where}.args belongs to `package`, which is not set; write them into `command`"
  ] (one { args = [ "x" ]; });
  "a command beside a package" = sentence [
    "${where} has both `command` and `package`; `package` with `args` is short for a command"
  ] (one { package = pkgs.hello; });

  "a dependency on nobody" = sentence [
    "services.osmoda.agents.a.dependsOn: no agent is called `x`; there are b"
  ] { agents = agents { a = [ "x" ]; b = [ ]; }; };
  "a dependency on oneself" = sentence [ "services.osmoda.agents.a.dependsOn: `a` is the agent itself" ] {
    agents = agents { a = [ "a" ]; };
  };
  "a dependency named twice" = sentence [ "services.osmoda.agents.a.dependsOn names an agent twice: b, b" ] {
    agents = agents { a = [ "b" "b" ]; b = [ ]; };
  };
  "dependencies in a circle" = sentence [ "dependsOn leads in a circle: b -> c -> d -> b" ] {
    agents = agents { a = [ "b" ]; b = [ "c" ]; c = [ "d" ]; d = [ "b" ]; e = [ ]; };
  };
  "dependencies that meet again are no circle" = sentence [ ] {
    agents = agents { a = [ "b" "c" ]; b = [ "d" ]; c = [ "d" ]; d = [ ]; };
  };

  "a probe that asks nothing" = sentence [ "${where}.probes.liveness needs one of exec, httpGet, mcp or tcpSocket" ] (
    one { probes.liveness.period = "2s"; }
  );
  "a probe that asks twice" = sentence [
    "${where}.probes.liveness has httpGet and tcpSocket; give exactly one of exec, httpGet, mcp or tcpSocket"
  ] (one { probes.liveness = { httpGet.port = 1; tcpSocket.port = 1; }; });
  "a heartbeat by a file without the file" = sentence [ "${where}.heartbeat.file is needed with source File" ] (
    one { heartbeat.source = "File"; }
  );
  "a file for another heartbeat" = sentence [ "${where}.heartbeat.file goes with source File only" ] (
    one { heartbeat = { source = "Notify"; file = "/run/x"; }; }
  );
  "a soft limit above the hard one" = sentence [
    "${where}.resources.memory.high is 2Gi, above resources.memory.max, which is 1024Mi"
  ] (one { resources.memory = { high = "2Gi"; max = "1024Mi"; }; });
  "a first wait above the longest, which is a default" = sentence [
    "${where}.restart.backoff.initial is 10m, above restart.backoff.max, which is 5m"
  ] (one { restart.backoff.initial = "10m"; });
  "two credentials for one variable" = sentence [ "${where}.credentials: `a` and `b` both set the variable `X`" ] (
    one { credentials = lib.genAttrs [ "a" "b" ] (_: { path = "/run/x"; environmentVariable = "X"; }); }
  );
  "a variable from the environment and a credential" = sentence [
    "${where}.credentials and environment both set the variable `X`"
  ] (one { environment.X = "1"; credentials.a = { path = "/run/x"; environmentVariable = "X"; }; });

  "an alert without what its provider needs" = sentence [ "services.osmoda.alerts: `a` (Telegram) needs chatId" ] {
    alerts = [ { name = "a"; provider = "Telegram"; keyFile = "/run/x"; } ];
  };
  "an alert with what means nothing to its provider" = sentence [
    "services.osmoda.alerts: `a` (Slack): keyFile means nothing to it"
  ] { alerts = [ { name = "a"; provider = "Slack"; urlFile = "/run/x"; keyFile = "/run/x"; } ]; };
  "an anchor that is two" = sentence [
    "services.osmoda.ledger.anchors: give exactly one of directory, webhook or witness for each anchor"
  ] { ledger.anchors = [ { directory = "/mnt"; webhook.urlFile = "/run/x"; } ]; };
}
