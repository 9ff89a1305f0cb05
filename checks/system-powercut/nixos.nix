# The machine of checks/system.
{ imports = [ ../system/nixos.nix ]; }
