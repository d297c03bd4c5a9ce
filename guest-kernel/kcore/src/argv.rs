//! The block that `exec` puts at the top of a new stack.
//!
//! ```text
//! top      strings, each with its NUL
//!          0 0           end of the (empty) auxiliary vector
//!          0             end of the (empty) environment
//!          0             argv[argc]
//!          argv[0] ..    pointers to the strings       <- rsi
//! sp       argc                                        <- rsp, a multiple of 16; argc also in rdi
//! ```
//! xv6 programs take argc and argv from registers, as its `exec` hands them over; the words on the
//! stack are what a System V start file looks for.

use abi::Errno;
use alloc::vec::Vec;

/// Most bytes of the block: a page, as in xv6.
pub const MAX_BLOCK: usize = 4096;
/// argc, and the ends of argv, environment and auxiliary vector.
const FIXED_WORDS: usize = 5;

/// What a new process starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// To be copied to `stack_pointer`.
    pub bytes: Vec<u8>,
    /// Initial `rsp`.
    pub stack_pointer: u64,
    /// Initial `rdi`.
    pub argc: u64,
    /// Initial `rsi`: address of `argv[0]`.
    pub argv: u64,
}

/// Lays out the block so that it ends at `top`, a multiple of 16.
///
/// # Errors
/// E2BIG when it would be larger than a page; EINVAL for a NUL inside an argument or a bad `top`.
pub fn build(arguments: &[&[u8]], top: u64) -> Result<Block, Errno> {
    if arguments.iter().any(|argument| argument.contains(&0)) {
        return Err(Errno::EINVAL);
    }
    let lengths = arguments
        .iter()
        .map(|argument| argument.len() + 1 + size_of::<u64>());
    let content = lengths.fold(FIXED_WORDS * size_of::<u64>(), usize::saturating_add);
    if content > MAX_BLOCK {
        return Err(Errno::E2BIG);
    }
    let size = content.next_multiple_of(16);
    let stack_pointer = top
        .checked_sub(size as u64)
        .filter(|_| top.is_multiple_of(16))
        .ok_or(Errno::EINVAL)?;
    let strings_at = (FIXED_WORDS + arguments.len()) * size_of::<u64>();
    let mut bytes = Vec::with_capacity(size);
    let mut word = |value: u64| bytes.extend_from_slice(&value.to_le_bytes());
    word(arguments.len() as u64);
    let mut string = stack_pointer + strings_at as u64;
    for argument in arguments {
        word(string);
        string += argument.len() as u64 + 1;
    }
    for _ in 1..FIXED_WORDS {
        word(0);
    }
    for argument in arguments {
        bytes.extend_from_slice(argument);
        bytes.push(0);
    }
    bytes.resize(size, 0);
    let argc = arguments.len() as u64;
    Ok(Block {
        bytes,
        stack_pointer,
        argc,
        argv: stack_pointer + size_of::<u64>() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: u64 = 0x8000;

    /// Reads the block back as a program would.
    fn arguments(block: &Block) -> Vec<Vec<u8>> {
        let at = |address: u64| (address - block.stack_pointer) as usize;
        let word = |address: u64| {
            u64::from_le_bytes(
                block.bytes[at(address)..at(address) + 8]
                    .try_into()
                    .unwrap(),
            )
        };
        assert_eq!(word(block.stack_pointer), block.argc);
        assert_eq!(block.argv, block.stack_pointer + 8);
        assert_eq!(block.stack_pointer % 16, 0);
        assert_eq!(block.stack_pointer + block.bytes.len() as u64, TOP);
        let end = block.argv + 8 * block.argc;
        for index in 0..4 {
            assert_eq!(word(end + 8 * index), 0);
        }
        (0..block.argc)
            .map(|index| {
                let string = &block.bytes[at(word(block.argv + 8 * index))..];
                string
                    .iter()
                    .copied()
                    .take_while(|&byte| byte != 0)
                    .collect()
            })
            .collect()
    }

    #[test]
    fn a_program_finds_its_arguments() {
        let none: &[&[u8]] = &[];
        let cases = [
            none,
            &[b"sh"],
            &[b"echo", b"", b"hello world"],
            &[b"123456789012345"],
        ];
        for expected in cases {
            let block = build(expected, TOP).unwrap();
            assert_eq!(arguments(&block), expected);
        }
        let many: Vec<&[u8]> = (0..300).map(|_| &b"abc"[..]).collect();
        assert_eq!(arguments(&build(&many, TOP).unwrap()), many);
    }

    #[test]
    fn a_page_is_the_limit() {
        let fits = [b'x'; 4096 - 40 - 8 - 1];
        assert_eq!(build(&[&fits], TOP).unwrap().bytes.len(), 4096);
        let too_long = [b'x'; 4096 - 40 - 8];
        assert_eq!(build(&[&too_long], TOP), Err(Errno::E2BIG));
        let xv6s_bigarg = [&[b' '; 399][..]; 31];
        assert_eq!(build(&xv6s_bigarg, TOP), Err(Errno::E2BIG));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(build(&[b"a\0b"], TOP), Err(Errno::EINVAL));
        assert_eq!(build(&[b"a"], TOP + 8), Err(Errno::EINVAL));
        assert_eq!(build(&[b"a"], 16), Err(Errno::EINVAL));
    }
}
