//! cp: copy files.
#![no_std]
#![no_main]
use ulib::prelude::*;

ulib::main!(
    main,
    "cp [-r] FILE... TARGET\n\
     Copy a file, or files into a directory; either side may be remote.\n\
     -r directories with all that is in them"
);

fn main() -> Result<()> {
    let options = env::options("r")?;
    let (target, sources) = options.operands.split_last().ok_or(Error::Usage)?;
    let to_directory = fs::metadata(target).is_ok_and(|found| found.is_dir());
    if sources.is_empty() || (sources.len() > 1 && !to_directory) {
        return Err(Error::Usage);
    }
    for source in sources {
        copy(source, &fs::target_in(target, source), options.has('r'))?;
    }
    Ok(())
}

fn copy(source: &str, target: &str, with_content: bool) -> Result<()> {
    let mut from = fs::File::open(source)?;
    if !from.metadata()?.is_dir() {
        io::copy(&mut from, &mut fs::File::create(target)?)?;
        return Ok(());
    }
    if !with_content {
        return Err(Error::new(source, Errno::EISDIR));
    }
    if fs::metadata(target).is_err() {
        fs::create_dir(target)?;
    }
    for entry in fs::read_dir(source)? {
        copy(
            &fs::join(source, &entry.name),
            &fs::join(target, &entry.name),
            true,
        )?;
    }
    Ok(())
}
