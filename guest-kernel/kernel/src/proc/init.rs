//! The first process: a kernel thread that turns into the program `/init`.

use super::{exec, exit, table, thread};
use crate::arch::entry;
use alloc::vec::Vec;

/// Where the first program is looked for.
const PATHS: [&[u8]; 2] = [b"/init", b"/boot/init"];

/// Starts it.
pub fn start() {
    thread::spawn_kernel_thread("init", become_init);
}

fn become_init() {
    exit::set_init();
    table::current().state.lock().pid = table::INIT_PID;
    let arguments = [Vec::from(b"init")];
    let frame = PATHS
        .iter()
        .find_map(|path| match exec::exec(path, &arguments) {
            Ok(frame) => Some(frame),
            Err(error) => {
                crate::println!(
                    "init: {}: {error}",
                    core::str::from_utf8(path).unwrap_or("?")
                );
                None
            }
        });
    let frame = frame.expect("a program /init to start with");
    table::current().state.lock().kernel = false;
    entry::leave_for_user(&frame)
}
