//! The menu entry for a PC that has a GRUB of its own.

/// Path of the file on the partition, as GRUB names it, made safe for single quotes.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', "'\\''"))
}

/// A `menuentry` that starts BitVisor, which then boots the active partition's boot record
/// (`.vmm.boot_active = 1`). `partition` is the UUID of the file system that holds `elf`.
///
/// ```
/// let entry = bitvisor_config::grub::entry("/boot/bitvisor.elf", Some("1234-ABCD"));
/// assert!(entry.contains("search --no-floppy --fs-uuid --set=root '1234-ABCD'"));
/// assert!(entry.contains("multiboot '/boot/bitvisor.elf'"));
/// ```
pub fn entry(elf: &str, partition: Option<&str>) -> String {
    let mut lines = vec![
        "menuentry 'BitVisor' {".to_owned(),
        "\tinsmod multiboot".to_owned(),
    ];
    if let Some(uuid) = partition {
        lines.push(format!(
            "\tsearch --no-floppy --fs-uuid --set=root {}",
            quoted(uuid)
        ));
    }
    lines.push(format!("\tmultiboot {}", quoted(elf)));
    lines.push("}".to_owned());
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_cannot_break_out() {
        let entry = super::entry("/a'; reboot #", None);
        assert!(entry.contains(r"multiboot '/a'\''; reboot #'"), "{entry}");
    }
}
