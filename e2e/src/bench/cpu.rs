//! Who used the processors: user and system time of each part of a service, and of this process, which makes the load.

use std::time::Instant;

use anyhow::{Context as _, Result};

use super::{figures::as_float, service::Pids};

/// Kernel ticks a second, as Linux shows them to programs on every machine.
const TICKS: f64 = 100.0;

/// Processor time so far, in ticks.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    load: u64,
    pinners: u64,
    postgres: u64,
    kubo: u64,
    nats: u64,
}

/// A stretch of time whose use of processors is looked at.
#[derive(Debug)]
pub struct Watch {
    pids: Pids,
    began: Instant,
    before: Ticks,
}

impl Watch {
    /// Begins now.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn begin(pids: &Pids) -> Result<Self> {
        Ok(Self { pids: pids.clone(), began: Instant::now(), before: Ticks::of(pids)? })
    }

    /// Ends now and says who used how much of one processor.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn end(self) -> Result<String> {
        let seconds = self.began.elapsed().as_secs_f64();
        let (before, after) = (self.before, Ticks::of(&self.pids)?);
        let share = |before: u64, after: u64| {
            let ticks = usize::try_from(after.saturating_sub(before)).unwrap_or(0);
            format!("{:.0} %", as_float(ticks) / TICKS / seconds * 100.0)
        };
        Ok(format!(
            "processors ({} there, 100 % each): Postgres {}, anchorage {}, Kubo {}, NATS {}, load generator {}",
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            share(before.postgres, after.postgres),
            share(before.pinners, after.pinners),
            share(before.kubo, after.kubo),
            share(before.nats, after.nats),
            share(before.load, after.load),
        ))
    }
}

impl Ticks {
    fn of(pids: &Pids) -> Result<Self> {
        let all = |pids: &[i32]| pids.iter().map(|pid| Ok(Stat::of(*pid)?.own)).sum::<Result<u64>>();
        let postmaster = Stat::of(pids.postgres)?;
        let sessions: u64 = children(pids.postgres)?.iter().map(|stat| stat.own).sum();
        Ok(Self {
            load: Stat::of(i32::try_from(std::process::id()).context("our own pid")?)?.own,
            pinners: all(&pids.pinner)?,
            postgres: postmaster.own + postmaster.ended + sessions,
            kubo: all(&pids.kubo)?,
            nats: Stat::of(pids.nats)?.own,
        })
    }
}

/// What `/proc/PID/stat` says.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: i32,
    /// Ticks of the process.
    own: u64,
    /// Ticks of its children that have ended.
    ended: u64,
}

impl Stat {
    fn of(pid: i32) -> Result<Self> {
        let file = format!("/proc/{pid}/stat");
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        Self::parse(&text).with_context(|| format!("read {file}"))
    }

    fn parse(text: &str) -> Option<Self> {
        // The name before the bracket may hold anything. Fields 4, 14 to 17 of proc(5).
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: ticks(11)? + ticks(12)?,
            ended: ticks(13)? + ticks(14)?,
        })
    }
}

fn children(parent: i32) -> Result<Vec<Stat>> {
    let processes = std::fs::read_dir("/proc").context("read /proc")?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    // One that ended meanwhile is counted with its parent.
    Ok(pids.filter_map(|pid| Stat::of(pid).ok()).filter(|stat| stat.parent == parent).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_misleads_nobody() {
        let text = "77 (a) b (c) S 5 77 77 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 100";
        assert_eq!(Stat::parse(text), Some(Stat { parent: 5, own: 30, ended: 70 }));
        assert_eq!(Stat::parse("77 (a) S"), None);
    }
}
