//! Settings of this boot: `key=value` words from QEMU's fw_cfg, else from the boot loader.

use crate::drivers::fw_cfg;
use crate::mm::memory_map;
use alloc::string::String;
use kcore::settings::Settings;
use spin::Once;

/// Name of the fw_cfg item.
const ITEM: &str = "opt/hvlab/cmdline";

static TEXT: Once<String> = Once::new();
static SETTINGS: Once<Settings> = Once::new();

/// Finds the settings; complaints about bad words are printed.
pub fn init() {
    let text = TEXT.call_once(|| match fw_cfg::file(ITEM) {
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        None => String::from(memory_map::get().command_line.as_str()),
    });
    let (settings, complaints) = Settings::parse(text);
    for complaint in complaints {
        crate::println!("settings: {complaint}");
    }
    SETTINGS.call_once(|| settings);
}

/// The settings, checked.
pub fn get() -> &'static Settings {
    SETTINGS.get().expect("settings::init ran")
}

/// The value of a key as it was given, for programs; the last one counts. Secrets are not given out.
pub fn value(key: &str) -> Option<&'static str> {
    kcore::settings::value(TEXT.get()?, key)
}
