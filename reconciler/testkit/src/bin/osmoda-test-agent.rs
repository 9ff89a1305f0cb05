//! An agent that behaves, or misbehaves, as its arguments say.
//!
//! Arguments are actions, one after the other, separated by `then`:
//! `print hello then fork-grandchild --setsid then sleep`. After the last action it exits 0.
//! Whatever it does, it ends after [`LIFE_MAX`], so that a broken test leaves nothing behind; in a
//! machine that is thrown away, [`LIFE_VARIABLE`] may ask for more.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is one of the things that it is for"
)]

use std::{
    env, fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{SigSet, Signal};

/// Longest life of a test agent and of what it forks.
const LIFE_MAX: Duration = Duration::from_secs(300);

/// Variable with another life, in seconds.
const LIFE_VARIABLE: &str = "OSMODA_TEST_AGENT_LIFE";

const USAGE: &str = "\
actions, separated by `then`:
  exit N                      ends with code N
  abort                       ends by SIGABRT
  kill-self N                 ends by signal N
  crash-after MS              sleeps, then aborts
  sleep [MS]                  sleeps; without MS, for good
  spin                        uses one CPU for good
  leak --mib-per-s N          takes and touches more and more memory
  ignore-term                 is deaf to SIGTERM from here on
  exit-on-term N              waits for SIGTERM, prints `terminating`, ends with code N
  fork-grandchild [--setsid] [--hold-stdout] [--clear-env]
                              leaves a sleeping process behind, prints `grandchild PID`
  setsid                      begins a session
  print LINE...               prints its arguments, one a line
  flood MIB                   prints that much
  print-env                   prints the environment, sorted
  print-file PATH             prints a file; $NAME/... begins with a variable's value
  print-fds                   prints the numbers of the open descriptors
  print-cwd                   prints the working directory
  notify NAME=VALUE...        sends its arguments to $NOTIFY_SOCKET
  heartbeat --every MS [--count N]   sends WATCHDOG=1 again and again
  count --every MS            connects to $NOTIFY_SOCKET once, says READY=1, and then again and
                              again STATUS=1, STATUS=2 and so on with WATCHDOG=1
  deadlock                    waits for itself, for good
  chatter --every MS [--count N]     prints a line again and again
  touch PATH --every MS [--count N]  writes to a file again and again
  hand-over                   leaves a sleeping child, names it as the main process, and ends
  extend-on-term MS N         waits for SIGTERM, asks for twice that time, works that long,
                              ends with code N
  serve --port P [--fail-after N]    answers every HTTP request with 200, or 500 after N of them
  serve --port P --status-from DIR   answers a request for /NAME with the status that the file
                              DIR/NAME holds, never if it holds `hang`, with 200 if there is none;
                              a status may be followed by the place to which it redirects";

fn main() -> ExitCode {
    if let Err(error) = bound_life() {
        eprintln!("osmoda-test-agent: {error}");
        return ExitCode::from(64);
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    for action in arguments.split(|word| word == "then") {
        let words: Vec<&str> = action.iter().map(String::as_str).collect();
        if let Err(error) = act(&words) {
            eprintln!("osmoda-test-agent: {}: {error}\n{USAGE}", words.join(" "));
            return ExitCode::from(64);
        }
    }
    ExitCode::SUCCESS
}

/// Ends this process when its life is over. The thread that does so takes no SIGTERM, or a main
/// thread that is deaf to it would not help.
fn bound_life() -> io::Result<()> {
    let asked = env::var(LIFE_VARIABLE).ok();
    let asked = asked.map(|seconds| number(&seconds).map(Duration::from_secs));
    let life = asked.transpose()?.unwrap_or(LIFE_MAX);
    just_term().thread_block()?;
    thread::spawn(move || {
        thread::sleep(life);
        std::process::exit(99);
    });
    Ok(just_term().thread_unblock()?)
}

fn act(words: &[&str]) -> io::Result<()> {
    match words {
        ["exit", code] => std::process::exit(number(code)?),
        ["abort"] => std::process::abort(),
        ["kill-self", signal] => nix::sys::signal::raise(Signal::try_from(number::<i32>(signal)?)?)
            .map_err(io::Error::from),
        ["crash-after", millis] => {
            thread::sleep(Duration::from_millis(number(millis)?));
            std::process::abort()
        }
        ["sleep"] => forever(),
        ["sleep", millis] => {
            thread::sleep(Duration::from_millis(number(millis)?));
            Ok(())
        }
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        ["leak", "--mib-per-s", rate] => leak(number(rate)?),
        ["ignore-term"] => Ok(just_term().thread_block()?),
        ["exit-on-term", code] => exit_on_term(number(code)?),
        ["fork-grandchild", flags @ ..] => fork_grandchild(flags),
        ["setsid"] => Ok(rustix::process::setsid().map(|_| ())?),
        ["print", lines @ ..] => say(&lines.join("\n")),
        ["flood", mib] => flood(number(mib)?),
        ["print-env"] => print_environment(),
        ["print-file", path] => say(fs::read_to_string(expand(path))?.trim_end()),
        ["print-fds"] => print_descriptors(),
        ["print-cwd"] => say(&env::current_dir()?.to_string_lossy()),
        ["notify", lines @ ..] => notify(&lines.join("\n")),
        ["heartbeat", "--every", millis] => heartbeat(number(millis)?, u64::MAX),
        ["heartbeat", "--every", millis, "--count", count] => {
            heartbeat(number(millis)?, number(count)?)
        }
        ["count", "--every", millis] => count(number(millis)?),
        ["deadlock"] => deadlock(),
        ["chatter", "--every", rest @ ..] => again(rest, || say("still here")),
        ["touch", path, "--every", rest @ ..] => again(rest, || fs::write(path, "still here")),
        ["hand-over"] => hand_over(),
        ["extend-on-term", millis, code] => extend_on_term(number(millis)?, number(code)?),
        ["serve", "--port", port, "--status-from", directory] => {
            serve_from(number(port)?, Path::new(directory))
        }
        ["serve", "--port", port] => serve(number(port)?, u64::MAX),
        ["serve", "--port", port, "--fail-after", count] => serve(number(port)?, number(count)?),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "unknown action",
        )),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    let what = || io::Error::new(io::ErrorKind::InvalidInput, format!("{text} is no number"));
    text.parse().map_err(|_| what())
}

fn forever() -> io::Result<()> {
    loop {
        thread::park();
    }
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{text}")?;
    out.flush()
}

fn flood(mib: usize) -> io::Result<()> {
    let mut out = io::stdout();
    (0..mib).try_for_each(|_| out.write_all(&vec![b'x'; 1 << 20]))?;
    out.flush()
}

fn just_term() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals
}

