//! date: show the date.
#![no_std]
#![no_main]
use ulib::prelude::*;
use ulib::time::{DateTime, since_1970};

ulib::main!(
    main,
    "date [-s]\nShow date and time in UTC.\n-s seconds since 1970"
);

fn main() -> Result<()> {
    let options = env::options("s")?;
    let now = since_1970();
    let date = DateTime::from_unix(now.as_secs() as i64);
    match options.has('s') {
        true => println!("{}.{:09}", now.as_secs(), now.subsec_nanos()),
        false => println!("{} {date}", date.weekday()),
    }
    Ok(())
}
