# The machine of checks/system, with the suite that compares osmoda's profiles with nix-env's.
{ testkit, ... }:
{
  imports = [ ../system/nixos.nix ];
  environment.systemPackages = [ testkit ];
}
