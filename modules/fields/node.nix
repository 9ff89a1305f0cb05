# The fields of a Node's `spec`: what is the machine's and not an agent's. Defaults are those of
# reconciler/core/src/spec/node.rs.
{ lib }:
let
  inherit (lib) mkOption;
  t = import ./types.nix { inherit lib; };
  inherit (import ./record.nix { inherit lib; }) record;
  probe = import ./probe.nix { inherit lib; };

  field =
    type: default: example: description:
    mkOption { inherit type default example description; };
  required =
    type: example: description:
    mkOption { inherit type example description; };
  optional =
    type: example: description:
    field (t.nullable type) null example description;

  # What each provider needs; what means nothing to one is refused by modules/rules.nix.
  needs = {
    Slack = [ "urlFile" ];
    PagerDuty = [ "keyFile" ];
    Opsgenie = [ "keyFile" ];
    Telegram = [ "keyFile" "chatId" ];
    Webhook = [ "urlFile" ];
  };

  alert = record {
    name = required t.agentName "ops" "Its name, for `osmoda alerts test`.";
    provider = required (t.word (lib.attrNames needs)) "Slack" ''
      Whose format is spoken. Slack and Webhook need `urlFile`, PagerDuty and Opsgenie `keyFile`,
      Telegram `keyFile` and `chatId`.
    '';
    urlFile = optional t.secretFile "/run/secrets/slack-url" ''
      File that holds the URL: a webhook's URL is a secret.
    '';
    keyFile = optional t.secretFile "/run/secrets/pagerduty-key" "File that holds the key or token.";
    chatId = optional t.chatId "-100123" "Chat of Telegram.";
    minSeverity = field (t.word [ "Info" "Warning" "Critical" ]) "Warning" "Critical" ''
      Least severity that is sent.
    '';
    labels = field (t.mapOf t.keys.label t.label) { } { team = "research"; } ''
      Only of agents with these labels; none: of all.
    '';
    kinds = field (t.listOf t.eventKind) [ ] [ "FailureDetected" ] ''
      Only of these kinds of ledger entry; none: all that alert.
    '';
  } {
    allOf = lib.mapAttrsToList (provider: required: {
      "if".properties.provider.const = provider;
      "then" = { inherit required; };
    }) needs;
  };

  anchor = record {
    directory = optional t.absolutePath "/mnt/anchor" "A directory, such as another host's mount.";
    webhook = optional (record {
      urlFile = required t.secretFile "/run/secrets/anchor-url" "File that holds the URL.";
    } { }) { urlFile = "/run/secrets/anchor-url"; } "A webhook.";
    witness = optional (record {
      url = required t.httpUrl "https://witness.example" "Prefix of its submission URL.";
      key = required t.verifierKey
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
        "Its public key (a C2SP verifier key).";
    } { }) {
      url = "https://witness.example";
      key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    } "A witness (C2SP tlog-witness).";
  } {
    oneOf = map (name: { required = [ name ]; }) [ "directory" "webhook" "witness" ];
  };
in
{
  name = optional t.host "host-1.example" "Name in the ledger; otherwise the host's name.";

  operators = {
    users = field (t.listOf t.account) [ ] [ "alice" ] ''
      Users who may act (restart, pause, resume, roll back), besides root.
    '';
    groups = field (t.listOf t.account) [ ] [ "wheel" ] "Groups whose members may act.";
  };

  listen.metrics = optional t.loopback "127.0.0.1:9464" "Address of /metrics over TCP.";

  healthChecks = field (t.mapOf t.keys.agent probe) { } { gateway.tcpSocket.port = 443; } ''
    Health of the machine as a whole: while one fails, a new system generation is not good.
  '';

  rollback = {
    system = field (t.word [ "Auto" "Never" ]) "Auto" "Never" ''
      Whether the system may be rolled back when that of agents did not help.
    '';
    budget = field (t.integer 0 1000) 3 1 "Most system rollbacks within `per`.";
    per = field (t.duration "1s" "365d") "1d" "12h" "Window in which they are counted.";
  };

  alerts = field (t.listOf alert) [ ] [
    {
      name = "ops";
      provider = "Slack";
      urlFile = "/run/secrets/slack-url";
    }
  ] "Where alerts go.";

  ledger = {
    checkpointEvery = field (t.duration "10ms" "1d") "30s" "10s" "Longest time an entry stays unsigned.";
    anchors = field (t.listOf anchor) [ ] [ { directory = "/mnt/anchor"; } ] ''
      Where checkpoints are carried, so that a rewritten ledger is found out.
    '';
  };
}
