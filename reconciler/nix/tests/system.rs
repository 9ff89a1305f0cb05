//! One suite for every [`SystemSwitcher`], so that the fake cannot drift from the truth.
//!
//! The real one runs real switches - scripts - under stand-ins for systemd-run and systemctl.

#![expect(clippy::unwrap_used, reason = "a fixture fails as its test does")]

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
    time::Duration,
};

use osmoda_core::{
    name::AgentName,
    observed::{Generation, InvocationId},
};
use osmoda_nix::{
    profile::{Profile, ProfileError},
    system::{
        Fault, MemorySystem, NixosSwitcher, Resumed, SwitchError, SwitchExit, SwitchRequest,
        SwitchStep, SystemPaths, SystemSwitcher,
    },
};
use tempfile::TempDir;

/// A machine with generations 1 and 2, of which 2 runs and 1 was booted.
trait Machine {
    type Switcher: SystemSwitcher;
    fn switcher(&self) -> &Self::Switcher;
    /// The next switches end with these codes.
    fn next_codes(&self, codes: &[i32]);
    /// Begins a switch to `to` and forgets about it once it was launched, as a daemon does that
    /// dies.
    async fn die_while_switching(&self, id: InvocationId, to: &Generation);
}

/// Starts its arguments after `--` in a session of their own, and notes the process.
const SYSTEMD_RUN: &str = r#"#!/bin/sh
dir=$(dirname "$0")
for argument; do
    case "$argument" in --unit=*) unit=${argument#--unit=} ;; esac
done
while [ "$1" != -- ]; do shift; done
shift
mkdir -p "$dir/units"
setsid "$@" >/dev/null 2>&1 </dev/null &
echo $! > "$dir/units/$unit"
"#;

const SYSTEMCTL: &str = r#"#!/bin/sh
dir=$(dirname "$0")
for unit; do :; done
pid=$(cat "$dir/units/$unit" 2>/dev/null)
if [ -n "$pid" ] && grep -qs '^State:[[:space:]]*[^Z]' "/proc/$pid/status"; then
    echo active
else
    echo inactive
fi
"#;

/// Does to the machine what NixOS' own does, and exits with the next code of the list. Waits
/// for the file `go`, if there is a `wait`.
const SWITCH: &str = r#"#!/bin/sh
root=ROOT
[ "$1" = switch ] || exit 99
flock -n "$root/lock" true || exit 11
while [ -e "$root/wait" ] && [ ! -e "$root/go" ]; do sleep 0.02; done
code=$(head -n 1 "$root/codes")
sed -i 1d "$root/codes"
echo "activating the configuration..."
case "${code:-0}" in 0|2|4) ln -sfn "SYSTEM" "$root/current" ;; esac
[ "$code" = 4 ] && echo "warning: the following units failed: osmoda-a.service"
exit "${code:-0}"
"#;

struct Real {
    dir: TempDir,
    switcher: NixosSwitcher,
}

impl Real {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let program = |path: PathBuf, text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        fs::create_dir(root.join("profiles")).unwrap();
        let name = AgentName::new("system").unwrap();
        let profile = Profile::new(root.join("profiles"), name);
        for number in [1, 2] {
            let system = root.join(format!("system-{number}"));
            fs::create_dir_all(system.join("bin")).unwrap();
            let text = SWITCH
                .replace("ROOT", root.to_str().unwrap())
                .replace("SYSTEM", system.to_str().unwrap());
            program(system.join("bin/switch-to-configuration"), &text);
            profile.set(&system).unwrap();
        }
        symlink(root.join("system-2"), root.join("current")).unwrap();
        symlink(root.join("system-1"), root.join("booted")).unwrap();
        File::create(root.join("codes")).unwrap();
        let paths = SystemPaths {
            profiles: root.join("profiles"),
            current: root.join("current"),
            booted: root.join("booted"),
            lock: root.join("lock"),
            switches: root.join("switches"),
            systemd_run: program(root.join("systemd-run"), SYSTEMD_RUN),
            systemctl: program(root.join("systemctl"), SYSTEMCTL),
        };
        let switcher = NixosSwitcher::new(paths, None);
        Self { dir, switcher }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn launched(&self) -> usize {
        self.path("units").read_dir().map_or(0, Iterator::count)
    }
}