fn exit_on_term(code: i32) -> io::Result<()> {
    just_term().thread_block()?;
    say("waiting")?;
    just_term().wait()?;
    say("terminating")?;
    std::process::exit(code)
}

fn leak(mib_per_second: u64) -> io::Result<()> {
    let pause = Duration::from_millis(1000 / mib_per_second.clamp(1, 1000));
    let mut kept = Vec::new();
    loop {
        kept.push(vec![1_u8; 1 << 20]);
        thread::sleep(pause);
    }
}

fn fork_grandchild(flags: &[&str]) -> io::Result<()> {
    let mut command = Command::new(env::current_exe()?);
    if flags.contains(&"--setsid") {
        command.args(["setsid", "then"]);
    }
    if flags.contains(&"--clear-env") {
        command.env_clear();
    }
    // The pipe closes once the grandchild has done all that and says so.
    command.args(["print", "ready", "then", "sleep"]);
    let hold = flags.contains(&"--hold-stdout");
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command.stdout(if hold {
        Stdio::inherit()
    } else {
        Stdio::piped()
    });
    let mut child = command.spawn()?;
    if let Some(mut out) = child.stdout.take() {
        let mut ready = [0; 6];
        out.read_exact(&mut ready)?;
    }
    say(&format!("grandchild {}", child.id()))
}

fn print_environment() -> io::Result<()> {
    let mut all: Vec<String> = env::vars_os()
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
        .collect();
    all.sort();
    say(&all.join("\n"))
}

