//! Trees from before Kconfig (BitVisor changed in July 2024): `Makefile.config` holds the options as `CONFIG_NAME ?= 0`
//! or `1`, and `.config` what the user chose as `CONFIG_NAME=0` or `1`.
//!
//! Such a tree is read and checked, never written: its own `make config` knows its rules.

use crate::dotconfig::Value;
use crate::profile::Profile;
use std::collections::BTreeMap;
use std::path::Path;

/// The build options of such a tree.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OldOptions {
    /// By name without `CONFIG_`; `None`: the tree's make decides (`$(...)`).
    values: BTreeMap<String, Option<bool>>,
}

impl OldOptions {
    /// Reads the tree; `None` if it is no such tree.
    pub fn read(tree: &Path) -> Option<Self> {
        let makefile = std::fs::read_to_string(tree.join("Makefile.config")).ok()?;
        let chosen = std::fs::read_to_string(tree.join(".config")).unwrap_or_default();
        let options = Self::parse(&makefile, &chosen);
        (!options.values.is_empty()).then_some(options)
    }

    fn parse(makefile: &str, chosen: &str) -> Self {
        let mut values = BTreeMap::new();
        for (name, value) in makefile.lines().filter_map(|line| assignment(line, "?=")) {
            values.insert(name.to_owned(), switch(value));
        }
        for (name, value) in chosen.lines().filter_map(|line| assignment(line, "=")) {
            // What the tree does not know has no effect in it.
            if let Some(known) = values.get_mut(name) {
                *known = switch(value);
            }
        }
        Self { values }
    }

    /// `None`: the tree has no such option; `Some(None)`: its make decides.
    pub fn get(&self, name: &str) -> Option<Option<bool>> {
        self.values.get(name).copied()
    }

    /// All options by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<bool>)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
    }

    /// What to write into `.config` by hand for `profile`, and which of its options the tree lacks.
    pub fn by_hand(&self, profile: &Profile) -> (Vec<String>, Vec<String>) {
        let mut lines = Vec::new();
        let mut lacking = Vec::new();
        for (name, wanted) in &profile.kconfig {
            let Value::Bool(wanted) = wanted else {
                continue;
            };
            match self.get(name) {
                // An option that is not there is as good as off.
                None if *wanted => lacking.push(name.clone()),
                Some(now) if now != Some(*wanted) => {
                    lines.push(format!("CONFIG_{name}={}", u8::from(*wanted)));
                }
                _ => {}
            }
        }
        (lines, lacking)
    }
}

fn assignment<'a>(line: &'a str, operator: &str) -> Option<(&'a str, &'a str)> {
    let (name, value) = line.split_once(operator)?;
    Some((name.trim().strip_prefix("CONFIG_")?, value.trim()))
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKEFILE: &str = "# options\nCONFIG_64 ?= $(support)\nCONFIG_SERIAL ?= 0\nCONFIG_NET ?= 1\n\
                            CONFIGLIST += CONFIG_NET=$(CONFIG_NET)[Network]\n";

    #[test]
    fn defaults_and_choices_are_read() {
        let options = OldOptions::parse(MAKEFILE, "CONFIG_SERIAL=1\nCONFIG_GONE=1\n");
        assert_eq!(options.get("64"), Some(None));
        assert_eq!(options.get("SERIAL"), Some(Some(true)));
        assert_eq!(options.get("NET"), Some(Some(true)));
        assert_eq!(options.get("GONE"), None);
        assert_eq!(options.iter().count(), 3);
    }

    #[test]
    fn what_is_to_be_done_by_hand_is_said() {
        let options = OldOptions::parse(MAKEFILE, "");
        let text = "name = \"t\"\ndescription = \"t\"\n[kconfig]\n64 = true\nSERIAL = true\nNET = true\nSTATUS = true\nGDB = false\n";
        let (lines, lacking) = options.by_hand(&Profile::parse("t", text).expect("sound"));
        assert_eq!(lines, ["CONFIG_64=1", "CONFIG_SERIAL=1"]);
        assert_eq!(lacking, ["STATUS"]);
    }
}
