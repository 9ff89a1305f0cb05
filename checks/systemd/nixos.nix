# The conformance suite of the systemd runtime, and the test agent where it was built.
{ testkit, ... }:
{
  environment.systemPackages = [ testkit ];
  systemd.services.test-agent-origin = {
    description = "The test agent where it was built";
    wantedBy = [ "multi-user.target" ];
    before = [ "multi-user.target" ];
    serviceConfig.Type = "oneshot";
    script = ''
      origin="$(cat ${testkit}/share/osmoda-testkit/origin)"
      mkdir -p "$(dirname "$origin")"
      ln -sf ${testkit}/bin/osmoda-test-agent "$origin"
    '';
  };
}
