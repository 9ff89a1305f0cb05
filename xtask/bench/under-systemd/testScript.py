# Measures crash to restart under the guest's own systemd: `cargo xtask bench systemd --vm`.

start_all()
machine.wait_for_unit("multi-user.target")
machine.succeed(
    "cd /root/scenario && OSMODA_CHECKOUT=$PWD ./xtask bench systemd"
    " --osmoda ./osmoda --programs $PWD --commit $(cat commit) >&2",
    timeout=2100,
)
for name in ["systemd.json", "systemd.md", "systemd.svg"]:
    machine.copy_from_vm(f"/root/scenario/target/bench/{name}")
