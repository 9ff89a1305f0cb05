# The machine. Replace the part about its disks by your own hardware-configuration.nix.
{ config, lib, pkgs, ... }:
{
  services.osmoda = {
    enable = true;

    # One file for each agent: specs/notes.nix is the agent `notes`.
    specsDir = ./specs;

    # Or right here; what stands here of an agent of specs/ is added to it.
    agents.reader = {
      package = pkgs.python3;
      args = [ "${./programs/reader.py}" "http://127.0.0.1:8080/" ];
      environment.PYTHONUNBUFFERED = "1";
      dependsOn = [ "notes" ];
      # It prints a line every few seconds; when it no longer does, it hangs.
      heartbeat = { source = "Output"; timeout = "30s"; };
    };

    # A secret's file, not the secret: in quotes, or it would be copied into the store.
    # agents.reader.credentials.api-key.path = "/run/secrets/api-key";

    # Who may restart and pause agents, besides root.
    operators.groups = [ "wheel" ];
  };

  # Members may look: osmoda status, logs, events.
  users.users.operator = {
    isNormalUser = true;
    extraGroups = [ "wheel" config.services.osmoda.group ];
  };

  boot.loader.systemd-boot.enable = lib.mkDefault true;
  fileSystems."/" = lib.mkDefault { device = "/dev/disk/by-label/nixos"; fsType = "ext4"; };
  fileSystems."/boot" = lib.mkDefault { device = "/dev/disk/by-label/boot"; fsType = "vfat"; };
  networking.hostName = "agents";
  system.stateVersion = "25.11";
}
