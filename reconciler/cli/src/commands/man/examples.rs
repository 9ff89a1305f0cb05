//! Examples of every command, for the manual pages. A test tries each on the command line.

/// Words that call a command, an example of it, and what that does.
type Example = (&'static str, &'static str, &'static str);

const EXAMPLES: &[Example] = &[
    (
        "",
        "osmoda status",
        "Shows every agent of this node, and the node.",
    ),
    (
        "",
        "osmoda top",
        "Shows the same live, on the whole terminal.",
    ),
    (
        "",
        "osmoda describe researcher",
        "Tells what happened to an agent, why, and what comes next.",
    ),
    (
        "run",
        "osmoda run ./specs",
        "Keeps the agents of a directory alive, in the foreground.",
    ),
    (
        "run",
        "osmoda run .#agents --runtime native",
        "The same for those of a flake, as children of the daemon.",
    ),
    (
        "validate",
        "osmoda validate ./specs",
        "Tells every mistake of every file at once.",
    ),
    (
        "render",
        "osmoda render ./specs -o json",
        "Shows the manifests that a daemon would read.",
    ),
    (
        "plan",
        "osmoda plan ./specs",
        "Shows what would be done if these were desired, and does nothing.",
    ),
    (
        "status",
        "osmoda status researcher",
        "Answers with exit status 1 if that agent is not ready.",
    ),
    (
        "status",
        "osmoda status --diff",
        "Compares what is desired with what is, field by field.",
    ),
    (
        "status",
        "osmoda status --watch",
        "Goes on showing it until interrupted, which is no failure.",
    ),
    (
        "describe",
        "osmoda describe researcher",
        "Tells what happened, why, what was done and what comes next.",
    ),
    (
        "logs",
        "osmoda logs researcher -f",
        "Shows its output, and what comes.",
    ),
    (
        "logs",
        "osmoda logs researcher --previous",
        "Shows what the run before the latest one wrote.",
    ),
    (
        "events",
        "osmoda events --since 8h",
        "Tells what happened while you slept.",
    ),
    (
        "events",
        "osmoda events researcher -f",
        "Tells what happens to one agent, as it is recorded.",
    ),
    (
        "events",
        "osmoda events --all -n 500",
        "Tells differences and intents as well.",
    ),
    (
        "restart",
        "osmoda restart researcher --wait",
        "Returns when it is ready again, with 1 if it fails.",
    ),
    (
        "pause",
        "osmoda pause researcher --reason upgrade",
        "Leaves it as it is until it is resumed.",
    ),
    ("resume", "osmoda resume researcher", "Acts on it again."),
    ("resume", "osmoda resume", "Ends the pause of all."),
    (
        "generations",
        "osmoda generations researcher",
        "Lists what was deployed, and whether it was good.",
    ),
    (
        "rollback",
        "osmoda rollback researcher --wait",
        "Goes back to the newest good generation but the active one.",
    ),
    (
        "rollback",
        "osmoda rollback researcher --to 3",
        "Goes back to generation 3.",
    ),
    (
        "wait",
        "osmoda wait --for Proven --timeout 5m",
        "Follows a deploy in a script: 0 if all is found good.",
    ),
    (
        "new",
        "osmoda new researcher -- /run/current-system/sw/bin/researcher --port 8080",
        "Writes specs/researcher.nix, to be edited.",
    ),
    (
        "ledger",
        "osmoda ledger verify",
        "Checks every hash of this node's ledger.",
    ),
    (
        "ledger verify",
        "osmoda ledger verify export.jsonl --checkpoint kept.note",
        "Checks an export, and that it begins as a kept checkpoint says.",
    ),
    (
        "ledger head",
        "osmoda ledger head",
        "Shows how far the ledger goes.",
    ),
    (
        "ledger show",
        "osmoda ledger show 42 -o json",
        "Shows one entry as it is stored.",
    ),
    (
        "ledger export",
        "osmoda ledger export --since 24h",
        "Writes a day's entries, byte for byte.",
    ),
    (
        "ledger backup",
        "osmoda ledger backup /mnt/backup/ledger.db",
        "Copies the ledger, also while the daemon writes it.",
    ),
    (
        "ledger checkpoint",
        "osmoda ledger checkpoint",
        "Signs the log as it stands; keep what it prints elsewhere.",
    ),
    (
        "ledger key",
        "osmoda ledger key",
        "Shows the public key, for those who check.",
    ),
    (
        "ledger key",
        "osmoda ledger key --rotate",
        "Makes a new key, for which the old one vouches.",
    ),
    (
        "ledger prove",
        "osmoda ledger prove 42",
        "Proves that the ledger holds entry 42.",
    ),
    (
        "ledger verify-proof",
        "osmoda ledger verify-proof 42.proof --key example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "Checks such a proof with nothing but a key.",
    ),
    (
        "ledger prune",
        "osmoda ledger prune --before 90d",
        "Drops what entries older than that say; their hashes stay.",
    ),
    (
        "ledger redact",
        "osmoda ledger redact 42 --reason secret",
        "Drops what one entry says.",
    ),
    (
        "ledger timeline",
        "osmoda ledger timeline alpha.jsonl beta.jsonl",
        "Tells what happened on two nodes as one story.",
    ),
    (
        "ledger report",
        "osmoda ledger report --from 30d --html report.html",
        "Writes an auditor's report as a page.",
    ),
    (
        "ledger anchor",
        "osmoda ledger anchor",
        "Shows how far each anchor has come.",
    ),
    (
        "top",
        "osmoda top",
        "Shows everything live; its keys are explained by ?.",
    ),
    (
        "doctor",
        "osmoda doctor",
        "Checks this host, and names a remedy for what is wrong.",
    ),
    (
        "witness",
        "osmoda witness --listen 0.0.0.0:7333 --log example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "Cosigns the checkpoints of one node's ledger.",
    ),
    (
        "completions",
        "osmoda completions bash",
        "Prints the script that bash reads from bash-completion's directory.",
    ),
    (
        "man",
        "osmoda man ledger verify",
        "Prints one page; `man -l -` shows it.",
    ),
    (
        "man",
        "osmoda man --dir ./man1",
        "Writes all pages, for a package.",
    ),
    (
        "mcp",
        "osmoda mcp",
        "Serves an AI assistant over standard input and output, to read only.",
    ),
    (
        "alerts",
        "osmoda alerts list",
        "Shows what is still to be told, to whom, and why it did not get through.",
    ),
    (
        "alerts list",
        "osmoda alerts list -o json",
        "The same for a program.",
    ),
    (
        "alerts test",
        "osmoda alerts test on-call",
        "Sends a test alert to the receiver of that name, and tells its answer.",
    ),
];

/// Examples of a command, and what each does. A command is named by its words: `ledger verify`.
pub fn of(call: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = EXAMPLES.iter().filter(move |(of, _, _)| *of == call);
    all.map(|(_, example, does)| (*example, *does))
}

/// Commands that there are examples of.
#[cfg(test)]
pub fn calls() -> impl Iterator<Item = &'static str> {
    EXAMPLES.iter().map(|(of, _, _)| *of)
}
