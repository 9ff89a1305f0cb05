# services.osmoda: keeps the agents of this machine alive.
#
# declared.nix   what users declare: agents, node settings
# manifests.nix  the files that the daemon reads, checked when they are built
# service.nix    the daemon as a systemd service, users and groups
# hardening.nix  what the service may not do, and why it may do the rest
# fields/        every field of a manifest, with its type
# reference/     documentation and JSON Schema, generated from the fields
{
  imports = [
    ./declared.nix
    ./service.nix
  ];
}
