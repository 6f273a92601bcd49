//! Starting daemons, and where they run.

use crate::support::daemon::Daemon;

/// The words of a command line, run on one core.
pub(crate) fn pinned(line: &str, cpu: usize) -> Vec<String> {
    let head = ["taskset".to_owned(), "-c".to_owned(), cpu.to_string()];
    head.into_iter()
        .chain(line.split_whitespace().map(str::to_owned))
        .collect()
}

/// Keeps this process on one core.
pub(crate) fn stay_on(cpu: usize) {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu).expect("the core's number is small");
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).expect("the core exists");
}

/// Starts both daemons in turn; microseconds to the listening socket, and KiB
/// of anonymous memory then.
pub(crate) fn measure(lines: [&[String]; 2], starts: usize) -> ([Vec<u64>; 2], [Vec<u64>; 2]) {
    let (mut times, mut memory) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..starts {
        for (side, line) in lines.iter().enumerate() {
            let daemon = Daemon::command(line).expect("the daemon starts");
            times[side].push(u64::try_from(daemon.started_in.as_micros()).unwrap());
            memory[side].push(daemon.anonymous().unwrap_or(0));
        }
    }
    (times, memory)
}