impl Machine for Real {
    type Switcher = NixosSwitcher;

    fn switcher(&self) -> &NixosSwitcher {
        &self.switcher
    }

    fn next_codes(&self, codes: &[i32]) {
        let lines: String = codes.iter().map(|code| format!("{code}\n")).collect();
        fs::write(self.path("codes"), lines).unwrap();
    }

    async fn die_while_switching(&self, id: InvocationId, to: &Generation) {
        File::create(self.path("wait")).unwrap();
        let request = SwitchRequest { id, to: to.clone() };
        {
            let mut switch = Box::pin(self.switcher.switch_to(&request));
            while self.launched() == 0 {
                let pause = tokio::time::sleep(Duration::from_millis(10));
                tokio::select! {
                    ended = &mut switch => panic!("it waits for `go`: {ended:?}"),
                    () = pause => {}
                }
            }
        }
        File::create(self.path("go")).unwrap();
    }
}

struct Fake(MemorySystem);

impl Fake {
    fn new() -> Self {
        let system = MemorySystem::new("/memory/system-1");
        system.deploy("/memory/system-2");
        Self(system)
    }
}

impl Machine for Fake {
    type Switcher = MemorySystem;

    fn switcher(&self) -> &MemorySystem {
        &self.0
    }

    fn next_codes(&self, codes: &[i32]) {
        let units = ["warning: the following units failed: osmoda-a.service".to_owned()];
        let exits: Vec<_> = codes
            .iter()
            .map(|code| SwitchExit::new(*code, &units))
            .collect();
        self.0.next_exits(&exits, Duration::from_secs(2));
    }

