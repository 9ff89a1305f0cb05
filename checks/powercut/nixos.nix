# Three agents that only run, one of which the scenario kills all the time, and one that it pauses
# and resumes all the time.
{ lib, pkgs, ... }:
let
  idle = { command = [ (lib.getExe pkgs.bash) "-c" "while :; do sleep 3600; done" ]; };
in
{
  services.osmoda.agents = {
    one = idle;
    two = idle;
    noted = idle;
    # It is to be back each time.
    mortal = idle // {
      restart = {
        backoff = { initial = "10ms"; max = "20ms"; };
        maxRestarts = 10000;
      };
    };
  };
}
