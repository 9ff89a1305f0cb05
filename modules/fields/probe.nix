# One probe: what is asked, and how often. The meanings are those of Kubernetes; the defaults are
# those of reconciler/core/src/spec/mod.rs.
{ lib }:
let
  inherit (lib) mkOption;
  t = import ./types.nix { inherit lib; };
  inherit (import ./record.nix { inherit lib; }) record;

  port = mkOption {
    type = t.integer 1 65535;
    example = 8080;
    description = "Port to connect to.";
  };
  host = mkOption {
    type = t.host;
    default = "127.0.0.1";
    example = "localhost";
    description = "Host to connect to.";
  };

  # Exactly one of these is given; modules/rules.nix sees to it.
  checks = {
    httpGet = mkOption {
      type = t.nullable (
        record {
          inherit host port;
          path = mkOption {
            type = t.urlPath;
            default = "/";
            example = "/healthz";
            description = "Path to ask for, with its query.";
          };
          scheme = mkOption {
            type = t.word [ "http" "https" ];
            default = "http";
            example = "https";
            description = "Plain HTTP, or HTTP over TLS.";
          };
          headers = mkOption {
            type = t.mapOf t.keys.header t.headerValue;
            default = { };
            example = { Accept = "application/json"; };
            description = "Further headers of the request.";
          };
          expect = mkOption {
            type = t.statusCodes;
            default = "200-399";
            example = "200-204";
            description = "Status codes that count as success: one, or a range with both ends included.";
          };
        } { }
      );
      default = null;
      example = { port = 8080; path = "/healthz"; };
      description = "Ask over HTTP (GET).";
    };

    tcpSocket = mkOption {
      type = t.nullable (record { inherit host port; } { });
      default = null;
      example = { port = 5432; };
      description = "Open a TCP connection.";
    };

    exec = mkOption {
      type = t.nullable (
        record {
          command = mkOption {
            type = t.command;
            example = lib.literalExpression ''[ "''${pkgs.coreutils}/bin/test" "-w" "/var/lib/queue" ]'';
            description = "Command and arguments.";
          } // { manifestExample = [ "/bin/test" "-w" "/var/lib/queue" ]; };
        } { }
      );
      default = null;
      example = lib.literalExpression ''{ command = [ "''${pkgs.coreutils}/bin/test" "-w" "/var/lib/queue" ]; }'';
      description = "Run a command, as the agent is run; success is exit code 0.";
    } // { manifestExample = { command = [ "/bin/true" ]; }; };

    mcp = mkOption {
      type = t.nullable (
        record {
          url = mkOption {
            type = t.httpUrl;
            example = "http://127.0.0.1:8080/mcp";
            description = "Address of the server (streamable HTTP).";
          };
        } { }
      );
      default = null;
      example = { url = "http://127.0.0.1:8080/mcp"; };
      description = "Speak the Model Context Protocol: initialize, then ping.";
    };
  };

  timing = {
    initialDelay = mkOption {
      type = t.duration "0s" "1h";
      default = "0s";
      example = "5s";
      description = "Wait before the first try.";
    };
    period = mkOption {
      type = t.duration "10ms" "1d";
      default = "500ms";
      example = "2s";
      description = "Time between tries.";
    };
    retryInterval = mkOption {
      type = t.duration "10ms" "1d";
      default = "200ms";
      example = "100ms";
      description = "Time between tries after a first failure.";
    };
    timeout = mkOption {
      type = t.duration "1ms" "1h";
      default = "1s";
      example = "3s";
      description = "Time an answer may take.";
    };
    successThreshold = mkOption {
      type = t.integer 1 10000;
      default = 1;
      example = 2;
      description = "Successes in a row that count as success.";
    };
    failureThreshold = mkOption {
      type = t.integer 1 10000;
      default = 3;
      example = 30;
      description = "Failures in a row that count as failure.";
    };
  };
in
record (checks // timing) {
  # For JSON Schema; exactly one of the checks.
  oneOf = map (name: { required = [ name ]; }) (lib.attrNames checks);
}
