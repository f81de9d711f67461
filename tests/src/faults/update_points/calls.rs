//! The system calls of an update, one by one.

use std::path::Path;

use anyhow::{Result, bail};

use crate::random::Random;

/// In the path of every file of the update.
pub(super) const UPDATES: &str = "/state/updates";

/// A system call of an update.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) call: &'static str,
    pub(super) target: String,
    /// Which of these calls.
    pub(super) nth: u64,
    /// What it comes after, as `RIG_FROM` has it.
    pub(super) from: Option<String>,
    /// For people.
    pub(super) name: String,
}

/// The point of the control: a state is no longer what it was, and not yet what it will be.
pub(super) fn in_between(random: &mut Random) -> Point {
    Point {
        call: "write",
        target: "/enrolled".to_owned(),
        nth: 1 + random.below(3),
        from: None,
        name: "write enrolled".to_owned(),
    }
}

/// Each call on a file of the update; and on the log, from the state in which the switch is ordered to that in which it is
/// done, which comes last.
pub(super) fn points(list: &str) -> Result<Vec<Point>> {
    let calls: Vec<_> = list.lines().filter_map(|l| l.split_once(' ')).collect();
    let name = |call: &str, path: &str| {
        let file = Path::new(path).file_name().unwrap_or_default();
        format!("{call} {}", file.display())
    };
    let of_update = calls.iter().filter(|(_, path)| path.contains(UPDATES));
    let of_update = of_update.zip(1..).map(|((call, path), nth)| Point {
        call: "disk",
        target: format!("in:{UPDATES}"),
        nth,
        from: None,
        name: name(call, path),
    });
    let mut points: Vec<_> = of_update.collect();
    let states = calls.iter().enumerate();
    let states =
        states.filter(|(_, (call, path))| *call == "rename" && path.ends_with("/enrolled"));
    let states: Vec<_> = states.map(|(place, _)| place).collect();
    let [.., ordered, done] = states.as_slice() else {
        bail!("no update without two states: {list}");
    };
    let between = calls.get(*ordered..*done).unwrap_or_default();
    let of_switch = between.iter().filter(|(_, path)| path.ends_with("-wal"));
    points.extend(of_switch.zip(1..).map(|((call, path), nth)| Point {
        call: "disk",
        target: "-wal".to_owned(),
        nth,
        from: Some(format!("rename /enrolled {}", states.len() - 1)),
        name: format!("{} in the switch", name(call, path)),
    }));
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_the_switch_are_those_between_the_last_two_states() {
        let list = "write /x/state/buffer.db-wal\n\
                    rename /x/state/updates/enrolled\n\
                    sync /x/state/updates\n\
                    write /x/state/buffer.db-wal\n\
                    sync /x/state/buffer.db-wal\n\
                    write /x/state/updates/audit.log\n\
                    rename /x/state/updates/enrolled\n\
                    write /x/state/buffer.db-wal\n";
        let points = points(list).unwrap();
        let of_switch = points.iter().filter(|point| point.from.is_some());
        let places: Vec<_> = of_switch.map(|point| (point.nth, &*point.name)).collect();
        let wanted = [
            (1, "write buffer.db-wal in the switch"),
            (2, "sync buffer.db-wal in the switch"),
        ];
        assert_eq!((points.len(), places), (6, wanted.to_vec()));
    }
}
