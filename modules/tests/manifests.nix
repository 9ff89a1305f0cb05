# What an agent's manifest holds.
{ is, lib, machine, manifests, pkgs, spec }:
{
  "only what was written is in it" = is { command = [ "/bin/it" ]; } (spec { });

  "a default that was written is in it" = is { command = [ "/bin/it" ]; stop.gracePeriod = "10s"; } (
    spec { stop.gracePeriod = "10s"; }
  );

  "null takes back what another definition gave" = is { command = [ "/bin/it" ]; } (
    spec {
      heartbeat = lib.mkForce null;
      user = lib.mkMerge [ (lib.mkDefault "alice") null ];
    }
  );

  "an empty runaway is one with defaults" = is { cpu.runaway = { }; } (spec { resources.cpu.runaway = { }; }).resources;

  "a group that is not written is left out" = is false (spec { stop.signal = "SIGINT"; } ? restart);

  "the whole is a manifest" =
    is
      {
        it = {
          apiVersion = "osmoda/v1";
          kind = "Agent";
          metadata = {
            name = "it";
            labels.team = "x";
          };
          spec = {
            command = [ "/bin/it" ];
            credentials.key = {
              path = "/run/secrets/key";
              environmentVariable = "KEY";
            };
            probes.liveness = {
              httpGet = {
                port = 80;
                headers.Accept = "text/plain";
              };
              period = "2s";
            };
          };
        };
      }
      (manifests {
        agents.it = {
          command = [ "/bin/it" ];
          labels.team = "x";
          credentials.key = {
            path = "/run/secrets/key";
            environmentVariable = "KEY";
          };
          probes.liveness = {
            httpGet = {
              port = 80;
              headers.Accept = "text/plain";
            };
            period = "2s";
          };
        };
      });

  "a package is short for its command" = is [ "${lib.getExe pkgs.hello}" "--greeting" "you" ] (
    (manifests {
      agents.it = {
        package = pkgs.hello;
        args = [ "--greeting" "you" ];
      };
    }).it.spec.command
  );

  "a machine without settings of its own has no Node" = is null (machine { }).services.osmoda.declared.node;

  "a Node has what was written of it" =
    is
      {
        apiVersion = "osmoda/v1";
        kind = "Node";
        spec = {
          name = "host-1";
          operators.groups = [ "wheel" ];
          alerts = [
            {
              name = "ops";
              provider = "Slack";
              urlFile = "/run/secrets/slack";
            }
          ];
          healthChecks.gateway.tcpSocket.port = 443;
        };
      }
      (machine {
        name = "host-1";
        operators.groups = [ "wheel" ];
        alerts = [
          {
            name = "ops";
            provider = "Slack";
            urlFile = "/run/secrets/slack";
          }
        ];
        healthChecks.gateway.tcpSocket.port = 443;
      }).services.osmoda.declared.node;
}