fn print_descriptors() -> io::Result<()> {
    let mut open: Vec<u32> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let listing = target.ends_with("fd") && target.starts_with("/proc"); // this loop's own
        if !listing {
            open.extend(entry.file_name().to_string_lossy().parse::<u32>());
        }
    }
    open.sort_unstable();
    say(&open
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(" "))
}

/// `$NAME/rest` to the variable's value and the rest.
fn expand(path: &str) -> String {
    let Some((name, rest)) = path.strip_prefix('$').and_then(|path| path.split_once('/')) else {
        return path.to_owned();
    };
    format!("{}/{rest}", env::var(name).unwrap_or_default())
}

fn notify(message: &str) -> io::Result<()> {
    let socket = env::var("NOTIFY_SOCKET").map_err(io::Error::other)?;
    UnixDatagram::unbound()?.send_to(message.as_bytes(), socket)?;
    Ok(())
}

fn heartbeat(every_millis: u64, count: u64) -> io::Result<()> {
    let every = Duration::from_millis(every_millis);
    let mut next = Instant::now();
    for _ in 0..count {
        // For a moment nobody listens, while a daemon follows another: well-behaved programs go on.
        let _ = notify("WATCHDOG=1");
        next += every;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn count(every_millis: u64) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(env::var("NOTIFY_SOCKET").map_err(io::Error::other)?)?;
    socket.send(b"READY=1")?;
    for n in 1_u64.. {
        // As above; and it never connects again.
        let _ = socket.send(format!("STATUS={n}\nWATCHDOG=1").as_bytes());
        thread::sleep(Duration::from_millis(every_millis));
    }
    Ok(())
}

fn deadlock() -> io::Result<()> {
    let (kept, wanted) = mpsc::channel::<()>();
    let _ = wanted.recv(); // never: the only sender is kept here
    drop(kept);
    Ok(())
}

/// `MS [--count N]`: does it at once and then after each pause.
fn again(words: &[&str], mut act: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let (every, count) = match words {
        [every] => (number(every)?, u64::MAX),
        [every, "--count", count] => (number(every)?, number(count)?),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    for _ in 0..count {
        act()?;
        thread::sleep(Duration::from_millis(every));
    }
    Ok(())
}

fn hand_over() -> io::Result<()> {
    let child = Command::new(env::current_exe()?).arg("sleep").spawn()?;
    notify(&format!("MAINPID={}", child.id()))
}

fn extend_on_term(millis: u64, code: i32) -> io::Result<()> {
    just_term().thread_block()?;
    say("waiting")?;
    just_term().wait()?;
    notify(&format!("EXTEND_TIMEOUT_USEC={}", millis * 2000))?;
    thread::sleep(Duration::from_millis(millis));
    std::process::exit(code)
}

/// Connections that are never answered stay open.
fn serve_from(port: u16, directory: &Path) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    say(&format!("serving {}", listener.local_addr()?.port()))?;
    let mut unanswered = Vec::new();
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap_or(0); // a caller that has gone asks nothing
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        let path = request.split(' ').nth(1).unwrap_or("/");
        let file = directory.join(path.trim_start_matches('/'));
        let status = fs::read_to_string(file).unwrap_or_else(|_| "200".to_owned());
        if status.trim() == "hang" {
            unanswered.push(stream);
            continue;
        }
        let (status, location) = match status.trim().split_once(' ') {
            Some((status, place)) => (status, format!("location: {place}\r\n")),
            None => (status.trim(), String::new()),
        };
        let answer = format!(
            "HTTP/1.1 {status} Told\r\n{location}content-length: 5\r\nconnection: close\r\n\r\n\
             told\n"
        );
        let _ = stream.write_all(answer.as_bytes()); // the caller may not wait for it
    }
    Ok(())
}

fn serve(port: u16, fail_after: u64) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    say(&format!("serving {}", listener.local_addr()?.port()))?;
    for (served, stream) in (0_u64..).zip(listener.incoming()) {
        let mut stream = stream?;
        let _ = stream.read(&mut [0; 4096]); // whatever was asked
        let status = if served < fail_after {
            "200 OK"
        } else {
            "500 Internal Server Error"
        };
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        let _ = stream.write_all(answer.as_bytes()); // the caller may not wait for it
    }
    Ok(())
}
