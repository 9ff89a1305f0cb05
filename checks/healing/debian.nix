# The agents and what is deployed later, each as manifests; in the Debian guest.
let
  render = import ./manifests.nix;
  all = import ./agents.nix {
    sh = "/bin/sh";
    perl = "/usr/bin/perl";
    testAgent = "/usr/local/bin/osmoda-test-agent";
    osmoda = "/usr/local/bin/osmoda";
  };
  deployed = agent: render { agents.deployed = agent; };
in
{
  base = render { agents = builtins.removeAttrs all.agents [ "deployed" ]; };
  deployed = deployed all.agents.deployed;
}
// builtins.mapAttrs (_: deployed) all.deployments
