//! What is known about files and exports, for people.

use protocol::message::{Access, Kind, Stat, StatfsReply};

use crate::run::folder::civil;

/// One line for each fact.
pub fn stat(stat: &Stat) -> String {
    let kind = match stat.kind {
        Kind::File => "file",
        Kind::Directory => "folder",
    };
    format!(
        "kind      {kind}\nsize      {} bytes\nmode      {:04o}\nlinks     {}\ninode     {}\nmodified  {} UTC",
        stat.size,
        stat.mode,
        stat.links,
        stat.inode,
        time(stat.modified_ns)
    )
}

/// Room and rights of an export.
pub fn space(space: &StatfsReply) -> String {
    let used = space.total_bytes.saturating_sub(space.free_bytes);
    let mib = |bytes: u64| bytes >> 20;
    format!(
        "room    {} MiB, {} used, {} free\nfiles   {}, {} free\naccess  {}",
        mib(space.total_bytes),
        mib(used),
        mib(space.free_bytes),
        space.total_files,
        space.free_files,
        access(space.access)
    )
}

/// What an export allows.
pub fn access(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => "read-only",
        Access::AppendOnly => "append-only",
        Access::ReadWrite => "read-write",
    }
}

/// `2026-11-23 15:04:05.678` of nanoseconds since 1970.
fn time(ns: u64) -> String {
    let (seconds, ms) = (ns / 1_000_000_000, ns / 1_000_000 % 1000);
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!(
        "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02}.{ms:03}",
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_399, "2000-02-28 23:59:59.000"),
            (951_782_400, "2000-02-29 00:00:00.000"),
            (1_704_067_199, "2023-12-31 23:59:59.000"),
            (1_795_446_245, "2026-11-23 15:04:05.000"),
        ] {
            assert_eq!(time(seconds * 1_000_000_000), text);
        }
    }

    #[test]
    fn a_stat_is_for_people() {
        let known = Stat {
            kind: Kind::File,
            mode: 0o644,
            links: 1,
            inode: 7,
            size: 12,
            modified_ns: 1_500_000_000,
        };
        let text = stat(&known);
        assert!(
            text.contains("size      12 bytes\nmode      0644\n"),
            "{text}"
        );
        assert!(text.ends_with("1970-01-01 00:00:01.500 UTC"), "{text}");
    }
}
