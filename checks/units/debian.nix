# The agents as manifests; in the Debian guest.
import ./manifests.nix { agents = import ./agents.nix { sh = "/bin/sh"; }; }
