//! Directories and specs of one test, and every command that it runs there.
//!
//! Invariant: when a scene is dropped, no process of any of its agents is left.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use osmoda_core::digest::Digest;
use serde_json::Value;
use tempfile::TempDir;

use super::{Agent, Daemon, Entry, Follower, Ran, eventually, poll, process};

/// One test's place in the file system. A Unix socket has a path of at most 107 bytes, so it is
/// a short one.
pub struct Scene {
    directory: TempDir,
}

impl Scene {
    /// With an empty directory of specs.
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// The same in a directory of its own below this one.
    pub fn below(parent: &Path) -> Self {
        let mut builder = tempfile::Builder::new();
        let directory = builder.prefix("osm").tempdir_in(parent).unwrap();
        // Other users look into it in some tests.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let scene = Self { directory };
        fs::create_dir(scene.specs()).unwrap();
        fs::create_dir(scene.path().join("said")).unwrap();
        scene
    }

    /// With these agents, each in a file of its name.
    pub fn with(agents: &[Agent]) -> Self {
        let scene = Self::new();
        agents.iter().for_each(|agent| scene.declare(agent));
        scene
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn specs(&self) -> PathBuf {
        self.path().join("specs")
    }

    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.path().join("run")
    }

    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("osmoda.sock")
    }

    /// File with the output of the daemons. Not beside the specs: that place is watched, and a
    /// daemon that says something would then read its specs again for no other reason.
    pub(super) fn daemon_log_file(&self) -> PathBuf {
        self.path().join("said/daemon.log")
    }

    /// Output of the daemons.
    pub fn daemon_log(&self) -> String {
        fs::read_to_string(self.daemon_log_file()).unwrap_or_default()
    }

    /// Writes a spec file in one step, as editors and `nixos-rebuild` do.
    pub fn write_spec(&self, file: &str, text: &str) {
        let aside = self.specs().join(format!(".{file}.aside"));
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.specs().join(file)).unwrap();
    }

    /// Writes NAME.yaml.
    pub fn declare(&self, agent: &Agent) {
        self.write_spec(&format!("{}.yaml", agent.name()), &agent.manifest());
    }

    pub fn withdraw(&self, agent: &str) {
        fs::remove_file(self.specs().join(format!("{agent}.yaml"))).unwrap();
    }

    /// `osmoda` with these words, split at spaces, in this scene's directories.
    pub fn command(&self, words: &str) -> Command {
        self.in_place(Command::new(env!("CARGO_BIN_EXE_osmoda")), words)
    }

    /// The same for a command that ends in `osmoda`, such as setpriv.
    pub fn in_place(&self, mut command: Command, words: &str) -> Command {
        command.args(words.split(' ').filter(|word| !word.is_empty()));
        command.current_dir(self.path()).stdin(Stdio::null());
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|name| name.to_string_lossy().starts_with("OSMODA_")) {
            command.env_remove(name);
        }
        command.env("OSMODA_STATE_DIR", self.state());
        command.env("OSMODA_RUNTIME_DIR", self.run_dir());
        // No test writes to the host's Nix store.
        command.env("OSMODA_BUNDLES", "directory");
        command
    }

    pub fn osmoda(&self, words: &str) -> Ran {
        Ran::from(self.command(words).output().unwrap())
    }

    /// Its answer as JSON.
    #[track_caller]
    pub fn json(&self, words: &str) -> Value {
        self.osmoda(&format!("{words} -o json")).exits(0).json()
    }

    pub fn follow(&self, words: &str) -> Follower {
        Follower::begin(self.command(words))
    }

    /// Starts a daemon and waits until it answers.
    pub fn daemon(&self) -> Daemon<'_> {
        Daemon::start(self, self.run_command(""))
    }

    /// `osmoda run` on this scene's specs, with more flags.
    pub fn run_command(&self, flags: &str) -> Command {
        self.command(&format!("run specs --runtime native {flags}"))
    }

    /// Runs a daemon that should end by itself.
    #[track_caller]
    pub fn failing_daemon(&self, mut command: Command) -> Ran {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = child.id();
        let ending = thread::spawn(move || child.wait_with_output().unwrap());
        if poll(|| ending.is_finished().then_some(())).is_none() {
            process::kill(pid);
        }
        Ran::from(ending.join().unwrap())
    }

    /// `status` of one agent; `None` if it is not known.
    pub fn look(&self, agent: &str) -> Option<Value> {
        let ran = self.osmoda(&format!("status {agent} -o json"));
        match ran.code {
            0 | 1 => Some(ran.json()["status"].clone()),
            2 => None,
            _ => panic!("status {agent} exits {}: {}", ran.code, ran.err),
        }
    }

    /// Waits until its status is like this.
    #[track_caller]
    pub fn until(&self, agent: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let seen = poll(|| {
            last = self.look(agent);
            last.clone().filter(&is)
        });
        match seen {
            Some(status) => status,
            None => panic!("{agent}: never seen: {what}; its status is {last:#?}"),
        }
    }

    /// Waits until it runs, and gives its process.
    #[track_caller]
    pub fn pid(&self, agent: &str) -> u32 {
        self.other_pid(agent, 0)
    }

    /// Waits until it runs as another process than this one.
    #[track_caller]
    pub fn other_pid(&self, agent: &str, than: u32) -> u32 {
        let is_another = |status: &Value| {
            status["phase"] == "Running" && status["pid"].as_u64() != Some(than.into())
        };
        pid_of(&self.until(agent, "runs anew", is_another))
    }

    /// Processes of this scene's agents, by agent.
    pub fn processes(&self) -> BTreeMap<String, Vec<u32>> {
        process::of_agents(&self.run_dir())
    }

    /// No process of any agent is left, or ever began.
    #[track_caller]
    pub fn has_no_agents(&self) {
        assert_eq!(self.processes(), BTreeMap::new());
    }

    /// No process of this agent is left, or ever began.
    #[track_caller]
    pub fn has_none_of(&self, agent: &str) {
        assert_eq!(self.processes().get(agent), None);
    }

    /// `osmoda` at a place where every user may execute it.
    pub fn binary_for_all(&self) -> PathBuf {
        self.for_all(env!("CARGO_BIN_EXE_osmoda"))
    }

    /// A program at a place where every user may execute it: a build directory may be private.
    pub fn for_all(&self, built: &str) -> PathBuf {
        let place = self.path().join(Path::new(built).file_name().unwrap());
        if !place.exists() && fs::hard_link(built, &place).is_err() {
            fs::copy(built, &place).unwrap();
        }
        place
    }

    /// Every entry of the ledger, from its file.
    #[track_caller]
    pub fn entries(&self) -> Vec<Entry> {
        let export = self.osmoda("ledger export").exits(0).out;
        export.lines().filter_map(Entry::of).collect()
    }

    #[track_caller]
    pub fn entries_of(&self, agent: &str) -> Vec<Entry> {
        let mut entries = self.entries();
        entries.retain(|entry| entry.agent() == agent);
        entries
    }

    /// Waits for an entry like this.
    #[track_caller]
    pub fn entry(&self, what: &str, is: impl Fn(&Entry) -> bool) -> Entry {
        eventually(what, || self.entries().into_iter().find(&is))
    }

    /// The ledger holds together.
    #[track_caller]
    pub fn verifies(&self) {
        let report = self.json("ledger verify");
        assert_eq!(report["ok"], true, "{report}");
    }

    /// The cgroup below which the daemon keeps its agents, where there is one.
    pub fn cgroup(&self) -> Option<PathBuf> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let digest = Digest::of(self.state().as_os_str().as_encoded_bytes()).to_string();
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        mounts
            .map(|mount| mount.join(own).join(format!("osmoda-{}", &digest[..16])))
            .into_iter()
            .find(|place| place.join("cgroup.procs").exists())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let cgroup = self.cgroup();
        if let Some(cgroup) = &cgroup {
            // Older kernels have no such file; then what is found below is killed one by one.
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
        }
        eventually("no process of an agent is left", || {
            let left = self.processes();
            left.values().flatten().copied().for_each(process::kill);
            left.is_empty().then_some(())
        });
        let Some(cgroup) = cgroup else { return };
        eventually("the cgroup is gone", || {
            for agent in fs::read_dir(&cgroup).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(agent.path()); // a file is no directory
            }
            let _ = fs::remove_dir(&cgroup); // busy until the last process is gone
            (!cgroup.exists()).then_some(())
        });
    }
}

/// `pid` of a status.
pub fn pid_of(status: &Value) -> u32 {
    let pid = status["pid"].as_u64().unwrap();
    u32::try_from(pid).unwrap()
}
