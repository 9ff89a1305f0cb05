# The systems as closures in the Debian guest's store, made without nixpkgs: what osmoda finds of
# NixOS' own is there, with the same names and the same meaning.
{ runtime }:
let
  render = import ./manifests.nix;
  all = import ./agents.nix { sh = "/bin/sh"; };

  system = name: agents: specialisations: derivation {
    inherit name runtime;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ ./build.sh ];
    PATH = "/usr/bin:/bin";
    manifests = render { inherit agents; inherit (all) node; };
    # The same in every system: none needs a reboot.
    kernel = builtins.toFile "kernel" "";
    passAsFile = [ "manifests" ];
    service = ./osmoda.service;
    activate = ./activate.sh;
    switch = ./switch.sh;
    specialisations = builtins.attrValues specialisations;
    names = builtins.attrNames specialisations;
    # A person's own unit, which only the first system has.
    stranger = if specialisations == { } then "" else "yes";
  };
in
system "base" all.base (
  builtins.mapAttrs (name: agents: system name agents { }) all.specialisations
)
