# A machine whose systems are specialisations of one: see agents.nix.
{ config, lib, pkgs, ... }:
let
  all = import ./agents.nix { sh = lib.getExe pkgs.bash; };
in
{
  services.osmoda = {
    agents = lib.mkDefault all.base;
    inherit (all.node) healthChecks;
    rollback.budget = all.node.rollback.budget;
  };

  specialisation = lib.mapAttrs (name: agents: {
    configuration = {
      services.osmoda.agents = agents;
      system.systemBuilderCommands = lib.mkIf (name == "failing-6") ''
        printf 'another init' >"$out/init-interface-version"
      '';
    };
  }) all.specialisations;

  # A person's own unit, which only the first system has: specialisations have none of their own.
  systemd.services = lib.mkIf (config.specialisation != { }) {
    stranger = {
      wantedBy = [ "multi-user.target" ];
      serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
      script = "test ! -e /run/break";
    };
  };

  # What a scenario wants to happen before a switch and in its middle.
  system.preSwitchChecks.refuse = "test ! -e /run/refuse";
  system.activationScripts.middle.text = ''
    if [ -e /run/middle ]; then
      ${lib.getExe pkgs.bash} /run/middle
    fi
  '';

  system.switch.enable = true;
  system.build.installBootLoader = lib.mkForce (lib.getExe' pkgs.coreutils "true");
}
