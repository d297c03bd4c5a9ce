//! rm: remove names.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(
    main,
    "rm [-fr] FILE...\n\
     Remove files and empty directories.\n\
     -r with all that is in them  -f a missing file is no error"
);

fn main() -> Result<()> {
    let options = env::options("fr")?;
    if options.operands.is_empty() {
        return Err(Error::Usage);
    }
    for path in &options.operands {
        match remove(path, options.has('r')) {
            Err(error) if options.has('f') && error.errno() == Some(Errno::ENOENT) => {}
            result => result?,
        }
    }
    Ok(())
}

fn remove(path: &str, with_content: bool) -> Result<()> {
    if with_content && fs::metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            remove(&fs::join(path, &entry.name), true)?;
        }
    }
    fs::remove_file(path)
}
