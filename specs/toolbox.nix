# An MCP server: tools that other agents call over streamable HTTP.
let
  port = 18081;
  url = "http://127.0.0.1:${toString port}/mcp";
in
{
  # With labels, the spec has a name of its own. Alerts can be chosen by labels.
  labels.protocol = "mcp";

  spec = {
    command = [ "python3" (toString ./programs/toolbox.py) ];

    environment = {
      TOOLBOX_PORT = toString port;
      PYTHONUNBUFFERED = "1";
    };

    # An open port says little about an MCP server; this probe speaks the protocol: initialize,
    # then ping. There is no startup probe, so the liveness probe serves as one, with patience.
    probes = {
      readiness.mcp = { inherit url; };
      liveness = { mcp = { inherit url; }; period = "2s"; };
    };

    resources = {
      memory.max = "256Mi";
      # A tool that spins is ended, a tool that is busy for a while is not.
      cpu.runaway = { above = "95%"; for = "1m"; };
      tasksMax = 64;
    };

    stop.gracePeriod = "5s";
  };
}
