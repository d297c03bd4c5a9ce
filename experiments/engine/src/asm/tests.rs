use super::*;
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter, Mnemonic};

fn disassemble(code: &[u8]) -> String {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_space_after_operand_separator(true);
    options.set_small_hex_numbers_in_decimal(true);
    options.set_uppercase_hex(false);
    let mut lines = Vec::new();
    for instruction in Decoder::with_ip(64, code, 0, DecoderOptions::NONE) {
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        lines.push(text);
    }
    lines.join("; ")
}

/// Operands that fit a kind, as one may write them.
fn sample(kind: &str) -> &str {
    match kind {
        "r" | "rm" | "r64" => "rdx",
        "r8" | "rm8" => "dl",
        "rm16" => "dx",
        "m" => "[rdx + 16]",
        "i8" | "i32" => "18",
        "i64" => "0x1122334455667788",
        "cr" => "cr4",
        "dr" => "dr7",
        "sr" => "fs",
        "x" | "xm" => "xmm3",
        "rel8" => "here",
        named => named,
    }
}

#[test]
fn every_row_decodes_to_its_own_mnemonic() {
    for row in ROWS {
        let operands: Vec<&str> = row
            .operands
            .split(',')
            .filter(|kind| !kind.is_empty())
            .map(sample)
            .collect();
        let text = format!("here: {} {}", row.mnemonic, operands.join(", "));
        let code = assemble(&text).unwrap_or_else(|why| panic!("{text}: {why}"));
        let mut decoder = Decoder::with_ip(64, &code, 0, DecoderOptions::NONE);
        let instruction = decoder.decode();
        assert_eq!(instruction.len(), code.len(), "{text} gives {code:02x?}");
        let decoded = format!("{:?}", instruction.mnemonic()).to_lowercase();
        let expected = match row.mnemonic {
            "jc" => "jb",
            "jnc" => "jae",
            "jz" => "je",
            "jnz" => "jne",
            "icebp" => "int1",
            "fwait" => "wait",
            "sysret" => "sysretq",
            other => other,
        };
        assert_eq!(decoded, expected, "{text} gives {code:02x?}");
        assert_ne!(instruction.mnemonic(), Mnemonic::INVALID);
    }
}

#[test]
fn operands_come_back_as_they_were_written() {
    for text in [
        "mov rax, [rbx]",
        "mov [rbp], rax",
        "mov [r13], rax",
        "mov r12, [rsp]",
        "mov r9, [r12 + 0x1234]",
        "mov eax, [rbx + rcx*8 - 8]",
        "mov [r8 + r9*2 + 1], r10w",
        "mov sil, [rax]",
        "mov r11b, [rax]",
        "mov byte ptr [rax], 0x12",
        "mov word ptr [rax], 0x1234",
        "mov dword ptr [rax], 0x12345678",
        "mov qword ptr [rax], 0x12345678",
        "add rax, r15",
        "xor ecx, ecx",
        "cmp byte ptr [rdi], 1",
        "inc dword ptr [rdx]",
        "movups xmm9, [rax]",
        "movups [rax], xmm1",
        "movq xmm8, rax",
        "mov cr8, rax",
        "mov rax, cr0",
        "push r12",
        "pop rbx",
        "movzx eax, byte ptr [rbx]",
        "movzx r8d, word ptr [rbx]",
        "lea rsi, [rax + rax*4]",
        "jmp rax",
        "bt dword ptr [rax], 3",
        "in al, dx",
        "out dx, eax",
        "rdrand ax",
    ] {
        let code = assemble(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        let spaced = disassemble(&code).replace('+', " + ").replace('-', " - ");
        assert_eq!(spaced, text.replace("xmmword ptr ", ""), "{code:02x?}");
    }
}

#[test]
fn labels_reach_back_and_forth() {
    assert_eq!(
        assemble("again: dec rcx\njnz again").unwrap(),
        [0x48, 0xff, 0xc9, 0x75, 0xfb]
    );
    assert_eq!(
        assemble("jmp on; db 0xcc; on: nop # here").unwrap(),
        [0xeb, 0x01, 0xcc, 0x90]
    );
}

#[test]
fn prefixes_and_bytes() {
    assert_eq!(assemble("rep movsb").unwrap(), [0xf3, 0xa4]);
    assert_eq!(
        assemble("lock inc dword ptr [rax]").unwrap(),
        [0xf0, 0xff, 0x00]
    );
    assert_eq!(
        assemble("data16 vmmcall").unwrap(),
        [0x66, 0x0f, 0x01, 0xd9]
    );
    assert_eq!(assemble("db 0x66, 1").unwrap(), [0x66, 1]);
}

#[test]
fn mistakes_are_named() {
    for (text, why) in [
        ("mvo rax, rbx", "unknown instruction `mvo`"),
        ("mov rax", "does not take these operands"),
        ("mov [rax], 1", "does not take these operands"),
        ("mov eax, rbx", "does not take these operands"),
        ("add rax, 0x123456789", "does not take these operands"),
        ("jmp nowhere", "no label `nowhere`"),
        ("db 256", "0x100 is no byte"),
        ("mov rax, [ebx]", "`ebx` is no 64-bit register"),
        ("mov rax, [rbx + rcx*3]", "scale 3"),
        ("mov rax, ]", "is no operand"),
    ] {
        let error = assemble(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}
