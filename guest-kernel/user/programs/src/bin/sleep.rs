//! sleep: do nothing for a while.
#![no_std]
#![no_main]
use core::time::Duration;
use ulib::prelude::*;

ulib::main!(
    main,
    "sleep SECONDS\nDo nothing for so many seconds, for example 0.25."
);

fn main() -> Result<()> {
    let [text] = env::operands()[..] else {
        return Err(Error::Usage);
    };
    ulib::thread::sleep(parse(text).ok_or(Error::Usage)?);
    Ok(())
}

fn parse(text: &str) -> Option<Duration> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let nanoseconds = match part.len() {
        0..=9 if part.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{part:0<9}").parse().ok()?
        }
        _ => return None,
    };
    Some(Duration::new(whole.parse().ok()?, nanoseconds))
}