    async fn die_while_switching(&self, id: InvocationId, to: &Generation) {
        self.0.fail_at(SwitchStep::Wait, Fault::Death);
        let request = SwitchRequest { id, to: to.clone() };
        let mut switch = Box::pin(self.0.switch_to(&request));
        while !self.0.is_stuck() {
            tokio::select! {
                ended = &mut switch => panic!("it dies before: {ended:?}"),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
    }
}

fn id(number: u8) -> InvocationId {
    InvocationId([number; 16])
}

async fn switch(
    machine: &impl Machine,
    to: &Generation,
) -> Result<osmoda_nix::system::SwitchOutcome, SwitchError> {
    let request = SwitchRequest {
        id: id(1),
        to: to.clone(),
    };
    machine.switcher().switch_to(&request).await
}

/// Generations 1 and 2.
fn both(machine: &impl Machine) -> [Generation; 2] {
    machine
        .switcher()
        .generations()
        .unwrap()
        .try_into()
        .unwrap()
}

/// Numbers of the profile's and of the running generation.
fn numbers(machine: &impl Machine) -> (u64, u64) {
    let state = machine.switcher().observe().unwrap();
    let current = state.current.unwrap().number.unwrap();
    (state.profile.unwrap().number, current)
}

async fn observes(machine: impl Machine) {
    let state = machine.switcher().observe().unwrap();
    assert_eq!(numbers(&machine), (2, 2));
    assert!(state.profile_is_there);
    assert_eq!(state.booted.unwrap().number, Some(1));
    assert_eq!(both(&machine).map(|g| g.number), [1, 2]);
}

async fn switches_back(machine: impl Machine) {
    let [old, _] = both(&machine);
    let outcome = switch(&machine, &old).await.unwrap();
    assert_eq!(outcome.exit, SwitchExit::Done);
    assert!(!outcome.output.is_empty());
    assert_eq!(numbers(&machine), (1, 1));
    let resumed = machine.switcher().resume(id(1)).await.unwrap();
    assert_eq!(resumed, Resumed::Ended(outcome));
    machine.switcher().forget(id(1)).unwrap();
    let forgotten = machine.switcher().resume(id(1)).await.unwrap();
    assert_eq!(forgotten, Resumed::NotLaunched);
}

async fn goes_to_the_recorded_pair_alone(machine: impl Machine) {
    let [old, new] = both(&machine);
    let pair = |number, of: &Generation| Generation {
        number,
        store_path: of.store_path.clone(),
    };
    let changed = switch(&machine, &pair(1, &new)).await;
    assert!(matches!(
        changed,
        Err(SwitchError::Profile(ProfileError::TargetChanged { .. }))
    ));
    let absent = switch(&machine, &pair(9, &old)).await;
    assert!(matches!(
        absent,
        Err(SwitchError::Profile(ProfileError::NoSuchGeneration { .. }))
    ));
    assert_eq!(numbers(&machine), (2, 2));
    let launched = machine.switcher().resume(id(1)).await.unwrap();
    assert_eq!(launched, Resumed::NotLaunched);
}

async fn tells_how_it_ended(machine: impl Machine) {
    let [old, _] = both(&machine);
    for (code, current) in [(1, 2), (100, 2), (2, 1), (4, 1)] {
        machine.next_codes(&[code]);
        let outcome = switch(&machine, &old).await.unwrap();
        assert_eq!(outcome.exit.code(), code);
        assert_eq!(numbers(&machine), (1, current), "code {code}");
        if code == 4 {
            let ours = vec!["osmoda-a.service".to_owned()];
            assert_eq!(outcome.exit, SwitchExit::UnitsFailed(ours));
        }
    }
}

async fn tries_again_when_the_lock_was_held(machine: impl Machine) {
    let [old, _] = both(&machine);
    machine.next_codes(&[11, 11, 0]);
    let outcome = switch(&machine, &old).await.unwrap();
    assert_eq!(outcome.exit, SwitchExit::Done);
    assert_eq!(numbers(&machine), (1, 1));

    let [_, new] = both(&machine);
    machine.next_codes(&[11; 8]);
    let outcome = switch(&machine, &new).await.unwrap();
    assert_eq!(outcome.exit, SwitchExit::LockHeld);
    assert_eq!(numbers(&machine), (2, 1));
}

async fn goes_on_when_the_daemon_dies(machine: impl Machine) {
    let [old, _] = both(&machine);
    machine.next_codes(&[4]);
    machine.die_while_switching(id(7), &old).await;
    let resumed = machine.switcher().resume(id(7)).await.unwrap();
    let code = match &resumed {
        Resumed::Ended(outcome) => Some(outcome.exit.code()),
        Resumed::NotLaunched | Resumed::Lost => None,
    };
    assert_eq!(code, Some(4), "{resumed:?}");
    assert_eq!(numbers(&machine), (1, 1));
}

/// A test for each implementation.
macro_rules! conformance {
    ($($real:ident $fake:ident $case:ident;)*) => {
        $(
            #[tokio::test]
            async fn $real() {
                $case(Real::new()).await;
            }

            #[tokio::test(start_paused = true)]
            async fn $fake() {
                $case(Fake::new()).await;
            }
        )*
    };
}

conformance! {
    nixos_is_observed the_fake_is_observed observes;
    nixos_switches_back the_fake_switches_back switches_back;
    nixos_goes_to_the_recorded_pair_alone the_fake_goes_to_the_recorded_pair_alone
        goes_to_the_recorded_pair_alone;
    nixos_tells_how_it_ended the_fake_tells_how_it_ended tells_how_it_ended;
    nixos_tries_again_when_the_lock_was_held the_fake_tries_again_when_the_lock_was_held
        tries_again_when_the_lock_was_held;
    nixos_goes_on_when_the_daemon_dies the_fake_goes_on_when_the_daemon_dies
        goes_on_when_the_daemon_dies;
}

#[tokio::test]
async fn somebody_elses_switch_is_waited_for() {
    let real = Real::new();
    let [old, _] = both(&real);
    let theirs = File::create(real.path("lock")).unwrap();
    theirs.lock().unwrap();
    let ours = tokio::join!(switch(&real, &old), async {
        // Whatever it does now, it launches nothing and sets nothing.
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!((real.launched(), numbers(&real)), (0, (2, 2)));
        drop(theirs);
    });
    assert_eq!(ours.0.unwrap().exit, SwitchExit::Done);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_never_given_back_ends_the_wait() {
    let fake = Fake::new();
    let [old, _] = both(&fake);
    fake.0.hold_lock(Duration::from_secs(24 * 3600));
    let error = switch(&fake, &old).await.unwrap_err();
    assert!(matches!(error, SwitchError::Locked { .. }));
    assert!(error.is_retryable());
    assert_eq!((fake.0.switches(), numbers(&fake)), (0, (2, 2)));
}

#[tokio::test]
async fn a_generation_without_a_switch_changes_nothing() {
    let real = Real::new();
    let [old, _] = both(&real);
    fs::remove_file(old.path().join("bin/switch-to-configuration")).unwrap();
    let error = switch(&real, &old).await.unwrap_err();
    assert!(matches!(error, SwitchError::NotASystem { .. }), "{error}");
    assert_eq!((real.launched(), numbers(&real)), (0, (2, 2)));
}

#[tokio::test]
async fn a_switch_that_was_killed_is_lost() {
    let real = Real::new();
    let [old, _] = both(&real);
    fs::write(
        old.path().join("bin/switch-to-configuration"),
        "#!/bin/sh\nkill -9 $PPID\n",
    )
    .unwrap();
    assert!(switch(&real, &old).await.is_err());
    assert_eq!(real.switcher.resume(id(1)).await.unwrap(), Resumed::Lost);
}

#[tokio::test]
async fn a_manager_that_refuses_is_quoted() {
    let real = Real::new();
    let [old, _] = both(&real);
    fs::write(
        real.path("systemd-run"),
        "#!/bin/sh\necho no bus >&2\nexit 1\n",
    )
    .unwrap();
    let error = switch(&real, &old).await.unwrap_err();
    assert!(error.to_string().contains("no bus"), "{error}");
    assert!(error.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn after_a_death_or_an_error_at_any_step_the_fake_tells_what_was_under_way() {
    for step in SwitchStep::ALL {
        for fault in [Fault::Error, Fault::Death] {
            let fake = Fake::new();
            let [old, _] = both(&fake);
            fake.0.fail_at(step, fault);
            let limit = Duration::from_secs(1);
            let ended = tokio::time::timeout(limit, switch(&fake, &old)).await;
            assert_eq!(ended.is_err(), fault == Fault::Death, "{step:?} {fault:?}");
            assert_eq!(fake.0.is_stuck(), fault == Fault::Death);
            let resumed = fake.0.resume(id(1)).await.unwrap();
            let was_launched = step == SwitchStep::Wait;
            assert_eq!(resumed != Resumed::NotLaunched, was_launched, "{step:?}");
            let profile = if step <= SwitchStep::SetProfile { 2 } else { 1 };
            let current = if was_launched { 1 } else { 2 };
            assert_eq!(numbers(&fake), (profile, current), "{step:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_leaves_the_fake_on_the_old_or_the_new_generation() {
    let fake = Fake::new();
    let [old, _] = both(&fake);
    fake.die_while_switching(id(1), &old).await;
    fake.0.power_cut();
    assert_eq!(numbers(&fake), (1, 2));
    assert_eq!(fake.0.resume(id(1)).await.unwrap(), Resumed::Lost);
    fake.die_while_switching(id(2), &old).await;
    fake.0.resume(id(2)).await.unwrap();
    fake.0.power_cut();
    assert_eq!(numbers(&fake), (1, 1));
}
