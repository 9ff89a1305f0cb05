//! Places that are taken or damaged: who holds them is named, and nothing there is touched.

use std::{fs, io::Write as _, os::unix::net::UnixListener};

use crate::support::{Agent, Scene, is_alive, kill, kinds};

#[test]
fn a_socket_that_somebody_listens_on_is_left_to_them() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    fs::create_dir(scene.run_dir()).unwrap();
    let _other = UnixListener::bind(scene.socket()).unwrap();
    let ran = scene.failing_daemon(scene.run_command("")).exits(1);
    let who = format!("pid {}", std::process::id());
    ran.saying(&[&who, scene.socket().to_str().unwrap()]);
    scene.has_no_agents();
    assert!(scene.socket().exists());
}

#[test]
fn a_second_daemon_says_who_holds_the_state_and_ends() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let daemon = scene.daemon();
    let pid = scene.pid("a");
    scene.entry("its deploy is proven", |e| e.is("GenerationGood", "a"));
    let size = scene.entries().len();
    let holder = format!("pid {}", daemon.pid());
    for elsewhere in ["", "--runtime-dir run2", "--state-dir state2"] {
        let ran = scene.failing_daemon(scene.run_command(elsewhere)).exits(1);
        ran.saying(&[&holder]);
    }
    let left = scene.path().join("state2");
    assert!(!left.exists(), "who is refused leaves nothing behind");
    assert_eq!(scene.pid("a"), pid, "the first one goes on undisturbed");
    assert_eq!(scene.entries().len(), size);
    assert_eq!(scene.processes()["a"], [pid]);
}

#[test]
fn a_damaged_ledger_is_set_aside_and_its_agents_run_on() {
    let scene = Scene::with(&[Agent::test("a", "sleep"), Agent::test("b", "sleep")]);
    let daemon = scene.daemon();
    let pids = [scene.pid("a"), scene.pid("b")];
    let size = scene.entries().len();
    daemon.kill();
    scene.osmoda("ledger backup whole.db").exits(0);
    flip_a_bit_of_the_last_entry(&scene);
    scene.osmoda("ledger verify").exits(1);

    let daemon = scene.daemon();
    assert_eq!([scene.pid("a"), scene.pid("b")], pids);
    let entries = scene.entries();
    assert_eq!(entries[0].kind(), "LogReset");
    let aside = entries[0].body()["movedTo"].as_str().unwrap();
    assert!(aside.contains("ledger.db.damaged-"), "{aside}");
    let verdict = scene.osmoda(&format!("ledger verify {aside}")).exits(1);
    assert!(verdict.out.contains("FAILED"), "{}", verdict.out);
    assert_eq!(entries[0].body()["lastGoodSeq"], size - 2);
    let adopted: Vec<_> = entries.iter().filter(|e| e.kind() == "Adopted").collect();
    assert_eq!(adopted.len(), 2, "{:?}", kinds(&entries));
    scene.verifies();
    for (name, pid) in ["a", "b"].into_iter().zip(pids) {
        assert_eq!(scene.processes()[name], [pid]);
    }
    // And it heals as before.
    kill(pids[0]);
    scene.other_pid("a", pids[0]);
    daemon.stops();
    assert!(!is_alive(pids[1]));
}

/// In the file itself, so that its write-ahead log must be gone: the backup is such a file.
fn flip_a_bit_of_the_last_entry(scene: &Scene) {
    for part in ["ledger.db-wal", "ledger.db-shm"] {
        fs::remove_file(scene.state().join(part)).unwrap();
    }
    let mut bytes = fs::read(scene.path().join("whole.db")).unwrap();
    let last = scene.osmoda("ledger export --ledger whole.db").exits(0).out;
    let last = last.lines().rev().nth(1).unwrap();
    let entry = last
        .split_once("\"entry\":")
        .unwrap()
        .1
        .strip_suffix('}')
        .unwrap();
    let place = bytes
        .windows(entry.len())
        .position(|part| part == entry.as_bytes());
    bytes[place.unwrap() + entry.len() - 2] ^= 1;
    let mut file = fs::File::create(scene.state().join("ledger.db")).unwrap();
    file.write_all(&bytes).unwrap();
}

#[test]
fn garbage_in_place_of_a_ledger_is_set_aside_too() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    fs::create_dir(scene.state()).unwrap();
    fs::write(
        scene.state().join("ledger.db"),
        "not a database at all\n".repeat(500),
    )
    .unwrap();
    let _daemon = scene.daemon();
    scene.pid("a");
    assert_eq!(scene.entries()[0].kind(), "LogReset");
    scene.verifies();
}

#[test]
fn a_state_directory_that_cannot_be_made_ends_the_daemon_with_the_reason() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    fs::write(scene.state(), "a file").unwrap();
    let ran = scene.failing_daemon(scene.run_command("")).exits(5);
    ran.saying(&["cannot create", scene.state().to_str().unwrap()]);
    scene.has_no_agents();
}
