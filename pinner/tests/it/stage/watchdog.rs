//! Cleans up after the test process, however it ends.
//!
//! Statics are not dropped, and a killed process drops nothing at all. So a shell waits at the other end of a pipe:
//! when the pipe breaks, because this process is gone, it kills the programs that were still running and removes every
//! container that carries this run's label.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{LazyLock, Mutex},
};

/// The label that every container of this run carries; its value is this run's.
pub(super) const LABEL: &str = "anchorage.test-run";

/// Two rounds: a container that was being started when we died appears after the first one.
const SCRIPT: &str = r#"
running=
while read -r what pid; do
    rest=
    for other in $running; do [ "$other" = "$pid" ] || rest="$rest $other"; done
    running=$rest
    [ "$what" = ended ] || running="$running $pid"
done
[ -z "$running" ] || kill -9 $running
for round in 1 2; do
    containers=$(docker ps -aq --filter "label=$1")
    [ -z "$containers" ] || docker rm -f -v $containers
    [ $round = 2 ] || sleep 2
done
"#;

static WATCHDOG: LazyLock<Mutex<Child>> = LazyLock::new(|| {
    let watchdog = Command::new("sh")
        .args(["-c", SCRIPT, "watchdog", &format!("{LABEL}={}", run())])
        // Not to be reached by the Ctrl-C that ends us.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is a shell");
    Mutex::new(watchdog)
});

/// This run's value of [`LABEL`].
pub(super) fn run() -> String {
    std::process::id().to_string()
}

/// From now on a program is killed should we end before it.
pub(super) fn started(pid: u32) {
    tell(&format!("started {pid}\n"));
}

/// A program has ended.
pub(super) fn ended(pid: u32) {
    tell(&format!("ended {pid}\n"));
}

/// Starts watching.
pub(super) fn watch() {
    LazyLock::force(&WATCHDOG);
}

fn tell(line: &str) {
    let mut watchdog = WATCHDOG.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let pipe = watchdog.stdin.as_mut().expect("its input was piped");
    pipe.write_all(line.as_bytes()).expect("the watchdog lives");
}
