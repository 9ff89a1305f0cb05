# A queue worker: takes jobs from a directory, asks the researcher about each, writes results.
#
# A job is a file jobs/NAME.txt with one word a line; its result is results/NAME.json.
let
  spool = "/tmp/osmoda-summarizer";
in
{
  command = [ "python3" (toString ./programs/summarizer.py) ];

  environment = {
    SUMMARIZER_SPOOL = spool;
    SUMMARIZER_RESEARCHER = "http://127.0.0.1:18080";
    PYTHONUNBUFFERED = "1";
  };

  # It is started once the researcher is Ready, and when the researcher fails, it is that which
  # is restarted, not this.
  dependsOn = [ "researcher" ];

  # It knows nothing of sd_notify; that it prints a line (for each job, and while it waits) is
  # sign of life enough. An agent that nobody may change can be watched like this.
  heartbeat = {
    source = "Output";
    timeout = "30s";
  };

  # There is no port to ask; its directory of jobs must be there and writable.
  probes.readiness = {
    exec.command = [ "test" "-w" "${spool}/jobs" ];
    period = "5s";
  };

  # A job that kills it again and again must not keep the machine busy: wait longer each time.
  restart = {
    backoff = { initial = "500ms"; factor = 2; max = "1m"; };
    maxRestarts = 5;
    within = "5m";
  };

  # Time to finish the job at hand after SIGTERM.
  stop.gracePeriod = "15s";
}
